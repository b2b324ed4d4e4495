"""Proofs for inference.batching: who shares a batch, who waits, who is refused."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine

import pytest

from distrinews.inference.batching import (
    Batcher,
    BatchStats,
    ClosedError,
    Limits,
    OverloadedError,
)

BATCH_S = 0.02  # what the slow model below takes for a batch of any size


class Model:
    """Answers a word with its capitals; counts what it is given."""

    def __init__(self, *, seconds: float = 0.0, poison: str = "") -> None:
        self.seconds, self.poison = seconds, poison
        self.batches: list[list[str]] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, words: list[str]) -> list[str]:
        self.batches.append(words)
        self.threads.add(threading.current_thread().name)
        self.gate.wait(10)
        time.sleep(self.seconds)
        if self.poison and self.poison in words:
            raise ValueError(f"cannot read {self.poison}")
        return [word.upper() for word in words]


def run(
    model: Callable[[list[str]], list[str]],
    main: Callable[[Batcher[str, str]], Coroutine[object, object, object]],
    **limits: float,
) -> list[BatchStats]:
    """Run a coroutine with a batcher; return the statistics of its batches."""
    batches: list[BatchStats] = []

    async def run_main() -> None:
        batcher = Batcher(
            model,
            count_tokens=len,
            limits=Limits(**limits),  # type: ignore[arg-type]
            on_batch=batches.append,
        )
        async with contextlib.aclosing(batcher), asyncio.timeout(20):
            await main(batcher)

    asyncio.run(run_main())
    return batches


async def until(happened: Callable[[], object]) -> None:
    while not happened():  # run() has a timeout
        await asyncio.sleep(0.001)


def settled(
    tasks: list[asyncio.Task[list[str | Exception]]],
) -> Awaitable[list[list[str | Exception] | BaseException]]:
    return asyncio.gather(*tasks, return_exceptions=True)


# --- Sharing --------------------------------------------------------------------


def test_requests_that_come_while_the_model_computes_share_the_next_batch() -> None:
    model = Model(seconds=BATCH_S)

    async def main(batcher: Batcher[str, str]) -> None:
        words = [f"word{i}" for i in range(20)]
        answers = await asyncio.gather(*(batcher.submit([w]) for w in words))
        assert answers == [[w.upper()] for w in words]

    run(model, main)
    # All enter before the batcher's task first runs.
    assert [len(batch) for batch in model.batches] == [20]
    assert len(model.threads) == 1


def test_one_after_the_other_nothing_is_shared() -> None:
    """Negative control."""
    model = Model()

    async def main(batcher: Batcher[str, str]) -> None:
        for word in ("oil", "cup", "chip"):
            assert await batcher.submit([word]) == [word.upper()]

    run(model, main)
    assert model.batches == [["oil"], ["cup"], ["chip"]]


def test_a_batch_never_exceeds_its_budget_and_the_oldest_go_first() -> None:
    model = Model(seconds=0.001)
    words = ["aaaa", "bbb", "cc", "d", "e" * 30, "ff", "g"]

    async def main(batcher: Batcher[str, str]) -> None:
        await asyncio.gather(*(batcher.submit([w]) for w in words))

    run(model, main, max_batch_tokens=7, max_batch_items=3)
    assert model.batches == [
        ["aaaa", "bbb"],  # 7 tokens
        ["cc", "d"],  # the next would make 33
        ["e" * 30],  # above the budget: alone, not never
        ["ff", "g"],
    ]


def test_an_idle_machine_answers_without_waiting_for_company() -> None:
    async def main(batcher: Batcher[str, str]) -> None:
        await asyncio.gather(*(batcher.submit([w]) for w in "abcdefgh"))
        await asyncio.sleep(0.3)  # idle
        began_s = time.monotonic()
        await batcher.submit(["lonely"])
        assert time.monotonic() - began_s < 0.2

    run(Model(), main, max_wait_ms=250)


@pytest.mark.parametrize(("max_wait_ms", "sizes"), [(500, [2, 2]), (0, [2, 1, 1])])
def test_after_a_batch_it_waits_for_those_it_answered(
    max_wait_ms: float, sizes: list[int]
) -> None:
    """With a wait of 0 (the negative control) the first to come back goes alone."""
    model = Model(seconds=BATCH_S)

    async def main(batcher: Batcher[str, str]) -> None:
        await asyncio.gather(batcher.submit(["a"]), batcher.submit(["b"]))
        first = asyncio.create_task(batcher.submit(["c"]))
        await asyncio.sleep(0.005)
        await asyncio.gather(first, batcher.submit(["d"]))

    run(model, main, max_wait_ms=max_wait_ms)
    assert [len(batch) for batch in model.batches] == sizes


# --- One bad item ---------------------------------------------------------------


def test_one_bad_item_never_fails_its_neighbours() -> None:
    model = Model(poison="bad")

    async def main(batcher: Batcher[str, str]) -> None:
        words = ["one", "two", "bad", "three"]
        answers = await asyncio.gather(*(batcher.submit([w]) for w in words))
        assert answers[0] + answers[1] + answers[3] == ["ONE", "TWO", "THREE"]
        (error,) = answers[2]
        assert isinstance(error, ValueError)
        assert await batcher.submit(["four"]) == ["FOUR"]

    batches = run(model, main)
    assert [(b.num_items, b.num_failed) for b in batches] == [(4, 1), (1, 0)]


def test_without_the_second_try_all_would_have_failed() -> None:
    """Negative control: the model really fails a whole batch."""
    with pytest.raises(ValueError, match="bad"):
        Model(poison="bad")(["one", "two", "bad", "three"])


def test_in_a_request_of_several_only_the_bad_one_lacks_an_answer() -> None:
    async def main(batcher: Batcher[str, str]) -> None:
        first, bad, last = await batcher.submit(["one", "bad", "two"])
        assert (first, last) == ("ONE", "TWO")
        assert isinstance(bad, ValueError)

    run(Model(poison="bad"), main)


class Panic(BaseException):
    """As Rust libraries raise it."""


def test_a_panic_in_the_model_is_one_items_error() -> None:
    def model(words: list[str]) -> list[str]:
        if "bad" in words:
            raise Panic
        return words

    async def main(batcher: Batcher[str, str]) -> None:
        good, bad = await batcher.submit(["good", "bad"])
        assert good == "good"
        assert isinstance(bad, RuntimeError)

    run(model, main)


def test_a_model_that_answers_too_few_mixes_up_nobody() -> None:
    def forgetful(words: list[str]) -> list[str]:
        return words if len(words) == 1 else words[1:]

    async def main(batcher: Batcher[str, str]) -> None:
        words = ["one", "two", "three"]
        answers = await asyncio.gather(*(batcher.submit([w]) for w in words))
        assert answers == [["one"], ["two"], ["three"]]

    run(forgetful, main)


# --- Deadlines and clients that leave -------------------------------------------


def test_an_item_past_its_deadline_leaves_the_queue_uncomputed() -> None:
    model = Model()
    model.gate.clear()

    async def main(batcher: Batcher[str, str]) -> None:
        first = asyncio.create_task(batcher.submit(["first"]))
        await until(lambda: model.batches)
        with pytest.raises(TimeoutError):
            await batcher.submit(["late"])
        assert batcher.num_waiting == 0
        with pytest.raises(TimeoutError):
            await first
        model.gate.set()
        assert await batcher.submit(["next"]) == ["NEXT"]

    run(model, main, deadline_s=0.1)
    assert model.batches == [["first"], ["next"]]


@pytest.mark.parametrize("leaves", [True, False])
def test_a_caller_that_goes_away_frees_its_place(leaves: bool) -> None:
    """Who stays (the negative control) keeps it, and the next one finds none."""
    model = Model()
    model.gate.clear()

    async def main(batcher: Batcher[str, str]) -> None:
        tasks = [asyncio.create_task(batcher.submit(["first"]))]
        await until(lambda: model.batches)
        tasks += [asyncio.create_task(batcher.submit([w])) for w in ("a", "b")]
        await until(lambda: batcher.num_waiting == 2)
        if leaves:
            tasks[1].cancel()
            await until(lambda: batcher.num_waiting == 1)
            tasks.append(asyncio.create_task(batcher.submit(["c"])))
            await until(lambda: batcher.num_waiting == 2)
        else:
            with pytest.raises(OverloadedError):
                await batcher.submit(["c"])
        model.gate.set()
        await settled(tasks)

    run(model, main, max_waiting=2)
    assert model.batches == [["first"], ["b", "c"] if leaves else ["a", "b"]]


# --- Refusing -------------------------------------------------------------------


def test_who_finds_no_place_is_refused_at_once_and_told_when_to_return() -> None:
    model = Model(seconds=0.1)

    async def main(batcher: Batcher[str, str]) -> None:
        await batcher.submit(["x" * 10])  # 10 tokens in 0.1 s: 100 tokens a second
        model.gate.clear()
        running = asyncio.create_task(batcher.submit(["y" * 10]))
        await until(lambda: len(model.batches) == 2)
        waiting = [asyncio.create_task(batcher.submit(["z" * 10])) for _ in range(3)]
        await until(lambda: batcher.num_waiting == 3)
        began_s = time.monotonic()
        with pytest.raises(OverloadedError) as refusal:
            await batcher.submit(["w"])
        assert time.monotonic() - began_s < 0.05
        # 40 tokens are here; sleep() only ever takes longer than it was told.
        assert 0.4 <= refusal.value.retry_after_s < 1.0
        model.gate.set()
        answers = await asyncio.gather(running, *waiting)
        assert [len(a) for a in answers] == [1, 1, 1, 1]

    run(model, main, max_waiting=3)


def test_a_request_of_several_enters_as_a_whole_or_not_at_all() -> None:
    model = Model()
    model.gate.clear()

    async def main(batcher: Batcher[str, str]) -> None:
        running = asyncio.create_task(batcher.submit(["first"]))
        await until(lambda: model.batches)
        with pytest.raises(OverloadedError):
            await batcher.submit(["a", "b", "c"])
        assert batcher.num_waiting == 0
        fits = asyncio.create_task(batcher.submit(["a", "b"]))
        await until(lambda: batcher.num_waiting == 2)
        model.gate.set()
        assert await fits == ["A", "B"]
        await running

    run(model, main, max_waiting=2)


def test_what_could_only_be_answered_too_late_is_refused_though_there_is_room() -> None:
    model = Model(seconds=0.1)

    async def main(batcher: Batcher[str, str]) -> None:
        await batcher.submit(["x"])  # at most 10 tokens a second
        model.gate.clear()
        running = asyncio.create_task(batcher.submit(["y"]))
        await until(lambda: len(model.batches) == 2)
        more = asyncio.create_task(batcher.submit(["y" * 20, "y" * 20]))  # 4 s of work
        await until(lambda: batcher.num_waiting == 2)
        with pytest.raises(OverloadedError):
            await batcher.submit(["z"])
        model.gate.set()
        await asyncio.gather(running, more)

    run(model, main, max_waiting=1000, deadline_s=6, max_batch_tokens=30)


def test_a_speed_measured_at_single_items_refuses_nobody_who_fits_a_batch() -> None:
    """A batch takes as long as one item here; the measured speed is far too low."""
    model = Model(seconds=0.1)

    async def main(batcher: Batcher[str, str]) -> None:
        await batcher.submit(["x"])  # at most 10 tokens a second
        model.gate.clear()
        first = asyncio.create_task(batcher.submit(["x"]))
        await until(lambda: len(model.batches) == 2)
        tasks = [asyncio.create_task(batcher.submit(["y" * 10])) for _ in range(6)]
        await until(lambda: batcher.num_waiting == 6)
        assert batcher.expected_wait_s > 1  # the deadline, and yet:
        model.gate.set()
        assert await settled([first, *tasks]) == [["X"], *[["Y" * 10]] * 6]

    run(model, main, deadline_s=1)


# --- Fair shares ----------------------------------------------------------------


def test_one_client_leaves_room_for_the_next_and_they_take_turns() -> None:
    model = Model()
    model.gate.clear()

    async def main(batcher: Batcher[str, str]) -> None:
        async def fill(client: str) -> list[asyncio.Task[list[str | Exception]]]:
            tasks = []
            with contextlib.suppress(OverloadedError):
                for number in range(100):
                    batcher.check_capacity(client=client)
                    work = batcher.submit([f"{client}{number}"], client=client)
                    tasks.append(asyncio.create_task(work))
                    await asyncio.sleep(0)
            return tasks

        first = asyncio.create_task(batcher.submit(["first"]))
        await until(lambda: model.batches)
        tasks = [await fill(client) for client in "abc"]
        assert [len(each) for each in tasks] == [12, 8, 4]  # a half, a third, the rest
        model.gate.set()
        await asyncio.gather(first, *(task for each in tasks for task in each))

    run(model, main, max_waiting=24, max_batch_items=6)
    assert model.batches[1] == ["a0", "b0", "c0", "a1", "b1", "c1"]


def test_a_client_that_nobody_named_may_fill_the_queue() -> None:
    """Negative control: without shares, the next one finds no room."""
    model = Model()
    model.gate.clear()

    async def main(batcher: Batcher[str, str]) -> None:
        first = asyncio.create_task(batcher.submit(["first"]))
        await until(lambda: model.batches)
        tasks = [asyncio.create_task(batcher.submit(["a"])) for _ in range(24)]
        await until(lambda: batcher.num_waiting == 24)
        with pytest.raises(OverloadedError):
            await batcher.submit(["b"], client="b")
        model.gate.set()
        await asyncio.gather(first, *tasks)

    run(model, main, max_waiting=24)


def test_slow_texts_of_one_client_leave_time_for_the_next() -> None:
    model = Model(seconds=0.1)

    async def main(batcher: Batcher[str, str]) -> None:
        await batcher.submit(["x" * 10], client="a")  # at most 100 tokens a second
        model.gate.clear()
        tasks = [asyncio.create_task(batcher.submit(["y"], client="a"))]
        await until(lambda: len(model.batches) == 2)
        while batcher.expected_wait_s < 2.5:  # half of the 5 s that all may wait
            work = batcher.submit(["y" * 20], client="a")
            tasks.append(asyncio.create_task(work))
            await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            batcher.check_capacity(client="a")
        batcher.check_capacity(client="b")
        model.gate.set()
        await asyncio.gather(*tasks)

    run(model, main, max_waiting=1000, max_batch_tokens=100)


# --- Deadlines by the caller's clock --------------------------------------------


@pytest.mark.parametrize("blocked", [True, False])
def test_an_answer_after_the_deadline_is_no_answer_even_if_the_loop_was_busy(
    blocked: bool,
) -> None:
    model = Model(seconds=0.05)

    async def main(batcher: Batcher[str, str]) -> None:
        loop = asyncio.get_running_loop()
        limit_s = 0.3 if blocked else 10
        work = batcher.submit(["a"], until_s=loop.time() + limit_s)
        task = asyncio.create_task(work)
        await until(lambda: model.batches)
        if blocked:
            time.sleep(0.5)  # the answer comes meanwhile, and so does the deadline
            with pytest.raises(TimeoutError):
                await task
        else:  # the control
            assert await task == ["A"]

    run(model, main)


# --- The end --------------------------------------------------------------------


def test_draining_answers_what_is_here_and_takes_nothing_more() -> None:
    model = Model(seconds=BATCH_S)

    async def main(batcher: Batcher[str, str]) -> None:
        tasks = [asyncio.create_task(batcher.submit([w])) for w in "abcdef"]
        await until(lambda: model.batches)
        draining = asyncio.create_task(batcher.drain())
        await asyncio.sleep(0)
        with pytest.raises(ClosedError):
            await batcher.submit(["late"])
        await draining
        assert await settled(tasks) == [[w.upper()] for w in "abcdef"]

    run(model, main, max_batch_items=2)


def test_closing_does_not_wait_for_the_model() -> None:
    model = Model()
    model.gate.clear()

    async def main(batcher: Batcher[str, str]) -> None:
        task = asyncio.create_task(batcher.submit(["stuck"]))
        await until(lambda: model.batches)
        await batcher.aclose()
        model.gate.set()
        task.cancel()

    run(model, main)


def test_batching_needs_no_torch() -> None:
    code = "import sys, distrinews.inference.batching; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "False"
