"""One process against N ranks: how much faster, and where the rest of the time goes.

One process, N ranks with the same global batch (strong scaling) and N ranks with the
same batch per rank (weak scaling) take turns in one process group, with the same model
and rows of the same lengths; so they are compared on the same machine in the same
minutes. "One process" is rank 0 alone, with all the threads that the ranks share
otherwise, while the others wait.

Speed-up, efficiency and serial fraction follow their usual definitions. What is
predicted and not measured says so.

Not here: the timer (`distrinews.bench.timing`), predictions for other machines
(`distrinews.bench.costmodel.predictions`).

Letters used for shapes: W = number of ranks, G = rows per global batch.
Guide: understand/performance.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from tqdm import tqdm

from distrinews import dist, sharding, training
from distrinews.bench import steps, timing
from distrinews.bench.costmodel import predictions
from distrinews.bench.timing import PhaseTimer
from distrinews.config.settings import BenchmarkSettings
from distrinews.dist import Ranks
from distrinews.errors import SettingsError
from distrinews.system import machine
from distrinews.training.corpus import Splits

__all__ = [
    "VARIANTS",
    "explain",
    "figures",
    "make_step",
    "measure",
    "num_steps",
    "rows_of",
    "speedup_text",
    "table",
    "workload",
]

# What takes turns. The "unsynced" ones are the same step within `no_sync`.
VARIANTS = ("one_process", "strong", "strong_unsynced", "weak", "weak_unsynced")
# A usual network between machines in a data centre; what the explanation asks about.
GBIT_PER_S = 25.0


def measure(
    net: nn.Module,
    splits: Splits,
    ranks: Ranks,
    *,
    settings: BenchmarkSettings,
    take_step: Callable[..., None] = steps.take_step,
    title: str | tqdm[NoReturn] | None = "time steps",
) -> dict[str, list[dict[str, float]]]:
    """Time a step of one process and of all ranks, in turn.

    Collective: every rank must call it.

    Args:
        net: The model on the rank's device, with equal weights; it is not changed.
        splits: Rows to train on; at least W * G.
        ranks: Who this process is.
        settings: The global batch size G, the optimizer, how often each is timed.
        take_step: What is timed; takes what `steps.take_step` takes.
        title: As in `timing.interleave`.

    Returns:
        As `timing.interleave`, for each name in `VARIANTS`. What the "unsynced" ones
        save is the exposed communication.

    Raises:
        SettingsError: There are fewer rows than W global batches. On every rank.
    """
    needed = settings.global_batch_size * ranks.world_size
    if len(splits.train_lengths) < needed:
        raise SettingsError(
            f"{len(splits.train_lengths)} rows to train on are fewer than {needed}.",
            why=f"with the same batch a rank, {ranks.world_size} ranks compute "
            f"{ranks.world_size} global batches at once.",
            fix=f"--train-rows {2 * needed}, or a smaller --global-batch-size.",
            page="batch-size",
        )
    # Rank 0 is the one process; the others need no model for it.
    single_net = copy.deepcopy(net) if ranks.is_main else net
    replica = steps.replicate(copy.deepcopy(net), settings=settings)
    all_threads = torch.get_num_threads() * ranks.world_size

    # WHY one for all variants: AdamW keeps twice the size of the model.
    optimizer = training.build_optimizer(replica, settings=settings)
    make = functools.partial(
        make_step, splits=splits, ranks=ranks, settings=settings, take_step=take_step
    )
    alone = make("one_process", single_net)

    def one_process(timer: PhaseTimer) -> None:
        if ranks.is_main:
            with machine.threads(all_threads):
                timer.restart()
                alone(timer)
        else:  # the same phases, empty: every rank tells the same names
            for phase in ("data", "forward", "backward", "optimizer"):
                with timer.phase(phase):
                    pass

    variants: dict[str, timing.Variant] = {"one_process": one_process}
    for name in VARIANTS[1:]:
        variants[name] = make(name, replica, optimizer=optimizer)
    return timing.interleave(
        variants, ranks, num_rounds=settings.num_rounds, title=title
    )


def num_steps(settings: BenchmarkSettings) -> int:
    """Count the steps that `measure` takes.

    Args:
        settings: How often each variant is timed.

    Returns:
        Steps of all variants, warm-up steps included.

    Examples:
        >>> num_steps(BenchmarkSettings(num_rounds=3))
        25
    """
    return len(VARIANTS) * (timing.NUM_WARMUPS + settings.num_rounds)


def make_step(
    variant: str,
    replica: nn.Module,
    splits: Splits,
    ranks: Ranks,
    *,
    settings: BenchmarkSettings,
    optimizer: Optimizer | None = None,
    take_step: Callable[..., None] = steps.take_step,
) -> Callable[[Any], None]:
    """Make a function that takes a step of one variant, always with the same rows.

    Args:
        variant: One of `VARIANTS`.
        replica: Bare or wrapped.
        splits: The rows.
        ranks: Who this process is.
        settings: The global batch size G and the optimizer.
        optimizer: To share with another variant of this replica; None for a new one.
        take_step: As in `measure`.

    Returns:
        Called with a timer that has `phase(name)`: a `PhaseTimer` or a `Recorder`.
    """
    if optimizer is None:
        optimizer = training.build_optimizer(replica, settings=settings)
    kind = variant.removesuffix("_unsynced")
    rows = rows_of(kind, splits.train_lengths, ranks, settings=settings)

    def step(timer: Any) -> None:
        with timer.phase("data"):
            batch = splits.batch(rows, device=ranks.device)
        take_step(
            replica,
            batch,
            optimizer=optimizer,
            settings=settings,
            timer=timer,
            synchronise=kind == variant,
        )

    return step


def rows_of(
    variant: str,
    lengths: np.ndarray,
    ranks: Ranks,
    *,
    settings: BenchmarkSettings,
) -> list[int]:
    """Say which rows a rank computes in a step: a batch that chapter 05 would train.

    Of the epoch's global batches it is the one of middle width: a step with the longest
    rows takes several times as long as one with the shortest.

    Args:
        variant: "one_process", "strong" or "weak".
        lengths: Tokens of each row to train on.
        ranks: The rank that calls, and the world size.
        settings: Kind of batches, the global batch size G, the seed.

    Returns:
        Indices of rows to train on: G of them, or G / W for "strong".

    Examples:
        >>> lengths, settings = np.arange(12), BenchmarkSettings(global_batch_size=4)
        >>> for kind in ("one_process", "strong", "weak"):
        ...     here = Ranks(0, 0, 2, torch.device("cpu"))
        ...     print(len(rows_of(kind, lengths, here, settings=settings)))
        4
        2
        4
    """
    alone = Ranks(0, local_rank=0, world_size=1, device=ranks.device)
    here = alone if variant == "one_process" else ranks
    factor = ranks.world_size if variant == "weak" else 1
    size = settings.global_batch_size * factor
    recipe = settings.model_copy(
        update={"global_batch_size": size, "accumulation_steps": 1}
    )
    own, whole = (
        list(training.build_sampler(lengths, who, settings=recipe))
        for who in (here, alone)
    )
    by_width = sorted(range(len(whole)), key=lambda step: lengths[whole[step]].max())
    return own[by_width[len(by_width) // 2]]


def workload(
    net: nn.Module, splits: Splits, ranks: Ranks, *, settings: BenchmarkSettings
) -> dict[str, dict[str, Any]]:
    """Describe the work and memory of a step of each variant; call it after `measure`.

    Collective: every rank must call it.

    Args:
        net: The bare model.
        splits: The rows.
        ranks: Who this process is.
        settings: The global batch size G.

    Returns:
        For "one_process", "strong" and "weak": `rows` of all ranks, `tokens` of their
        texts without padding, `padding_share` of what is computed, `threads` of each
        rank. For the latter two also `peak_memory_bytes` of each rank and
        `gradient_bytes` of each parameter. The same on every rank.

    Note:
        The peak is that of the process, which holds the bare model and a replica, and
        on rank 0 the model of the one process: more than either variant needs.
    """
    lengths = splits.train_lengths
    local = (torch.get_num_threads(), machine.peak_memory_bytes(ranks.device))
    threads, memory = zip(*dist.gather_objects(local), strict=True)
    result = {}
    for variant in ("one_process", "strong", "weak"):
        world_size = 1 if variant == "one_process" else ranks.world_size
        batches = [
            rows_of(
                variant,
                lengths,
                Ranks(rank, rank, world_size, ranks.device),
                settings=settings,
            )
            for rank in range(world_size)
        ]
        result[variant] = {
            "rows": sum(map(len, batches)),
            "tokens": sum(int(lengths[row]) for batch in batches for row in batch),
            "padding_share": round(sharding.padding_share(lengths, batches), 3),
            "threads": list(threads) if variant != "one_process" else [sum(threads)],
        }
        if variant != "one_process":
            result[variant]["peak_memory_bytes"] = list(memory)
            result[variant]["gradient_bytes"] = [p.nbytes for p in net.parameters()]
    return result


def figures(
    timings: Mapping[str, Sequence[Mapping[str, float]]],
    *,
    workload: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Turn the times into speed-up, efficiency, exposed communication, serial part.

    Args:
        timings: What `measure` returned.
        workload: What `workload` returned.

    Returns:
        For "one_process", "strong" and "weak": what `timing.summarise` and
        `workload` say, with exposed "communication" split from "backward";
        `samples_per_s`, `tokens_per_s`, `speedup` against one process with its
        `speedup_interval`, `efficiency` = speedup / W. For "strong" also
        `serial_fraction`, by Karp and Flatt (1990) the part that W ranks do not divide,
        and `predicted`, its step over a network.

    Examples:
        >>> times = {"forward": 30.0, "backward": 60.0, "optimizer": 9, "total": 100.0}
        >>> half = {"forward": 15.0, "backward": 50.0, "optimizer": 9, "total": 70.0}
        >>> free = {"forward": 15.0, "backward": 30.0, "optimizer": 9, "total": 50.0}
        >>> alone = {"rows": 32, "tokens": 640, "threads": [2]}
        >>> both = alone | {"threads": [1, 1], "gradient_bytes": [4, 4]}
        >>> result = figures(
        ...     {"one_process": [times], "strong": [half], "strong_unsynced": [free],
        ...      "weak": [times], "weak_unsynced": [times]},
        ...     workload={
        ...         "one_process": alone, "strong": both, "weak": both | {"rows": 64}
        ...     },
        ... )
        >>> strong = result["strong"]
        >>> strong["phases_ms"]["communication"], strong["speedup"]
        (20.0, 1.429)
        >>> strong["serial_fraction"], strong["tokens_per_s"]
        (0.4, 9142.9)
    """
    result: dict[str, Any] = {}
    base_ms = timing.summarise(timings["one_process"])["median_ms"]
    for name in ("one_process", "strong", "weak"):
        row = timing.summarise(timings[name])
        if name != "one_process":
            _split_communication(row["phases_ms"], timings[f"{name}_unsynced"])
        counts = {key: value for key, value in workload[name].items() if key[0] != "g"}
        world_size = len(counts["threads"])
        rows, per_s = counts["rows"], 1000 / row["median_ms"]
        speedup = (rows * per_s) / (workload["one_process"]["rows"] * 1000 / base_ms)
        result[name] = row | counts
        result[name] |= {
            "samples_per_s": round(rows * per_s, 2),
            "tokens_per_s": round(counts["tokens"] * per_s, 1),
            "speedup": round(speedup, 3),
            "speedup_interval": _speedup_of_rounds(result, name)[1],
            "efficiency": round(speedup / world_size, 3),
        }
    if world_size > 1:
        strong = result["strong"]
        part = (1 / strong["speedup"] - 1 / world_size) / (1 - 1 / world_size)
        strong["serial_fraction"] = round(part, 3)
        strong["predicted"] = _predict_over_network(
            result, gradient_bytes=workload["strong"]["gradient_bytes"]
        )
    return result


