"""Proofs for metrics.evaluation, training.evaluation: every row once, on any rank.

WHY 1,003 rows: none of 2, 3 and 5 divides it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler, TensorDataset

from distrinews import dist, metrics, model, sharding, sync, training
from distrinews.config.settings import TrainSettings
from distrinews.data.tokenised import TokenTable
from distrinews.errors import DataError, DistriNewsError, RankFailedError
from distrinews.training import corpus, evaluate_table

SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "ag_news"
ALONE = dist.Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))
NUM_TEST_ROWS = 1003
VOCABULARY = 4000  # tiny's at most; of few rows it finds fewer

pytestmark = [pytest.mark.timeout(150), pytest.mark.usefixtures("own_cache")]


def newswire() -> TrainSettings:
    # WHY this dropout: were it on in an evaluation, no two matrices would be equal.
    return TrainSettings(
        preset="tiny", train_rows=320, test_rows=NUM_TEST_ROWS, dropout=0.4
    )


def ag_news() -> TrainSettings:
    return newswire().model_copy(
        update={"data": str(SHARED), "train_rows": 2000, "test_rows": None}
    )


def save_a_model(settings: TrainSettings, file: Path) -> None:
    """A model that answers with all four classes, right and wrong ones."""
    splits = corpus.load(settings)
    training.seed_weights(settings.seed)
    net = model.build("tiny", dropout=0.4, vocabulary_size=VOCABULARY)
    optimizer = training.build_optimizer(net, settings=settings)
    plan = training.Plan(steps_per_epoch=12, num_steps=48, last_step=48)
    scheduler = training.build_scheduler(optimizer, settings=settings, plan=plan)
    for step in range(plan.last_step):
        start = 24 * (step % plan.steps_per_epoch)
        rows = splits.train_rows[start : start + 24]
        inputs, labels = splits.train.batch(rows, device=ALONE.device)
        loss = nn.functional.cross_entropy(net(**inputs).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    torch.save(net.state_dict(), file)


class Answer(NamedTuple):
    logits: torch.Tensor  # [B, 4]


class Bag(nn.Module):
    """A classifier that knows words but no order; it loads no transformers.

    WHY: a rank that loads them takes three times as long to start, and whether rows
    are counted once does not depend on who judges them.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(4000, 4)
        self.drop = nn.Dropout(0.5)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Answer:
        found = self.words(input_ids) * attention_mask[:, :, None]  # [B, T, 4]
        return Answer(self.drop(found).sum(dim=1))


def judge(ranks: dist.Ranks, test: Path, file: Path | None, out: Path) -> None:
    """Evaluate the model saved in `file`, or the bag of words."""
    table = TokenTable(test, pad_id=0)
    net: nn.Module = Bag()
    if file is not None:
        net = model.build("tiny", dropout=0.4, vocabulary_size=VOCABULARY)
        net.load_state_dict(torch.load(file))
    net.train()
    counts = evaluate_table(net, table, ranks)
    results: dict[str, Any] = {
        "confusion": counts.confusion,
        "loss": counts.loss,
        "training": net.training,
    }
    if ranks.world_size == 2:
        # A wrapper's forward may communicate; here rank 0 has a batch more than rank 1.
        wrapped = evaluate_table(DistributedDataParallel(net), table, ranks)
        assert torch.equal(wrapped.confusion, counts.confusion)
    torch.save(results, out / f"{ranks.rank}.pt")


def evaluate_on_ranks(
    test: Path, file: Path | None, out: Path, *, num_ranks: int
) -> list[dict[str, Any]]:
    out.mkdir()
    dist.launch(judge, test, file, out, num_ranks=num_ranks, timeout_s=100)
    return [torch.load(out / f"{rank}.pt") for rank in range(num_ranks)]


@pytest.fixture(scope="module")
def splits() -> corpus.Splits:
    return corpus.load(newswire())


