"""What a tutorial would serve: a transformers pipeline in a `def` route.

FastAPI runs such a route in one of 40 threads, each request on its own. Run: `python
naive_server.py MODEL PORT [THREADS]`; THREADS are torch's for one request, by default
as many as there are cores.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline

app = FastAPI()


class Body(BaseModel):
    """What comes in."""

    text: str


@app.post("/predict")
def predict(body: Body) -> dict[str, Any]:
    """Classify one text."""
    prediction: dict[str, Any] = classify(body.text, truncation=True)[0]
    return prediction


if __name__ == "__main__":
    if len(sys.argv) > 3:
        torch.set_num_threads(int(sys.argv[3]))
    classify = pipeline("text-classification", model=sys.argv[1])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
