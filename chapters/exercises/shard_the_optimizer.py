"""ZeRO-1 by hand: each rank keeps a part of Adam's averages, and all train one model.

Task      Every rank holds all weights and computes all gradients from its own rows.
          Write `solve` so that each rank keeps Adam's averages of its own part only,
          updates that part, and all ranks hold the new weights after every step.
Target    The weights of one process with Adam and the averaged gradients, on 2 ranks;
          the optimizer's state at most half of that process's bytes; 2 collectives per
          step.
Hint 1    Which part of the averaged gradient does a rank need, if it updates only a
          part of the weights?
Hint 2    `reduce_scatter_tensor` adds up and gives each rank its part. It sums, but
          Adam needs the mean.
Hint 3    One parameter of P / W elements in the optimizer. In each step: reduce-scatter
          the gradient into its `.grad`, divide, step, and `all_gather_into_tensor` the
          parts into `weights`.
Concept   understand/memory-and-beyond
Level     hard
Takes     4 s
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from distrinews import dist


def solve(
    ranks: dist.Ranks,
    weights: torch.Tensor,
    gradient_at: Callable[[int], torch.Tensor],
    make_adam: Callable[[list[torch.Tensor]], torch.optim.Adam],
    num_steps: int,
) -> torch.optim.Adam:
    """Train `weights` in place; keep only this rank's part of the optimizer's state.

    Args:
        ranks: This process's rank and the number of ranks.
        weights: Float32 [P], the same on every rank; P is a multiple of W. Holds the
            trained weights afterwards.
        gradient_at: `gradient_at(step)` computes this rank's gradient, [P], at the
            current `weights`. Not averaged. Call it once per step, starting at step 0.
        make_adam: `make_adam([tensor])` builds the optimizer for these tensors.
        num_steps: How many steps to take.

    Returns:
        This rank's optimizer: the check adds up the bytes of its state.
    """
    raise NotImplementedError("write it here")
