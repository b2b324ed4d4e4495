"""Proofs for distrinews.bench.timing and .results: fair turns, honest files."""

from __future__ import annotations

import ast
import copy
import json
import os
import time
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from distrinews import dist, training
from distrinews.bench import (
    averaging,
    grad_sync,
    length_balance,
    preflight,
    results,
    scaling,
    steps,
    timing,
    trace_overhead,
)
from distrinews.bench.timing import PhaseTimer
from distrinews.config.settings import BenchmarkSettings
from distrinews.errors import OutputError, ResultError, SettingsError

ALONE = dist.Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))


def test_ways_take_turns_there_and_back() -> None:
    order: list[str] = []
    variants = {name: lambda timer, name=name: order.append(name) for name in "abc"}
    timings = timing.interleave(
        variants, ALONE, num_rounds=2, num_warmups=1, title=None
    )
    assert "".join(order) == "abc" + "cba" + "abc"
    turns = [name for _, name in timing.turns("abc", num_rounds=3)]
    assert turns == order != list("abc" * 3)
    assert {name: len(rounds) for name, rounds in timings.items()} == dict.fromkeys(
        "abc", 2
    )


def test_a_clock_adds_up_phases_and_knows_the_whole() -> None:
    timer = PhaseTimer(ALONE)
    for _ in range(2):
        with timer.phase("forward"):
            time.sleep(0.02)
    time.sleep(0.03)
    times_ms = timer.read_ms()
    assert 40 <= times_ms["forward"] < 70
    assert 70 <= times_ms["total"] < 120


def late(ranks: dist.Ranks, out: Path) -> None:
    def step(timer: PhaseTimer) -> None:
        with timer.phase("forward"):
            time.sleep(0.05 * ranks.rank)

    timings = timing.interleave({"x": step}, ranks, num_rounds=3, title=None)
    (out / f"{ranks.rank}.json").write_text(json.dumps(timings), encoding="utf-8")


@pytest.mark.timeout(90)
def test_the_slowest_rank_counts_and_all_ranks_know_it(tmp_path: Path) -> None:
    dist.launch(late, tmp_path, num_ranks=2, timeout_s=60)
    by_rank = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert by_rank[0] == by_rank[1]
    assert all(50 <= times_ms["forward"] < 100 for times_ms in by_rank[0]["x"])


def test_a_noisy_machine_is_called_noisy() -> None:
    calm = [{"total": ms} for ms in (10.0, 10.1, 9.9, 10.0, 30.0)]  # one outlier
    wild = [{"total": ms} for ms in (10.0, 20.0, 9.0, 15.0, 30.0)]
    assert not timing.summarise(calm)["noisy"]
    assert timing.summarise(wild)["noisy"]
    assert timing.summarise(calm)["median_ms"] == 10.0
    result = {"calm": timing.summarise(calm), "wild": timing.summarise(wild)}
    assert "busy with something else (wild:" in timing.noise_warning(result)
    assert timing.noise_warning({"calm": result["calm"]}) == ""


class Scores(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, rows: torch.Tensor) -> Any:
        return types.SimpleNamespace(logits=self.layer(rows))


def test_a_timed_step_is_a_whole_step_and_names_its_phases() -> None:
    torch.manual_seed(0)
    net, batch = Scores(), ({"rows": torch.randn(4, 2)}, torch.tensor([0, 1, 2, 0]))
    results = {}
    for max_norm in (0.1, 1.0):
        ours, by_hand = copy.deepcopy(net), copy.deepcopy(net)
        settings = BenchmarkSettings(optimizer="sgd", max_gradient_norm=max_norm)
        timer = PhaseTimer(ALONE)
        optimizer = training.build_optimizer(ours, settings=settings)
        steps.take_step(
            ours, batch, optimizer=optimizer, settings=settings, timer=timer
        )
        assert list(timer.read_ms()) == ["forward", "backward", "optimizer", "total"]
        F.cross_entropy(by_hand.layer(batch[0]["rows"]), batch[1]).backward()
        norm = nn.utils.clip_grad_norm_(by_hand.parameters(), max_norm)
        assert 0.1 < norm < 1.0
        with torch.no_grad():
            for param in by_hand.parameters():
                param -= settings.peak_learning_rate * param.grad
        assert torch.equal(ours.layer.weight, by_hand.layer.weight)
        results[max_norm] = ours.layer.weight
    assert not torch.equal(*results.values())  # negative control: clipping is in it


