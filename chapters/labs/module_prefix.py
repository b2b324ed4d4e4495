"""The wrapper's state was saved: every name begins with "module.".

Symptom   'Missing key(s) in state_dict: "0.weight", ... Unexpected key(s) in
          state_dict: "module.0.weight", ...'
Cause     The wrapper holds your model in its attribute `module`, so every name in its
          state_dict has that prefix.
Fix       Save `replica.module.state_dict()`. For old files use
          `torch.nn.modules.utils.consume_prefix_in_state_dict_if_present`.
Detector  load_state_dict, because strict=True.
Look at   The word that distinguishes the missing names from the unexpected ones.
Question  What would strict=False have done here, and how would you have noticed?
Source    https://github.com/hpcaitech/ColossalAI/issues/768
Concept   understand/checkpoint
Silent    no
Takes     4 s
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.course import labs


def save_and_load(to_save: nn.Module, ranks: dist.Ranks) -> nn.Module:
    path = labs.folder() / "model.pt"
    if ranks.is_main:
        torch.save(to_save.state_dict(), path)
    torch_dist.barrier()
    net = labs.small_model()  # what an inference program builds: no DDP there
    net.load_state_dict(torch.load(path, map_location="cpu"))
    return net


def broken(ranks: dist.Ranks) -> nn.Module:
    replica = DistributedDataParallel(labs.small_model())
    return save_and_load(replica, ranks)


def fixed(ranks: dist.Ranks) -> nn.Module:
    replica = DistributedDataParallel(labs.small_model())
    return save_and_load(replica.module, ranks)


def detect(ranks: dist.Ranks, got: nn.Module) -> None:
    pairs = zip(got.parameters(), labs.small_model().parameters(), strict=True)
    equal = all(torch.equal(loaded, saved) for loaded, saved in pairs)
    labs.expect("the weights came back", equal, want=True)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r'Missing key\(s\) in state_dict: "0\.weight"',
)

if __name__ == "__main__":
    LAB.main()
