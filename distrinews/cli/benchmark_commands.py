"""What `python -m distrinews benchmark` does: measure, compare, check, predict.

Promise: what cannot be measured here is refused before anything is, and a file that
exists is not overwritten by a run that fails.

Not here: the measurements themselves, each a module of its own with its `run`.

Guide: reference/command-line.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from distrinews import dist
from distrinews.bench import (
    averaging,
    datapath,
    length_balance,
    peers,
    preflight,
    results,
    step_limit,
    timing,
    trace_overhead,
)
from distrinews.bench.costmodel import measurement, report
from distrinews.bench.costmodel.calibration_plan import CalibrationSettings
from distrinews.bench.costmodel.report import PredictionSettings
from distrinews.config.flags import parse
from distrinews.config.settings import BenchmarkSettings
from distrinews.errors import SettingsError
from distrinews.system import machine

__all__ = ["measure"]


def measure(what: str, *, arguments: Sequence[str]) -> None:
    """Measure something on this machine, or compare two measurements.

    Args:
        what: A name in `distrinews.cli.parser.MEASUREMENTS`.
        arguments: The measurement's flags, or the files.

    Raises:
        SettingsError: A flag is not usable; nothing was overwritten.
        ResultError: A file is not usable.
        SetupError: A library to compare with is not installed.
    """
    handlers: dict[str, Callable[[Sequence[str]], None]] = {
        "calibrate": _calibrate,
        "check": _check,
        "compare": _compare,
        "data": _data,
        "peers": _peers,
        "predict": _predict,
    }
    if what in handlers:
        handlers[what](arguments)
    else:
        _run_on_ranks(what, arguments)


def _compare(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="distrinews benchmark compare")
    parser.add_argument("files", nargs=2, type=pathlib.Path, metavar="FILE.json")
    args = parser.parse_args(arguments)
    print(timing.draw_table(results.compare(*args.files)))


def _check(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="distrinews benchmark check")
    parser.add_argument("file", type=pathlib.Path, metavar="FILE.json")
    path = parser.parse_args(arguments).file
    record = results.check_publishable(path)
    print(f"{path} may be published: {record['kind']} on {results.hardware(record)}")


def _predict(arguments: Sequence[str]) -> None:
    about = report.__doc__ or ""
    report.run(parse(PredictionSettings, about=about, arguments=arguments))


def _data(arguments: Sequence[str]) -> None:
    about = datapath.__doc__ or ""
    settings = parse(datapath.DataPathSettings, about=about, arguments=arguments)
    preflight.check(settings, kind="data", world_size=settings.num_ranks)
    datapath.run(settings)


def _peers(arguments: Sequence[str]) -> None:
    about = peers.__doc__ or ""
    settings = parse(peers.PeerSettings, about=about, arguments=arguments)
    _need_two_ranks(settings, "peers")
    peers.check(settings)
    preflight.check(settings, kind="peers", world_size=settings.num_ranks)
    peers.run(settings)


def _run_on_ranks(what: str, arguments: Sequence[str]) -> None:
    """What several ranks measure, with flags that derive from chapter 06's."""
    kinds: dict[str, tuple[type[BenchmarkSettings], Any]] = {
        "averaging": (BenchmarkSettings, averaging),
        "balance": (BenchmarkSettings, length_balance),
        "limit": (BenchmarkSettings, step_limit),
        "trace": (BenchmarkSettings, trace_overhead),
    }
    kind, module = kinds[what]
    settings = parse(kind, about=module.__doc__ or "", arguments=arguments)
    _need_two_ranks(settings, what)
    preflight.check(settings, kind=what, world_size=settings.num_ranks)
    dist.launch(module.run, settings, num_ranks=settings.num_ranks)


def _need_two_ranks(settings: BenchmarkSettings, what: str) -> None:
    if settings.num_ranks < 2:
        raise SettingsError(
            f"--num-ranks {settings.num_ranks}: {what} needs at least two ranks.",
            why="it is about what ranks do together.",
            fix="use --num-ranks 2.",
            page="settings",
        )


def _calibrate(arguments: Sequence[str]) -> None:
    about = measurement.__doc__ or ""
    settings = parse(CalibrationSettings, about=about, arguments=arguments)
    num_ranks = dist.launched_world_size() or settings.num_ranks
    settings = settings.model_copy(update={"num_ranks": num_ranks})  # torchrun's count
    device = preflight.check_device(settings.device, world_size=num_ranks)
    if settings.json_path is not None:
        target = pathlib.Path(settings.json_path)
        preflight.check_target(target, kind="calibration", device=device)
    timing.warn_if_oversubscribed(num_ranks, num_cores=machine.num_cores())
    dist.launch(measurement.run, settings, num_ranks=num_ranks)