def test_chapter_06_spells_out_the_step_that_every_other_benchmark_takes() -> None:
    # The chapter shows the timed step; the library cannot import a chapter. So the step
    # stands twice, and the two must do the same.
    root = Path(__file__).resolve().parents[1]

    def statements(path: str, name: str) -> list[str]:
        tree = ast.parse((root / path).read_text("utf-8"))
        found = next(
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name == name
        )
        return [ast.dump(node) for node in found.body[1:]]  # without the docstring

    shown = statements("chapters/06_ddp_benchmark.py", "timed_step")
    assert shown == statements("distrinews/bench/steps.py", "take_step")
    # Negative control: other functions differ.
    assert shown != statements("chapters/06_ddp_benchmark.py", "measure")


def test_what_was_measured_is_printed_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = BenchmarkSettings(json_path=str(tmp_path / "r.json"))
    results.print_and_save(settings, "x", "a", "", "b", figures={"ms": 5}, ranks=ALONE)
    assert capsys.readouterr().out == "a\n\nb\n"
    assert results.read(tmp_path / "r.json", kind="x")["figures"] == {"ms": 5}
    # Negative control: whoever names no file gets none.
    results.print_and_save(BenchmarkSettings(), "x", figures={}, ranks=ALONE)
    assert len(list(tmp_path.iterdir())) == 1


class FakeEvent:
    """A CUDA event on a GPU that is later than the orders it is given.

    Each order takes the CPU no time and the GPU 5 ms; an event can be read only after
    somebody has waited for the GPU.
    """

    gpu_ms, synchronised = 0.0, False

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing  # without it elapsed_time raises
        self.at_ms: float | None = None

    def record(self) -> None:
        FakeEvent.synchronised = False
        self.at_ms = FakeEvent.gpu_ms

    def elapsed_time(self, later: FakeEvent) -> float:
        assert FakeEvent.synchronised, "read before it happened"
        assert self.at_ms is not None
        assert later.at_ms is not None
        return later.at_ms - self.at_ms

    @classmethod
    def synchronize(cls) -> None:
        cls.synchronised = True

    @classmethod
    def order(cls) -> None:
        cls.gpu_ms += 5.0


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dist.Ranks:
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", FakeEvent.synchronize)
    return dist.Ranks(0, 0, 1, torch.device("cuda", 0))


def test_on_a_gpu_the_gpu_tells_the_time_and_is_waited_for(gpu: dist.Ranks) -> None:
    timer = PhaseTimer(gpu)
    FakeEvent.order()
    timer.restart()  # what came before was preparation
    for phase, orders in (("forward", 2), ("backward", 4), ("forward", 1)):
        with timer.phase(phase):
            for _ in range(orders):
                FakeEvent.order()
    FakeEvent.order()  # between the phases
    assert timer.read_ms() == {"forward": 15.0, "backward": 20.0, "total": 40.0}


