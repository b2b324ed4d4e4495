"""Measure the averaging variants of `distrinews.sync` side by side with torch's DDP.

Promise: all variants see the same model, the same rows and the same minutes of the same
process group, in an order that favours none; a time is that of the slowest rank.

Not here: the variants themselves (chapter 04 by hand, `distrinews.sync.overlap`).

Letters used for shapes: B = rows per rank and step, T = tokens, P = shape of one
parameter.
Guide: learn/gradient-sync.
"""

from __future__ import annotations

import copy
import functools
import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from distrinews import dist, sync
from distrinews.bench import steps, timing
from distrinews.config.settings import TrainSettings
from distrinews.dist import Ranks
from distrinews.training import corpus

__all__ = [
    "BASELINE",
    "Batch",
    "Variant",
    "build_library_variants",
    "figures",
    "largest_difference",
    "loss_of",
    "measure",
    "load_model_and_batches",
    "ratio_to_ddp",
    "table",
]

Batch = tuple[Mapping[str, torch.Tensor], torch.Tensor]  # inputs [B, T], labels [B]

# What the others are compared with: DDP in its best setting, which is chapter 05's.
BASELINE = "torch_ddp_views"


def loss_of(replica: nn.Module, batch: Batch) -> torch.Tensor:
    """Compute the mean loss of a batch.

    Args:
        replica: A classifier or a wrapper around one.
        batch: Inputs [B, T] and labels [B].

    Returns:
        A scalar.
    """
    inputs, labels = batch
    return F.cross_entropy(replica(**inputs).logits, labels)


def load_model_and_batches(
    preset: str, ranks: Ranks, *, per_rank_batch_size: int = 16, num_batches: int = 4
) -> tuple[nn.Module, list[Batch]]:
    """Load one model, the same on every rank, and different rows for every rank.

    Collective: every rank must call it.

    Args:
        preset: The model's name.
        ranks: Who this process is. Row k goes to rank k mod W, as in chapter 03.
        per_rank_batch_size: B.
        num_batches: How many batches each rank gets.

    Returns:
        The model, with equal weights on every rank and without dropout (its masks
        differ by rank, and two runs could not be compared), and this rank's batches of
        newswire rows.

    Raises:
        ModelError: The preset's weights are missing. On this rank only.
    """
    num_rows = per_rank_batch_size * num_batches * ranks.world_size
    values = {"preset": preset, "train_rows": num_rows + 1, "validation_rows": 1}
    settings = TrainSettings.model_validate({"dropout": 0.0, **values})
    splits = corpus.load(settings)
    net = steps.build_net(splits, ranks, settings=settings)
    local_rows = range(ranks.rank, num_rows, ranks.world_size)
    batches: list[Batch] = [
        splits.batch(
            list(local_rows[start : start + per_rank_batch_size]), device=ranks.device
        )
        for start in range(0, len(local_rows), per_rank_batch_size)
    ]
    return net, batches


@dataclass(frozen=True)
class Variant:
    """One way to average gradients, with its own replica.

    Attributes:
        net: The bare model; its gradients are what is compared.
        after_backward: Averages these gradients, once `backward()` is over, in place.
            None where a wrapper has done it.
        replica: What forward goes through; without one the bare model.
    """

    net: nn.Module
    after_backward: Callable[[list[torch.Tensor]], None] | None = None
    replica: nn.Module | None = None

    def backward(self, batch: Batch) -> None:
        """Take forward and backward, and average. Collective.

        Args:
            batch: This rank's rows.
        """
        self.net.zero_grad()
        loss_of(self.replica or self.net, batch).backward()
        if self.after_backward is not None:
            grads = [param.grad for param in self.net.parameters()]
            self.after_backward([grad for grad in grads if grad is not None])


def build_library_variants(net: nn.Module) -> dict[str, Variant]:
    """Build the variants that a library offers, each around a copy of the same model.

    Collective: every rank must call it.

    Args:
        net: The same weights on every rank, on the rank's device; is not changed.

    Returns:
        "overlapped", which is `distrinews.sync.Overlapped`; "torch_ddp", DDP as
        everybody writes it; "torch_ddp_views", which keeps gradients in its buckets, as
        chapter 05 and `Overlapped` do.

    Examples:
        >>> list(build_library_variants(nn.Linear(1, 1)))
        ['overlapped', 'torch_ddp', 'torch_ddp_views']
    """
    wrap_ddp = functools.partial(sync.wrap_ddp, ranks=dist.current())
    wrappers: dict[str, Callable[[nn.Module], nn.Module]] = {
        "overlapped": sync.Overlapped,
        "torch_ddp": functools.partial(wrap_ddp, gradient_as_bucket_view=False),
        "torch_ddp_views": wrap_ddp,
    }
    variants = {}
    for name, wrap in wrappers.items():
        bare = copy.deepcopy(net)
        variants[name] = Variant(bare, replica=wrap(bare))
    return variants


