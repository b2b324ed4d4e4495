"""Proofs for single statements about torch's DDP that the pages and cards make.

What it compiles to, when it sends buffers, what its constructor compares. Each was
wrong on a page once; the control beside it fails if it becomes wrong again.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

from distrinews import dist
from distrinews.bench.costmodel import calibration
from distrinews.errors import RankFailedError
from distrinews.model import sizes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]
Results = dict[str, Any]
PRESETS = ("minilm", "distilbert")


def run(
    work: Callable[[dist.Ranks, Path], None], out: Path, *, timeout_s: float = 60
) -> list[Results]:
    dist.launch(work, out, num_ranks=2, timeout_s=timeout_s)
    return [torch.load(out / f"{rank}.pt") for rank in range(2)]


# --- torch.compile ------------------------------------------------------------------


class Layers(nn.Module):
    """Four layers of 1 MiB: with buckets of 1 MiB each travels alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(512, 512, bias=False) for _ in range(4))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            rows = torch.tanh(layer(rows))
        return rows


class Graphs:
    """A backend of torch.compile that needs no C++ compiler: it counts, and computes.

    `events` holds "backward" for each backward graph that ran and "all_reduce" for
    each bucket that left, in order. Both are noted by the thread that runs backward.
    """

    def __init__(self) -> None:
        # WHY here: only these tests need it, and importing it takes seconds.
        from torch._dynamo.backends.common import aot_autograd

        self.count = 0
        self.events: list[str] = []
        self._compile = aot_autograd(
            fw_compiler=lambda graph, _: _boxed(graph.forward),
            bw_compiler=lambda graph, _: _boxed(self._noting(graph.forward)),
        )

    def __call__(self, graph: torch.fx.GraphModule, inputs: Any) -> Any:
        self.count += 1
        return self._compile(graph, inputs)

    def _noting(self, run_graph: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*values: Any) -> Any:
            self.events.append("backward")
            return run_graph(*values)

        return noting

    def watch(self, replica: DistributedDataParallel) -> None:
        def hook(_: object, bucket: Any) -> Any:
            self.events.append("all_reduce")
            torch_dist.all_reduce(bucket.buffer())
            done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
            done.set_result(bucket.buffer() / torch_dist.get_world_size())
            return done

        # WHY none: torch compares annotations with its own class, and in this file they
        # are texts (torch 2.13, _check_comm_hook).
        hook.__annotations__ = {}
        replica.register_comm_hook(None, hook)


def _boxed(run_graph: Callable[..., Any]) -> Callable[..., Any]:
    from functorch.compile import make_boxed_func

    boxed: Callable[..., Any] = make_boxed_func(run_graph)
    return boxed


def compile_both_ways(ranks: dist.Ranks, out: Path) -> None:
    from torch import _dynamo

    rows = torch.ones(2, 512)
    results: Results = {}
    for optimize in (True, False):
        _dynamo.config.optimize_ddp = optimize
        for order in ("wrapped first", "compiled first"):
            _dynamo.reset()
            graphs, net = Graphs(), Layers()
            if order == "wrapped first":
                replica = DistributedDataParallel(net, bucket_cap_mb=1)
                model = torch.compile(replica, backend=graphs)
            else:
                replica = model = DistributedDataParallel(
                    torch.compile(net, backend=graphs), bucket_cap_mb=1
                )
            for _ in range(2):  # from here on the buckets are the final ones
                model(rows).sum().backward()
            graphs.watch(replica)
            graphs.events.clear()
            model(rows).sum().backward()
            name = order if optimize else f"{order}, not split"
            results[name] = {
                "graphs": graphs.count,
                "events": graphs.events,
                "name": next(iter(model.state_dict())),
            }
    _dynamo.config.optimize_ddp = True
    ids = torch.ones(2, 8, dtype=torch.long)
    for preset in PRESETS:
        for order in ("wrapped first", "compiled first"):
            _dynamo.reset()
            graphs, net = Graphs(), sizes.build(preset)
            model = (
                torch.compile(DistributedDataParallel(net), backend=graphs)
                if order == "wrapped first"
                else DistributedDataParallel(torch.compile(net, backend=graphs))
            )
            model(ids).logits.sum().backward()
            results[f"{preset}, {order}"] = graphs.count
    for title, make in (
        ("Sequential", lambda: nn.Sequential(nn.Linear(512, 512), nn.Tanh())),
        ("own class", Layers),
    ):
        for order in ("wrapped first", "compiled first"):
            _dynamo.reset()
            graphs, net = Graphs(), make()
            model = (
                torch.compile(DistributedDataParallel(net), backend=graphs)
                if order == "wrapped first"
                else DistributedDataParallel(torch.compile(net, backend=graphs))
            )
            model(rows).sum().backward()
            results[f"{title}, {order}"] = graphs.count
    torch.save(results, out / f"{ranks.rank}.pt")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Results:
    first, second = run(
        compile_both_ways, tmp_path_factory.mktemp("compiled"), timeout_s=150
    )
    assert first == second
    return first


