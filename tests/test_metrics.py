"""Proofs for distrinews.metrics: counts are added, ratios are taken once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn
from sklearn.calibration import calibration_curve
from torch.nn import functional as F

from distrinews import dist, metrics
from distrinews.data.labels import LABEL_NAMES
from distrinews.errors import DataError

CLASSES = list(range(4))


def rows(num_rows: int, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are right more often than not, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (num_rows,), generator=generator)
    logits = torch.randn(num_rows, 4, generator=generator)
    logits[torch.arange(num_rows), labels] += 1.0
    return logits, labels


def only(label: int, predicted: int) -> tuple[torch.Tensor, torch.Tensor]:
    return F.one_hot(torch.full((9,), predicted), 4).float(), torch.full((9,), label)


def without(logits: torch.Tensor, *, class_: int) -> torch.Tensor:
    return logits.index_fill(1, torch.tensor([class_]), -99.0)


RANDOM = rows(500, seed=1)
# The first 37 rows are answered badly: two ranks of unlike luck.
UNEVEN = (torch.cat([RANDOM[0][:37].flip(1), RANDOM[0][37:]]), RANDOM[1])
CASES = {
    "random": RANDOM,
    "few": rows(3, seed=2),
    "one row": rows(1, seed=3),
    "a class never said": (without(RANDOM[0], class_=2), RANDOM[1]),
    "a class never true": (RANDOM[0], RANDOM[1].clamp(max=2)),
    "a class neither": (without(RANDOM[0], class_=3), RANDOM[1].clamp(max=2)),
    "all right": only(1, predicted=1),
    "all wrong": only(1, predicted=3),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("parts", [1, 2, 7])
def test_every_figure_equals_scikit_learns_however_the_rows_are_cut(
    case: str, parts: int
) -> None:
    logits, labels = CASES[case]
    counts = metrics.ClassificationMetrics(LABEL_NAMES)
    # WHY unequal parts: equal ones would forgive a mean of means.
    cuts = sorted(np.random.default_rng(0).integers(0, len(labels) + 1, parts - 1))
    for batch in np.split(np.arange(len(labels)), cuts):
        counts.update(logits[batch], labels[batch])
    true, predicted = labels.numpy(), logits.argmax(dim=1).numpy()
    options = {"labels": CLASSES, "zero_division": 0}
    want = sklearn.confusion_matrix(true, predicted, labels=CLASSES)
    assert counts.confusion.tolist() == want.tolist()
    assert counts.num_rows == len(labels)
    assert counts.accuracy == pytest.approx(sklearn.accuracy_score(true, predicted))
    macro = sklearn.f1_score(true, predicted, average="macro", **options)
    assert counts.macro_f1 == pytest.approx(macro)
    by_class = sklearn.f1_score(true, predicted, average=None, **options)
    assert list(counts.f1_by_class) == list(LABEL_NAMES)
    assert list(counts.f1_by_class.values()) == pytest.approx(by_class.tolist())
    for name, result in (
        ("precision", counts.precision_by_class),
        ("recall", counts.recall_by_class),
    ):
        want = getattr(sklearn, f"{name}_score")(
            true, predicted, average=None, **options
        )
        assert list(result.values()) == pytest.approx(want.tolist())
    # By hand and in NumPy: minus the log of the true class's softmax.
    exact = logits.double().numpy()
    right = exact[np.arange(len(true)), true]
    losses = np.log(np.exp(exact).sum(axis=1)) - right
    assert counts.loss == pytest.approx(losses.mean(), rel=1e-9)


def test_the_mean_of_the_parts_accuracies_is_not_the_accuracy() -> None:
    """Negative control: 1 of 1 right and 0 of 3 right are 1/4, not 1/2."""
    logits = torch.eye(4)[[0, 0, 0, 0]]
    labels = torch.tensor([0, 1, 2, 3])
    parts = [
        metrics.ClassificationMetrics(LABEL_NAMES),
        metrics.ClassificationMetrics(LABEL_NAMES),
    ]
    parts[0].update(logits[:1], labels[:1])
    parts[1].update(logits[1:], labels[1:])
    whole = metrics.ClassificationMetrics(LABEL_NAMES)
    whole.update(logits, labels)
    assert whole.accuracy == 0.25
    assert sum(part.accuracy for part in parts) / 2 == 0.5


def test_macro_f1_sees_a_forgotten_class_that_accuracy_hides() -> None:
    """Ninety of class 0, ten of class 1, and the model always says 0."""
    counts = metrics.ClassificationMetrics(LABEL_NAMES)
    counts.update(torch.eye(4)[[0] * 100], torch.tensor([0] * 90 + [1] * 10))
    assert counts.accuracy == 0.9
    # F1 of class 0 by hand: 2 * 90 / (90 + 100); the others are 0.
    assert counts.macro_f1 == pytest.approx(180 / 190 / 4)


def test_the_calibration_error_is_the_gap_between_sure_and_right() -> None:
    """Four rows, 0.7 sure each and half of them right: a gap of 0.2; one more, 1.0."""
    surely = torch.tensor([0.7, 0.1, 0.1, 0.1]).log()
    counts = metrics.ClassificationMetrics(LABEL_NAMES)
    counts.update(surely.repeat(4, 1), torch.tensor([0, 0, 1, 2]))
    assert counts.calibration_error == pytest.approx(0.2)
    counts.update(
        torch.tensor([[500.0, 0, 0, 0]]), torch.tensor([0])
    )  # right, and sure
    assert counts.calibration_error == pytest.approx(0.2 * 4 / 5)


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_the_calibration_error_is_that_of_scikit_learns_bins(parts: int) -> None:
    logits, labels = UNEVEN
    counts = metrics.ClassificationMetrics(LABEL_NAMES)
    for batch in np.array_split(np.arange(len(labels)), parts):
        counts.update(logits[batch], labels[batch])
    sure = logits.double().softmax(dim=1).numpy()
    right = sure.argmax(axis=1) == labels.numpy()
    confidence = sure.max(axis=1)
    # calibration_curve gives each bin's accuracy and confidence; weigh them by rows.
    accuracy, mean = calibration_curve(right, confidence, n_bins=15)
    edges = np.linspace(0, 1, 16)
    rows = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=15)
    want = (abs(accuracy - mean) * rows[rows > 0]).sum() / len(labels)
    assert want > 0.05
    assert counts.calibration_error == pytest.approx(want)


def test_an_empty_tally_is_all_zero_and_json_can_hold_it() -> None:
    result = json.loads(
        json.dumps(metrics.ClassificationMetrics(LABEL_NAMES).as_dict())
    )
    assert (
        result["rows"]
        == result["loss"]
        == result["accuracy"]
        == result["macro_f1"]
        == 0
    )
    assert result["confusion_matrix"] == [[0] * 4] * 4


def test_a_mean_over_no_rows_is_an_error() -> None:
    assert metrics.global_mean(6.0, count=4) == 1.5
    with pytest.raises(DataError, match="0 rows"):
        metrics.global_mean(0.0, count=0)


def share(ranks: dist.Ranks, out: Path) -> None:
    logits, labels = UNEVEN
    local_rows = slice(0, 37) if ranks.is_main else slice(37, None)  # uneven on purpose
    local_metrics = metrics.ClassificationMetrics(LABEL_NAMES)
    local_metrics.update(logits[local_rows], labels[local_rows])
    losses = F.cross_entropy(
        logits[local_rows], labels[local_rows], reduction="none"
    ).tolist()
    error = ""
    try:
        metrics.global_mean(0.0, count=0)
    except DataError as raised:
        error = str(raised)
    result = {
        "mean": metrics.global_mean(sum(losses), count=len(losses)),
        "own_mean": sum(losses) / len(losses),
        "one_has_none": metrics.global_mean(3.0 * ranks.rank, count=2 * ranks.rank),
        "error": error,
        "all": local_metrics.all_reduce().as_dict(),
        "own": local_metrics.as_dict(),
    }
    (out / f"{ranks.rank}.json").write_text(json.dumps(result), encoding="utf-8")


@pytest.mark.timeout(90)
def test_two_ranks_with_37_and_463_rows_know_the_figures_of_all_500(
    tmp_path: Path,
) -> None:
    dist.launch(share, tmp_path, num_ranks=2, timeout_s=60)
    results = [
        json.loads((tmp_path / f"{r}.json").read_text("utf-8")) for r in range(2)
    ]
    logits, labels = UNEVEN
    whole = metrics.ClassificationMetrics(LABEL_NAMES)
    whole.update(logits, labels)
    mean = F.cross_entropy(logits.double(), labels).item()
    for result in results:
        assert result["mean"] == pytest.approx(mean, rel=1e-6)
        assert result["all"] | {"loss": 0} == whole.as_dict() | {"loss": 0}
        assert result["all"]["loss"] == pytest.approx(mean, rel=1e-12)
        assert result["one_has_none"] == 1.5
        assert "0 rows" in result["error"]
    # Negative control: the mean of the two ranks' means is another number.
    assert sum(result["own_mean"] for result in results) / 2 != pytest.approx(
        mean, rel=1e-3
    )
    accuracies = [result["own"]["accuracy"] for result in results]
    assert sum(accuracies) / 2 != pytest.approx(whole.accuracy, rel=1e-3)
