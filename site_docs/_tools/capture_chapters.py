"""Run the chapters as a reader does, and keep what the terminal showed.

Promise: no output on a page is typed. Each of `CAPTURES` is run here in a terminal of
88 columns, in an empty folder and with an empty cache, as on a reader's first day. What
stood on the screen at the end goes to `site_docs/learn/captured/STEP.txt`; beside it
`NAME.json` says with which command, machine, versions and commit, how long it took, and
the SHA-256 of the scripts that made it.

`python site_docs/_tools/capture_chapters.py [NAME ...]` runs all or some, on Linux and
macOS; with `--check` nothing runs: it names captures whose script has changed since,
files that somebody edited, and files of no capture, with exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
from records import CAPTURED, ROOT, sha256

from distrinews.data import newswire
from distrinews.system import machine

FOLDER = CAPTURED
COLUMNS, LINES = 88, 60
TIMEOUT_S = 600.0
BASE = "site_docs/_tools/capture_chapters.py"
FOUR_EPOCHS = "python chapters/05_ddp_training.py --preset tiny --epochs 4"
PREDICTED = (
    '"Goalkeeper saves two penalties in the final" '
    '"New chip halves the power that phones need"'
)


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: The file of its output, without `.txt`.
        command: As a reader types it; `{run}` is the newest run.
        code: The exit code that it must have.
        interrupt_at: Ctrl-C as soon as this stands on the screen; None for never.
    """

    name: str
    command: str
    code: int = 0
    interrupt_at: str | None = None


@dataclass(frozen=True)
class Capture:
    """Commands that belong together, in one folder, one after the other.

    Attributes:
        steps: The commands.
        scripts: What made the output, from the root of the repository.
        prepare: Puts files into the folder first.
    """

    steps: tuple[Step, ...]
    scripts: tuple[str, ...]
    prepare: Callable[[pathlib.Path], None] | None = None


