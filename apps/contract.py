"""What goes in and out: the shapes of requests and answers, and the OpenAPI schema.

`openapi.json` beside this file is the schema that the app serves; a test compares them.
Every status that an operation can answer with is declared.

Not here: writing that file (`renew_openapi`).
"""

from __future__ import annotations

import json
import operator
import pathlib
from typing import Annotated, Any, Literal, NamedTuple

from fastapi.openapi.utils import get_openapi
from problems import KINDS, MEDIA_TYPE, Problem
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic.json_schema import models_json_schema
from serve_settings import ServeSettings
from starlette.routing import BaseRoute

import distrinews
from distrinews.inference.classifier import LETTER, Prediction

__all__ = [
    "ND_JSON",
    "WITH_TEXTS",
    "Answer",
    "BatchIn",
    "BatchOut",
    "Facts",
    "Failed",
    "HubIn",
    "HubOut",
    "HubScore",
    "Model",
    "PredictIn",
    "PredictOut",
    "Question",
    "StateOut",
    "StreamEnd",
    "ManyIn",
    "StreamLine",
    "VersionOut",
    "openapi",
    "problem_responses",
    "takes",
    "takes_and_streams",
    "to_answer",
    "to_hub",
]

ND_JSON = "application/x-ndjson"
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


# WHY no headline: the model may have been trained on other texts than news.
EXAMPLES = ["A text like those the model was trained on"]
# WHY only in the schema: `service` checks it itself, in our words.
Text = Annotated[
    str,
    Field(
        description="A text with at least one letter or digit",
        examples=EXAMPLES,
        json_schema_extra={"minLength": 1, "pattern": LETTER.pattern},
    ),
]


class Question(NamedTuple):
    """What a body asks for, whatever its form.

    Attributes:
        texts: B texts.
        pointer: Where in the body the text with an index stands.
        top_k: How many classes to answer with; None: all.
        truncate: Whether a text may be longer than the model reads.
    """

    texts: list[str]
    pointer: str
    top_k: int | None
    truncate: bool


def _whole(number: object) -> object:
    """To JSON, 2.0 is a whole number, too."""
    is_whole = isinstance(number, float) and number.is_integer()
    return int(number) if is_whole else number  # type: ignore[call-overload]


class Options(_Strict):
    """How to answer."""

    top_k: Annotated[int | None, BeforeValidator(_whole)] = Field(
        default=None,
        ge=1,
        description="Only the scores of this many classes, highest first",
    )
    truncate: bool = Field(
        default=True,
        description="false: a text that is longer than the model reads gets 422",
    )


class PredictIn(Options):
    """One text."""

    text: Text

    def question(self) -> Question:
        """What it asks for."""
        return Question([self.text], "/text", self.top_k, self.truncate)


class BatchIn(Options):
    """Several texts."""

    texts: list[Text] = Field(min_length=1, description="Texts, each as in /predict")

    def question(self) -> Question:
        """What it asks for."""
        return Question(self.texts, "/texts/{}", self.top_k, self.truncate)


class ManyIn(BatchIn):
    """Many texts."""


class HubOptions(Options):
    """The parameters of the Hub's task text-classification, and `truncate`."""

    function_to_apply: Literal["softmax"] | None = Field(
        default=None, description="Scores are probabilities; nothing else is offered"
    )


class HubIn(_Strict):
    """One text or several, in the form of the Hugging Face Hub's inference API."""

    inputs: Text | Annotated[list[Text], Field(min_length=1)] = Field(
        description="A text, or a list of texts", examples=EXAMPLES
    )
    parameters: HubOptions = HubOptions()

    def question(self) -> Question:
        """What it asks for."""
        options = self.parameters
        how = (options.top_k, options.truncate)
        if isinstance(self.inputs, str):
            return Question([self.inputs], "/inputs", *how)
        return Question(self.inputs, "/inputs/{}", *how)


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
    """Stands in place of an answer where one text alone has none."""

    problem: Problem


class BatchOut(BaseModel):
    """The answers, in the order of the texts."""

    results: list[Answer | Failed]
    model: Model


class StreamLine(BaseModel):
    """A line of the stream: the answer to one text."""

    index: int = Field(description="Which of the texts, from 0")
    done: int = Field(description="Texts that are answered by now")
    total: int = Field(description="Texts in all")
    result: Answer | Failed


class StreamEnd(BaseModel):
    """The last line of the stream. Without it, the stream was cut off."""

    num_failed: int = Field(description="Lines with a problem")
    model: Model


