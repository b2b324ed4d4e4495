"""Proofs for answers that pages and cards give to questions beyond the plain loop.

Which order of building is a bug, who waits for an unused head, what a NaN does, what a
gather does to gradients, when a backward is averaged, what an asynchronous call may be
told. Each has its control: the version that looks right and is not.
"""

from __future__ import annotations

import copy
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
from helpers.running import like_windows
from torch import nn
from torch.distributed.nn import functional as differentiable
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from distrinews import dist, sync
from distrinews.errors import RankFailedError, ReplicasDifferError

Test = Callable[..., None]
Results = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
LEARNING_RATE = 0.5


def slow(test: Test) -> Test:
    """Mark a proof that starts ranks."""
    marked: Test = pytest.mark.slow(pytest.mark.timeout(200)(test))
    return marked


def one_weight(value: float = 1.0) -> nn.Linear:
    """A model whose gradient is its input: y = w x."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, value)
    return layer


def weight_gradient(replica: DistributedDataParallel) -> float:
    gradient: torch.Tensor = replica.module.weight.grad
    return gradient.item()


# --- What two ranks try, in one run -------------------------------------------------


def contrast(ranks: dist.Ranks) -> Results:
    """The gradient of a loss over all ranks' rows, by how the rows are gathered."""
    generator = torch.Generator().manual_seed(0)
    queries, keys = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    start = nn.Linear(3, 3, bias=False).double()
    with torch.no_grad():
        start.weight.copy_(torch.randn(3, 3, generator=generator))
    first = 2 * ranks.rank
    own = slice(first, first + 2)

    def loss(q: torch.Tensor, k: torch.Tensor, first: int = 0) -> torch.Tensor:
        return F.cross_entropy(q @ k.T, torch.arange(first, first + len(q)))

    def constants(rows: torch.Tensor) -> list[torch.Tensor]:
        gathered = [torch.empty_like(rows) for _ in range(ranks.world_size)]
        torch_dist.all_gather(gathered, rows.detach())
        return gathered

    def own_slot(rows: torch.Tensor) -> torch.Tensor:
        gathered = constants(rows)
        gathered[ranks.rank] = rows
        return torch.cat(gathered)

    def with_gradient(rows: torch.Tensor) -> torch.Tensor:
        return torch.cat(differentiable.all_gather(rows))

    ways: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
        "constants, own rows": lambda q, k: loss(q, torch.cat(constants(k)), first),
        "own slot, own rows": lambda q, k: loss(q, own_slot(k), first),
        "own slot, all rows": lambda q, k: loss(own_slot(q), own_slot(k)),
        "gradient, own rows": lambda q, k: loss(q, with_gradient(k), first),
        "gradient, all rows": lambda q, k: loss(with_gradient(q), with_gradient(k)),
    }
    whole = copy.deepcopy(start)
    loss(whole(queries), whole(keys)).backward()
    gradients: Results = {"one process": whole.weight.grad}
    for name, way in ways.items():
        replica = DistributedDataParallel(copy.deepcopy(start))
        q, k = replica(torch.cat([queries[own], keys[own]])).chunk(2)
        way(q, k).backward()
        gradients[name] = replica.module.weight.grad
    return gradients


def several_backwards(ranks: dist.Ranks) -> Results:
    """Gradients 1 and 3, then 10 and 30: averaged, 2 + 20."""
    of_rank = torch.tensor([[1.0 + 2 * ranks.rank]])
    first, second = of_rank, 10 * of_rank

    def in_turn(replica: nn.Module) -> None:
        replica(first).sum().backward()
        replica(second).sum().backward()

    def added(replica: nn.Module) -> None:
        (replica(first) + replica(second)).sum().backward()

    def forwards_first(replica: nn.Module) -> None:
        losses = [replica(first).sum(), replica(second).sum()]
        for loss in losses:
            loss.backward()

    def one_forward(replica: nn.Module) -> None:
        outputs = replica(torch.cat([first, second]))
        outputs[0].sum().backward(retain_graph=True)
        outputs[1].sum().backward()

    results: Results = {}
    for way in (in_turn, added, forwards_first, one_forward):
        replica = DistributedDataParallel(one_weight())
        way(replica)
        results[way.__name__] = weight_gradient(replica)
    return results


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = one_weight()
        self.first, self.second, self.nobodys = (one_weight() for _ in range(3))

    def forward(self, rows: torch.Tensor, output: str) -> Any:
        hidden = self.trunk(rows)
        if output == "tuple":  # the caller uses its first member only
            return self.first(hidden), self.second(hidden), self.nobodys(hidden)
        if output == "bag":
            # DDP finds no tensor in it: no list, dictionary or dataclass.
            return SimpleNamespace(first=self.first(hidden))
        if output == "times zero":
            unused = self.second(hidden) + self.nobodys(hidden)
            return self.first(hidden) + 0 * unused
        return getattr(self, output)(hidden)


