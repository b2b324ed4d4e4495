"""Draw how much faster two ranks were: a program of its own.

    python kaggle_draw.py RECORD.json [PREDICTION.json]

Why a program: the notebook's process may have loaded an older matplotlib before another
was installed. The two do not mix (`KeyError: 'svg.id'`), and no restart helps a session
that has trained for an hour.

Not here: whether its failure matters (`kaggle_steps`: it does not).

Guide: howto/kaggle.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["draw"]


def draw(
    record: dict[str, Any],
    *,
    predicted: Sequence[Sequence[float]],
    folder: pathlib.Path,
) -> None:
    """Draw `speed_up.svg` and `speed_up.png`.

    Args:
        record: What chapter 06 wrote.
        predicted: [lowest, highest] speed-up of both variants; empty for none.
        folder: Where the pictures go.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    variants = {"strong": "same rows per step", "weak": "same rows per rank"}
    figure, axes = pyplot.subplots(figsize=(7.2, 3.6), layout="constrained")
    measured = [record["figures"][variant]["speedup"] for variant in variants]
    bars = axes.bar(
        list(variants.values()), measured, 0.5, color="#0072B2", label="measured"
    )
    axes.bar_label(bars, fmt="%.2fx", padding=3)
    num_ranks = record["environment"]["num_ranks"]
    axes.axhline(num_ranks, color="#999999", ls="--", label=f"{num_ranks}x: the ideal")
    axes.axhline(1, color="#999999", label="1x: one process")
    for index, (low, high) in enumerate(predicted):
        label = "predicted" if index == 0 else None
        axes.plot([index + 0.32] * 2, [low, high], "_-", color="#D55E00", label=label)
    axes.set_ylabel("times one process")
    axes.set_ylim(0, 1.2 * max(num_ranks, *measured))
    hardware = record["environment"]
    names = " + ".join(hardware["gpus"]) if hardware["device"] == "cuda" else "CPU"
    axes.set_title(f"{record['settings']['preset']} on {names}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    for kind in ("svg", "png"):
        figure.savefig(folder / f"speed_up.{kind}", dpi=150)
    pyplot.close(figure)


def main(record_path: str, prediction_path: str = "") -> None:
    """Draw a record, beside the prediction for two T4 if there is one."""
    path = pathlib.Path(record_path)
    predicted: list[Sequence[float]] = []
    if prediction_path:
        text = pathlib.Path(prediction_path).read_text(encoding="utf-8")
        prediction = json.loads(text)["figures"]["t4"]["distilbert"]
        predicted = [prediction[name]["speedup"] for name in ("two", "two_weak")]
    record = json.loads(path.read_text(encoding="utf-8"))
    draw(record, predicted=predicted, folder=path.parent)


if __name__ == "__main__":
    # The notebook's own choice: a backend that draws into cells.
    os.environ.pop("MPLBACKEND", None)
    main(*sys.argv[1:])
