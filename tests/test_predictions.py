"""Proofs for what is predicted of hardware that is not here, and of its pages."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
from helpers.command import call

from distrinews.bench import results, scaling
from distrinews.bench.costmodel import (
    many_ranks,
    predictions,
    published,
    report,
    step_model,
)
from distrinews.bench.costmodel.published import Figure
from distrinews.bench.costmodel.report import PredictionSettings
from distrinews.bench.costmodel.step_model import Compute, Link

ROOT = pathlib.Path(__file__).resolve().parent.parent
SITE = ROOT / "site_docs"
PREDICTED = SITE / "benchmarks" / "results" / "prediction.json"
# One point instead of intervals, chosen so that it can be done by hand.
EXACT = {
    "tflops": 4.0,
    "part": 0.5,
    "fixed_s": 0.01,
    "backward_share": 0.6,
    "memory_gb_per_s": 200.0,
    "message_s": 1e-4,
    "link_gb_per_s": 4.0,
    "contention": 0.0,
}


# --- At another bandwidth -----------------------------------------------------------


def test_at_bandwidth_by_hand() -> None:
    """Two buckets: 40 MB of layers are ready with backward, and so is the table."""
    prediction = predictions.at_bandwidth(
        {"forward": 20.0, "backward": 40.0, "optimizer": 5.0},
        gradient_bytes=[50_000_000, 40_000_000],
        world_size=2,
        gbit_per_s=8.0,  # 1 GB/s
        alone_ms=130.0,
    )
    # W = 2: each bucket is two messages of half of it, 0.05 ms more each.
    assert prediction.exposed_ms == pytest.approx(40 + 0.1 + 50 + 0.1)
    assert prediction.step_ms == pytest.approx(65 + prediction.exposed_ms)
    assert prediction.speedup == pytest.approx(130 / prediction.step_ms)


def test_more_bandwidth_is_never_slower_and_one_rank_needs_none() -> None:
    phases = {"forward": 20.0, "backward": 40.0, "optimizer": 5.0}
    nbytes = [50_000_000, *[4_000_000] * 10]
    steps = [
        predictions.at_bandwidth(
            phases, gradient_bytes=nbytes, world_size=2, gbit_per_s=speed
        ).step_ms
        for speed in (1.0, 10.0, 25.0, 100.0, 1e6)
    ]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] > 2 * steps[-1]  # negative control: bandwidth does matter
    alone = predictions.at_bandwidth(
        phases, gradient_bytes=nbytes, world_size=1, gbit_per_s=1.0
    )
    assert (alone.step_ms, alone.exposed_ms, alone.speedup) == (65.0, 0.0, None)


# --- From figures to a step ---------------------------------------------------------


def test_computing_by_hand() -> None:
    """Distilbert: 6 layers of 7,077,888 weights; 66,956,548 in all."""
    compute = predictions.gpu_compute("distilbert", 50, EXACT)
    # 2 a weight in forward, 4 in backward; attention 2 x 2 x T x width a layer forward.
    whole_layer = 6 * 7_077_888 + 3 * 4 * 50 * 768
    # Of the last layer: keys and values of each token, all else of one token of 50.
    keys_and_values = 6 * 2 * 768 * 768
    one_token = 6 * (7_077_888 - 2 * 768 * 768) + 3 * 4 * 50 * 768
    flops = 5 * whole_layer + keys_and_values + one_token / 50
    assert compute.per_token_s == pytest.approx(flops / 2e12)
    assert compute.optimizer_s == pytest.approx(66_956_548 * 40 / 200e9)
    assert compute.fixed_s == 0.01


def test_a_tree_climbs_levels_where_a_ring_goes_round() -> None:
    link = Link(alpha_s=1e-4, bytes_per_s=1e9)
    # 1,024 ranks, 1 MB: 2,046 messages of 1/1024 against 2 x 10 levels.
    ring = step_model.ring_s(1e6, world_size=1024, link=link)
    tree = step_model.tree_s(1e6, world_size=1024, link=link)
    assert ring == pytest.approx(2046 * (1e-4 + 1e6 / 1024 / 1e9))
    assert tree == pytest.approx(20 * 1e-4 + 2e-3)
    # Large messages between two: equal bandwidth, fewer bytes round the ring.
    assert step_model.ring_s(1e9, world_size=2, link=link) < step_model.tree_s(
        1e9, world_size=2, link=link
    )
    assert step_model.tree_s(1e6, world_size=1, link=link) == 0.0


def test_trees_are_taken_only_where_they_are_faster() -> None:
    compute = Compute(0.1, 0.0, 0.0, 0.6, 0.0)
    link = Link(alpha_s=1e-3, bytes_per_s=1e9)
    for world_size in (2, 8, 1024):
        steps = [
            step_model.predict(
                compute,
                link,
                buckets=[(1.0, 10**8)],
                world_size=world_size,
                rows=0,
                tokens=0,
                trees=trees,
            ).step_s
            for trees in (False, True)
        ]
        assert steps[1] <= steps[0]
    assert steps[1] < steps[0] / 2  # 1,024 ranks: it matters


# --- Intervals ----------------------------------------------------------------------


def test_an_interval_holds_every_point_within() -> None:
    """Hardware drawn at random from the intervals never leaves what was predicted."""
    predicted = predictions.two_t4("minilm", rows=32, tokens=53)
    rng = np.random.default_rng(0)
    for _ in range(200):
        chosen = {
            name: float(rng.uniform(figure.low, figure.high))
            for name, figure in published.T4_PAIR.items()
        }
        one_gpu = predictions.step("minilm", chosen, world_size=1, rows=32, tokens=53)
        two_gpus = predictions.step("minilm", chosen, world_size=2, rows=16, tokens=53)
        for row, key, value in (
            ("one", "step_ms", 1000 * one_gpu.step_s),
            ("two", "step_ms", 1000 * two_gpus.step_s),
            ("two", "speedup", one_gpu.step_s / two_gpus.step_s),
        ):
            low, high = predicted[row][key]
            assert low - 0.06 <= value <= high + 0.06, (row, key)


def test_an_interval_from_one_corner_would_not_hold() -> None:
    """Negative control: the speed-up's extremes are not at all-low and all-high."""
    interval = predictions.two_t4("minilm", rows=32, tokens=53)["two"]["speedup"]
    ends = []
    for end in ("low", "high"):
        chosen = {name: getattr(f, end) for name, f in published.T4_PAIR.items()}
        one_gpu = predictions.step("minilm", chosen, world_size=1, rows=32, tokens=53)
        two_gpus = predictions.step("minilm", chosen, world_size=2, rows=16, tokens=53)
        ends.append(one_gpu.step_s / two_gpus.step_s)
    assert interval[0] < min(ends) - 0.01
    assert interval[1] > max(ends) + 0.01


