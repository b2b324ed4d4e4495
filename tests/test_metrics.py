"""Proofs for distrinews.metrics: counts are added, ratios are taken once."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn
from sklearn.calibration import calibration_curve
from torch.nn import functional as F

from distrinews import dist, metrics
from distrinews.data.labels import LABEL_NAMES
from distrinews.errors import DataError, SettingsError

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
    macro = sklearn.f1_score(true, predicted, average="macro", zero_division=0)
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
    # F1 of class 0 by hand: 2 * 90 / (90 + 100); of class 1 0. The others never occur.
    assert counts.macro_f1 == pytest.approx(180 / 190 / 2)


def test_a_class_that_never_occurs_does_not_lower_macro_f1() -> None:
    """Three of four classes, all answered correctly, are a macro F1 of 1."""
    counts = metrics.ClassificationMetrics(LABEL_NAMES)
    counts.update(torch.eye(4)[:3], torch.arange(3))
    assert (counts.accuracy, counts.macro_f1) == (1.0, 1.0)
    # Negative control: the mean over all names, the value before.
    assert sum(counts.f1_by_class.values()) / len(LABEL_NAMES) == 0.75
    # A class that is only predicted, or only true, is a mistake, and counts.
    counts.update(torch.eye(4)[:1], torch.tensor([3]))
    assert counts.macro_f1 == pytest.approx((2 / 3 + 1 + 1 + 0) / 4)


@pytest.mark.parametrize("num_classes", [2, 3, 1000, 1001, 10_000])
def test_figures_of_2_to_10_000_classes_are_scikit_learns(num_classes: int) -> None:
    generator = torch.Generator().manual_seed(num_classes)
    labels = torch.randint(0, num_classes, (300,), generator=generator)
    logits = torch.randn(300, num_classes, generator=generator)
    logits[torch.arange(300), labels] += min(4.0, num_classes / 2)
    counts = metrics.ClassificationMetrics([f"c{k}" for k in range(num_classes)])
    for batch in (slice(0, 7), slice(7, 7), slice(7, 300)):  # one of them empty
        counts.update(logits[batch], labels[batch])
    true, predicted = labels.numpy(), logits.argmax(dim=1).numpy()
    assert 0.1 < counts.accuracy < 1
    assert counts.accuracy == pytest.approx(sklearn.accuracy_score(true, predicted))
    options = {"labels": list(range(num_classes)), "zero_division": 0}
    for name in ("precision", "recall", "f1"):
        score = getattr(sklearn, f"{name}_score")
        got = list(getattr(counts, f"{name}_by_class").values())
        assert got == pytest.approx(score(true, predicted, average=None, **options))
    macro = sklearn.f1_score(true, predicted, average="macro", zero_division=0)
    assert counts.macro_f1 == pytest.approx(macro)
    assert counts.loss == pytest.approx(F.cross_entropy(logits.double(), labels).item())
    assert ("confusion_matrix" in counts.as_dict()) == (num_classes <= 1000)
    if num_classes > 1000:
        assert counts.counts.nbytes == 3 * 8 * num_classes
        with pytest.raises(SettingsError, match=f"for {num_classes} classes"):
            _ = counts.confusion
    else:
        want = sklearn.confusion_matrix(true, predicted, labels=options["labels"])
        assert torch.equal(counts.confusion, torch.from_numpy(want))


@pytest.mark.parametrize("names", [(), ("one",), ("a", "b", "a"), "ab"])
def test_names_that_are_no_classes_are_refused(names: Any) -> None:
    with pytest.raises(SettingsError, match="at least two different names"):
        metrics.ClassificationMetrics(class_names=names)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.eye(4), torch.arange(4), r"shape \[4, 4\] for 3 classes"),
        (torch.ones(3), torch.arange(3), r"shape \[3\] for 3 classes"),
        (torch.eye(3), torch.arange(2), r"labels of shape \[2\] for 3 rows"),
        (torch.eye(3), torch.zeros(3, 1).long(), r"labels of shape \[3, 1\]"),
        (torch.eye(3), torch.ones(3), "labels of type torch.float32"),
        (torch.eye(3), torch.tensor([0, 1, 3]), "labels from 0 to 3 for 3 classes"),
        (torch.eye(3), torch.tensor([0, -100, 2]), "labels from -100 to 2"),
    ],
)
def test_shapes_and_labels_that_do_not_fit_are_refused_and_not_counted(
    logits: torch.Tensor, labels: torch.Tensor, message: str
) -> None:
    counts = metrics.ClassificationMetrics(("a", "b", "c"))
    with pytest.raises(DataError, match=message):
        counts.update(logits, labels)
    assert counts.num_rows == 0
    counts.update(torch.eye(3), torch.arange(3))  # negative control
    assert counts.num_rows == 3


def test_a_model_that_diverged_is_counted_and_its_loss_says_so() -> None:
    counts = metrics.ClassificationMetrics(("a", "b"))
    counts.update(torch.full((3, 2), float("nan")), torch.tensor([0, 1, 1]))
    assert math.isnan(counts.loss)
    assert counts.num_rows == 3
    assert 0 <= counts.calibration_error <= 1


# --- Sums -------------------------------------------------------------------------


def real_numbers(num_targets: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions and targets [40, D]; a million off zero: squares would cancel."""
    generator = torch.Generator().manual_seed(num_targets)
    targets = torch.randn(40, num_targets, generator=generator, dtype=torch.float64)
    noise = torch.randn(40, num_targets, generator=generator, dtype=torch.float64)
    return targets + 1e6 + noise / 2, targets + 1e6


