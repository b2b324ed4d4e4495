"""Check whether the replicas are still equal, and name the tensor that differs.

Data parallelism relies on replicas that stay equal without ever being compared. A bug
that breaks this raises nothing: the loss still falls. So compare them from time to
time.

Not here: keeping them equal (`distrinews.sync`).

Letters used for shapes: P = shape of one parameter, W = number of ranks.
Guide: understand/gradient-sync.
"""

from __future__ import annotations

import zlib
from typing import NoReturn

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist
from distrinews.errors import ReplicasDifferError

__all__ = ["assert_replicas_equal", "max_parameter_gap"]


def max_parameter_gap(model: nn.Module) -> float:
    """Measure how far the replicas are apart: 0.0 if they are equal.

    Why: the number shows how far replicas have drifted. For checks during training use
    `assert_replicas_equal`, which sends a hundred times fewer bytes.

    Collective: every rank must call it.

    Args:
        model: Same architecture on every rank.

    Returns:
        The largest difference between two ranks of any element of any parameter; the
        same number on every rank. NaN if an element is NaN on any rank.

    Note:
        Cost: two all-reduces per parameter tensor, of its bytes each.

    Examples:
        >>> max_parameter_gap(nn.Linear(2, 1))  # alone: equal to itself
        0.0
    """
    if dist.current().world_size == 1:
        return 0.0
    gap = 0.0
    for param in model.parameters():
        if param.numel() == 0:  # has no largest element
            continue
        highest, lowest = param.detach().clone(), param.detach().clone()
        torch_dist.all_reduce(highest, op=torch_dist.ReduceOp.MAX)
        torch_dist.all_reduce(lowest, op=torch_dist.ReduceOp.MIN)
        # torch.maximum, because Python's max() keeps or drops a NaN depending on the
        # order.
        difference = (highest - lowest).abs().max().double().cpu()
        gap = float(torch.maximum(torch.tensor(gap, dtype=torch.float64), difference))
    # Check again: gloo's maximum of 1 and NaN depends on which came first, so a NaN on
    # one rank only could vanish above.
    num_nan = sum(int(torch.isnan(param).any()) for param in model.parameters())
    return float("nan") if dist.sum_over_ranks(num_nan) else gap


def assert_replicas_equal(model: nn.Module, *, buffers: bool = False) -> None:
    """Raise on every rank if any parameter differs between ranks.

    Why: it turns a silent drift into an error that names the first tensor that drifted,
    and is cheap enough for every hundredth step of a long run.

    Collective: every rank must call it.

    Args:
        model: Same architecture on every rank.
        buffers: Also compare buffers. After a training step a healthy BatchNorm's
            buffers differ: DDP copies them in the next forward, not before.

    Raises:
        ReplicasDifferError: Some tensor differs in any bit. On every rank; names the
            first such tensor, in the model's order, and which ranks agree.

    Note:
        Cost: reads the model once (for a checksum; on a GPU it also copies it to the
        CPU) and one all-gather of a few bytes per tensor. A CRC32 misses one difference
        in four billion.

    Examples:
        >>> assert_replicas_equal(nn.Linear(2, 1))
    """
    named = [*model.named_parameters(), *(model.named_buffers() if buffers else ())]
    local_checksums = [(name, _checksum(tensor.detach())) for name, tensor in named]
    all_checksums = dist.gather_objects(local_checksums)
    # No vote from here on: all ranks look at the same list.
    if len({len(checksums) for checksums in all_checksums}) > 1:
        _raise_differ(
            "the number of tensors", [len(checksums) for checksums in all_checksums]
        )
    parameters = {name for name, _ in model.named_parameters()}
    for column in zip(*all_checksums, strict=True):
        if len(set(column)) > 1:
            name, checksums = column[0][0], [checksum for _, checksum in column]
            _raise_differ(name, checksums, is_buffer=name not in parameters)


def _checksum(tensor: torch.Tensor) -> int:
    """CRC32 over the bytes: 0.0 and -0.0 differ, two equal NaNs do not."""
    data = tensor.contiguous().cpu().view(-1).view(torch.uint8).numpy()
    return zlib.crc32(data.data) if data.size else 0


def _raise_differ(name: str, values: list[int], *, is_buffer: bool = False) -> NoReturn:
    ranks_by_value: dict[int, list[int]] = {}
    for rank, value in enumerate(values):
        ranks_by_value.setdefault(value, []).append(rank)
    groups = " / ".join(f"ranks {ranks}" for ranks in ranks_by_value.values())
    what = f"the replicas differ in {name!r} first: {groups} hold different values."
    if is_buffer:
        raise ReplicasDifferError(
            what,
            why="each rank holds the statistics of its own rows; an evaluation would "
            "use as many models as there are ranks, and a checkpoint rank 0's.",
            fix="sync.broadcast_buffers(model) before you evaluate or compare.",
            page="batchnorm-per-rank",
        )
    raise ReplicasDifferError(
        what,
        why="each rank now trains its own model; their average gradient belongs to "
        "none of them, and the checkpoint would hold rank 0's only.",
        fix="give every rank the same start (training.seed_weights, or wrap the model "
        "in DDP before changing it) and let every backward of a step's last "
        "micro-batch communicate.",
        page="replicas-differ",
    )
