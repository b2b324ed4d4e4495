"""Proofs for tracing.recorder and .timeline: what happened, and who is missing."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist, sync
from distrinews.dist import process_group
from distrinews.errors import RankFailedError, ResultError
from distrinews.tracing import render, timeline
from distrinews.tracing.recorder import COLLECTIVES, MESSAGES, recording

ALONE = dist.Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))
pytestmark = pytest.mark.timeout(120)


def replicated() -> tuple[nn.Module, DistributedDataParallel]:
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Linear(400, 400) for _ in range(4)))  # 2.6 MB
    return net, DistributedDataParallel(net, bucket_cap_mb=0.5)


def train(ranks: dist.Ranks, out: Path) -> None:
    rows = torch.ones(2, 400) * ranks.rank
    net, replica = replicated()
    before = torch_dist.all_reduce
    with recording(out, ranks) as recorder:
        recorder.watch(replica)
        # WHY twice: in its first step DDP has one bucket; it cuts them after it.
        for _ in range(2):
            net.zero_grad()
            with recorder.phase("forward"):
                loss = replica(rows).square().mean()
            with recorder.phase("backward"):
                loss.backward()
        dist.sum_over_ranks(1)
        dist.gather_objects("x")
    assert torch_dist.all_reduce is before
    # WHY keep the wrapper: without it nothing would average in backward.
    again, unwatched = replicated()
    for model, wrapper in ((net, replica), (again, unwatched)):
        model.zero_grad()
        with wrapper.no_sync():  # what adds up locally is averaged once, with the last
            wrapper(rows + 1).square().mean().backward()
        wrapper(rows).square().mean().backward()
    pairs = zip(net.parameters(), again.parameters(), strict=True)
    equal = [torch.equal(model.grad, other.grad) for model, other in pairs]
    (out / f"equal-{ranks.rank}.json").write_text(json.dumps(equal))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trace")
    dist.launch(train, out, num_ranks=2, timeout_s=60)
    return out


def test_every_call_is_seen_once_with_its_bytes_and_its_line(recorded: Path) -> None:
    events_by_rank = timeline.read(recorded)
    assert sorted(events_by_rank) == [0, 1]
    for rank, events in events_by_rank.items():
        names = [event.name for event in events]
        assert names[:4] == ["forward", "backward", "bucket 0", "forward"]
        buckets = [event for event in events if event.name.startswith("bucket")][1:]
        assert len(buckets) >= 2
        assert sum(event.num_bytes for event in buckets) == 4 * 4 * 400 * 401
        # The line of the program, not the one in the library that it calls.
        calls = [e for e in events if re.search(r"test_trace.py:\d+ in train", e.site)]
        assert [event.name for event in calls] == ["all_reduce", "all_gather_object"]
        assert calls[0].num_bytes == 8
        assert all(event.end_s is not None for event in events), rank
        forward, backward = events[3:5]
        assert forward.end_s <= backward.start_s  # type: ignore[operator]
        # They begin inside backward: that is the overlap.
        assert backward.start_s < buckets[0].start_s < backward.end_s  # type: ignore[operator]


def test_a_watched_replica_has_the_gradients_of_an_unwatched_one(
    recorded: Path,
) -> None:
    for rank in range(2):
        assert all(json.loads((recorded / f"equal-{rank}.json").read_text()))


def forget_to_divide(ranks: dist.Ranks, out: Path) -> None:
    torch.Tensor.mul_ = lambda tensor, _: tensor  # type: ignore[assignment,misc]
    train(ranks, out)


@pytest.mark.slow
def test_a_watched_replica_that_sums_instead_of_averaging_is_found(
    tmp_path: Path,
) -> None:
    """Negative control of the proof above."""
    dist.launch(forget_to_divide, tmp_path, num_ranks=2, timeout_s=60)
    assert not any(json.loads((tmp_path / "equal-0.json").read_text()))


class TwoWays(nn.Module):
    """Each call uses one of two layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.ways = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])

    def forward(self, rows: torch.Tensor, way: int) -> torch.Tensor:
        return self.ways[way](rows)  # type: ignore[no-any-return]


