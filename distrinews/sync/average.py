"""Average gradients after backward: three versions, each faster than the one before.

Clip after averaging: every rank then holds the gradient of the global batch, so its
norm is the global norm, the same number on every rank, and
`torch.nn.utils.clip_grad_norm_` needs no communication. Clipping before would scale
each rank's gradient by its own norm, and the mean would differ from the gradient of one
process.

Not here: averaging while backward still runs (`distrinews.sync.overlap`), versions that
look right but are wrong (`distrinews.sync.wrong`).

Letters used for shapes: P = shape of one parameter, W = number of ranks.
Guide: understand/gradient-sync.
"""

from __future__ import annotations

import contextlib
import math

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist
from distrinews.errors import MissingGradientError
from distrinews.sync.overlap import BUCKET_BYTES, cut_into_buckets

__all__ = [
    "average_gradients",
    "average_gradients_flat",
    "average_gradients_in_buckets",
    "average_gradients_weighted",
    "no_sync_unless",
    "uneven_loss_weight",
]


def average_gradients(model: nn.Module) -> None:
    """Replace each gradient by its mean over all ranks, in place: the first variant.

    This is DDP without its two speed tricks, buckets and overlap. Read it to
    understand DDP; train with `DistributedDataParallel`.

    Collective: every rank must call it, after `backward()`.

    Args:
        model: Same architecture on every rank. Every trainable parameter of shape P
            carries a gradient of shape P.

    Raises:
        MissingGradientError: Some rank has a trainable parameter without a gradient.
            Raised on every rank, so no rank is left waiting.

    Note:
        Cost: one all-reduce per parameter tensor, 4 bytes per float32 element, and a
        vote of 8 bytes. The mean equals the single-process gradient only if all ranks
        hold the same number of rows; otherwise use `average_gradients_weighted`.

    Source: Li et al., PyTorch Distributed, VLDB 2020, section 3.2.

    Examples:
        >>> layer = nn.Linear(2, 1)
        >>> layer(torch.ones(4, 2)).sum().backward()
        >>> average_gradients(layer)  # one process: the mean of one value
        >>> layer.bias.grad
        tensor([4.])
    """
    ranks = dist.current()
    gradients = _all_gradients(model)
    if ranks.world_size == 1:
        return
    for gradient in gradients:
        torch_dist.all_reduce(gradient)
        gradient /= ranks.world_size  # all_reduce sums; DDP promises the mean


def average_gradients_flat(model: nn.Module) -> None:
    """Average all gradients as one long tensor: the second variant.

    Why: every all-reduce costs a fixed time, even for a small tensor, because all ranks
    have to join it. A DistilBERT has a hundred tensors, most of them tiny. But nothing
    can be sent before the last gradient is ready, and the long tensor is a second copy
    of all gradients.

    Collective: every rank must call it, after `backward()`.

    Args:
        model: As for `average_gradients`.

    Raises:
        MissingGradientError: As `average_gradients`, on every rank.

    Note:
        Cost: one all-reduce per dtype and device of all bytes, a vote of 8 bytes, and
        memory for one more copy of the gradients.

    Source: Li et al., PyTorch Distributed, VLDB 2020, section 3.2.2.

    Examples:
        >>> layer = nn.Linear(2, 1)
        >>> layer(torch.ones(4, 2)).sum().backward()
        >>> average_gradients_flat(layer)
        >>> layer.bias.grad
        tensor([4.])
    """
    _average_in_buckets(_all_gradients(model), bucket_bytes=math.inf)


def average_gradients_in_buckets(
    model: nn.Module, *, bucket_bytes: int = BUCKET_BYTES
) -> None:
    """Average gradients in tensors of a few megabytes each: the third variant.

    Why: buckets are large enough that the fixed time of an all-reduce hardly matters,
    and small enough that the first could be sent before the last ones exist, as the
    fourth variant does. Here they only save memory: one bucket is copied at a time.

    Collective: every rank must call it, after `backward()`.

    Args:
        model: As for `average_gradients`.
        bucket_bytes: When a bucket is full; the tensor that fills it is still inside.

    Raises:
        MissingGradientError: As `average_gradients`, on every rank.

    Note:
        Cost: one all-reduce per bucket, all bytes once, a vote of 8 bytes.

    Source: Li et al., PyTorch Distributed, VLDB 2020, section 3.2.2.

    Examples:
        >>> layer = nn.Linear(2, 1)
        >>> layer(torch.ones(4, 2)).sum().backward()
        >>> average_gradients_in_buckets(layer, bucket_bytes=4)
        >>> layer.bias.grad
        tensor([4.])
    """
    _average_in_buckets(_all_gradients(model), bucket_bytes=bucket_bytes)