@pytest.fixture(scope="module")
def saved(splits: corpus.Splits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "weights.pt"
    save_a_model(newswire(), file)
    return file


def one_by_one(net: nn.Module, table: TokenTable) -> torch.Tensor:
    """The confusion matrix, counted by a loop over single rows."""
    net.eval()
    counted = torch.zeros(4, 4, dtype=torch.int64)
    with torch.no_grad():
        for row in range(len(table)):
            inputs, labels = table.batch([row], device=ALONE.device)
            counted[int(labels), int(net(**inputs).logits.argmax())] += 1
    assert int(counted.sum()) == NUM_TEST_ROWS
    # Not an empty claim: right and wrong answers, in several classes.
    assert (counted > 0).sum() >= 6
    return counted


def check_all(results: list[dict[str, Any]], want: torch.Tensor) -> None:
    for result in results:
        assert torch.equal(result["confusion"], want)
        assert result["loss"] == results[0]["loss"]
        assert result["training"] is True, "training mode was not restored"


def test_one_and_two_ranks_count_what_a_loop_over_single_rows_counts(
    splits: corpus.Splits, saved: Path, tmp_path: Path
) -> None:
    net = model.build("tiny", dropout=0.4, vocabulary_size=VOCABULARY)
    net.load_state_dict(torch.load(saved))
    want = one_by_one(net, splits.test)
    for num_ranks in (1, 2):
        out = tmp_path / str(num_ranks)
        check_all(
            evaluate_on_ranks(splits.test.path, saved, out, num_ranks=num_ranks), want
        )


@pytest.mark.parametrize("num_ranks", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_every_row_is_counted_once_where_rows_do_not_divide_by_ranks(
    splits: corpus.Splits, tmp_path: Path, num_ranks: int
) -> None:
    want = one_by_one(Bag(), splits.test)
    out = tmp_path / "out"
    check_all(evaluate_on_ranks(splits.test.path, None, out, num_ranks=num_ranks), want)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="needs AG News in ../shared")
@pytest.mark.timeout(600)
def test_all_7600_rows_of_ag_news_are_counted_once_with_1_2_3_and_5_ranks(
    tmp_path: Path,
) -> None:
    file = tmp_path / "weights.pt"
    save_a_model(ag_news(), file)
    test = corpus.load(ag_news()).test.path
    matrices = []
    for num_ranks in (1, 2, 3, 5):
        results = evaluate_on_ranks(
            test, file, tmp_path / str(num_ranks), num_ranks=num_ranks
        )
        matrices += [result["confusion"] for result in results]
    assert len(matrices) == 11
    assert matrices[0].sum(dim=1).tolist() == [1900] * 4
    assert all(torch.equal(matrices[0], other) for other in matrices)


@pytest.mark.parametrize(("num_rows", "counted"), [(7600, 7602), (1003, 1005)])
def test_torchs_sampler_would_count_padding_rows_twice(
    num_rows: int, counted: int
) -> None:
    """Negative control: this is what the exact count is worth."""
    padded: list[int] = []
    exact: list[int] = []
    for rank in range(3):
        sampler: DistributedSampler[int] = DistributedSampler(
            range(num_rows), num_replicas=3, rank=rank, shuffle=False
        )
        padded += list(sampler)
        ranks = dist.Ranks(rank, local_rank=rank, world_size=3, device=ALONE.device)
        batches = sharding.evaluation_batches([7] * num_rows, ranks, batch_size=64)
        exact += [row for batch in batches for row in batch]
    assert len(padded) == counted
    assert len(set(padded)) == num_rows
    assert sorted(exact) == list(range(num_rows))


def test_dropout_is_off_in_an_evaluation_and_on_again_after_it(
    splits: corpus.Splits, saved: Path
) -> None:
    net = model.build("tiny", dropout=0.4, vocabulary_size=VOCABULARY)
    net.load_state_dict(torch.load(saved))
    few = list(range(0, NUM_TEST_ROWS, 20))
    net.train()
    losses = {evaluate_table(net, splits.test, ALONE, rows=few).loss for _ in "ab"}
    assert len(losses) == 1
    assert net.training
    net.eval()
    assert evaluate_table(net, splits.test, ALONE, rows=few).loss in losses
    assert not net.training
    # Negative control: with dropout two passes differ.
    net.train()
    inputs, _ = splits.test.batch(few, device=ALONE.device)
    assert not torch.equal(net(**inputs).logits, net(**inputs).logits)


def test_training_mode_comes_back_also_when_the_model_fails(
    splits: corpus.Splits, saved: Path
) -> None:
    net = model.build("tiny", dropout=0.1, vocabulary_size=6).train()
    # Token ids beyond its six pieces.
    with pytest.raises(RankFailedError, match="IndexError"):
        evaluate_table(net, splits.test, ALONE)
    assert net.training


def test_rows_choose_which_rows_are_counted(splits: corpus.Splits, saved: Path) -> None:
    net = model.build("tiny", dropout=0.4, vocabulary_size=VOCABULARY)
    chosen = [5, 900, 17]
    counts = evaluate_table(net, splits.test, ALONE, rows=chosen)
    want = torch.bincount(torch.tensor(splits.test.labels[chosen]), minlength=4)
    assert torch.equal(counts.confusion.sum(dim=1), want)
    assert counts.num_rows == 3


# --- Any model, any data ----------------------------------------------------------

NUM_ROWS = 7  # two ranks get 4 and 3 rows, three get 2, 2 and 3
CLASSES = ("red", "green", "blue")


def colours() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (NUM_ROWS,), generator=generator)
    return TensorDataset(torch.randn(NUM_ROWS, 2, generator=generator), labels)