def test_a_clock_that_does_not_wait_for_the_gpu_is_found(
    gpu: dist.Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: the fake GPU notices who reads too early."""
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    timer = PhaseTimer(gpu)
    with pytest.raises(AssertionError, match="before it happened"):
        timer.read_ms()


def test_a_ratio_is_that_of_pairs_and_its_interval_holds_the_median() -> None:
    # The machine slows down tenfold under way; the way takes 1.1 times as long, always.
    baseline = rounds_of(*(1000 * 1.5**number for number in range(20)))
    slower = rounds_of(*(1.1 * ms for ms in baseline["all_ms"]))
    assert timing.ratio_of_rows(slower, baseline) == (1.1, [1.1, 1.1])
    # 20 rounds: the 6th to the 15th of the sorted ratios hold the true median with
    # 0.9586 (binomial distribution, by a table); one further out on either side here.
    mixed = rounds_of(*(float(k) for k in range(1, 21)))
    ratio, (low, high) = timing.ratio_of_rows(mixed, rounds_of(*[1.0] * 20))
    assert (ratio, low, high) == (10.5, 5.0, 16.0)


def rounds_of(*times_ms: float) -> dict[str, Any]:
    return timing.summarise([{"total": ms} for ms in times_ms])


def test_a_ratio_whose_interval_holds_1_is_called_no_difference() -> None:
    ddp = rounds_of(10.0, 10.0, 10.0, 10.0, 10.0)
    noise = rounds_of(9.5, 9.6, 9.7, 9.8, 10.4)  # by its median 3 % faster
    ratio, interval = timing.ratio_of_rows(noise, ddp)
    assert (ratio, interval) == (0.97, [0.95, 1.04])
    text = timing.ratio_text(ratio, interval, num_rounds=5)
    assert text == "no difference (0.95 to 1.04)"
    # Negative control: the same median, and no round on the other side of 1.
    faster = rounds_of(9.5, 9.6, 9.7, 9.8, 9.9)
    ratio, interval = timing.ratio_of_rows(faster, ddp)
    assert ratio == 0.97
    text = timing.ratio_text(ratio, interval, num_rounds=5)
    assert text == "0.97x (0.95 to 0.99)"


def test_a_ratio_of_few_rounds_has_no_interval_and_one_beside_1_does_not_show_1() -> (
    None
):
    text = timing.ratio_text(2.03, [1.9, 2.1], num_rounds=4)
    assert text == "2.03x (4 rounds, no interval)"
    assert timing.ratio_text(2.03, None, num_rounds=9).endswith("no interval)")
    # 1.004 is not 1, and must not be shown as if it were.
    text = timing.ratio_text(1.0094, [1.0041, 1.0222], num_rounds=41)
    assert text == "1.009x (1.004 to 1.022)"
    text = timing.ratio_text(1.0094, [1.0, 1.0222], num_rounds=41)
    assert text == "no difference (1.00 to 1.02)"


@pytest.mark.parametrize(
    ("times_ms", "expected"),
    [
        ((9.0, 9.0, 9.0, 9.0, 12.0), "no difference"),
        ((9.0, 9.0, 9.0, 9.0, 9.5), "0.90x (0.90 to 0.95)"),  # negative control
    ],
)
def test_every_table_that_compares_says_no_difference(
    times_ms: tuple[float, ...], expected: str
) -> None:
    baseline = [10.0] * 5
    rounds = [{"total": ms} for ms in times_ms]
    base_rounds = [{"total": ms} for ms in baseline]
    by_ddp = {"torch_ddp": base_rounds, "both": rounds}
    tables = [averaging.table(averaging.figures(by_ddp, dict.fromkeys(by_ddp, 0.0)))]
    times = {"overlapped": times_ms, grad_sync.BASELINE: baseline}
    tables.append(grad_sync.table(grad_sync.figures(times, dict.fromkeys(times, 0.0))))
    traced = {"bare": base_rounds, "recorded": rounds}
    tables.append(
        trace_overhead.table(
            trace_overhead.figures(traced, gap=0.0, calls=7, call_ms=0.1)
        )
    )
    ratio, interval = timing.median_and_interval([ms / 10 for ms in times_ms])
    epoch = {"samples_per_s": 1.0, "padding_share": 0.0, "rounds_per_s": baseline}
    row = {"averaging": "fastest", "rows_per_rank": 1, "ratio": ratio}
    row |= {"ratio_interval": interval, "batches": {"shuffled": epoch, "length": epoch}}
    tables.append(length_balance.table({"fastest_1": row}))
    for table in tables:
        assert expected in table


# --- What the times mean --------------------------------------------------------


def timed(forward: float, backward: float, optimizer: float) -> list[dict[str, float]]:
    phases = {"forward": forward, "backward": backward, "optimizer": optimizer}
    return [phases | {"total": sum(phases.values())}] * 5


def two_ranks_result(backward_ms: float) -> dict[str, Any]:
    """One process: 200 ms. Two ranks: 50 + backward + 10 ms for the same 32 rows."""
    timings = {
        "one_process": timed(60.0, 130.0, 10.0),
        "strong": timed(50.0, backward_ms, 10.0),
        "strong_unsynced": timed(50.0, 60.0, 10.0),
        "weak": timed(60.0, 140.0, 10.0),
        "weak_unsynced": timed(60.0, 150.0, 10.0),
    }
    one_process = {"rows": 32, "tokens": 800, "padding_share": 0.2, "threads": [2]}
    two_ranks = one_process | {
        "threads": [1, 1],
        "peak_memory_bytes": [2**30, 2**31],
        "gradient_bytes": [50_000_000, 25_000_000],
    }
    weak = two_ranks | {"rows": 64, "tokens": 1600}
    return scaling.figures(
        timings,
        workload={"one_process": one_process, "strong": two_ranks, "weak": weak},
    )


def test_speed_up_efficiency_and_serial_fraction_are_those_of_the_textbook() -> None:
    result = two_ranks_result(65.0)
    strong, weak = result["strong"], result["weak"]
    assert strong["median_ms"] == 125.0
    assert strong["speedup"] == 1.6  # 200 / 125
    assert strong["efficiency"] == 0.8
    assert strong["serial_fraction"] == 0.25  # (1/1.6 - 1/2) / (1 - 1/2)
    # Amdahl's law with that fraction gives the speed-up back.
    assert strong["speedup"] == pytest.approx(1 / (0.25 + (1 - 0.25) / 2))
    assert strong["phases_ms"]["communication"] == 5.0
    assert strong["phases_ms"]["backward"] == 60.0
    assert strong["samples_per_s"] == 256.0  # 32 rows in 125 ms
    assert strong["tokens_per_s"] == 6400.0
    assert weak["speedup"] == pytest.approx(64 / 210 * 200 / 32, abs=1e-3)
    assert weak["phases_ms"]["communication"] == 0.0  # not below, by noise
    assert result["one_process"]["efficiency"] == 1.0


def test_the_explanation_speaks_of_these_numbers_and_marks_what_is_predicted() -> None:
    words = scaling.explain(two_ranks_result(65.0), world_size=2)
    for said in (
        "One process with 2 threads takes 200 ms",
        "2 ranks with 1 thread each take 125 ms for the same rows: 1.60x",
        "Of each 125 ms, 5 ms are exposed",
        "is 0.25: as if 25% of",
        "more than 4.0x (Amdahl)",
        "20% of what the ranks compute is padding",
        "at most 2.0 GiB",
    ):
        assert said in words
    assert "does not pay" not in words
    # (60 + 130) / 2 ms of computing, 10 ms of optimizer. A layer and an embedding are
    # ready when backward is over: 75 MB at 3.125 GB/s are 24 ms.
    predicted = next(w for w in words.splitlines() if "25 Gbit/s" in w)
    assert predicted.startswith("Predicted, not measured")
    assert "129 ms, of which 24 ms are exposed, so 1.55x" in predicted


def test_where_ddp_does_not_pay_the_explanation_says_so() -> None:
    """Also the negative control of the proof above: other numbers, other words."""
    words = scaling.explain(two_ranks_result(260.0), world_size=2)
    assert "DDP does not pay here" in words
    assert "above 1, the ranks add more than they divide" in words


def test_one_rank_alone_is_told_that_there_is_nothing_to_compare() -> None:
    rounds = timed(1.0, 2.0, 3.0)
    one_process = {"rows": 4, "tokens": 9, "padding_share": 0.0, "threads": [2]}
    alone = one_process | {"peak_memory_bytes": [1], "gradient_bytes": [4]}
    result = scaling.figures(
        dict.fromkeys(scaling.VARIANTS, rounds),
        workload={"one_process": one_process, "strong": alone, "weak": alone},
    )
    assert "serial_fraction" not in result["strong"]
    assert "take --num-ranks 2" in scaling.explain(result, world_size=1)
    assert scaling.table(result, world_size=1).count("no difference") == 2


# --- Refused before it is measured ----------------------------------------------


def test_a_gpu_run_without_gpus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=r"cuda: 2 ranks.*sees 0 CUDA GPUs"):
        preflight.check_device("cuda", world_size=2)
    assert preflight.check_device("auto", world_size=2) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SettingsError, match="sees 1 CUDA GPU"):
        preflight.check_device("cuda", world_size=2)
    # Negative control: with enough of them it is not refused.
    assert preflight.check_device("cuda", world_size=1) == "cuda"
    assert preflight.check_device("auto", world_size=2) == "cpu"


def test_a_cpu_run_hides_the_gpus_from_its_ranks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert preflight.check_device("cpu", world_size=1) == "cpu"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"  # Windows deletes empty ones


@pytest.mark.parametrize(
    ("there", "says"),
    [
        ("my diary", "cannot be read"),
        ({"schema": 2}, "its schema is 2"),
        ({"kind": "peers"}, "a measurement of 'peers'"),
        ({"environment": {"cpu": "a faster one"}}, "different hardware"),
    ],
)
def test_a_file_that_would_be_lost_stays_and_is_named(
    there: str | dict[str, Any], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "r.json"
    text = there if isinstance(there, str) else json.dumps(good(**there))
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ResultError, match=rf"r\.json exists and would be lost.*{says}"):
        preflight.check_target(path, kind="steps")
    assert path.read_text(encoding="utf-8") == text


def test_a_measurement_of_the_same_kind_and_hardware_may_be_replaced(
    tmp_path: Path,
) -> None:
    """Negative control: not everything is refused."""
    path = tmp_path / "new" / "r.json"
    preflight.check_target(path, kind="steps")
    assert not path.exists()
    results.write(path, good())
    preflight.check_target(path, kind="steps")
    with pytest.raises(ResultError, match="different hardware"):
        preflight.check_target(path, kind="steps", device="cuda")


def test_a_folder_that_cannot_be_written_is_found_before_the_measuring(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match="could not be written"):
        preflight.check_target(tmp_path / "file" / "r.json", kind="steps")


# --- Files ----------------------------------------------------------------------


def good(**changes: Any) -> dict[str, Any]:
    record = results.build_record(
        "steps", figures={"ms": [5.0]}, settings={}, num_ranks=2
    )
    return record | changes


def test_a_record_comes_back_with_its_origin(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.json"
    results.write(path, good())
    record = results.read(path, kind="steps")
    assert record == good()
    assert record["environment"]["packages"]["torch"] == torch.__version__
    assert len(record["commit"]) >= 7


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


def test_what_nobody_could_repeat_is_not_published(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    row = {"median_ms": 5.0, "noisy": False, "all_ms": [5.0] * 9}
    fine = good(commit="a" * 40, figures={"way": row})
    for changes, says in (
        ({"commit": "unknown"}, "the code cannot be checked out"),
        ({"commit": "a" * 40 + "+"}, "the code cannot be checked out"),
        ({"figures": {"way": row | {"noisy": True}}}, "too noisy while it timed way"),
        ({"figures": {"way": row | {"all_ms": [5.0] * 3}}}, "fewer than 5 rounds"),
        ({"figures": {"way": row | {"median_ms": "fast"}}}, "no time in way"),
        ({"figures": {"way": row | {"median_ms": -1}}}, "no time in way"),
        ({"figures": {}}, "no time in it"),
    ):
        results.write(path, fine | changes)
        with pytest.raises(ResultError, match=says):
            results.check_publishable(path)
    results.write(path, fine)
    assert results.check_publishable(path) == fine  # negative control


def test_only_the_same_hardware_is_compared() -> None:
    results.check_comparable(good(), good(settings={"rows": 3}))
    faster = good()
    faster["environment"] = faster["environment"] | {"cpu": "a faster one"}
    with pytest.raises(ResultError, match="different hardware"):
        results.check_comparable(good(), faster)
    on_gpu = good()
    on_gpu["environment"] = on_gpu["environment"] | {"device": "cuda"}
    with pytest.raises(ResultError, match="different hardware"):
        results.check_comparable(good(), on_gpu)
    with pytest.raises(ResultError, match="the other 'peers'"):
        results.check_comparable(good(), good(kind="peers"))
