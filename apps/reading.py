"""Read a JSON body, strictly, and say what is wrong with it without repeating it.

Promise: what is not JSON in UTF-8 (NaN, 100,000 brackets) gets the right status 4xx;
the answer names places in the body, never what stands there.

Not here: what the texts hold, such as half an emoji (`service`).
"""

from __future__ import annotations

import asyncio
import json
import re
from email.message import Message
from typing import Any, NoReturn, TypeVar

from problems import Fault, ProblemError
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

__all__ = ["read_json"]

Body = TypeVar("Body", bound=BaseModel)

# By pydantic's names. WHY our words: some of pydantic's quote the input.
DETAILS = {
    "missing": "Missing.",
    "extra_forbidden": "There is a field that is not known.",
    "string_type": "Must be a string.",
    "string_too_short": "Empty.",
    "list_type": "Must be a list.",
    "too_short": "Empty.",
    "model_type": "Must be an object.",
}
JSON_TYPE = re.compile(r"application/(json|[a-z0-9.-]+\+json)")


async def read_json(
    request: Request, model: type[Body], *, timeout_s: float, max_texts: int
) -> Body:
    """Read the body of a request.

    Args:
        request: What was asked.
        model: What the body must look like.
        timeout_s: Until then it must have arrived.
        max_texts: A list may have so many members.

    Returns:
        The body.

    Raises:
        ProblemError: Another media type, too slow, not JSON, or another shape.
    """
    _check_media_type(request.headers.get("content-type", ""))
    try:
        async with asyncio.timeout(timeout_s):
            body = await request.body()
    except TimeoutError:
        # WHY close: the rest of the body may come later, and would be taken for the
        # beginning of the next request.
        raise ProblemError("body-too-slow", headers={"Connection": "close"}) from None
    try:
        content = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ProblemError("not-json") from None
    if isinstance(content, dict):
        for name, value in content.items():
            if name in model.model_fields and isinstance(value, list):
                _check_length(value, name, max_texts=max_texts)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ProblemError("invalid", errors=_faults(error, model)) from None


def _check_media_type(content_type: str) -> None:
    message = Message()
    message["content-type"] = content_type or "none/none"
    charset = str(message.get_param("charset", "utf-8")).lower()
    if not JSON_TYPE.fullmatch(message.get_content_type()) or charset not in {
        *("utf-8", "utf8", "us-ascii"),
    }:
        raise ProblemError("not-json-media-type")


def _refuse_constant(name: str) -> NoReturn:
    """Python reads NaN and Infinity; JSON has none."""
    raise ValueError(name)


def _check_length(values: list[Any], name: str, *, max_texts: int) -> None:
    # WHY before validation: a quarter of a megabyte holds 100,000 wrong members.
    if len(values) > max_texts:
        detail = f"May have {max_texts} members."
        fault = Fault(pointer=f"/{name}", detail=detail)
        raise ProblemError("invalid", errors=[fault])


def _faults(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    faults = []
    for error_details in error.errors(
        include_url=False, include_context=False, include_input=False
    ):
        # WHY not every part: the name of an unknown field is the user's.
        pointer_parts = [
            str(part)
            for part in error_details["loc"]
            if isinstance(part, int) or part in model.model_fields
        ]
        pointer = "".join(f"/{part}" for part in pointer_parts)
        detail = DETAILS.get(error_details["type"], "Not valid.")
        fault = Fault(pointer=pointer, detail=detail)
        if fault not in faults:  # a thousand unknown fields are one fault
            faults.append(fault)
    return faults
