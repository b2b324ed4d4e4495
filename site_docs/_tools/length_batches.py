"""Rows as long as AG News's, and what batches of them waste: padding and waiting.

`numbers_concepts3` counts them for its table; the widget <padding-wait> shows a few
rows, batched and dealt by the library's own samplers.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from distrinews.bench.costmodel import many_ranks
from distrinews.dist import Ranks
from distrinews.sharding import (
    LengthBalancedBatchSampler,
    ShuffledBatchSampler,
    padding_share,
)

__all__ = ["lengths", "padding_data", "padding_fixture"]

NUM_ROWS, GLOBAL_BATCH_SIZE = 64, 16
NUM_RANKS = (1, 2, 4, 8)


@functools.cache
def lengths(num_rows: int) -> np.ndarray:
    """Lengths as they are spread in AG News: drawn from its measured quantiles."""
    rng = np.random.default_rng(0)
    # WHY not straight lines between the quantiles: within the longest hundredth they
    # would make rows of 150 tokens as frequent as rows of 122, and pad too much.
    rarity = [-np.log(max(1 - part, 1e-4)) for part in many_ranks.LENGTHS]
    values = list(many_ranks.LENGTHS.values())
    drawn = np.interp(-np.log(1 - rng.random(num_rows)), rarity, values).astype(int)
    return np.minimum(drawn, 128)


def _samplers(ranks: Ranks) -> dict[str, Any]:
    size = GLOBAL_BATCH_SIZE
    return {
        "shuffled": ShuffledBatchSampler(
            NUM_ROWS, ranks, global_batch_size=size, seed=0
        ),
        "length": LengthBalancedBatchSampler(
            lengths(NUM_ROWS), ranks, global_batch_size=size, seed=0
        ),
    }


def _ranks(rank: int, num_ranks: int) -> Ranks:
    cpu = torch.device("cpu")
    return Ranks(rank, local_rank=rank, world_size=num_ranks, device=cpu)


def padding_data() -> dict[str, Any]:
    """What the widget reads: each row's tokens, and the steps of both samplers."""
    return {
        "tokens": lengths(NUM_ROWS).tolist(),
        "ranks": NUM_RANKS,
        "steps": {
            kind: [batch.tolist() for batch in sampler.plan()]
            for kind, sampler in _samplers(_ranks(0, 1)).items()
        },
    }


def padding_fixture() -> list[dict[str, Any]]:
    """What the widget's model has to answer.

    Returns:
        For kinds of batches and numbers of ranks: the rows of each rank in each step,
        and how many places of all steps hold text, padding, or nothing while a rank
        waits.

    Raises:
        SystemExit: `sharding.padding_share` counts otherwise.
    """
    tokens = lengths(NUM_ROWS)
    cases = []
    for num_ranks in NUM_RANKS:
        for kind in ("shuffled", "length"):
            by_rank = [
                list(_samplers(_ranks(rank, num_ranks))[kind])
                for rank in range(num_ranks)
            ]
            steps = [list(parts) for parts in zip(*by_rank, strict=True)]
            padding = waiting = 0
            for parts in steps:
                widest = max(tokens[row] for part in parts for row in part)
                for part in parts:
                    longest = max(tokens[row] for row in part)
                    padding += sum(int(longest - tokens[row]) for row in part)
                    waiting += len(part) * int(widest - longest)
            text = int(tokens.sum())
            shards = [part for parts in steps for part in parts]
            whole = [sum(parts, []) for parts in steps]
            if not np.allclose(
                (padding / (text + padding), 1 - text / (text + padding + waiting)),
                (padding_share(tokens, shards), padding_share(tokens, whole)),
            ):
                raise SystemExit("padding_share counts other places than the widget.")
            cases.append({
                "kind": kind,
                "ranks": num_ranks,
                "groups": steps,
                "places": {"text": text, "padding": padding, "waiting": waiting},
            })
    return cases
