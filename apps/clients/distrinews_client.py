"""A typed client of the server, to be copied into your project; it needs httpx.

    from distrinews_client import Client

    with Client("http://127.0.0.1:8000") as client:
        print(client.predict("Oil prices rise").label)

A server that is busy or starting says when to come back (Retry-After); the client does.
"""

from __future__ import annotations

import datetime
import email.utils
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

__all__ = ["Answer", "Client", "Line", "ServerError"]

# Where a server says that it is busy but not until when.
DEFAULT_WAIT_S = 1.0


@dataclass(frozen=True)
class Answer:
    """The answer to one text.

    Attributes:
        label: The class with the highest score.
        scores: Probability of each class.
        truncated: Whether the model read only the beginning.
    """

    label: str
    scores: dict[str, float]
    truncated: bool


class ServerError(Exception):
    """What the server explains when it does not answer.

    Args:
        problem: Problem details (RFC 9457), as sent.

    Attributes:
        status: The HTTP status.
        problem: Problem details, whole.
    """

    def __init__(self, problem: dict[str, Any]) -> None:
        errors = problem.get("errors") or ""
        super().__init__(f"{problem['title']}: {problem['detail']} {errors}".rstrip())
        self.status: int = problem["status"]
        self.problem = problem


@dataclass(frozen=True)
class Line:
    """One answer of a stream, and how far the stream is.

    Attributes:
        index: Which of the texts.
        done: Texts that are answered by now.
        total: Texts in all.
        result: The answer, or why there is none.
    """

    index: int
    done: int
    total: int
    result: Answer | ServerError


class Client:
    """Asks one server; keeps its connections open. Use it in a `with` statement.

    Args:
        url: Where the server is, with the prefix of a proxy if there is one.
        api_key: The server's key, if it has one.
        timeout_s: For each try; above the server's own deadline.
        num_tries: How often to ask a server that is busy, or that cannot be reached.
        max_wait_s: If the server says to wait longer, that is an error.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        num_tries: int = 5,
        max_wait_s: float = 30.0,
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        self._num_tries, self._max_wait_s = num_tries, max_wait_s

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def predict(
        self, text: str, *, top_k: int | None = None, truncate: bool = True
    ) -> Answer:
        """Classify one text.

        Args:
            text: The text.
            top_k: Only the scores of this many classes, highest first.
            truncate: False refuses a text that is longer than the model reads.

        Returns:
            Its answer.

        Raises:
            ServerError: The server refused it, or is still busy after all tries.
            httpx.HTTPError: The server cannot be reached.
        """
        options = {"top_k": top_k, "truncate": truncate}
        return _answer(self._ask("predict", {"text": text, **options}).json())

    def predict_batch(
        self, texts: Sequence[str], *, top_k: int | None = None, truncate: bool = True
    ) -> list[Answer | ServerError]:
        """Classify several texts in one request.

        Args:
            texts: At most 32, unless the server has another limit.
            top_k: As in `predict`.
            truncate: As in `predict`.

        Returns:
            For each text its answer, or an error where the model failed at it.

        Raises:
            ServerError: As in `predict`: for all texts.
            httpx.HTTPError: As in `predict`.
        """
        options = {"top_k": top_k, "truncate": truncate}
        body = {"texts": list(texts), **options}
        results = self._ask("predict/batch", body).json()["results"]
        return [_result(result) for result in results]

    def stream(
        self, texts: Sequence[str], *, top_k: int | None = None, truncate: bool = True
    ) -> Iterator[Line]:
        """Classify many texts, and get each answer as soon as it is ready.

        Args:
            texts: At most 1000, unless the server has another limit.
            top_k: As in `predict`.
            truncate: As in `predict`; a text that is too long is an error in its line.

        Yields:
            A line for each text, in their order.

        Raises:
            ServerError: As in `predict`, before the first line; or the stream was cut
                off.
            httpx.HTTPError: As in `predict`; also on the way.
        """
        options = {"top_k": top_k, "truncate": truncate}
        response = self._ask("predict/stream", {"texts": list(texts), **options})
        try:
            for text in response.iter_lines():
                line = json.loads(text)
                if "result" not in line:  # the last one
                    return
                result = _result(line.pop("result"))
                yield Line(**line, result=result)
        finally:
            response.close()
        detail = "The server ended before its last line."
        raise ServerError({"title": "Cut off", "detail": detail, "status": 200})

    def version(self) -> dict[str, Any]:
        """Ask which model answers, with its facts."""
        about: dict[str, Any] = self._ask("version").json()
        return about

    def _ask(self, path: str, body: object = None) -> httpx.Response:
        """Ask until the server has time; the response to a stream is not read yet."""
        method = "GET" if body is None else "POST"
        request = self._http.build_request(method, path, json=body)
        is_stream = path.endswith("stream")
        for number in range(1, self._num_tries + 1):
            is_last = number == self._num_tries
            try:
                response = self._http.send(request, stream=is_stream)
            except httpx.ConnectError:
                if is_last:
                    raise
                wait_s = DEFAULT_WAIT_S
            else:
                if response.is_success:
                    return response
                response.read()
                wait_s = _retry_after_s(response)
                is_busy = response.status_code in {429, 503}
                if is_last or not is_busy or wait_s > self._max_wait_s:
                    raise ServerError(_problem(response))
            # WHY some more: clients that were refused together would return together.
            time.sleep(wait_s * random.uniform(1.0, 1.1))
        raise AssertionError("num_tries must be at least 1")


def _retry_after_s(response: httpx.Response) -> float:
    """Seconds until the server wants to be asked again: a number, or a date."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        then = email.utils.parsedate_to_datetime(value)
        now = datetime.datetime.now(datetime.UTC)
        return max(0.0, (then - now).total_seconds())
    except (TypeError, ValueError):
        return DEFAULT_WAIT_S


def _problem(response: httpx.Response) -> dict[str, Any]:
    """The problem that a response holds; a proxy's own page holds none."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if isinstance(problem, dict) and {"title", "detail", "status"} <= problem.keys():
        return problem
    return {
        "title": response.reason_phrase or "No answer",
        "detail": "No problem details.",
        "status": response.status_code,
    }


def _answer(fields: dict[str, Any]) -> Answer:
    return Answer(fields["label"], fields["scores"], fields["truncated"])


def _result(fields: dict[str, Any]) -> Answer | ServerError:
    return ServerError(fields["problem"]) if "problem" in fields else _answer(fields)
