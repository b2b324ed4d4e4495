"""Which of this machine's GPUs can the installed torch compute on?

`torch.cuda.is_available()` is True as soon as the driver shows a GPU. It does not ask
whether torch's wheel holds machine code for that GPU: on a Tesla P100 today's default
wheels fail in the first computation with "no kernel image is available".

Not here: which rank takes which GPU (`distrinews.dist.process_group`).

Guide: troubleshooting.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

__all__ = ["has_kernels", "usable", "why_unusable"]

# Tegra chips run only code that was built for them, and no other GPU runs that code:
# binary compatibility within a major version does not reach across the two families.
TEGRA = {(5, 3), (6, 2), (7, 2), (8, 7), (10, 1)}


def has_kernels(capability: tuple[int, int], arch_list: Sequence[str]) -> bool:
    """Say whether a build of torch has code that a GPU can run.

    Args:
        capability: The GPU's compute capability, such as (7, 5) for a T4.
        arch_list: What `torch.cuda.get_arch_list()` returned. `sm_75` is machine code:
            it runs on 7.5 and higher minor versions of the same major one. `compute_75`
            is PTX, which the driver compiles for 7.5 and anything newer. A name that
            ends in "a" is for exactly one capability, one in "f" for its major version.

    Returns:
        True also if the list is empty or of AMD's names: then nobody knows better.

    Source: CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility";
        `_check_capability` in torch/cuda/__init__.py, torch 2.13.

    Examples:
        >>> has_kernels((7, 5), ["sm_70", "sm_80"]), has_kernels((6, 0), ["sm_70"])
        (True, False)
    """
    names = [name for name in arch_list if name.startswith(("sm_", "compute_"))]
    return not names or any(_runs_on(capability, name) for name in names)


def _runs_on(capability: tuple[int, int], name: str) -> bool:
    kind, _, number = name.partition("_")
    suffix = number[-1] if number[-1] in "af" else ""
    digits = number.removesuffix(suffix)
    built_for = (int(digits[:-1]), int(digits[-1]))
    if suffix == "a":
        return capability == built_for
    if kind == "compute" and not suffix:
        return capability >= built_for
    if (capability in TEGRA) != (built_for in TEGRA):
        return False
    if capability in TEGRA:
        return capability == built_for
    return capability[0] == built_for[0] and capability >= built_for


# WHY remembered: `dist.current()` asks in every call, also in a DataLoader's worker,
# which was forked and must not start CUDA again.
@functools.cache
def why_unusable(number: int) -> str | None:
    """Say why the installed torch cannot compute on a GPU; None if it can.

    Args:
        number: The GPU's, as torch counts.

    Returns:
        One line that names the GPU, its capability and what torch was built for.
    """
    import torch  # WHY here: the room `system` is loaded where torch may be broken

    arch_list = torch.cuda.get_arch_list()
    if torch.version.hip is not None or not arch_list:
        return None
    capability = torch.cuda.get_device_capability(number)
    if has_kernels(capability, arch_list):
        return None
    return (
        f"{torch.cuda.get_device_name(number)} (sm_{capability[0]}{capability[1]}): "
        f"torch {torch.__version__} has no kernels for it, only for "
        f"{' '.join(arch_list)}"
    )


def usable() -> list[int]:
    """List the GPUs that the installed torch can compute on.

    Returns:
        Their numbers, as torch counts, ascending.
    """
    import torch

    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [number for number in range(num_gpus) if why_unusable(number) is None]
