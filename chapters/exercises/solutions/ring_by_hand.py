"""W - 1 steps add up, and W - 1 more steps pass the sums on."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, values: torch.Tensor) -> None:
    rank, size = ranks.rank, ranks.world_size
    right, left = (rank + 1) % size, (rank - 1) % size
    chunks = values.chunk(size)  # views: writing into them writes into `values`

    def exchange(send_index: int, receive_index: int, *, add: bool) -> None:
        target = chunks[receive_index % size]
        received = torch.empty_like(target)
        # isend, because if all ranks sent first and waited, none would receive.
        work = torch_dist.isend(chunks[send_index % size].clone(), dst=right)
        torch_dist.recv(received, src=left)
        if work is not None:
            work.wait()
        target.copy_(received + target if add else received)

    for step in range(size - 1):  # reduce-scatter: partial sums grow
        exchange(rank - step, rank - step - 1, add=True)
    for step in range(size - 1):  # all-gather: complete sums are passed on
        exchange(rank + 1 - step, rank - step, add=False)
