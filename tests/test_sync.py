"""Proofs for distrinews.sync: every variant gives torch DDP's gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from distrinews import dist, model, sync
from distrinews.errors import MissingGradientError
from distrinews.sync import wrong
from distrinews.sync.overlap import cut_into_buckets

pytestmark = pytest.mark.timeout(120)

ALONE = dist.Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))
NUM_STEPS = 20
GLOBAL_BATCH_SIZE = 12  # divides by 1, 2, 3 and 4, and halves of it by 1 and 2
AFTER_BACKWARD: dict[str, Callable[[nn.Module], None]] = {
    "naive": sync.average_gradients,
    "flat": sync.average_gradients_flat,
    # WHY 100 kB: the model has 0.7 MB; with DDP's 25 MB there would be one bucket.
    "bucketed": lambda net: sync.average_gradients_in_buckets(
        net, bucket_bytes=100_000
    ),
}
RIGHT = [*AFTER_BACKWARD, "overlapped", "torch_ddp"]
WRONG = ["parameter_reduced", "before_accumulation", "late_flag", "nothing"]
Tensors = dict[str, torch.Tensor]


def build(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return model.build("tiny", dropout=0.0, vocabulary_size=90).to(dtype)


def rows_of(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The global batch of a step: token ids [G, T] and labels [G]."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(5, 90, (GLOBAL_BATCH_SIZE, 7), generator=generator)
    return ids, torch.randint(0, 4, (GLOBAL_BATCH_SIZE,), generator=generator)


def loss_of(replica: nn.Module, batch: Any) -> torch.Tensor:
    ids, labels = batch
    return F.cross_entropy(replica(ids).logits, labels)


def wrap(variant: str, net: nn.Module) -> nn.Module:
    if (
        not torch_dist.is_initialized()
        or variant in AFTER_BACKWARD
        or variant == "nothing"
    ):
        return net
    if variant == "overlapped":
        return sync.Overlapped(net, bucket_bytes=100_000, first_bucket_bytes=10_000)
    if variant == "parameter_reduced":
        return wrong.ParameterReduced(net)
    if variant == "before_accumulation":
        return wrong.ReducedBeforeAccumulation(net)
    return DistributedDataParallel(net, bucket_cap_mb=0.1)


def backward(variant: str, replica: nn.Module, micro_batches: list[Any]) -> None:
    """One step's backward passes, with whatever averaging belongs to them."""
    if variant == "late_flag" and isinstance(replica, DistributedDataParallel):
        wrong.backward_with_late_sync_flag(replica, micro_batches, loss_of=loss_of)
        return
    for batch in micro_batches:
        is_last = batch is micro_batches[-1]
        with sync.no_sync_unless(is_last, replica=replica):
            (loss_of(replica, batch) / len(micro_batches)).backward()
    if variant in AFTER_BACKWARD:
        AFTER_BACKWARD[variant](replica)


def local_micro_batches(
    ranks: dist.Ranks, step: int, accumulation_steps: int
) -> list[Any]:
    """This rank's micro-batches: its part of each piece of the global batch."""
    ids, labels = (t[ranks.rank :: ranks.world_size] for t in rows_of(step))
    return list(
        zip(
            ids.chunk(accumulation_steps), labels.chunk(accumulation_steps), strict=True
        )
    )