class Normed(nn.Module):
    """BatchNorm, and one frozen BatchNorm that must stay so."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 3))
        self.frozen = nn.BatchNorm1d(3).eval()
        self.register_buffer("strided", torch.zeros(2, 3).T)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.frozen(self.layers(rows))  # type: ignore[no-any-return]


def dealt(
    ranks: dist.Ranks, data: Dataset[Any], batch_size: int = 2
) -> DataLoader[Any]:
    plan = sharding.evaluation_batches(NUM_ROWS, ranks, batch_size=batch_size)
    return DataLoader(data, batch_sampler=plan)


def train_normed(
    ranks: dist.Ranks, *, evaluated: bool
) -> tuple[Normed, Any, list[Any]]:
    """Three steps on rows that differ by rank; perhaps an evaluation between them."""
    net, found = Normed(), []
    replica = sync.wrap_ddp(net, ranks)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(ranks.rank)
    for _ in range(3):
        rows = torch.randn(8, 2, generator=generator) * (1 + ranks.rank) + ranks.rank
        optimizer.zero_grad()
        replica(rows).square().mean().backward()
        optimizer.step()
        if evaluated:
            counts = metrics.ClassificationMetrics(CLASSES)
            own_mean = net.layers[0].running_mean.clone()
            before = torch.get_rng_state()
            found = [
                own_mean,
                metrics.evaluate(replica, dealt(ranks, colours()), counts),
            ]
            assert torch.equal(torch.get_rng_state(), before)
            next(iter(dealt(ranks, colours())))  # negative control: a loader draws
            assert not torch.equal(torch.get_rng_state(), before)
    return net, replica, found


def evaluate_any(ranks: dist.Ranks, out: Path) -> None:
    plain, _, _ = train_normed(ranks, evaluated=False)
    own = metrics.ClassificationMetrics(CLASSES)  # F12: each rank by its own statistics
    plain.eval()
    for inputs, labels in dealt(ranks, colours()):
        own.update(plain(inputs).detach(), labels)
    net, replica, (own_mean, counts) = train_normed(ranks, evaluated=True)
    results: dict[str, Any] = {
        "plain": plain.state_dict(),
        "evaluated": net.state_dict(),
        "modes": [module.training for module in net.modules()],
        "own_mean": own_mean,
        "counts": counts.as_dict(),
        "own": own.all_reduce().as_dict(),
    }
    # More ranks than batches: some have none.
    whole = metrics.ClassificationMetrics(CLASSES)
    one_batch = dealt(ranks, colours(), batch_size=NUM_ROWS)
    results["one batch"] = metrics.evaluate(replica, one_batch, whole).num_rows
    data, raised = colours(), {}
    sampler: DistributedSampler[Any] = DistributedSampler(data, shuffle=False)
    wrong = TensorDataset(data.tensors[0], torch.full((NUM_ROWS,), 3))
    cases: dict[str, Any] = {
        "not dealt": DataLoader(data, batch_size=2),
        "length known to rank 1 only": list(dealt(ranks, data))
        if ranks.is_main
        else DataLoader(data, batch_size=2),
        "padded": DataLoader(data, batch_size=2, sampler=sampler),
        "a label of another class on rank 1": dealt(ranks, (data, wrong)[ranks.rank]),
        "a crash on rank 1": dealt(ranks, data) if ranks.is_main else [None],
    }
    for name, batches in cases.items():
        counts = metrics.ClassificationMetrics(CLASSES)
        try:
            metrics.evaluate(replica, batches, counts)
            raised[name] = "nothing"
        except DistriNewsError as error:
            raised[name] = f"{type(error).__name__}: {error.what}"
        assert [module.training for module in net.modules()] == results["modes"]
    # Negative control: without the count a padded evaluation goes through.
    counts = metrics.ClassificationMetrics(CLASSES)
    unchecked = metrics.evaluate(replica, list(cases["padded"]), counts)
    raised["padded, unchecked"] = str(unchecked.num_rows)
    torch.save(results | {"raised": raised}, out / f"{ranks.rank}.pt")


@pytest.fixture(scope="module")
def any_results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("any")
    dist.launch(evaluate_any, out, num_ranks=2, timeout_s=60)
    return [torch.load(out / f"{rank}.pt") for rank in range(2)]


def test_a_model_with_batch_norm_is_counted_as_the_one_that_rank_0_saves(
    any_results: list[dict[str, Any]],
) -> None:
    first, second = any_results
    saved = Normed().eval()
    saved.load_state_dict(first["evaluated"])
    want = metrics.ClassificationMetrics(CLASSES)
    inputs, labels = colours().tensors
    want.update(saved(inputs).detach(), labels)
    for result in any_results:
        assert result["counts"]["confusion_matrix"] == want.confusion.tolist()
        assert result["counts"]["loss"] == pytest.approx(want.loss, rel=1e-6)
        assert result["counts"]["rows"] == result["one batch"] == NUM_ROWS
    # Negative control: with its own statistics each rank was another model.
    assert not torch.equal(first["own_mean"], second["own_mean"])
    assert first["own"]["loss"] != pytest.approx(want.loss, rel=1e-3)


def test_an_evaluation_changes_nothing_in_the_training(
    any_results: list[dict[str, Any]],
) -> None:
    first, second = any_results
    for name, tensor in first["plain"].items():
        assert torch.equal(tensor, first["evaluated"][name]), name
        # The last step was evaluated: all ranks hold what rank 0 holds.
        assert torch.equal(tensor, second["evaluated"][name]), name
    # In training: the net, its layers, and not the frozen one (the last module).
    assert first["modes"] == [True, True, True, True, False]


def test_an_error_on_one_rank_and_a_wrong_number_of_rows_are_raised_on_all(
    any_results: list[dict[str, Any]],
) -> None:
    for result in any_results:
        raised = result["raised"]
        counted = "rows were counted over all ranks, not 7."
        assert raised["not dealt"] == f"DataError: 14 {counted}"
        # Rank 0 counted 4 rows and cannot know how many there are.
        assert raised["length known to rank 1 only"] == f"DataError: 11 {counted}"
        assert raised["padded"] == f"DataError: 8 {counted}"
        assert raised["padded, unchecked"] == "8"
        label = raised["a label of another class on rank 1"]
        assert label == "DataError: labels from 3 to 3 for 3 classes."
        assert raised["a crash on rank 1"].startswith(
            "RankFailedError: rank 1 raised TypeError"
        )


class Scores:
    """A figure of one's own: every prediction, in the order of the rows."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.values: list[float] = []

    @property
    def num_rows(self) -> int:
        return len(self.rows)

    def update(self, values: torch.Tensor, rows: torch.Tensor) -> None:
        self.values += values.tolist()
        self.rows += rows.tolist()

    def all_reduce(self) -> Scores:
        total = Scores()
        total.values = metrics.gather(self.values, rows=self.rows)
        total.rows = list(range(len(total.values)))
        return total


