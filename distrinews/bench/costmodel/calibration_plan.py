"""What a calibration times: steps to fit the cost model to, and others to judge it by.

Promise: no setting is in both. Numbers of ranks between the fitted ones, other bucket
sizes and another depth are judged only.

Not here: timing (`distrinews.bench.costmodel.measurement`), fitting
(`distrinews.bench.costmodel.calibration`).

Letters used for shapes: W = number of ranks, B = rows per rank, T = tokens per row.
Guide: benchmarks/cost-model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from distrinews.bench.costmodel.calibration import DEFAULT_BUCKET_MIB
from distrinews.config.command_settings import CommandSettings

__all__ = ["CalibrationSettings", "PlannedReplica", "plan"]

# (B, T) that computing is fitted to. Other shapes are held out.
FITTED_SHAPES = {
    "tiny": ((8, 16), (8, 64), (32, 32), (32, 96)),
    "minilm": ((4, 16), (4, 64), (16, 32), (8, 96)),
}
OVERLAP_SHAPES = {"tiny": (16, 32), "minilm": (8, 32)}


class CalibrationSettings(CommandSettings):
    """What a calibration measures.

    Examples:
        >>> CalibrationSettings().num_ranks
        4
    """

    preset: Literal["tiny", "minilm"] = Field(
        "minilm",
        description="the largest model: minilm (and tiny, and minilm with half its "
        "layers), or tiny alone, for a quick look",
    )
    num_ranks: int = Field(
        4, gt=0, le=64, description="steps of 1 to this many ranks are timed [ranks]"
    )
    num_rounds: int = Field(
        5, gt=0, le=1000, description="times that each step is timed [rounds]"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="where to compute: auto (GPUs where every rank has its own), cpu, "
        "or cuda, which is refused where there are too few",
    )
    json_path: str | None = Field(
        None, alias="json", min_length=1, description="where to write the numbers"
    )


@dataclass(frozen=True)
class PlannedReplica:
    """A replica to build, and the steps that take turns on it.

    Attributes:
        model: In `sizes.SIZES`.
        world_size: W.
        bucket_mib: DDP's bucket size.
        fitted: Shapes timed within `no_sync`, for the fit.
        overlap: One shape timed whole, for the fit.
        held_out: Shapes timed whole, to judge by.
    """

    model: str
    world_size: int
    bucket_mib: int = DEFAULT_BUCKET_MIB
    fitted: Sequence[tuple[int, int]] = ()
    overlap: Sequence[tuple[int, int]] = ()
    held_out: Sequence[tuple[int, int]] = ()

    def steps(self) -> list[tuple[str, tuple[int, int]]]:
        """List every step as (what it is for, its shape).

        Returns:
            In the order of `fitted`, `overlap`, `held_out`.
        """
        kinds = ("fitted", "overlap", "held_out")
        return [(kind, shape) for kind in kinds for shape in getattr(self, kind)]


def plan(settings: CalibrationSettings) -> list[PlannedReplica]:
    """Say what is timed.

    Args:
        settings: The largest model and number of ranks.

    Returns:
        Planned replicas. No held-out shape is in any `fitted` or `overlap`.

    Examples:
        >>> len(plan(CalibrationSettings(preset="tiny", num_ranks=1)))
        1
    """
    num_ranks = settings.num_ranks
    world_sizes = sorted({
        1,
        min(2, num_ranks),
        num_ranks,
    })  # those between them are predicted only
    planned = [
        PlannedReplica(
            "tiny",
            ranks,
            fitted=FITTED_SHAPES["tiny"],
            overlap=[OVERLAP_SHAPES["tiny"]] if ranks > 1 else [],
            held_out=[(16, 48), (48, 64)] if ranks <= 2 else [(32, 48)],
        )
        for ranks in world_sizes
    ]
    if settings.preset == "tiny":
        return planned
    shapes = {1: [(8, 48), (16, 24), (4, 128)], 2: [(4, 32), (16, 48), (8, 64)]}
    for ranks in world_sizes:
        planned.append(
            PlannedReplica(
                "minilm",
                ranks,
                fitted=FITTED_SHAPES["minilm"],
                overlap=[OVERLAP_SHAPES["minilm"]] if ranks > 1 else [],
                held_out=shapes.get(ranks, [(8, 48), (4, 32)]),
            )
        )
    if num_ranks > 1:
        planned += [
            PlannedReplica("minilm", 2, bucket_mib=4, held_out=[(8, 48)]),
            PlannedReplica("minilm", 2, bucket_mib=1000, held_out=[(8, 48)]),
            PlannedReplica("minilm_3_layers", 2, held_out=[(8, 48)]),
        ]
    if num_ranks > 3:
        planned.append(PlannedReplica("minilm", 3, held_out=[(8, 32), (4, 64)]))
    return [*planned, PlannedReplica("minilm_3_layers", 1, held_out=[(8, 48)])]
