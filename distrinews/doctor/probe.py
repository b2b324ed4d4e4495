"""Probe torch and two real ranks, in a separate process that the doctor starts.

Promise: `python -m distrinews.doctor.probe` prints one JSON object a line: first what
torch can do here, then how two processes added up two numbers. Whatever goes wrong
with torch goes wrong in this process, and the doctor lives on.

Not here: judging the answers (`distrinews.doctor.checks`).

Guide: troubleshooting.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distrinews.dist import Ranks

__all__ = ["add_up", "main", "torch_facts"]

# How long the two ranks wait for each other in a collective.
TIMEOUT_S = 15.0
# WHY longer with GPUs: the wait then covers the other rank's start of CUDA (a context,
# and loading kernels) and nccl's first meeting, which take seconds on a healthy
# machine, too. How many was not measured.
GPU_TIMEOUT_S = 60.0
# A probe started from a launcher's rank would take itself for that rank.
LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


def torch_facts() -> dict[str, Any]:
    """Ask torch what it can do on this machine.

    Returns:
        Plain values: version, whether distributed, gloo, nccl and libuv are built in,
        and per GPU its name, whether it computes bfloat16 natively, and why torch
        cannot compute on it (None if it can).

    Examples:
        >>> torch_facts()["gloo"]
        True
    """
    import torch
    import torch.distributed as torch_dist

    distributed = torch_dist.is_available()
    return {
        "torch": torch.__version__,
        "distributed": distributed,
        "gloo": distributed and torch_dist.is_gloo_available(),
        "nccl": distributed and torch_dist.is_nccl_available(),
        "libuv": distributed and _has_libuv(),
        "gpus": _gpus(),
    }


def _has_libuv() -> bool:
    """Whether torchrun's kind of store opens: not with Windows' official wheels."""
    import torch.distributed as torch_dist

    try:
        torch_dist.TCPStore(  # type: ignore[attr-defined]
            "127.0.0.1", 0, is_master=True, wait_for_workers=False, use_libuv=True
        )
    except Exception as error:
        return "libuv" not in str(error)  # another reason is the ports' affair
    return True


def _gpus() -> list[dict[str, Any]]:
    import torch

    from distrinews.system import gpus

    found = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        with torch.cuda.device(number):
            # WHY the argument: by default torch also counts emulation, and a T4 then
            # "supports" a format that it computes in software, slowly.
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        name = torch.cuda.get_device_name(number)
        reason = gpus.why_unusable(number)
        found.append({"name": name, "bf16_native": bool(native), "unusable": reason})
    return found


def add_up(ranks: Ranks) -> None:
    """Add up the ranks' numbers with one real all-reduce; rank 0 tells the sum.

    The numbers lie where the ranks compute, so that on GPUs nccl is what is tried.

    Collective: every rank must call it.

    Args:
        ranks: Who this process is.

    Examples:
        >>> import torch
        >>> from distrinews.dist import Ranks
        >>> add_up(Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu")))
        {"sum": 1, "world_size": 1, "device": "cpu", "backend": null}
    """
    import torch
    import torch.distributed as torch_dist

    # WHY not dist.sum_over_ranks: its tensor is on the CPU, and travels by gloo.
    total = torch.tensor([ranks.rank + 1], device=ranks.device)
    backend, device = None, ranks.device.type
    if ranks.world_size > 1:
        torch_dist.all_reduce(total)
        config = torch_dist.get_backend_config()  # such as "cpu:gloo,cuda:nccl"
        backend = dict(part.split(":") for part in config.split(","))[device]
    if device == "cuda":
        # nccl's call returns when it is queued: only now is it known to have worked.
        torch.cuda.synchronize(ranks.device)
    if ranks.is_main:
        record = {"sum": int(total), "world_size": ranks.world_size}
        _print_json({**record, "device": device, "backend": backend})


def main() -> None:
    """Print the facts, then let two ranks meet."""
    for name in LAUNCHER_VARIABLES:
        os.environ.pop(name, None)
    # WHY one thread: this is about talking, not about computing; a nonsensical value
    # is a finding of its own, and must not bring this process down.
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        _print_json(torch_facts())
        from distrinews import dist
        from distrinews.system import gpus

        timeout_s = GPU_TIMEOUT_S if gpus.usable() else TIMEOUT_S

        began_s = time.monotonic()
        dist.launch(add_up, num_ranks=2, timeout_s=timeout_s)
        _print_json({"took_s": round(time.monotonic() - began_s, 1)})
    except Exception as error:  # every kind: telling it is what this process is for
        notes = "".join(f"{note}\n" for note in getattr(error, "__notes__", []))
        _print_json({"error": f"{notes}{type(error).__name__}: {error}"})
        sys.exit(1)


def _print_json(record: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
