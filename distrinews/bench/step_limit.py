"""Set a step of training against the machine's limit: what takes its time, and why.

The work that cannot be left out is the matrix products. Each of them, in the shapes
that a step really has, is timed again alone on the same cores; the sum of the best
times is the floor. torch's profiler says what everything else takes.

Promise: the parts add up to the step. What the profiler itself costs is in none of
them: they are scaled to the steps that ran without it.

Not here: who takes turns with whom (`distrinews.bench.scaling`).

Letters used for shapes: W = ranks.
Guide: benchmarks/limit.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as torch_dist
from torch.profiler import ProfilerActivity, profile

from distrinews import dist
from distrinews.bench import results, scaling, steps, timing
from distrinews.config.settings import BenchmarkSettings
from distrinews.dist import Ranks
from distrinews.training import corpus

__all__ = [
    "PARTS",
    "floor_ms",
    "measure",
    "measure_step",
    "part_of",
    "run",
    "sentence",
    "table",
]

MATRICES = "matrix products"
# Part -> beginnings of the names of torch's operators; the first part that fits.
PARTS = {
    MATRICES: ("aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm"),
    "attention": ("aten::_scaled_dot_product", "aten::_softmax"),
    "GELU": ("aten::gelu",),
    "layer norm": ("aten::native_layer_norm",),
    "zero-fills": ("aten::zero_", "aten::fill_", "aten::zeros"),
    "embedding": ("aten::embedding", "aten::index", "aten::unique", "aten::_unique"),
    "AdamW": ("aten::_fused_adamw", "aten::_foreach_addc"),
    "clipping": ("aten::_foreach_norm", "aten::linalg_vector_norm", "aten::_foreach"),
    "communication": ("c10d::", "gloo:", "nccl:"),
    "other operators": ("aten::", "autograd::", "torch::"),
}
REST = "Python, waiting"
NUM_PROFILED = 5
NUM_TRIES = 7
# What is measured: how many ranks compute at once, and how their gradients meet.
TITLES = {
    "one_rank": "one rank, the others idle",
    "unsynced": "all ranks, no averaging",
    "ddp": "all ranks, ddp",
    "shared": "all ranks, shared memory",
}


def part_of(operator: str) -> str:
    """Say to which part of a step an operator belongs.

    Args:
        operator: Its name in the profiler.

    Returns:
        A name in `PARTS`, or `REST` for what is no operator.

    Examples:
        >>> part_of("aten::gelu_backward"), part_of("ProfilerStep*")
        ('GELU', 'Python, waiting')
    """
    for part, beginnings in PARTS.items():
        if operator.startswith(beginnings):
            return part
    return REST


def floor_ms(products: Mapping[tuple[Any, ...], float]) -> float:
    """Time matrix products alone, each as fast as this machine ever did it here.

    Args:
        products: The two shapes of each -> how often a step has it.

    Returns:
        Milliseconds of all of them. On W ranks call it on all at once: they share the
        machine in a step, too.

    Examples:
        >>> floor_ms({((8, 4), (4, 2)): 2}) > 0
        True
    """
    total_s = 0.0
    for (left_shape, right_shape), count in products.items():
        left, right = torch.rand(left_shape), torch.rand(right_shape)
        best_s = float("inf")
        for _ in range(NUM_TRIES):
            began_s = time.perf_counter()
            torch.matmul(left, right)
            best_s = min(best_s, time.perf_counter() - began_s)
        total_s += count * best_s
    return 1000 * total_s


def measure_step(step: Callable[[], object], *, num_rounds: int) -> dict[str, Any]:
    """Time a step and its parts on this rank.

    Args:
        step: Takes one step.
        num_rounds: Steps without the profiler.

    Returns:
        `step_ms`, the median without the profiler; `parts_ms` by name, which add up
        to it; `floor_ms` of the matrix products; `profiled_ms`, a step with it.
    """
    for _ in range(timing.NUM_WARMUPS):
        step()
    walls_ms = [_wall_ms(step) for _ in range(num_rounds)]
    step_ms = statistics.median(walls_ms)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        profiled_ms = statistics.median(_wall_ms(step) for _ in range(NUM_PROFILED))
    parts_ms = dict.fromkeys([*PARTS, REST], 0.0)
    products: dict[tuple[Any, ...], float] = {}
    for event in profiler.key_averages(group_by_input_shape=True):
        part = part_of(event.key)
        parts_ms[part] += event.self_cpu_time_total / 1000 / NUM_PROFILED
        if part == MATRICES:
            shapes = [tuple(shape) for shape in event.input_shapes if len(shape) >= 2]
            key = tuple(shapes[-2:])
            products[key] = products.get(key, 0.0) + event.count / NUM_PROFILED
    parts_ms[REST] = 0.0
    parts_ms[REST] = max(0.0, profiled_ms - sum(parts_ms.values()))
    scale = step_ms / sum(parts_ms.values())
    return {
        "step_ms": step_ms,
        "profiled_ms": profiled_ms,
        "parts_ms": {name: ms * scale for name, ms in parts_ms.items()},
        "floor_ms": floor_ms(products),
        "all_ms": walls_ms,
    }


def _wall_ms(step: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    step()
    return 1000 * (time.perf_counter() - began_s)


def measure(
    splits: corpus.Splits, ranks: Ranks, *, settings: BenchmarkSettings
) -> dict[str, dict[str, Any]]:
    """Take the steps of chapter 05 in the forms of `TITLES`, one after the other.

    Collective: every rank must call it, in a process group without GPUs.

    Args:
        splits: Rows to train on.
        ranks: Who this process is.
        settings: The recipe, and how many rounds.

    Returns:
        Name -> what `measure_step` returned on rank 0; the same on every rank.
    """
    figures = {}
    for name in TITLES:
        averaging = name if name in {"ddp", "shared"} else "ddp"
        recipe = settings.model_copy(update={"averaging": averaging})
        net = steps.build_net(splits, ranks, settings=recipe)
        meets = name in {"ddp", "shared"}
        replica = steps.replicate(net, settings=recipe) if meets else net
        take_step = scaling.make_step("strong", replica, splits, ranks, settings=recipe)
        torch_dist.barrier()
        if name != "one_rank" or ranks.is_main:
            step = functools.partial(take_step, timing.PhaseTimer(ranks))
            figures[name] = measure_step(step, num_rounds=settings.num_rounds)
        torch_dist.barrier()
    return dist.broadcast_object(figures)


def table(result: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw the parts of a step as a table that Markdown and a terminal both show.

    Args:
        result: What `measure` returned.

    Returns:
        A row per part, milliseconds; the last rows are the whole step and the floor of
        its matrix products.
    """
    lines = [["part of a step", *(TITLES[name] for name in result)]]
    for part in [*PARTS, REST]:
        cells = [f"{row['parts_ms'][part]:.0f} ms" for row in result.values()]
        lines.append([part, *cells])
    lines.append(["whole step", *(f"{r['step_ms']:.0f} ms" for r in result.values())])
    floors = [f"{row['floor_ms']:.0f} ms" for row in result.values()]
    lines.append([f"floor of the {MATRICES}", *floors])
    return timing.draw_table(lines)


def sentence(result: Mapping[str, Mapping[str, Any]]) -> str:
    """Say how far a rank that computes alone is from the floor.

    Args:
        result: What `measure` returned.

    Returns:
        One sentence.

    Examples:
        >>> text = sentence({"one_rank": {"floor_ms": 300.0, "step_ms": 400.0}})
        >>> text.partition("; ")[2]
        'its step takes 400 ms, 1.33 times as long.'
    """
    floor, step = result["one_rank"]["floor_ms"], result["one_rank"]["step_ms"]
    return (
        f"One rank alone: its matrix products need at least {floor:.0f} ms on this "
        f"core; its step takes {step:.0f} ms, {step / floor:.2f} times as long."
    )


def run(ranks: Ranks, settings: BenchmarkSettings) -> None:
    """Measure, print, and write the record if one was asked for.

    Collective: every rank must call it; it is what `dist.launch` runs.

    Args:
        ranks: Who this process is.
        settings: What to measure.
    """
    splits = corpus.load(settings)
    result = measure(splits, ranks, settings=settings)
    texts = (table(result), sentence(result))
    results.print_and_save(settings, "limit", *texts, figures=result, ranks=ranks)
