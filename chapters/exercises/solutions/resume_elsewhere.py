"""The order does not depend on the ranks: skip the read rows, split the rest."""

from __future__ import annotations

import torch

from distrinews import dist


def solve(
    ranks: dist.Ranks,
    num_rows: int,
    num_steps: int,
    *,
    global_batch_size: int,
    seed: int,
) -> list[list[int]]:
    order = torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed))
    left = order.split(global_batch_size)[num_steps:]
    share = global_batch_size // ranks.world_size
    first = ranks.rank * share
    return [batch[first : first + share].tolist() for batch in left]
