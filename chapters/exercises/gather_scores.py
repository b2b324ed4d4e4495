"""For an AUC you need every score. The ranks do not have equally many.

Task      Write `solve` so that every rank returns the scores of all ranks, in the order
          of the ranks.
Target    Right on 3 ranks with 1, 4 and 0 scores; 2 collectives; no objects.
Hint 1    all_gather wants equal shapes on all ranks. Who knows the longest?
Hint 2    Gather the lengths first; pad to the longest; gather; cut off the padding.
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
        ranks: Who this process is.
        scores: float32 [n]; n differs from rank to rank and may be 0.
    """
    raise NotImplementedError("write it here")
