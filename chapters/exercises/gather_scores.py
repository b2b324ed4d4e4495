"""For an AUC you need every score, and the ranks have different numbers of scores.

Task      Write `solve` so that every rank returns the scores of all ranks, in the order
          of the ranks.
Target    Right on 3 ranks with 1, 4 and 0 scores; 2 collectives; no objects.
Hint 1    all_gather needs equal shapes on all ranks. How does each rank learn the
          longest length?
Hint 2    Gather the lengths first; pad to the longest; gather; remove the padding.
Hint 3    `torch.cat([part[:n] for part, n in zip(parts, lengths)])`.
Concept   understand/metrics-over-ranks
Level     medium
Takes     4 s
"""

from __future__ import annotations

import torch

from distrinews import dist


def solve(ranks: dist.Ranks, scores: torch.Tensor) -> torch.Tensor:
    """Return the scores of all ranks, rank 0's first, on every rank.

    Args:
        ranks: This process's rank and the number of ranks.
        scores: float32 [n]; n differs from rank to rank and may be 0.
    """
    raise NotImplementedError("write it here")
