"""W - 1 steps that add up, W - 1 that hand the sums on."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, values: torch.Tensor) -> None:
    rank, size = ranks.rank, ranks.world_size
    right, left = (rank + 1) % size, (rank - 1) % size
    chunks = values.chunk(size)  # views: what is written into them is in `values`

    def exchange(send_index: int, receive_index: int, *, add: bool) -> None:
        target = chunks[receive_index % size]
        received = torch.empty_like(target)
        # WHY isend: were all to send first and wait for it, nobody would receive.
        work = torch_dist.isend(chunks[send_index % size].clone(), dst=right)
        torch_dist.recv(received, src=left)
        if work is not None:
            work.wait()
        target.copy_(received + target if add else received)

    for step in range(size - 1):  # reduce-scatter: sums grow on their way round
        exchange(rank - step, rank - step - 1, add=True)
    for step in range(size - 1):  # all-gather: complete sums travel on
        exchange(rank + 1 - step, rank - step, add=False)
