"""GPUs that this machine does not have, as torch would show them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import pytest
import torch
import torch.distributed as torch_dist

from distrinews.system import gpus

P100 = ("Tesla P100-PCIE-16GB", (6, 0))
T4 = ("Tesla T4", (7, 5))
# What the wheel of torch 2.13 for CUDA 12.9 is built for (torch/cuda/__init__.py).
WHEEL = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
# The same for CUDA 12.6, which still knows a P100.
OLD_WHEEL = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")


def show(
    patch: pytest.MonkeyPatch,
    *shown: tuple[str, tuple[int, int]],
    arch_list: Sequence[str] = WHEEL,
) -> None:
    """Let torch see these GPUs until the test ends."""
    patch.setattr(torch.cuda, "is_available", lambda: bool(shown))
    patch.setattr(torch.cuda, "device_count", lambda: len(shown))
    patch.setattr(torch.cuda, "get_arch_list", lambda: list(arch_list))
    patch.setattr(torch.cuda, "get_device_name", lambda number: shown[number][0])
    patch.setattr(torch.cuda, "get_device_capability", lambda number: shown[number][1])
    patch.setattr(torch_dist, "is_nccl_available", lambda: True)
    # WHY not cache_clear(): what a fake answered must not outlive the test.
    patch.setattr(gpus, "why_unusable", inspect.unwrap(gpus.why_unusable))
