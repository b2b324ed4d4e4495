"""Proofs that any model, optimizer, schedule and extra value comes back equal.

Own models and torch's own optimizers and schedules; nothing of the course.
"""

from __future__ import annotations

import collections
import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.like_windows import sitecustomize as windows
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim import lr_scheduler as schedules
from torch.optim.swa_utils import SWALR, AveragedModel

from distrinews import checkpoint, dist, sharding
from distrinews.checkpoint import encoding
from distrinews.errors import CheckpointError, DistriNewsError

pytestmark = pytest.mark.timeout(120)

STEPS_BEFORE, STEPS = 3, 9


def new_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))


OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "AdamW": torch.optim.AdamW,
    "AdamW, rate as tensor": lambda p: torch.optim.AdamW(
        p, lr=torch.tensor(0.1), foreach=False
    ),
    "Adafactor": torch.optim.Adafactor,
    "NAdam": torch.optim.NAdam,
    "Rprop": torch.optim.Rprop,
}
SCHEDULES: dict[str, Callable[[Optimizer], Any]] = {
    "none": lambda _: None,
    "LambdaLR": lambda o: schedules.LambdaLR(o, lambda step: 1 / (1 + step)),
    "MultiStepLR": lambda o: schedules.MultiStepLR(o, [2, 5]),
    "SequentialLR": lambda o: schedules.SequentialLR(
        o, [schedules.LinearLR(o, total_iters=2), schedules.MultiStepLR(o, [2, 4])], [2]
    ),
    "ChainedScheduler": lambda o: schedules.ChainedScheduler([
        schedules.MultiStepLR(o, [2, 5]),
        schedules.ExponentialLR(o, 0.9),
    ]),
    "CyclicLR": lambda o: schedules.CyclicLR(o, 0.01, 0.1, cycle_momentum=False),
    "OneCycleLR": lambda o: schedules.OneCycleLR(
        o, 0.1, total_steps=20, cycle_momentum=False
    ),
    "CosineAnnealingWarmRestarts": lambda o: schedules.CosineAnnealingWarmRestarts(
        o, 3
    ),
    "ReduceLROnPlateau": lambda o: schedules.ReduceLROnPlateau(o, patience=1),
    "SWALR": lambda o: SWALR(o, 0.01),
}


class Trainer:
    """A model, an optimizer and a schedule."""

    def __init__(self, optimizer: str = "SGD", schedule: str = "none") -> None:
        self.net = new_net()
        self.optimizer = OPTIMIZERS[optimizer](self.net.parameters())
        self.scheduler = SCHEDULES[schedule](self.optimizer)
        self.rates: list[float] = []

    def train(self, steps: range) -> None:
        for step in steps:
            generator = torch.Generator().manual_seed(step)
            self.optimizer.zero_grad()
            self.net(torch.randn(5, 6, generator=generator)).square().mean().backward()
            self.optimizer.step()
            self.rates.append(float(self.optimizer.param_groups[0]["lr"]))
            if isinstance(self.scheduler, schedules.ReduceLROnPlateau):
                self.scheduler.step(1.0)
            elif self.scheduler is not None:
                self.scheduler.step()

    def state(self, **extra: Any) -> checkpoint.TrainingState:
        return checkpoint.TrainingState(
            self.net, self.optimizer, self.scheduler, extra=extra
        )


def weights(net: nn.Module) -> torch.Tensor:
    return torch.cat([value.double().flatten() for value in net.state_dict().values()])


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [*((name, "none") for name in OPTIMIZERS), *(("SGD", name) for name in SCHEDULES)],
)
def test_a_resumed_run_has_the_rates_and_the_bits_of_an_undisturbed_one(
    tmp_path: Path, optimizer: str, schedule: str
) -> None:
    whole = Trainer(optimizer, schedule)
    checkpoint.save(tmp_path, whole.state(), step=0)  # before the first step, too
    whole.train(range(STEPS_BEFORE))
    checkpoint.save(tmp_path, whole.state(), step=STEPS_BEFORE)
    whole.train(range(STEPS_BEFORE, STEPS))
    resumed = Trainer(optimizer, schedule)
    assert checkpoint.restore(tmp_path, resumed.state()) == STEPS_BEFORE
    resumed.train(range(STEPS_BEFORE, STEPS))
    assert resumed.rates == whole.rates[STEPS_BEFORE:]
    assert torch.equal(weights(whole.net), weights(resumed.net))
    assert not torch.equal(weights(whole.net), weights(Trainer().net))


