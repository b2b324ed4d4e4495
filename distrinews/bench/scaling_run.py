"""Let one process and N ranks take the same steps in turn, and time them.

Promise: one process, N ranks with the same global batch (strong scaling) and N ranks
with the same batch a rank (weak scaling) take turns in one process group, with the same
model and rows of the same lengths; so they are compared on the same machine in the same
minutes.

"One process" is rank 0 alone, with all the threads that the ranks share otherwise,
while the others wait. What it is compared with is therefore not a crippled machine.

Not here: the clock (`distrinews.bench.timing`), what the times mean
(`distrinews.bench.scaling`).

Letters used for shapes: W = number of ranks, G = rows per global batch.
Guide: understand/performance.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from distrinews import dist, sharding, sync, training
from distrinews.bench import timing
from distrinews.bench.timing import PhaseClock
from distrinews.config.settings import BenchmarkSettings
from distrinews.dist import Ranks
from distrinews.errors import SettingsError
from distrinews.system import machine
from distrinews.training.corpus import News

__all__ = [
    "WAYS",
    "measure",
    "num_steps",
    "replicate",
    "rows_of",
    "take_step",
    "work",
]

# What takes turns. The "unsynced" ones are the same step within `no_sync`.
WAYS = ("one_process", "strong", "strong_unsynced", "weak", "weak_unsynced")


def measure(
    net: nn.Module,
    stories: News,
    ranks: Ranks,
    *,
    settings: BenchmarkSettings,
    title: str | tqdm[NoReturn] | None = "time steps",
) -> dict[str, list[dict[str, float]]]:
    """Time a step of one process and of all ranks, in turn.

    Collective: every rank must call it.

    Args:
        net: The model on the rank's device, with equal weights; it is not changed.
        stories: Rows to train on; at least W * G.
        ranks: Who this process is.
        settings: The global batch size G, the optimizer, how often each is timed.
        title: As in `benchmark.interleave`.

    Returns:
        As `benchmark.interleave`, for each name in `WAYS`. What the "unsynced" ones
        save is the exposed communication.

    Raises:
        SettingsError: There are fewer rows than W global batches. On every rank.
    """
    needed = settings.global_batch_size * ranks.world_size
    if len(stories.fit_lengths) < needed:
        raise SettingsError(
            f"{len(stories.fit_lengths)} rows to train on are fewer than {needed}.",
            why=f"with the same batch a rank, {ranks.world_size} ranks compute "
            f"{ranks.world_size} global batches at once.",
            fix=f"--train-rows {2 * needed}, or a smaller --global-batch-size.",
            page="batch-size",
        )
    # Rank 0 is the one process; the others need no model for it.
    own = copy.deepcopy(net) if ranks.is_main else net
    replica = replicate(net, ranks)
    all_threads = torch.get_num_threads() * ranks.world_size

    # WHY one a model and not one a way: AdamW keeps twice the size of the model.
    optimizers = {
        model: training.build_optimizer(model, settings=settings)
        for model in (own, replica)
    }

    def taking(model: nn.Module, way: str, meet: bool) -> timing.Way:
        optimizer = optimizers[model]
        rows = rows_of(way, ranks, size=settings.global_batch_size)

        def step(clock: PhaseClock) -> None:
            with clock.phase("data"):
                batch = stories.fit_batch(rows, device=ranks.device)
            optimizer.zero_grad()
            with sync.sync_if(meet, replica=model):
                take_step(model, batch, clock=clock)
            with clock.phase("optimizer"):
                clip_grad_norm_(model.parameters(), settings.max_gradient_norm)
                optimizer.step()

        return step

    alone = taking(own, "one_process", True)

    def one_process(clock: PhaseClock) -> None:
        if ranks.is_main:
            with machine.threads(all_threads):
                clock.restart()
                alone(clock)
        else:  # the same phases, empty: every rank tells the same names
            for phase in ("data", "forward", "backward", "optimizer"):
                with clock.phase(phase):
                    pass

    ways: dict[str, Callable[[PhaseClock], None]] = {"one_process": one_process}
    for name in ("strong", "weak"):
        ways[name] = taking(replica, name, True)
        ways[f"{name}_unsynced"] = taking(replica, name, False)
    return timing.interleave(ways, ranks, num_rounds=settings.num_rounds, title=title)


def num_steps(settings: BenchmarkSettings) -> int:
    """Count the steps that `measure` takes.

    Args:
        settings: How often each way is timed.

    Returns:
        Steps of all ways, those that warm up included.

    Examples:
        >>> num_steps(BenchmarkSettings(num_rounds=3))
        25
    """
    return len(WAYS) * (timing.NUM_WARMUPS + settings.num_rounds)


def replicate(net: nn.Module, ranks: Ranks) -> nn.Module:
    """Copy a model and wrap the copy with DDP.

    Collective: every rank must call it.

    Args:
        net: The model on the rank's device; it is not changed.
        ranks: Who this process is.

    Returns:
        The wrapper; alone the bare copy.

    Examples:
        >>> alone = Ranks(0, 0, 1, torch.device("cpu"))
        >>> replicate(nn.Linear(1, 1), alone)
        Linear(in_features=1, out_features=1, bias=True)
    """
    shared = copy.deepcopy(net)
    if ranks.world_size == 1:
        return shared
    gpu = [ranks.device.index] if ranks.device.type == "cuda" else None
    return DistributedDataParallel(shared, device_ids=gpu, gradient_as_bucket_view=True)


def rows_of(way: str, ranks: Ranks, *, size: int) -> list[int]:
    """Say which rows a rank computes in a step.

    Args:
        way: "one_process", "strong" or "weak".
        ranks: Who is asking.
        size: G.

    Returns:
        Places in the rows to train on: G of them, or G / W for "strong".

    Examples:
        >>> rank_1 = Ranks(1, 1, 2, torch.device("cpu"))
        >>> [rows_of(way, rank_1, size=4) for way in ("one_process", "strong", "weak")]
        [[0, 1, 2, 3], [1, 3], [1, 3, 5, 7]]
    """
    if way == "one_process":
        return list(range(size))
    many = size * ranks.world_size if way == "weak" else size
    return list(range(ranks.rank, many, ranks.world_size))


def take_step(
    model: nn.Module,
    batch: tuple[Mapping[str, torch.Tensor], torch.Tensor],
    *,
    clock: Any,
) -> None:
    """Do forward and backward, each as a phase.

    Collective where the model is a replica whose gradients meet.

    Args:
        model: Bare or wrapped.
        batch: What `News.fit_batch` returned.
        clock: Has `phase(name)`: a `PhaseClock` or a `trace.Recorder`.
    """
    inputs, labels = batch
    with clock.phase("forward"):
        loss = F.cross_entropy(model(**inputs).logits, labels)
    with clock.phase("backward"):
        loss.backward()


def work(
    net: nn.Module, stories: News, ranks: Ranks, *, settings: BenchmarkSettings
) -> dict[str, dict[str, Any]]:
    """Say what a step of each way works on, and what it needs; call it after `measure`.

    Collective: every rank must call it.

    Args:
        net: The bare model.
        stories: The rows.
        ranks: Who this process is.
        settings: The global batch size G.

    Returns:
        For "one_process", "strong" and "weak": `rows` of all ranks, `tokens` of their
        texts without padding, `padding_share` of what is computed, `threads` of each
        rank. For the latter two also `peak_memory_bytes` of each rank and
        `gradient_bytes` of each parameter. The same on every rank.

    Note:
        The peak is that of the process, which holds the bare model and a replica, and
        on rank 0 the model of the one process: more than either way needs.
    """
    lengths, size = stories.fit_lengths, settings.global_batch_size
    mine = (torch.get_num_threads(), machine.peak_memory_bytes(ranks.device))
    threads, memory = zip(*dist.gather_objects(mine), strict=True)
    told = {}
    for way in ("one_process", "strong", "weak"):
        world_size = 1 if way == "one_process" else ranks.world_size
        batches = [
            rows_of(way, Ranks(rank, rank, world_size, ranks.device), size=size)
            for rank in range(world_size)
        ]
        told[way] = {
            "rows": sum(map(len, batches)),
            "tokens": sum(int(lengths[row]) for batch in batches for row in batch),
            "padding_share": round(sharding.padding_share(lengths, batches), 3),
            "threads": list(threads) if way != "one_process" else [sum(threads)],
        }
        if way != "one_process":
            told[way]["peak_memory_bytes"] = list(memory)
            told[way]["gradient_bytes"] = [p.nbytes for p in net.parameters()]
    return told
