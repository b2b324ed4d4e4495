"""Predict how long a training step takes, from a few measured numbers.

Promise: every prediction is made of terms that can be named: computing, the optimizer,
communication that backward hides, communication that it does not, waiting for the
slowest rank. The model is small enough to be done by hand, and its error on settings
that it was not fitted to is measured and published.

The terms, for W ranks:

- A message of n bytes takes alpha + n / bandwidth seconds (the alpha-beta model).
- A ring all-reduce of n bytes is 2 (W - 1) messages of n / W bytes, one by one.
- Computing takes a fixed time, a time per token, and a time per pair of tokens in a row
  (attention); the padding counts as tokens.
- Gradients travel in buckets, in order; each as soon as its last gradient is ready and
  the bucket before it has arrived. What still travels when backward is over is exposed.
- Where ranks share their cores with the communication (gloo on a laptop), hidden is
  not free: each second of communication takes `contention` seconds from computing.
- A step in which ranks meet costs a constant, however little is sent.

Not here: measuring (`distrinews.bench.timing`), fitting
(`distrinews.bench.costmodel.calibration`).

Letters used for shapes: W = number of ranks, B = rows per rank, T = tokens per row.
Guide: understand/performance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from distrinews.sync.overlap import BUCKET_BYTES, FIRST_BUCKET_BYTES, cut_into_buckets

__all__ = [
    "Compute",
    "Link",
    "Prediction",
    "buckets_of",
    "predict",
    "ring_s",
    "tree_s",
]


@dataclass(frozen=True)
class Link:
    """How ranks reach each other.

    Attributes:
        alpha_s: Fixed seconds of one message.
        bytes_per_s: Bandwidth of one rank's sending, while it receives as much.
        contention: Seconds of computing lost per second of communication in the
            background; 0 if it took nothing from computing, about 1 where the same
            cores do it, more where each also takes the other's cache and memory
            bandwidth. On a GPU above 0, too: nccl's kernels run on its multiprocessors.
        meeting_s: Fixed seconds of a step in which ranks meet: DDP's bookkeeping,
            threads that wake up, ranks that come at different times.
    """

    alpha_s: float
    bytes_per_s: float
    contention: float = 0.0
    meeting_s: float = 0.0


@dataclass(frozen=True)
class Compute:
    """How fast one rank computes one model.

    Attributes:
        fixed_s: Forward and backward of nothing: calls, bookkeeping.
        per_token_s: Per token, padding included.
        per_pair_s: Per pair of tokens in a row: attention.
        backward_share: The part of it that is backward.
        optimizer_s: Clipping and the optimizer's step; does not depend on the rows.
    """

    fixed_s: float
    per_token_s: float
    per_pair_s: float
    backward_share: float
    optimizer_s: float

    def forward_backward_s(self, rows: int, tokens: int) -> float:
        """Say how long forward and backward of a batch take.

        Args:
            rows: B.
            tokens: T, of the longest row.

        Returns:
            Seconds.

        Examples:
            >>> Compute(1.0, 0.5, 0.25, 0.6, 0.0).forward_backward_s(2, 4)
            13.0
        """
        num_tokens = rows * tokens
        return (
            self.fixed_s
            + self.per_token_s * num_tokens
            + self.per_pair_s * num_tokens * tokens
        )


@dataclass(frozen=True)
class Prediction:
    """A step, in its parts. Seconds.

    Attributes:
        forward_s: Computing the loss.
        backward_s: Computing the gradients.
        hidden_s: Communication while backward still computes.
        exposed_s: Communication after it.
        contention_s: What hidden communication took from computing.
        meeting_s: What meeting costs, however little is sent.
        optimizer_s: The step of the optimizer.
    """

    forward_s: float
    backward_s: float
    hidden_s: float
    exposed_s: float
    contention_s: float
    meeting_s: float
    optimizer_s: float

    @property
    def step_s(self) -> float:
        """All of it; what is hidden does not count."""
        return (
            self.forward_s
            + self.backward_s
            + self.exposed_s
            + self.contention_s
            + self.meeting_s
            + self.optimizer_s
        )


def ring_s(num_bytes: float, *, world_size: int, link: Link) -> float:
    """Say how long a ring all-reduce takes.

    Args:
        num_bytes: Of the tensor.
        world_size: W.
        link: How the ranks reach each other.

    Returns:
        Seconds; 0 alone.

    Examples:
        >>> ring_s(100.0, world_size=2, link=Link(alpha_s=1.0, bytes_per_s=50.0))
        4.0
    """
    messages = 2 * (world_size - 1)
    return messages * (link.alpha_s + num_bytes / world_size / link.bytes_per_s)


def tree_s(num_bytes: float, *, world_size: int, link: Link) -> float:
    """Say how long an all-reduce over a tree takes, in a pipeline of small pieces.

    Args:
        num_bytes: Of the tensor.
        world_size: W.
        link: How the ranks reach each other.

    Returns:
        Seconds; 0 alone. Up and down log2(W) levels, where a ring goes round all W.

    Source:
        Sanders, Speck and Traeff 2009, whose two trees at once nccl uses since 2.4.

    Examples:
        >>> tree_s(100.0, world_size=8, link=Link(alpha_s=1.0, bytes_per_s=50.0))
        10.0
    """
    if world_size == 1:
        return 0.0
    levels = math.ceil(math.log2(world_size))
    return 2 * levels * link.alpha_s + 2 * num_bytes / link.bytes_per_s


def buckets_of(
    gradient_bytes: Sequence[int],
    *,
    first_bytes: int = FIRST_BUCKET_BYTES,
    bucket_bytes: int = BUCKET_BYTES,
    work: Sequence[float] | None = None,
) -> list[tuple[float, int]]:
    """Cut gradients into DDP's buckets, and say when in backward each is full.

    Args:
        gradient_bytes: Of each parameter, in the order of the forward.
        first_bytes: When the first bucket is full.
        bucket_bytes: When any other is.
        work: How long backward computes each gradient, in any unit; None: in
            proportion to its bytes. That holds for matrices. An embedding's gradient
            costs nearly nothing, however large its table is: give 0.

    Returns:
        For each bucket (the part of backward that is over by then, its bytes). A
        bucket is ready when its last gradient is.

    Examples:
        >>> buckets_of([60, 30, 10], first_bytes=5, bucket_bytes=40)
        [(0.1, 10), (1.0, 90)]
        >>> buckets_of([60, 30, 10], first_bytes=5, bucket_bytes=30, work=[0, 30, 10])
        [(0.25, 10), (1.0, 30), (1.0, 60)]
    """
    work = gradient_bytes if work is None else work
    backwards = list(zip(gradient_bytes, work, strict=True))[::-1]
    done = list(itertools.accumulate(amount for _, amount in backwards))
    # On "meta" a tensor has a size and no memory.
    gradients = [torch.empty(n, dtype=torch.uint8, device="meta") for n, _ in backwards]
    buckets = cut_into_buckets(
        gradients, first_bytes=first_bytes, bucket_bytes=bucket_bytes
    )
    return [
        (done[bucket[-1]] / done[-1], sum(gradients[i].nbytes for i in bucket))
        for bucket in buckets
    ]


def predict(
    compute: Compute,
    link: Link,
    *,
    buckets: Sequence[tuple[float, int]],
    world_size: int,
    rows: int,
    tokens: float,
    trees: bool = False,
) -> Prediction:
    """Predict one step of W ranks.

    Args:
        compute: Of one rank.
        link: Between them.
        buckets: What `buckets_of` returned.
        world_size: W.
        rows: B of the rank that has most to do.
        tokens: T of that rank: all wait for it.
        trees: Whether each bucket may go over a tree where that is faster, as nccl
            chooses; else all go round a ring.

    Returns:
        The step in its parts.

    Examples:
        >>> prediction = predict(
        ...     Compute(0.0, 1.0, 0.0, 0.5, 0.0), Link(0.0, 1.0),
        ...     buckets=[(0.5, 2), (1.0, 2)], world_size=2, rows=2, tokens=4,
        ... )
        >>> prediction.forward_s, prediction.backward_s
        (4.0, 4.0)
        >>> prediction.hidden_s, prediction.exposed_s
        (2.0, 2.0)
    """
    forward_backward_s = compute.forward_backward_s(rows, tokens)  # type: ignore[arg-type]
    backward_s = forward_backward_s * compute.backward_share
    arrived_s = travel_s = 0.0
    if world_size > 1:
        for ready, num_bytes in buckets:
            takes_s = ring_s(num_bytes, world_size=world_size, link=link)
            if trees:
                other_s = tree_s(num_bytes, world_size=world_size, link=link)
                takes_s = min(takes_s, other_s)
            # In order: it waits for its last gradient and for the bucket before it.
            arrived_s = max(arrived_s, ready * backward_s) + takes_s
            travel_s += takes_s
    exposed_s = max(0.0, arrived_s - backward_s)
    hidden_s = travel_s - exposed_s
    return Prediction(
        forward_s=forward_backward_s - backward_s,
        backward_s=backward_s,
        hidden_s=hidden_s,
        exposed_s=exposed_s,
        contention_s=link.contention * hidden_s,
        meeting_s=link.meeting_s if world_size > 1 else 0.0,
        optimizer_s=compute.optimizer_s,
    )