def _speedup_of_rounds(
    result: Mapping[str, Any], name: str
) -> tuple[float, list[float]]:
    """The median of the rounds' speed-ups, and what holds the true one."""
    one_process, row = result["one_process"], result[name]
    return timing.ratio_of_rows(
        one_process, row, scale=row["rows"] / one_process["rows"]
    )


def speedup_text(result: Mapping[str, Any], name: str) -> str:
    """Put a speed-up into words.

    Args:
        result: What `figures` returned.
        name: "one_process", "strong" or "weak".

    Returns:
        As `timing.ratio_text`, of rows per second; "1" for one process itself.
    """
    if name == "one_process":
        return "1"
    # WHY from the rounds: files from before the interval was kept hold them, too.
    speedup, interval = _speedup_of_rounds(result, name)
    return timing.ratio_text(speedup, interval, num_rounds=result[name]["num_rounds"])


def _split_communication(
    phases_ms: dict[str, float], unsynced: Sequence[Mapping[str, float]]
) -> None:
    """Part what backward takes longer when gradients meet from backward itself."""
    free = timing.summarise(unsynced)["phases_ms"]
    # WHY not below 0: on a noisy machine the step without may take longer.
    exposed = max(0.0, phases_ms["backward"] - free["backward"])
    phases_ms["communication"] = round(exposed, 3)
    phases_ms["backward"] = round(phases_ms["backward"] - exposed, 3)