def test_json_alone_would_change_the_rates_of_a_nested_schedule() -> None:
    """Negative control: the milestones' keys would become strings."""
    whole, resumed = Trainer(schedule="SequentialLR"), Trainer(schedule="SequentialLR")
    whole.train(range(STEPS_BEFORE))
    state = json.loads(json.dumps(whole.scheduler.state_dict()))
    resumed.optimizer.load_state_dict(whole.optimizer.state_dict())
    resumed.scheduler.load_state_dict(state)
    whole.train(range(STEPS_BEFORE, STEPS))
    resumed.train(range(STEPS_BEFORE, STEPS))
    assert resumed.rates != whole.rates[STEPS_BEFORE:]


def test_without_a_best_step_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        checkpoint.save(tmp_path, Trainer().state(), step=step)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["step-00000003", "step-00000004"]


# --- Tied weights, wrappers -------------------------------------------------------


class Tied(nn.Module):
    """A decoder whose weight is the embedding's, unless it is told otherwise."""

    def __init__(self, *, is_tied: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.decoder = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
        if is_tied:
            self.decoder.weight = self.embedding.weight


def state_of(net: nn.Module) -> checkpoint.TrainingState:
    return checkpoint.TrainingState(net, torch.optim.SGD(net.parameters(), lr=0.1))


def test_tied_weights_are_written_once_and_come_back_tied(tmp_path: Path) -> None:
    net = Tied()
    checkpoint.save(tmp_path, state_of(net), step=1)
    [folder] = tmp_path.iterdir()
    assert list(load_file(folder / "weights.safetensors")) == ["embedding.weight"]
    other = Tied()
    nn.init.zeros_(other.decoder.weight)
    checkpoint.restore(tmp_path, state_of(other))
    assert torch.equal(other.embedding.weight, net.embedding.weight)
    assert other.decoder.weight is other.embedding.weight


def test_weights_that_were_not_tied_are_refused_where_they_are(tmp_path: Path) -> None:
    """One of both would be lost; the optimizer has one parameter more, too."""
    net = Tied(is_tied=False)
    frozen = checkpoint.TrainingState(
        net, torch.optim.SGD([net.embedding.weight], lr=0.1)
    )
    checkpoint.save(tmp_path, frozen, step=1)
    with pytest.raises(CheckpointError, match="after loading, weights.embedding"):
        checkpoint.restore(tmp_path, state_of(Tied()))


def compiled(net: nn.Module) -> Any:
    return torch.compile(net, backend="eager")  # it needs no compiler


WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    "bare": lambda net: net,
    "DataParallel": nn.DataParallel,
    "compiled": compiled,
    "compiled in a wrapper": lambda net: nn.DataParallel(compiled(net)),
    "a compiled part": lambda net: nn.Sequential(compiled(net[0]), *net[1:]),
}


@pytest.mark.parametrize("saved", WRAPPERS)
@pytest.mark.parametrize("resumed", WRAPPERS)
def test_names_are_those_of_the_bare_model_whatever_wraps_it(
    tmp_path: Path, saved: str, resumed: str
) -> None:
    net = WRAPPERS[saved](new_net())
    with torch.no_grad():
        next(net.parameters()).add_(1)
    checkpoint.save(tmp_path, state_of(net), step=1)
    [folder] = tmp_path.iterdir()
    written = load_file(folder / "weights.safetensors")
    assert written.keys() == new_net().state_dict().keys()
    other = WRAPPERS[resumed](new_net())
    checkpoint.restore(tmp_path, state_of(other))
    assert torch.equal(weights(other), weights(net))
    only = WRAPPERS[resumed](new_net())
    checkpoint.load_weights(folder, model=only)
    assert torch.equal(weights(only), weights(net))


def test_a_wrapper_has_other_names() -> None:
    """Negative control."""
    names = WRAPPERS["compiled in a wrapper"](new_net()).state_dict()
    assert "module._orig_mod.0.weight" in names


def save_from_ddp(ranks: dist.Ranks, out: Path) -> None:
    """Save a DDP wrapper; then states that differ between the ranks."""
    net = new_net()
    replica = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(replica.parameters(), lr=0.1)
    checkpoint.save(
        out / "wrapped", checkpoint.TrainingState(replica, optimizer), step=1
    )
    problems = []
    plateau = schedules.ReduceLROnPlateau(optimizer)
    plateau.step(1.0 + ranks.rank)  # each rank's own loss
    for differs in ({"scheduler": plateau}, {"extra": {"rows": ranks.rank}}):
        state = checkpoint.TrainingState(net, optimizer, **differs)  # type: ignore[arg-type]
        try:
            checkpoint.save(out / "differing", state, step=1)
            problems.append("")
        except CheckpointError as error:
            problems.append(error.what)
    unsaved = {"extra": {"f": print}} if ranks.rank == 1 else {"extra": {"f": 1}}
    try:
        state = checkpoint.TrainingState(net, optimizer, **unsaved)  # type: ignore[arg-type]
        checkpoint.save(out / "differing", state, step=1)
    except CheckpointError as error:
        problems.append(error.what)
    (out / f"{ranks.rank}.json").write_text(json.dumps(problems), encoding="utf-8")