def every_figure() -> list[Figure]:
    groups = (published.T4_PAIR, published.T4_NODES, published.A100_NODES)
    return [figure for group in groups for figure in group.values()]


def unsourced(figure: Figure) -> bool:
    """Whether a figure claims more than it shows."""
    sourced = re.fullmatch(r"https://\S+", figure.source) is not None
    return figure.kind != "assumed" and not (
        sourced and any(map(str.isdigit, figure.quote))
    )


def test_every_figure_is_an_interval_with_a_source_or_says_that_it_is_assumed() -> None:
    figures = every_figure()
    assert len(figures) >= 24
    for figure in figures:
        assert figure.low < figure.high, figure
        assert not unsourced(figure), figure
        # What was only assumed, or stands on a data sheet, is no narrow interval.
        if figure.kind != "measured" and figure.unit != "part":
            assert figure.high >= 1.9 * figure.low, figure
    # Negative control.
    assert unsourced(Figure(1.0, 2.0, "s", "measured", "said to be 1.5"))


# --- Many ranks ---------------------------------------------------------------------


def test_the_longest_of_many_is_what_the_distribution_says() -> None:
    """E[max] of n rows = sum over t of P(some row is longer than t), by hand."""
    parts, tokens = list(many_ranks.LENGTHS), list(many_ranks.LENGTHS.values())
    grid = np.arange(0, 128)
    below = np.interp(grid + 0.5, tokens, parts)
    for world_size in (1, 8, 64):
        want = float((1 - below ** (16 * world_size)).sum())
        _, got = many_ranks.longest(
            world_size, rows=16, max_length=128, seed=1, num_draws=2000
        )
        assert got == pytest.approx(want, rel=0.02), world_size
    alone, every = many_ranks.longest(64, rows=16, max_length=128, seed=1)
    assert alone < 0.85 * every  # negative control: one rank's is another number


