"""Proofs for distrinews.sync.wrappers: DDP as chapter 05 sets it, a hook a gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist, sync
from distrinews.errors import MissingGradientError
from distrinews.sync import wrappers
from distrinews.sync.wrappers import HookedModule

pytestmark = pytest.mark.timeout(120)

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "copies": {"gradient_as_bucket_view": False},
    "one bucket": {"bucket_cap_mb": 1000},
}


def wrap_in_turn(ranks: dist.Ranks, out: Path) -> None:
    """Rank r's rows are three times (r + 1, r + 1)."""
    rows = torch.full((3, 2), 1.0 + ranks.rank)
    results: dict[str, Any] = {}
    for name, options in OPTIONS.items():
        torch.manual_seed(ranks.rank)  # rank 0's weights must win
        net = nn.Linear(2, 1)
        replica = sync.wrap_ddp(net, ranks, **options)
        assert isinstance(replica, DistributedDataParallel)
        replica(rows).sum().backward()
        results[name] = {
            "weight": net.weight.detach(),
            "gradient": net.weight.grad,
            "views": replica.gradient_as_bucket_view,
            "mib": replica.bucket_bytes_cap / 2**20,
        }
    bare = nn.Linear(2, 1)
    bare(rows).sum().backward()
    results["bare"] = bare.weight.grad
    torch.save(results, out / f"{ranks.rank}.pt")


def test_two_ranks_get_ddp_with_bucket_views_and_what_else_they_ask_for(
    tmp_path: Path,
) -> None:
    dist.launch(wrap_in_turn, tmp_path, num_ranks=2, timeout_s=60)
    by_rank = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for results in by_rank:
        for name in OPTIONS:
            assert torch.equal(results[name]["weight"], by_rank[0][name]["weight"])
            assert results[name]["gradient"].tolist() == [[4.5, 4.5]]  # of 3 and 6
        assert {n: results[n]["views"] for n in OPTIONS} == {
            "plain": True,
            "copies": False,
            "one bucket": True,
        }
        assert [results[n]["mib"] for n in OPTIONS] == [25, 25, 1000]
    # Negative control: the bare model's gradient is the rank's own.
    assert [results["bare"][0, 0] for results in by_rank] == [3, 6]


def test_alone_there_is_nobody_to_meet_and_the_model_stays_bare() -> None:
    net = nn.Linear(2, 1)
    alone = dist.Ranks(0, 0, world_size=1, device=torch.device("cpu"))
    assert sync.wrap_ddp(net, alone, find_unused_parameters=True) is net
    with sync.no_sync_unless(False, replica=net):  # accumulation reads the same alone
        net(torch.ones(1, 2)).sum().backward()
    assert net.bias.grad is not None
    # It moves to the rank's device, in place: the optimizer keeps its parameters.
    meta = dist.Ranks(0, 0, world_size=1, device=torch.device("meta"))
    assert sync.wrap_ddp(net, meta) is net
    assert net.weight.device.type == "meta"


class Recording(nn.Module):
    """In place of torch's DDP: keeps what it was given."""

    def __init__(self, module: nn.Module, **options: Any) -> None:
        super().__init__()
        self.module, self.options = module, options


@pytest.mark.parametrize("flag", [True, False])
def test_on_gpus_the_flag_converts_batch_norm_and_keeps_its_state(
    flag: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No GPU here: the model stays on the CPU, and DDP is only called."""
    monkeypatch.setattr(wrappers, "DistributedDataParallel", Recording)
    monkeypatch.setattr(nn.Module, "to", lambda self, device: self)
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    gpu = dist.Ranks(1, local_rank=1, world_size=2, device=torch.device("cuda", 1))
    replica = sync.wrap_ddp(net, gpu, sync_batch_norm=flag)
    assert isinstance(replica, Recording)
    assert replica.options == {"device_ids": [1], "gradient_as_bucket_view": True}
    assert isinstance(replica.module[0], nn.SyncBatchNorm) == flag
    assert replica.module[1] is net[1]
    after = replica.module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert caplog.text == ""


@pytest.mark.parametrize("flag", [True, False])
def test_on_cpus_the_flag_leaves_batch_norm_and_warns_once(
    flag: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wrappers, "DistributedDataParallel", Recording)
    net = nn.Sequential(nn.BatchNorm1d(2))
    for rank in range(2):
        ranks = dist.Ranks(rank, rank, world_size=2, device=torch.device("cpu"))
        replica = sync.wrap_ddp(net, ranks, sync_batch_norm=flag)
        assert isinstance(replica, Recording)
        assert replica.options["device_ids"] is None
        assert type(replica.module[0]) is nn.BatchNorm1d
    assert caplog.text.count("SyncBatchNorm for GPUs only") == int(flag)


class Recorded(HookedModule):
    """Writes down what its hooks call, though it is alone."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.calls: list[str] = []
        for name, param in module.named_parameters():
            self._register_hook(name, param)

    def _begin_backward(self) -> None:
        self.calls.append("begin")

    def _take_gradient(self, name: str, param: nn.Parameter) -> None:
        assert param.grad is not None
        self.calls.append(f"{name} {param.grad.sum().item():g}")

    def _finish_backward(self) -> None:
        self.calls.append("finish")


def test_every_gradient_is_taken_once_it_holds_all_micro_batches() -> None:
    net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    nn.init.ones_(net[1].weight)
    replica = Recorded(net)
    row = torch.ones(1, 1)
    with replica.no_sync():
        replica(row).sum().backward()
    assert replica.calls == []  # negative control: without meeting no hook acts
    replica(row).sum().backward()
    assert (replica.calls[0], replica.calls[-1]) == ("begin", "finish")
    taken = sorted(replica.calls[1:-1])
    # Twice 1: what the micro-batch before left is in it.
    assert taken[:3] == ["0.bias 2", "0.weight 2", "1.bias 2"]
    assert len(taken) == 4
    replica.calls.clear()
    replica(row).sum().backward()
    assert len(replica.calls) == 6  # and so in every backward


def test_what_the_loss_did_not_use_is_named_in_the_models_order() -> None:
    replica = HookedModule(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)))
    with pytest.raises(
        MissingGradientError, match=r"to 2 of .*\['0.bias', '1.weight'\]"
    ):
        replica._raise_unused({"1.weight", "0.bias"})
    replica._raise_unused(set())  # negative control