def accumulate(replica: nn.Module, ranks: dist.Ranks) -> list[torch.Tensor]:
    """Two steps of two micro-batches: the last leaves a layer unused."""
    generator = torch.Generator().manual_seed(ranks.rank)
    gradients = []
    for _ in range(2):
        replica.zero_grad()
        for way in (0, 1):
            rows = torch.randn(5, 3, generator=generator)
            with sync.no_sync_unless(way == 1, replica=replica):
                replica(rows, way).square().mean().backward()
        gradients += [param.grad.clone() for param in replica.parameters()]
    return gradients


def watch_all(ranks: dist.Ranks, out: Path) -> None:
    """Gradients of watched replicas against those of an unwatched one."""
    options: dict[str, Any] = {"find_unused_parameters": True}

    def new() -> nn.Module:
        return sync.wrap_ddp(TwoWays(), ranks, **options)

    want = accumulate(new(), ranks)
    replica, found = new(), {}
    for name in ("first", "second"):  # a second recording takes the hook over
        with recording(out / name, ranks) as recorder:
            recorder.watch(replica)
            recorder.watch(replica)  # twice is once
            found[name] = accumulate(replica, ranks)
    found["after"] = accumulate(replica, ranks)
    # A hook of the user's own, in Python and in C++: nothing is seen, nothing changed.
    for kind in ("python", "c++"):
        replica = new()
        if kind == "python":
            replica.register_comm_hook(None, default_hooks.allreduce_hook)
        else:
            replica._register_builtin_comm_hook(
                torch_dist.BuiltinCommHookType.ALLREDUCE
            )
        with recording(out / kind, ranks) as recorder:
            recorder.watch(replica)
            found[kind] = accumulate(replica, ranks)
    # Negative control, what was done before: each gradient divided when it is ready.
    # The layer that the last micro-batch does not use is never divided.
    replica = new()
    replica.register_comm_hook(None, sum_only)

    def divide(param: torch.Tensor) -> None:
        if replica.require_backward_grad_sync and param.grad is not None:
            param.grad.div_(ranks.world_size)

    for param in replica.parameters():
        param.register_post_accumulate_grad_hook(divide)
    found["each gradient"] = accumulate(replica, ranks)
    equal = {
        name: all(torch.equal(*pair) for pair in zip(want, got, strict=True))
        for name, got in found.items()
    }
    close = {
        name: all(torch.allclose(*pair) for pair in zip(want, got, strict=True))
        for name, got in found.items()
    }
    result = {"equal": equal, "close": close}
    (out / f"found-{ranks.rank}.json").write_text(json.dumps(result))


def sum_only(_: object, bucket: torch_dist.GradBucket) -> torch.futures.Future[Any]:
    work = torch_dist.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda future: future.value()[0])  # type: ignore[union-attr]


sum_only.__annotations__ = {}  # torch compares them with its own classes, not texts


@pytest.mark.parametrize("num_ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_watching_changes_no_gradient_whatever_is_unused_or_watched_before(
    num_ranks: int, tmp_path: Path
) -> None:
    dist.launch(watch_all, tmp_path, num_ranks=num_ranks, timeout_s=60)
    for rank in range(num_ranks):
        result = json.loads((tmp_path / f"found-{rank}.json").read_text())
        equal, close = result["equal"], result["close"]
        assert [equal[name] for name in ("first", "second", "after")] == [True] * 3
        assert close["python"] and close["c++"]  # noqa: PT018
        assert not close["each gradient"]
        for name, num_buckets in (("first", 2), ("second", 2), ("python", 0)):
            events = timeline.read(tmp_path / name)[rank]
            seen = [event for event in events if event.name.startswith("bucket")]
            assert len(seen) == num_buckets, name
            assert all(event.end_s is not None for event in seen)


def test_without_a_hang_the_diagnosis_is_silent(recorded: Path) -> None:
    events_by_rank = timeline.read(recorded)
    assert (
        timeline.diagnose(events_by_rank, world_size=2)
        == "every call ended on every rank."
    )
    assert "[2] never began" in timeline.diagnose(events_by_rank, world_size=3)