def test_ddps_names_are_left_out_and_what_differs_between_ranks_is_refused_on_all(
    tmp_path: Path,
) -> None:
    dist.launch(save_from_ddp, tmp_path, num_ranks=2, timeout_s=60)
    [folder] = (tmp_path / "wrapped").iterdir()
    written = load_file(folder / "weights.safetensors")
    assert written.keys() == new_net().state_dict().keys()
    for rank in range(2):
        said = json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8"))
        assert "differ between ranks: ['scheduler']" in said[0]
        assert """differ between ranks: ["extra['rows']"]""" in said[1]
        assert "extra.f is builtin_function_or_method" in said[2]
    assert not (tmp_path / "differing").exists()


# --- Extra ------------------------------------------------------------------------


def test_extra_objects_are_filled_in_place_and_numbers_are_replaced(
    tmp_path: Path,
) -> None:
    def extras(start: float) -> dict[str, Any]:
        torch.manual_seed(0)
        average = AveragedModel(nn.Linear(2, 1))
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0 + start)
        with torch.no_grad():
            average.module.weight.fill_(start)
        return {
            "average": average,
            "scaler": scaler,
            "history": [start],
            "counts": {1: start, "rows": (3, start)},
            "prior": torch.full((2,), start),
            "best": start,
            "compiled": compiled(nn.Linear(2, 1)),
        }

    saved, resumed = extras(4.0), extras(0.0)
    before = {name: resumed[name] for name in resumed if name != "best"}
    checkpoint.save(tmp_path, Trainer().state(**saved), step=1)
    state = Trainer().state(**resumed)
    checkpoint.restore(tmp_path, state)
    assert all(state.extra[name] is value for name, value in before.items())
    assert resumed["average"].module.weight.tolist() == [[4.0, 4.0]]
    assert resumed["scaler"].get_scale() == 6.0
    assert resumed["history"] == [4.0]
    assert resumed["counts"] == {1: 4.0, "rows": (3, 4.0)}
    assert resumed["prior"].tolist() == [4.0, 4.0]
    assert state.extra["best"] == 4.0


def test_an_extra_that_only_one_of_both_has_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, Trainer().state(ema=1), step=1)
    with pytest.raises(CheckpointError, match=r"extra is \['ema'\], here \[\]"):
        checkpoint.restore(tmp_path, Trainer().state())


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (("SGD", "none"), ("AdamW", "none"), "its optimizer is SGD, here is AdamW"),
        (("SGD", "none"), ("SGD", "SWALR"), "its scheduler is NoneType"),
        (("SGD", "LambdaLR"), ("SGD", "none"), "here is NoneType"),
    ],
)
def test_another_optimizer_or_schedule_is_refused_by_name(
    tmp_path: Path, one: tuple[str, str], other: tuple[str, str], said: str
) -> None:
    checkpoint.save(tmp_path, Trainer(*one).state(), step=1)
    with pytest.raises(CheckpointError, match=said):
        checkpoint.restore(tmp_path, Trainer(*other).state())


@pytest.mark.parametrize("wraps", [WRAPPERS["bare"], compiled])
def test_a_parameter_of_another_shape_is_named(
    tmp_path: Path, wraps: Callable[[nn.Module], nn.Module]
) -> None:
    def state(*widths: int) -> checkpoint.TrainingState:
        layers = [nn.Linear(6, 8), *(nn.Linear(8, width) for width in widths)]
        return state_of(wraps(nn.Sequential(*layers)))

    checkpoint.save(tmp_path, state(3), step=1)
    with pytest.raises(CheckpointError, match=r"1\.weight has shape \[3, 8\], here"):
        checkpoint.restore(tmp_path, state(4))
    said = "its optimizer has 4 parameters, here 6"
    with pytest.raises(CheckpointError, match=said):
        checkpoint.restore(tmp_path, state(3, 8))
    assert checkpoint.restore(tmp_path, state(3)) == 1  # negative control


