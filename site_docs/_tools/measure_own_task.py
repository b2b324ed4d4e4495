"""Compare the template of an own task with accelerate and Fabric: `own_task.json`.

The same digits in three programs: `chapters/own_task.py` and those in
`tests/helpers/rivals`. Each is run undisturbed twice, killed in mid-epoch and resumed,
and meets five mistakes; kept are whether the last weights are the same to the bit, the
rows that an evaluation counted, and how many lines of stderr a mistake costs.

`python site_docs/_tools/measure_own_task.py [NAME ...]` renews the file, or some of
the programs in it, in about two minutes a program on two quiet cores. No figure is a
time, so other programs may run meanwhile.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from records import RESULTS, ROOT
from safetensors.torch import load_file

from distrinews.bench import results

HELPERS = ROOT / "tests" / "helpers"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
TIMEOUT_S = 300
ENVIRONMENT = {
    # Without it torchrun would print a warning of its own.
    "OMP_NUM_THREADS": "1",
    # What `accelerate launch --cpu` sets; without it each rank would train alone.
    "ACCELERATE_USE_CPU": "true",
}
LAST_STEP, SAVED_AT, SAVED_BEFORE, KILLED_AT = 400, 160, 120, 165
STEP_LINE = re.compile(r"^( *)optimizer\.step\(\)$", re.MULTILINE)
OTHER_MODEL = {
    "nn.Linear(64, 64), nn.BatchNorm1d(64)": "nn.Linear(64, 32), nn.BatchNorm1d(32)",
    "nn.Linear(64, 10)": "nn.Linear(32, 10)",
}
# What a thread of gloo says when it aborts a program that is at its end: see
# `_destroy_groups` in `distrinews.dist.process_group`.
ABORTED, MAX_ABORTS = "terminate called without an active exception", 5
# What a message must say to name the cause.
CAUSES = {
    "raise": r"row 4711 has no label",
    "leave": r"[Rr]ank 1\b.*\b(left|ended|exited)\b",
    "kill": r"SIGKILL|[Ss]ignal 9",
    "model": r"(?s)0\.weight.*64.*32",
    "damage": rf"step-{SAVED_AT:08d}",
}


def _safetensors(name: str) -> Callable[[pathlib.Path], dict[str, torch.Tensor]]:
    return lambda folder: load_file(folder / f"step-{LAST_STEP:08d}" / name)


def _fabric_weights(folder: pathlib.Path) -> dict[str, torch.Tensor]:
    path = folder / f"step-{LAST_STEP:08d}.ckpt"
    weights: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model"]
    return weights


@dataclasses.dataclass(frozen=True)
class Program:
    """One of the programs to compare.

    Attributes:
        path: The file.
        launcher: What stands between `python` and the file.
        weights: Reads the last checkpoint in a folder of them.
        package: Whose version is kept.
    """

    path: pathlib.Path
    launcher: tuple[str, ...]
    weights: Callable[[pathlib.Path], dict[str, torch.Tensor]]
    package: str


OWN, RIVALS = ROOT / "chapters" / "own_task.py", HELPERS / "rivals"
PROGRAMS = {
    "own": Program(OWN, (), _safetensors("weights.safetensors"), "distrinews"),
    "own_torchrun": Program(
        OWN, TORCHRUN, _safetensors("weights.safetensors"), "distrinews"
    ),
    "accelerate": Program(
        RIVALS / "accelerate_digits.py",
        TORCHRUN,
        _safetensors("model.safetensors"),
        "accelerate",
    ),
    "fabric": Program(
        RIVALS / "fabric_digits.py", TORCHRUN, _fabric_weights, "lightning-fabric"
    ),
}


def run(program: Program, folder: pathlib.Path, text: str = "") -> dict[str, Any]:
    """Run a program, or a changed text of it, and wait for its end.

    Args:
        program: Which.
        folder: Its working directory; made if need be.
        text: What to run in place of the file.

    Returns:
        `exit_code`, None if it was still running after five minutes; `out`, `err`.
    """
    folder.mkdir(exist_ok=True)
    path = folder / program.path.name
    path.write_text(text or program.path.read_text(encoding="utf-8"), encoding="utf-8")
    search_path = os.pathsep.join([str(ROOT), str(HELPERS)])
    process = subprocess.Popen(
        (sys.executable, *program.launcher, str(path)),
        cwd=folder,
        env=os.environ | ENVIRONMENT | {"PYTHONPATH": search_path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    exit_code: int | None = None
    try:
        out, err = process.communicate(timeout=TIMEOUT_S)
        exit_code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    return {"exit_code": exit_code, "out": out, "err": err}


def with_mishap(program: Program, action: str) -> str:
    """The program's text, in which the last rank acts after 165 steps."""
    text = program.path.read_text(encoding="utf-8")
    call = rf"\g<0>\n\g<1>mishaps.end_step({KILLED_AT}, {action!r})"
    changed, num_places = STEP_LINE.subn(call, text)
    if num_places != 1:
        raise SystemExit(f"{program.path} steps in {num_places} places")
    return changed.replace("import torch\n", "import mishaps\nimport torch\n", 1)