def test_the_pictures_hold_every_event(recorded: Path, tmp_path: Path) -> None:
    events_by_rank = timeline.read(recorded)
    num_events = sum(len(events) for events in events_by_rank.values())
    page, perfetto = tmp_path / "t.html", tmp_path / "t.json"
    render.write_html(events_by_rank, page, title="a <step>", verdict="fine")
    render.write_perfetto(events_by_rank, perfetto)
    text = page.read_text(encoding="utf-8")
    assert text.count("<rect") == num_events
    assert "a &lt;step&gt;" in text
    assert "http" not in text  # self-contained
    # The exposed part is drawn and told, per rank: it lies in backward's second half.
    assert text.count("waits") == 2
    assert text.count("<path") == 4  # two steps of two ranks
    events = json.loads(perfetto.read_text(encoding="utf-8"))["traceEvents"]
    bars = [event for event in events if event["ph"] == "X"]
    assert len(bars) == num_events
    assert {event["ph"] for event in events} == {"X", "M"}
    for bar in bars:  # microseconds since the first event of any rank
        assert type(bar["pid"]) is type(bar["tid"]) is int
        assert bar["ts"] >= 0
        assert bar["dur"] >= 0
    forward = next(e for e in events_by_rank[1] if e.name == "forward")
    twin = next(b for b in bars if b["pid"] == 1 and b["name"] == "forward")
    assert forward.end_s is not None
    assert twin["ts"] == pytest.approx(1e6 * forward.start_s, abs=1)
    assert twin["dur"] == pytest.approx(1e6 * (forward.end_s - forward.start_s), abs=1)
    check_nesting(bars)
    spoilt = [*bars, bars[0] | {"ts": bars[0]["ts"] - 1}]
    with pytest.raises(AssertionError, match="overlap"):  # negative control
        check_nesting(spoilt)


def check_nesting(bars: list[dict[str, Any]]) -> None:
    """Bars of one thread follow each other or hold each other (trace event format)."""
    for left, right in itertools.combinations(bars, 2):
        if (left["pid"], left["tid"]) != (right["pid"], right["tid"]):
            continue
        first, second = sorted((left, right), key=lambda b: (b["ts"], -b["dur"]))
        end, second_end = (b["ts"] + b["dur"] for b in (first, second))
        apart, holds = second["ts"] >= end - 1e-3, second_end <= end + 1e-3
        assert apart or holds, f"overlap: {left}, {right}"


def skip_a_call(ranks: dist.Ranks, out: Path) -> None:
    with recording(out, ranks) as recorder:
        dist.sum_over_ranks(1)
        if ranks.rank == 1:
            with recorder.phase("reading a huge file"):
                time.sleep(60)
        dist.sum_over_ranks(2)


def call_another(ranks: dist.Ranks, out: Path) -> None:
    with recording(out, ranks):
        dist.sum_over_ranks(1)
        if ranks.rank == 1:
            torch_dist.broadcast(torch.zeros(1), src=1)
        dist.sum_over_ranks(2)
        torch_dist.barrier()


def wait_for_a_message(ranks: dist.Ranks, out: Path) -> None:
    with recording(out, ranks):
        if ranks.rank == 1:
            torch_dist.recv(torch.zeros(1), src=0)
        dist.sum_over_ranks(2)


