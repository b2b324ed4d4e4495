"""Train the same rows with other libraries and with this one, side by side.

Promise: same weights, same rows (each once, checked by their content), same recipe, in
one run and one process group; whole short epochs take turns (there and back), so that a
machine that grows warm slows all of them alike. What is compared is what each does by
itself, as its own documentation recommends.

Not here: the loops (`distrinews.bench.peer_loops`).

Letters used for shapes: W = ranks, G = rows per global batch.
Guide: benchmarks/peers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import importlib.util
import io
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from typing import Any

import torch
import torch.distributed as torch_dist
from pydantic import Field, model_validator
from tqdm import tqdm

from distrinews import dist, sync
from distrinews.bench import (
    peer_job,
    peer_loops,
    peer_report,
    results,
    steps,
    timing,
)
from distrinews.bench.peer_job import Job
from distrinews.config.settings import BenchmarkSettings
from distrinews.dist import Ranks
from distrinews.errors import SettingsError, SetupError
from distrinews.metrics import evaluation
from distrinews.training import corpus
from distrinews.training.corpus import Splits

__all__ = ["PEERS", "PeerSettings", "check", "measure", "run"]

Loop = Callable[[Job], int]
# WHY False: torch warns that the Trainer's default walks the graph once more each step.
grouped = functools.partial(peer_loops.trainer, ddp_find_unused_parameters=False)
PEERS: dict[str, Loop] = {
    "padded": functools.partial(peer_loops.torch_ddp, padding="max_length"),
    "dynamic": functools.partial(peer_loops.torch_ddp, padding="longest"),
    "trainer": peer_loops.trainer,
    "trainer_grouped": functools.partial(
        grouped, train_sampling_strategy="group_by_length"
    ),
    "trainer_rebalanced": functools.partial(
        grouped, train_sampling_strategy="batch_rebalance"
    ),
    "accelerate": peer_loops.accelerate_loop,
    "fabric": peer_loops.fabric_loop,
    "ours_ddp": functools.partial(peer_loops.our_loop, beyond_ddp=False),
    "ours": functools.partial(peer_loops.our_loop, beyond_ddp=True),
}
CPU = torch.device("cpu")
PACKAGES = ("accelerate", "datasets", "lightning_fabric")


class PeerSettings(BenchmarkSettings):
    """`BenchmarkSettings` for whole epochs instead of steps.

    Examples:
        >>> PeerSettings().train_rows
        1163
    """

    num_rounds: int = Field(
        timing.FEWEST_ROUNDS,
        gt=0,
        le=100,
        description="epochs of each, with another seed each [rounds]",
    )
    validation_rows: int | None = Field(
        203, gt=0, description="rows that each counts by its own evaluation [rows]"
    )

    @model_validator(mode="before")
    @classmethod
    def _few_rows(cls, values: Any) -> Any:
        # WHY 960 and 203: an epoch of the slowest ends within a minute or two; and no
        # number of ranks but 7 and 29 divides 203, so that padding would show.
        if isinstance(values, dict):
            for name, rows in (("train_rows", 1163), ("test_rows", 500)):
                if values.get(name) is None:
                    values[name] = rows
        return values


def check(settings: PeerSettings) -> None:
    """Refuse what cannot be compared, before any process starts.

    Args:
        settings: What was asked for.

    Raises:
        SetupError: Other libraries are not installed. Names them all.
        SettingsError: There are too few rows to time.

    Examples:
        >>> from unittest import mock
        >>> with mock.patch(f"{__name__}.PACKAGES", ("os", "no_such_library")):
        ...     check(PeerSettings())
        Traceback (most recent call last):
        ...
        distrinews.errors.SetupError: not installed: no-such-library.
          why:  they are what this library is compared with.
          fix:  pip install -c constraints.txt -e ".[bench]"
          more: troubleshooting/#benchmark-peers
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise SetupError(
            f"not installed: {', '.join(missing).replace('_', '-')}.",
            why="they are what this library is compared with.",
            fix='pip install -c constraints.txt -e ".[bench]"',
            page="benchmark-peers",
        )
    held_out, size = settings.validation_rows or 0, settings.global_batch_size
    needed = held_out + (timing.NUM_WARMUPS + 1) * size
    if settings.train_rows is not None and settings.train_rows < needed:
        raise SettingsError(
            f"--train-rows {settings.train_rows} are too few to time: {held_out} are "
            f"set aside, and the first {timing.NUM_WARMUPS} steps of {size} do not "
            "count.",
            why="there would be no step to time.",
            fix=f"--train-rows {needed + 7 * size}",
            page="benchmark-peers",
        )


