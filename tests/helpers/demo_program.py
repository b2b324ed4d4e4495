"""The app with a service that answers by rule. Arguments: port, guarded, classes.

A text decides the answer: "status 429" gets that status, "slow" waits, more than 200
characters count as truncated, "Space" makes it Sci/Tech, and "tie" has the first two
classes nearly tie. In a batch, "broken" gets a problem in place of its answer. With a
number of classes that is not 4 they are called "class 0" and so on, and any text is the
last one's.
"""

from __future__ import annotations

import asyncio
import pathlib
import sys
import time
from typing import Any

import uvicorn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "apps"))
import api
import problems
from serve_settings import ServeSettings

from distrinews.inference.classifier import Prediction

# What a proxy in front of us may answer.
problems.KINDS["many"] = problems.Kind(429, "Too many requests", "Come back later.")
SCORES = {"World": 0.1, "Sports": 0.6, "Business": 0.25, "Sci/Tech": 0.05}
# What the export of a run says, by its own names and by those of /version.
FACTS = {
    "accuracy": 0.915,
    "rows": 800,
    "test_rows": 800,
    "fitted_rows": 3200,
    "train_rows": 3200,
    "data": "rows of this proof",
    "licence": "mit",
    "num_ranks": 2,
    "device": "cpu",
    "train_s": 61.5,
    "origin": "random weights",
    "loss_curve": [[10, 1.5], [20, 0.75], [30, 0.5]],
}

loaded_at_s = time.monotonic() + 1  # until then, nobody knows the classes


async def classify(
    texts: list[str], *, pointer: str = "", **_: Any
) -> list[Prediction | problems.ProblemError]:
    if pointer.endswith("{}"):
        broken = problems.ProblemError("internal")
        return [broken if "broken" in text else answer(text) for text in texts]
    [text] = texts
    if text.startswith("status"):
        status = int(text.split()[1])
        kinds = [name for name, kind in problems.KINDS.items() if kind.status == status]
        raise problems.ProblemError(kinds[0])
    if "slow" in text:
        await asyncio.sleep(0.5)
    return [answer(text)]


def answer(text: str) -> Prediction:
    if len(SCORES) != 4:
        return Prediction([*SCORES][-1], SCORES, truncated=False)
    label = "Sci/Tech" if "Space" in text else "Sports"
    scores = {**SCORES, label: SCORES["Sports"], "Sports": SCORES[label]}
    if "tie" in text.split():
        scores |= {label: 0.4, "Business": 0.395}
    return Prediction(label, scores, truncated=len(text) > 200)


def describe() -> dict[str, Any]:
    labels = [*SCORES] if time.monotonic() > loaded_at_s else None
    model = {"id": "rule", "sha256": "0" * 64, "run_id": "proof"}
    about = {"labels": labels, "model": model, "facts": FACTS}
    return {"state": "ready", "engine": "rule", "fallback_reason": None, **about}


def main(port: str, guarded: str, num_classes: str) -> None:
    if num_classes != "4":
        SCORES.clear()
        FACTS.clear()  # as in an export from before there were any
        num = int(num_classes)
        SCORES.update({f"class {k}": 2 * k / (num * (num - 1)) for k in range(num)})
    if guarded == "no":  # the negative control
        problems.HEADERS["Content-Security-Policy"] = "frame-src *"
    app = api.create_app(ServeSettings())
    service = app.state.service
    service.start = service.check_capacity = lambda **_: None
    service.classify, service.describe = classify, describe
    service.identity = lambda: {"id": "rule", "sha256": "0", "run_id": None}
    uvicorn.run(app, host="127.0.0.1", port=int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
