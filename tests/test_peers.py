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

from distrinews.bench import peer_loops, peer_program, peer_report, peers, results
from distrinews.config.flags import parse
from distrinews.config.settings import DistributedSettings
from distrinews.errors import ResultError, SetupError

NUM_EVALUATED = 203
needs_peers = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in peers.PACKAGES),
    reason='needs pip install -e ".[bench]"',
)


@pytest.mark.endurance
@needs_peers
@pytest.mark.timeout(600)
def test_all_libraries_do_the_same_work_and_ours_counts_every_row_once(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "peers.json"
    # WHY so many more: tiny trains a thousand a second, and starts vary by a tenth.
    few, many = NUM_EVALUATED + 64, NUM_EVALUATED + 9600
    words = ("--preset", "tiny", "--num-rounds", 1, "--json", path)
    done = call(
        *("-m", "distrinews", "benchmark", "peers"),
        *words,
        *("--fewer-train-rows", few, "--train-rows", many),
        folder=tmp_path,
        timeout_s=550,  # sixteen programs
    )
    figures = results.read(path, kind="peers")["figures"]
    assert set(figures) == {*peers.CONTENDERS, *peers.PARTS}
    for name, row in figures.items():
        [seen] = row["rounds"]
        assert row["each_row_once"], name
        assert row["replicas_equal"], name
        assert row["samples_per_s"] > 0
        assert seen["wall_s"][0] < seen["wall_s"][1], name
        # All start from the same weights and take the same three hundred steps.
        assert row["loss"] == pytest.approx(figures["ours"]["loss"], abs=0.1), name
    # WHY 204: Fabric's DistributedSampler repeats a row so that the ranks divide.
    counted = {name: row["evaluated_rows"] for name, row in figures.items()}
    assert counted["ours"] == counted["ours_shared"] == NUM_EVALUATED
    assert counted["fabric"] == 204
    # The parts change the time, not the training: shared memory not a bit of it, the
    # whole last layer its rounding, which three hundred steps of AdamW enlarge.
    assert figures["ours_shared"]["loss"] == figures["ours"]["loss"]
    whole = figures["whole_layer"]["loss"]
    assert whole == pytest.approx(figures["ours"]["loss"], abs=0.03)
    # What differs by design differs in the batches that were really read.
    shares = {name: row["padding_share"] for name, row in figures.items()}
    assert shares["ours"] < shares["trainer_grouped"] < shares["trainer"]
    assert shares["whole_layer_shuffled"] > 3 * shares["whole_layer"]
    assert figures["ours"]["waiting_share"] < figures["trainer"]["waiting_share"]
    shown = peer_report.table(figures, num_rows=NUM_EVALUATED)
    parts = peer_report.parts(figures)
    assert done.stdout.strip() == f"{shown}\n\n{parts}".strip()
    assert "100%" in done.stderr  # the bar came to its end


@pytest.mark.slow
@needs_peers
def test_a_loop_that_shares_no_gradients_or_no_rows_is_found(
    tmp_path: pathlib.Path,
) -> None:
    """Negative control of the checks above."""
    path = tmp_path / "found.json"
    call(HELPERS / "peer_broken.py", path, folder=tmp_path)
    found = json.loads(path.read_text(encoding="utf-8"))
    seen = {n: (r["each_row_once"], r["replicas_equal"]) for n, r in found.items()}
    assert seen == {
        "right": (True, True),
        "never_meets": (True, False),
        "reads_all": (False, True),
    }
    result = {"ours": found["right"], "fabric": found["reads_all"]}
    result = {
        name: peer_report.summarise([one_round(**row)]) | {"code_lines": 9}
        for name, row in result.items()
    }
    assert "NO" in peer_report.table(result, num_rows=NUM_EVALUATED)


@pytest.mark.slow
def test_too_few_rows_to_time_are_refused_and_nothing_is_overwritten(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "peers.json"
    path.write_text("mine", encoding="utf-8")
    words = ("--train-rows", 530, "--preset", "tiny", "--json", path)
    done = call(
        "-m", "distrinews", "benchmark", "peers", *words, folder=tmp_path, expect=2
    )
    assert "--train-rows 530" in done.stderr or "bench" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_text(encoding="utf-8") == "mine"


@pytest.mark.slow
def test_a_program_that_fails_is_named_with_what_it_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(peers.OURS, "ours", ("--epochs", "none"))
    with pytest.raises(SetupError, match=r"(?s)ours ended with exit code 2: .*epochs"):
        peers._run_program("ours", peers.PeerSettings(preset="tiny"))


def test_more_rows_that_take_no_longer_are_no_measurement() -> None:
    def reports(*wall_s: float) -> list[dict[str, Any]]:
        read = {"batch_places": [[32]], "num_tokens": 32}
        return [one_round(wall_s=s) | read for s in wall_s]

    seen = peers._one_round("ours", reports(10.0, 14.0), num_rows=64)
    assert seen["samples_per_s"] == 16.0
    assert seen["wall_s"] == [10.0, 14.0]
    with pytest.raises(ResultError, match="64 rows more took no longer"):
        peers._one_round("ours", reports(10.0, 9.0), num_rows=64)


def test_the_flags_give_chapter_05_the_same_recipe() -> None:
    recipe = peers.PeerSettings(
        preset="tiny", quick=True, seed=3, global_batch_size=64, learning_rate=0.1
    )
    parsed = parse(DistributedSettings, about="", arguments=peers.flags(recipe))
    for name in DistributedSettings.model_fields.keys() - peers.RUN_FIELDS:
        assert getattr(parsed, name) == getattr(recipe, name), name
    # And the program that runs a library's loop takes them, too.
    words = ["--loop", "fabric", "--report", "r.json", *peers.flags(recipe)]
    program = parse(peer_program.PeerProgramSettings, about="", arguments=words)
    assert program.global_batch_size == 64


def test_what_the_samplers_read_is_what_the_loops_are_judged_by() -> None:
    shares = peer_report.reading_shares([[8, 4], [6, 2]], num_tokens=18)
    # By hand: 20 places, 2 of them padding; the ranks could have computed 24.
    assert shares["padding_share"] == pytest.approx(0.1)
    assert shares["waiting_share"] == pytest.approx(4 / 24)


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


def rounds_of(*samples_per_s: float) -> dict[str, Any]:
    rounds = [one_round(samples_per_s=speed) for speed in samples_per_s]
    return peer_report.summarise(rounds) | {"code_lines": 9}


def cells(table: str, line: int) -> list[str]:
    return [cell.strip() for cell in table.splitlines()[line].split("|")]


def test_the_ratio_is_that_of_the_same_round_and_a_bad_round_is_not_hidden() -> None:
    result = {
        "ours": rounds_of(20.0, 40.0, 11.0, 20.0, 19.0),
        "trainer": rounds_of(10.0, 20.0, 5.0, 10.0, 10.0),
    }
    bad = result["trainer"]["rounds"][1] | {
        "evaluated_rows": 204,
        "each_row_once": False,
        "loss": 0.7,
    }
    rounds = [bad, *result["trainer"]["rounds"][2:], result["trainer"]["rounds"][0]]
    result["trainer"] = peer_report.summarise([rounds[-1], *rounds[:-1]]) | {
        "code_lines": 9
    }
    line = cells(peer_report.table(result, num_rows=NUM_EVALUATED), 3)
    assert line[2:4] == ["10.0", "2.00x (1.90 to 2.20)"]
    assert line[4] == "0.540 (0.500 to 0.700)"
    assert line[7] == "204 of 203"
    assert line[9] == "NO"


def test_the_parts_multiply_to_the_whole_and_are_shown_only_if_measured() -> None:
    speeds = {"trainer": 10, "whole_layer_shuffled": 11, "whole_layer": 22}
    speeds |= {"ours": 33, "ours_shared": 66}
    result = {name: rounds_of(*[float(speed)] * 5) for name, speed in speeds.items()}
    ratios = [
        float(cell.split("x")[0]) for cell in cells(peer_report.parts(result), 2)[2:7]
    ]
    assert ratios == [1.1, 2.0, 1.5, 2.0, 6.6]
    del result["whole_layer"]
    assert peer_report.parts(result) == ""


def test_every_loop_has_a_title_and_the_chapter_is_the_reference() -> None:
    assert {*peers.CONTENDERS, *peers.PARTS} == set(peer_report.TITLES)
    assert peer_loops.LOOPS.keys() < set(peers.CONTENDERS)
