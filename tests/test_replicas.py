"""Proofs for distrinews.sync.replicas: a drift is seen, measured and named, cheaply."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from distrinews import dist, model, sync
from distrinews.errors import ReplicasDifferError
from distrinews.sync import replicas

pytestmark = pytest.mark.timeout(120)


def net() -> nn.Module:
    torch.manual_seed(0)
    built = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    return built.append(nn.Embedding(0, 2))  # a tensor without elements


def look(ranks: dist.Ranks, out: Path) -> None:
    results: dict[str, object] = {}
    for case in ("equal", "last bit", "sign of zero", "buffer", "nan", "same nan"):
        replica = net()
        with torch.no_grad():
            if case == "same nan":
                replica[0].bias[0] = math.nan
            if ranks.rank == 1:
                if case == "last bit":
                    weight = replica[2].weight
                    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))
                    replica[2].bias[1] += 0.5  # later in the model's order
                if case == "sign of zero":
                    replica[1].bias[0] = -0.0
                if case == "buffer":
                    replica[1].running_mean[0] = 1.0
                if case == "nan":
                    replica[0].bias[0] = math.nan
        results[f"{case}: gap"] = replicas.max_parameter_gap(replica)
        for name, buffers in ((case, True), (f"{case}: parameters", False)):
            try:
                replicas.assert_replicas_equal(replica, buffers=buffers)
                results[name] = "equal"
            except ReplicasDifferError as error:
                results[name] = error.what
                results[f"{name}: fix"] = error.fix
    torch.save(results, out / f"{ranks.rank}.pt")


def test_a_difference_in_one_bit_is_named_on_every_rank(tmp_path: Path) -> None:
    dist.launch(look, tmp_path, num_ranks=3, timeout_s=60)
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(3)]
    # NaN is not equal to itself: compare what was printed.
    assert str(results[0]) == str(results[1]) == str(results[2])
    first = results[0]
    assert first["equal"] == "equal"
    assert first["equal: gap"] == 0.0
    camps = "first: ranks [0, 2] / ranks [1] hold different values."
    for case, name in {
        "last bit": "2.weight",
        "sign of zero": "1.bias",
        "buffer": "1.running_mean",
        "nan": "0.bias",
    }.items():
        assert first[case] == f"the replicas differ in {name!r} {camps}"
        shares = "sync.broadcast_buffers(model)" in first[f"{case}: fix"]
        assert shares == (case == "buffer")
        if case != "buffer":
            assert first[f"{case}: parameters"] == first[case]
    assert first["buffer: parameters"] == "equal"
    assert first["last bit: gap"] == 0.5  # the largest, not the first
    assert first["buffer: gap"] == 0.0  # it looks at parameters
    assert math.isnan(first["nan: gap"])
    assert first["same nan"] == "equal"


def train_with_batch_norm(ranks: dist.Ranks, out: Path) -> None:
    torch.manual_seed(0)
    healthy = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    replica = sync.wrap_ddp(healthy, ranks)
    optimizer = torch.optim.SGD(healthy.parameters(), lr=0.1)
    results = {}
    for name in ("one step", "drifted"):
        rows = torch.full((4, 3), 1.0 + ranks.rank) * torch.arange(4)[:, None]
        replica(rows).square().sum().backward()
        optimizer.step()
        if name == "drifted" and ranks.rank == 1:
            with torch.no_grad():
                healthy[1].weight[0] += 1
        for buffers in (False, True):
            try:
                replicas.assert_replicas_equal(replica, buffers=buffers)
                results[name, buffers] = "equal"
            except ReplicasDifferError as error:
                results[name, buffers] = error.what.split("'")[1]
    sync.broadcast_buffers(healthy)
    same = dist.gather_objects(healthy[1].running_mean.tolist())
    results["shared", True] = "equal" if same[0] == same[1] else "differ"
    torch.save(results, out / f"{ranks.rank}.pt")


def test_a_healthy_step_with_batch_norm_is_no_drift(tmp_path: Path) -> None:
    dist.launch(train_with_batch_norm, tmp_path, num_ranks=2, timeout_s=60)
    for rank in range(2):
        results = torch.load(tmp_path / f"{rank}.pt")
        assert results["one step", False] == "equal"
        assert results["one step", True] == "module.1.running_mean"
        # Negative control: a parameter that drifts is found, with or without buffers.
        assert results["drifted", False] == "module.1.weight"
        assert results["drifted", True] == "module.1.weight"
        assert results["shared", True] == "equal"


def other_models(ranks: dist.Ranks, out: Path) -> None:
    layers = [nn.Linear(2, 2) for _ in range(1 + ranks.rank)]
    try:
        replicas.assert_replicas_equal(nn.Sequential(*layers))
    except ReplicasDifferError as error:
        (out / str(ranks.rank)).write_text(error.what, encoding="utf-8")


def test_models_of_different_kinds_are_told_apart(tmp_path: Path) -> None:
    dist.launch(other_models, tmp_path, num_ranks=2, timeout_s=60)
    texts = {path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 2
    assert len(texts) == 1
    assert "number of tensors" in texts.pop()


def test_the_checksum_costs_less_than_a_hundredth_of_a_step() -> None:
    replica = model.build("tiny", dropout=0.0, vocabulary_size=30_000)
    size = sum(param.nbytes for param in replica.parameters())
    began = time.perf_counter()
    replicas.assert_replicas_equal(replica)
    seconds = time.perf_counter() - began
    # minilm: 91 MB, and a step of 0.3 s. Once in 100 steps is 30 s; measured 0.1 s.
    assert seconds * (91e6 / size) < 3.0
