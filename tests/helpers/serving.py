"""A model that does as it is told, and the app around it: by hand or as a process.

As a program (`python tests/helpers/serving.py PORT SECONDS`) it serves that model.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "apps"))

import asyncio

import api
import httpx
from fastapi import FastAPI
from serve_settings import ServeSettings

from distrinews.errors import ModelError
from distrinews.inference.bundle import Identity
from distrinews.inference.classifier import Encoded, Prediction

__all__ = ["LABELS", "POISON", "FakeModel", "make_app", "opened", "run"]

LABELS = ["World", "Sports", "Business", "Sci/Tech"]
POISON = "poison"
MAX_TOKENS = 64  # tokens, here words


class FakeModel:
    """Judges a text by its length; has the interface of `classifier.Classifier`.

    Args:
        seconds: What a batch takes.
        broken: Every batch fails.
    """

    def __init__(self, *, seconds: float = 0.0, broken: bool = False) -> None:
        self.seconds, self.broken = seconds, broken
        self.identity = Identity(id="fake/model", sha256="f" * 64, run_id="proof")
        self.engine_name, self.fallback_reason = "fake", None
        self.labels, self.max_length = LABELS, MAX_TOKENS
        self.facts: dict[str, Any] = {"accuracy": 0.5, "rows": 8, "secret": "/home/me"}
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.warm = threading.Event()
        self.warm.set()

    def encode(self, text: str) -> Encoded:
        if not text.strip():
            raise ModelError("the text is empty.", why="", fix="", page="predict")
        # WHY the sum: it stands for the text, and is not the text.
        ids = (sum(map(ord, text)), *range(len(text.split()) - 1))
        poisoned = -1 if POISON in text else 0
        return Encoded((ids[0], *ids[1:MAX_TOKENS], poisoned), len(ids) > MAX_TOKENS)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        return self.predict_encoded([self.encode(text) for text in texts])

    def predict_encoded(self, items: Sequence[Encoded]) -> list[Prediction]:
        self.batches.append(len(items))
        self.gate.wait(20)
        time.sleep(self.seconds)
        if self.broken or any(item.ids[-1] == -1 for item in items):
            raise RuntimeError("cannot digest what it was given")
        return [
            Prediction(
                label=LABELS[item.ids[0] % 4],
                scores={n: float(n == LABELS[item.ids[0] % 4]) for n in LABELS},
                truncated=item.truncated,
            )
            for item in items
        ]

    def warm_up(self) -> None:
        self.warm.wait(20)


def make_app(model: FakeModel | None = None, **settings: Any) -> FastAPI:
    """The app around a fake model."""
    chosen = ServeSettings(**settings)
    return api.create_app(chosen, classifier=model or FakeModel())  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def opened(
    app: FastAPI, *, ready: bool = True
) -> AsyncGenerator[httpx.AsyncClient, None]:
    """Start an app in this process and talk to it, without a socket."""
    # As uvicorn does it.
    prefix = app.state.settings.root_path
    transport = httpx.ASGITransport(app=app, root_path=prefix)
    options: Any = {"transport": transport, "base_url": "http://x"}
    async with app.router.lifespan_context(app):
        while ready and app.state.service.state == "loading":
            await asyncio.sleep(0.001)
        async with httpx.AsyncClient(**options) as client:
            yield client


def run(
    app: FastAPI,
    main: Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]],
    *,
    ready: bool = True,
) -> Any:
    """Run a coroutine with a client of an app in this process."""

    async def run_main() -> Any:
        async with asyncio.timeout(30), opened(app, ready=ready) as client:
            return await main(client)

    return asyncio.run(run_main())


def main() -> None:
    """Serve the fake model as the real one is served."""
    import server

    port, seconds, *rest = sys.argv[1:]
    settings: dict[str, Any] = dict(word.split("=") for word in rest)
    load_s = float(settings.pop("load_s", 0.0))
    model = FakeModel(seconds=float(seconds))
    model.warm_up = lambda: time.sleep(load_s)  # type: ignore[method-assign]
    server.run(make_app(model, port=int(port), **settings))


if __name__ == "__main__":
    from distrinews.system import console

    console.run(main)