def with_other_model(program: Program) -> str:
    """The program's text with a smaller hidden layer."""
    text = program.path.read_text(encoding="utf-8")
    for old, new in OTHER_MODEL.items():
        if text.count(old) != 1:
            raise SystemExit(f"{program.path} holds {old!r} {text.count(old)} times")
        text = text.replace(old, new)
    return text


def cut_off(checkpoint: pathlib.Path) -> None:
    """Leave half of the largest file of a checkpoint: the disk was full."""
    files = [p for p in [checkpoint, *checkpoint.rglob("*")] if p.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)


def digest(weights: dict[str, torch.Tensor]) -> str:
    """A fingerprint of the bits of all tensors."""
    flat = torch.cat([weights[name].flatten().double() for name in sorted(weights)])
    return hashlib.sha256(flat.numpy().tobytes()).hexdigest()


def message(done: dict[str, Any], mistake: str, usual: int) -> dict[str, Any]:
    """What of an ended run says something about a mistake.

    Args:
        done: What `run` returned.
        mistake: A key of `CAUSES`.
        usual: How many lines of stderr an undisturbed run prints.

    Returns:
        `exit_code`; how many more `lines` were on stderr; `blamed_rank`, the first one
        that torchrun's summary names, or, without torchrun, the message; `names_cause`;
        `first_epoch` that was evaluated, None if none was.
    """
    err = done["err"]
    blamed = re.search(r"Root Cause[\s\S]*?rank +: (\d+)", err)
    blamed = blamed or re.search(r"\b[Rr]ank (\d+)\b", err)
    epoch = re.search(r"^epoch (\d+):", done["out"], re.MULTILINE)
    return {
        "exit_code": done["exit_code"],
        "lines": max(0, len(err.splitlines()) - usual),
        "blamed_rank": int(blamed[1]) if blamed else None,
        "names_cause": bool(re.search(CAUSES[mistake], err)),
        "first_epoch": int(epoch[1]) if epoch else None,
    }


def compare(program: Program, folder: pathlib.Path) -> dict[str, Any]:
    """Run everything that is compared.

    Args:
        program: Which.
        folder: An empty one.

    Returns:
        The figures of this program.

    Raises:
        SystemExit: It failed undisturbed.
    """
    digests, num_aborts = [], 0
    for name in ("whole", "again"):
        done = run(program, folder / name)
        while num_aborts < MAX_ABORTS and ABORTED in done["err"]:
            num_aborts += 1
            shutil.rmtree(folder / name)
            done = run(program, folder / name)
        if done["exit_code"]:
            raise SystemExit(done["err"])
        digests.append(digest(program.weights(folder / name / "runs" / "digits")))
    counted = {int(rows) for rows in re.findall(r"of (\d+) test rows", done["out"])}
    usual = len(done["err"].splitlines())
    mistakes = {}
    for name in ("raise", "leave", "kill"):
        done = run(program, folder / name, with_mishap(program, name))
        mistakes[name] = message(done, name, usual)
    killed = folder / "kill"
    for name in ("model", "damage"):
        shutil.copytree(killed, folder / name)
    done = run(program, folder / "model", with_other_model(program))
    mistakes["model"] = message(done, "model", usual)
    [newest] = (folder / "damage" / "runs" / "digits").glob(f"step-{SAVED_AT:08d}*")
    cut_off(newest)
    done = run(program, folder / "damage")
    mistakes["damage"] = message(done, "damage", usual)
    resumed = run(program, killed)
    weights = program.weights(killed / "runs" / "digits")
    first_epoch = re.search(r"^epoch (\d+):", resumed["out"], re.MULTILINE)
    return {
        "version": importlib.metadata.version(program.package),
        "launcher": "torchrun" if program.launcher else "python",
        "lines": len(program.path.read_text(encoding="utf-8").splitlines()),
        "rows_counted": sorted(counted),
        "aborts_at_the_end": num_aborts,
        "repeats_to_the_bit": len({*digests}) == 1,
        "resumed_in_epoch": int(first_epoch[1]) if first_epoch else None,
        "resumes_to_the_bit": digest(weights) == digests[0],
        "mistakes": mistakes,
    }


def main() -> int:
    """Measure and write.

    Returns:
        The exit code.
    """
    path, names = RESULTS / "own_task.json", sys.argv[1:] or [*PROGRAMS]
    figures = results.read(path)["figures"] if path.exists() else {}
    settings = {
        "test_rows": 297,
        "steps_per_epoch": 50,
        "saved_at": [SAVED_BEFORE, SAVED_AT],
        "killed_at": KILLED_AT,
        "timeout_s": TIMEOUT_S,
    }
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            figures[name] = compare(PROGRAMS[name], pathlib.Path(folder))
        record = results.build_record(
            "own_task", figures=figures, settings=settings, num_ranks=2
        )
        results.write(path, record)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
