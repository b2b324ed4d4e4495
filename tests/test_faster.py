"""Proofs for touched_rows and shared memory: DDP's gradients, and less to send."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
from helpers import running
from helpers.like_windows import sitecustomize as windows
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from distrinews import dist, model, sync
from distrinews.errors import MissingGradientError, SetupError
from distrinews.sync import shared_memory, sparse_embedding

pytestmark = pytest.mark.timeout(120)

MIN_ROWS = 80  # the tables of words (90 rows) and of places (128)
NUM_STEPS = 6
Tensors = dict[str, torch.Tensor]

VARIANTS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "ddp": lambda net: DistributedDataParallel(net, bucket_cap_mb=0.1),
    "rows": lambda net: sparse_embedding.distributed_data_parallel(
        net, min_rows=MIN_ROWS
    ),
    "memory": lambda net: sync.ddp_in_shared_memory(
        net, min_rows=10**9, bucket_cap_mb=0.1
    ),
    "both": lambda net: sync.ddp_in_shared_memory(
        net, min_rows=MIN_ROWS, bucket_cap_mb=0.1
    ),
}
OURS = ["rows", "memory", "both"]


def batch_of(step: int, ranks: dist.Ranks) -> tuple[torch.Tensor, torch.Tensor]:
    """Other rows and another length on every rank; padding, and words that recur."""
    generator = torch.Generator().manual_seed(1000 * step + ranks.rank)
    length = 5 + (step + ranks.rank) % 3
    # WHY few words: the same one twice in a batch is summed, and the order matters.
    ids = torch.randint(1, 12, (6, length), generator=generator) * (1 + step)
    ids[0, -2:] = 0  # padding
    return ids % 90, torch.randint(0, 4, (6,), generator=generator)


def train(
    variant: str,
    ranks: dist.Ranks,
    *,
    accumulation_steps: int = 1,
    set_to_none: bool = True,
    dtype: torch.dtype = torch.float32,
    disturb: Callable[[int, nn.Module], None] = lambda step, net: None,
) -> tuple[Tensors, list[Tensors]]:
    """Train; return the weights, and the gradients of each step."""
    torch.manual_seed(ranks.rank)  # rank 0's weights must win
    net = model.build("tiny", dropout=0.0, vocabulary_size=90).to(dtype)
    replica = VARIANTS[variant](net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    seen = []
    for step in range(NUM_STEPS):
        optimizer.zero_grad(set_to_none=set_to_none)
        ids, labels = batch_of(step, ranks)
        for part, right in zip(
            ids.chunk(accumulation_steps), labels.chunk(accumulation_steps), strict=True
        ):
            is_last = (
                part is ids
                or part.data_ptr() == ids.chunk(accumulation_steps)[-1].data_ptr()
            )
            with sync.no_sync_unless(is_last, replica=replica):
                (
                    F.cross_entropy(replica(part).logits, right) / accumulation_steps
                ).backward()
        clip_grad_norm_(net.parameters(), 0.5)
        grads = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
        seen.append({name: grad.clone() for name, grad in grads.items()})
        optimizer.step()
        disturb(step, net)
    return {n: p.detach() for n, p in net.named_parameters()}, seen


def poison(step: int, net: nn.Module) -> None:
    """What clipping by a norm that is not a number does to every gradient."""
    if step == 2:
        for param in net.parameters():
            if param.grad is not None:
                param.grad.mul_(math.nan)


def write_results(ranks: dist.Ranks, out: Path) -> None:
    results: dict[str, Any] = {}
    for variant in VARIANTS:
        results[variant] = {
            "plain": train(variant, ranks),
            "kept": train(variant, ranks, set_to_none=False),
            "accumulated": train(variant, ranks, accumulation_steps=2),
            "accumulated, kept": train(
                variant, ranks, accumulation_steps=2, set_to_none=False
            ),
            "poisoned": train(variant, ranks, disturb=poison),
            "float64": train(variant, ranks, dtype=torch.float64),
        }
    torch.save(results, out / f"{ranks.rank}.pt")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[Any]]:
    done: dict[int, list[Any]] = {}

    def of(num_ranks: int) -> list[Any]:
        if num_ranks not in done:
            out = tmp_path_factory.mktemp(f"ranks_{num_ranks}")
            dist.launch(write_results, out, num_ranks=num_ranks, timeout_s=60)
            done[num_ranks] = [torch.load(out / f"{r}.pt") for r in range(num_ranks)]
        return done[num_ranks]

    return of


@pytest.mark.parametrize("kind", ["plain", "kept", "poisoned", "float64"])
@pytest.mark.parametrize("variant", OURS)
def test_with_two_ranks_all_is_ddps_bit_for_bit(
    variant: str, kind: str, results: Callable[[int], list[Any]]
) -> None:
    for rank in range(2):
        weights, gradients = results(2)[rank][variant][kind]
        want_weights, want = results(2)[rank]["ddp"][kind]
        for step in range(NUM_STEPS):
            assert gradients[step].keys() == want[step].keys()
            for name, gradient in gradients[step].items():
                assert torch.equal(gradient, want[step][name]), (rank, step, name)
        assert all(torch.equal(weights[n], want_weights[n]) for n in want_weights)


def gap(left: Tensors, right: Tensors) -> float:
    # The keys' biases have a gradient of 0 but for rounding.
    return max(
        ((left[n] - right[n]).abs().max() / left[n].abs().max()).item()
        for n in left
        if not n.endswith("k_lin.bias")
    )


@pytest.mark.parametrize("kind", ["accumulated", "accumulated, kept"])
@pytest.mark.parametrize("variant", OURS)
def test_accumulation_differs_by_the_order_of_a_sum_only(
    variant: str, kind: str, results: Callable[[int], list[Any]]
) -> None:
    for rank in range(2):
        first, want = (results(2)[rank][name][kind][1][0] for name in (variant, "ddp"))
        assert gap(want, first) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("num_ranks", [3, 4])
@pytest.mark.parametrize("variant", OURS)
def test_with_more_ranks_the_gradients_are_ddps_but_for_the_order_of_a_sum(
    variant: str, num_ranks: int, results: Callable[[int], list[Any]]
) -> None:
    for rank in range(num_ranks):
        first, want = (
            results(num_ranks)[rank][w]["plain"][1][0] for w in (variant, "ddp")
        )
        assert gap(want, first) < 1e-6


@pytest.mark.parametrize("num_ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("variant", OURS)
def test_the_replicas_stay_equal_to_the_last_bit(
    variant: str, num_ranks: int, results: Callable[[int], list[Any]]
) -> None:
    first = results(num_ranks)[0][variant]["plain"][0]
    for other in results(num_ranks)[1:]:
        assert all(torch.equal(first[n], other[variant]["plain"][0][n]) for n in first)


# --- Negative controls: the proof notices what may be forgotten -----------------


def forgetful(ranks: dist.Ranks, out: Path, what: str) -> None:
    if what == "old rows":
        sparse_embedding.RowGradient._touched = property(  # type: ignore[assignment]
            lambda self: torch.zeros(0, dtype=torch.long), lambda self, rows: None
        )
    if what == "others' sums":
        shared_memory._sum_own_chunk = lambda rows, *, rank: None
    if what == "who wrote elsewhere":
        sparse_embedding.RowGradient._changed_outside = (  # type: ignore[method-assign]
            lambda self: False
        )
    disturb = poison if what == "who wrote elsewhere" else lambda step, net: None
    results = {
        variant: train(variant, ranks, disturb=disturb)[1]
        for variant in ("ddp", "both")
    }
    torch.save(results, out / f"{ranks.rank}.pt")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["old rows", "others' sums", "who wrote elsewhere"])
def test_the_proof_fails_where_something_is_forgotten(
    what: str, tmp_path: Path
) -> None:
    dist.launch(forgetful, tmp_path, what, num_ranks=2, timeout_s=60)
    for rank in range(2):
        results = torch.load(tmp_path / f"{rank}.pt")
        assert any(
            not torch.equal(left[name], right[name])
            for left, right in zip(results["ddp"], results["both"], strict=True)
            for name in left
        )


# --- Errors ---------------------------------------------------------------------


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(100, 2)
        self.first = nn.Linear(2, 1)
        self.second = nn.Linear(2, 1)

    def forward(self, *names: str) -> torch.Tensor:
        words = self.words(torch.arange(3))
        return sum(getattr(self, name)(words).sum() for name in names)  # type: ignore[return-value]


def leave_one_out(ranks: dist.Ranks, out: Path) -> None:
    net = TwoHeads()
    replica = sync.ddp_in_shared_memory(net, min_rows=50)
    names = ["first", "second"] if ranks.rank == 0 else ["first"]
    try:
        replica(*names).backward()
    except MissingGradientError as error:
        (out / f"{ranks.rank}.txt").write_text(str(error), encoding="utf-8")
    assert replica.module is net


def test_touched_rows_also_save_writing_a_dense_gradient() -> None:
    """So "no averaging", which keeps a dense one, is no floor for them."""
    ids = torch.tensor([3, 7])
    table, plain = nn.Embedding(1000, 4), nn.Embedding(1000, 4)
    sparse_embedding.RowGradient(table)
    table(ids).sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad.is_sparse
    assert table.weight.grad._nnz() == 2
    # Negative control: without it all rows are written.
    plain(ids).sum().backward()
    assert plain.weight.grad is not None
    assert plain.weight.grad.shape == (1000, 4)
    assert not plain.weight.grad.is_sparse


def test_a_parameter_that_one_rank_left_out_is_named_on_all(tmp_path: Path) -> None:
    dist.launch(leave_one_out, tmp_path, num_ranks=2, timeout_s=60)
    for rank in range(2):
        text = (tmp_path / f"{rank}.txt").read_text(encoding="utf-8")
        assert "rank 1" in text
        assert "second.weight" in text


class Tied(nn.Module):
    """An output layer with the table's weight: as a module, or in a function call."""

    def __init__(self, *, by_module: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(100, 3)
        self.middle = nn.Linear(3, 3)
        self.head = nn.Linear(3, 100) if by_module else None
        if self.head is not None:
            self.head.weight = self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states = self.middle(self.words(ids))
        if self.head is not None:
            return self.head(states)  # type: ignore[no-any-return]
        return F.linear(states, self.words.weight)


def share_the_table(ranks: dist.Ranks, out: Path) -> None:
    results: dict[str, Any] = {}
    for variant in ("ddp", "rows", "both"):
        torch.manual_seed(0)
        net = Tied(by_module=True)
        replica = VARIANTS[variant](net)
        replica(torch.arange(4) + ranks.rank).square().sum().backward()
        results[variant] = {n: p.grad for n, p in net.named_parameters()}
        if variant != "ddp":
            replica = VARIANTS[variant](Tied(by_module=False))
            try:
                replica(torch.arange(4)).sum().backward()
            except SetupError as error:
                results[f"{variant} refuses"] = str(error)
    torch.save(results, out / f"{ranks.rank}.pt")


@pytest.mark.slow
def test_a_table_that_another_module_shares_is_averaged_whole(tmp_path: Path) -> None:
    dist.launch(share_the_table, tmp_path, num_ranks=2, timeout_s=60)
    for rank in range(2):
        results = torch.load(tmp_path / f"{rank}.pt")
        for variant in ("rows", "both"):
            for name, grad in results["ddp"].items():
                assert torch.equal(results[variant][name], grad), (variant, name)
            # Used behind the modules' backs it cannot be seen before; it is refused.
            assert "not sparse" in results[f"{variant} refuses"]


class ToDouble(nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.double()


def mix_dtypes(ranks: dist.Ranks, out: Path) -> None:
    results = {}
    for name, wrap in (
        ("ddp", DistributedDataParallel),
        ("shared", functools.partial(sync.ddp_in_shared_memory, min_rows=50)),
    ):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Embedding(100, 3),
            nn.Linear(3, 3),
            ToDouble(),
            nn.Linear(3, 1, dtype=torch.float64),
        )
        replica = wrap(net)
        replica(torch.tensor([1 + ranks.rank])).sum().backward()
        results[name] = {n: p.grad for n, p in net.named_parameters()}
    torch.save(results, out / f"{ranks.rank}.pt")


def test_gradients_of_several_dtypes_meet_as_ddps_do(tmp_path: Path) -> None:
    dist.launch(mix_dtypes, tmp_path, num_ranks=2, timeout_s=60)
    for rank in range(2):
        results = torch.load(tmp_path / f"{rank}.pt")
        dtypes = {grad.dtype for grad in results["shared"].values()}
        assert dtypes == {torch.float32, torch.float64}
        for name, grad in results["ddp"].items():
            assert torch.equal(results["shared"][name], grad), name
        # Negative control: the other rank's row has a gradient, so ranks did meet.
        assert results["shared"]["0.weight"][[1, 2]].ne(0).all()


def no_room(ranks: dist.Ranks, out: Path) -> None:
    def full(number: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    os.posix_fallocate = full
    try:
        shared_memory._shared_tensor(10, torch.float32)
    except SetupError as error:
        (out / f"{ranks.rank}.txt").write_text(str(error), encoding="utf-8")


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="POSIX only")
def test_without_room_all_ranks_say_so_and_leave_no_file(tmp_path: Path) -> None:
    dist.launch(no_room, tmp_path, num_ranks=2, timeout_s=60)
    for rank in range(2):
        text = (tmp_path / f"{rank}.txt").read_text(encoding="utf-8")
        assert "No space left" in text
    assert left_files() == []


@pytest.mark.skipif(
    sys.platform != "linux" or running.HAS_WINDOWS_RULES,
    reason="the rule is imitated on Linux, within",
)
def test_without_room_the_file_is_closed_before_it_is_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Windows removes no open file; so its rule is imitated here."""
    refusing = windows.refuse(os.unlink)
    monkeypatch.setattr(os, "unlink", refusing)
    with tempfile.NamedTemporaryFile(delete=False) as file:
        with pytest.raises(PermissionError, match="imitated"):  # negative control
            os.unlink(file.name)
    os.unlink(file.name)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        shared_memory._create_file(10)
    assert left_files() == []


def left_files() -> list[Path]:
    folders = {Path("/dev/shm"), Path(tempfile.gettempdir())}
    return [f for folder in folders for f in folder.glob("distrinews-memory-*")]


def die_at_work(ranks: dist.Ranks) -> None:
    shared_memory._shared_tensor(1000, torch.float32)
    torch_dist.barrier()
    if ranks.rank == 1:
        os.kill(os.getpid(), 9)
    torch_dist.barrier()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="POSIX only")
def test_a_killed_rank_leaves_no_file() -> None:
    with pytest.raises(Exception, match="rank 1"):
        dist.launch(die_at_work, num_ranks=2, timeout_s=60)
    assert left_files() == []


SHARES = """
import os, pathlib, torch
from distrinews import dist, sync

def average(ranks):
    net = sync.ddp_in_shared_memory(torch.nn.Linear(3, 1, bias=False))
    net(torch.full((1, 3), float(ranks.rank))).sum().backward()
    # One write a line: two ranks share this output.
    os.write(1, f"{net.module.weight.grad.tolist()}\\n".encode())
    store = pathlib.Path(os.environ["DISTRINEWS_STORE"])
    if ranks.is_main:
        print([path.name[:17] for path in store.parent.iterdir() if path != store])

if __name__ == "__main__":
    dist.launch(average, num_ranks=2, timeout_s=60)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the rules are imitated on Linux")
@pytest.mark.parametrize("has_windows_rules", [True, False])
def test_what_windows_cannot_remove_goes_with_the_launchers_folder(
    has_windows_rules: bool, tmp_path: Path
) -> None:
    (tmp_path / "share.py").write_text(SHARES, encoding="utf-8")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    rules = running.like_windows() if has_windows_rules else {}
    done = subprocess.run(
        [sys.executable, "share.py"],
        cwd=tmp_path,
        env={**os.environ, **rules, "TMPDIR": str(temporary)},
        capture_output=True,
        timeout=100,
        check=False,
    )
    lines = done.stdout.decode().split()
    assert done.returncode == 0, done.stderr
    assert sorted(lines) == sorted(
        [*["[[0.5,", "0.5,", "0.5]]"] * 2]
        # Negative control: without Windows' rules the memory has no name any more.
        + (["['distrinews-memory']"] if has_windows_rules else ["[]"])
    )
    assert [path for path in temporary.rglob("*") if path.is_file()] == []
    assert left_files() == []