def train(
    ranks: dist.Ranks,
    variant: str,
    *,
    accumulation_steps: int = 1,
    dtype: torch.dtype = torch.float32,
    num_steps: int = NUM_STEPS,
    set_to_none: bool = True,
) -> Tensors:
    net = build(dtype)
    replica = wrap(variant, net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(num_steps):
        optimizer.zero_grad(set_to_none=set_to_none)
        backward(variant, replica, local_micro_batches(ranks, step, accumulation_steps))
        clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
    return {name: param.detach() for name, param in net.named_parameters()}


def gradients(
    ranks: dist.Ranks, variant: str, *, accumulation_steps: int = 1
) -> Tensors:
    net = build()
    backward(
        variant, wrap(variant, net), local_micro_batches(ranks, 0, accumulation_steps)
    )
    return {n: p.grad for n, p in net.named_parameters() if p.grad is not None}


def write_results(ranks: dist.Ranks, out: Path) -> None:
    results: dict[str, Any] = {}
    for variant in RIGHT:
        results[variant] = {
            "gradients": gradients(ranks, variant),
            "trained": train(ranks, variant),
            "kept": train(ranks, variant, set_to_none=False),
        }
        if ranks.world_size != 3:  # thirds are no exact numbers, in float64 neither
            results[variant]["float64"] = train(ranks, variant, dtype=torch.float64)
        if ranks.world_size == 2:
            results[variant]["accumulated gradients"] = gradients(
                ranks, variant, accumulation_steps=2
            )
            results[variant]["accumulated"] = train(
                ranks, variant, accumulation_steps=2
            )
    if ranks.world_size == 2:
        for variant in WRONG:
            results[variant] = {
                "trained": train(ranks, variant, num_steps=3),
                "accumulated": train(ranks, variant, num_steps=3, accumulation_steps=2),
            }
    torch.save(results, out / f"{ranks.rank}.pt")


@pytest.fixture(scope="module")
def alone() -> Tensors:
    return train(ALONE, "nothing")


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


def gap(left: Tensors, right: Tensors) -> float:
    """The largest difference, as a part of the tensor's own largest value."""
    assert left.keys() == right.keys()
    # WHY not the keys' biases: their gradient is 0 but for rounding; see test_equality.
    return max(
        ((left[name] - right[name]).abs().max() / left[name].abs().max()).item()
        for name in left
        if not name.endswith("k_lin.bias")
    )


MANY = [
    2,
    pytest.param(3, marks=pytest.mark.slow),
    pytest.param(4, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("variant", RIGHT)
def test_with_two_ranks_the_gradients_are_ddps_bit_for_bit(
    variant: str, results: Callable[[int], list[Any]]
) -> None:
    for rank in range(2):
        for kind in ("gradients", "accumulated gradients"):
            actual, expected = (
                results(2)[rank][variant][kind],
                results(2)[rank]["torch_ddp"][kind],
            )
            assert actual.keys() == expected.keys()
            assert len(actual) > 20
            for name in actual:
                assert torch.equal(actual[name], expected[name]), (rank, kind, name)


@pytest.mark.parametrize("num_ranks", MANY[1:])
@pytest.mark.parametrize("variant", RIGHT)
def test_with_more_ranks_the_gradients_are_ddps_but_for_the_order_of_a_sum(
    variant: str, num_ranks: int, results: Callable[[int], list[Any]]
) -> None:
    for rank in range(num_ranks):
        actual = results(num_ranks)[rank][variant]["gradients"]
        expected = results(num_ranks)[rank]["torch_ddp"]["gradients"]
        assert gap(expected, actual) < 1e-6


@pytest.mark.parametrize("num_ranks", MANY)
@pytest.mark.parametrize("variant", RIGHT)
def test_every_variant_trains_the_model_of_one_process(
    variant: str, num_ranks: int, alone: Tensors, results: Callable[[int], list[Any]]
) -> None:
    for rank in range(num_ranks):
        # WHY 2e-6: the roundings of twenty steps; see TOLERANCE in test_equality.
        assert gap(alone, results(num_ranks)[rank][variant]["trained"]) < 2e-6
        assert gap(alone, results(num_ranks)[rank][variant]["kept"]) < 2e-6


@pytest.mark.parametrize("variant", RIGHT)
def test_every_variant_accumulates_to_the_model_of_one_process(
    variant: str, alone: Tensors, results: Callable[[int], list[Any]]
) -> None:
    for rank in range(2):
        assert gap(alone, results(2)[rank][variant]["accumulated"]) < 2e-6


@pytest.mark.parametrize("num_ranks", [MANY[0], MANY[2]])
@pytest.mark.parametrize("variant", RIGHT)
def test_in_float64_what_is_left_is_rounding(
    variant: str, num_ranks: int, results: Callable[[int], list[Any]]
) -> None:
    want = train(ALONE, "nothing", dtype=torch.float64)
    for rank in range(num_ranks):
        assert gap(want, results(num_ranks)[rank][variant]["float64"]) < 1e-12


@pytest.mark.parametrize("variant", RIGHT)
@pytest.mark.parametrize("num_ranks", MANY)
def test_every_variant_keeps_the_replicas_equal_to_the_last_bit(
    variant: str, num_ranks: int, results: Callable[[int], list[Any]]
) -> None:
    first = results(num_ranks)[0][variant]["trained"]
    for other in results(num_ranks)[1:]:
        assert all(torch.equal(first[n], other[variant]["trained"][n]) for n in first)


# --- The wrong versions ---------------------------------------------------------


@pytest.mark.parametrize("variant", ["parameter_reduced", "nothing"])
def test_averaging_parameters_is_as_good_as_averaging_nothing(
    variant: str, results: Callable[[int], list[Any]]
) -> None:
    want = train(ALONE, "nothing", num_steps=3)
    for rank in range(2):
        assert gap(want, results(2)[rank][variant]["trained"]) > 1e-3
    assert gap(*(results(2)[rank][variant]["trained"] for rank in range(2))) > 1e-3


@pytest.mark.parametrize("variant", ["before_accumulation", "late_flag"])
def test_two_wrong_versions_look_right_until_a_step_has_two_micro_batches(
    variant: str, results: Callable[[int], list[Any]]
) -> None:
    want = train(ALONE, "nothing", num_steps=3)
    for rank in range(2):
        if variant == "before_accumulation":
            assert gap(want, results(2)[rank][variant]["trained"]) < 2e-6
        assert gap(want, results(2)[rank][variant]["accumulated"]) > 1e-3
    assert gap(*(results(2)[rank][variant]["accumulated"] for rank in range(2))) > 1e-3


# --- Unequal parts --------------------------------------------------------------


def unequal(ranks: dist.Ranks, out: Path) -> None:
    ids, labels = rows_of(0)
    cut = [0, 9, 12, 12][ranks.rank : ranks.rank + 2]  # 9, 3 and no row at all
    batch = (ids[slice(*cut)], labels[slice(*cut)])
    num_rows = cut[1] - cut[0]
    results = {}
    for variant in ("weighted", "plain"):
        net = build()
        if num_rows:
            loss_of(net, batch).backward()
        elif variant == "plain":
            for param in net.parameters():
                param.grad = torch.zeros_like(param)
        if variant == "weighted":
            sync.average_gradients_weighted(net, num_rows=num_rows)
        else:
            sync.average_gradients(net)
        results[variant] = {name: param.grad for name, param in net.named_parameters()}
    net = build()
    replica = DistributedDataParallel(net)
    weight = sync.uneven_loss_weight(num_rows=num_rows)
    # A rank without rows goes through DDP with any row, and the weight 0.
    loss = loss_of(replica, batch if num_rows else (ids[:1], labels[:1]))
    (loss * weight).backward()
    results["ddp"] = {name: param.grad for name, param in net.named_parameters()}
    torch.save(results, out / f"{ranks.rank}.pt")


def test_parts_of_9_and_3_and_no_rows_average_to_the_gradient_of_all_12(
    tmp_path: Path,
) -> None:
    dist.launch(unequal, tmp_path, num_ranks=3, timeout_s=60)
    net = build()
    loss_of(net, rows_of(0)).backward()
    want = {name: param.grad for name, param in net.named_parameters()}
    for rank in range(3):
        got = torch.load(tmp_path / f"{rank}.pt")
        assert gap(want, got["weighted"]) < 1e-5
        assert gap(want, got["ddp"]) < 1e-5
        assert gap(want, got["plain"]) > 1e-2  # negative control


def nobody_has_rows(ranks: dist.Ranks, out: Path) -> None:
    with contextlib.suppress(MissingGradientError):
        sync.average_gradients_weighted(nn.Linear(2, 1), num_rows=0)
        return
    with contextlib.suppress(MissingGradientError):
        sync.uneven_loss_weight(num_rows=0)
        return
    (out / f"raised_{ranks.rank}").touch()


def test_when_no_rank_has_rows_all_raise(tmp_path: Path) -> None:
    dist.launch(nobody_has_rows, tmp_path, num_ranks=2, timeout_s=60)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raised_0", "raised_1"]


# --- Missing gradients ----------------------------------------------------------


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 2)
        self.first = nn.Linear(2, 1)
        self.second = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor, *, both: bool) -> torch.Tensor:
        y = self.body(x)
        return self.first(y) + self.second(y) if both else self.first(y)


def forget_a_head(ranks: dist.Ranks, out: Path) -> None:
    for variant in RIGHT[:-1]:
        net = TwoHeads()
        replica = wrap(variant, net)
        try:
            replica(torch.ones(1, 2), both=ranks.rank != 1).sum().backward()
            if variant in AFTER_BACKWARD:
                AFTER_BACKWARD[variant](replica)
        except MissingGradientError as error:
            (out / f"{variant}_{ranks.rank}").write_text(str(error), encoding="utf-8")
            # The group still works: no rank is stuck in a collective of its own.
            assert dist.sum_over_ranks(1) == ranks.world_size
        net.zero_grad()
        if variant == "overlapped":  # and so does the wrapper
            replica(torch.ones(1, 2), both=True).sum().backward()
            sync.average_gradients(net)


def test_a_head_that_one_rank_forgot_is_named_on_every_rank(tmp_path: Path) -> None:
    dist.launch(forget_a_head, tmp_path, num_ranks=3, timeout_s=30)
    results = {p.name: p.read_text(encoding="utf-8") for p in tmp_path.iterdir()}
    assert len(results) == 3 * len(RIGHT[:-1])
    for text in results.values():
        assert text.startswith("rank 1: ")
        assert "['second.weight', 'second.bias']" in text


def test_missing_gradients_are_named_alone_too() -> None:
    message = r"(?s)rank 0: 2 .*'weight', 'bias'.*fix: .*backward\(\)"
    with pytest.raises(MissingGradientError, match=message):
        sync.average_gradients(nn.Linear(2, 1))


# --- Same start, other kinds of tensors, clipping -------------------------------


class Mixed(nn.Module):
    """Two dtypes, a frozen parameter, a shared one, a buffer."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.table.weight  # tied, as in language models
        self.wide = nn.Linear(5, 5).double()
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.register_buffer("scale", torch.rand(1))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        x = self.frozen(self.table(rows)) * self.scale
        out: torch.Tensor = self.wide(self.head(x).double())
        return out


def start_apart(ranks: dist.Ranks, out: Path) -> None:
    results = {}
    for variant in ("overlapped", "torch_ddp", "naive"):
        net = Mixed(seed=0 if variant == "naive" else ranks.rank)
        replica = wrap(variant, net)
        rows = torch.tensor([ranks.rank, 2])
        replica(rows).square().mean().backward()
        if variant == "naive":
            sync.average_gradients(net)
        results[variant] = {
            n: p.grad for n, p in net.named_parameters() if p.requires_grad
        }
        results[variant]["scale"] = net.scale
    torch.save(results, out / f"{ranks.rank}.pt")


def test_the_overlapped_wrapper_starts_all_ranks_from_rank_0s_model(
    tmp_path: Path,
) -> None:
    dist.launch(start_apart, tmp_path, num_ranks=2, timeout_s=60)
    for rank in range(2):
        results = torch.load(tmp_path / f"{rank}.pt")
        assert len(results["naive"]) == 4
        for name, want in results["torch_ddp"].items():
            assert torch.equal(results["overlapped"][name], want), name
            assert torch.equal(results["naive"][name], want), name


def clip_early(ranks: dist.Ranks, out: Path) -> None:
    results = {}
    for when in ("after", "before"):
        net = build()
        loss_of(net, local_micro_batches(ranks, 0, 1)[0]).backward()
        if when == "before":
            clip_grad_norm_(net.parameters(), 0.1)
        sync.average_gradients(net)
        results[when] = clip_grad_norm_(net.parameters(), 0.1)
        results[f"{when} gradients"] = {n: p.grad for n, p in net.named_parameters()}
    torch.save(results, out / f"{ranks.rank}.pt")


def test_clipped_after_averaging_the_norm_is_global_without_a_message(
    tmp_path: Path,
) -> None:
    dist.launch(clip_early, tmp_path, num_ranks=2, timeout_s=60)
    net = build()
    loss_of(net, rows_of(0)).backward()
    norm = clip_grad_norm_(net.parameters(), 0.1)
    want = {name: param.grad for name, param in net.named_parameters()}
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert torch.equal(first["after"], second["after"])
    torch.testing.assert_close(first["after"], norm)
    assert norm > 0.2
    assert gap(want, first["after gradients"]) < 1e-5
    assert gap(want, first["before gradients"]) > 1e-2  # negative control


def torchs_buckets(tensors: list[torch.Tensor], limits: list[int]) -> list[list[int]]:
    assign: Any = torch_dist._compute_bucket_assignment_by_size  # type: ignore[attr-defined]
    return sorted(list(bucket) for bucket in assign(tensors, limits)[0])


def test_buckets_hold_every_tensor_once_in_order_and_one_kind_each() -> None:
    kinds = [torch.float32] * 3 + [torch.float64] * 2 + [torch.float32]
    tensors = [torch.zeros(4, dtype=kind) for kind in kinds]  # 16 and 32 bytes
    cut = cut_into_buckets(tensors, first_bytes=1, bucket_bytes=48)
    # Each kind fills buckets of its own: tensor 5 completes the bucket of 1 and 2.
    assert cut == [[0], [3], [4], [1, 2, 5]]
    assert sorted(cut) == torchs_buckets(tensors, [1, 48])
    # Negative control: with other limits torch cuts elsewhere.
    assert sorted(cut) != torchs_buckets(tensors, [1, 32])
    assert cut_into_buckets([], first_bytes=1, bucket_bytes=1) == []


class InTurns(nn.Module):
    """Parameters of two dtypes, in turns."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(3, 3, dtype=torch.float32 if even else torch.float64)
            for even in (True, False, True)
        )

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            rows = layer(rows.to(layer.weight.dtype)).tanh()
        return rows