def unused_heads(ranks: dist.Ranks) -> Results:
    rows = torch.tensor([[4.0]])

    def train(output: str, **options: Any) -> Any:
        replica = DistributedDataParallel(Heads(), **options)
        try:
            for _ in range(2):
                replica.zero_grad()
                got = replica(rows, output)
                if isinstance(got, SimpleNamespace):
                    got = got.first
                (got[0] if isinstance(got, tuple) else got).sum().backward()
        except RuntimeError as error:
            return str(error)
        parts = dict(replica.module.named_children())
        return {
            name: None if part.weight.grad is None else part.weight.grad.item()
            for name, part in parts.items()
        }

    def train_in_turn() -> list[float]:
        """Trunk and heads wrapped apart: in each step all ranks use one head."""
        parts = Heads()
        trunk, *heads = map(
            DistributedDataParallel, (parts.trunk, parts.first, parts.second)
        )
        gradients = []
        for head in heads:
            parts.zero_grad()
            head(trunk(rows * (1 + ranks.rank))).sum().backward()
            gradients += [weight_gradient(trunk), weight_gradient(head)]
        return gradients

    by_rank = ("first", "second")[ranks.rank]
    return {
        "flag": train(by_rank, find_unused_parameters=True),
        "times zero": train("times zero"),
        "wrapped apart": train_in_turn(),
        "tuple": train("tuple"),
        "tuple, flag": train("tuple", find_unused_parameters=True),
        "bag, flag": train("bag", find_unused_parameters=True),
    }


def not_a_number(ranks: dist.Ranks) -> Results:
    """Rank 1 computes NaN, in float32 and without a scaler."""
    replica = DistributedDataParallel(one_weight())
    optimizer = torch.optim.SGD(replica.parameters(), lr=LEARNING_RATE)
    results: Results = {}
    loss = replica(torch.tensor([[float("nan") if ranks.rank else 1.0]])).sum()
    try:  # before backward only one rank knows
        dist.vote_then_raise(
            None if loss.isfinite() else FloatingPointError(f"loss {loss.item()}")
        )
    except RankFailedError as error:
        results["vote"] = str(error)
    loss.backward()
    results["gradient"] = weight_gradient(replica)
    try:  # after backward all ranks know, without a message
        nn.utils.clip_grad_norm_(replica.parameters(), 1.0, error_if_nonfinite=True)
    except RuntimeError as error:
        results["clipping"] = str(error)
    optimizer.step()
    results["weight"] = replica.module.weight.item()
    try:
        sync.assert_replicas_equal(replica.module)
        results["replicas"] = "equal"
    except ReplicasDifferError:
        results["replicas"] = "differ"
    return results


def optimizer_in_backward(ranks: dist.Ranks) -> Results:
    """Step each parameter during backward: before its average came, and after."""
    torch.manual_seed(0)
    start = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
    rows = torch.randn(8, 4).chunk(2)[ranks.rank]

    def step(param: torch.Tensor, gradient: torch.Tensor) -> None:
        with torch.no_grad():
            param.add_(gradient, alpha=-LEARNING_RATE)

    def too_early(replica: DistributedDataParallel) -> None:
        def hook(param: torch.Tensor) -> None:
            assert param.grad is not None
            step(param, param.grad)

        for param in replica.parameters():
            param.register_post_accumulate_grad_hook(hook)

    def after_the_bucket(replica: DistributedDataParallel) -> None:
        def hook(_: object, bucket: Any) -> Any:
            buffer = bucket.buffer().div_(ranks.world_size)
            sent = torch_dist.all_reduce(buffer, async_op=True).get_future()

            def step_all(arrived: Any) -> torch.Tensor:
                pairs = zip(bucket.parameters(), bucket.gradients(), strict=True)
                for param, gradient in pairs:
                    step(param, gradient)
                mean: torch.Tensor = arrived.value()[0]
                return mean

            return sent.then(step_all)

        hook.__annotations__ = {}  # torch compares them with its classes (2.13)
        replica.register_comm_hook(None, hook)

    results: Results = {}
    for prepare in (None, too_early, after_the_bucket):
        replica = DistributedDataParallel(copy.deepcopy(start))
        optimizer = torch.optim.SGD(replica.parameters(), lr=LEARNING_RATE)
        if prepare is not None:
            prepare(replica)
        for _ in range(3):
            replica.zero_grad()
            replica(rows).square().mean().backward()
            if prepare is None:
                optimizer.step()
        name = "after backward" if prepare is None else prepare.__name__
        results[name] = nn.utils.parameters_to_vector(replica.parameters()).detach()
    return results