def _predict_over_network(
    result: Mapping[str, Any], *, gradient_bytes: Sequence[int]
) -> dict[str, Any]:
    """Predict the strong step if each rank had such a machine to itself."""
    one_process, strong = result["one_process"], result["strong"]
    world_size = len(strong["threads"])
    phases = dict(strong["phases_ms"])
    if one_process["threads"][0] > strong["threads"][0]:
        # WHY from one process: its threads are what a rank with a machine of its own
        # has. That a part of the rows takes a part of the time is an assumption.
        phases = dict(one_process["phases_ms"])
        phases["forward"] /= world_size
        phases["backward"] /= world_size
    prediction = predictions.at_bandwidth(
        phases,
        gradient_bytes=gradient_bytes,
        world_size=world_size,
        gbit_per_s=GBIT_PER_S,
        alone_ms=one_process["median_ms"],
    )
    return {
        "gbit_per_s": GBIT_PER_S,
        "step_ms": round(prediction.step_ms, 1),
        "exposed_ms": round(prediction.exposed_ms, 1),
        "speedup": round(prediction.speedup or 0.0, 3),
    }


def table(result: Mapping[str, Any], *, world_size: int) -> str:
    """Draw the figures as a table that Markdown and a terminal both show.

    Args:
        result: What `figures` returned.
        world_size: W.

    Returns:
        A row per variant of a step.
    """
    ranks_label = f"{world_size} rank" + "s" * (world_size != 1)
    head = ["way", "step", *timing.PHASES, "samples/s", "tokens/s", "speed-up"]
    titles = {
        "one_process": "one process",
        "strong": f"{ranks_label}, same rows",
        "weak": f"{ranks_label}, same rows each",
    }
    lines = [[*head, "efficiency"]]
    for name, row in result.items():
        phases = [f"{row['phases_ms'].get(p, 0.0):.0f} ms" for p in timing.PHASES]
        lines.append([
            titles[name],
            f"{row['median_ms']:.0f} ms",
            *phases,
            f"{row['samples_per_s']:.1f}",
            f"{row['tokens_per_s']:,.0f}",
            speedup_text(result, name),
            f"{row['efficiency']:.0%}",
        ])
    return timing.draw_table(lines)


