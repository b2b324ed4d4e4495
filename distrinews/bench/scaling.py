"""One process against N ranks: how much faster, and where the rest of the time goes.

Promise: speed-up, efficiency and serial fraction by their usual definitions, from times
of one run; and an explanation that speaks of the reader's own numbers. What is
predicted and not measured says so.

Not here: taking the steps (`distrinews.bench.scaling_run`), predictions for other machines
(`distrinews.bench.costmodel.predictions`).

Letters used for shapes: W = number of ranks, G = rows per global batch.
Guide: understand/performance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distrinews.bench import timing
from distrinews.bench.costmodel import predictions

__all__ = ["explain", "figures", "table"]

# A usual network between machines in a data centre; what the explanation asks about.
GBIT_PER_S = 25.0


def figures(
    told: Mapping[str, Sequence[Mapping[str, float]]],
    *,
    work: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Turn the times into speed-up, efficiency, exposed communication, serial part.

    Args:
        told: What `scaling_run.measure` returned.
        work: What `scaling_run.work` returned.

    Returns:
        For "one_process", "strong" and "weak": what `benchmark.summarise` and `work`
        say, with exposed "communication" parted from "backward"; `samples_per_s`,
        `tokens_per_s`, `speedup` against one process, `efficiency` = speedup / W. For
        "strong" also `serial_fraction`, by Karp and Flatt (1990) the part that W ranks
        do not divide, and `predicted`, its step over a network.

    Examples:
        >>> times = {"forward": 30.0, "backward": 60.0, "optimizer": 9, "total": 100.0}
        >>> half = {"forward": 15.0, "backward": 50.0, "optimizer": 9, "total": 70.0}
        >>> free = {"forward": 15.0, "backward": 30.0, "optimizer": 9, "total": 50.0}
        >>> one = {"rows": 32, "tokens": 640, "threads": [2]}
        >>> two = one | {"threads": [1, 1], "gradient_bytes": [4, 4]}
        >>> told = figures(
        ...     {"one_process": [times], "strong": [half], "strong_unsynced": [free],
        ...      "weak": [times], "weak_unsynced": [times]},
        ...     work={"one_process": one, "strong": two, "weak": two | {"rows": 64}},
        ... )
        >>> told["strong"]["phases_ms"]["communication"], told["strong"]["speedup"]
        (20.0, 1.429)
        >>> told["strong"]["serial_fraction"], told["strong"]["tokens_per_s"]
        (0.4, 9142.9)
    """
    found: dict[str, Any] = {}
    base_ms = timing.summarise(told["one_process"])["median_ms"]
    for name in ("one_process", "strong", "weak"):
        row = timing.summarise(told[name])
        if name != "one_process":
            _part_communication(row["phases_ms"], told[f"{name}_unsynced"])
        own = {key: value for key, value in work[name].items() if key[0] != "g"}
        world_size = len(own["threads"])
        rows, per_s = own["rows"], 1000 / row["median_ms"]
        speedup = (rows * per_s) / (work["one_process"]["rows"] * 1000 / base_ms)
        found[name] = row | own
        found[name] |= {
            "samples_per_s": round(rows * per_s, 2),
            "tokens_per_s": round(own["tokens"] * per_s, 1),
            "speedup": round(speedup, 3),
            "efficiency": round(speedup / world_size, 3),
        }
    if world_size > 1:
        strong = found["strong"]
        part = (1 / strong["speedup"] - 1 / world_size) / (1 - 1 / world_size)
        strong["serial_fraction"] = round(part, 3)
        strong["predicted"] = _over_network(
            found, gradient_bytes=work["strong"]["gradient_bytes"]
        )
    return found


def _part_communication(
    phases_ms: dict[str, float], unsynced: Sequence[Mapping[str, float]]
) -> None:
    """Part what backward takes longer when gradients meet from backward itself."""
    free = timing.summarise(unsynced)["phases_ms"]
    # WHY not below 0: on a noisy machine the step without may take longer.
    exposed = max(0.0, phases_ms["backward"] - free["backward"])
    phases_ms["communication"] = round(exposed, 3)
    phases_ms["backward"] = round(phases_ms["backward"] - exposed, 3)


