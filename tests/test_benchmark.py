"""Proofs for distrinews.benchmark and .results: fair turns, honest files."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from distrinews import benchmark, dist, results
from distrinews.benchmark import PhaseClock
from distrinews.errors import ResultError

ALONE = dist.Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))


def test_ways_take_turns_there_and_back() -> None:
    order: list[str] = []
    ways = {name: lambda clock, name=name: order.append(name) for name in "abc"}
    told = benchmark.interleave(ways, ALONE, num_rounds=2, num_warmups=1, title=None)
    assert "".join(order) == "abc" + "cba" + "abc"
    assert {name: len(rounds) for name, rounds in told.items()} == dict.fromkeys(
        "abc", 2
    )


def test_a_clock_adds_up_phases_and_knows_the_whole() -> None:
    clock = PhaseClock(ALONE)
    for _ in range(2):
        with clock.phase("forward"):
            time.sleep(0.02)
    time.sleep(0.03)
    told = clock.read_ms()
    assert 40 <= told["forward"] < 70
    assert 70 <= told["total"] < 120


def late(ranks: dist.Ranks, out: Path) -> None:
    def step(clock: PhaseClock) -> None:
        with clock.phase("forward"):
            time.sleep(0.05 * ranks.rank)

    told = benchmark.interleave({"x": step}, ranks, num_rounds=3, title=None)
    (out / f"{ranks.rank}.json").write_text(json.dumps(told), encoding="utf-8")


@pytest.mark.timeout(90)
def test_the_slowest_rank_counts_and_all_ranks_know_it(tmp_path: Path) -> None:
    dist.launch(late, tmp_path, num_ranks=2, timeout_s=60)
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert told[0] == told[1]
    assert all(50 <= one["forward"] < 100 for one in told[0]["x"])


def test_a_noisy_machine_is_called_noisy() -> None:
    calm = [{"total": ms} for ms in (10.0, 10.1, 9.9, 10.0, 30.0)]  # one outlier
    wild = [{"total": ms} for ms in (10.0, 20.0, 9.0, 15.0, 30.0)]
    assert not benchmark.summarise(calm)["noisy"]
    assert benchmark.summarise(wild)["noisy"]
    assert benchmark.summarise(calm)["median_ms"] == 10.0


# --- Files ----------------------------------------------------------------------


def good(**changes: Any) -> dict[str, Any]:
    told = results.record("steps", figures={"ms": [5.0]}, settings={}, num_ranks=2)
    return told | changes


def test_a_record_comes_back_with_its_origin(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.json"
    results.write(path, good())
    told = results.read(path, kind="steps")
    assert told == good()
    assert told["environment"]["packages"]["torch"] == torch.__version__
    assert len(told["commit"]) >= 7


BAD = {
    "not there": None,
    "empty": "",
    "no json": "{",
    "a list": "[1]",
    "no number": json.dumps(good() | {"figures": {"ms": [5.0]}}).replace("5.0", "NaN"),
    "endless": json.dumps(good()).replace("5.0", "1e999"),
    "another schema": json.dumps(good(schema=2)),
    "another kind": json.dumps(good(kind="peers")),
    "no environment": json.dumps({k: v for k, v in good().items() if k[0] != "e"}),
    "a table as text": json.dumps(good(figures="fast")),
}


@pytest.mark.parametrize("case", BAD)
def test_a_damaged_or_foreign_file_is_refused_by_name(
    case: str, tmp_path: Path
) -> None:
    path = tmp_path / "r.json"
    text = BAD[case]
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ResultError, match=r"r\.json is not usable"):
        results.read(path, kind="steps")


def test_only_the_same_hardware_is_compared() -> None:
    results.check_comparable(good(), good(settings={"rows": 3}))
    faster = good()
    faster["environment"] = faster["environment"] | {"cpu": "a faster one"}
    with pytest.raises(ResultError, match="different hardware"):
        results.check_comparable(good(), faster)
    with pytest.raises(ResultError, match="the other 'peers'"):
        results.check_comparable(good(), good(kind="peers"))