def measure(
    splits: Splits,
    ranks: Ranks,
    *,
    settings: PeerSettings,
    loops: Mapping[str, Loop] = PEERS,
) -> dict[str, dict[str, Any]]:
    """Let the loops take turns, an epoch each.

    Collective: every rank must call it, in a process group.

    Args:
        splits: All of `train_rows` are trained on; whole global batches of them.
        ranks: Who this process is; at least two.
        settings: The recipe, and how many rounds.
        loops: Name -> loop.

    Returns:
        Name -> what `peer_report.summarise` returns, and `code_lines`; the same on
        every rank.
    """
    data = _datasets(splits)
    num_steps = len(splits.train_rows) // settings.global_batch_size
    bar = tqdm(
        total=settings.num_rounds * len(loops) * num_steps, disable=not ranks.is_main
    )
    rounds_by_name: dict[str, list[dict[str, Any]]] = {name: [] for name in loops}
    for number, name in timing.turns(list(loops), num_rounds=settings.num_rounds):
        recipe = settings.model_copy(update={"seed": settings.seed + number})
        bar.set_description(name)
        net = steps.build_net(splits, ranks, settings=recipe)
        job = Job(net, splits, *data, recipe, ranks, on_step_end=bar.update)
        torch_dist.barrier()
        with _suppress_output():
            num_evaluated = loops[name](job)
        rounds_by_name[name].append(_summarise_epoch(job, num_evaluated))
        del job, net
        gc.collect()  # a loop's wrapper and its model reference each other
    bar.close()
    return {
        name: peer_report.summarise(rounds)
        | {"code_lines": peer_report.code_lines(loops[name])}
        for name, rounds in rounds_by_name.items()
    }


@contextlib.contextmanager
def _suppress_output() -> Generator[None, None, None]:
    """Suppress the libraries' output: our standard output is for the result."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _datasets(splits: Splits) -> tuple[Any, Any]:
    """Copy the rows out of the mapped table, as the other libraries want them."""
    from datasets import Dataset

    built = []
    for rows in (splits.train_rows, splits.validation_rows):
        single_rows = [splits.train.batch([row], device=CPU)[0] for row in rows]
        ids = [inputs["input_ids"][0].tolist() for inputs in single_rows]
        built.append(
            Dataset.from_dict({
                "input_ids": ids,
                "attention_mask": [[1] * len(row) for row in ids],
                "labels": splits.train.labels[rows].tolist(),
                "length": [len(row) for row in ids],
            })
        )
    return built[0], built[1]


def _summarise_epoch(job: Job, num_evaluated: int) -> dict[str, Any]:
    """Summarise one epoch over all ranks."""
    test_metrics = evaluation.evaluate(job.net, job.splits.test, job.ranks)
    gap = sync.max_parameter_gap(job.net)
    local = (job.step_ends_s, job.row_checksums, job.padded_sizes, job.real_tokens)
    step_ends_s, rows, padded_sizes, tokens = zip(
        *dist.gather_objects(local), strict=True
    )
    expected = Counter(peer_job.checksum(row["input_ids"]) for row in job.train)
    by_step = [(max(step), sum(step)) for step in zip(*padded_sizes, strict=False)]
    widest = job.ranks.world_size * sum(largest for largest, _ in by_step)
    computed = sum(total for _, total in by_step)
    size = job.settings.global_batch_size
    seconds = max(each[-1] - each[timing.NUM_WARMUPS - 1] for each in step_ends_s)
    return {
        "samples_per_s": (len(step_ends_s[0]) - timing.NUM_WARMUPS) * size / seconds,
        "num_steps": len(step_ends_s[0]),
        "loss": test_metrics.loss,
        "accuracy": test_metrics.accuracy,
        "padding_share": 1 - sum(tokens) / computed,
        "waiting_share": 1 - computed / widest,
        "each_row_once": sum((Counter(each) for each in rows), Counter()) == expected,
        "evaluated_rows": num_evaluated,
        "replicas_equal": gap == 0.0,
    }


def run(ranks: Ranks, settings: PeerSettings) -> None:
    """Measure, print, and write the record if one was asked for.

    Collective: every rank must call it; it is what `dist.launch` runs.

    Args:
        ranks: Who this process is.
        settings: What to measure.
    """
    with dist.raise_together():
        splits = corpus.load(settings)
    # WHY: the last rows of an epoch are what the loops treat differently; a step of
    # fewer rows would be timed as if it were whole.
    num_batches = len(splits.train_rows) // settings.global_batch_size
    kept = splits.train_rows[: num_batches * settings.global_batch_size]
    splits = dataclasses.replace(splits, train_rows=kept)
    result = measure(splits, ranks, settings=settings)
    table = peer_report.table(result, num_rows=len(splits.validation_rows))
    results.print_and_save(settings, "peers", table, figures=result, ranks=ranks)
