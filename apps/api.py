"""Serve an exported model over HTTP.

Training scale, inference simplicity: one process, no process group. A forward pass has
no gradient, so there is nothing to average and no rank to wait for.

    python apps/api.py --model runs/NAME      then open http://127.0.0.1:8000
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import AsyncGenerator
from typing import Any

try:
    import access
    import asking
    import contract
    import pages
    import problems
    import prometheus_client
    from asgi_correlation_id import CorrelationIdMiddleware
    from contract import (
        BatchIn,
        BatchOut,
        HubIn,
        HubOut,
        ManyIn,
        PredictIn,
        PredictOut,
        StateOut,
        VersionOut,
    )
    from fastapi import APIRouter, Depends, FastAPI, Request
    from fastapi.responses import Response, StreamingResponse
    from middleware import LimitMiddleware, RequestMiddleware
    from serve_settings import ServeSettings
    from service import Service
    from telemetry import Metrics

    import distrinews
    from distrinews.inference.classifier import Classifier
    from distrinews.system import console
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    print(
        f"The server needs a package that is not here: {error.name}.\n"
        '  fix:  pip install -c constraints.txt -e ".[quickstart,serve]"'
        "   in the project's folder",
        file=sys.stderr,
    )
    sys.exit(2)

__all__ = ["create_app"]

# A client's name for its request goes into our log.
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
routes = APIRouter(responses=contract.problem_responses("unauthorized"))
probes = APIRouter(responses=contract.problem_responses())  # open even with a key


@routes.post("/predict", response_model=PredictOut, **contract.takes(PredictIn))
async def predict(request: Request) -> Response:
    """Classify one text."""
    question, results = await asking.classify(request, PredictIn)
    [answer] = asking.all_answers(results, question)
    model = request.app.state.service.identity()
    return _json(PredictOut(**vars(answer), model=model))


@routes.post("/predict/batch", response_model=BatchOut, **contract.takes(BatchIn))
async def predict_batch(request: Request) -> Response:
    """Classify several texts; a text at which the model fails gets a problem."""
    question, results = await asking.classify(request, BatchIn)
    entries = [asking.entry(request, result, question) for result in results]
    model = request.app.state.service.identity()
    return _json(BatchOut(results=entries, model=model))


@routes.post(
    "/predict/stream",
    response_class=StreamingResponse,
    dependencies=[Depends(asking.stream_slot)],
    **contract.takes_and_streams(ManyIn),
)
async def predict_stream(request: Request) -> Response:
    """Classify many texts, and send each answer as soon as it is ready."""
    return await asking.stream(request)


@routes.post("/", response_model=HubOut, **contract.takes(HubIn))
async def predict_for_hub_clients(request: Request) -> Response:
    """Classify, asked and answered as by the Hugging Face Hub's inference API."""
    question, results = await asking.classify(request, HubIn)
    return _json(contract.to_hub(asking.all_answers(results, question)))


@probes.get("/healthz", response_model=StateOut)
async def healthz() -> Response:
    """Say that the process lives."""
    return _json(StateOut(status="alive"))


@probes.get(
    "/readyz",
    response_model=StateOut,
    responses=contract.problem_responses("not-ready"),
)
async def readyz(request: Request) -> Response:
    """Say whether the model is loaded, gave the recorded scores and still answers."""
    reason = request.app.state.service.not_ready_reason
    if reason:
        raise problems.BusyError("not-ready", reason, retry_after_s=2)
    return _json(StateOut(status="ready"))


@routes.get("/version", response_model=VersionOut)
async def version(request: Request) -> Response:
    """Say what runs here."""
    description = request.app.state.service.describe()
    return _json(VersionOut(distrinews=distrinews.__version__, **description))


@routes.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Prometheus text", "content": {"text/plain": {}}}},
)
async def metrics(request: Request) -> Response:
    """Give numbers for Prometheus."""
    text = prometheus_client.generate_latest(request.app.state.metrics.registry)
    return Response(text, media_type=prometheus_client.CONTENT_TYPE_LATEST)


def _json(answer: Any) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")


def create_app(
    settings: ServeSettings | None = None, *, classifier: Classifier | None = None
) -> FastAPI:
    """Make the app; the model is loaded when it starts.

    Args:
        settings: What to serve; None takes environment variables.
        classifier: A model that is loaded already.

    Returns:
        The app.
    """
    settings = settings or ServeSettings()
    metrics = Metrics()
    service = Service(settings, metrics=metrics, classifier=classifier)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        service.start()
        yield
        await service.stop()

    app = FastAPI(
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # its redirects name scheme and host
    )
    state = app.state
    state.settings, state.service, state.metrics = settings, service, metrics
    problems.handle_in(app)
    app.include_router(routes, dependencies=access.key_needed(settings.api_key))
    app.include_router(probes)
    app.include_router(pages.front_door)
    app.include_router(pages.routes)
    schema = contract.openapi(app.routes, settings)
    app.openapi = lambda: schema  # type: ignore[method-assign]
    app.add_middleware(LimitMiddleware, max_body_bytes=settings.max_body_bytes)
    access.allow_origins(app, settings.cors_origins)
    app.add_middleware(RequestMiddleware, metrics=metrics)
    app.add_middleware(
        CorrelationIdMiddleware, validator=lambda name: bool(REQUEST_ID.fullmatch(name))
    )
    return app


if __name__ == "__main__":
    import server

    console.run(lambda: server.main(create_app, about=__doc__ or ""))