def overlaps(events: list[str]) -> bool:
    """Whether a bucket left before the last backward graph had begun."""
    last_backward = len(events) - 1 - events[::-1].index("backward")
    return "all_reduce" in events[:last_backward]


def test_compiled_before_or_after_wrapping_ddp_splits_the_graph_and_overlaps_alike(
    compiled: Results,
) -> None:
    wrapped, inside = compiled["wrapped first"], compiled["compiled first"]
    assert wrapped["graphs"] == inside["graphs"] > 1
    assert wrapped["events"] == inside["events"]
    assert overlaps(wrapped["events"])
    # Negative control: told not to split, torch makes one graph, and its hooks all
    # fire after it, whichever was first.
    for order in ("wrapped first", "compiled first"):
        whole = compiled[f"{order}, not split"]
        assert whole["graphs"] == 1
        assert not overlaps(whole["events"])
        assert whole["events"].count("all_reduce") == 4


@pytest.mark.parametrize("preset", PRESETS)
def test_our_models_become_as_many_graphs_as_they_have_buckets(
    compiled: Results, preset: str
) -> None:
    buckets = calibration.ddp_buckets(preset, calibration.DEFAULT_BUCKET_MIB)
    assert compiled[f"{preset}, wrapped first"] == len(buckets)
    assert compiled[f"{preset}, compiled first"] == len(buckets)


def test_the_order_of_wrapping_and_compiling_changes_the_names(
    compiled: Results,
) -> None:
    assert compiled["wrapped first"]["name"] == "_orig_mod.module.layers.0.weight"
    assert compiled["compiled first"]["name"] == "module._orig_mod.layers.0.weight"


def test_a_wrapped_sequential_is_not_compiled_at_all(compiled: Results) -> None:
    assert compiled["Sequential, wrapped first"] == 0
    # Negative controls: compiled before it is wrapped, or a class of one's own.
    assert compiled["Sequential, compiled first"] > 0
    assert compiled["own class, wrapped first"] > 0


# --- Buffers in forward -------------------------------------------------------------


class Buffered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("scale", torch.ones(2))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        scaled: torch.Tensor = self.layer(rows) * self.scale
        return scaled


ROW = torch.ones(1, 2)


def count_broadcasts(forward: Callable[[], Any]) -> int:
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        forward()
    return sum(event.name == "gloo:broadcast" for event in seen.events())


def evaluate_unevenly(ranks: dist.Ranks, out: Path) -> None:
    replica = DistributedDataParallel(Buffered())
    replica(ROW).sum().backward()
    replica.eval()
    with torch.no_grad():
        # Rank 0 has three batches, rank 1 has one.
        counts = [
            count_broadcasts(lambda: replica(ROW)) for _ in range(1 + 2 * ranks.is_main)
        ]
    total = dist.sum_over_ranks(len(counts))
    trained = [count_broadcasts(lambda: replica(ROW)) for _ in range(2)]
    torch.save(
        {"counts": counts, "total": total, "trained": trained},
        out / f"{ranks.rank}.pt",
    )


def evaluate_on_one_rank(ranks: dist.Ranks, out: Path) -> None:
    replica = DistributedDataParallel(Buffered())
    replica(ROW).sum().backward()
    if ranks.is_main:
        (out / "forward").touch()
        with torch.no_grad():
            replica(ROW)
    # It meets rank 0's broadcast of the buffer, and takes it for a part of the sum:
    # which of the two ranks notices first, and how, differs from run to run.
    dist.sum_over_ranks(1)


def test_only_the_first_forward_without_gradients_broadcasts_so_uneven_ones_run(
    tmp_path: Path,
) -> None:
    first, second = run(evaluate_unevenly, tmp_path)
    assert first["counts"] == [1, 0, 0]
    assert second["counts"] == [1]
    assert first["total"] == second["total"] == 4
    # With gradients each forward broadcasts, but for the first after an evaluation
    # without: two of the three belong to the rebuilt buckets.
    assert first["trained"][1] == second["trained"][1] == 1


def test_a_rank_without_a_batch_misses_that_broadcast(tmp_path: Path) -> None:
    """Negative control: here the wrapper's forward does break the run."""
    with pytest.raises(RankFailedError):
        dist.launch(evaluate_on_one_rank, tmp_path, num_ranks=2, timeout_s=15)
    assert (tmp_path / "forward").exists()  # it was not the start that failed


PRESERVES = "preserve_version" in inspect.getsource(
    DistributedDataParallel._sync_buffers
)


def forward_twice(ranks: dist.Ranks, out: Path) -> None:
    results: Results = {}
    replica = DistributedDataParallel(Buffered())
    for name in ("as it is", "without preserving"):
        with contextlib.ExitStack() as patched:
            if name == "without preserving":
                patch = patched.enter_context(pytest.MonkeyPatch.context())
                patch.setattr(
                    torch.autograd,
                    "_unsafe_preserve_version_counter",
                    lambda _: contextlib.nullcontext(),
                )
            try:
                (replica(ROW) + replica(ROW)).sum().backward()
                results[name] = "runs"
            except RuntimeError as error:
                results[name] = str(error)
    torch.save(results, out / f"{ranks.rank}.pt")


