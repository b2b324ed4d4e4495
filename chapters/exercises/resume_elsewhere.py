"""Begun on two ranks, resumed on three.

Task      An epoch of shuffled rows was interrupted after `num_steps` steps of
          `global_batch_size` rows (6 in the check, which divides by 2 and by 3, as
          chapter 05's 32 does not). Write `solve` so that it returns the rows that this
          rank reads in the rest of the epoch, whatever number of ranks began it.
Target    Right on 3 ranks, after 0, 2 and 6 steps: each row that is left is read once,
          and in every step the ranks together read the same global batch as an
          undisturbed run. No collective.
Hint 1    If the order depended on the number of ranks, what would "already read" mean?
Hint 2    One permutation from seed and epoch. A step reads the next global_batch_size
          rows of it, whoever does.
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
    """Return this rank's rows of each step that is left.

    Args:
        ranks: Who this process is; their number may differ from the one that began.
        num_rows: N, a multiple of global_batch_size.
        num_steps: That are done.
        global_batch_size: Rows of a step over all ranks; divides by the ranks.
        seed: Of the epoch: `torch.randperm` with a generator of it is the order.
    """
    raise NotImplementedError("write it here")