def test_the_same_seed_draws_the_same_lengths() -> None:
    def draw(seed: int) -> tuple[float, float]:
        return many_ranks.longest(8, rows=16, max_length=128, seed=seed)

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


@pytest.mark.slow
def test_more_ranks_are_never_more_efficient_and_equal_lengths_never_less() -> None:
    for rows in many_ranks.figures(
        "distilbert", rows=16, max_length=128, seed=0
    ).values():
        assert [row["world_size"] for row in rows] == list(many_ranks.RANKS)
        for end in (0, 1):
            falls = [row["balanced_efficiency"][end] for row in rows]
            assert falls == sorted(falls, reverse=True)
            for row in rows:
                ring, even = row["efficiency"][end], row["balanced_efficiency"][end]
                assert ring <= even + 1e-9
                assert even <= row["tree_efficiency"][end] + 1e-9
        assert rows[0]["efficiency"] == [1.0, 1.0]
        # Round a ring of 1,024, by the slowest messages: 2,046 of them a bucket.
        assert rows[-1]["exposed_share"][1] > 0.5


# --- The command --------------------------------------------------------------------


def predict(
    *words: object, folder: pathlib.Path, expect: int = 0
) -> subprocess.CompletedProcess[str]:
    named = ("-m", "distrinews", "benchmark", "predict", *words)
    return call(*named, folder=folder, expect=expect)


@pytest.mark.slow
def test_predict_writes_what_it_printed_and_names_every_source(
    tmp_path: pathlib.Path,
) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "p.json"
    done = predict("--json", path, folder=tmp_path)
    record = results.read(path, kind="prediction")
    assert report.t4_table(record["figures"]["t4"]) in done.stdout
    assert done.stdout.startswith("Predicted, not measured")
    written = json.dumps(record["figures"]["published"])
    for figure in every_figure():
        assert json.dumps(figure.quote)[1:-1] in written
        assert figure.source in written
    assert (tmp_path / "p.svg").read_text(encoding="utf-8").startswith("<?xml")
    first = (path.read_bytes(), (tmp_path / "p.svg").read_bytes())
    predict("--json", path, folder=tmp_path)  # a prediction may be renewed
    assert (path.read_bytes(), (tmp_path / "p.svg").read_bytes()) == first


def write_record(path: pathlib.Path, kind: str, **changes: Any) -> bytes:
    contents = (
        results.build_record(kind, figures={}, settings={}, num_ranks=2) | changes
    )
    path.write_text(json.dumps(contents), encoding="utf-8")
    return path.read_bytes()