def explain(result: Mapping[str, Any], *, world_size: int) -> str:
    """Say in words where the time of the reader's own machine goes.

    Args:
        result: What `figures` returned.
        world_size: W.

    Returns:
        Some sentences, a line each, about numbers that are in `result`.
    """
    one_process, strong = result["one_process"], result["strong"]
    ms, exposed = strong["median_ms"], strong["phases_ms"].get("communication", 0.0)
    if world_size == 1:
        return (
            f"One rank: a step takes {ms:.0f} ms. There is no other rank to share the "
            "work with, so there is no speed-up: take --num-ranks 2."
        )
    lines = [
        f"One process with {_threads(one_process)} takes "
        f"{one_process['median_ms']:.0f} ms for a step; "
        f"{world_size} ranks with {_threads(strong)} each take {ms:.0f} ms for the "
        f"same rows: {speedup_text(result, 'strong')}.",
        f"Of each {ms:.0f} ms, {exposed:.0f} ms are exposed communication: backward "
        f"is over and gradients still travel. Without, it would be "
        f"{one_process['median_ms'] / max(ms - exposed, 1e-9):.2f}x.",
        f"{strong['phases_ms']['optimizer']:.0f} ms are the optimizer: every rank "
        "updates the whole model, so more ranks do not shorten it.",
        _serial(strong["serial_fraction"]),
        _network(
            strong["predicted"],
            world_size=world_size,
            one_process=one_process,
            strong=strong,
        ),
    ]
    if strong["speedup"] < 1.1 and one_process["threads"][0] > strong["threads"][0]:
        lines.append(
            "DDP does not pay here: one process already used all the cores that the "
            "ranks now share. It pays where each rank brings a processor of its own."
        )
    lines.append(
        f"{strong['padding_share']:.0%} of what the ranks compute is padding; each "
        "process needed at most "
        f"{max(strong['peak_memory_bytes']) / 2**30:.1f} GiB (rank 0 also holds the "
        "model of the one process)."
    )
    lines.append(timing.noise_warning(result))
    return "\n".join(line for line in lines if line)


def _threads(row: Mapping[str, Any]) -> str:
    number = int(row["threads"][0])
    return f"{number} thread" + "s" * (number != 1)


def _serial(part: float) -> str:
    """What the serial fraction says, by Amdahl's law read backwards."""
    named = f"The serial fraction (Karp and Flatt) is {part:.2f}: "
    if part > 1:
        return named + "above 1, the ranks add more than they divide."
    if part <= 0:
        return named + (
            "not above 0, the ranks gained something that one process lacked; its "
            "threads may have served it badly (a small model, a busy machine)."
        )
    return named + (
        f"as if {part:.0%} of one process's step did not divide. If it stayed so, no "
        f"number of ranks would give more than {1 / part:.1f}x (Amdahl)."
    )


def _network(
    predicted: Mapping[str, float],
    *,
    world_size: int,
    one_process: Mapping[str, Any],
    strong: Mapping[str, Any],
) -> str:
    """What another network would change; a prediction, and called one."""
    shares = one_process["threads"][0] > strong["threads"][0]
    where = "on a machine of its own like this one" if shares else "with a GPU as here"
    return (
        f"Predicted, not measured: each of the {world_size} ranks {where}, gradients "
        f"over {predicted['gbit_per_s']:.0f} Gbit/s between them: "
        f"{predicted['step_ms']:.0f} ms, of which {predicted['exposed_ms']:.0f} ms are "
        f"exposed, so {predicted['speedup']:.2f}x."
    )
