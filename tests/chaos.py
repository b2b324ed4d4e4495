"""Kill training runs at random moments, and see that nothing is lost.

Each run is killed by SIGKILL again and again: a rank, the process that started the
ranks, or either of them while a checkpoint is being written; and a rank under torchrun,
which starts all ranks anew by itself. After each kill, what is left must be: no
process, no file outside the run's folder, no shared memory, every checkpoint that was
complete. In the end the weights, the optimizer and the random states must be those of
a run that nobody disturbed, bit for bit.

Run   python -m tests.chaos --kills 70 --num-ranks 3   Linux, macOS; about 10 s a kill
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import pathlib
import random
import re
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import psutil
from helpers import chapters
from helpers.chapters import CHAPTER_05, TORCHRUN
from helpers.running import Program

from distrinews import checkpoint
from distrinews.errors import CheckpointError

NUM_STEPS = 120  # 4 epochs of 30
# WHY dropout and length-balanced batches stay on: random states of each rank and the
# sampler's position are what a resume gets wrong first.
WORDS = (
    *("--preset", "tiny", "--train-rows", "400", "--validation-rows", "40"),
    # WHY 12: 2, 3 and 4 ranks divide it.
    *("--test-rows", "16", "--epochs", "4", "--global-batch-size", "12"),
    *("--save-every-steps", "4", "--dropout", "0.1"),
)
KINDS = ("rank", "parent", "saving", "torchrun")
# Within how long every process must be gone, by what the ranks did at the kill.
END_WITHIN_S = {
    "at work": 5.0,  # the promise for ranks whose parent was killed
    # WHY longer: a rank watches its starter as soon as it has imported torch. That is
    # two seconds of computing for each; with four ranks on two busy cores over five.
    "starting": 30.0,
}


@dataclasses.dataclass
class ChaosRun:
    """One run, from its first start to its end, through all kills.

    Attributes:
        name: Its folder's name.
        num_ranks: How many processes train.
        kills: How many it has survived.
        newest: Step of the newest complete checkpoint that was ever seen.
    """

    name: str
    num_ranks: int
    kills: int = 0
    newest: int = 0


@dataclasses.dataclass
class Totals:
    """What a session of kills has seen."""

    by_kind: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    finished: int = 0
    slowest_end_s: dict[str, float] = dataclasses.field(
        default_factory=lambda: dict.fromkeys(END_WITHIN_S, 0.0)
    )


def complete_steps(folder: pathlib.Path) -> list[int]:
    """Steps of all intact checkpoints, in order."""
    steps = []
    for path in sorted((folder / "checkpoints").glob("step-*")):
        if re.fullmatch(r"step-\d{8}", path.name):
            with contextlib.suppress(CheckpointError):
                checkpoint.verify(path)
                steps.append(int(path.name[5:]))
    return steps


def ranks_of(program: Program) -> list[psutil.Process]:
    """The processes that train: not the launcher, no helper of multiprocessing."""
    processes = []
    for process in program.processes():
        with contextlib.suppress(psutil.Error):
            words = " ".join(process.cmdline())
            is_rank = "spawn_main" in words or "--run-name" in words
            if is_rank and process.pid != program.process.pid:
                processes.append(process)
    return processes


def shared_memory() -> set[str]:
    """What lies in shared memory on Linux; nothing to see elsewhere."""
    folder = pathlib.Path("/dev/shm")
    return {path.name for path in folder.glob("*")} if folder.exists() else set()


def drafts(folder: pathlib.Path) -> set[str]:
    """Checkpoints that are being written: they have other names until complete."""
    with contextlib.suppress(OSError):
        names = {path.name for path in (folder / "checkpoints").iterdir()}
        return {name for name in names if not re.fullmatch(r"step-\d{8}", name)}
    return set()


def wait_for_moment(
    program: Program, folder: pathlib.Path, *, kind: str, rng: random.Random
) -> str:
    """Wait for the moment to kill; tell what the ranks do then, "" if all is over."""
    checkpoints = folder / "checkpoints"
    # WHY those of before do not count: an earlier kill left them, half written.
    old = drafts(folder)
    deadline_s = time.monotonic() + 120
    start = len(list(checkpoints.glob("step-*"))) and max(checkpoints.glob("step-*"))

    def is_saving() -> bool:
        newest = max(checkpoints.glob("step-*"), default=start)
        return not drafts(folder) <= old or newest != start

    while not (at_work := is_saving()):
        # Before training has saved anything there is little to disturb; one kill in
        # eight comes then all the same: while ranks start, meet or load.
        if rng.random() < 0.0001 or program.process.poll() is not None:
            break
        assert time.monotonic() < deadline_s, (program.out, program.err)
        time.sleep(0.01)
    if kind == "saving":
        while drafts(folder) <= old and program.process.poll() is None:
            assert time.monotonic() < deadline_s, (program.out, program.err)
        at_work = True
        time.sleep(rng.uniform(0, 0.008))  # a save takes some 20 ms
    else:
        time.sleep(rng.uniform(0, 1.5))
    if program.process.poll() is not None:
        return ""
    return "at work" if at_work else "starting"


def start(chaos_run: ChaosRun, *, kind: str) -> tuple[Program, pathlib.Path]:
    words: tuple[object, ...] = (CHAPTER_05, *WORDS)
    # Under torchrun its own option counts.
    words = (*words, "--num-ranks", chaos_run.num_ranks)
    # A run that was killed while its ranks were still starting left no folder.
    if (chapters.workspace() / "runs" / chaos_run.name).exists():
        words = (*words, "--resume")
    if kind == "torchrun":
        ranks = f"--nproc_per_node={chaos_run.num_ranks}"
        words = (*TORCHRUN, "--standalone", ranks, "--max-restarts=3", *words)
    return chapters.start(*words, name=chaos_run.name)


def kill_once(
    chaos_run: ChaosRun, *, kind: str, rng: random.Random, totals: Totals
) -> str:
    """Start or resume the run, kill something, check what is left, tell it."""
    program, folder = start(chaos_run, kind=kind)
    try:
        ranks_are = wait_for_moment(program, folder, kind=kind, rng=rng)
        if not ranks_are:
            assert program.exit_code() == 0, (program.out, program.err)
            return ""
        victims = ranks_of(program)
        if kind == "parent" or not victims:
            victim, who = program.process.pid, "parent"
        elif kind == "saving" and rng.random() < 0.5:
            victim, who = program.process.pid, "parent while saving"
        else:
            victim = rng.choice(victims).pid
            who = f"one of {len(victims)} ranks" + (
                " while saving" * (kind == "saving")
            )
        with contextlib.suppress(ProcessLookupError):
            psutil.Process(victim).send_signal(signal.SIGKILL)
        chaos_run.kills += 1
        totals.by_kind[kind] += 1
        # WHY so long under torchrun: its agent looks after the ranks each 0.1 s, ends
        # the others, and then trains on by itself.
        limit_s = 240 if kind == "torchrun" else 60
        program.exit_code(timeout_s=limit_s)
        left_s = program.seconds_until_nothing_is_left(
            timeout_s=END_WITHIN_S[ranks_are]
        )
        slowest_s = totals.slowest_end_s
        slowest_s[ranks_are] = max(slowest_s[ranks_are], left_s)
        # WHY but these: torch's compiler makes a cache folder of its own when torchrun
        # imports it, and a torchrun that is killed leaves its folder for logs.
        theirs = ("torchinductor_", "torchelastic_")
        left = [f for f in program.temporary_files() if not f.startswith(theirs)]
        assert left == [], left
        steps = complete_steps(folder)
        newest = max(steps, default=0)
        assert newest >= chaos_run.newest, (
            f"lost {chaos_run.newest}, newest is {newest}"
        )
        chaos_run.newest = newest
        return (
            f"{kind:8} {who:32} newest checkpoint {newest:4}  "
            f"all processes gone after {left_s:.2f} s ({ranks_are})"
        )
    finally:
        program.kill_everything()


def run(num_kills: int, *, num_ranks: int, seed: int) -> Totals:
    """Kill so often, letting each run end after some kills and comparing it."""
    rng = random.Random(seed)
    totals = Totals()
    in_memory = shared_memory()
    words: tuple[object, ...] = (CHAPTER_05, *WORDS, "--num-ranks", num_ranks)
    undisturbed = chapters.run(*words)
    assert undisturbed.result["steps"] == NUM_STEPS
    number = run_number = 0
    while number < num_kills:
        chaos_run = ChaosRun(f"chaos-{seed}-{run_number}", num_ranks)
        run_number += 1
        for _ in range(rng.randint(2, 6)):
            if number == num_kills:
                break
            kind = KINDS[number % len(KINDS)]
            line = kill_once(chaos_run, kind=kind, rng=rng, totals=totals)
            if not line:
                break  # it ended before the moment came; the next run is killed
            number += 1
            print(f"kill {number:3}: {chaos_run.name}: {line}", flush=True)
        folder = undisturbed.run_folder.with_name(chaos_run.name)
        resume = ("--resume",) if folder.exists() else ()
        if not (folder / "result.json").exists():
            done = chapters.run(*words, *resume, name=chaos_run.name)
            assert done.left == []
        chapters.same_training_state(folder, undisturbed.run_folder)
        totals.finished += 1
        print(
            f"          {chaos_run.name}: bitwise equal after {chaos_run.kills} kills"
        )
    assert shared_memory() <= in_memory, shared_memory() - in_memory
    return totals


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20, help="how many")
    parser.add_argument("--num-ranks", type=int, default=2, help="2, 3 or 4")
    parser.add_argument("--seed", type=int, default=0, help="which moments")
    args = parser.parse_args()
    began_s = time.monotonic()
    totals = run(args.kills, num_ranks=args.num_ranks, seed=args.seed)
    print(
        f"{args.num_ranks} ranks: "
        f"{sum(totals.by_kind.values())} kills ({dict(totals.by_kind)}), "
        f"{totals.finished} runs, each bitwise equal to the undisturbed one; "
        "0 checkpoints lost, 0 processes, 0 shared memory left; "
        f"last process gone after at most {totals.slowest_end_s['at work']:.2f} s "
        f"({totals.slowest_end_s['starting']:.2f} s where ranks still imported torch); "
        f"{time.monotonic() - began_s:.0f} s in all"
    )


if __name__ == "__main__":
    main()