@pytest.mark.parametrize("num_targets", [1, 3])
@pytest.mark.parametrize("parts", [1, 2, 7])
def test_regression_figures_are_scikit_learns_however_the_rows_are_cut(
    num_targets: int, parts: int
) -> None:
    predictions, targets = real_numbers(num_targets)
    sums = metrics.RegressionMetrics(num_targets)
    cuts = sorted(np.random.default_rng(0).integers(0, 41, parts - 1))
    for rows in np.split(np.arange(40), cuts):
        if num_targets == 1:
            sums.update(predictions[rows, 0], targets[rows, 0])
        else:
            sums.update(predictions[rows], targets[rows])
    true, predicted = targets.numpy(), predictions.numpy()
    assert sums.num_rows == 40
    assert sums.mse == pytest.approx(sklearn.mean_squared_error(true, predicted))
    root = sklearn.root_mean_squared_error(true, predicted)
    assert sums.rmse == pytest.approx(root)
    assert sums.mae == pytest.approx(sklearn.mean_absolute_error(true, predicted))
    assert 0.5 < sums.r2 < 0.9
    assert sums.r2 == pytest.approx(sklearn.r2_score(true, predicted), rel=1e-9)
    # Negative control: by sums of squares the variance of these targets is lost.
    naive = (true**2).sum() - true.sum() ** 2 / true.size
    spread = ((true - true.mean()) ** 2).sum()
    assert abs(naive / spread - 1) > 1e-6


@pytest.mark.parametrize("error", [0.0, 0.5])
def test_r2_of_equal_targets_is_scikit_learns_and_of_one_row_no_number(
    error: float,
) -> None:
    sums = metrics.RegressionMetrics()
    targets = torch.full((5,), 2.0)
    sums.update(targets[:1] + error, targets[:1])
    assert math.isnan(sums.r2)
    assert json.loads(json.dumps(sums.as_dict()))["r2"] is None
    sums.update(targets[1:] + error, targets[1:])
    assert sums.r2 == sklearn.r2_score(targets, targets + error) == (error == 0)


def test_regression_refuses_shapes_that_torch_would_broadcast() -> None:
    sums = metrics.RegressionMetrics()
    for shapes in (((4, 1), (4,)), ((4,), (4, 1)), ((4,), (3,)), ((4, 2), (4, 2))):
        with pytest.raises(DataError, match="num_targets=1"):
            sums.update(*map(torch.zeros, shapes))
    assert sums.num_rows == 0
    sums.update(torch.zeros(4, 1), torch.zeros(4, 1))  # negative control
    sums.update(torch.zeros(4), torch.zeros(4))
    assert sums.num_rows == 8


def texts() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [6, 5, 9], and targets of texts with 1 to 5 tokens."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 9, (6, 5), generator=generator)
    for row in range(6):
        targets[row, 1 + row % 5 :] = -100
    return torch.randn(6, 5, 9, generator=generator), targets


