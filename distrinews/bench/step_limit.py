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

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as torch_dist
from torch.profiler import ProfilerActivity, profile

from distrinews import dist, model, training
from distrinews.bench import results, scaling, timing
from distrinews.config.settings import BenchmarkSettings
from distrinews.dist import Ranks
from distrinews.training import corpus

__all__ = ["PARTS", "floor_ms", "measure", "part_of", "run", "table"]

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


def measure(step: Callable[[], object], *, num_rounds: int) -> dict[str, Any]:
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