def write_own_rows(folder: pathlib.Path) -> None:
    """Write a CSV file of invented news, and a copy with a mistake in it.

    Args:
        folder: Where.
    """
    lines = []
    for story in newswire.stories(600, seed=7, split="train"):
        words = story.text.split()
        fields = (str(story.label + 1), " ".join(words[:6]), " ".join(words[6:]))
        lines.append(",".join('"' + cell.replace('"', '""') + '"' for cell in fields))
    (folder / "my_news.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines[41] = lines[41].replace(lines[41][:3], '"7"', 1)
    (folder / "broken.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _exercise(name: str, file: str, *, step: str, code: int = 0) -> Capture:
    """An exercise's check of a file in the learner's folder."""
    script = f"chapters/exercises/{file}.py"

    def write_solution(folder: pathlib.Path) -> None:
        (folder / "my_exercises").mkdir()
        own = folder / "my_exercises" / f"{name}.py"
        own.write_bytes((ROOT / script).read_bytes())

    command = f"python -m distrinews exercise check {name}"
    scripts = (f"chapters/exercises/checks/{name}.py", script)
    return Capture((Step(step, command, code),), scripts, write_solution)


def _chapter(name: str, *more: tuple[str, str], code: int = 0) -> Capture:
    """A chapter as its header says, or with flags: pairs of step name and flags."""
    script = f"chapters/{name}.py"
    steps = [
        Step(step, f"python {script} {flags}".strip(), code) for step, flags in more
    ]
    return Capture(tuple(steps), (script,))


CAPTURES = {
    "01_single_gpu": _chapter("01_single_gpu", ("01_single_gpu", "")),
    "01_tiny": _chapter("01_single_gpu", ("01_tiny", "--preset tiny")),
    "02_process_group": _chapter("02_process_group", ("02_process_group", "")),
    "02_three_ranks": _chapter("02_process_group", ("02_three_ranks", "--num-ranks 3")),
    "02_alone": _chapter("02_process_group", ("02_alone", "--num-ranks 1"), code=2),
    "03_data_sharding": _chapter("03_data_sharding", ("03_data_sharding", "")),
    "03_four_ranks": _chapter(
        "03_data_sharding", ("03_four_ranks", "--preset tiny --num-ranks 4")
    ),
    "04_gradient_sync": _chapter("04_gradient_sync", ("04_gradient_sync", "")),
    "04_four_ranks": _chapter(
        "04_gradient_sync", ("04_four_ranks", "--preset tiny --num-ranks 4")
    ),
    "05_ddp_training": Capture(
        (
            Step("05_ddp_training", "python chapters/05_ddp_training.py"),
            Step(
                "05_predict",
                f"python -m distrinews predict --model {{run}} {PREDICTED}",
            ),
        ),
        ("chapters/05_ddp_training.py",),
    ),
    # Chapter 01's batches: the reader sees two processes end where one ended.
    "05_shuffled": _chapter("05_ddp_training", ("05_shuffled", "--batches shuffled")),
    "05_one_rank": _chapter("05_ddp_training", ("05_one_rank", "--num-ranks 1")),
    "05_pieces": _chapter(
        "05_ddp_training",
        ("05_pieces_one", "--preset tiny"),
        ("05_pieces_four", "--preset tiny --accumulation-steps 4"),
    ),
    "05_uneven": _chapter("05_ddp_training", ("05_uneven", "--num-ranks 3"), code=2),
    "06_ddp_benchmark": _chapter("06_ddp_benchmark", ("06_ddp_benchmark", "")),
    "06_tiny": _chapter(
        "06_ddp_benchmark", ("06_tiny", "--preset tiny --num-rounds 20")
    ),
    "own_data": Capture(
        (
            Step("own_data_rows", "head -n 3 my_news.csv"),
            Step(
                "own_data",
                "python chapters/05_ddp_training.py --preset tiny --data my_news.csv "
                "--epochs 4",
            ),
            Step(
                "own_data_broken",
                "python chapters/05_ddp_training.py --preset tiny --data broken.csv",
                code=2,
            ),
        ),
        ("chapters/05_ddp_training.py",),
        write_own_rows,
    ),
    "resume": Capture(
        (
            Step(
                "resume_interrupted",
                f"{FOUR_EPOCHS} --run-name long",
                code=130,
                interrupt_at="step 152:",
            ),
            Step(
                "resume_resumed",
                f"{FOUR_EPOCHS} --run-name long --resume",
            ),
            Step(
                "resume_undisturbed",
                f"{FOUR_EPOCHS} --run-name undisturbed",
            ),
        ),
        ("chapters/05_ddp_training.py",),
    ),
    "exercise_rejected": _exercise(
        "mean_over_all_rows",
        "wrong/mean_over_all_rows__mean_of_means",
        step="exercise_rejected",
        code=1,
    ),
    "exercise_passed": _exercise(
        "mean_over_all_rows", "solutions/mean_over_all_rows", step="exercise_passed"
    ),
}


def screen(written: str) -> str:
    r"""What stands on a terminal after a program wrote this.

    A progress bar is drawn over and over from the line's beginning; only its last state
    stays.

    Args:
        written: All that was written, carriage returns included.

    Returns:
        Lines without trailing blanks, ending with one line end.

    Examples:
        >>> screen("train:  50%\rtrain: 100%\r\ndone")
        'train: 100%\ndone\n'
    """
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    lines = []
    for line in text.split("\n"):
        visible = ""
        for part in line.split("\r"):
            visible = part + visible[len(part) :]
        # What is printed while a bar is there follows it on its line.
        lines.append(re.sub(r"((?:it/s|s/it)[^]]*\])(?=\S)", r"\1\n", visible.rstrip()))
    return "\n".join(lines).strip("\n") + "\n"


def capture(name: str) -> None:
    """Run one capture and keep its output.

    Args:
        name: One of `CAPTURES`.

    Raises:
        SystemExit: A command ended with another exit code than it should.
    """
    selected = CAPTURES[name]
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch, "distrinews")
        folder.mkdir()
        (folder / "chapters").symlink_to(ROOT / "chapters")
        if selected.prepare is not None:
            selected.prepare(folder)
        steps: dict[str, Any] = {}
        for step in selected.steps:
            command = step.command.format(run=_newest_run(folder))
            began_s, others_s = time.monotonic(), _cpu_of_others_s()
            code, written = _run(command, folder, interrupt_at=step.interrupt_at)
            seconds = time.monotonic() - began_s
            others_s = _cpu_of_others_s() - others_s
            if code != step.code:
                raise SystemExit(f"{command}: exit code {code}\n{screen(written)}")
            output = screen(written).replace(str(folder), "~/distrinews")
            path = FOLDER / f"{step.name}.txt"
            path.write_text(output, encoding="utf-8", newline="\n")
            steps[step.name] = {
                "command": command,
                "exit_code": code,
                "seconds": round(seconds, 1),
                # The part of the processor that other programs took meanwhile: above a
                # few percent, the times in the output are no measurements.
                "others_share": _share(others_s, seconds),
                "output_sha256": sha256(path),
            }
    record = {
        "steps": steps,
        "scripts": {script: sha256(ROOT / script) for script in selected.scripts},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": _commit(),
        "environment": machine.describe(),
    }
    text = json.dumps(record, indent=1) + "\n"
    (FOLDER / f"{name}.json").write_text(text, encoding="utf-8", newline="\n")


def _cpu_of_others_s() -> float:
    """Seconds that all processors have computed since the start, but not for us."""
    times = psutil.cpu_times()
    busy = sum(times) - times.idle - getattr(times, "iowait", 0.0)
    # WHY minus guests: Linux counts them in `user`, too.
    busy -= getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    process_times = os.times()
    own_s = (
        process_times.user
        + process_times.system
        + process_times.children_user
        + process_times.children_system
    )
    return float(busy - own_s)


def _share(others_s: float, seconds: float) -> float:
    """The part of all processors; of less than a second the clock says nothing."""
    if seconds < 1:
        return 0.0
    return round(max(0.0, others_s / seconds / (os.cpu_count() or 1)), 3)


def _newest_run(folder: pathlib.Path) -> str:
    """The run that began last, as a reader would type it."""
    runs = sorted((folder / "runs").glob("*"), key=lambda path: path.stat().st_mtime)
    return f"runs/{runs[-1].name}" if runs else "runs/NAME"


@functools.cache
def _commit() -> str:
    done = subprocess.run(
        ("git", "rev-parse", "HEAD"), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _environment(folder: pathlib.Path) -> dict[str, str]:
    """A reader's: none of our settings, and nothing in the cache yet."""
    dropped = {"OMP_NUM_THREADS", "HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM"}
    env = {name: value for name, value in os.environ.items() if name not in dropped}
    parent = folder.parent
    return env | {
        "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{env['PATH']}",
        "DISTRINEWS_CACHE": str(parent / "cache"),
        "HF_HOME": str(parent / "hf"),
        "MPLCONFIGDIR": str(parent / "matplotlib"),
        "PYTHONUTF8": "1",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }


def _run(
    command: str, folder: pathlib.Path, *, interrupt_at: str | None
) -> tuple[int, str]:
    """Run a command in a terminal; return exit code and all that was written."""
    import pexpect

    words = shlex.split(command)
    program = pexpect.spawn(
        words[0],
        words[1:],
        cwd=str(folder),
        env=_environment(folder),
        dimensions=(LINES, COLUMNS),
        timeout=TIMEOUT_S,
        encoding="utf-8",
        codec_errors="replace",
        # WHY: a job in the background has Ctrl-C switched off, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with contextlib.closing(program):
        written = ""
        if interrupt_at is not None:
            program.expect_exact(interrupt_at)
            written = program.before + program.after
            program.delaybeforesend = None  # pexpect would wait 50 ms, and train on
            program.sendintr()
        program.expect(pexpect.EOF)
        written += program.before
    # A signal's number is below zero, as in `subprocess`.
    code = program.exitstatus if program.signalstatus is None else -program.signalstatus
    return code, written


def stale() -> list[str]:
    """Find captures that are not what their scripts would show now.

    Returns:
        A sentence for each fault.
    """
    faults = []
    expected = set()
    for name, selected in CAPTURES.items():
        path = FOLDER / f"{name}.json"
        fix = f"run: python {BASE} {name}"
        expected |= {path.name, *(f"{step.name}.txt" for step in selected.steps)}
        if not path.is_file():
            faults.append(f"no capture {name}: {fix}")
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        if set(record["scripts"]) != set(selected.scripts):
            faults.append(f"stale capture {name}: its scripts are others now; {fix}")
        for script, recorded in record["scripts"].items():
            if sha256(ROOT / script) != recorded:
                faults.append(f"stale capture {name}: {script} changed; {fix}")
        for step in selected.steps:
            faults += _step_faults(step, record["steps"].get(step.name), name=name)
    for path in sorted(FOLDER.iterdir()):
        if path.name not in expected:
            faults.append(f"{path.name} belongs to no capture: delete it")
    return faults


def _step_faults(step: Step, record: dict[str, Any] | None, *, name: str) -> list[str]:
    """What is wrong with one step's file."""
    fix = f"run: python {BASE} {name}"
    path = FOLDER / f"{step.name}.txt"
    if record is None or not path.is_file():
        return [f"no capture {step.name}: {fix}"]
    prefix = step.command.partition("{run}")[0]
    if not record["command"].startswith(prefix):
        return [f"stale capture {step.name}: its command is another now; {fix}"]
    if sha256(path) != record["output_sha256"]:
        return [f"{path.name} was edited by hand; {fix}"]
    return []


def main() -> int:
    """Capture or check.

    Returns:
        The exit code.

    Raises:
        SystemExit: There is no capture of that name.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--check", action="store_true", help="run nothing; compare")
    arguments = parser.parse_args()
    if arguments.check:
        faults = stale()
        print("\n".join(faults), end="\n" * bool(faults))
        return int(bool(faults))
    for name in arguments.names or CAPTURES:
        if name not in CAPTURES:
            raise SystemExit(f"no capture {name}; there are {', '.join(CAPTURES)}")
        began_s = time.monotonic()
        capture(name)
        print(f"{name}: {time.monotonic() - began_s:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
