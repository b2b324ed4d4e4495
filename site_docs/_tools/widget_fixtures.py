"""Write what the widgets show and what their models must answer, from the library.

`site_docs/assets/widgets/data/*.json` is read by the widgets: shuffles, bytes, measured
times, the catalogue of troubles. `site_docs/assets/widgets/fixtures/*.json` holds what
the library's own code answers; the tests ask the JavaScript models the same.

What has to do with time is made in `widget_costs`.
"""

from __future__ import annotations

import itertools
import json
import pathlib
import queue
import threading
from typing import Any
from unittest import mock

import hang_cases
import length_batches
import stage_memory
import step_parts
import step_recording
import torch
import troubleshooting_page
import widget_costs
from records import SITE
from torch.utils.data import DistributedSampler

from distrinews import sharding
from distrinews.dist import Ranks
from distrinews.model import sizes
from distrinews.sync import ring

WIDGETS = SITE / "assets" / "widgets"


# --- The ring ------------------------------------------------------------------------


def models_data() -> dict[str, list[int]]:
    """Bytes of every gradient, in the order of the forward, by preset."""
    return {name: list(sizes.gradient_bytes(name)) for name in ("minilm", "distilbert")}


def ring_fixture() -> list[dict[str, Any]]:
    """Let `distrinews.sync.ring` add up, and write down every step.

    Returns:
        For some numbers of ranks and elements: the values after each step, by rank, the
        steps' names, and each rank's cost.
    """
    whole = [(ranks, ranks) for ranks in range(2, 7)]
    # Elements that do not divide by the ranks, and fewer elements than ranks.
    return [_ring(*case) for case in [*whole, (3, 10), (4, 3), (5, 13)]]


def _ring(world_size: int, elements: int) -> dict[str, Any]:
    """One ring of threads: the library's steps, with queues for wires."""
    wires: list[queue.Queue[torch.Tensor]] = [queue.Queue() for _ in range(world_size)]
    thread_state = threading.local()
    results: list[Any] = [None] * world_size

    def pass_on(leaving: torch.Tensor, arriving: torch.Tensor, ranks: Ranks) -> int:
        wires[(ranks.rank + 1) % world_size].put(leaving.clone())
        arriving.copy_(wires[ranks.rank].get(timeout=10))
        return leaving.nbytes

    def current() -> Ranks:
        return thread_state.ranks

    def run(rank: int) -> None:
        device = torch.device("cpu")
        thread_state.ranks = Ranks(
            rank, local_rank=rank, world_size=world_size, device=device
        )
        tensor = torch.arange(1.0, elements + 1) * (rank + 1)
        values_by_step, names = [tensor.tolist()], []

        def record_step(name: str) -> None:
            names.append(name)
            values_by_step.append(tensor.tolist())

        cost = ring.ring_all_reduce(tensor, on_step=record_step)
        results[rank] = values_by_step, names, cost

    with (
        mock.patch.object(ring.dist, "current", current),
        mock.patch.object(ring, "_send_right_receive_left", pass_on),
    ):
        threads = [threading.Thread(target=run, args=(r,)) for r in range(world_size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    values, names, costs = zip(*results, strict=True)
    return {
        "world_size": world_size,
        "elements": elements,
        "names": names[0],
        "values": [list(step) for step in zip(*values, strict=True)],
        "steps": [cost.steps for cost in costs],
        "sent_bytes": [cost.sent_bytes for cost in costs],
    }


# --- The sampler ---------------------------------------------------------------------

SAMPLER_ROWS = range(5, 17)
TESTED_ROWS = (5, 7, 11, 12, 16)
EPOCHS = 6
SAMPLER_RANKS = (1, 2, 3, 4)


def shuffles_data() -> dict[str, list[list[int]]]:
    """Orders that torch's own generator gives, as `DistributedSampler` asks for them.

    Returns:
        Number of rows -> the order of each epoch, with seed 0.
    """
    orders = {}
    for rows in SAMPLER_ROWS:
        orders[str(rows)] = [
            torch.randperm(
                rows, generator=torch.Generator().manual_seed(epoch)
            ).tolist()
            for epoch in range(EPOCHS)
        ]
    return orders


def sampler_fixture() -> list[dict[str, Any]]:
    """Ask torch's sampler, and see that ours says the same.

    Returns:
        For rows, ranks, shuffle, epoch and drop_last: the indices of each rank; and
        what `evaluation_batches` gives each rank of rows that are equally long.

    Raises:
        SystemExit: Ours differs from torch's.
    """
    cases = itertools.product(
        TESTED_ROWS, SAMPLER_RANKS, (False, True), (0, 1, 5), (False, True)
    )
    answers = []
    for rows, world_size, shuffle, epoch, drop_last in cases:
        by_rank, exact = [], []
        for rank in range(world_size):
            ranks = Ranks(
                rank, local_rank=rank, world_size=world_size, device=torch.device("cpu")
            )
            ours = sharding.ShardSampler(
                rows, ranks, seed=0, shuffle=shuffle, drop_last=drop_last
            )
            theirs = DistributedSampler(
                range(rows), world_size, rank, shuffle, seed=0, drop_last=drop_last
            )
            for sampler in (ours, theirs):
                sampler.set_epoch(epoch)
            by_rank.append(list(theirs))
            if by_rank[-1] != list(ours):
                raise SystemExit("ShardSampler is not what torch's sampler is.")
            batches = sharding.evaluation_batches([1] * rows, ranks, batch_size=1)
            exact.append([row for batch in batches for row in batch])
        answers.append({
            "rows": rows,
            "ranks": world_size,
            "shuffle": shuffle,
            "epoch": epoch,
            "drop_last": drop_last,
            "indices": by_rank,
            "exact": exact,
        })
    return answers


# --- The matcher ---------------------------------------------------------------------


def troubles_data() -> dict[str, Any]:
    """The catalogue of troubles, without what the box does not show."""
    catalogue = json.loads(troubleshooting_page.data())
    names = ("slug", "title", "symptom", "cause", "cure", "prevention", "lab")
    return {
        **{name: catalogue[name] for name in ("tidy", "words", "own")},
        "troubles": [
            {name: trouble[name] for name in (*names, "patterns")}
            | {"also": trouble.get("also", [])}
            for trouble in catalogue["troubles"]
        ],
    }


# --- The files -----------------------------------------------------------------------

FILES = {
    "data/calls.json": hang_cases.hang_data,
    "data/memory.json": stage_memory.memory_data,
    "data/models.json": models_data,
    "data/measured.json": widget_costs.measured_data,
    "data/shuffles.json": shuffles_data,
    "data/padding.json": length_batches.padding_data,
    "data/parts.json": step_parts.step_parts,
    "data/step.json": step_recording.step_data,
    "data/troubles.json": troubles_data,
    "fixtures/calls.json": hang_cases.hang_fixture,
    "fixtures/memory.json": stage_memory.memory_fixture,
    "fixtures/padding.json": length_batches.padding_fixture,
    "fixtures/ring.json": ring_fixture,
    "fixtures/buckets.json": widget_costs.buckets_fixture,
    "fixtures/speed.json": widget_costs.speed_fixture,
    "fixtures/sampler.json": sampler_fixture,
}


def files() -> dict[pathlib.Path, str]:
    """Every file."""
    return {WIDGETS / name: _as_json(make()) for name, make in FILES.items()}


def _as_json(content: Any) -> str:
    # WHY a line an entry of the outermost list: a diff shows what changed.
    if isinstance(content, list):
        return "[\n" + ",\n".join(json.dumps(entry) for entry in content) + "\n]\n"
    lines = (
        f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"
