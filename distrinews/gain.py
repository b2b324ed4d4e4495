"""Measure what length-balanced batches gain over shuffled ones, on this machine.

Promise: both ways train on the very same rows, once each, with the same model, taking
turns; so what differs is which rows meet in a batch, and nothing else.

Not here: the samplers (`distrinews.sharding`), the loss they lead to (chapter 05 with
`--batches`).

Letters used for shapes: N = rows, W = ranks.
Guide: understand/stragglers-and-length-balance.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from distrinews import model, pace, sharding, training
from distrinews.dist import Ranks
from distrinews.news import News
from distrinews.settings import DistributedSettings

__all__ = ["measure"]

WAYS = ("shuffled", "length")


def measure(
    stories: News, ranks: Ranks, *, settings: DistributedSettings, num_epochs: int = 1
) -> dict[str, dict[str, Any]]:
    """Train whole epochs with either kind of batches and compare their pace.

    Collective: every rank must call it.

    Args:
        stories: The rows; all of `fit_rows` are trained on.
        ranks: Who this process is.
        settings: Model, global batch size, optimizer, seed.
        num_epochs: How many epochs of each kind, in turn.

    Returns:
        "shuffled" and "length" -> what `pace.Pace.told` returns, and `padding_share`,
        the part of what all ranks compute that is padding.

    Raises:
        SettingsError: The batch does not divide by the ranks. On every rank.
    """
    training.seed_weights(settings.seed)
    net = model.from_settings(settings, stories.tokenizer).to(ranks.device)
    replica: torch.nn.Module = net
    if ranks.world_size > 1:
        gpu = [ranks.device.index] if ranks.device.type == "cuda" else None
        replica = DistributedDataParallel(
            net, device_ids=gpu, gradient_as_bucket_view=True
        )
    optimizer = training.build_optimizer(net, settings=settings)
    samplers = {
        way: training.build_sampler(
            stories.fit_lengths,
            ranks,
            settings=settings.model_copy(update={"batches": way}),
        )
        for way in WAYS
    }
    paces = {way: pace.Pace(ranks) for way in WAYS}
    shares: dict[str, list[float]] = {way: [] for way in WAYS}
    num_steps = 2 * num_epochs * samplers["shuffled"].steps_per_epoch
    bar = tqdm(total=num_steps, desc="time both", disable=not ranks.is_main)

    def take_step(rows: list[int]) -> None:
        inputs, labels = stories.fit_batch(rows, device=ranks.device)
        optimizer.zero_grad()
        F.cross_entropy(replica(**inputs).logits, labels).backward()
        clip_grad_norm_(net.parameters(), settings.max_gradient_norm)
        optimizer.step()

    # Not timed: in the first steps memory is allocated and DDP orders its buckets.
    for rows in list(samplers["shuffled"])[:2]:
        take_step(rows)
    for epoch in range(num_epochs):
        for way in WAYS if epoch % 2 == 0 else reversed(WAYS):
            samplers[way].set_epoch(epoch)
            shares[way].append(_padding(samplers[way], stories.fit_lengths))
            for rows in samplers[way]:
                with paces[way].step(num_rows=len(rows)):
                    take_step(rows)
                bar.update()
    bar.close()
    return {
        way: paces[way].told() | {"padding_share": sum(shares[way]) / num_epochs}
        for way in WAYS
    }


def _padding(sampler: sharding.GlobalBatchSampler, lengths: list[int]) -> float:
    """Padding and waiting: every rank of a step takes as long as its widest batch."""
    return sharding.padding_share(lengths, [batch.tolist() for batch in sampler.plan()])
