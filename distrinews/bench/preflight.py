"""What cannot be measured is refused before anything is measured.

Promise: minutes of measuring do not end in "no such GPU" or "cannot write there", and
nobody's file is lost: a file of measurements is replaced only by one of the same kind
from the same hardware.

Not here: data and model (`distrinews.training.corpus.check`), the files
(`distrinews.bench.results`).

Guide: benchmarks/how-to-add-yours.
"""

from __future__ import annotations

import os
import pathlib

import torch

from distrinews.bench import results, timing
from distrinews.config.settings import BenchmarkSettings
from distrinews.errors import ResultError, SettingsError
from distrinews.system import console, files, gpus, machine
from distrinews.training import corpus

__all__ = ["check", "check_device", "check_target"]


def check(settings: BenchmarkSettings, *, kind: str, world_size: int) -> None:
    """Check everything about a measurement that can be known before it.

    Args:
        settings: What was asked for.
        kind: What is to be measured, such as "scaling".
        world_size: W.

    Raises:
        DistriNewsError: It cannot work, or a file would be lost. Nothing was started.
    """
    device = check_device(settings.device, world_size=world_size)
    if settings.json_path is not None:
        check_target(pathlib.Path(settings.json_path), kind=kind, device=device)
    corpus.check(settings, world_size=world_size)
    if os.environ.get("RANK", "0") == "0":  # under torchrun every rank is here
        timing.warn_if_oversubscribed(world_size, num_cores=machine.num_cores())


def check_device(device: str, *, world_size: int) -> str:
    """Refuse a GPU run without GPUs; hide the GPUs from a CPU run.

    Args:
        device: "auto", "cpu" or "cuda".
        world_size: W.

    Returns:
        What ranks will compute on, "cpu" or "cuda": GPUs where each rank has its own.

    Raises:
        SettingsError: Not every rank of this machine would have its own GPU.

    Examples:
        >>> check_device("auto", world_size=1000)
        'cpu'
    """
    if device == "cpu":
        # WHY the variable: ranks inherit it, and no CUDA context takes their memory.
        # WHY -1 and not nothing: on Windows an empty value deletes the variable.
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        return "cpu"
    num_local_ranks = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
    num_gpus = len(gpus.usable())
    if device == "cuda" and num_gpus < num_local_ranks:
        raise SettingsError(
            f"--device cuda: {console.counted(num_local_ranks, 'rank')}, but torch "
            f"{torch.__version__} sees {console.counted(num_gpus, 'CUDA GPU')} that it "
            f"can compute on.{_refused_gpus()}",
            why="the run would use the CPU, and its numbers would pass for a GPU's.",
            fix="--device auto or --device cpu; on Kaggle choose the accelerator "
            "GPU T4 x2.",
            page="no-gpu",
        )
    return "cuda" if num_gpus >= num_local_ranks else "cpu"


def _refused_gpus() -> str:
    """The GPUs that torch sees and cannot compute on, one a line."""
    num_seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    reasons = [gpus.why_unusable(number) for number in range(num_seen)]
    return "".join(f"\n  not usable: {reason}." for reason in reasons if reason)


def check_target(path: pathlib.Path, *, kind: str, device: str = "cpu") -> None:
    """Refuse to write over what this measurement would not replace.

    Args:
        path: Where to write the numbers.
        kind: What is to be measured.
        device: On what.

    Raises:
        ResultError: A file is there that is no measurement, or one of another kind or
            from other hardware. It is as it was.
        OSError: Nothing can be written there, as the OutputError that names the cure.
    """
    with files.translate_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.check_writable(path.parent)
    if not path.exists():
        return
    current = results.build_record(kind, figures={}, settings={}, num_ranks=1)
    current["environment"]["device"] = device
    try:
        results.check_comparable(results.read(path, kind=kind), current)
    except ResultError as error:
        raise ResultError(
            f"{path} exists and would be lost: {error.what}",
            why="a new measurement replaces only one of the same kind and hardware.",
            fix="--json with another name, or move the file away first.",
            page="benchmark-files",
        ) from None