def average_two_dtypes(ranks: dist.Ranks, out: Path) -> None:
    gradients: dict[str, list[torch.Tensor]] = {}
    num_calls: dict[str, int] = {}
    all_reduce = torch_dist.all_reduce
    for variant in (*RIGHT, "nothing"):
        torch.manual_seed(0)
        net = InTurns()
        replica = net if variant in (*AFTER_BACKWARD, "nothing") else wrap(variant, net)
        replica(torch.full((2, 3), 1.0 + ranks.rank)).sum().backward()
        sizes: list[int] = []

        def counted(
            tensor: torch.Tensor, *args: Any, sizes: list[int] = sizes, **kw: Any
        ) -> Any:
            sizes.append(tensor.numel())
            return all_reduce(tensor, *args, **kw)

        torch_dist.all_reduce = counted
        AFTER_BACKWARD.get(variant, lambda net: None)(net)
        torch_dist.all_reduce = all_reduce
        num_calls[variant] = sum(size > 1 for size in sizes)
        gradients[variant] = [p.grad for p in net.parameters() if p.grad is not None]
    torch.save((gradients, num_calls), out / f"{ranks.rank}.pt")


def test_two_dtypes_are_averaged_as_by_ddp_with_one_flat_tensor_each(
    tmp_path: Path,
) -> None:
    dist.launch(average_two_dtypes, tmp_path, num_ranks=2, timeout_s=60)
    for rank in range(2):
        gradients, num_calls = torch.load(tmp_path / f"{rank}.pt")
        for variant in RIGHT:
            for ours, theirs in zip(
                gradients[variant], gradients["torch_ddp"], strict=True
            ):
                assert ours.dtype == theirs.dtype
                torch.testing.assert_close(ours, theirs)
        assert num_calls["flat"] == 2  # float32, float64
        assert num_calls["naive"] == 6  # one per parameter
        # Negative control: not averaged.
        assert not torch.allclose(gradients["nothing"][0], gradients["torch_ddp"][0])
