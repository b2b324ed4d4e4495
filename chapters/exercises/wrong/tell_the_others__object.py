"""Sends an object, that is, pickled bytes preceded by their size: two broadcasts.

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
