"""From a request to its predictions: the steps that all routes with texts share.

Not here: how a body is read (`reading`), the queue (`service`), the form of an answer
(`contract`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import problems
import reading
from contract import (
    ND_JSON,
    Answer,
    Failed,
    ManyIn,
    Model,
    Question,
    StreamEnd,
    StreamLine,
    to_answer,
)
from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from problems import Fault, ProblemError
from pydantic import BaseModel
from service import Service

from distrinews.inference.classifier import Prediction

__all__ = ["all_answers", "classify", "entry", "stream", "stream_slot"]

Result = Prediction | ProblemError
TOO_LONG = "Longer than the model reads."
# Texts of a stream that wait in the queue together. WHY not more: their lines come
# together, and the client's progress bar would jump. WHY not one: the model computes a
# text on each core, and nothing while the next text is on its way.
STREAMED_TOGETHER = 16
STREAM_RETRY_S = 0.1  # a text takes the model some milliseconds


async def classify(
    request: Request, kind: type[BaseModel]
) -> tuple[Question, list[Result]]:
    """Read a body and have its texts classified before the deadline.

    Args:
        request: The request.
        kind: The form of its body.

    Returns:
        What it asked, and for each text a prediction, or a problem where the model
        failed.

    Raises:
        ProblemError: The request as a whole is refused, or late.
        ClientDisconnect: The client has gone.
    """
    settings, service = request.app.state.settings, request.app.state.service
    question, until_s = await _read(request, kind, settings.max_texts_at_once)
    client = reading.client_network(request)
    work = service.classify(
        question.texts, pointer=question.pointer, client=client, until_s=until_s
    )
    results = await reading.cancel_on_disconnect(request, work)
    faults = [
        Fault(pointer=question.pointer.format(index), detail=TOO_LONG)
        for index, result in enumerate(results)
        if _is_too_long(result, question)
    ]
    if faults:
        raise ProblemError("invalid", errors=faults)
    return question, results


async def stream_slot(request: Request) -> AsyncGenerator[None, None]:
    """Hold one of the places for streams until the last line is sent: a dependency.

    Args:
        request: The request.

    Yields:
        Nothing, once.

    Raises:
        BusyError: There is no place.
    """
    client = reading.client_network(request)
    with request.app.state.service.stream_slot(client=client):
        yield


async def stream(request: Request) -> Response:
    """Read many texts and send each answer as soon as it is ready.

    The first texts must find a place in the queue, as those of any request. Later ones
    wait for a place, each part until its own deadline.

    Args:
        request: The request.

    Returns:
        A line of JSON for each text, and a last one.

    Raises:
        ProblemError: Refused, or late, before the first line.
        ClientDisconnect: The client has gone.
    """
    settings, service = request.app.state.settings, request.app.state.service
    question, until_s = await _read(request, ManyIn, settings.max_stream_texts)
    service.check_texts(question.texts, pointer=question.pointer)
    lines = _lines(request, question, until_s=until_s)

    async def first_line() -> bytes:
        return await anext(lines)

    first = await reading.cancel_on_disconnect(request, first_line())

    async def all_lines() -> AsyncGenerator[bytes, None]:
        yield first
        async for line in lines:
            yield line

    return StreamingResponse(all_lines(), media_type=ND_JSON)


def entry(request: Request, result: Result, question: Question) -> Answer | Failed:
    """Put what became of one text among several into its form.

    Args:
        request: The request.
        result: What became of the text.
        question: How to answer.

    Returns:
        The answer, or the problem in its place.
    """
    if isinstance(result, ProblemError):
        root_path = request.scope.get("root_path", "")
        return Failed(problem=problems.describe(result, root_path))
    return to_answer(result, top_k=question.top_k)


def all_answers(results: list[Result], question: Question) -> list[Answer]:
    """Put predictions into the form of answers where no problem can stand among them.

    Args:
        results: What became of each text.
        question: How to answer.

    Returns:
        The answers.

    Raises:
        ProblemError: The model failed at a text.
    """
    answers = []
    for result in results:
        if isinstance(result, ProblemError):
            raise result
        answers.append(to_answer(result, top_k=question.top_k))
    return answers


async def _read(
    request: Request, kind: type[BaseModel], max_texts: int
) -> tuple[Question, float]:
    """Read what a request asks, unless there is no room; return the deadline, too."""
    settings, service = request.app.state.settings, request.app.state.service
    client = reading.client_network(request)
    service.check_capacity(client=client)  # before its body costs anything
    content = await reading.read_body(request, timeout_s=settings.body_timeout_s)
    until_s = asyncio.get_running_loop().time() + settings.deadline_s
    body: Any = reading.parse_json(content, kind, max_texts=max_texts)
    question: Question = body.question()
    facts = {
        "texts": len(question.texts),
        "characters": sum(map(len, question.texts)),
    }
    request.scope["distrinews"] |= facts
    return question, until_s


async def _lines(
    request: Request, question: Question, *, until_s: float
) -> AsyncGenerator[bytes, None]:
    """The lines of a stream; raises only before the first."""
    service: Service = request.app.state.service
    client = reading.client_network(request)
    loop, total, num_failed = asyncio.get_running_loop(), len(question.texts), 0
    for start in range(0, total, STREAMED_TOGETHER):
        texts = question.texts[start : start + STREAMED_TOGETHER]
        results: list[Result]
        if start == 0:
            results = await service.classify(texts, client=client, until_s=until_s)
        else:
            until_s = loop.time() + request.app.state.settings.deadline_s
            results = await _wait_for(service, texts, client=client, until_s=until_s)
        for index, result in enumerate(results, start):
            if _is_too_long(result, question):
                result = ProblemError("invalid", TOO_LONG)
            num_failed += isinstance(result, ProblemError)
            line = StreamLine(
                index=index,
                done=index + 1,
                total=total,
                result=entry(request, result, question),
            )
            yield line.model_dump_json(exclude_none=True).encode() + b"\n"
    model = Model.model_validate(service.identity())
    yield StreamEnd(num_failed=num_failed, model=model).model_dump_json().encode()
    yield b"\n"


async def _wait_for(
    service: Service, texts: list[str], *, client: str, until_s: float
) -> list[Result]:
    """Classify the next texts of a stream; a problem for each if that fails."""
    while True:
        try:
            service.check_capacity(len(texts), client=client)  # costs next to nothing
            return await service.classify(texts, client=client, until_s=until_s)
        except ProblemError as error:
            now_s = asyncio.get_running_loop().time()
            if error.kind != "overloaded" or now_s + STREAM_RETRY_S > until_s:
                return [error] * len(texts)
        await asyncio.sleep(STREAM_RETRY_S)


def _is_too_long(result: Result, question: Question) -> bool:
    is_cut = isinstance(result, Prediction) and result.truncated
    return is_cut and not question.truncate