def average_gradients_weighted(model: nn.Module, *, num_rows: int) -> None:
    """Average gradients weighted by the ranks' numbers of rows.

    Why: with 24 rows on one rank and 8 on the other, the plain mean counts each of the
    8 rows three times as much. The right mean is (24 * mean_0 + 8 * mean_1) / 32. A
    rank without rows contributes zeros.

    Collective: every rank must call it, after `backward()`; a rank without rows calls
    it without `backward()`.

    Args:
        model: As for `average_gradients`; a rank without rows needs no gradients. Each
            gradient is that of the *mean* loss over this rank's rows.
        num_rows: How many rows this rank's loss was the mean of; 0 is allowed.

    Raises:
        MissingGradientError: A rank with rows lacks a gradient, or no rank has rows. On
            every rank.

    Note:
        Cost: as `average_gradients`, and 16 bytes for the counts.

    Source: derived; equal to one process in tests/test_sync.py.

    Examples:
        >>> layer = nn.Linear(2, 1)
        >>> layer(torch.ones(4, 2)).mean().backward()
        >>> average_gradients_weighted(layer, num_rows=4)
        >>> layer.bias.grad
        tensor([1.])
    """
    share = num_rows / _total_rows(num_rows)
    if num_rows == 0:
        for param in model.parameters():
            if param.requires_grad:
                # New zeros: a gradient left from the last step must not count.
                param.grad = torch.zeros_like(param)
    for gradient in _all_gradients(model):
        gradient *= share
        if dist.current().world_size > 1:
            torch_dist.all_reduce(gradient)


def uneven_loss_weight(*, num_rows: int) -> float:
    """Return the factor for a rank's loss with which DDP's plain mean is right.

    Why: DDP always divides by W. A rank with `num_rows` of all T rows should have the
    weight num_rows / T, not 1 / W, so its loss gets the factor W * num_rows / T.

    Collective: every rank must call it.

    Args:
        num_rows: Rows of this rank in this step.

    Returns:
        The factor; 1.0 if all ranks hold the same number of rows.

    Raises:
        MissingGradientError: No rank has a row. On every rank.

    Note:
        Cost: one all-reduce of 8 bytes.

    Examples:
        >>> uneven_loss_weight(num_rows=24)
        1.0
    """
    return dist.current().world_size * num_rows / _total_rows(num_rows)


def _total_rows(num_rows: int) -> int:
    """The number of rows of all ranks; all ranks raise if it is 0."""
    total = dist.sum_over_ranks(num_rows)
    if total == 0:
        raise MissingGradientError(
            "no rank has a row in this step.",
            why="the mean over no rows is not a number; every weight would become NaN.",
            fix="skip the step when the sum of num_rows over all ranks is 0.",
            page="missing-gradient",
        )
    return total


def no_sync_unless(
    condition: bool, *, replica: nn.Module
) -> contextlib.AbstractContextManager[None]:
    """Synchronise gradients in this block, or only accumulate them locally.

    Why: with accumulation only the last micro-batch of a step needs to synchronise,
    because the sum that it sends contains the others. Each synchronisation that you
    avoid saves a whole all-reduce.

    Args:
        condition: Whether this block's backward synchronises. The same on every rank.
        replica: A DDP wrapper, `Overlapped`, or a bare model in one process.

    Returns:
        A context manager. Put forward *and* backward inside: DDP's forward decides
        whether the backward that follows communicates (`distrinews.sync.wrong` shows
        what happens otherwise).

    Examples:
        >>> with no_sync_unless(False, replica=nn.Linear(1, 1)):
        ...     pass  # one process: nothing to synchronise
    """
    no_sync = getattr(replica, "no_sync", contextlib.nullcontext)
    local_only: contextlib.AbstractContextManager[None] = no_sync()
    return contextlib.nullcontext() if condition else local_only


def _all_gradients(model: nn.Module) -> list[torch.Tensor]:
    """All trainable parameters' gradients; if any rank lacks one, all ranks raise."""
    trainable = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    missing = [name for name, param in trainable if param.grad is None]
    # All ranks vote before any rank raises: a rank that raised alone would leave the
    # others in all_reduce until the timeout, and W-1 timeout reports would bury the
    # real cause.
    dist.vote_then_raise(_missing_gradient_error(missing) if missing else None)
    return [param.grad for _, param in trainable if param.grad is not None]


def _missing_gradient_error(names: list[str]) -> MissingGradientError:
    have = "has" if len(names) == 1 else "have"
    return MissingGradientError(
        f"rank {dist.current().rank}: {len(names)} of the trainable parameters {have} "
        f"no gradient: {names}.",
        why="the other ranks may have these gradients; their mean would be wrong, and "
        "the replicas would drift apart.",
        fix="call loss.backward() on every rank first, or freeze what the loss does "
        "not use with requires_grad_(False).",
        page="missing-gradient",
    )


def _average_in_buckets(gradients: list[torch.Tensor], *, bucket_bytes: float) -> None:
    """Copy gradients into long tensors, average those, copy back."""
    world_size = dist.current().world_size
    if world_size == 1:
        return
    # From the back, because the last layer's gradients are ready first. Here that does
    # not matter, but the fourth variant cuts its buckets in the same way.
    gradients = gradients[::-1]
    for indices in cut_into_buckets(
        gradients, first_bytes=bucket_bytes, bucket_bytes=bucket_bytes
    ):
        bucket = [gradients[index] for index in indices]
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        torch_dist.all_reduce(flat)
        flat /= world_size
        parts = flat.split([gradient.numel() for gradient in bucket])
        for gradient, part in zip(bucket, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