def test_two_forwards_before_one_backward_run_because_ddp_keeps_the_version(
    tmp_path: Path,
) -> None:
    """Negative control: without that a copied buffer is a change in place."""
    for results in run(forward_twice, tmp_path):
        assert ("runs" in results["as it is"]) == PRESERVES
        assert "modified by an inplace operation" in results["without preserving"]


# --- The constructor, and join ------------------------------------------------------


class OneMore(nn.Module):
    """A layer, and a parameter whose shape or absence may differ between ranks."""

    def __init__(self, shape: tuple[int, ...] | None, *, frozen: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        if shape:
            self.more = nn.Parameter(torch.ones(shape), requires_grad=not frozen)


def build_differently(
    ranks: dist.Ranks, shapes: list[tuple[int, ...] | None], frozen: bool, out: Path
) -> None:
    net = OneMore(shapes[ranks.rank], frozen=frozen)
    # WHY text and no exception: rank 0 may not be told, and launch would stop it.
    try:
        DistributedDataParallel(net)
        result = "accepted"
    except RuntimeError as error:
        result = str(error)
    (out / f"{ranks.rank}.txt").write_text(result, encoding="utf-8")


SHAPES = {"shape": [(4,), (2, 2)], "number": [None, (4,)]}


@pytest.mark.parametrize("differs", SHAPES)
def test_the_constructor_compares_trainable_parameters_and_no_frozen_ones(
    tmp_path: Path, differs: str
) -> None:
    said = {}
    for frozen in (True, False):
        dist.launch(
            build_differently,
            SHAPES[differs],
            frozen,
            tmp_path,
            num_ranks=2,
            timeout_s=60,
        )
        said[frozen] = [
            (tmp_path / f"{rank}.txt").read_text(encoding="utf-8") for rank in range(2)
        ]
    assert said[True] == ["accepted", "accepted"]
    # Negative control: trainable ones that differ are refused ...
    if differs == "number":
        assert all(
            "expects same model across all ranks" in text for text in said[False]
        )
    else:
        # ... in shape by the ranks that differ from rank 0, which itself only sees
        # that they are gone.
        assert "appears not to match sizes of the same param" in said[False][1]
        assert "appears not to match" not in said[False][0]
        assert said[False][0] != "accepted"


def train_unevenly(ranks: dist.Ranks, out: Path) -> None:
    results: Results = {}
    for name, ends_first in (("rank 0 ends", 0), ("rank 1 ends", 1)):
        replica = DistributedDataParallel(Buffered())
        seen: list[float] = []
        with replica.join():
            for _ in range(1 if ranks.rank == ends_first else 3):
                replica.module.scale.data.fill_(10.0 * (1 + ranks.rank))
                replica(ROW).sum().backward()
                seen.append(replica.module.scale[0].item())
        results[name] = seen
    replica = DistributedDataParallel(Buffered())
    replica.module.scale.data.fill_(10.0 * (1 + ranks.rank))
    replica(ROW).sum().backward()
    results["without join"] = [replica.module.scale[0].item()]
    torch.save(results, out / f"{ranks.rank}.pt")


def test_under_join_buffers_come_from_the_highest_rank_that_still_has_rows(
    tmp_path: Path,
) -> None:
    first, second = run(train_unevenly, tmp_path)
    assert first["rank 0 ends"] == [20.0]
    assert second["rank 0 ends"] == [20.0, 20.0, 20.0]
    assert first["rank 1 ends"] == [20.0, 10.0, 10.0]
    assert second["rank 1 ends"] == [20.0]
    # Negative control: without join they are rank 0's.
    assert first["without join"] == second["without join"] == [10.0]


# --- gloo and sizes -----------------------------------------------------------------


def broadcast_sizes(ranks: dist.Ranks, sizes: list[int], out: Path) -> None:
    values = torch.full((sizes[ranks.rank],), 1.0 + ranks.rank)
    torch_dist.broadcast(values, src=0)
    torch.save(values, out / f"{ranks.rank}.pt")


@pytest.mark.skipif(
    sys.platform != "linux", reason="gloo's tcp transport, which only Linux uses"
)
def test_gloo_aborts_on_a_message_that_is_too_long_and_takes_one_that_is_too_short(
    tmp_path: Path,
) -> None:
    with pytest.raises(RankFailedError, match="SIGABRT"):
        dist.launch(broadcast_sizes, [20, 4], tmp_path, num_ranks=2, timeout_s=20)
    # Negative control to "gloo notices it": the rest stays what it was.
    dist.launch(broadcast_sizes, [4, 20], tmp_path, num_ranks=2, timeout_s=20)
    assert torch.load(tmp_path / "1.pt").tolist() == [1.0] * 4 + [2.0] * 16
