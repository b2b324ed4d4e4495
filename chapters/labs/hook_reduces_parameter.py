"""A hand-written hook averages the parameter instead of its gradient.

Symptom   "the replicas differ in '0.weight' first", reported by the detector.
Cause     register_post_accumulate_grad_hook passes the parameter to the hook. So the
          weights, which are still equal, are averaged, and the gradients are not.
Fix       Reduce `param.grad`.
Detector  `sync.assert_replicas_equal`: a checksum of every tensor, compared over
          the ranks.
Look at   The documentation of the method: what is the hook's argument?
Question  `register_hook` passes a gradient. Why is that also wrong, with accumulation?
Source    https://github.com/huggingface/picotron/issues/39
Concept   understand/gradient-sync
Silent    yes
Takes     4 s
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist, sync
from distrinews.course import labs


def train(net: nn.Module, ranks: dist.Ranks) -> nn.Module:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    labs.loss_on(net, labs.own_rows(ranks)).backward()
    optimizer.step()
    return net


def broken(ranks: dist.Ranks) -> nn.Module:
    def average(ready: torch.Tensor) -> None:
        torch_dist.all_reduce(ready.data)
        ready.data /= ranks.world_size

    net = labs.small_model()
    for param in net.parameters():
        param.register_post_accumulate_grad_hook(average)
    return train(net, ranks)


def fixed(ranks: dist.Ranks) -> nn.Module:
    def average(ready: torch.Tensor) -> None:
        if ready.grad is not None:
            torch_dist.all_reduce(ready.grad)
            ready.grad /= ranks.world_size

    net = labs.small_model()
    for param in net.parameters():
        param.register_post_accumulate_grad_hook(average)
    return train(net, ranks)


def detect(ranks: dist.Ranks, got: nn.Module) -> None:
    sync.assert_replicas_equal(got)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"the replicas differ in '0\.weight' first",
)

if __name__ == "__main__":
    LAB.main()