def _over_network(
    found: Mapping[str, Any], *, gradient_bytes: Sequence[int]
) -> dict[str, Any]:
    """Predict the strong step if each rank had such a machine to itself."""
    one, strong = found["one_process"], found["strong"]
    world_size = len(strong["threads"])
    phases = dict(strong["phases_ms"])
    if one["threads"][0] > strong["threads"][0]:
        # WHY from one process: its threads are what a rank with a machine of its own
        # has. That a part of the rows takes a part of the time is an assumption.
        phases = dict(one["phases_ms"])
        phases["forward"] /= world_size
        phases["backward"] /= world_size
    told = predictions.at_bandwidth(
        phases,
        gradient_bytes=gradient_bytes,
        world_size=world_size,
        gbit_per_s=GBIT_PER_S,
        alone_ms=one["median_ms"],
    )
    return {
        "gbit_per_s": GBIT_PER_S,
        "step_ms": round(told.step_ms, 1),
        "exposed_ms": round(told.exposed_ms, 1),
        "speedup": round(told.speedup or 0.0, 3),
    }


def explain(found: Mapping[str, Any], *, world_size: int) -> str:
    """Say in words where the time of the reader's own machine goes.

    Args:
        found: What `figures` returned.
        world_size: W.

    Returns:
        Some sentences, a line each, about numbers that stand in `found`.
    """
    one, strong = found["one_process"], found["strong"]
    ms, exposed = strong["median_ms"], strong["phases_ms"].get("communication", 0.0)
    if world_size == 1:
        return (
            f"One rank: a step takes {ms:.0f} ms. There is nobody to share the work "
            "with, so there is no speed-up to speak of: take --num-ranks 2."
        )
    lines = [
        f"One process with {_threads(one)} takes {one['median_ms']:.0f} ms for a step; "
        f"{world_size} ranks with {_threads(strong)} each take {ms:.0f} ms for the "
        f"same rows: {strong['speedup']:.2f}x.",
        f"Of each {ms:.0f} ms, {exposed:.0f} ms are exposed communication: backward "
        f"is over and gradients still travel. Without, it would be "
        f"{one['median_ms'] / max(ms - exposed, 1e-9):.2f}x.",
        f"{strong['phases_ms']['optimizer']:.0f} ms are the optimizer: every rank "
        "updates the whole model, so more ranks do not shorten it.",
        _serial(strong["serial_fraction"]),
        _network(strong["predicted"], world_size=world_size, one=one, strong=strong),
    ]
    if strong["speedup"] < 1.1 and one["threads"][0] > strong["threads"][0]:
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
    lines.append(timing.noise(found))
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
    one: Mapping[str, Any],
    strong: Mapping[str, Any],
) -> str:
    """What another network would change; a prediction, and called one."""
    shares = one["threads"][0] > strong["threads"][0]
    where = "on a machine of its own like this one" if shares else "with a GPU as here"
    return (
        f"Predicted, not measured: each of the {world_size} ranks {where}, gradients "
        f"over {predicted['gbit_per_s']:.0f} Gbit/s between them: "
        f"{predicted['step_ms']:.0f} ms, of which {predicted['exposed_ms']:.0f} ms are "
        f"exposed, so {predicted['speedup']:.2f}x."
    )


def table(found: Mapping[str, Any], *, world_size: int) -> str:
    """Draw the figures as a table that Markdown and a terminal both show.

    Args:
        found: What `figures` returned.
        world_size: W.

    Returns:
        A row per way of taking a step.
    """
    some = f"{world_size} rank" + "s" * (world_size != 1)
    head = ["way", "step", *timing.PHASES, "samples/s", "tokens/s", "speed-up"]
    titles = {
        "one_process": "one process",
        "strong": f"{some}, same rows",
        "weak": f"{some}, same rows each",
    }
    lines = [[*head, "efficiency"]]
    for name, row in found.items():
        phases = [f"{row['phases_ms'].get(p, 0.0):.0f} ms" for p in timing.PHASES]
        lines.append([
            titles[name],
            f"{row['median_ms']:.0f} ms",
            *phases,
            f"{row['samples_per_s']:.1f}",
            f"{row['tokens_per_s']:,.0f}",
            f"{row['speedup']:.2f}x",
            f"{row['efficiency']:.0%}",
        ])
    return timing.draw_table(lines)
