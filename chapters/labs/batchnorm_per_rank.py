"""Each rank's BatchNorm keeps its own statistics.

Symptom   "the replicas differ in 'module.1.running_mean' first", reported by the
          detector. Each rank's evaluation gives a different result.
Cause     BatchNorm keeps statistics of the rows it saw. DDP averages gradients, but it
          copies buffers from rank 0, at the next forward.
Fix       Average the statistics before you evaluate or save; or use SyncBatchNorm on
          GPUs; or use a model with LayerNorm, such as DistilBERT.
Detector  `sync.assert_replicas_equal(buffers=True)`: a checksum of every tensor,
          compared over the ranks.
Look at   The parameters are equal; only the buffers differ.
Question  Which rows do the statistics in a saved checkpoint describe?
Source    https://github.com/huggingface/pytorch-image-models/issues/110
Concept   understand/buffers-and-batch-norm
Silent    yes
Takes     4 s
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist, sync
from distrinews.course import labs


def train(ranks: dist.Ranks) -> DistributedDataParallel:
    net = nn.Sequential(labs.small_model(), nn.BatchNorm1d(2))
    replica = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(replica.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        labs.loss_on(replica, labs.own_rows(ranks)).backward()
        optimizer.step()
    return replica


def broken(ranks: dist.Ranks) -> nn.Module:
    return train(ranks)


def fixed(ranks: dist.Ranks) -> nn.Module:
    replica = train(ranks)
    for buffer in replica.buffers():  # before evaluating or saving: one mean for all
        if buffer.is_floating_point():
            torch_dist.all_reduce(buffer)
            buffer /= ranks.world_size
    return replica


def detect(ranks: dist.Ranks, got: nn.Module) -> None:
    sync.assert_replicas_equal(got, buffers=True)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"the replicas differ in 'module\.1\.running_mean' first",
)

if __name__ == "__main__":
    LAB.main()