@pytest.mark.parametrize("cut", [0, 1, 3, 6])
def test_the_loss_is_the_mean_over_tokens_and_perplexity_its_exponential(
    cut: int,
) -> None:
    logits, targets = texts()
    sums = metrics.LanguageModelMetrics()
    sums.update(logits[:cut], targets[:cut])
    sums.update(logits[cut:], targets[cut:])
    counted = targets != -100
    probabilities = logits.double().softmax(dim=2)[counted].numpy()
    want = sklearn.log_loss(targets[counted], probabilities, labels=range(9))
    assert (sums.num_rows, sums.num_tokens) == (6, 16)
    assert sums.loss == pytest.approx(want, rel=1e-6)
    assert sums.perplexity == pytest.approx(math.exp(want), rel=1e-6)
    # Negative control: the mean of the rows' means is another number.
    rows = [F.cross_entropy(*row).item() for row in zip(logits, targets, strict=True)]
    assert sum(rows) / 6 != pytest.approx(want, rel=1e-3)


def test_a_target_that_is_no_token_or_another_shape_is_refused() -> None:
    logits, targets = texts()
    sums = metrics.LanguageModelMetrics()
    for wrong in (targets + 100, targets[:, :4], targets.flatten()):
        with pytest.raises(DataError, match="targets"):
            sums.update(logits, wrong)
    with pytest.raises(DataError, match="targets"):
        sums.update(logits.flatten(0, 1), targets.flatten())
    assert sums.num_rows == sums.num_tokens == 0
    assert sums.perplexity == 1  # of nothing
    sums.loss_sum, sums.num_tokens = 1e6, 1
    assert sums.perplexity == math.inf  # and no OverflowError


# --- Gathering ----------------------------------------------------------------------


def test_gather_sorts_by_row_and_drops_rows_that_came_twice() -> None:
    values = torch.tensor([[3.0], [1.0], [3.0]])
    got = metrics.gather(values, rows=torch.tensor([3, 1, 3]))
    assert got.tolist() == [[1.0], [3.0]]
    assert metrics.gather([], rows=[]) == []
    with pytest.raises(DataError, match="2 predictions for 3 row numbers"):
        metrics.gather(["a", "b"], rows=[0, 1, 2])
    with pytest.raises(DataError, match=r"1 are missing and 0 are unknown.*\[1\]"):
        metrics.gather(["a", "b"], rows=[0, 2], num_rows=3)
    with pytest.raises(DataError, match=r"1 are missing and 1 are unknown"):
        metrics.gather(["a", "b"], rows=[0, 2], num_rows=2)


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
    predictions, targets = (numbers[local_rows] for numbers in real_numbers(50))
    regression = metrics.RegressionMetrics(50)
    regression.update(predictions, targets)
    language = metrics.LanguageModelMetrics()
    logits, tokens = texts()
    if ranks.is_main:  # the other rank has no text at all
        language.update(logits, tokens)
    # Both hold row 2, as padding would; rank 1 holds one row more.
    rows = [4, 2] if ranks.is_main else [2, 0, 1]
    labels = torch.tensor(rows) * 10
    gathered = metrics.gather(labels, rows=rows)
    texts_of_rows = metrics.gather(["x" * row for row in rows], rows=rows)
    nobody_else = metrics.gather(labels[: 2 * ranks.rank], rows=rows[: 2 * ranks.rank])
    refused = []
    for wrong, options in (
        (rows[: len(rows) - ranks.rank], {}),
        (rows, {"num_rows": 5}),
    ):
        try:
            metrics.gather(labels, rows=wrong, **options)
        except DataError as raised:
            refused.append(raised.what)
    result = {
        "regression": regression.all_reduce().as_dict(),
        "language": language.all_reduce().as_dict(),
        "gathered": gathered.tolist(),
        "texts": texts_of_rows,
        "nobody_else": nobody_else.tolist(),
        "refused": refused,
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
    predictions, targets = real_numbers(50)
    r2 = sklearn.r2_score(targets.numpy(), predictions.numpy())
    language = metrics.LanguageModelMetrics()
    language.update(*texts())
    for result in results:
        assert result["regression"]["r2"] == pytest.approx(r2, rel=1e-9)
        assert result["regression"]["rows"] == 40
        assert result["language"] == language.as_dict()
        assert result["gathered"] == [0, 10, 20, 40]
        assert result["texts"] == ["", "x", "xx", "xxxx"]
        assert result["nobody_else"] == [0, 20]
        assert result["refused"] == [
            "rank 1: 3 predictions for 2 row numbers.",
            "of 5 rows 1 are missing and 0 are unknown, such as [3].",
        ]
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
