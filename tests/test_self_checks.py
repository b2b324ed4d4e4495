"""Proofs for the self-checks: every answer comes out of a run, not of the file."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import make_pages
import pytest
import self_check_pages as pages
import torch
from helpers import self_check_program
from helpers.self_check_program import Answer, printed
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DistributedSampler

from distrinews import dist, sharding, training
from distrinews.bench import scaling
from distrinews.bench.costmodel import step_model
from distrinews.config.settings import TrainSettings
from distrinews.dist import Ranks
from distrinews.errors import RankFailedError

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
pytestmark = pytest.mark.timeout(300)


QUESTIONS: list[dict[str, Any]] = pages.questions()
BY_ID = {question["id"]: question for question in QUESTIONS}
CODES = {q["id"]: q["code"] for q in QUESTIONS if "code" in q}


# --- Answers that one process finds -------------------------------------------------


def epochs_and_steps() -> float:
    settings = TrainSettings(global_batch_size=40, epochs=3)
    return training.plan(settings, num_rows=2432).num_steps


def clipped() -> float:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    for weight, gradient in zip(weights, (3.0, 4.0), strict=True):
        weight.grad = torch.tensor([gradient])
    nn.utils.clip_grad_norm_(weights, 1.0)
    assert weights[0].grad is not None
    return weights[0].grad.item()


def untrained_loss() -> float:
    return F.cross_entropy(torch.zeros(5, 4), torch.tensor([0, 1, 2, 3, 0])).item()


def adamw_steps(weight: nn.Parameter, *, num_steps: int, optimizer: Any = None) -> Any:
    optimizer = optimizer or torch.optim.AdamW([weight], lr=0.1)
    for _ in range(num_steps):
        optimizer.zero_grad()
        (weight - 3.0).square().sum().backward()
        optimizer.step()
    return optimizer


def weights_only() -> str:
    undisturbed = nn.Parameter(torch.zeros(2))
    adamw_steps(undisturbed, num_steps=8)
    stopped = nn.Parameter(torch.zeros(2))
    adamw_steps(stopped, num_steps=4)
    try:
        resumed = nn.Parameter(stopped.detach().clone())
        adamw_steps(resumed, num_steps=4)
    except (RuntimeError, ValueError, KeyError):
        return "a"
    return "b" if torch.equal(resumed, undisturbed) else "c"


def rows_read() -> float:
    shards = [DistributedSampler(range(101), 4, rank) for rank in range(4)]
    return sum(len(list(shard)) for shard in shards)


def padding() -> float:
    return 100 * sharding.padding_share([10, 20, 30, 40], [[0, 1, 2, 3]])


def no_set_epoch() -> str:
    shard = DistributedSampler(range(64), 2, 0, shuffle=True, seed=3)
    first, second = list(shard), list(shard)
    if set(first) != set(second):
        return "a"
    return "c" if first == second else "b"


def rows_of_a_piece() -> float:
    return sharding.per_rank_batch_size(64, world_size=4, accumulation_steps=2)


def larger_batch() -> float:
    settings = TrainSettings(global_batch_size=4 * 32)
    return training.plan(settings, num_rows=2432).steps_per_epoch


def rows_left() -> float:
    before = sharding.ShardSampler(2432, Ranks(0, 0, 2, CPU), seed=0)
    before.start_at(epoch=0, consumed_rows=10 * 32)
    after = sharding.ShardSampler(2432, Ranks(3, 3, 4, CPU), seed=0)
    after.load_state_dict(before.state_dict())
    return len(list(after))


def measured(*, one_ms: float, strong_ms: float, weak_ms: float) -> dict[str, Any]:
    """What chapter 06 makes of steps that took so long."""

    def step(total_ms: float) -> list[dict[str, float]]:
        return [{"forward": 1.0, "backward": 1.0, "optimizer": 1.0, "total": total_ms}]

    alone = {"rows": 32, "tokens": 640, "threads": [2]}
    both = alone | {"threads": [1, 1], "gradient_bytes": [4]}
    times = {"one_process": step(one_ms), "strong": step(strong_ms)}
    times |= {"strong_unsynced": step(strong_ms)}
    times |= {"weak": step(weak_ms), "weak_unsynced": step(weak_ms)}
    work = {"one_process": alone, "strong": both, "weak": both | {"rows": 64}}
    return scaling.figures(times, workload=work)


def efficiency() -> float:
    figures = measured(one_ms=600.0, strong_ms=400.0, weak_ms=600.0)
    return 100 * float(figures["strong"]["efficiency"])


def limit() -> float:
    figures = measured(one_ms=160.0, strong_ms=100.0, weak_ms=160.0)
    return 1 / float(figures["strong"]["serial_fraction"])


def weak() -> float:
    figures = measured(one_ms=500.0, strong_ms=500.0, weak_ms=640.0)
    return float(figures["weak"]["speedup"])


def exposed() -> float:
    step = step_model.predict(
        step_model.Compute(0.0, 0.075, 0.0, 0.5, 0.0),  # 0.3 s of forward and backward
        step_model.Link(0.0, 1000.0),
        buckets=[(1 / 3, 120), (2 / 3, 120), (1.0, 120)],
        world_size=2,
        rows=2,
        tokens=4,
    )
    assert step.backward_s == pytest.approx(0.3)
    return 1000 * step.exposed_s


def run_alone(name: str) -> Callable[[], Answer]:
    return lambda: printed(CODES[name])


ALONE: dict[str, Callable[[], Answer]] = {
    "01_epochs_and_steps": epochs_and_steps,
    "01_gradients_add_up": run_alone("01_gradients_add_up"),
    "01_clipped": clipped,
    "01_untrained_loss": untrained_loss,
    "01_weights_only": weights_only,
    "03_rows_read": rows_read,
    "03_dealt": run_alone("03_dealt"),
    "03_padding": padding,
    "03_no_set_epoch": no_set_epoch,
    "04_what_the_hook_gets": run_alone("04_what_the_hook_gets"),
    "05_rows_of_a_piece": rows_of_a_piece,
    "05_larger_batch": larger_batch,
    "05_rows_left": rows_left,
    "06_efficiency": efficiency,
    "06_limit": limit,
    "06_exposed": exposed,
    "06_weak": weak,
}
# --- Answers that only several ranks can find ---------------------------------------
TOGETHER = {
    2: (
        *("02_in_place", "03_accuracy_of_all", "04_ddp_averages"),
        *("04_forgotten_division", "04_weight_of_the_loss", "04_who_waits_where"),
        *("05_saved_through_the_wrapper", "05_two_seeds", "06_what_does_not_shrink"),
    ),
    3: ("02_largest",),
    4: ("02_ring_bytes",),
}


def behind_rank_0(_: Path) -> str:
    """Run each choice; return the one that ends well."""
    ends = []
    for which in "abc":
        try:
            dist.launch(self_check_program.one_sided, which, num_ranks=2, timeout_s=1.5)
        except RankFailedError:
            continue
        ends.append(which)
    [only] = ends
    return only


def local_rank_of_rank_6(folder: Path) -> float:
    """Two torchruns that take each other for another machine."""
    script = folder / "who.py"
    script.write_text(
        "import os, pathlib\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "(folder / ('rank-' + os.environ['RANK'])).write_text("
        "os.environ['LOCAL_RANK'])\n",
        encoding="utf-8",
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {k: v for k, v in os.environ.items() if k != "RANK"} | {
        "OMP_NUM_THREADS": "1"
    }
    machines = [
        subprocess.Popen(
            (sys.executable, "-m", "torch.distributed.run", "--nnodes=2")
            + (f"--node_rank={number}", "--nproc_per_node=4")
            + ("--master_addr=127.0.0.1", f"--master_port={port}", str(script)),
            env=env,
        )
        for number in range(2)
    ]
    try:
        assert [machine.wait(timeout=120) for machine in machines] == [0, 0]
    finally:
        for machine in machines:
            machine.kill()
            machine.wait()
    return float((folder / "rank-6").read_text(encoding="utf-8"))


APART: dict[str, Callable[[Path], Answer]] = {
    "02_behind_rank_0": behind_rank_0,
    "02_local_rank": local_rank_of_rank_6,
}


# --- The proofs ---------------------------------------------------------------------


def same(answer: Answer, computed: Answer) -> bool:
    """Whether a run says what the page says; numbers to the digits of the answer."""
    if isinstance(answer, str) or isinstance(computed, str):
        return answer == computed
    digits = len(repr(answer).partition(".")[2].rstrip("0"))
    return not math.isnan(computed) and round(computed, digits) == answer


def unproven(questions: Iterable[Mapping[str, Any]]) -> set[str]:
    """Questions whose answer nothing computes."""
    proven = {*ALONE, *APART, *(name for ids in TOGETHER.values() for name in ids)}
    return {question["id"] for question in questions} - proven


def test_every_question_has_a_function_that_finds_its_answer() -> None:
    assert unproven(QUESTIONS) == set()
    # Negative control.
    assert unproven([*QUESTIONS, {"id": "07_made_up"}]) == {"07_made_up"}


def test_an_answer_is_what_one_process_computes() -> None:
    computed = {name: find() for name, find in ALONE.items()}
    wrong = {
        name: (BY_ID[name]["answer"], answer)
        for name, answer in computed.items()
        if not same(BY_ID[name]["answer"], answer)
    }
    assert wrong == {}


@pytest.mark.slow
@pytest.mark.parametrize("num_ranks", TOGETHER)
def test_an_answer_is_what_real_ranks_compute(num_ranks: int, tmp_path: Path) -> None:
    ids = TOGETHER[num_ranks]
    for name in set(ids) & set(CODES):
        assert BY_ID[name]["num_ranks"] == num_ranks
    computed = self_check_program.on_ranks(
        ids, codes=CODES, num_ranks=num_ranks, folder=tmp_path
    )
    for name in ids:
        assert same(BY_ID[name]["answer"], computed[name]), (name, computed[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", APART)
def test_an_answer_is_what_processes_show(name: str, tmp_path: Path) -> None:
    computed = APART[name](tmp_path)
    assert same(BY_ID[name]["answer"], computed), computed


def test_another_answer_would_be_found_out() -> None:
    """Negative control: a comparison that is content with anything would pass it."""
    for name, find in ALONE.items():
        answer, computed = BY_ID[name]["answer"], find()
        others = (
            [answer + "0"] if isinstance(answer, str) else [answer + 1, answer * 1.1]
        )
        if "choices" in BY_ID[name]:
            others = [letter for letter in "abcd" if letter != answer]
        assert not any(same(other, computed) for other in others), name
    assert not same(1.0, math.nan)


def test_a_changed_answer_makes_its_page_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Negative control."""
    page = ROOT / "site_docs" / "learn" / "process-group.md"
    text = page.read_text("utf-8")
    changed = [
        question | {"answer": 13} if question["answer"] == 12 else question
        for question in QUESTIONS
    ]
    monkeypatch.setattr(pages, "questions", lambda: changed)
    assert make_pages.render(text, pages.BLOCKS) != text
