"""A layer is unfrozen after wrapping: DDP does not average its gradient.

Symptom   "the replicas differ in 'module.0.weight' first", reported by the detector.
Cause     When DDP is built it registers hooks on the parameters that require a
          gradient. A layer that is unfrozen or replaced later has no hook.
Fix       Change the model first, then wrap it; after a change, wrap it again.
Detector  `sync.assert_replicas_equal`: a checksum of every tensor, compared over
          the ranks.
Look at   The name of the tensor: it belongs to the layer that was unfrozen.
Question  The second layer's weights are equal on both ranks. Why?
Source    https://github.com/pytorch/pytorch/issues/12603
Concept   understand/ddp-inside
Silent    yes
Takes     4 s
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist, sync
from distrinews.course import labs


def frozen_body() -> nn.Sequential:
    net = labs.small_model()
    net[0].requires_grad_(False)
    return net


def train(replica: nn.Module, ranks: dist.Ranks) -> nn.Module:
    optimizer = torch.optim.SGD(replica.parameters(), lr=0.1)
    labs.loss_on(replica, labs.own_rows(ranks)).backward()
    optimizer.step()
    return replica


def broken(ranks: dist.Ranks) -> nn.Module:
    replica = DistributedDataParallel(frozen_body())
    # ... some epochs later: now the body may learn, too.
    replica.module[0].requires_grad_(True)
    print(f"rank {ranks.rank}: layer 0 is unfrozen and trains from now on")
    return train(replica, ranks)


def fixed(ranks: dist.Ranks) -> nn.Module:
    replica = DistributedDataParallel(frozen_body())
    net = replica.module
    net[0].requires_grad_(True)
    print(f"rank {ranks.rank}: layer 0 is unfrozen, then wrapped again")
    return train(DistributedDataParallel(net), ranks)


def detect(ranks: dist.Ranks, got: nn.Module) -> None:
    sync.assert_replicas_equal(got)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"the replicas differ in 'module\.0\.weight' first",
)

if __name__ == "__main__":
    LAB.main()