def test_averages_that_torch_would_round_are_refused(tmp_path: Path) -> None:
    """`load_state_dict` casts them to the type of the weights, without a word."""

    def state(average: float) -> checkpoint.TrainingState:
        net = nn.Linear(2, 1).to(torch.bfloat16)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        momentum = torch.full((1, 2), average)  # float32
        optimizer.state[net.weight]["momentum_buffer"] = momentum
        return checkpoint.TrainingState(net, optimizer)

    checkpoint.save(tmp_path, state(0.1), step=1)
    said = r"optimizer.state.0.momentum_buffer was torch.float32 .* torch.bfloat16"
    with pytest.raises(CheckpointError, match=said):
        checkpoint.restore(tmp_path, state(0.0))


def test_pythons_and_numpys_random_numbers_go_on(tmp_path: Path) -> None:
    def draw() -> list[float]:
        drawn = [random.gauss(0, 1), np.random.normal(), float(torch.rand(1))]
        return [*drawn, random.random(), np.random.random()]

    draw()  # an odd number of normal ones: the second of a pair is kept, too
    checkpoint.save(tmp_path, Trainer().state(), step=1)
    expected, after = draw(), draw()
    assert expected != after  # negative control
    checkpoint.restore(tmp_path, Trainer().state())
    assert draw() == expected


# --- Refused at once --------------------------------------------------------------


class Point(collections.namedtuple("Point", "x y")):
    """A type that would come back as another."""


REFUSED = {
    "a function": len,
    "an object": Trainer,
    "a named tuple": Point(1, 2),
    "a path": Path("x"),
    "a default": collections.defaultdict(int),
    "a random generator": np.random.default_rng(0),
    "a parameter": nn.Parameter(torch.ones(2)),
    "a sparse tensor": torch.eye(2).to_sparse(),
    "a meta tensor": torch.empty(2, device="meta"),
    "an array of objects": np.array([None]),
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_what_could_not_come_back_is_refused_by_name_and_nothing_is_written(
    tmp_path: Path, value: object
) -> None:
    state = Trainer().state(deep=[{"er": value}])
    with pytest.raises(CheckpointError, match=r"extra\.deep\.0\.er is "):
        checkpoint.save(tmp_path, state, step=1)
    assert list(tmp_path.iterdir()) == []


def test_a_tree_that_contains_itself_is_refused(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(CheckpointError, match="contains itself"):
        checkpoint.save(tmp_path, Trainer().state(loop=loop), step=1)


def test_what_does_not_read_back_equal_is_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, Trainer().state(), step=1)
    write = checkpoint.folders.save_file

    def damage(tensors: dict[str, torch.Tensor], path: Path) -> None:
        write({name: tensor + 1 for name, tensor in tensors.items()}, path)

    monkeypatch.setattr(checkpoint.folders, "save_file", damage)
    with pytest.raises(CheckpointError, match="does not read back equal: weights.0"):
        checkpoint.save(tmp_path, Trainer().state(), step=2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_sampler_without_positions_is_refused(tmp_path: Path) -> None:
    alone = dist.Ranks(0, 0, 1, torch.device("cpu"))
    state = Trainer().state()
    state.sampler = sharding.ShardSampler(8, alone, seed=0)  # type: ignore[assignment]
    with pytest.raises(CheckpointError, match="ShardSampler cannot say where step 1"):
        checkpoint.save(tmp_path, state, step=1)


# --- Any tree ---------------------------------------------------------------------

FLOATS = st.floats(allow_nan=True, allow_infinity=True)
LEAVES = st.one_of(
    *(st.none(), st.booleans(), st.integers(), FLOATS, st.complex_numbers()),
    *(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.binary()),
    FLOATS.map(np.float64),
    st.integers(0, 9).map(np.int32),
    st.booleans().map(np.bool_),
    st.lists(FLOATS, max_size=3).map(lambda x: torch.tensor(x, dtype=torch.float64)),
    st.lists(st.integers(0, 9), max_size=3).map(lambda x: np.array(x, dtype=np.int16)),
    st.sampled_from([torch.bfloat16, torch.device("cuda:1"), torch.Size([2, 3])]),
    st.sampled_from([torch.ones(2, 3).T, torch.tensor(True), torch.tensor(1.5)]),
)
KEYS = st.one_of(st.text("~ab", max_size=3), st.integers(), st.booleans(), st.none())
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(inner, max_size=3).map(lambda x: collections.deque(x, maxlen=4)),
        st.dictionaries(KEYS, inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3).map(collections.OrderedDict),
        st.dictionaries(KEYS, st.integers(), max_size=3).map(collections.Counter),
        st.sets(st.integers(), max_size=3),
        st.frozensets(st.text("ab"), max_size=3),
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_any_tree_comes_back_equal_through_json(value: Any) -> None:
    tree, tensors = encoding.encode(value, name="x")
    text = json.dumps(tree, allow_nan=False)
    found = encoding.decode(json.loads(text), encoding.on_cpu(tensors))
    assert encoding.difference(value, found, name="x") is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *((1, True), (1, 1.0), (0.0, -0.0), ((1,), [1]), ({1: 2}, {"1": 2})),
        *((1.0, np.float64(1.0)), ({"a": 1}, {}), ({}, {"a": 1}), ([1], [1, 2])),
        (torch.zeros(2), torch.zeros(2, 1)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.tensor([0.0]), torch.tensor([-0.0])),
        (np.zeros(2), np.zeros(2, dtype=np.float32)),
        (collections.OrderedDict(), {}),
    ],
)
def test_what_differs_in_type_key_or_bit_is_called_different(
    one: Any, other: Any
) -> None:
    """Negative control to "comes back equal"."""
    assert encoding.difference([one], [other], name="x") is not None
    assert encoding.difference([one], [one], name="x") is None


