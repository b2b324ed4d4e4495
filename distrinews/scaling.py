"""One process against N ranks: how much faster, and where the rest of the time goes.

Promise: one process, N ranks with the same global batch (strong scaling) and N ranks
with the same batch a rank (weak scaling) take turns in one process group, with the same
model and rows of the same lengths; so they are compared on the same machine in the same
minutes.

"One process" is rank 0 alone, with all the threads that the ranks share otherwise,
while the others wait. What it is compared with is therefore not a crippled machine.

Not here: the clock (`distrinews.benchmark`), predictions for other machines
(`distrinews.costmodel`).

Letters used for shapes: W = number of ranks, G = rows per global batch.
Guide: understand/performance.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from distrinews import benchmark, sync, training
from distrinews.benchmark import PhaseClock
from distrinews.dist import Ranks
from distrinews.news import News
from distrinews.settings import DistributedSettings

__all__ = ["explain", "figures", "measure", "table"]

# Name -> (whether all ranks take part, whether gradients meet).
WAYS = {
    "one_process": (False, False),
    "strong": (True, True),
    "strong_unsynced": (True, False),
    "weak": (True, True),
    "weak_unsynced": (True, False),
}


def measure(
    net: nn.Module,
    stories: News,
    ranks: Ranks,
    *,
    settings: DistributedSettings,
    num_rounds: int,
) -> dict[str, list[dict[str, float]]]:
    """Time a step of one process and of all ranks, in turn.

    Collective: every rank must call it.

    Args:
        net: The model on the rank's device, with equal weights; it is not changed.
        stories: Rows to train on; at least W * G.
        ranks: Who this process is.
        settings: The global batch size G and the optimizer.
        num_rounds: How often each is timed.

    Returns:
        As `benchmark.interleave`, for each name in `WAYS`. The "unsynced" ones are the
        same step within `no_sync`: what they save is the exposed communication.
    """
    own, shared = copy.deepcopy(net), copy.deepcopy(net)
    replica: nn.Module = shared
    if ranks.world_size > 1:
        gpu = [ranks.device.index] if ranks.device.type == "cuda" else None
        replica = DistributedDataParallel(
            shared, device_ids=gpu, gradient_as_bucket_view=True
        )
    size, world_size = settings.global_batch_size, ranks.world_size
    strong = list(range(ranks.rank, size, world_size))  # G / W rows
    weak = list(range(ranks.rank, size * world_size, world_size))  # G rows
    all_threads = torch.get_num_threads() * world_size

    def taking(model: nn.Module, rows: list[int], meet: bool) -> benchmark.Way:
        optimizer = training.build_optimizer(model, settings=settings)

        def take_step(clock: PhaseClock) -> None:
            with clock.phase("data"):
                inputs, labels = stories.fit_batch(rows, device=ranks.device)
            optimizer.zero_grad()
            with sync.sync_if(meet, replica=model):
                with clock.phase("forward"):
                    loss = F.cross_entropy(model(**inputs).logits, labels)
                with clock.phase("backward"):
                    loss.backward()
            with clock.phase("optimizer"):
                clip_grad_norm_(model.parameters(), settings.max_gradient_norm)
                optimizer.step()

        return take_step

    alone = taking(own, list(range(size)), True)

    def one_process(clock: PhaseClock) -> None:
        if ranks.is_main:
            with _threads(all_threads):
                clock.restart()
                alone(clock)
        else:  # the same phases, empty: every rank tells the same names
            for phase in ("data", "forward", "backward", "optimizer"):
                with clock.phase(phase):
                    pass

    ways: dict[str, Callable[[PhaseClock], None]] = {"one_process": one_process}
    for name, rows in (("strong", strong), ("weak", weak)):
        ways[name] = taking(replica, rows, True)
        ways[f"{name}_unsynced"] = taking(replica, rows, False)
    return benchmark.interleave(ways, ranks, num_rounds=num_rounds, title="time steps")


@contextlib.contextmanager
def _threads(number: int) -> Generator[None, None, None]:
    """Compute with other many threads for the length of the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    # WHY compute something: the threads are made by the first work they get.
    torch.ones(512, 512).mm(torch.ones(512, 512))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def figures(
    told: Mapping[str, Sequence[Mapping[str, float]]],
    *,
    world_size: int,
    global_batch_size: int,
) -> dict[str, Any]:
    """Turn the times into speed-up, efficiency, exposed communication, serial part.

    Args:
        told: What `measure` returned.
        world_size: W.
        global_batch_size: G.

    Returns:
        For "one_process", "strong" and "weak": `median_ms`, `phases_ms` with exposed
        "communication" parted from "backward", `samples_per_s`, `speedup` against one
        process, `efficiency` = speedup / W; for "strong" also `serial_fraction`, by
        Karp and Flatt (1990) the part that W ranks do not divide.

    Examples:
        >>> times = {"forward": 30.0, "backward": 60.0, "total": 100.0}
        >>> half = {"forward": 15.0, "backward": 50.0, "total": 70.0}
        >>> free = {"forward": 15.0, "backward": 30.0, "total": 50.0}
        >>> told = figures(
        ...     {"one_process": [times], "strong": [half], "strong_unsynced": [free],
        ...      "weak": [times], "weak_unsynced": [times]},
        ...     world_size=2, global_batch_size=32,
        ... )
        >>> told["strong"]["phases_ms"]["communication"], told["strong"]["speedup"]
        (20.0, 1.429)
    """
    found: dict[str, Any] = {}
    base_ms = benchmark.summarise(told["one_process"])["median_ms"]
    for name in ("one_process", "strong", "weak"):
        row = benchmark.summarise(told[name])
        rows = global_batch_size * (world_size if name == "weak" else 1)
        if name != "one_process":
            free = benchmark.summarise(told[f"{name}_unsynced"])["phases_ms"]
            phases = row["phases_ms"]
            # WHY not below 0: on a noisy machine the step without may take longer.
            exposed = max(0.0, phases["backward"] - free["backward"])
            phases["communication"] = round(exposed, 3)
            phases["backward"] = round(phases["backward"] - exposed, 3)
        speedup = (rows / row["median_ms"]) / (global_batch_size / base_ms)
        row["samples_per_s"] = round(1000 * rows / row["median_ms"], 2)
        row["speedup"] = round(speedup, 3)
        row["efficiency"] = round(
            speedup / (1 if name == "one_process" else world_size), 3
        )
        found[name] = row
    if world_size > 1:
        part = (1 / found["strong"]["speedup"] - 1 / world_size) / (1 - 1 / world_size)
        found["strong"]["serial_fraction"] = round(part, 3)
    return found


