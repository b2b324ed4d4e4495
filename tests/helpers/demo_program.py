"""The app with a service that answers by rule. Arguments: port, guarded, classes.

A text decides the answer: "status 429" gets that status, "slow" waits, more than 200
characters count as truncated, and the class is that of the first word below. With a
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


loaded_at_s = time.monotonic() + 1  # until then, nobody knows the classes


async def classify(texts: list[str], **_: Any) -> list[Prediction]:
    [text] = texts
    if len(SCORES) != 4:
        return [Prediction([*SCORES][-1], SCORES, truncated=False)]
    if text.startswith("status"):
        status = int(text.split()[1])
        kinds = [name for name, kind in problems.KINDS.items() if kind.status == status]
        raise problems.ProblemError(kinds[0])
    if "slow" in text:
        await asyncio.sleep(0.5)
    label = "Sci/Tech" if "Space" in text else "Sports"
    scores = {**SCORES, label: SCORES["Sports"], "Sports": SCORES[label]}
    return [Prediction(label, scores, truncated=len(text) > 200)]


def describe() -> dict[str, Any]:
    labels = [*SCORES] if time.monotonic() > loaded_at_s else None
    nothing = dict.fromkeys(("engine", "fallback_reason", "model"))
    return {"state": "ready", "labels": labels, **nothing}


def main(port: str, guarded: str, num_classes: str) -> None:
    if num_classes != "4":
        SCORES.clear()
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
