"""W - 1 steps that add up, W - 1 that hand the sums on."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, values: torch.Tensor) -> None:
    rank, size = ranks.rank, ranks.world_size
    right, left = (rank + 1) % size, (rank - 1) % size
    chunks = values.chunk(size)  # views: what is written into them is in `values`

    def pass_on(gives: int, takes: int, *, add: bool) -> None:
        come = torch.empty_like(chunks[takes % size])
        # WHY isend: were all to send first and wait for it, nobody would receive.
        going = torch_dist.isend(chunks[gives % size].clone(), dst=right)
        torch_dist.recv(come, src=left)
        if going is not None:
            going.wait()
        chunks[takes % size].copy_(come + chunks[takes % size] if add else come)

    for step in range(size - 1):  # reduce-scatter: sums grow on their way round
        pass_on(rank - step, rank - step - 1, add=True)
    for step in range(size - 1):  # all-gather: complete sums travel on
        pass_on(rank + 1 - step, rank - step, add=False)