class HubScore(BaseModel):
    """A class and its score."""

    label: str
    score: float = Field(description="Probability of the class")


class HubOut(RootModel[list[list[HubScore]]]):
    """For each text its classes, the likeliest first."""


class StateOut(BaseModel):
    """How it is."""

    status: str


class Facts(BaseModel):
    """What the training run said of the model; null where it said nothing."""

    accuracy: float | None = Field(None, description="On its test rows")
    macro_f1: float | None = None
    test_rows: int | None = Field(None, validation_alias="rows")
    train_rows: int | None = Field(None, validation_alias="fitted_rows")
    data: str | None = Field(None, description="What it was trained and tested on")
    licence: str | None = None
    preset: str | None = Field(None, description="Which network it is")
    num_ranks: int | None = Field(None, description="Processes that trained it")
    device: str | None = Field(None, description="Of each rank: cpu or cuda")
    train_s: float | None = Field(
        None, description="Seconds of training; null after a resume"
    )
    origin: str | None = Field(None, description="Where its first weights came from")
    loss_curve: list[tuple[int, float]] | None = Field(
        None, description="Training loss over all ranks: step, mean"
    )
    max_length: int | None = Field(None, description="Tokens of a text that it reads")


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
    facts: Facts | None

    @field_validator("facts", mode="wrap")
    @classmethod
    def _none_if_odd(cls, facts: Any, read: ValidatorFunctionWrapHandler) -> Any:
        """Whoever made the export may have written anything there."""
        try:
            return read(facts)
        except ValidationError:
            return None


def to_answer(prediction: Prediction, *, top_k: int | None = None) -> Answer:
    """Put a prediction into the form of an answer.

    Args:
        prediction: What the model gave.
        top_k: Keep the scores of this many classes, highest first; None keeps all, in
            the model's order.

    Returns:
        The answer.
    """
    scores = prediction.scores
    if top_k is not None:
        scores = dict(_best_first(scores)[:top_k])
    return Answer(label=prediction.label, scores=scores, truncated=prediction.truncated)


def to_hub(answers: list[Answer]) -> HubOut:
    """Put answers into the form of the Hub's inference API.

    Args:
        answers: One for each text.

    Returns:
        Each as a list of classes, the likeliest first.
    """
    return HubOut([
        [
            HubScore(label=label, score=score)
            for label, score in _best_first(answer.scores)
        ]
        for answer in answers
    ])


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


def takes(body: type[BaseModel]) -> dict[str, Any]:
    """Declare that a route takes a JSON body with texts, which we read ourselves.

    Args:
        body: Its shape.

    Returns:
        For a route: `responses` and `openapi_extra`.
    """
    schema = {"$ref": f"#/components/schemas/{body.__name__}"}
    content = {"application/json": {"schema": schema}}
    return {
        "responses": problem_responses(*WITH_TEXTS),
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }


def takes_and_streams(body: type[BaseModel]) -> dict[str, Any]:
    """Declare the same, and that the answer is a stream of lines.

    Args:
        body: The shape of the body.

    Returns:
        For a route.
    """
    names = (StreamLine.__name__, StreamEnd.__name__)
    lines = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    declared = takes(body)
    declared["responses"][200] = {
        "description": "A line of JSON for each text as soon as it has its answer, in "
        "the order of the texts; then a last line. The schema describes one line.",
        "content": {ND_JSON: {"schema": {"anyOf": lines}}},
    }
    return declared


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
    read = (PredictIn, BatchIn, ManyIn, HubIn, Problem, StreamLine, StreamEnd)
    models = [(kind, "validation") for kind in read]
    _, defined = models_json_schema(
        models,  # type: ignore[arg-type]
        ref_template="#/components/schemas/{model}",
    )
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(defined["$defs"])
    hub_text, hub_texts = schemas["HubIn"]["properties"]["inputs"]["anyOf"]
    batch, stream = (
        schemas[name]["properties"]["texts"] for name in ("BatchIn", "ManyIn")
    )
    hub_texts["maxItems"] = batch["maxItems"] = settings.max_texts_at_once
    stream["maxItems"] = settings.max_stream_texts
    text = schemas["PredictIn"]["properties"]["text"]
    lists = (batch, stream, hub_texts)
    for each in (text, hub_text, *(texts["items"] for texts in lists)):
        each["maxLength"] = settings.max_characters
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


def _best_first(scores: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(scores.items(), key=operator.itemgetter(1), reverse=True)