def be_killed(ranks: dist.Ranks, out: Path) -> None:
    with recording(out, ranks) as recorder:
        dist.sum_over_ranks(1)
        with recorder.phase("forward"):
            if ranks.rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        dist.sum_over_ranks(2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        (
            skip_a_call,
            r"rank 0 waits in call 1, all_reduce \(test_trace\.py:\d+ in skip_a_call\)"
            r", which ranks \[1\] never joined\. Rank 1 is still in reading a huge",
        ),
        (
            call_another,
            r"call 1 differs: rank 0 called all_reduce .*1 called broadcast",
        ),
        (
            wait_for_a_message,
            r"rank 0 waits in call 0, all_reduce .*, which ranks \[1\] never joined\. "
            r"Rank 1 is still in recv \(test_trace\.py:\d+ in wait_for_a_message\)",
        ),
        pytest.param(
            be_killed,
            r"rank 0 waits in call 1, all_reduce .*, which ranks \[1\] never joined\. "
            r"Rank 1 is still in forward",
            marks=pytest.mark.skipif(
                sys.platform == "win32", reason="Windows has no SIGKILL"
            ),
        ),
    ],
)
def test_after_a_hang_or_a_kill_the_record_names_who_never_came(
    scenario: Callable[..., None], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(RankFailedError):
        dist.launch(scenario, tmp_path, num_ranks=2, timeout_s=4)
    events_by_rank = timeline.read(tmp_path)
    assert re.search(expected, timeline.diagnose(events_by_rank, world_size=2))


def send_around(ranks: dist.Ranks, out: Path) -> None:
    """What is allowed: messages between two of three, and a call of a subgroup."""
    pair = process_group.new_group([0, 2])
    with recording(out, ranks):
        if ranks.rank == 0:
            torch_dist.send(torch.ones(2), dst=1)
        if ranks.rank == 1:
            torch_dist.recv(torch.ones(2), src=0)
        if ranks.rank != 1:
            torch_dist.all_reduce(torch.ones(3), group=pair)
        torch_dist.barrier()
        time.sleep(0.2 * ranks.rank)  # the others' calls return, their results are late
        work = torch_dist.all_reduce(torch.ones(250_000), async_op=True)
        work.wait()
        dist.sum_over_ranks(1)


@pytest.mark.slow
def test_messages_and_subgroups_are_no_missing_calls(tmp_path: Path) -> None:
    dist.launch(send_around, tmp_path, num_ranks=3, timeout_s=60)
    events_by_rank = timeline.read(tmp_path)
    assert (
        timeline.diagnose(events_by_rank, world_size=3)
        == "every call ended on every rank."
    )
    names = {
        rank: [(event.kind[0], event.name) for event in events]
        for rank, events in events_by_rank.items()
    }
    both = [("c", "barrier"), *[("c", "all_reduce")] * 2]
    assert names[0] == [("m", "send"), ("m", "all_reduce"), *both]
    assert names[1] == [("m", "recv"), *both]
    assert names[2] == [("m", "all_reduce"), *both]
    large = [e for e in events_by_rank[0] if e.num_bytes == 1_000_000]
    assert len(large) == 1
    assert large[0].end_s is not None
    assert large[0].end_s - large[0].start_s > 0.3  # until arrival, not until return


def test_every_public_collective_of_torch_is_seen() -> None:
    quiet = re.compile(r"^(is_|get_|init|destroy|new_|split|shrink|supports|record_)")
    public = torch_dist.distributed_c10d.__all__
    talks = {
        name
        for name in public
        # WHY by type: asking a deprecated class for anything warns.
        if type(getattr(torch_dist.distributed_c10d, name)) is types.FunctionType
        and not quiet.match(name)
    }
    assert len(talks) >= 20
    seen = {*COLLECTIVES, *MESSAGES}
    assert talks - seen == set()
    assert "all_reduce" in talks  # the filter above left something to find
    assert talks - (seen - {"all_to_all"}) == {"all_to_all"}  # negative control


def test_what_travels_at_one_time_has_lanes_of_its_own(tmp_path: Path) -> None:
    """Perfetto drops bars of one thread that overlap without one holding the other."""
    spans = [("phase", 0, 9), ("collective", 1, 4), ("collective", 2, 6)]
    spans += [("collective", 4, 5), ("message", 7, None)]
    events = [
        timeline.Event(0, kind, "x", start, end, 0, "") for kind, start, end in spans
    ]
    path = tmp_path / "t.json"
    render.write_perfetto({0: events}, path)
    events_by_rank = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    bars = [event for event in events_by_rank if event["ph"] == "X"]
    assert [bar["tid"] for bar in bars] == [0, 1, 2, 1, 1]
    assert {e["tid"] for e in events_by_rank if e["name"] == "thread_name"} == {0, 1, 2}


def test_a_full_disk_ends_the_record_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Full:
        name, closed = "rank-0.jsonl", False

        def write(self, _: bytes) -> int:
            if self.closed:
                raise ValueError
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            self.closed = True

    with recording(tmp_path, ALONE) as recorder:
        recorder._file.close()
        recorder._file = Full()  # type: ignore[assignment]
        for _ in range(3):
            with recorder.phase("forward"):
                pass
    assert caplog.text.count("No space left") == 1


def test_a_last_line_that_a_kill_cut_off_is_forgiven_and_nothing_else(
    recorded: Path, tmp_path: Path
) -> None:
    for path in recorded.glob("*.jsonl"):
        (tmp_path / path.name).write_text(path.read_text()[:-9])
    assert sorted(timeline.read(tmp_path)) == [0, 1]
    lines = (recorded / "rank-0.jsonl").read_text().splitlines()
    (tmp_path / "rank-0.jsonl").write_text("\n".join([lines[0], "{", *lines[1:]]))
    with pytest.raises(ResultError, match="not what was recorded"):
        timeline.read(tmp_path)
    with pytest.raises(ResultError, match=r"no rank-\*"):
        timeline.read(tmp_path / "nowhere")