def largest_difference(left: Variant, right: Variant) -> float:
    """Compare two variants' gradients: the largest absolute difference over all ranks.

    Collective: every rank must call it.

    Args:
        left: After its backward.
        right: After its own, with the same rows.

    Returns:
        0.0 if they are equal, bit for bit.
    """
    pairs = zip(left.net.parameters(), right.net.parameters(), strict=True)
    differences = [
        (a.grad - b.grad).abs().max().item()
        for a, b in pairs
        if a.grad is not None and b.grad is not None
    ]
    return max(dist.gather_objects(max(differences, default=0.0)))


def measure(
    variants: Mapping[str, Variant],
    batches: Sequence[Batch],
    *,
    num_rounds: int,
) -> dict[str, list[float]]:
    """Time forward, backward and averaging of every variant, in turn.

    Collective: every rank must call it.

    Args:
        variants: Name -> variant.
        batches: This rank's rows; equally many on every rank.
        num_rounds: How often each is timed.

    Returns:
        Name -> milliseconds of each round, of the slowest rank.
    """

    def make_step(variant: Variant) -> timing.Variant:
        upcoming = itertools.cycle(batches)  # in a round all variants get the same one
        return lambda _: variant.backward(next(upcoming))

    timings = timing.interleave(
        {name: make_step(variant) for name, variant in variants.items()},
        dist.current(),
        num_rounds=num_rounds,
        title="time the variants",
    )
    return {n: [times["total"] for times in rounds] for n, rounds in timings.items()}


def figures(
    times_ms: Mapping[str, Sequence[float]], differences: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Turn times and differences into what is printed and written.

    Args:
        times_ms: What `measure` returned.
        differences: Name -> largest difference to torch_ddp's gradients.

    Returns:
        Name -> `median_ms`; `ratio_to_ddp`, the median over rounds of this variant's
        time by `BASELINE`'s in the same round, and its `ratio_interval`;
        `max_abs_diff`; `all_ms`.

    Examples:
        >>> result = figures({"naive": [6.0, 4.0], BASELINE: [3.0, 4.0]}, {})
        >>> result["naive"]["median_ms"], result["naive"]["ratio_to_ddp"]
        (5.0, 1.5)
    """
    result = {}
    for name, times in times_ms.items():
        pairs = zip(times, times_ms[BASELINE], strict=True)
        ratio, interval = timing.median_and_interval([a / b for a, b in pairs])
        result[name] = {
            "median_ms": round(statistics.median(times), 3),
            "ratio_to_ddp": ratio,
            "ratio_interval": interval,
            "max_abs_diff": differences.get(name),
            "all_ms": [round(ms, 3) for ms in times],
        }
    return result


def table(result: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw the figures as a table that Markdown and a terminal both show.

    Args:
        result: What `figures` returned.

    Returns:
        A row per variant. A ratio is against `BASELINE`, with its interval.

    Examples:
        >>> times_ms = {"naive": [6.0] * 5, BASELINE: [3.0] * 5}
        >>> print(table(figures(times_ms, dict.fromkeys(times_ms, 0.0))))
        | way             | step, slowest rank | by DDP with views    | difference |
        | --------------- | ------------------ | -------------------- | ---------- |
        | naive           | 6.0 ms             | 2.00x (2.00 to 2.00) | 0.0e+00    |
        | torch_ddp_views | 3.0 ms             | 1                    | 0.0e+00    |
    """
    lines = [["way", "step, slowest rank", "by DDP with views", "difference"]]
    for name, row in result.items():
        lines.append([
            name,
            f"{row['median_ms']:.1f} ms",
            ratio_to_ddp(name, row),
            f"{row['max_abs_diff']:.1e}",
        ])
    return timing.draw_table(lines)


def ratio_to_ddp(name: str, row: Mapping[str, Any]) -> str:
    """Put a variant's ratio to `BASELINE` into words.

    Args:
        name: The variant.
        row: What `figures` returned for it.

    Returns:
        As `timing.ratio_text`; "1" for the baseline itself.
    """
    if name == BASELINE:
        return "1"
    return timing.ratio_text(
        row["ratio_to_ddp"], row["ratio_interval"], num_rounds=len(row["all_ms"])
    )