def explain(found: Mapping[str, Any], *, world_size: int) -> str:
    """Say in words where the time of the reader's own machine goes.

    Args:
        found: What `figures` returned.
        world_size: W.

    Returns:
        Some sentences, each about numbers that stand in `found`.
    """
    one, strong = found["one_process"], found["strong"]
    ms, exposed = strong["median_ms"], strong["phases_ms"].get("communication", 0.0)
    lines = [
        f"One process takes {one['median_ms']:.0f} ms for a step, {world_size} ranks "
        f"take {ms:.0f} ms for the same rows: {strong['speedup']:.2f}x.",
        f"Of each {ms:.0f} ms, {exposed:.0f} ms are exposed communication: backward "
        f"is over and gradients still travel. Without, it would be "
        f"{one['median_ms'] / max(ms - exposed, 1e-9):.2f}x.",
        f"{strong['phases_ms']['optimizer']:.0f} ms are the optimizer: every rank "
        "updates the whole model, so more ranks do not shorten it.",
    ]
    if strong["speedup"] < 1.1:
        lines.append(
            "DDP does not pay here: one process already used all the cores that the "
            "ranks now share. It pays where each rank brings a processor of its own."
        )
    noisy = [name for name, row in found.items() if row["noisy"]]
    if noisy:
        lines.append(
            f"The machine was busy with something else ({', '.join(noisy)}: the middle "
            "half of the times differ by more than a quarter). Measure again."
        )
    return "\n".join(lines)


def table(found: Mapping[str, Any], *, world_size: int) -> str:
    """Draw the figures as a table that Markdown and a terminal both show.

    Args:
        found: What `figures` returned.
        world_size: W.

    Returns:
        A row per way of taking a step.
    """
    head = ["way", "step", *benchmark.PHASES, "samples/s", "speed-up", "efficiency"]
    titles = {
        "one_process": "one process",
        "strong": f"{world_size} ranks, same rows",
        "weak": f"{world_size} ranks, same rows each",
    }
    lines = [head]
    for name, row in found.items():
        phases = [f"{row['phases_ms'].get(p, 0.0):.0f} ms" for p in benchmark.PHASES]
        lines.append([
            titles[name],
            f"{row['median_ms']:.0f} ms",
            *phases,
            f"{row['samples_per_s']:.1f}",
            f"{row['speedup']:.2f}x",
            f"{row['efficiency']:.0%}",
        ])
    return benchmark.draw_table(lines)
