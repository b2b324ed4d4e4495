"""An object travels as pickled bytes, with its size before it: two broadcasts.

Rejected  it sends an object: pickled bytes
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, value: torch.Tensor) -> float:
    objects = [value.item()]
    torch_dist.broadcast_object_list(objects, src=0)
    return objects[0]