def low_precision_sums(ranks: dist.Ranks) -> Results:
    results: Results = {}
    for dtype in (torch.bfloat16, torch.float32):
        value = torch.tensor([256.0, 1.0][ranks.rank], dtype=dtype)
        torch_dist.all_reduce(value)
        results[f"sum in {dtype}"] = value.item()
        replica = DistributedDataParallel(one_weight().to(dtype))
        rows = torch.tensor([[[256.0, 1.0][ranks.rank]]], dtype=dtype)
        replica(rows).sum().backward()
        results[f"model in {dtype}"] = weight_gradient(replica)
    replica = DistributedDataParallel(one_weight())
    rows = torch.tensor([[[256.0, 1.0][ranks.rank]]])
    with torch.autocast("cpu", torch.bfloat16):
        output = replica(rows)
    results["autocast computes in"] = str(output.dtype)
    output.sum().backward()
    results["autocast"] = weight_gradient(replica)
    return results


def asynchronous_calls(ranks: dist.Ranks) -> Results:
    """Rank 1 comes only when rank 0 has done what it may not, or has waited."""
    store = torch_dist.distributed_c10d._get_default_store()
    results: Results = {}
    for name in ("left alone", "overwritten"):
        values = torch.ones(4_000_000)
        torch_dist.barrier()
        if ranks.is_main:
            work = torch_dist.all_reduce(values, async_op=True)
            if name == "overwritten":
                values.fill_(100.0)
            results[f"{name}, read at once"] = values[-1].item()
            store.set(name, "rank 1 may come")
            work.wait()
        else:
            store.wait([name])
            torch_dist.all_reduce(values)
        results[name] = (values.min().item(), values.max().item())
    work = torch_dist.all_reduce(torch.ones(1000), async_op=True)  # nobody holds it
    work.wait()
    results["held by the handle"] = work.result()[0].sum().item()
    return results


def averaged_models(ranks: dist.Ranks) -> Results:
    """An exponential moving average on every rank, and on rank 0 alone."""
    torch.manual_seed(0)
    replica = DistributedDataParallel(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1)))
    optimizer = torch.optim.SGD(replica.parameters(), lr=LEARNING_RATE)
    everywhere, on_rank_0 = (
        AveragedModel(replica.module, multi_avg_fn=get_ema_multi_avg_fn(0.9))
        for _ in range(2)
    )
    for step in range(3):
        rows = torch.full((2, 4), float(1 + step + ranks.rank))
        optimizer.zero_grad()
        replica(rows).tanh().mean().backward()
        optimizer.step()
        everywhere.update_parameters(replica.module)
        if ranks.is_main:
            on_rank_0.update_parameters(replica.module)
    return {
        "everywhere": nn.utils.parameters_to_vector(everywhere.parameters()).detach(),
        "on rank 0": nn.utils.parameters_to_vector(on_rank_0.parameters()).detach(),
    }


def loading(ranks: dist.Ranks) -> Results:
    """Rank 0 alone loads a weight of 7: before it is wrapped, and after."""
    file = {"weight": torch.tensor([[7.0]])}
    results: Results = {}
    for when in ("before", "after"):
        model = one_weight()
        if when == "before" and ranks.is_main:
            model.load_state_dict(file)
        replica = DistributedDataParallel(model)
        if when == "after" and ranks.is_main:
            model.load_state_dict(file)
        results[when] = replica.module.weight.item()
    return results


ABOVE_ONE = 1 + 2.0**-40  # float64 holds it, float32 does not


def converting(ranks: dist.Ranks) -> Results:
    """Make the model float64 before it is wrapped, and after: two steps' gradients."""
    rows = torch.full((1, 1), ABOVE_ONE, dtype=torch.float64)
    results: Results = {}
    for when in ("before", "after"):
        model = one_weight().double() if when == "before" else one_weight()
        replica = DistributedDataParallel(model).double()
        results[when] = []
        for _ in range(2):
            replica.zero_grad()
            replica(rows).sum().backward()
            results[when].append(weight_gradient(replica))
    return results


