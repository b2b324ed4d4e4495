"""The app with a service that answers by rule. Arguments: port, guarded.

A text decides the answer: "status 429" gets that status, "slow" waits, more than 200
characters count as truncated, and the class is that of the first word below.
"""

from __future__ import annotations

import asyncio
import pathlib
import sys
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


async def classify(texts: list[str], **_: Any) -> list[Prediction]:
    [text] = texts
    if text.startswith("status"):
        status = int(text.split()[1])
        kinds = [name for name, kind in problems.KINDS.items() if kind.status == status]
        raise problems.ProblemError(kinds[0])
    if "slow" in text:
        await asyncio.sleep(0.5)
    label = "Sci/Tech" if "Space" in text else "Sports"
    scores = {**SCORES, label: SCORES["Sports"], "Sports": SCORES[label]}
    return [Prediction(label, scores, truncated=len(text) > 200)]


def main(port: str, guarded: str) -> None:
    if guarded == "no":  # the negative control
        problems.HEADERS["Content-Security-Policy"] = "frame-src *"
    app = api.create_app(ServeSettings())
    service = app.state.service
    service.start = service.check_capacity = lambda **_: None
    service.classify = classify
    service.identity = lambda: {"id": "rule", "sha256": "0", "run_id": None}
    uvicorn.run(app, host="127.0.0.1", port=int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
