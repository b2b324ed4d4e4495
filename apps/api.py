"""Serve an exported model over HTTP.

Training scale, inference simplicity: one process, no process group. A forward pass has
no gradient, so there is nothing to average and nobody to wait for.

    python apps/api.py --model runs/NAME      then open http://127.0.0.1:8000
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

try:
    import docs_page
    import prometheus_client
    from contract import (
        WITH_TEXTS,
        Answer,
        BatchIn,
        BatchOut,
        Failed,
        Model,
        PredictIn,
        PredictOut,
        StateOut,
        VersionOut,
        openapi,
        problem_responses,
        request_body,
    )
    from fastapi import APIRouter, FastAPI, Request
    from fastapi.responses import HTMLResponse, RedirectResponse, Response
    from middleware import RequestMiddleware
    from problems import (
        BusyError,
        ProblemError,
        answer_http_error,
        answer_problem,
        describe,
    )
    from pydantic import BaseModel
    from reading import read_json
    from refusals import Refusals
    from serve_settings import ServeSettings, environment_help
    from service import Service
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
    from telemetry import Metrics

    import distrinews
    from distrinews.config import flags
    from distrinews.errors import SettingsError
    from distrinews.inference.bundle import open_bundle
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

__all__ = ["create_app", "main"]

Result = TypeVar("Result")
GUARDED = ("/predict", "/predict/batch")  # who asks there needs room for a text
routes = APIRouter()


# --- What it answers ------------------------------------------------------------


@routes.post(
    "/predict",
    response_model=PredictOut,
    responses=problem_responses(*WITH_TEXTS),
    openapi_extra=request_body(PredictIn),
)
async def predict(request: Request) -> Response:
    """Classify one text."""
    service: Service = request.app.state.service
    body = await _read(request, PredictIn)
    answer = await _cancel_on_disconnect(request, service.classify(body.text))
    request.scope["distrinews"] |= {"texts": 1, "characters": len(body.text)}
    return _json(PredictOut(**vars(answer), model=_model(service)))


@routes.post(
    "/predict/batch",
    response_model=BatchOut,
    responses=problem_responses(*WITH_TEXTS),
    openapi_extra=request_body(BatchIn),
)
async def predict_batch(request: Request) -> Response:
    """Classify several texts; a text at which the model fails gets a problem."""
    service: Service = request.app.state.service
    body = await _read(request, BatchIn)
    answers = await _cancel_on_disconnect(request, service.classify_many(body.texts))
    characters = sum(map(len, body.texts))
    fields = {"texts": len(answers), "characters": characters}
    request.scope["distrinews"] |= fields
    return _json(
        BatchOut(results=[_result(answer) for answer in answers], model=_model(service))
    )


@routes.get("/healthz", response_model=StateOut, responses=problem_responses())
async def healthz() -> Response:
    """Say that the process lives."""
    return _json(StateOut(status="alive"))


@routes.get(
    "/readyz", response_model=StateOut, responses=problem_responses("not-ready")
)
async def readyz(request: Request) -> Response:
    """Say whether the model is loaded, warmed up and gives the recorded scores."""
    state = request.app.state.service.state
    if state != "ready":
        raise BusyError("not-ready", f"The model is {state}.", retry_after_s=2)
    return _json(StateOut(status="ready"))


@routes.get("/version", response_model=VersionOut, responses=problem_responses())
async def version(request: Request) -> Response:
    """Say what runs here."""
    description = request.app.state.service.describe()
    return _json(VersionOut(distrinews=distrinews.__version__, **description))


@routes.get(
    "/metrics",
    response_class=Response,
    responses=problem_responses()
    | {200: {"description": "Prometheus text", "content": {"text/plain": {}}}},
)
async def metrics(request: Request) -> Response:
    """Give numbers for Prometheus."""
    text = prometheus_client.generate_latest(request.app.state.metrics.registry)
    return Response(text, media_type=prometheus_client.CONTENT_TYPE_LATEST)


@routes.get("/", include_in_schema=False)
async def root(request: Request) -> Response:
    """Lead a visitor to something to look at."""
    return RedirectResponse("ui/" if request.app.state.has_ui else "docs")


@routes.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """Show the API to a human."""
    page = docs_page.render(request.app.openapi(), has_ui=request.app.state.has_ui)
    policy = {"Content-Security-Policy": docs_page.SECURITY_POLICY}
    return HTMLResponse(page, headers=policy)


# --- How ------------------------------------------------------------------------

Body = TypeVar("Body", bound=BaseModel)


async def _read(request: Request, model: type[Body]) -> Body:
    settings: ServeSettings = request.app.state.settings
    return await read_json(
        request,
        model,
        timeout_s=settings.body_timeout_s,
        max_texts=settings.max_texts,
    )


async def _cancel_on_disconnect(
    request: Request, work: Coroutine[Any, Any, Result]
) -> Result:
    """Do the work, or drop it when nobody waits for it any more."""
    task = asyncio.ensure_future(work)
    disconnect = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:  # also when this request is cancelled at the very end
        task.cancel()
        disconnect.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _client_closed_request(request: Request, error: Exception) -> Response:
    """An answer that nobody reads; the number is for log and metrics."""
    return Response(status_code=499)


def _result(answer: Prediction | ProblemError) -> Answer | Failed:
    if isinstance(answer, ProblemError):
        return Failed(problem=describe(answer))
    return Answer(**vars(answer))


def _model(service: Service) -> Model:
    return Model.model_validate(service.identity())


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")


# --- The app --------------------------------------------------------------------


def create_app(
    settings: ServeSettings | None = None,
    *,
    classifier: Classifier | None = None,
    app_class: type[FastAPI] = FastAPI,
) -> FastAPI:
    """Make the app; the model is loaded when it starts.

    Args:
        settings: What to serve; None takes environment variables.
        classifier: A model that is loaded already.
        app_class: FastAPI or a class derived from it, such as `gr.Server`.

    Returns:
        The app. Its `state.service.classify(text)` goes through the same queue.
    """
    settings = settings or ServeSettings()
    metrics = Metrics()
    service = Service(settings, metrics=metrics, classifier=classifier)
    refusals = Refusals(metrics, check_capacity=service.check_capacity, guarded=GUARDED)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        service.start()
        yield
        await service.stop()
        refusals.log_summary()

    app = app_class(lifespan=lifespan, docs_url=None, redoc_url=None)
    state = app.state
    state.settings, state.service, state.metrics = settings, service, metrics
    state.refusals, state.has_ui = refusals, settings.ui and _can_show_ui()
    app.add_exception_handler(ProblemError, answer_problem)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(ClientDisconnect, _client_closed_request)
    app.include_router(routes)
    # WHY: another class may have routes of its own; the contract is about ours.
    schema = openapi(
        routes.routes,
        max_characters=settings.max_characters,
        max_texts=settings.max_texts,
    )
    app.openapi = lambda: schema  # type: ignore[method-assign]
    if state.has_ui:
        from demo import mount  # WHY here: Gradio takes seconds to import

        app = mount(app)
    around = {"max_body_bytes": settings.max_body_bytes, "refusals": refusals}
    app.add_middleware(RequestMiddleware, metrics=metrics, **around)
    return app


def _can_show_ui() -> bool:
    return all(importlib.util.find_spec(name) for name in ("gradio", "demo"))


def main() -> None:
    """Serve what the command line names."""
    settings = flags.parse(ServeSettings, about=f"{__doc__}\n{environment_help()}")
    if not settings.model:
        raise SettingsError(
            "no model is given.",
            why="the server needs weights, a tokenizer and the names of the classes.",
            fix="train one in about two minutes, then serve it:\n"
            "          python chapters/05_ddp_training.py --run-name mine\n"
            "          python apps/api.py --model runs/mine\n"
            "        or fetch an exported one from the Hub:\n"
            "          hf download USER/MODEL --local-dir model\n"
            "          python apps/api.py --model model",
            page="serve",
        )
    open_bundle(settings.model)  # WHY now: a wrong path is said before all else
    import server

    server.run(create_app(settings))


if __name__ == "__main__":
    console.run(main)
