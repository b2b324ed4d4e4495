"""A lab: a classic failure of DDP, broken on purpose, with its detector and its cure.

Promise: the failure is real. Real processes run the broken story; what a learner sees
is what torch says, or nothing at all where the bug is silent, and then what the
detector says. A hang ends after seconds and names who waited where. Nothing is left
behind: no process, no port, no file.

A lab file (`chapters/labs/NAME.py`) holds two stories, `broken` and `fixed`, and a
`detect` that judges what a story returned. `Lab.main` plays one of them.

Offered here, written next door: the model and the rows (`distrinews.course.lab_rows`).

Not here: finding labs, showing and checking them (`distrinews.cli.lab_commands`).

Guide: learn/labs.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as torch_dist

from distrinews import dist
from distrinews.course.lab_process import LAUNCHER_VARIABLES, Finished, play
from distrinews.course.lab_rows import (
    gradient_norm,
    loss_on,
    own_rows,
    small_data,
    small_model,
)
from distrinews.errors import LabError, WrongResultError
from distrinews.system import console
from distrinews.system.signals import cleanup_on_signal

__all__ = [
    "ENDED",
    "NOTHING_WRONG",
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

ENDED = "-- the story ended without an error; now the detector looks --"
NOTHING_WRONG = "-- the detector finds nothing wrong --"
# Where a lab's ranks may write; removed when it ends.
FOLDER_VARIABLE = "DISTRINEWS_LAB_FOLDER"
# WHY so long: this is no wait of the lab's own. A busy machine may take a while to load
# torch in every rank, and a lab must not call that a hang.
START_TIMEOUT_S = 90.0


Story = Callable[..., Any]


@dataclass(frozen=True)
class Lab:
    """One failure: the stories, the detector, and what is seen when it strikes.

    Attributes:
        broken: The story with the bug. With ranks it is called as `broken(ranks)` in
            each of them, else as `broken()`.
        fixed: The same story without it.
        detect: Called as `detect(ranks, got)` with what the story returned, on every
            rank; may hold collectives. Raises when the story's promise is broken.
        symptom: Regular expression: what is found in the output when the bug strikes.
        num_ranks: Processes; 0 for a story that starts its processes itself.
        timeout_s: How long a collective of the story waits for the other ranks.
    """

    broken: Story
    fixed: Story
    detect: Callable[[dist.Ranks, Any], None]
    symptom: str
    num_ranks: int = 2
    timeout_s: float = 4.0

    def main(self) -> None:
        """Play the story that the arguments name, under the detector."""
        console.quiet_interrupts()
        parser = argparse.ArgumentParser()
        parser.add_argument(
            "story", nargs="?", default="broken", choices=("broken", "fixed")
        )
        parser.add_argument(
            "--judge", help="the lab whose detector looks [default: this file's]"
        )
        given = parser.parse_args()
        story: Story = getattr(self, given.story)
        judge = given.judge or os.path.abspath(sys.argv[0])
        console.run(lambda: self._play(story, judge))

    def _play(self, story: Story, judge: str) -> None:
        for name in LAUNCHER_VARIABLES:
            os.environ.pop(name, None)
        with (
            cleanup_on_signal(),
            tempfile.TemporaryDirectory(prefix="distrinews-lab-") as own,
        ):
            os.environ[FOLDER_VARIABLE] = own
            # torch makes this folder when DDP is built (2.13), and leaves it there.
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(own, "inductor")
            if self.num_ranks == 0:
                _judge(story(), judge, dist.current())
                return
            dist.launch(
                _act,
                *(story, judge, self.timeout_s),
                num_ranks=self.num_ranks,
                timeout_s=START_TIMEOUT_S,
            )


def _act(ranks: dist.Ranks, story: Story, judge: str, timeout_s: float) -> None:
    """One rank: play the story, wait for the others, let the detector look."""
    if ranks.world_size > 1:
        # There is no public way to change a group's timeout (torch 2.13). WHY not from
        # the start: see START_TIMEOUT_S.
        shorter: Any = torch_dist.distributed_c10d._set_pg_timeout
        shorter(timedelta(seconds=timeout_s))
    got = story(ranks)
    at_the_end_of_its_story(ranks)
    _judge(got, judge, ranks)


def at_the_end_of_its_story(ranks: dist.Ranks) -> None:
    """Wait for the other ranks, without a collective.

    Why: a rank that ended its story too early must not meet the others' collectives
    with those of the detector. It waits here, and a hang names this place.

    Args:
        ranks: Who this process is.
    """
    (folder() / f"ended-{ranks.rank}").touch()
    everyone = [folder() / f"ended-{rank}" for rank in range(ranks.world_size)]
    while not all(file.exists() for file in everyone):
        time.sleep(0.02)


def _judge(got: Any, judge: str, ranks: dist.Ranks) -> None:
    """Let the lab's detector look at what the story returned."""
    if ranks.is_main:
        print(ENDED, flush=True)
    if got is None:  # the same on every rank: they play the same story
        raise LabError(
            "the story returned nothing.",
            why="the detector looks at what a story returns.",
            fix="keep the return statement of the lab.",
            page="labs",
        )
    # WHY from the file: a learner's copy of a lab is judged by the lab's own detector.
    spec = importlib.util.spec_from_file_location("lab_that_judges", judge)
    if spec is None or spec.loader is None:
        raise LabError(
            f"{judge} is no Python file.",
            why="the detector stands in it.",
            fix="python -m distrinews lab list",
            page="labs",
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.LAB.detect(ranks, got)
    if ranks.is_main:
        print(NOTHING_WRONG, flush=True)


def folder() -> pathlib.Path:
    """Name the folder that a lab's ranks share; it is gone when the lab ends.

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
    everyone = dist.gather_objects((got, want, _same(got, want)))
    if all(right for _, _, right in everyone):
        return
    held = ", ".join(
        f"{_text(value)} on rank {rank}" for rank, (value, _, _) in enumerate(everyone)
    )
    wanted = " / ".join(dict.fromkeys(_text(value) for _, value, _ in everyone))
    raise WrongResultError(
        f"{what}: {held}; right is {wanted}.",
        why="a program may end well and be wrong: compare it with what is known.",
        fix="edit `broken` in a copy of the lab until its check passes.",
        page="labs",
    )


def _same(got: Any, want: Any) -> bool:
    if isinstance(got, list) and isinstance(want, list):
        return len(got) == len(want) and all(map(_same, got, want))
    if isinstance(got, float) or isinstance(want, float):
        # WHY a tolerance: the sum of float32 numbers depends on their order.
        return math.isclose(got, want, rel_tol=1e-5, abs_tol=1e-7)
    return bool(got == want)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def run_script(text: str, *arguments: str, through: tuple[str, ...] = ()) -> Finished:
    """Run a script of its own, as a learner would type it; its output is shown.

    Args:
        text: The script.
        *arguments: Its own arguments.
        through: What stands between Python and the script, e.g. `("-m", "torchrun")`.

    Returns:
        Exit code and output.
    """
    script = folder() / "train.py"
    script.write_text(text, encoding="utf-8")
    return play((*through, str(script), *arguments), cwd=folder())
