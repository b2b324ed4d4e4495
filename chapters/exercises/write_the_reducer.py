"""A small version of DDP's reducer: send gradients while others are still computed.

Task      Write `solve` so that it runs `backward()` once, averages every gradient over
          all ranks, and starts each all-reduce as soon as its gradient is ready.
Target    Right on 2 ranks; when backward() returns, every all-reduce has started; one
          per parameter (buckets are another exercise).
Hint 1    What does autograd call when a parameter's gradient is complete?
Hint 2    `param.register_post_accumulate_grad_hook(f)` calls f(param) then. A blocking
          all_reduce inside the hook would stop backward; `async_op=True` returns a
          handle.
Hint 3    Hooks append (handle, param); after `backward()` wait for each one and divide.
          Finally remove the hooks.
Concept   understand/ddp-inside
Level     hard
Takes     4 s
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module, backward: Callable[[], None]) -> None:
    """Run backward and average the gradients while it runs.

    Args:
        ranks: This process's rank and the number of ranks.
        model: The same on every rank.
        backward: Computes this rank's gradients of `model`. Call it once.
    """
    raise NotImplementedError("write it here")
