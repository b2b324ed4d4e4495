"""Proofs for the data path: many rows cost no more memory and time a row than few."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers.command import call
from helpers.running import HELPERS

from distrinews import datapath, memory_watch, results
from distrinews.minilm import PACKAGE

FEW, MANY = 10_000, 50_000
pytestmark = [pytest.mark.timeout(200), pytest.mark.usefixtures("own_cache")]


@pytest.mark.slow
def test_five_times_the_rows_need_a_tenth_more_memory_at_most(
    tmp_path: pathlib.Path,
) -> None:
    pytest.importorskip(PACKAGE)
    path = tmp_path / "d.json"
    words = ("--largest-rows", MANY, "--num-rounds", 3, "--json", path)
    done = call("-m", "distrinews", "benchmark", "data", *words, folder=tmp_path)
    found = results.read(path, kind="data")["figures"]
    assert [row["num_rows"] for row in found["sizes"]] == [FEW, MANY]
    assert found["memory_ratio"] < 1.10
    # WHY not 1.15: that is judged where the machine is quiet, from the committed file.
    assert found["time_ratio"] < 2
    assert done.stdout.strip() == datapath.table(found).strip()


@pytest.mark.slow
def test_a_copy_of_the_rows_in_lists_is_found(tmp_path: pathlib.Path) -> None:
    """Negative control of the measurement above."""
    pytest.importorskip(PACKAGE)
    peaks: list[int] = []
    for size in (FEW, MANY):
        path = tmp_path / f"{size}.json"
        call(HELPERS / "datapath_story.py", size, path, "lists", folder=tmp_path)
        peaks.append(json.loads(path.read_text())["peak_bytes"])
    assert peaks[1] / peaks[0] > 1.10


def test_pages_of_a_mapped_file_do_not_count_and_a_copy_does(
    tmp_path: pathlib.Path,
) -> None:
    size = 64 * 2**20
    (tmp_path / "table").write_bytes(np.ones(size, np.uint8).tobytes())
    with memory_watch.watched(tmp_path) as seen:
        view = np.frombuffer(
            pa.memory_map(str(tmp_path / "table")).read_buffer(), np.uint8
        )
        assert view.sum() == size  # every page was looked at
    assert max(seen) - seen[0] < size / 4
    with memory_watch.watched(tmp_path) as seen:  # negative control
        copy = view.copy()
    assert max(seen) - seen[0] > size * 3 / 4
    del copy


def test_the_ratios_are_over_all_sizes() -> None:
    one: dict[str, Any] = {"first_bytes": 1, "prepare_s": 0.0}
    memory = [
        one | {"num_rows": n, "peak_bytes": b} for n, b in ((1, 10), (2, 13), (3, 11))
    ]
    found = datapath.figures(memory, {1: [9.0, 4.0], 2: [9.0, 2.0], 3: [1.0, 3.0]})
    assert (found["memory_ratio"], found["time_ratio"]) == (1.3, 2.0)