def test_other_batches_and_figures_of_ones_own_need_only_a_forward() -> None:
    net = nn.Linear(2, 1)
    inputs = colours().tensors[0]
    batches = [{"x": inputs[rows], "row": rows} for rows in ALL_ROWS.split(3)]

    def forward(model: nn.Module, batch: Any) -> tuple[Any, ...]:
        return model(batch["x"])[:, 0], batch["row"]

    scores = metrics.evaluate(net, batches, Scores(), forward=forward, num_rows=7)
    assert scores.values == pytest.approx(net(inputs)[:, 0].tolist())
    with pytest.raises(DataError, match="7 rows were counted over all ranks, not 6"):
        metrics.evaluate(net, batches, Scores(), forward=forward, num_rows=6)


ALL_ROWS = torch.arange(NUM_ROWS)


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 1)

    def forward(self, *, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        # What a model keeps of an evaluation must be usable in training.
        self.kept = left * 1
        return self.net(left * right)[:, 0]  # type: ignore[no-any-return]


def test_inputs_by_name_and_what_a_model_keeps_of_an_evaluation() -> None:
    net = Named()
    inputs, labels = colours().tensors
    pairs = [({"left": inputs, "right": inputs}, labels.float())]
    got = metrics.evaluate(net, pairs, metrics.RegressionMetrics(), num_rows=NUM_ROWS)
    with torch.no_grad():
        want = (net(left=inputs, right=inputs) - labels).square().mean()
    assert got.mse == pytest.approx(want.item(), rel=1e-6)
    metrics.evaluate(net, pairs, metrics.RegressionMetrics())
    net.net(net.kept).sum().backward()  # inference tensors would raise here


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
def test_the_model_is_found_in_every_wrapper_that_communicates() -> None:
    class Silent(sync.Overlapped):
        def forward(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("the wrapper was called")

    net = Normed()
    wrapped = Silent(net)
    data = colours()
    for wrapper in (wrapped, torch.compile(wrapped)):
        counts = metrics.ClassificationMetrics(CLASSES)
        total = metrics.evaluate(wrapper, dealt(ALONE, data), counts)
        assert total.num_rows == NUM_ROWS
    with pytest.raises(AssertionError, match="was called"):  # negative control
        wrapped(data.tensors[0])
