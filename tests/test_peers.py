"""Proofs for the comparison with other libraries: all do the same work."""

from __future__ import annotations

import functools
import importlib.util
import json
import pathlib
from typing import Any

import pytest
from helpers.command import call
from helpers.running import HELPERS

from distrinews.bench import peer_report, peers, results

NUM_EVALUATED = 203
needs_peers = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in peers.PACKAGES),
    reason='needs pip install -e ".[bench]"',
)


@pytest.mark.slow
@needs_peers
def test_all_libraries_do_the_same_work_and_ours_counts_every_row_once(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "peers.json"
    words = ("--preset", "tiny", "--num-rounds", 1, "--train-rows", 363)
    done = call(
        *("-m", "distrinews", "benchmark", "peers"),
        *words,
        *("--json", path),
        folder=tmp_path,
    )
    record = results.read(path, kind="peers")
    figures = record["figures"]
    assert set(figures) == set(peers.PEERS)
    for name, row in figures.items():
        [epoch] = row["rounds"]
        assert epoch["num_steps"] == (363 - NUM_EVALUATED) // 32, name
        assert row["each_row_once"], name
        assert row["replicas_equal"], name
        assert row["samples_per_s"] > 0
        # All start from the same weights and take the same few steps.
        assert row["loss"] == pytest.approx(figures["ours"]["loss"], abs=0.05), name
    # WHY 204: DistributedSampler repeats a row so that the ranks divide.
    counted = {name: row["evaluated_rows"] for name, row in figures.items()}
    assert counted["ours"] == counted["ours_ddp"] == NUM_EVALUATED
    assert {counted[name] for name in ("padded", "dynamic", "fabric")} == {204}
    # What differs by design differs in the batches that were really read.
    shares = {name: row["padding_share"] for name, row in figures.items()}
    assert shares["ours"] < shares["dynamic"] < shares["padded"]
    assert figures["ours"]["waiting_share"] < figures["dynamic"]["waiting_share"]
    assert figures["ours"]["loss"] == pytest.approx(
        figures["ours_ddp"]["loss"], abs=1e-4
    )
    shown = peer_report.table(figures, num_rows=NUM_EVALUATED)
    assert done.stdout.strip() == shown.strip()  # and nothing of the libraries' own


@pytest.mark.slow
@needs_peers
def test_a_loop_that_shares_no_gradients_or_no_rows_is_found(
    tmp_path: pathlib.Path,
) -> None:
    """Negative control of the checks above."""
    path = tmp_path / "found.json"
    call(HELPERS / "peer_program.py", path, folder=tmp_path)
    result = json.loads(path.read_text(encoding="utf-8"))
    seen = {n: (r["each_row_once"], r["replicas_equal"]) for n, r in result.items()}
    assert seen == {
        "right": (True, True),
        "never_meets": (True, False),
        "reads_all": (False, True),
    }
    assert "NO" in peer_report.table(result, num_rows=NUM_EVALUATED)


@pytest.mark.slow
def test_too_few_rows_to_time_are_refused_and_nothing_is_overwritten(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "peers.json"
    path.write_text("mine", encoding="utf-8")
    words = ("--train-rows", 230, "--preset", "tiny", "--json", path)
    done = call(
        "-m", "distrinews", "benchmark", "peers", *words, folder=tmp_path, expect=2
    )
    assert "230" in done.stderr or "bench" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_text(encoding="utf-8") == "mine"


def spread_out() -> int:
    """Do what a docstring says."""
    # A comment.
    total = (
        1
        + 2
    )  # fmt: skip

    return total


def test_lines_are_counted_as_if_all_were_laid_out_alike() -> None:
    # def, total, return: by hand.
    assert peer_report.code_lines(spread_out) == 3
    assert peer_report.code_lines(functools.partial(spread_out)) == 3


def one_round(**changes: Any) -> dict[str, Any]:
    return {
        "samples_per_s": 20.0,
        "padding_share": 0.1,
        "waiting_share": 0.0,
        "loss": 0.5,
        "accuracy": 0.9,
        "each_row_once": True,
        "replicas_equal": True,
        "evaluated_rows": NUM_EVALUATED,
    } | changes


def test_the_ratio_is_that_of_the_same_round_and_a_bad_round_is_not_hidden() -> None:
    slow = [one_round(samples_per_s=s) for s in (10.0, 20.0, 5.0, 10.0, 10.0)]
    slow[1] |= {"evaluated_rows": 204, "each_row_once": False}
    fast = [one_round(samples_per_s=s) for s in (20.0, 40.0, 11.0, 20.0, 19.0)]
    result = {
        name: peer_report.summarise(rounds) | {"code_lines": 9}
        for name, rounds in {"padded": slow, "ours_ddp": fast}.items()
    }
    line = peer_report.table(result, num_rows=NUM_EVALUATED).splitlines()[2]
    cells = [cell.strip() for cell in line.split("|")]
    assert cells[2:4] == ["10.0", "2.00x (1.90 to 2.20)"]
    assert cells[7] == "204 of 203"
    assert cells[9] == "NO"
