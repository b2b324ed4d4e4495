"""Started on two ranks, resumed on three.

Task      An epoch of shuffled rows was interrupted after `num_steps` steps of
          `global_batch_size` rows (6 in the check, which divides by 2 and by 3, as
          chapter 05's 32 does not). Write `solve` so that it returns the rows that this
          rank reads in the rest of the epoch, for any number of ranks before.
Target    Right on 3 ranks, after 0, 2 and 6 steps: each remaining row is read once, and
          in every step the ranks together read the same global batch as an
          uninterrupted run. No collective.
Hint 1    If the order depended on the number of ranks, what would "already read" mean?
Hint 2    One permutation from seed and epoch. A step reads its next global_batch_size
          rows, on any number of ranks.
Hint 3    Cut the permutation into global batches, drop the first num_steps of them, and
          take of each batch this rank's share.
Concept   understand/checkpoint
Level     hard
Takes     4 s
"""

from __future__ import annotations

from distrinews import dist


def solve(
    ranks: dist.Ranks,
    num_rows: int,
    num_steps: int,
    *,
    global_batch_size: int,
    seed: int,
) -> list[list[int]]:
    """Return this rank's rows for each remaining step.

    Args:
        ranks: This process; the interrupted run may have had another number of
            ranks.
        num_rows: N, a multiple of global_batch_size.
        num_steps: Number of steps that are done.
        global_batch_size: Rows per step over all ranks; a multiple of their number.
        seed: The epoch's order is `torch.randperm` with a generator of this seed.
    """
    raise NotImplementedError("write it here")