# --- Older checkpoints --------------------------------------------------------------

OLD = Path(__file__).parent / "data" / "checkpoint_format1"


def as_the_old_run() -> checkpoint.TrainingState:
    """Built like the run of commit 17599f6 that wrote the old checkpoint."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    scheduler = schedules.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    sampler = sharding.LengthBalancedBatchSampler(
        [3, 5] * 8,
        dist.Ranks(0, 0, 1, torch.device("cpu")),
        global_batch_size=4,
        seed=0,
    )
    extra = {"progress": {"best_accuracy": 0.0}}
    return checkpoint.TrainingState(net, optimizer, scheduler, sampler, extra)


def step_of_the_old_run(state: checkpoint.TrainingState, step: int) -> None:
    state.optimizer.zero_grad()
    rows = torch.arange(12.0).reshape(4, 3) / 10 + step
    state.model(rows).square().sum().backward()
    state.optimizer.step()
    assert state.scheduler is not None
    state.scheduler.step()


def test_a_checkpoint_of_the_first_format_goes_on_where_it_was() -> None:
    resumed, again = as_the_old_run(), as_the_old_run()
    checkpoint.verify(OLD / "step-00000003")
    # Not `restore`: it would remove drafts, and these files are git's.
    assert checkpoint.load_training(OLD / "step-00000003", resumed) == 3
    assert resumed.extra["progress"]["best_accuracy"] == 0.5
    left = list(resumed.sampler)  # type: ignore[call-overload]
    assert left == list(again.sampler)[3:]  # type: ignore[call-overload]
    step_of_the_old_run(resumed, 3)
    torch.manual_seed(0)
    new_weights = again.model.state_dict()
    again = as_the_old_run()
    for step in range(4):
        step_of_the_old_run(again, step)
    for name, value in resumed.model.state_dict().items():
        # WHY not the bits: another processor may round otherwise.
        torch.testing.assert_close(value, again.model.state_dict()[name])
        assert not torch.allclose(value, new_weights[name])  # negative control


def test_an_old_checkpoint_does_not_fit_another_model() -> None:
    with pytest.raises(DistriNewsError, match="does not fit this run"):
        checkpoint.load_training(OLD / "step-00000003", state_of(new_net()))


# --- Windows removes no file that is mapped ------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="the rule is imitated on Linux")
def test_after_a_resume_windows_could_remove_the_checkpoint(tmp_path: Path) -> None:
    trainer = Trainer("AdamW")
    trainer.train(range(1))
    checkpoint.save(tmp_path, trainer.state(average={"mean": torch.ones(3)}), step=1)
    [new] = tmp_path.glob("step-*")
    # `save` read it back, and then renamed its folder.
    assert [path for path in new.iterdir() if windows.is_in_use(path)] == []
    resumed = Trainer("AdamW").state(average={})  # keeps the tensor that it is given
    assert checkpoint.load_training(new, resumed) == 1
    old = tmp_path / "old"
    shutil.copytree(OLD / "step-00000003", old)
    resumed_old = as_the_old_run()
    assert checkpoint.load_training(old, resumed_old) == 3
    paths = [path for folder in (new, old) for path in folder.iterdir()]
    assert [path for path in paths if windows.is_in_use(path)] == []
    assert resumed.extra["average"]["mean"].tolist() == [1, 1, 1]
    # Negative control: what safetensors gives maps the file.
    names = ("optimizer.safetensors", "extra.safetensors")
    mapped = [load_file(new / name) for name in names]
    assert all(mapped)
    assert [windows.is_in_use(new / name) for name in names] == [True, True]
