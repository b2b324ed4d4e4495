"""Proofs for distrinews.trace and .timeline: what happened, and who is missing."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as torch_dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist, timeline, trace
from distrinews.errors import RankFailedError, ResultError

pytestmark = pytest.mark.timeout(120)


def replicated() -> tuple[nn.Module, DistributedDataParallel]:
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Linear(400, 400) for _ in range(4)))  # 2.6 MB
    return net, DistributedDataParallel(net, bucket_cap_mb=0.5)


def train(ranks: dist.Ranks, out: Path) -> None:
    rows = torch.ones(2, 400) * ranks.rank
    net, replica = replicated()
    before = torch_dist.all_reduce
    with trace.recording(out, ranks) as recorder:
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
    unwatched(rows).square().mean().backward()
    pairs = zip(net.parameters(), again.parameters(), strict=True)
    equal = [torch.equal(one.grad, other.grad) for one, other in pairs]
    (out / f"equal-{ranks.rank}.json").write_text(json.dumps(equal))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trace")
    dist.launch(train, out, num_ranks=2, timeout_s=60)
    return out


def test_every_call_is_seen_once_with_its_bytes_and_its_line(recorded: Path) -> None:
    told = timeline.read(recorded)
    assert sorted(told) == [0, 1]
    for rank, events in told.items():
        names = [event.name for event in events]
        assert names[:4] == ["forward", "backward", "bucket 0", "forward"]
        buckets = [event for event in events if event.name.startswith("bucket")][1:]
        assert len(buckets) >= 2
        assert sum(event.num_bytes for event in buckets) == 4 * 4 * 400 * 401
        calls = [event for event in events if event.site.startswith("(agreement.py")]
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


def test_without_a_hang_the_diagnosis_is_silent(recorded: Path) -> None:
    told = timeline.read(recorded)
    assert timeline.diagnose(told, world_size=2) == "every call ended on every rank."
    assert "[2] never began" in timeline.diagnose(told, world_size=3)


def test_the_pictures_hold_every_event(recorded: Path, tmp_path: Path) -> None:
    told = timeline.read(recorded)
    num_events = sum(len(events) for events in told.values())
    page, perfetto = tmp_path / "t.html", tmp_path / "t.json"
    timeline.write_html(told, page, title="a <step>", verdict="fine")
    timeline.write_perfetto(told, perfetto)
    text = page.read_text(encoding="utf-8")
    assert text.count("<rect") == num_events
    assert "a &lt;step&gt;" in text
    assert "http" not in text  # self-contained
    events = json.loads(perfetto.read_text(encoding="utf-8"))["traceEvents"]
    assert sum(event["ph"] == "X" for event in events) == num_events
    assert all(event["dur"] >= 0 for event in events if event["ph"] == "X")


def skip_a_call(ranks: dist.Ranks, out: Path) -> None:
    with trace.recording(out, ranks) as recorder:
        dist.sum_over_ranks(1)
        if ranks.rank == 1:
            with recorder.phase("reading a huge file"):
                time.sleep(60)
        dist.sum_over_ranks(2)


def call_another(ranks: dist.Ranks, out: Path) -> None:
    with trace.recording(out, ranks):
        dist.sum_over_ranks(1)
        if ranks.rank == 1:
            torch_dist.recv(torch.zeros(1), src=0)
        dist.sum_over_ranks(2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("story", "says"),
    [
        (
            skip_a_call,
            r"rank 0 waits in call 1, all_reduce \(agreement\.py:\d+ in _all_reduce\), "
            r"which ranks \[1\] never joined\. Rank 1 is still in reading a huge file",
        ),
        (
            call_another,
            r"call 1 differs: rank 0 called all_reduce .*1 called recv",
        ),
    ],
)
def test_after_a_hang_the_record_names_who_never_came(
    story: Callable[..., None], says: str, tmp_path: Path
) -> None:
    with pytest.raises(RankFailedError):
        dist.launch(story, tmp_path, num_ranks=2, timeout_s=4)
    told = timeline.read(tmp_path)
    assert re.search(says, timeline.diagnose(told, world_size=2))


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
