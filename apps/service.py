"""The model behind the HTTP: loading, the queue, the end.

A text takes its place in the queue by its number of characters. It becomes tokens on
the model's thread, so that tokenising is inside the queue and the deadline. The model
is loaded on that thread, so that /healthz answers from the first moment on.

Not here: HTTP codes and pages (`api`), the queue itself
(`distrinews.inference.batching`).
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import re
import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from problems import BusyError, Fault, ProblemError
from serve_settings import ServeSettings
from telemetry import Metrics, log, log_error

from distrinews.errors import DistriNewsError
from distrinews.inference.batching import Batcher, ClosedError, OverloadedError
from distrinews.inference.classifier import LETTER
from distrinews.system import machine

if TYPE_CHECKING:
    from distrinews.inference.classifier import Classifier, Prediction

__all__ = ["Service"]

# Of usual English; a batch's budget needs no more than an estimate.
CHARACTERS_PER_TOKEN = 4
# JSON can spell what is no character: "\\ud83d" without its other half.
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
FAILED_DETAIL = "The model could not be loaded; the log says why."
DRAINING_DETAIL = "This server is about to end; another one will answer."


class Service:
    """One model and its queue.

    Args:
        settings: What to serve, and how much to take on.
        metrics: What counts.
        classifier: The model, if it is loaded already.

    Attributes:
        state: Where in its life it is.
        failure: Why there is no model; None if all is well.
        on_failure: Called when the model cannot be loaded.
    """

    def __init__(
        self,
        settings: ServeSettings,
        *,
        metrics: Metrics,
        classifier: Classifier | None = None,
    ) -> None:
        self.settings, self.metrics = settings, metrics
        self.classifier = classifier
        self.state: Literal["loading", "ready", "draining", "failed"] = "loading"
        self.failure: DistriNewsError | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self._executor = concurrent.futures.ThreadPoolExecutor(
            1, "model", initializer=machine.lower_thread_priority
        )
        self._batcher: Batcher[str, Prediction] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._streams: collections.Counter[str] = collections.Counter()  # by client
        metrics.waiting.set_function(lambda: self.num_waiting)
        metrics.ready.set_function(lambda: self.not_ready_reason is None)

    @property
    def num_waiting(self) -> int:
        """Texts in the queue."""
        return self._batcher.num_waiting if self._batcher else 0

    @property
    def not_ready_reason(self) -> str | None:
        """Why no request should be sent here; None if there is no reason."""
        if self.state == "failed":
            return FAILED_DETAIL
        if self.state != "ready":
            return f"The model is {self.state}."
        running_s = self._batcher.running_s if self._batcher else 0.0
        if running_s > self.settings.deadline_s:
            return f"The model has not answered for {running_s:.0f} s."
        return None

    def start(self) -> None:
        """Begin to load the model; returns at once."""
        self._loading = asyncio.create_task(self._load(), name="load the model")

    async def stop(self) -> None:
        """Answer what has arrived, accept nothing more, end the model's thread."""
        self.start_draining()
        if self._batcher is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.drain_s):
                    await self._batcher.drain()
            await self._batcher.aclose()
        if self._loading is not None:
            self._loading.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def start_draining(self) -> None:
        """Let /readyz report that this process is about to end."""
        if self.state != "failed":
            self.state = "draining"

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = time.monotonic()
        try:
            # WHY on the thread that will compute: libraries keep a pool of threads for
            # each thread that calls them; a second pool would be in the way.
            self.classifier = await loop.run_in_executor(self._executor, self._open)
        except Exception as error:
            self.state = "failed"
            if isinstance(error, DistriNewsError):
                self.failure = error
            log_error("the model cannot be loaded", error)
            self.on_failure()
            return
        self._batcher = Batcher(
            self.classifier.predict,
            count_tokens=self._estimate_tokens,
            limits=self.settings.limits,
            executor=self._executor,
            on_batch=self.metrics.observe_batch,
        )
        if self.state == "loading":
            self.state = "ready"
        facts = {
            "model": self.classifier.identity.id,
            "engine": self.classifier.engine_name,
            "fallback_reason": self.classifier.fallback_reason,
            "load_s": round(time.monotonic() - began_s, 2),
        }
        log.info("ready", extra={"facts": facts})

    def _open(self) -> Classifier:
        """On the model thread: open, check and warm up."""
        classifier = self.classifier
        if classifier is None:
            from distrinews.inference.classifier import (
                open_best,  # WHY here: it takes seconds to import
            )

            # It checks the hashes, and that golden rows get their recorded scores.
            classifier = open_best(
                self.settings.model or "", engine=self.settings.engine
            )
        classifier.warm_up()
        return classifier

    def check_capacity(self, num_texts: int = 1, *, client: str = "") -> None:
        """Refuse texts that the queue would refuse, before their body is read.

        Args:
            num_texts: How many texts are to come.
            client: Whose share of the queue they take.

        Raises:
            BusyError: Not ready, or overloaded.
        """
        with _problems_of_the_queue():
            self._ready_batcher().check_capacity(num_texts, client=client)

    @contextlib.contextmanager
    def stream_slot(self, *, client: str) -> Generator[None, None, None]:
        """Hold one of the few places for streams, shared among clients as the queue is.

        WHY few: a stream may last for minutes, and its texts are in memory.

        Args:
            client: Whose stream it is.

        Raises:
            BusyError: No place is free, or none of this client's share.
        """
        streams, limit = self._streams, self.settings.max_streams
        # WHY one share more than there are clients: the next one must find room.
        share, mine = limit / (1 + len(streams)), streams[client]
        if streams.total() >= limit or (mine and mine + 1 > share):
            raise BusyError("overloaded", retry_after_s=2)
        streams[client] += 1
        try:
            yield
        finally:
            streams[client] -= 1
            if not streams[client]:
                del streams[client]

    def check_texts(self, texts: Sequence[str], *, pointer: str) -> None:
        """Refuse texts that no model could classify.

        Args:
            texts: B texts.
            pointer: Where in the body the text with this index stands.

        Raises:
            ProblemError: Some are empty or too long, or hold half a character.
        """
        limit = self.settings.max_characters
        faults = []
        for index, text in enumerate(texts):
            detail = ""
            if len(text) > limit:
                detail = f"A text may have {limit:,} characters."
            elif not LETTER.search(text):
                detail = "Holds no letter and no digit."
            elif LONE_SURROGATE.search(text):
                detail = "Holds half a character (a lone surrogate)."
            if detail:
                faults.append(Fault(pointer=pointer.format(index), detail=detail))
        if faults:
            raise ProblemError("invalid", errors=faults)

    async def classify(
        self,
        texts: Sequence[str],
        *,
        pointer: str = "/texts/{}",
        client: str = "",
        until_s: float | None = None,
    ) -> list[Prediction | ProblemError]:
        """Classify the texts of one request.

        Args:
            texts: B texts.
            pointer: Where in the body the text with this index stands.
            client: Whose share of the queue they take.
            until_s: The deadline, by the event loop's clock; None: `deadline_s` from
                now.

        Returns:
            B predictions; a problem for each text at which the model failed.

        Raises:
            BusyError: Overloaded, or not ready.
            ProblemError: Some are empty or too long, or the deadline passed.
        """
        batcher = self._ready_batcher()
        self.check_texts(texts, pointer=pointer)
        try:
            with _problems_of_the_queue():
                answers = await batcher.submit(texts, client=client, until_s=until_s)
        except TimeoutError:
            limit = f"{self.settings.deadline_s:g} s"
            raise ProblemError("deadline", f"No answer within {limit}.") from None
        return [self._count_answer(answer) for answer in answers]

    def _estimate_tokens(self, text: str) -> int:
        """Tokens of a text by its length; reading them would cost the event loop."""
        limit = self.classifier.max_length if self.classifier else 0
        return min(2 + len(text) // CHARACTERS_PER_TOKEN, limit)

    def _count_answer(
        self, answer: Prediction | Exception
    ) -> Prediction | ProblemError:
        if isinstance(answer, Exception):
            log_error("the model failed at a text", answer)
            return ProblemError("internal", "The model failed at this text.")
        self.metrics.texts.labels(answer.label, str(answer.truncated).lower()).inc()
        return answer

    def _ready_batcher(self) -> Batcher[str, Prediction]:
        # WHY not by `state` alone: a process that is about to end still serves.
        if self._batcher is None or self.state == "loading":
            detail = "The model is being loaded."
            if self.state == "failed":
                detail = FAILED_DETAIL
            raise BusyError("not-ready", detail, retry_after_s=2)
        return self._batcher

    def describe(self) -> dict[str, Any]:
        """Say what answers, for /version.

        Returns:
            Plain values; None in place of what is not known yet.
        """
        classifier = self.classifier if self._batcher else None
        return {
            "state": self.state,
            "engine": classifier.engine_name if classifier else None,
            "fallback_reason": self._public_fallback_reason(),
            "labels": list(classifier.labels) if classifier else None,
            "model": self.identity(),
            "facts": classifier.facts if classifier else None,
        }

    def _public_fallback_reason(self) -> str | None:
        """The reason without its details, which name folders of this machine."""
        classifier = self.classifier if self._batcher else None
        if classifier is None or classifier.fallback_reason is None:
            return None
        return "A faster engine does not work here; the log says why."

    def identity(self) -> dict[str, Any] | None:
        """Say which model answers.

        Returns:
            Its id, the hash of its weights and the run that trained it.
        """
        if self._batcher is None or self.classifier is None:
            return None
        identity = self.classifier.identity
        return {"id": identity.id, "sha256": identity.sha256, "run_id": identity.run_id}


@contextlib.contextmanager
def _problems_of_the_queue() -> Generator[None, None, None]:
    """Turn the queue's errors into problems."""
    try:
        yield
    except OverloadedError as error:
        raise BusyError("overloaded", retry_after_s=error.retry_after_s) from None
    except ClosedError:
        raise BusyError("not-ready", DRAINING_DETAIL, retry_after_s=5) from None