@pytest.mark.parametrize(
    ("words", "there", "says"),
    [
        ((), b"{half a fil", "cannot be read"),
        ((), "other kind", "measurement of 'scaling'"),
        ((), "other schema", "its schema is 99"),
        (("--global-batch-size", "0"), b"mine", "--global-batch-size"),
        (("--global-batch-size", "7"), b"mine", "--global-batch-size"),
        (("--per-rank-batch-size", "0"), b"mine", "--per-rank-batch-size"),
        (("--tokens", "-3"), b"mine", "--tokens"),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_predicted_is_refused_and_nothing_is_overwritten(
    words: tuple[str, ...], there: bytes | str, says: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "p.json"
    if there == "other kind":
        there = write_record(path, "scaling")
    elif there == "other schema":
        there = write_record(path, "prediction", schema=99)
    else:
        path.write_bytes(there)  # type: ignore[arg-type]
    done = predict(*words, "--json", path, folder=tmp_path, expect=2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_bytes() == there
    assert not path.with_suffix(".svg").exists()


def test_the_picture_is_the_same_file_for_the_same_numbers(
    tmp_path: pathlib.Path,
) -> None:
    pytest.importorskip("matplotlib")
    pair = {"efficiency": [0.5, 1.0], "tree_efficiency": [0.6, 1.0]}
    rows = [{"world_size": ranks} | pair for ranks in (1, 8)]
    result = {"many_ranks": {"m": {"t4_ethernet": rows, "a100_efa": rows}}}
    drawn = []
    for name in ("a.svg", "b.svg"):
        report.draw(result, tmp_path / name)
        drawn.append((tmp_path / name).read_text(encoding="utf-8"))
    assert drawn[0] == drawn[1]
    # No background and no black ink: readable on a white page and on a dark one.
    assert "#808080" in drawn[0]
    assert "fill: #ffffff" not in drawn[0]


# --- The pages ----------------------------------------------------------------------


def site_copy(folder: pathlib.Path) -> pathlib.Path:
    copy = folder / "site_docs"
    shutil.copytree(SITE / "_tools", copy / "_tools")
    shutil.copytree(SITE / "benchmarks" / "results", copy / "benchmarks" / "results")
    shutil.copy(SITE / "benchmarks" / "t4.md", copy / "benchmarks")
    return copy


def renew(site: pathlib.Path, *, expect: int = 0) -> Any:
    """Draw the benchmarks' blocks of a copied site."""
    words = (site / "_tools" / "make_pages.py", "benchmark_pages")
    return call(*words, folder=site.parent, expect=expect)


def t4_record(gpus: list[str]) -> dict[str, Any]:
    """An invented run of chapter 06 on Kaggle, with numbers that nobody predicts."""
    times = {"data": 1.0, "forward": 30.0, "backward": 60.0, "optimizer": 9.0}
    half = {"data": 1.0, "forward": 15.0, "backward": 40.0, "optimizer": 9.0}
    one_process, two_ranks = times | {"total": 123.0}, half | {"total": 77.0}
    timings = dict.fromkeys(("strong", "strong_unsynced"), [two_ranks] * 5)
    timings |= dict.fromkeys(
        ("one_process", "weak", "weak_unsynced"), [one_process] * 5
    )
    counts = {"rows": 32, "tokens": 1600, "padding_share": 0.1, "threads": [2]}
    counts |= {"peak_memory_bytes": [10**9], "gradient_bytes": [4, 4]}
    both = counts | {"threads": [1, 1], "peak_memory_bytes": [10**9] * 2}
    workload = {"one_process": counts, "strong": both, "weak": both | {"rows": 64}}
    result = scaling.figures(timings, workload=workload)
    record = results.build_record(
        "scaling",
        figures=result,
        settings={"preset": "distilbert", "global_batch_size": 32, "num_rounds": 5},
        num_ranks=2,
    )
    record["environment"]["gpus"] = gpus
    return record


needs_record = pytest.mark.skipif(
    not PREDICTED.exists(), reason="no prediction committed yet"
)


@needs_record
@pytest.mark.slow
def test_a_file_from_kaggle_replaces_the_prediction(tmp_path: pathlib.Path) -> None:
    copy = site_copy(tmp_path)
    page = copy / "benchmarks" / "t4.md"
    before = page.read_text(encoding="utf-8")
    assert "**Predicted, not measured.**" in before
    assert "123 ms" not in before
    mine = copy / "benchmarks" / "results" / "t4_scaling.json"
    mine.write_text(json.dumps(t4_record(["Tesla T4"] * 2)), encoding="utf-8")
    renew(copy)
    after = page.read_text(encoding="utf-8")
    assert "123 ms" in after
    assert "Tesla T4, Tesla T4" in after
    assert "**Predicted, not measured.**" not in after
    mine.unlink()
    renew(copy)
    assert page.read_text(encoding="utf-8") == before


@needs_record
@pytest.mark.slow
def test_what_was_not_measured_is_called_so(tmp_path: pathlib.Path) -> None:
    copy = site_copy(tmp_path)
    page = copy / "benchmarks" / "t4.md"
    (copy / "benchmarks" / "results" / "prediction.json").unlink()
    renew(copy)
    text = page.read_text(encoding="utf-8")
    assert text.count("**Not measured yet.** (prediction.json)") == 2
    assert "samples/s" not in text


@needs_record
@pytest.mark.slow
def test_a_file_from_another_machine_is_refused_and_the_page_stays(
    tmp_path: pathlib.Path,
) -> None:
    """Negative control."""
    copy = site_copy(tmp_path)
    page = copy / "benchmarks" / "t4.md"
    before = page.read_bytes()
    mine = copy / "benchmarks" / "results" / "t4_scaling.json"
    for spoilt in (json.dumps(t4_record([])), "{half a fil", json.dumps({"schema": 1})):
        mine.write_text(spoilt, encoding="utf-8")
        done = renew(copy, expect=1)
        assert "ResultError" in done.stderr
        assert page.read_bytes() == before


@needs_record
@pytest.mark.slow
def test_the_committed_prediction_is_what_the_code_predicts() -> None:
    record = results.read(PREDICTED, kind="prediction")
    again = report.figures(PredictionSettings(**record["settings"]))
    assert json.loads(json.dumps(again)) == record["figures"]
