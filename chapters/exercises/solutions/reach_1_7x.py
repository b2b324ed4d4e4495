"""Put rows of similar length in one batch, and similar batches in one step."""

from __future__ import annotations

from distrinews import dist


def solve(
    ranks: dist.Ranks, lengths: list[int], per_rank_batch_size: int
) -> list[list[int]]:
    by_length = sorted(range(len(lengths)), key=lambda row: lengths[row])
    batches = [
        by_length[first : first + per_rank_batch_size]
        for first in range(0, len(by_length), per_rank_batch_size)
    ]
    # Neighbouring batches go to different ranks: in each step both have similar
    # lengths.
    return batches[ranks.rank :: ranks.world_size]
