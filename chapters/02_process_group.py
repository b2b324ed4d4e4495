"""Chapter 02 - The process group: how processes without shared memory communicate.

Question  Several processes run this file. How does each know its rank, and how do they
          come to hold the same number?
Predict   Rank 0 holds [1, 2], rank 1 holds [10, 20]. What does each hold after
first     all_reduce? After reduce to rank 0? After all_gather?
Builds on Chapter 01: what one process does. This chapter needs no model.
New here  Rank and world size, six collectives, send and receive, a ring by hand.
Left out  Gradients (chapter 04), and the data that makes them differ (chapter 03).

Run       python chapters/02_process_group.py
          python chapters/02_process_group.py --num-ranks 3
Expect    For every operation, what each rank held before and after; a verdict.
Takes     Five seconds.
"""

from __future__ import annotations

from distrinews.system import console

console.quiet_interrupts()  # before the slow imports: Ctrl-C ends them quietly

import os

import torch
import torch.distributed as torch_dist

from distrinews import dist
from distrinews.config.flags import parse
from distrinews.course import lessons


def learn(ranks: dist.Ranks) -> None:
    """What one rank does. Every rank runs exactly these lines."""
    rank, world_size, device = ranks.rank, ranks.world_size, ranks.device

    # --8<-- [start:who]
    # 1. Who am I? ---------------------------------------------------------------
    # The rank selects the data; local_rank, counted per machine, selects the GPU.
    identity = {"process": os.getpid(), "local_rank": ranks.local_rank}
    lessons.show("who am I?", ranks, **identity, device=device)
    # --8<-- [end:who]

    # --8<-- [start:collectives]
    # 2. Collectives: every rank must call them, in the same order -----------------
    start = torch.tensor([1, 2], dtype=torch.float64, device=device)
    local = start * 10**rank  # [2]: 1, 2 on rank 0; 10, 20 on rank 1; ...

    tensor = local.clone()
    torch_dist.broadcast(tensor, src=0)  # DDP: all start from rank 0's weights
    lessons.show("broadcast from rank 0", ranks, before=local, after=tensor)

    total = local.clone()
    torch_dist.all_reduce(total)  # DDP: the sum of all gradients, on every rank
    lessons.show("all_reduce (sum)", ranks, before=local, after=total)

    tensor = local.clone()
    torch_dist.reduce(tensor, dst=0)  # only rank 0's result counts
    after = tensor if rank == 0 else "(undefined)"
    lessons.show("reduce (sum) to rank 0", ranks, before=local, after=after)

    parts = [torch.empty_like(local) for _ in range(world_size)]
    torch_dist.all_gather(parts, local)  # equal shapes on all ranks
    gathered = torch.cat(parts)  # [2 W]
    lessons.show("all_gather", ranks, before=local, after=gathered)

    rank_0_parts = parts if rank == 0 else None  # only rank 0 needs room for all
    torch_dist.gather(local, rank_0_parts, dst=0)
    after = torch.cat(parts) if rank == 0 else "(nothing)"
    lessons.show("gather to rank 0", ranks, before=local, after=after)

    tensor = torch.empty_like(local)
    torch_dist.scatter(tensor, rank_0_parts, src=0)  # rank k gets the k-th part
    before = gathered if rank == 0 else "(nothing)"
    lessons.show("scatter from rank 0", ranks, before=before, after=tensor)
    # --8<-- [end:collectives]

    # 3. Only two of them: send and receive ----------------------------------------
    tensor = torch.zeros_like(local)
    # WHY inside `if`, unlike a collective: only these two ranks take part.
    if rank == 0:
        torch_dist.send(local, dst=world_size - 1)
    if rank == world_size - 1:
        torch_dist.recv(tensor, src=0)
    lessons.show("send 0 to the last, recv", ranks, before=local, after=tensor)

    # --8<-- [start:ring]
    # 4. All-reduce by hand: a ring of neighbours ------------------------------------
    right, left = (rank + 1) % world_size, (rank - 1) % world_size

    def exchange(outgoing: torch.Tensor, incoming: torch.Tensor) -> None:
        # Both at once: if all ranks sent first and waited, none would ever receive.
        sending = torch_dist.P2POp(torch_dist.isend, outgoing, right)
        receiving = torch_dist.P2POp(torch_dist.irecv, incoming, left)
        for work in torch_dist.batch_isend_irecv([sending, receiving]):
            work.wait()

    ring = local[:1].repeat(world_size)  # [W]: one chunk for each rank
    chunks = ring.split(1)  # views: writing into them writes into `ring`
    lessons.show("ring all-reduce", ranks, chunks=ring)
    for step in range(world_size - 1):  # reduce-scatter: pass partial sums on
        incoming = chunks[(rank - step - 1) % world_size]
        received = torch.empty_like(incoming)
        exchange(chunks[(rank - step) % world_size], received)
        incoming += received
        lessons.show(f"  reduce-scatter {step + 1}", ranks, chunks=ring)
    for step in range(world_size - 1):  # all-gather: pass finished sums on
        finished = chunks[(rank + 1 - step) % world_size]
        exchange(finished, chunks[(rank - step) % world_size])
        lessons.show(f"  all-gather {step + 1}", ranks, chunks=ring)
    # --8<-- [end:ring]
    if ranks.is_main:
        print(f"each rank sent 2 (W - 1) = {2 * (world_size - 1)} chunks of W")

    # 5. Check the sums on every rank ----------------------------------------------
    ones = sum(10**other for other in range(world_size))  # 1 + 10 + 100 + ...
    held = torch.equal(total, start * ones) and bool((ring == ones).all())
    promise = "every rank holds the sum, by all_reduce and by hand"
    lessons.verdict(promise, held=held, ranks=ranks)


def main() -> None:
    settings = parse(lessons.LessonSettings, about=__doc__)
    num_ranks = lessons.require_ranks(settings)
    dist.launch(learn, num_ranks=num_ranks)


if __name__ == "__main__":
    console.run(main)
