"""The parts of a step of one process and of two ranks, for the widget <where-time>.

Measured where a committed record has them; predicted by the cost model elsewhere, and
marked so. Communication is the exposed part, with what it takes from computing;
waiting for the slower rank is in it, for the record does not tell them apart.
"""

from __future__ import annotations

from typing import Any

import records

from distrinews.bench.costmodel import predictions, published
from distrinews.bench.costmodel.step_model import Prediction

__all__ = ["step_parts"]

PARTS = ("forward", "backward", "communication", "optimizer")


def step_parts() -> dict[str, Any]:
    """Gather every case.

    Returns:
        `parts`: their names; `origin`: date and processor of the measured case;
        `cases`: title, whether it is predicted, and for `one` process and two `ranks`
        the parts and the whole step in ms.
    """
    record = records.record("scaling")
    fastest, slowest = _two_t4()
    return {
        "parts": PARTS,
        "origin": {"date": record["date"], "cpu": record["environment"]["cpu"]},
        "cases": [_measured(record), _on_two_machines(record), fastest, slowest],
    }


def _measured(record: dict[str, Any]) -> dict[str, Any]:
    """The committed record of chapter 06."""
    one, two = record["figures"]["one_process"], record["figures"]["strong"]
    return {
        "title": f"{len(two['threads'])} ranks share {one['threads'][0]} cores, minilm",
        "predicted": False,
        "one": _phases(one["phases_ms"], step_ms=one["median_ms"]),
        "ranks": _phases(two["phases_ms"], step_ms=two["median_ms"]),
    }


def _phases(phases_ms: dict[str, float], *, step_ms: float) -> dict[str, Any]:
    return {
        "parts_ms": [round(phases_ms.get(part, 0.0), 3) for part in PARTS],
        "step_ms": step_ms,
    }


def _on_two_machines(record: dict[str, Any]) -> dict[str, Any]:
    """What the record itself predicts if each rank had a machine to itself."""
    one, predicted = (
        record["figures"]["one_process"],
        record["figures"]["strong"]["predicted"],
    )
    num_ranks = len(record["figures"]["strong"]["threads"])
    phases = one["phases_ms"]
    shared = {part: phases[part] / num_ranks for part in ("forward", "backward")}
    ours = phases | shared | {"communication": predicted["exposed_ms"]}
    return {
        "title": f"a machine each, {predicted['gbit_per_s']:g} Gbit/s, minilm",
        "predicted": True,
        "one": _phases(phases, step_ms=one["median_ms"]),
        "ranks": _phases(ours, step_ms=predicted["step_ms"]),
    }


def _two_t4() -> tuple[dict[str, Any], dict[str, Any]]:
    """The published figures by which two T4 gain most and least."""
    settings = records.record("prediction")["settings"]
    rows, tokens = settings["global_batch_size"], settings["tokens"]
    steps = []
    for chosen in predictions.low_high_combinations(published.T4_PAIR):
        one, two = (
            predictions.step(
                "distilbert",
                chosen,
                world_size=num_ranks,
                rows=rows // num_ranks,
                tokens=tokens,
            )
            for num_ranks in (1, 2)
        )
        steps.append((one, two))
    steps.sort(key=lambda pair: pair[0].step_s / pair[1].step_s)
    most, least = (
        {
            "title": f"two T4, DistilBERT, where they gain {words}",
            "predicted": True,
            "one": _terms(one),
            "ranks": _terms(two),
        }
        for words, (one, two) in (("most", steps[-1]), ("least", steps[0]))
    )
    return most, least


def _terms(step: Prediction) -> dict[str, Any]:
    sent_s = step.exposed_s + step.contention_s + step.meeting_s
    terms_s = (step.forward_s, step.backward_s, sent_s, step.optimizer_s)
    return {
        "parts_ms": [round(1000 * seconds, 3) for seconds in terms_s],
        "step_ms": round(1000 * step.step_s, 3),
    }
