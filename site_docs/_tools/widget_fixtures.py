"""Write what the widgets show and what their models must answer, from the library.

`site_docs/assets/widgets/data/*.json` is read by the widgets: shuffles, bytes, measured
times, the catalogue of troubles. `site_docs/assets/widgets/fixtures/*.json` holds what
the library's own code answers; the tests ask the JavaScript models the same.

`python site_docs/_tools/widget_fixtures.py` renews all files; with `--check` it only
says which are stale, with exit code 1.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import torch
from torch.utils.data import DistributedSampler

from distrinews import costmodel, predictions, published, ring, sharding, sizes
from distrinews.calibration import cut
from distrinews.costmodel import Compute, Link, Prediction
from distrinews.dist import Ranks

ROOT = pathlib.Path(__file__).resolve().parents[2]
WIDGETS = ROOT / "site_docs" / "assets" / "widgets"
RESULTS = ROOT / "site_docs" / "benchmarks" / "results"


# --- The ring ------------------------------------------------------------------------


def models_data() -> dict[str, list[int]]:
    """Bytes of every gradient, in the order of the forward, by preset.

    Returns:
        Preset -> bytes.
    """
    return {name: list(sizes.gradient_bytes(name)) for name in ("minilm", "distilbert")}


def ring_fixture() -> list[dict[str, Any]]:
    """Let `distrinews.ring` add up, and write down every step.

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
    own = threading.local()
    told: list[Any] = [None] * world_size

    def pass_on(leaving: torch.Tensor, arriving: torch.Tensor, ranks: Ranks) -> int:
        wires[(ranks.rank + 1) % world_size].put(leaving.clone())
        arriving.copy_(wires[ranks.rank].get(timeout=10))
        return leaving.nbytes

    def run(rank: int) -> None:
        device = torch.device("cpu")
        own.ranks = Ranks(rank, local_rank=rank, world_size=world_size, device=device)
        tensor = torch.arange(1.0, elements + 1) * (rank + 1)
        seen, names = [tensor.tolist()], []

        def note(name: str) -> None:
            names.append(name)
            seen.append(tensor.tolist())

        cost = ring.ring_all_reduce(tensor, on_step=note)
        told[rank] = seen, names, cost

    with (
        mock.patch.object(ring.dist, "current", lambda: own.ranks),
        mock.patch.object(ring, "_pass_on", pass_on),
    ):
        threads = [threading.Thread(target=run, args=(r,)) for r in range(world_size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    values, names, costs = zip(*told, strict=True)
    return {
        "world_size": world_size,
        "elements": elements,
        "names": names[0],
        "values": [list(step) for step in zip(*values, strict=True)],
        "steps": [cost.steps for cost in costs],
        "sent_bytes": [cost.sent_bytes for cost in costs],
    }


# --- Buckets, steps, speed-up --------------------------------------------------------

BUCKETS_MIB = (1, 2, 5, 10, 25, 50)
NETWORKS_GBIT = (1, 2.5, 5, 10, 25, 100, 400)
RANKS = (1, 2, 4, 8, 16, 32)
ROWS = 32  # of a step (strong scaling) or of a rank (weak)
TOKENS = 53  # of a row: those of prediction.json
TINY_S = 1e-6


def _record(name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return told


def measured_data() -> dict[str, Any]:
    """What our own runs measured, as the widgets draw it.

    Returns:
        Phases of a rank's step, the fitted speed of one rank, the figures of a T4, and
        speed-ups with the number of ranks, by kind of scaling.
    """
    scaling, calibration = _record("scaling.json"), _record("calibration.json")
    forecast = _record("prediction.json")
    figures = scaling["figures"]
    ranks = scaling["settings"]["num_ranks"]
    return {
        "buckets_mib": BUCKETS_MIB,
        "networks_gbit": NETWORKS_GBIT,
        "ranks": RANKS,
        "rows": ROWS,
        "tokens": TOKENS,
        "phases_ms": figures["strong"]["phases_ms"],
        "phases_ranks": ranks,
        "origin": {"date": scaling["date"], "cpu": scaling["environment"]["cpu"]},
        "compute": _fitted(calibration),
        "t4": _t4(),
        "strong": [{"ranks": ranks, "speedup": figures["strong"]["speedup"]}],
        "weak": [
            {
                "ranks": ranks,
                "speedup": round(figures["weak"]["efficiency"] * ranks, 3),
            },
            *_weak(calibration["figures"]["held_out"]),
        ],
        "two_t4": {
            "strong": forecast["figures"]["t4"]["distilbert"]["two"]["speedup"],
            "weak": forecast["figures"]["t4"]["distilbert"]["two_weak"]["speedup"],
        },
    }


def _fitted(calibration: dict[str, Any]) -> dict[str, float]:
    """How fast one rank on one core computes minilm."""
    [found] = [
        one
        for one in calibration["figures"]["fitted"]["computes"]
        if (one["model"], one["world_size"]) == ("minilm", 1)
    ]
    return {field.name: found[field.name] for field in dataclasses.fields(Compute)}


def _t4() -> dict[str, list[float]]:
    known = {name: [one.low, one.high] for name, one in published.T4_PAIR.items()}
    return known | {
        "flops_per_token": [sizes.SIZES["distilbert"].step_flops(TOKENS)] * 2
    }


def _weak(held_out: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Steps of several ranks that also one rank took, with the same rows a rank."""
    names = ("model", "rows", "tokens", "bucket_mib")
    alone = {
        tuple(row[name] for name in names): row["measured_ms"]
        for row in held_out
        if row["world_size"] == 1
    }
    found = []
    for row in held_out:
        one_ms = alone.get(tuple(row[name] for name in names))
        if row["model"] == "minilm" and row["world_size"] > 1 and one_ms:
            speedup = row["world_size"] * one_ms / row["measured_ms"]
            found.append({"ranks": row["world_size"], "speedup": round(speedup, 3)})
    return found


def buckets_fixture() -> list[dict[str, Any]]:
    """Cut two models and let their buckets travel.

    Returns:
        For models, bucket sizes and networks: the buckets, their times and the step.
    """
    phases_s = {
        name: value / 1000
        for name, value in _record("scaling.json")["figures"]["strong"][
            "phases_ms"
        ].items()
    }
    both_s = phases_s["forward"] + phases_s["backward"]
    share = phases_s["backward"] / both_s
    compute = Compute(both_s, 0.0, 0.0, share, phases_s["optimizer"])
    told = []
    for model, mib, gbit, ranks in itertools.product(
        ("minilm", "distilbert"), BUCKETS_MIB, (1, 5), (2, 8)
    ):
        link = Link(predictions.MESSAGE_S, gbit * 1e9 / 8)
        buckets = cut(model, mib)
        step = costmodel.predict(
            compute, link, buckets=buckets, world_size=ranks, rows=0, tokens=0
        )
        told.append({
            "model": model,
            "bucket_mib": mib,
            "gbit": gbit,
            "ranks": ranks,
            "compute": dataclasses.asdict(compute),
            "buckets": buckets,
            "ends_s": _ends(buckets, step.backward_s, link, ranks),
            "step": _parts(step),
        })
    return told


def _ends(
    buckets: Sequence[tuple[float, int]], backward_s: float, link: Link, ranks: int
) -> list[float]:
    """When each bucket has arrived, asked of `predict`.

    A backward of next to no time, with buckets that are full as late as in the real
    one, leaves everything exposed: then the exposed time is the arrival.
    """
    late = [(ready * backward_s / TINY_S, num_bytes) for ready, num_bytes in buckets]
    at_once = Compute(TINY_S, 0.0, 0.0, 1.0, 0.0)
    return [
        costmodel.predict(
            at_once, link, buckets=late[: i + 1], world_size=ranks, rows=0, tokens=0
        ).exposed_s
        + TINY_S
        for i in range(len(late))
    ]


def _parts(step: Prediction) -> dict[str, float]:
    return dataclasses.asdict(step) | {"step_s": step.step_s}


def speed_fixture() -> list[dict[str, Any]]:
    """Predict speed-ups as the calculator does.

    Returns:
        For hardware, kind of scaling, network and ranks: the lowest and the highest.
    """
    compute = Compute(**_fitted(_record("calibration.json")))
    told = []
    for hardware, kind, gbit, ranks in itertools.product(
        ("cpu", "t4"), ("strong", "weak"), NETWORKS_GBIT, RANKS
    ):
        rows = ROWS // ranks if kind == "strong" else ROWS
        work = 1 if kind == "strong" else ranks
        found = []
        for each, link in _corners(hardware, gbit, compute):
            model = "minilm" if hardware == "cpu" else "distilbert"
            steps = [
                costmodel.predict(
                    each,
                    link,
                    buckets=cut(model, 25),
                    world_size=count,
                    rows=part,
                    tokens=TOKENS,
                ).step_s
                for count, part in ((1, ROWS), (ranks, rows))
            ]
            found.append(work * steps[0] / steps[1])
        told.append({
            "hardware": hardware,
            "kind": kind,
            "gbit": gbit,
            "ranks": ranks,
            "speedup": [min(found), max(found)],
        })
    return told


def _corners(
    hardware: str, gbit: float, compute: Compute
) -> Iterator[tuple[Compute, Link]]:
    bytes_per_s = gbit * 1e9 / 8
    if hardware == "cpu":
        yield compute, Link(predictions.MESSAGE_S, bytes_per_s)
        return
    known = {k: v for k, v in published.T4_PAIR.items() if k != "link_gb_per_s"}
    for chosen in predictions.corners(known):
        link = Link(chosen["message_s"], bytes_per_s, chosen["contention"])
        yield predictions.computing("distilbert", TOKENS, chosen), link


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
    told = {}
    for rows in SAMPLER_ROWS:
        told[str(rows)] = [
            torch.randperm(
                rows, generator=torch.Generator().manual_seed(epoch)
            ).tolist()
            for epoch in range(EPOCHS)
        ]
    return told


def sampler_fixture() -> list[dict[str, Any]]:
    """Ask torch's sampler, and see that ours says the same.

    Returns:
        For rows, ranks, shuffle, epoch and drop_last: the indices of each rank; and what
        `evaluation_batches` gives each rank of them, all rows being equally long.

    Raises:
        SystemExit: Ours differs from torch's.
    """
    told = []
    for rows, world_size, shuffle, epoch, drop_last in itertools.product(
        TESTED_ROWS, SAMPLER_RANKS, (False, True), (0, 1, 5), (False, True)
    ):
        by_rank, exact = [], []
        for rank in range(world_size):
            theirs = DistributedSampler(
                range(rows),
                num_replicas=world_size,
                rank=rank,
                shuffle=shuffle,
                seed=0,
                drop_last=drop_last,
            )
            theirs.set_epoch(epoch)
            ranks = Ranks(
                rank,
                local_rank=rank,
                world_size=world_size,
                device=torch.device("cpu"),
            )
            ours = sharding.ShardSampler(
                rows, ranks, seed=0, shuffle=shuffle, drop_last=drop_last
            )
            ours.set_epoch(epoch)
            by_rank.append(list(theirs))
            if by_rank[-1] != list(ours):
                raise SystemExit("ShardSampler is not what torch's sampler is.")
            batches = sharding.evaluation_batches([1] * rows, ranks, batch_size=1)
            exact.append([row for batch in batches for row in batch])
        told.append({
            "rows": rows,
            "ranks": world_size,
            "shuffle": shuffle,
            "epoch": epoch,
            "drop_last": drop_last,
            "indices": by_rank,
            "exact": exact,
        })
    return told


# --- The matcher ---------------------------------------------------------------------


def troubles_data() -> dict[str, Any]:
    """The catalogue, without what the box does not show.

    Returns:
        What `distrinews/troubles.json` holds, shorter.
    """
    path = ROOT / "distrinews" / "troubles.json"
    known = json.loads(path.read_text(encoding="utf-8"))
    names = ("slug", "title", "cause", "cure", "prevention", "lab", "patterns")
    return {
        "tidy": known["tidy"],
        "own": known["own"],
        "troubles": [{name: one[name] for name in names} for one in known["troubles"]],
    }


# --- The files -----------------------------------------------------------------------

FILES = {
    "data/models.json": models_data,
    "data/measured.json": measured_data,
    "data/shuffles.json": shuffles_data,
    "data/troubles.json": troubles_data,
    "fixtures/ring.json": ring_fixture,
    "fixtures/buckets.json": buckets_fixture,
    "fixtures/speed.json": speed_fixture,
    "fixtures/sampler.json": sampler_fixture,
}


def files() -> Iterator[tuple[pathlib.Path, str]]:
    """Make every file.

    Yields:
        Its path and its text.
    """
    for name, make in FILES.items():
        # WHY a line an entry of the outermost list: a diff shows what changed.
        yield WIDGETS / name, _written(make())


def _written(told: Any) -> str:
    if isinstance(told, list):
        return "[\n" + ",\n".join(json.dumps(one) for one in told) + "\n]\n"
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in told.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> int:
    """Renew or check all files.

    Returns:
        The exit code.
    """
    stale = []
    for path, text in files():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path)
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    for path in stale:
        print(path.relative_to(ROOT))
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
