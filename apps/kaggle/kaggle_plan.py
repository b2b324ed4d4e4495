"""Fit the notebook to the machine: two GPUs, one, or none; the Hub, or no network.

Promise: with fewer than two GPUs, or without a network, the notebook goes to its end,
too, and says what its numbers do not mean.

Not here: how long it takes (`site_docs/_tools/numbers_kaggle.py`).

Guide: howto/kaggle.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace

__all__ = ["FULL", "OFFLINE", "SMALL", "Plan", "choose", "has_hub"]

HUB = ("huggingface.co", 443)
HUB_TIMEOUT_S = 5.0

ROUNDS = 20  # of chapter 06: a file of fewer than five is not published
FULL = (
    *("--preset", "distilbert", "--data", "ag_news"),
    *("--save-every-steps", "500"),
)
# Without the Hub: rows that are generated, and weights that come as a package.
OFFLINE = (
    *("--preset", "minilm", "--data", "newswire", "--train-rows", "32000"),
    *("--save-every-steps", "100"),
)
# WHY four epochs of few rows: on a CPU they last some seconds, long enough to be broken
# off in their middle.
SMALL = (
    *("--preset", "tiny", "--data", "ag_news", "--epochs", "4"),
    *("--train-rows", "1280", "--validation-rows", "64", "--test-rows", "200"),
    *("--save-every-steps", "10"),
)


@dataclass(frozen=True)
class Plan:
    """What this machine can do.

    Attributes:
        message: For the reader: what is there, and what follows from it.
        alone: Flags of the run with one rank.
        pair: Flags of the run with two ranks, and of the evaluation's rows.
        measure: Flags of chapter 06.
        record: The file that chapter 06 writes.
    """

    message: str
    alone: tuple[str, ...]
    pair: tuple[str, ...]
    measure: tuple[str, ...]
    record: str

    @property
    def break_after(self) -> str:
        """The checkpoint after which the run with two ranks is interrupted."""
        _, steps = _flag(self.pair, "--save-every-steps")
        return f"step-{2 * int(steps):08d}"

    @property
    def test_rows(self) -> tuple[str, ...]:
        """The flag that chooses the rows which the run with two ranks was tested on."""
        return _flag(self.pair, "--test-rows")

    @property
    def rows(self) -> tuple[str, ...]:
        """The flag that names what the run with two ranks was trained on."""
        return _flag(self.pair, "--data")

    @property
    def comparable(self) -> bool:
        """Whether one rank and two train the same thing."""
        return self.alone == self.pair


def _flag(flags: tuple[str, ...], name: str) -> tuple[str, ...]:
    """A flag and its value; nothing where it is not given."""
    if name not in flags:
        return ()
    index = flags.index(name)
    return flags[index : index + 2]


def has_hub() -> bool:
    """Say whether models and rows of the Hub can be had.

    Returns:
        Whether it answers, or `HF_HUB_OFFLINE` says that its files are here already.
    """
    if os.environ.get("HF_HUB_OFFLINE"):
        return True
    try:
        socket.create_connection(HUB, HUB_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _settings(*, hub: bool, weights: bool, rows: str | None) -> tuple[str, ...]:
    """The flags of a full run with what can be had: the Hub's, or yours, or ours."""
    flags = list(FULL if hub or rows else OFFLINE)
    if not hub:
        preset = "distilbert" if weights else "minilm"
        flags[flags.index("--preset") + 1] = preset
    if rows:
        flags[flags.index("--data") + 1] = rows
    return tuple(flags)


def choose(
    gpus: Sequence[str],
    *,
    refused: Sequence[str] = (),
    wanted: str = "full",
    hub: bool = True,
    weights: bool = False,
    rows: str | None = None,
) -> Plan:
    """Fit the notebook to the machine.

    Args:
        gpus: What `Commands.gpus` returned: the names of the usable ones.
        refused: Why others are not usable, such as a P100.
        wanted: "full", or "small": quick on any machine.
        hub: Whether the Hub can be had. Without it the rows are newswire's, and the
            model minilm unless there are weights of DistilBERT.
        weights: Whether a data set with DistilBERT's weights is attached.
        rows: Rows of yours, as `--data` takes them; None: AG News.

    Returns:
        The plan. With two GPUs or more everything; with one, only the run with one
        rank is full; without, both are small, on the CPU, and go to the end, too.

    Raises:
        ValueError: `wanted` is neither.
    """
    if wanted not in ("full", "small"):
        raise ValueError(f"DISTRINEWS_NOTEBOOK is {wanted!r}: full or small.")
    full = _settings(hub=hub, weights=weights, rows=rows)
    few = list(SMALL)
    few[few.index("--data") + 1] = rows or ("ag_news" if hub else "newswire")
    on_cpu = ("--device", "cpu", "--num-rounds", "2")
    small = Plan("", tuple(few), tuple(few), (*few, *on_cpu), "cpu_scaling.json")
    noun = "GPU" if len(gpus) == 1 else "GPUs"
    available = f"{len(gpus)} {noun}: {', '.join(gpus)}." if gpus else "No GPU."
    if refused:
        none = "" if gpus else " that torch can compute on"
        available = f"{available[:-1]}{none}. Not usable: {'; '.join(refused)}."
    if not hub:
        (_, preset), (_, data) = (_flag(full, name) for name in ("--preset", "--data"))
        available += f" No Hub: the rows are {data}, and {preset} is the full model."
    if wanted == "small":
        return replace(small, message=f"{available} Small settings, as asked for.")
    if not gpus:
        return replace(
            small,
            message=f"{available} Small settings on the CPU: you see every step, and "
            "numbers that say nothing about a GPU. For the real thing: Settings, "
            "Accelerator, GPU T4 x2, and start again.",
        )
    if len(gpus) == 1:
        return replace(
            small,
            alone=full,
            message=f"{available} One rank trains in full; two ranks need two GPUs, so "
            "they train with small settings on the CPU. For both: Settings, "
            "Accelerator, GPU T4 x2, and start again.",
        )
    is_t4 = all("T4" in gpu for gpu in gpus) and full == FULL
    name = "t4_scaling.json" if is_t4 else "gpu_scaling.json"
    measure = (*full, "--device", "cuda", "--num-rounds", str(ROUNDS))
    message = f"{available} Full settings: one rank, then two."
    return Plan(message, full, full, measure, name)
