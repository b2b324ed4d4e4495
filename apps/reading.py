"""Read a JSON body, strictly, and report what is wrong with it without repeating it.

A body that is not JSON in UTF-8 (NaN, 100,000 brackets, a name twice) gets the right
status 4xx. The answer names places in the body, never their content.

Not here: what the texts hold, such as half an emoji (`service`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

from problems import Fault, ProblemError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

__all__ = ["cancel_on_disconnect", "client_network", "parse_json", "read_body"]

Body = TypeVar("Body", bound=BaseModel)
Result = TypeVar("Result")

# By pydantic's names. WHY our words: some of pydantic's quote the input.
DETAILS = {
    "missing": "Missing.",
    "string_type": "Must be a string.",
    "string_too_short": "Empty.",
    "list_type": "Must be a list.",
    "too_short": "Empty.",
    "model_type": "Must be an object.",
    "int_type": "Must be a whole number.",
    "bool_type": "Must be true or false.",
    "greater_than_equal": "Too small.",
    "literal_error": "Not a value that is known.",
}
# WHY not the parser of Python's `email`: its time grows with the square of the length.
MAX_MEDIA_TYPE_CHARACTERS = 200
JSON_TYPE = re.compile(r"application/(json|[a-z0-9.-]+\+json)")


async def read_body(request: Request, *, timeout_s: float) -> bytes:
    """Read the body of a request.

    Args:
        request: What was asked.
        timeout_s: Until then it must have arrived.

    Returns:
        The body.

    Raises:
        ProblemError: Another media type, compressed, or too slow.
    """
    _check_headers(request.headers)
    try:
        async with asyncio.timeout(timeout_s):
            return await request.body()
    except TimeoutError:
        # WHY close: the rest of the body may come later, and would be taken for the
        # beginning of the next request.
        raise ProblemError("body-too-slow", headers={"Connection": "close"}) from None


def parse_json(body: bytes, model: type[Body], *, max_texts: int) -> Body:
    """Parse and check a body.

    Args:
        body: JSON, as it arrived.
        model: What it must look like.
        max_texts: The largest number of texts in a list.

    Returns:
        The body.

    Raises:
        ProblemError: It is not JSON, or has another shape.
    """
    try:
        content = json.loads(
            body.decode("utf-8-sig"),  # PowerShell puts a mark in front of its files
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique_names,
        )
    except (ValueError, RecursionError):
        raise ProblemError("not-json") from None
    faults: list[Fault] = []
    if isinstance(content, dict):
        content = _known_fields(content, model, faults)
        for name, value in content.items():
            if isinstance(value, list) and len(value) > max_texts:
                detail = f"May have {max_texts} members."
                fault = Fault(pointer=f"/{name}", detail=detail)
                raise ProblemError("invalid", errors=[fault])
    try:
        parsed = model.model_validate(content)
    except ValidationError as error:
        faults = _faults(error) + faults
    if faults:
        raise ProblemError("invalid", errors=faults)
    return parsed


async def cancel_on_disconnect(
    request: Request, work: Coroutine[Any, Any, Result]
) -> Result:
    """Do the work, or cancel it when the client disconnects.

    Args:
        request: What was asked; its body has been read.
        work: The work, not started yet.

    Returns:
        The result of the work.

    Raises:
        ClientDisconnect: The client has gone.
    """
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


def client_network(request: Request) -> str:
    """Name the client that a request's share of the queue is counted for.

    Args:
        request: What was asked.

    Returns:
        The client's IPv4 address, or the 64 bits of IPv6 that one customer gets.
    """
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(ipaddress.ip_network((address, 64), strict=False))


def _check_headers(headers: Headers) -> None:
    value = headers.get("content-type", "")[: MAX_MEDIA_TYPE_CHARACTERS + 1].lower()
    media_type, *parameters = [part.strip() for part in value.split(";")]
    pairs = [part.partition("=") for part in parameters]
    charset = {name.strip(): text.strip(' "') for name, _, text in pairs}.get("charset")
    if (
        len(value) > MAX_MEDIA_TYPE_CHARACTERS
        or not JSON_TYPE.fullmatch(media_type)
        or charset not in {None, "utf-8", "utf8", "us-ascii"}
    ):
        raise ProblemError("not-json-media-type")
    if headers.get("content-encoding", "identity").lower() != "identity":
        detail = "Send the body without Content-Encoding."
        raise ProblemError("not-json-media-type", detail)


def _known_fields(
    content: dict[str, Any],
    model: type[BaseModel],
    faults: list[Fault],
    pointer: str = "",
) -> dict[str, Any]:
    """Only the fields that a model has; one fault for all others."""
    # WHY before validation: a quarter of a megabyte holds 27,000 unknown fields, or
    # 100,000 wrong members of a list, and pydantic has an error for each.
    known = {name: content[name] for name in model.model_fields if name in content}
    if len(known) < len(content):
        detail = "There is a field that is not known."
        faults.append(Fault(pointer=pointer, detail=detail))
    for name, value in known.items():
        kind = model.model_fields[name].annotation
        if not isinstance(value, dict) or not isinstance(kind, type):
            continue
        if issubclass(kind, BaseModel):
            known[name] = _known_fields(value, kind, faults, f"{pointer}/{name}")
    return known


def _refuse_constant(name: str) -> NoReturn:
    """Python reads NaN and Infinity; JSON has none."""
    raise ValueError(name)


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Python keeps the last of two equal names, other readers the first."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands twice")
    return table


def _faults(error: ValidationError) -> list[Fault]:
    return [
        Fault(
            # In a union, pydantic adds which of its types was tried.
            pointer="".join(
                f"/{part}"
                for part in details["loc"]
                if part != "str" and "[" not in str(part)
            ),
            detail=DETAILS.get(details["type"], "Not valid."),
        )
        for details in error.errors(
            include_url=False, include_context=False, include_input=False
        )
    ]