def sums_by_bucket_size(ranks: dist.Ranks) -> Results:
    """The same gradients, cut into buckets in two ways."""
    torch.manual_seed(0)
    start = nn.Sequential(*(nn.Linear(512, 512, bias=False) for _ in range(4)))
    rows = torch.randn(ranks.world_size, 4, 512)[ranks.rank]
    results: Results = {}
    for mib in (1, 100):
        replica = DistributedDataParallel(copy.deepcopy(start), bucket_cap_mb=mib)
        for _ in range(2):  # the second step has the final buckets
            replica.zero_grad()
            replica(rows).square().sum().backward()
        gradients = [param.grad.flatten() for param in replica.parameters()]
        results[f"{mib} MiB"] = torch.cat(gradients)
    return results


TRIED = (
    *(contrast, several_backwards, unused_heads, not_a_number, optimizer_in_backward),
    *(low_precision_sums, asynchronous_calls, averaged_models, loading, converting),
    sums_by_bucket_size,
)


def try_all(ranks: dist.Ranks, names: list[str], out: Path) -> None:
    results = {f.__name__: f(ranks) for f in TRIED if f.__name__ in names}
    torch.save(results, out / f"{ranks.rank}.pt")


def results_of(names: list[str], out: Path, *, num_ranks: int) -> list[Results]:
    dist.launch(try_all, names, out, num_ranks=num_ranks, timeout_s=60)
    return [torch.load(out / f"{rank}.pt") for rank in range(num_ranks)]


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    names = [function.__name__ for function in TRIED]
    return results_of(names, tmp_path_factory.mktemp("tried"), num_ranks=2)


def both(tried: list[Results], function: Callable[..., Any]) -> tuple[Results, Results]:
    first, second = (results[function.__name__] for results in tried)
    return first, second


# --- In which order to build --------------------------------------------------------


def test_an_optimizer_made_before_the_conversion_still_trains_the_model() -> None:
    """Another type stands for another device: both replace `param.data` in place."""
    model = one_weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    model.double()
    model(torch.ones(1, 1, dtype=torch.float64)).sum().backward()
    optimizer.step()
    assert model.weight.item() == 1 - LEARNING_RATE


def test_an_optimizers_averages_stay_behind_when_the_model_is_converted() -> None:
    model = one_weight()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    saved = copy.deepcopy(optimizer.state_dict())
    model.double()
    assert optimizer.state[model.weight]["exp_avg"].dtype == torch.float32
    # The cure: load the state after the conversion. It follows the parameter.
    optimizer.load_state_dict(saved)
    assert optimizer.state[model.weight]["exp_avg"].dtype == torch.float64


