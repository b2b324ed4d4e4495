"""Proofs for a step against the limit: the parts add up, and name the right one."""

from __future__ import annotations

import pathlib
import time

import pytest
import torch
from helpers.command import call

from distrinews.bench import results, step_limit

SIZE = 384


def multiply() -> None:
    torch.ones(SIZE, SIZE) @ torch.ones(SIZE, SIZE)


def test_the_parts_of_a_step_add_up_to_it_and_waiting_is_not_a_product() -> None:
    busy = step_limit.measure_step(multiply, num_rounds=9)
    assert sum(busy["parts_ms"].values()) == pytest.approx(busy["step_ms"])
    assert busy["floor_ms"] < busy["profiled_ms"]

    def multiply_and_wait() -> None:
        multiply()
        # WHY so long: what the profiler itself costs, and a busy machine, are some ms.
        time.sleep(0.1)

    # Negative control: 100 ms that no operator takes.
    waits = step_limit.measure_step(multiply_and_wait, num_rounds=5)
    assert waits["parts_ms"][step_limit.REST] > 75
    assert waits["parts_ms"][step_limit.MATRICES] < 25
    assert sum(waits["parts_ms"].values()) == pytest.approx(waits["step_ms"])


def test_the_floor_counts_each_product_as_often_as_a_step_has_it() -> None:
    shapes = ((SIZE, SIZE), (SIZE, SIZE))
    once, often = (step_limit.floor_ms({shapes: count}) for count in (1, 100))
    assert 10 < often / once < 1000  # the machine's mood is a factor of a few
    result = step_limit.measure_step(
        lambda: [multiply() for _ in range(3)], num_rounds=5
    )
    alone = step_limit.measure_step(multiply, num_rounds=5)
    assert 1 < result["floor_ms"] / alone["floor_ms"] < 9


@pytest.mark.slow
def test_the_command_measures_one_rank_and_every_way_to_meet(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "limit.json"
    words = ("limit", "--preset", "tiny", "--num-rounds", 5, "--json", path)
    done = call("-m", "distrinews", "benchmark", *words, folder=tmp_path)
    figures = results.read(path, kind="limit")["figures"]
    assert set(figures) == set(step_limit.TITLES)
    for name, row in figures.items():
        assert sum(row["parts_ms"].values()) == pytest.approx(row["step_ms"]), name
        assert 0 < row["floor_ms"] < row["step_ms"], name
        assert len(row["all_ms"]) == 5
        for part in (step_limit.MATRICES, "attention", "GELU", "layer norm", "AdamW"):
            assert row["parts_ms"][part] > 0, (name, part)
    # Only ranks that meet communicate.
    communication = {n: row["parts_ms"]["communication"] for n, row in figures.items()}
    assert communication["one_rank"] == communication["unsynced"] == 0
    assert communication["shared"] > 0
    shown = f"{step_limit.table(figures)}\n\n{step_limit.sentence(figures)}"
    assert shown in done.stdout
