"""Every answer that is an error: RFC 9457 problem details.

Whatever goes wrong, the answer is `application/problem+json` of one shape. It names the
request, and never repeats what the user sent: no text, no name of an unknown field, no
path.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from asgi_correlation_id import correlation_id
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

__all__ = [
    "HEADERS",
    "KINDS",
    "MEDIA_TYPE",
    "BusyError",
    "Fault",
    "Problem",
    "ProblemError",
    "answer",
    "bad_request",
    "describe",
    "handle_in",
]

MEDIA_TYPE = "application/problem+json"

# Of every answer. The page of a Hugging Face Space shows the app in a frame. WHY no
# X-Frame-Options: it knows no list of sites, and DENY would leave that page empty.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; "
    "frame-ancestors 'self' https://huggingface.co https://*.hf.space",
    "Cache-Control": "no-store",
}


class Kind(NamedTuple):
    """A kind of problem, known by its name."""

    status: int
    title: str
    meaning: str


KINDS = {
    "bad-request": Kind(400, "Not a request we can read", "The request is malformed."),
    "not-json": Kind(400, "Not JSON", "The body is not JSON in UTF-8."),
    "unauthorized": Kind(
        401, "No valid API key", "Send the header Authorization: Bearer KEY."
    ),
    "not-found": Kind(404, "Not found", "There is nothing at this path."),
    "method-not-allowed": Kind(
        405, "Method not allowed", "This path answers to other methods; see Allow."
    ),
    "body-too-slow": Kind(408, "Body too slow", "The body did not arrive in time."),
    "body-too-large": Kind(413, "Body too large", "The body is above the limit."),
    "not-json-media-type": Kind(
        415, "Not application/json", "Send Content-Type: application/json."
    ),
    "invalid": Kind(
        422, "Not what was asked for", "The JSON does not fit; `errors` says where."
    ),
    "internal": Kind(500, "Our mistake", "The server failed; its log says where."),
    "overloaded": Kind(
        503, "Too many requests", "No place in the queue; Retry-After says when."
    ),
    "not-ready": Kind(503, "Not ready", "The model is not loaded, or we are leaving."),
    "deadline": Kind(504, "Too late", "No answer before the deadline."),
}
# What the framework raises, by status.
KIND_BY_STATUS = {404: "not-found", 405: "method-not-allowed", 413: "body-too-large"}


class Fault(BaseModel):
    """What is wrong with one part of the body."""

    pointer: str = Field(description="JSON pointer into the body, such as /texts/3")
    detail: str


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = Field(description="What kind of problem; leads to its explanation")
    title: str
    status: int
    detail: str
    request_id: str = Field(description="Also in the header X-Request-ID and our log")
    errors: list[Fault] | None = Field(None, description="With status 422: what to fix")


class ProblemError(Exception):
    """Ends a request with a problem.

    Args:
        kind: A name in `KINDS`.
        detail: More than the kind says; must not quote the user.
        errors: What is wrong with the body.
        headers: More headers.
    """

    def __init__(
        self,
        kind: str,
        detail: str | None = None,
        *,
        errors: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(kind)
        self.kind, self.detail = kind, detail
        self.errors, self.headers = errors, headers


class BusyError(ProblemError):
    """A problem that passes: the client may try again.

    Args:
        kind: "overloaded" or "not-ready".
        detail: More than the kind says.
        retry_after_s: When to try again; rounded up to whole seconds.
    """

    def __init__(
        self, kind: str, detail: str | None = None, *, retry_after_s: float
    ) -> None:
        headers = {"Retry-After": str(max(1, math.ceil(retry_after_s)))}
        super().__init__(kind, detail, headers=headers)


def describe(error: ProblemError, root_path: str = "") -> Problem:
    """Put a problem into words.

    Args:
        error: What was raised.
        root_path: The prefix that a proxy puts before our paths.

    Returns:
        The text for the user.
    """
    kind = KINDS[error.kind]
    return Problem(
        # Without a host on purpose: it leads to this server's own page.
        type=f"{root_path}/docs#{error.kind}",
        title=kind.title,
        status=kind.status,
        detail=error.detail or kind.meaning,
        request_id=correlation_id.get() or "",
        errors=list(error.errors) or None,
    )


def answer(error: ProblemError, root_path: str = "") -> Response:
    """Turn a problem into a response.

    Args:
        error: What was raised.
        root_path: The prefix that a proxy puts before our paths.

    Returns:
        The response.
    """
    problem = describe(error, root_path)
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=problem.status,
        headers=error.headers,
        media_type=MEDIA_TYPE,
    )


def bad_request(root_path: str) -> Response:
    """Answer bytes that are not HTTP, and so never reach the app.

    Args:
        root_path: The prefix that a proxy puts before our paths.

    Returns:
        The response, with all headers.
    """
    token = correlation_id.set(uuid.uuid4().hex)
    try:
        more = {"X-Request-ID": correlation_id.get() or "", "Connection": "close"}
        error = ProblemError("bad-request", headers={**HEADERS, **more})
        return answer(error, root_path)
    finally:
        correlation_id.reset(token)


def handle_in(app: Starlette) -> None:
    """Let an app answer whatever ends a request early.

    Args:
        app: The app.
    """
    app.add_exception_handler(ProblemError, _answer_problem)
    # What the framework raises, 404 and 405 above all.
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(ClientDisconnect, _client_closed_request)


async def _answer_problem(request: Request, error: Any) -> Response:
    return answer(error, request.scope.get("root_path", ""))


async def _answer_http_error(request: Request, error: Any) -> Response:
    default = "internal" if error.status_code >= 500 else "bad-request"
    kind = KIND_BY_STATUS.get(error.status_code, default)
    headers = error.headers
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    operations = request.app.openapi()["paths"].get(path)
    if error.status_code == 405 and operations:
        # WHY: a path may have a route for each of its methods; Starlette names the
        # methods of the first one.
        headers = {"Allow": ", ".join(sorted(operations)).upper()}
    return await _answer_problem(request, ProblemError(kind, headers=headers))


async def _client_closed_request(request: Request, error: Any) -> Response:
    """An answer that no client reads; the number is for log and metrics."""
    return Response(status_code=499)
