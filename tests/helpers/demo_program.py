"""The demo page on a service that answers by rule. Arguments: port, where, guarded.

A text decides the answer: "status 429" gets that status, "slow" waits, more than 200
characters count as truncated, and the class is that of the first word below.
"""

from __future__ import annotations

import asyncio
import pathlib
import sys

import uvicorn
from fastapi import Body, FastAPI, HTTPException

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "apps"))
import demo

SCORES = {"World": 0.1, "Sports": 0.6, "Business": 0.25, "Sci/Tech": 0.05}


async def predict(text: str = Body(embed=True)) -> dict[str, object]:
    if text.startswith("status"):
        raise HTTPException(int(text.split()[1]))
    if "slow" in text:
        await asyncio.sleep(0.5)
    label = "Sci/Tech" if "Space" in text else "Sports"
    scores = {**SCORES, label: SCORES["Sports"], "Sports": SCORES[label]}
    return {"label": label, "scores": scores, "truncated": len(text) > 200}


def main(port: str, path: str, guarded: str) -> None:
    app = FastAPI()
    app.add_api_route("/predict", predict, methods=["POST"])
    if guarded == "no":  # the negative control
        demo.POLICY = "frame-src *"
    demo.mount(app, path=path)
    uvicorn.run(app, host="127.0.0.1", port=int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