@pytest.mark.parametrize(("assign", "trained"), [(False, True), (True, False)])
def test_an_optimizer_keeps_its_parameters_unless_loading_assigns_other_ones(
    assign: bool, trained: bool
) -> None:
    model = one_weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    model.load_state_dict({"weight": torch.tensor([[7.0]])}, assign=assign)
    model(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    assert (model.weight.item() == 7 - LEARNING_RATE) is trained
    assert (model.weight.item() == 7) is not trained


@slow
def test_a_file_loaded_on_rank_0_reaches_the_others_only_before_wrapping(
    tried: list[Results],
) -> None:
    first, second = both(tried, loading)
    assert first["before"] == second["before"] == 7.0
    assert (first["after"], second["after"]) == (7.0, 1.0)


@slow
def test_a_model_whose_type_changes_after_wrapping_is_averaged_in_the_new_type(
    tried: list[Results],
) -> None:
    for results in both(tried, converting):
        assert results["before"] == results["after"] == [ABOVE_ONE] * 2
    # Negative control: an average in the old type would show.
    assert torch.tensor(ABOVE_ONE, dtype=torch.float32).item() != ABOVE_ONE


# --- Heads that not every rank uses -------------------------------------------------


@slow
def test_a_head_that_one_rank_uses_is_averaged_over_all_and_nobodys_stays_none(
    tried: list[Results],
) -> None:
    first, second = both(tried, unused_heads)
    # The gradient is 4 on the rank that used the head, and counts as 0 on the other.
    assert first["flag"] == second["flag"]
    assert first["flag"] == {"trunk": 4.0, "first": 2.0, "second": 2.0, "nobodys": None}
    zeros = {"trunk": 4.0, "first": 4.0, "second": 0.0, "nobodys": 0.0}
    assert first["times zero"] == second["times zero"] == zeros
    # Rows of 4 and 8: their mean, in each of the four gradients.
    assert first["wrapped apart"] == second["wrapped apart"] == [6.0] * 4


@slow
def test_a_tuple_of_which_the_loss_uses_one_member_needs_the_flag_and_a_bag_fails(
    tried: list[Results],
) -> None:
    for results in both(tried, unused_heads):
        assert "Expected to have finished reduction" in results["tuple"]
        assert results["tuple, flag"]["first"] == 4.0
        assert "marked as ready twice" in results["bag, flag"]


def use_another_head_on_rank_0(ranks: dist.Ranks, out: Path) -> None:
    replica = DistributedDataParallel(Heads())
    rows = torch.tensor([[4.0]])
    for step in range(2):
        loss = replica(rows, "times zero" if ranks.is_main else "first").sum()
        (out / f"rank {ranks.rank}, forward {step}").touch()
        loss.backward()
        (out / f"rank {ranks.rank}, backward {step}").touch()


@slow
def test_without_the_flag_the_rank_that_used_the_head_waits_and_the_other_one_raises(
    tmp_path: Path,
) -> None:
    error = "rank 1 raised RuntimeError: Expected to have finished reduction"
    with pytest.raises(RankFailedError, match=error):
        dist.launch(use_another_head_on_rank_0, tmp_path, num_ranks=2, timeout_s=30)
    done = {path.name for path in tmp_path.iterdir()}
    # Rank 0, which used all heads, waits in its first backward; rank 1 left its own.
    assert done == {"rank 0, forward 0", "rank 1, forward 0", "rank 1, backward 0"}


# --- One rank's NaN -----------------------------------------------------------------


@slow
def test_one_ranks_nan_is_in_every_gradient_and_no_check_of_replicas_sees_it(
    tried: list[Results],
) -> None:
    for results in both(tried, not_a_number):
        assert results["gradient"] != results["gradient"]  # NaN, on both ranks
        assert results["weight"] != results["weight"]
        assert results["replicas"] == "equal"
        assert "non-finite" in results["clipping"]  # on both at the same line
        assert "rank 1 raised FloatingPointError: loss nan" in results["vote"]


# --- Gathering, several backwards, stepping early -----------------------------------


@slow
@pytest.mark.parametrize(
    ("way", "factor"),
    [
        ("gradient, own rows", 1.0),
        ("gradient, all rows", 1.0),
        ("own slot, all rows", 0.5),  # 1 / W: the direction is right
        ("own slot, own rows", None),
        ("constants, own rows", None),
    ],
)
def test_a_contrastive_loss_over_ranks_needs_a_gather_that_hands_gradients_back(
    tried: list[Results], way: str, factor: float | None
) -> None:
    for results in both(tried, contrast):
        got, whole = results[way], results["one process"]
        if factor is not None:
            torch.testing.assert_close(got, factor * whole)
        else:  # no multiple of it either
            cosine = F.cosine_similarity(got.flatten(), whole.flatten(), dim=0)
            assert cosine < 0.999


@slow
def test_each_backward_that_shall_be_averaged_needs_a_forward_of_its_own_before_it(
    tried: list[Results],
) -> None:
    first, second = both(tried, several_backwards)
    for way in ("in_turn", "added"):
        assert first[way] == second[way] == 22.0
    # The second backward of these is not averaged, and nothing raises.
    for way in ("forwards_first", "one_forward"):
        assert (first[way], second[way]) == (2.0 + 10.0, 2.0 + 30.0)


@slow
def test_a_step_inside_backward_must_wait_for_its_bucket(tried: list[Results]) -> None:
    first, second = both(tried, optimizer_in_backward)
    for results in (first, second):
        assert torch.equal(results["after_the_bucket"], results["after backward"])
    assert not torch.equal(first["too_early"], second["too_early"])


@slow
def test_a_tensor_on_its_way_may_be_neither_read_nor_written_and_lives_in_its_handle(
    tried: list[Results],
) -> None:
    first, second = both(tried, asynchronous_calls)
    assert first["left alone, read at once"] == 1.0  # not yet the sum
    assert first["left alone"] == second["left alone"] == (2.0, 2.0)
    assert first["overwritten"] != (2.0, 2.0)
    assert first["held by the handle"] == second["held by the handle"] == 2000.0


# --- Precision, order, averages of models -------------------------------------------


@slow
def test_a_sum_is_as_precise_as_the_type_that_travels_and_autocast_sends_float32(
    tried: list[Results],
) -> None:
    for results in both(tried, low_precision_sums):
        assert results["sum in torch.bfloat16"] == 256.0  # 257 has nine bits
        assert results["model in torch.bfloat16"] == 128.0
        # Negative control.
        assert results["sum in torch.float32"] == 257.0
        assert results["model in torch.float32"] == 128.5
        assert results["autocast computes in"] == "torch.bfloat16"
        assert results["autocast"] == 128.5


@slow
def test_the_size_of_buckets_decides_the_last_bits_from_three_ranks_on(
    tried: list[Results], tmp_path: Path
) -> None:
    for results in both(tried, sums_by_bucket_size):
        assert torch.equal(results["1 MiB"], results["100 MiB"])
    name = sums_by_bucket_size.__name__
    for of_rank in results_of([name], tmp_path, num_ranks=3):
        small, large = of_rank[name].values()
        assert not torch.equal(small, large)
        torch.testing.assert_close(small, large)


@slow
def test_every_ranks_own_average_of_the_model_is_the_same_bits(
    tried: list[Results],
) -> None:
    first, second = both(tried, averaged_models)
    assert torch.equal(first["everywhere"], second["everywhere"])
    assert torch.equal(first["everywhere"], first["on rank 0"])
    # Negative control: an average that rank 0 alone updates.
    assert not torch.equal(first["on rank 0"], second["on rank 0"])


# --- The script to copy -------------------------------------------------------------


def run_plain_script(
    script: str, folder: Path, **env: str
) -> subprocess.CompletedProcess[str]:
    copied = folder / "plain_ddp.py"
    copied.write_text(script, encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(copied)],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        | {"OMP_NUM_THREADS": "1"}
        | env,
        capture_output=True,
        encoding="utf-8",
        timeout=180,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(400)  # it starts six processes that import torch
def test_the_plain_script_trains_two_equal_replicas_without_this_library(
    tmp_path: Path,
) -> None:
    script = (ROOT / "chapters" / "plain_ddp.py").read_text("utf-8")
    assert "distrinews" not in script
    done = run_plain_script(script, tmp_path)
    assert done.returncode == 0, done.stderr
    losses = [float(loss) for loss in re.findall(r"loss (\S+) over 256", done.stdout)]
    assert len(losses) == 3
    assert losses[0] > 5 * losses[2]
    assert "equal on both ranks: True" in done.stdout
    # Negative control: trained past the wrapper, nothing is averaged.
    done = run_plain_script(
        script.replace("replica(rows)", "replica.module(rows)"), tmp_path
    )
    assert "equal on both ranks: False" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(sys.platform != "linux", reason="it imitates on Linux")
def test_on_windows_the_plain_script_meets_below_a_folder_with_umlauts(
    tmp_path: Path,
) -> None:
    script = (ROOT / "chapters" / "plain_ddp.py").read_text("utf-8")
    temporary = tmp_path / "Jörg"
    temporary.mkdir()
    rules = {**like_windows(), "TMPDIR": str(temporary)}
    # Negative control: the path as Python writes it, in UTF-8.
    done = run_plain_script(script, tmp_path, **rules)
    assert "imitated: No such file" in done.stderr
    as_there = script.replace('sys.platform == "win32"', "True")
    done = run_plain_script(as_there, tmp_path, **rules)
    assert done.returncode == 0, done.stderr
    assert "equal on both ranks: True" in done.stdout


# --- The store ----------------------------------------------------------------------


@pytest.mark.parametrize("agent_hosts", [False, True])
def test_rank_0_hosts_the_store_unless_an_agent_does(
    monkeypatch: pytest.MonkeyPatch, agent_hosts: bool
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(probe.getsockname()[1]))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", str(agent_hosts))

    def meet(rank: int, timeout_s: float) -> Any:
        timeout = timedelta(seconds=timeout_s)
        return next(torch_dist.rendezvous("env://", rank, 2, timeout=timeout))[0]

    if agent_hosts:  # here is no agent, and rank 0 does not take its place
        with pytest.raises(torch_dist.DistError):
            meet(0, 0.5)
        return
    with ThreadPoolExecutor(2) as pool:
        host, guest = pool.map(meet, (0, 1), (20, 20))
    host.set("address of rank 0", "127.0.0.1:4711")
    assert guest.get("address of rank 0") == b"127.0.0.1:4711"
