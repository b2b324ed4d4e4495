"""Have the replicas drifted apart? Find out without sending the model.

Task      Write `solve` so that every rank returns True if all ranks hold the same
          model, to the last bit, and False otherwise.
Target    Right on 2 ranks for four kinds of drift; at most 64 bytes given to
          collectives.
Hint 1    How can two people compare two long books over the telephone?
Hint 2    A sum of the weights stays the same if two of them are swapped. What changes?
Hint 3    sha256 over the bytes of every parameter and buffer; take its first 8 bytes as
          an int64; all_reduce its MIN and its MAX, and compare them.
Concept   understand/gradient-sync
Level     medium
Takes     4 s
"""

from __future__ import annotations

from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module) -> bool:
    """Return whether all ranks hold the same parameters and buffers, bit for bit.

    Args:
        ranks: This process's rank and the number of ranks.
        model: This rank's.
    """
    raise NotImplementedError("write it here")
