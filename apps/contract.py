"""What goes in and out: the shapes of requests and answers, and the OpenAPI schema.

`openapi.json` beside this file is the schema that the app serves; a test compares them.
Every status that an operation can answer with is declared.

Not here: writing that file (`renew_openapi`).
"""

from __future__ import annotations

import json
import pathlib
from typing import Annotated, Any

from fastapi.openapi.utils import get_openapi
from problems import KINDS, MEDIA_TYPE, Problem
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema
from serve_settings import ServeSettings
from starlette.routing import BaseRoute

import distrinews
from distrinews.inference.classifier import LETTER

__all__ = [
    "WITH_TEXTS",
    "Answer",
    "BatchIn",
    "BatchOut",
    "Failed",
    "Model",
    "PredictIn",
    "PredictOut",
    "StateOut",
    "VersionOut",
    "openapi",
    "problem_responses",
    "request_body",
]

FILE = pathlib.Path(__file__).parent / "openapi.json"
# What any request may meet, whatever it asks for.
ALWAYS = ("bad-request", "method-not-allowed", "body-too-large", "internal")
# What a request with texts may meet, too.
WITH_TEXTS = (
    *("not-json", "body-too-slow", "not-json-media-type", "invalid"),
    *("overloaded", "not-ready", "deadline"),
)


class _Strict(BaseModel):
    # WHY forbid: a misspelt field would silently do nothing.
    model_config = ConfigDict(extra="forbid", strict=True)


# WHY only in the schema: `service` checks it itself, in our words.
Text = Annotated[
    str,
    Field(
        description="A text with at least one letter or digit",
        # WHY no headline: the model may have been trained on other texts than news.
        examples=["A text like those the model was trained on"],
        json_schema_extra={"minLength": 1, "pattern": LETTER.pattern},
    ),
]


class PredictIn(_Strict):
    """One text."""

    text: Text


class BatchIn(_Strict):
    """Several texts."""

    texts: list[Text] = Field(min_length=1, description="Texts, each as in /predict")


class Model(BaseModel):
    """Which model answered."""

    id: str
    sha256: str = Field(description="Of its weights")
    run_id: str | None = Field(description="The run that trained it")


class Answer(BaseModel):
    """The answer to one text."""

    label: str = Field(description="The class with the highest score")
    scores: dict[str, float] = Field(description="Probability of each class")
    truncated: bool = Field(description="Whether the model read only the beginning")


class PredictOut(Answer):
    """The answer to one text, and which model gave it."""

    model: Model


class Failed(BaseModel):
    """Stands in place of an answer where the model failed at this one text."""

    problem: Problem


class BatchOut(BaseModel):
    """The answers, in the order of the texts."""

    results: list[Answer | Failed]
    model: Model


class StateOut(BaseModel):
    """How it is."""

    status: str


class VersionOut(BaseModel):
    """What runs here."""

    distrinews: str
    state: str
    engine: str | None = Field(description="What computes; null while loading")
    fallback_reason: str | None = Field(
        description="Why it is not the engine that would be the fastest"
    )
    labels: list[str] | None
    model: Model | None
    facts: dict[str, Any] | None = None


def problem_responses(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Declare the problems that an operation may answer with.

    Args:
        kinds: Names in `problems.KINDS`, beside those that any operation may meet.

    Returns:
        For a route's `responses`.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    for name in (*ALWAYS, *kinds):
        kind = KINDS[name]
        previous = responses.get(kind.status, {}).get("description")
        meaning = f"{previous} {kind.meaning}" if previous else kind.meaning
        schema = {"$ref": "#/components/schemas/Problem"}
        response: dict[str, Any] = {
            "description": meaning,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        if kind.status == 503:
            response["headers"] = {
                "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds"}
            }
        responses[kind.status] = response
    return responses


def request_body(model: type[BaseModel]) -> dict[str, Any]:
    """Declare a JSON body that we read ourselves.

    Args:
        model: Its shape.

    Returns:
        For a route's `openapi_extra`.
    """
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def openapi(routes: list[BaseRoute], settings: ServeSettings) -> dict[str, Any]:
    """Make the schema of our own routes, whatever else the app has.

    Args:
        routes: Ours.
        settings: The limits to name, and the prefix of all paths.

    Returns:
        The schema.
    """
    schema = get_openapi(
        title="DistriNews",
        version=distrinews.__version__,
        summary="Which class does a text belong to?",
        routes=routes,
        servers=[{"url": settings.root_path}] if settings.root_path else None,
    )
    models = [(kind, "validation") for kind in (PredictIn, BatchIn, Problem)]
    _, defined = models_json_schema(
        models,  # type: ignore[arg-type]
        ref_template="#/components/schemas/{model}",
    )
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(defined["$defs"])
    texts = schemas["BatchIn"]["properties"]["texts"]
    texts["maxItems"] = settings.max_texts_at_once
    for text in (schemas["PredictIn"]["properties"]["text"], texts["items"]):
        text["maxLength"] = settings.max_characters
    schema["components"]["schemas"] = dict(sorted(schemas.items()))
    return schema


def to_json(schema: dict[str, Any]) -> str:
    """Write the schema as the file holds it.

    Args:
        schema: The schema.

    Returns:
        JSON.
    """
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
