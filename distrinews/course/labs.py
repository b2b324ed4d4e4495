"""A lab: a classic failure of DDP, broken on purpose, with its detector and its cure.

The failure is real: real processes run the broken version. A learner sees torch's
error, or no error at all if the bug is silent, and then the detector's verdict. A hang
ends after seconds with a message that names which rank waited where. No process, port
or file is left behind.

A lab file (`chapters/labs/NAME.py`) holds two versions of a program, `broken` and
`fixed`, and a `detect` that checks what a version returned. `Lab.main` runs one of
them.

Re-exported here: the model and the rows (`distrinews.course.lab_rows`).

Not here: finding labs, showing and checking them (`distrinews.cli.lab_commands`).

Guide: learn/labs.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distrinews import dist
from distrinews.course import file_gather
from distrinews.course.exercise_values import disagreement, same
from distrinews.course.lab_process import (
    LAUNCHER_VARIABLES,
    NOTHING_WRONG,
    Finished,
    run,
)
from distrinews.course.lab_rows import (
    gradient_norm,
    loss_on,
    own_rows,
    small_data,
    small_model,
)
from distrinews.dist import process_group
from distrinews.errors import LabError, WrongResultError
from distrinews.system import checkout, console
from distrinews.system.signals import cleanup_on_signal

__all__ = [
    "ENDED",
    "Lab",
    "expect",
    "folder",
    "gradient_norm",
    "loss_on",
    "own_rows",
    "run_script",
    "small_data",
    "small_model",
]

ENDED = "-- the lab ended without an error; now the detector looks --"
# The folder that a lab's ranks may write to; removed when the lab ends.
FOLDER_VARIABLE = "DISTRINEWS_LAB_FOLDER"
# WHY so long: this limits the start, not the lab. A busy machine may take a while to
# load torch in every rank, and a lab must not report that as a hang.
START_TIMEOUT_S = 90.0

# One version of a lab's program: `broken` or `fixed`.
Version = Callable[..., Any]


@dataclass(frozen=True)
class Lab:
    """One failure: both versions, the detector, and the symptom.

    Attributes:
        broken: The version with the bug. Called as `broken(ranks)` on every rank, or as
            `broken()` if `num_ranks` is 0.
        fixed: The same program without the bug.
        detect: Called on every rank as `detect(ranks, got)` with the version's result;
            it may call collectives. Raises if the result is wrong.
        symptom: Regular expression that matches the output of the broken version.
        num_ranks: Processes; 0 for a version that starts its processes itself.
        timeout_s: How long a collective of the lab waits for the other ranks.
    """

    broken: Version
    fixed: Version
    detect: Callable[[dist.Ranks, Any], None]
    symptom: str
    num_ranks: int = 2
    timeout_s: float = 4.0

    def main(self) -> None:
        """Run the version that the arguments name, then let the detector check it."""
        parser = argparse.ArgumentParser()
        parser.add_argument(
            "version", nargs="?", default="broken", choices=("broken", "fixed")
        )
        parser.add_argument(
            "--detector", help="the lab whose detector looks [default: this file's]"
        )
        args = parser.parse_args()
        version: Version = getattr(self, args.version)
        detector_file = args.detector or os.path.abspath(sys.argv[0])
        console.run(lambda: self._run(version, detector_file))

    def _run(self, version: Version, detector_file: str) -> None:
        for name in LAUNCHER_VARIABLES:
            os.environ.pop(name, None)
        with (
            cleanup_on_signal(),
            # Windows cannot delete a file that a virus scanner has open.
            tempfile.TemporaryDirectory(
                prefix="distrinews-lab-", ignore_cleanup_errors=True
            ) as shared,
        ):
            os.environ[FOLDER_VARIABLE] = shared
            # torch creates this folder when DDP is built (2.13), and does not delete
            # it.
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(shared, "inductor")
            if self.num_ranks == 0:
                _detect(version(), detector_file, dist.current())
                return
            dist.launch(
                _run_rank,
                *(version, detector_file, self.timeout_s),
                num_ranks=self.num_ranks,
                timeout_s=START_TIMEOUT_S,
            )


def _run_rank(
    ranks: dist.Ranks, version: Version, detector_file: str, timeout_s: float
) -> None:
    """One rank: run the version, wait for the other ranks, run the detector."""
    process_group.set_timeout(timeout_s)  # not from the start: see START_TIMEOUT_S
    got = version(ranks)
    # Through files, because the detector's collectives must not be matched with those
    # of a rank that still runs its version. A rank that returned too early waits here.
    file_gather.gather_objects(None, ranks, folder=folder(), name="ended")
    _detect(got, detector_file, ranks)


def _detect(got: Any, detector_file: str, ranks: dist.Ranks) -> None:
    """Let the lab's detector check a version's result."""
    if ranks.is_main:
        print(ENDED, flush=True)
    if got is None:  # the same on every rank: they run the same version
        raise LabError(
            "the lab returned nothing.",
            why="the detector looks at what a version returns.",
            fix="keep the return statement of the lab.",
            page="labs",
        )
    # From the file, because the lab's own detector checks a learner's copy of the lab.
    module = checkout.load_file(detector_file, error=LabError, page="labs")
    module.LAB.detect(ranks, got)
    if ranks.is_main:
        print(NOTHING_WRONG, flush=True)


def folder() -> pathlib.Path:
    """Return the folder that a lab's ranks share; it is deleted when the lab ends.

    Returns:
        The same path on every rank.

    Raises:
        LabError: No lab is running. On this rank only.

    Examples:
        >>> folder()
        Traceback (most recent call last):
        ...
        distrinews.errors.LabError: no lab is running.
          why:  its folder is made when it starts.
          fix:  python -m distrinews lab run NAME
          more: troubleshooting/#labs
    """
    if FOLDER_VARIABLE not in os.environ:
        raise LabError(
            "no lab is running.",
            why="its folder is made when it starts.",
            fix="python -m distrinews lab run NAME",
            page="labs",
        )
    return pathlib.Path(os.environ[FOLDER_VARIABLE])


def expect(what: str, got: Any, *, want: Any) -> None:
    """Raise on every rank unless every rank holds the right value.

    Collective: every rank must call it.

    Args:
        what: Name of the value, for the message.
        got: What this rank holds: a plain value, or a list of them.
        want: What it should hold; floats may differ in their last digits.

    Raises:
        WrongResultError: Some rank holds something else. On every rank.

    Note:
        Cost: two small all-gathers.

    Examples:
        >>> expect("rows counted", 9, want=8)
        Traceback (most recent call last):
        ...
        distrinews.errors.WrongResultError: rows counted: 9 on rank 0; right is 8.
          why:  a program may end well and be wrong: compare it with what is known.
          fix:  edit `broken` in a copy of the lab until its check passes.
          more: troubleshooting/#labs
    """
    text = disagreement(
        what, dist.gather_objects((_text(got), _text(want), same(got, want)))
    )
    if not text:
        return
    raise WrongResultError(
        text,
        why="a program may end well and be wrong: compare it with what is known.",
        fix="edit `broken` in a copy of the lab until its check passes.",
        page="labs",
    )


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def run_script(text: str, *arguments: str, launcher: tuple[str, ...] = ()) -> Finished:
    """Run a separate script, as a learner would, and show its output.

    Args:
        text: The script.
        *arguments: The script's arguments.
        launcher: Words between Python and the script, e.g. `("-m", "torchrun")`.

    Returns:
        Exit code and output.
    """
    script = folder() / "train.py"
    script.write_text(text, encoding="utf-8")
    return run((*launcher, str(script), *arguments), cwd=folder())
