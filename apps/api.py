"""Serve an exported model over HTTP.

Training scale, inference simplicity: one process, no process group. A forward pass has
no gradient, so there is nothing to average and nobody to wait for.

    python apps/api.py --model runs/NAME      then open http://127.0.0.1:8000
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncGenerator, Callable
from typing import Any

try:
    import contract
    import pages
    import problems
    import prometheus_client
    import reading
    from asgi_correlation_id import CorrelationIdMiddleware
    from contract import BatchIn, BatchOut, PredictIn, PredictOut, StateOut, VersionOut
    from fastapi import APIRouter, FastAPI, Request
    from fastapi.responses import Response
    from middleware import RequestMiddleware
    from serve_settings import ServeSettings
    from service import Service
    from telemetry import Metrics

    import distrinews
    from distrinews.inference.classifier import Classifier, Prediction
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
routes = APIRouter(responses=contract.problem_responses())


@routes.post(
    "/predict",
    response_model=PredictOut,
    responses=contract.problem_responses(*contract.WITH_TEXTS),
    openapi_extra=contract.request_body(PredictIn),
)
async def predict(request: Request) -> Response:
    """Classify one text."""
    [answer] = await _classify(request, PredictIn, lambda body: [body.text], "/text")
    if isinstance(answer, problems.ProblemError):
        raise answer
    model = request.app.state.service.identity()
    return _json(PredictOut(**vars(answer), model=model))


@routes.post(
    "/predict/batch",
    response_model=BatchOut,
    responses=contract.problem_responses(*contract.WITH_TEXTS),
    openapi_extra=contract.request_body(BatchIn),
)
async def predict_batch(request: Request) -> Response:
    """Classify several texts; a text at which the model fails gets a problem."""
    answers = await _classify(request, BatchIn, lambda body: body.texts, "/texts/{}")
    results = [
        contract.Failed(problem=problems.describe(answer, request.scope["root_path"]))
        if isinstance(answer, problems.ProblemError)
        else contract.Answer(**vars(answer))
        for answer in answers
    ]
    model = request.app.state.service.identity()
    return _json(BatchOut(results=results, model=model))


@routes.get("/healthz", response_model=StateOut)
async def healthz() -> Response:
    """Say that the process lives."""
    return _json(StateOut(status="alive"))


@routes.get(
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


async def _classify(
    request: Request,
    model: type[Any],
    texts_of: Callable[[Any], list[str]],
    pointer: str,
) -> list[Prediction | problems.ProblemError]:
    """Read a body and have its texts classified before the deadline."""
    settings: ServeSettings = request.app.state.settings
    service: Service = request.app.state.service
    client = reading.client_network(request)
    service.check_capacity(client=client)  # before its body costs anything
    body = await reading.read_body(request, timeout_s=settings.body_timeout_s)
    until_s = asyncio.get_running_loop().time() + settings.deadline_s
    texts = texts_of(
        reading.parse_json(body, model, max_texts=settings.max_texts_at_once)
    )
    characters = sum(map(len, texts))
    request.scope["distrinews"] |= {"texts": len(texts), "characters": characters}
    work = service.classify(texts, pointer=pointer, client=client, until_s=until_s)
    return await reading.cancel_on_disconnect(request, work)


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
    app.include_router(routes)
    app.include_router(pages.routes)
    schema = contract.openapi(routes.routes, settings)
    app.openapi = lambda: schema  # type: ignore[method-assign]
    limit = settings.max_body_bytes
    app.add_middleware(RequestMiddleware, metrics=metrics, max_body_bytes=limit)
    app.add_middleware(
        CorrelationIdMiddleware, validator=lambda name: bool(REQUEST_ID.fullmatch(name))
    )
    return app


if __name__ == "__main__":
    import server

    console.run(lambda: server.main(create_app, about=__doc__ or ""))
