"""Proofs for distrinews.metrics.evaluation: every row once, whoever counts it.

WHY 1,003 rows: none of 2, 3 and 5 divides it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler

from distrinews import dist, model, sharding, training
from distrinews.config.settings import TrainSettings
from distrinews.data.tokenised import TokenTable
from distrinews.errors import SettingsError
from distrinews.metrics.evaluation import evaluate
from distrinews.training import corpus

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
    counts = evaluate(net, table, ranks)
    results: dict[str, Any] = {
        "confusion": counts.confusion,
        "loss": counts.loss,
        "training": net.training,
        "refused": "",
    }
    if ranks.world_size == 2:
        try:
            evaluate(DistributedDataParallel(net), table, ranks)
        except SettingsError as error:
            results["refused"] = str(error)
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
        if len(results) == 2:
            assert "evaluate(replica.module" in result["refused"]


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
    losses = {evaluate(net, splits.test, ALONE, rows=few).loss for _ in range(2)}
    assert len(losses) == 1
    assert net.training
    net.eval()
    assert evaluate(net, splits.test, ALONE, rows=few).loss in losses
    assert not net.training
    # Negative control: with dropout two passes differ.
    net.train()
    inputs, _ = splits.test.batch(few, device=ALONE.device)
    assert not torch.equal(net(**inputs).logits, net(**inputs).logits)


def test_training_mode_comes_back_also_when_the_model_fails(
    splits: corpus.Splits, saved: Path
) -> None:
    net = model.build("tiny", dropout=0.1, vocabulary_size=6).train()
    with pytest.raises(IndexError):  # token ids beyond its six pieces
        evaluate(net, splits.test, ALONE)
    assert net.training


def test_rows_choose_which_rows_are_counted(splits: corpus.Splits, saved: Path) -> None:
    net = model.build("tiny", dropout=0.4, vocabulary_size=VOCABULARY)
    chosen = [5, 900, 17]
    counts = evaluate(net, splits.test, ALONE, rows=chosen)
    want = torch.bincount(torch.tensor(splits.test.labels[chosen]), minlength=4)
    assert torch.equal(counts.confusion.sum(dim=1), want)
    assert counts.num_rows == 3
