"""Proofs for distrinews.dist: ranks meet, agree and part.

WHY so many claims per run: starting ranks costs seconds (each imports torch), asking
them one more question costs nothing. `helpers/dist_program.py` is what the ranks do.
"""

from __future__ import annotations

import ast
import itertools
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import torch
import torch.distributed as torch_dist
from helpers import dist_program
from helpers.running import (
    HELPERS,
    Program,
    is_running,
    like_windows,
    wait_until,
)

from distrinews import dist
from distrinews.dist import process_group
from distrinews.errors import DataError, RankFailedError, SetupError
from distrinews.system import machine

PROGRAM = HELPERS / "dist_program.py"
Start = Callable[..., Program]
Facts = list[dict[str, Any]]
posix_only = pytest.mark.skipif(
    sys.platform == "win32", reason="POSIX signals do not exist on Windows"
)
torchrun_only = pytest.mark.skipif(
    sys.platform != "linux", reason="torchrun is this course's launcher on Linux only"
)
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def read(out: pathlib.Path, num_ranks: int) -> Facts:
    files = [out / f"{rank}.json" for rank in range(num_ranks)]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


# --- One program, started by `launch`, by torchrun, and as on Windows -------------


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Two ranks, started from this very process."""
    out = tmp_path_factory.mktemp("launched")
    before = dict(os.environ)
    dist.launch(dist_program.check_everything, out, num_ranks=2, timeout_s=60)
    assert dict(os.environ) == before, "launch left variables in our environment"
    return read(out, 2)


@pytest.fixture(scope="module")
def by_torchrun(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Two ranks, started by torchrun."""
    if sys.platform != "linux":
        pytest.skip("torchrun is this course's launcher on Linux only")
    out = tmp_path_factory.mktemp("torchrun")
    command = (
        *TORCHRUN,
        "--standalone",
        "--nproc_per_node=2",
        PROGRAM,
        "check_everything",
        out,
        "2",
    )
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    done = subprocess.run(
        command, capture_output=True, timeout=120, check=False, env=env
    )
    assert done.returncode == 0, done.stderr.decode()
    return read(out, 2)


@pytest.fixture(scope="module")
def as_on_windows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Facts, Program]:
    """Three ranks under the conditions of a Windows machine that Linux can imitate."""
    folder = tmp_path_factory.mktemp("Eigene Dateien von Jörg")
    program = Program(
        (PROGRAM, "check_everything", folder, 3),
        folder=folder,
        env={
            **like_windows(),
            "MASTER_PORT": "1",  # no user may listen there: it must not be used
            "OMP_NUM_THREADS": "7",
            "GLOO_SOCKET_IFNAME": machine.loopback_interface(),
        },
    )
    try:
        code = program.exit_code(timeout_s=120)
        assert code == 0, program.err
        program.seconds_until_nothing_is_left(timeout_s=0.5)
        return read(folder, 3), program
    finally:
        program.kill_everything()


@pytest.fixture(params=["launched", "by_torchrun", "as_on_windows"])
def facts(request: pytest.FixtureRequest) -> Facts:
    result = request.getfixturevalue(request.param)
    return result[0] if isinstance(result, tuple) else result  # type: ignore[no-any-return]


def test_every_rank_knows_who_it_is(facts: Facts) -> None:
    num_ranks = len(facts)
    for rank, fact in enumerate(facts):
        who = fact["who"]
        assert who["ranks"][:3] == [rank, rank, num_ranks]
        assert who["current"] is True
        assert who["launched"] == num_ranks
        assert who["initialized"] is True


def test_sums_over_ranks_are_exact(facts: Facts) -> None:
    num_ranks = len(facts)
    ranks_sum = sum(range(num_ranks))
    for fact in facts:
        assert fact["sums"] == {
            "int": num_ranks * 2**60 + ranks_sum,
            "float": num_ranks + ranks_sum * 2.0**-50,
            "bool": [num_ranks, 1],
            "bools": [num_ranks, 1],
            "numpy": num_ranks * 2**60 + ranks_sum,
            "tensor": [[1.5 * num_ranks, 2.0 * num_ranks], [ranks_sum, -num_ranks]],
            "unchanged": True,
            "dtype": "torch.float64",
        }


def test_a_less_careful_type_would_lose_those_sums() -> None:
    """Negative control: the values above tell exact sums from rounded ones."""
    assert int(float(2 * 2**60 + 1)) != 2 * 2**60 + 1  # an int summed in float64
    term = torch.tensor(1.0 + 2.0**-50, dtype=torch.float32)  # a float in float32
    assert (1.0 + term).item() != 2 + 2.0**-50


def test_objects_arrive_in_rank_order_and_rank_0_is_the_one_who_broadcasts(
    facts: Facts,
) -> None:
    length = len(dist_program.HEADLINE)
    for fact in facts:
        objects = fact["objects"]
        assert objects["gathered"] == list(range(len(facts)))
        assert objects["lengths"] == [
            length * (1 + 2_000 * rank) for rank in range(len(facts))
        ]
        assert objects["broadcast"] == "from rank 0"


def test_a_vote_raises_the_same_error_on_every_rank(facts: Facts) -> None:
    last = len(facts) - 1
    for fact in facts:
        votes = fact["votes"]
        assert votes["healthy"] == {"kind": None}
        assert votes["last_only"]["kind"] == "DataError"
        assert votes["last_only"]["text"].startswith(f"row {last} is empty.")
        assert votes["last_only"]["notes"] == ["seen in test.csv"]
        assert votes["all"]["text"].startswith("row 0 is empty.")  # the lowest rank's
        assert votes["afterwards"] == len(facts)


def test_a_crash_inside_raise_together_reaches_every_rank_with_its_traceback(
    facts: Facts,
) -> None:
    for fact in facts:
        crash = fact["votes"]["crash"]
        assert crash["kind"] == "RankFailedError"
        last = len(facts) - 1
        assert crash["text"].startswith(f"rank {last} raised ZeroDivisionError")
        assert "in divide" in crash["notes"][0]


def test_rank_0_goes_first_and_the_others_find_its_file(facts: Facts) -> None:
    assert [fact["orders"]["found"] for fact in facts] == [True] * len(facts)


def test_without_rank0_first_the_others_come_too_early(facts: Facts) -> None:
    """Negative control: the order above is made by `rank0_first`, not by luck."""
    file_was_there = [fact["orders"]["found_unordered"] for fact in facts]
    assert file_was_there == [True] + [False] * (len(facts) - 1)


def test_rank_0s_failure_is_raised_on_all_before_the_others_enter(
    facts: Facts,
) -> None:
    for rank, fact in enumerate(facts):
        assert fact["orders"]["error"]["text"].startswith("no disk.")
        assert fact["orders"]["entered"] is (rank == 0)
        assert fact["orders"]["afterwards"] == len(facts)


def test_a_second_group_inside_the_first_is_a_setup_error(facts: Facts) -> None:
    for fact in facts:
        assert fact["nested_setup"]["kind"] == "SetupError"
        assert fact["nested_launch"]["kind"] == "SetupError"


# --- What a rank's process is like ----------------------------------------------


def test_launch_spawns_and_opens_no_port_but_gloos_on_the_loopback(
    launched: Facts,
) -> None:
    for fact in launched:
        who = fact["who"]
        assert "spawn_main" in " ".join(who["command"])
        assert who["listens_on"], "nothing listens: this proof looked at nothing"
        assert set(who["listens_on"]) <= {"127.0.0.1", "::1"}
        assert who["env"]["MASTER_PORT"] is None
        assert who["env"]["DISTRINEWS_STORE"] is not None


def test_torchrun_starts_the_ranks_itself_and_no_store_file_is_used(
    by_torchrun: Facts,
) -> None:
    """Negative control: the two ways to start can be told apart."""
    for fact in by_torchrun:
        assert fact["who"]["child"] is False
        assert fact["who"]["env"]["DISTRINEWS_STORE"] is None
        assert fact["who"]["env"]["MASTER_PORT"] is not None


def test_every_group_of_ours_waits_as_long_as_the_run(launched: Facts) -> None:
    for rank, fact in enumerate(launched):
        seconds = dict(fact["timeouts"])
        # Negative control: torch's own default knows nothing of the run's timeout.
        assert seconds.pop("torch's") == 30 * 60
        assert seconds.pop("run, changed") == 7
        assert set(seconds.values()) == {60}
        # Rank 0 is no member of the group of the last rank.
        assert ("ours, one member" in seconds) == (rank == 1)
        assert {"run", "ours", "touched rows"} <= set(seconds)


def groups_without_timeout(source: str) -> list[int]:
    """Lines that make a process group and leave its timeout to torch."""
    makers = {"new_group", "new_subgroups", "init_process_group", "split_group"}
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in makers
        and ast.unparse(node.func.value) != "process_group"
        and not any(keyword.arg == "timeout" for keyword in node.keywords)
    ]


def test_no_code_of_ours_leaves_a_groups_timeout_to_torch() -> None:
    root = pathlib.Path(__file__).resolve().parents[1]
    files = [
        path
        for folder in ("distrinews", "apps", "chapters")
        for path in (root / folder).rglob("*.py")
    ]
    assert len(files) > 50
    forgotten = {
        str(path.relative_to(root)): lines
        for path in files
        if (lines := groups_without_timeout(path.read_text(encoding="utf-8")))
    }
    assert forgotten == {}
    # Negative control.
    assert groups_without_timeout("import torch_dist\ntorch_dist.new_group()") == [2]


def test_the_cores_are_divided_among_the_ranks(launched: Facts) -> None:
    fair = str(max(1, machine.num_cores() // 2))
    for fact in launched:
        assert fact["who"]["env"]["OMP_NUM_THREADS"] == fair
        assert fact["who"]["num_threads"] == int(fair)
        assert fact["who"]["env"]["GLOO_SOCKET_IFNAME"] == machine.loopback_interface()


def test_the_users_own_number_of_threads_is_kept(
    as_on_windows: tuple[Facts, Program],
) -> None:
    for fact in as_on_windows[0]:
        assert fact["who"]["env"]["OMP_NUM_THREADS"] == "7"


def test_a_headline_in_cyrillic_is_printed_on_a_console_that_cannot_show_it(
    as_on_windows: tuple[Facts, Program],
) -> None:
    written = dist_program.HEADLINE.encode("cp1252", "backslashreplace").decode()
    # gloo of torch 2.10 prints there whom it met; that of 2.13 does not.
    lines = as_on_windows[1].out.splitlines()
    assert [line for line in lines if not line.startswith("[Gloo] ")] == [written]
    with pytest.raises(UnicodeEncodeError):  # negative control: it really cannot
        dist_program.HEADLINE.encode("cp1252")


def test_nothing_is_left_in_a_temporary_folder_with_spaces_and_umlauts(
    as_on_windows: tuple[Facts, Program],
) -> None:
    store = as_on_windows[0][0]["who"]["env"]["DISTRINEWS_STORE"]
    assert "Jörg" in store
    assert " " in store
    # torch 2.10 makes a cache there for torch.compile; 2.13 does not.
    left = as_on_windows[1].temporary_files()
    assert [name for name in left if not name.startswith("torchinductor_")] == []


# --- setup ----------------------------------------------------------------------


def test_alone_there_is_no_group_and_every_collective_is_an_identity() -> None:
    with dist.setup() as ranks:
        assert (ranks.rank, ranks.local_rank, ranks.world_size) == (0, 0, 1)
        assert ranks == dist.current()
        assert not torch_dist.is_initialized()
        assert dist.sum_over_ranks(2**60 + 1) == 2**60 + 1
        count = dist.sum_over_ranks(True)
        assert (count, type(count)) == (1, int)
        assert dist.gather_objects("mine") == ["mine"]
        assert dist.broadcast_object("mine") == "mine"
        with dist.rank0_first(), dist.raise_together():
            entered = True
    assert entered
    assert dist.launched_world_size() is None


def test_alone_a_failed_vote_raises_the_error_itself() -> None:
    with pytest.raises(DataError, match="row 0"), dist.raise_together():
        raise DataError("row 0.", why="why", fix="fix", page="data")
    with pytest.raises(RankFailedError, match="rank 0 raised KeyError"):
        dist.vote_then_raise(KeyError("loss"))


@pytest.mark.parametrize("num_ranks", [0, -1])
def test_launching_nobody_is_a_setup_error(num_ranks: int) -> None:
    with pytest.raises(SetupError, match=f"num_ranks is {num_ranks}"):
        dist.launch(print, num_ranks=num_ranks)


GOOD = {"RANK": "1", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}


@pytest.mark.parametrize(
    "change",
    [
        {"RANK": ""},
        {"RANK": "one"},
        {"RANK": "2"},
        {"RANK": "-1", "LOCAL_RANK": "-1"},
        {"LOCAL_RANK": None},
        {"LOCAL_RANK": "2"},
        {"WORLD_SIZE": None},
        {"WORLD_SIZE": "0"},
        {"LOCAL_WORLD_SIZE": "0"},
    ],
)
def test_unusable_launcher_variables_are_a_setup_error(
    change: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**GOOD, **change}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(SetupError, match="do not fit together"), dist.setup():
        pass
    with pytest.raises(SetupError, match="unset RANK"):
        dist.launched_world_size()


def test_usable_launcher_variables_are_not_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Negative control: it is the changed value that is refused above."""
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    assert dist.launched_world_size() == 2


@torchrun_only
def test_a_group_ends_with_its_block_also_after_an_error_and_a_new_one_can_follow(
    start: Start, tmp_path: pathlib.Path
) -> None:
    program = start(
        *TORCHRUN,
        "--standalone",
        "--nproc_per_node=2",
        PROGRAM,
        "setup_again",
        tmp_path,
    )
    assert program.exit_code(timeout_s=90) == 0, program.err
    for fact in read(tmp_path, 2):
        # (0 + turn) + (1 + turn); in every turn the ranks met in a group of their own.
        assert fact == {"sums": [1, 3, 5, 7, 9], "left": [True] * 5}


def test_a_name_from_torchs_own_dist_is_answered_with_how_to_write_it() -> None:
    with pytest.raises(AttributeError, match=r"torch_dist\.all_reduce"):
        dist.all_reduce  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        dist.nonsense  # noqa: B018


@pytest.mark.parametrize("name", ["group", "GroupMember", "Store"])
def test_no_room_of_ours_hides_a_name_of_torchs(name: str) -> None:
    """A tutorial's `dist.group.WORLD` must meet the hint, not a module of ours."""
    assert hasattr(torch_dist, name)  # the guard: torch has it
    with pytest.raises(AttributeError, match=f"torch_dist.{name}"):
        getattr(dist, name)


# --- Failures -------------------------------------------------------------------


def test_one_rank_fails_alone_and_launch_names_it_with_file_and_line(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    before = dict(os.environ)
    with pytest.raises(RankFailedError) as caught:
        dist.launch(
            dist_program.leave_rank_0_alone, tmp_path, num_ranks=2, timeout_s=30
        )
    lines = PROGRAM.read_text(encoding="utf-8").splitlines()
    number = 1 + next(i for i, line in enumerate(lines) if '"bad row"' in line)
    assert "rank 1 raised ValueError: bad row" in caught.value.what
    assert f"dist_program.py:{number} in leave_rank_0_alone" in caught.value.what
    assert 'raise ValueError("bad row")' in caught.value.__notes__[0]
    assert list(temporary.iterdir()) == []
    assert dict(os.environ) == before
    # Negative control to the votes above: without one, rank 0 was in its next
    # collective, and what it met there does not say what happened.
    if sys.platform == "linux":  # elsewhere gloo's transport wakes nobody
        met = (tmp_path / "rank_0.txt").read_text(encoding="utf-8")
        assert "bad row" not in met
        assert "closed" in met.lower() or "reset" in met.lower(), met


@pytest.mark.slow
def test_a_failing_rank_whose_group_is_busy_reports_before_it_leaves(
    start: Start, tmp_path: pathlib.Path
) -> None:
    program = start(PROGRAM, "fail_with_work_under_way", tmp_path, 2, 60.0)
    assert program.exit_code(timeout_s=30) == 1
    assert "rank 1 raised ValueError: bad row" in program.err
    program.seconds_until_nothing_is_left(timeout_s=0.5)


@torchrun_only
@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "in_finally"),
    [
        ("fail_with_work_under_way", False),
        ("fail_with_a_wrapper_and_work_under_way", False),
        ("fail_with_work_under_way", True),
    ],
)
def test_a_failing_rank_of_torchrun_prints_its_error_and_ends_while_its_group_is_busy(
    start: Start, tmp_path: pathlib.Path, function: str, in_finally: bool
) -> None:
    """Negative control: with `finally: destroy_process_group()` nobody hears of it."""
    program = start(
        *(*TORCHRUN, "--standalone", "--nproc_per_node=2", PROGRAM),
        *(function, tmp_path, 2, 120.0),
        env={"DESTROY_IN_FINALLY": "1" if in_finally else ""},
    )
    wait_until((tmp_path / "failing").exists, timeout_s=60, what="rank 1 fails")
    if in_finally:
        with pytest.raises(AssertionError, match="did not end"):
            program.exit_code(timeout_s=20)
        assert "bad row" not in program.err
        program.kill_everything()
        return
    assert program.exit_code(timeout_s=60) == 1
    assert "ValueError: bad row" in program.err
    program.seconds_until_nothing_is_left(timeout_s=0.5)


# --- Last words under torchrun ----------------------------------------------------

CLOSED = RuntimeError("Connection closed by peer [127.0.0.1]:4242")


def raised(error: BaseException) -> BaseException:
    """The error with a traceback, as `setup` meets it."""
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("peer", "said"),
    [
        (None, "rank 1 left early and without an error: it reached the end of its"),
        (
            SystemExit(0),
            "rank 1 left early and without an error: it called sys.exit(0) (test_dist",
        ),
        (SystemExit(3), "rank 1 failed: sys.exit(3) (test_dist.py:"),
        (ValueError("bad row"), "rank 1 failed: ValueError: bad row (test_dist.py:"),
    ],
)
def test_under_torchrun_a_rank_that_lost_its_peer_says_how_the_peer_left(
    peer: BaseException | None, said: str
) -> None:
    store = torch_dist.HashStore()  # type: ignore[attr-defined]
    lost, left = (process_group.LastWords(store, rank, 2) for rank in (0, 1))
    if peer is None:
        left.of_return()
    else:
        assert left.of_failure(raised(peer)) is None  # its own error is the cause
    cause = lost.of_failure(raised(CLOSED))
    assert cause is not None
    assert cause.what.startswith(said)
    assert "rank 0 waited for it (test_dist.py:" in cause.what
    assert "Connection closed by peer" in cause.__notes__[0]


def test_under_torchrun_a_killed_peer_and_an_error_of_ones_own_are_no_ones_blame() -> (
    None
):
    """Negative controls: nobody said anything; and this rank's error is the cause."""
    store = torch_dist.HashStore()  # type: ignore[attr-defined]
    lost, left = (process_group.LastWords(store, rank, 2) for rank in (0, 1))
    assert lost.of_failure(raised(CLOSED)) is None
    left.of_return()
    assert lost.of_failure(raised(ValueError("bad row"))) is None


def test_torchruns_summary_gets_the_error(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
    store = torch_dist.HashStore()  # type: ignore[attr-defined]
    lost, left = (process_group.LastWords(store, rank, 2) for rank in (0, 1))
    left.of_return()
    assert not file.exists()
    lost.of_failure(raised(CLOSED))
    message = json.loads(file.read_text(encoding="utf-8"))["message"]
    assert "rank 1 left early" in message["message"]
    assert "rank 1 left early" in message["extraInfo"]["py_callstack"]
    # What gloo said is a note of the error, and no part of the summary.
    assert "Connection closed" not in message["extraInfo"]["py_callstack"]


@torchrun_only
@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("leave_with_3", "sys.exit(3)"),
        ("leave_with_0", "rank 1 left early and without an error: it called sys.exit"),
        ("run_out_of_batches", "rank 1 left early and without an error: it reached"),
    ],
)
def test_torchruns_summary_blames_the_rank_that_left(
    start: Start, tmp_path: pathlib.Path, function: str, said: str
) -> None:
    program = start(
        *(*TORCHRUN, "--standalone", "--nproc_per_node=2", PROGRAM),
        *(function, tmp_path, 2, 60.0),
    )
    assert program.exit_code(timeout_s=60) == 1
    summary = program.err[program.err.index("Root Cause") :]
    assert said in summary


# --- The end of the program under torchrun ----------------------------------------

# Makes one of gloo's threads late: it gets a core only if nobody else wants it, and
# Python's lock only from who lets go of it.
LATE_THREAD = """
import os, sys, torch, torch.distributed as torch_dist
from distrinews.dist import process_group
sys.setswitchinterval(100)
store = torch_dist.FileStore(sys.argv[1], 1)
torch_dist.init_process_group("gloo", store=store, rank=0, world_size=1)
held = torch_dist.group.WORLD  # as a DDP wrapper holds it
torch_dist.all_reduce(torch.ones(1000))
core = {min(os.sched_getaffinity(0))}
os.sched_setaffinity(0, core)
for thread in map(int, os.listdir("/proc/self/task")):
    with open(f"/proc/self/task/{thread}/comm") as file:
        if "gloo" in file.read():
            os.sched_setaffinity(thread, core)
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
torch_dist.all_reduce(torch.ones(1000))
"""
ENDS = {
    # WHY a second: a thread as late as this one needs longer than a usual one, if other
    # programs want the core, too.
    "ours": "process_group.LET_GO_S = 1; process_group._destroy_groups()",
    "torch's": "torch_dist.destroy_process_group()",
}


@torchrun_only
@pytest.mark.endurance
def test_a_training_that_ended_well_is_not_aborted_by_a_late_thread_of_gloo(
    tmp_path: pathlib.Path,
) -> None:
    stores = (str(tmp_path / f"store{number}") for number in itertools.count())

    def ends_well(end: str) -> bool:
        command = [sys.executable, "-c", LATE_THREAD + ENDS[end], next(stores)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        aborted = b"terminate called without an active exception" in done.stderr
        assert aborted or done.returncode == 0, done.stderr.decode()
        return not aborted

    assert all(ends_well("ours") for _ in range(10))
    # Negative control: 3 of 8 were aborted on two quiet cores, 1 of 16 on busy ones.
    assert not all(ends_well("torch's") for _ in range(80))


# --- Leaving the group, with a fake one ------------------------------------------


class FakeGroup:
    """A group that waits for peers when it is destroyed, for as long as it is let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.peers_came = threading.Event()
        monkeypatch.setattr(torch_dist, "is_initialized", lambda: False)
        for name, value in {**GOOD, "RANK": "0"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(process_group, "_init_process_group", lambda *how: None)
        monkeypatch.setattr(
            "distrinews.dist.spawn.exit_when_orphaned", lambda words: None
        )
        # Else this test's own process would have to end within the limit.
        monkeypatch.setattr("atexit.register", lambda *call: None)
        monkeypatch.setattr(torch_dist, "destroy_process_group", self.destroy)
        monkeypatch.setattr(
            torch_dist.distributed_c10d, "_abort_process_group", self.abort
        )

    def destroy(self) -> None:
        self.calls.append("destroy")
        self.peers_came.wait()

    def abort(self) -> None:
        self.calls.append("abort")


def test_after_an_error_a_group_is_aborted_and_after_success_destroyed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group = FakeGroup(monkeypatch)
    with pytest.raises(ZeroDivisionError), dist.setup():
        _ = 1 / 0
    assert group.calls == ["abort"]
    # Negative control: nothing failed, so the group is left in good order.
    group.peers_came.set()
    with dist.setup():
        pass
    assert group.calls == ["abort", "destroy"]


def test_a_group_that_cannot_be_left_ends_the_process_with_the_error_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    group = FakeGroup(monkeypatch)
    monkeypatch.setattr(
        torch_dist.distributed_c10d, "_abort_process_group", group.destroy
    )
    monkeypatch.setattr(process_group, "ABORT_TIMEOUT_S", 0.1)

    def end(code: int) -> NoReturn:
        raise SystemExit(code)

    monkeypatch.setattr("distrinews.system.console.exit_now", end)
    with pytest.raises(SystemExit) as ended, dist.setup():
        _ = 1 / 0
    group.peers_came.set()
    assert ended.value.code == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


@posix_only
@pytest.mark.slow
def test_a_frozen_rank_ends_the_run_after_the_timeout(
    start: Start, tmp_path: pathlib.Path
) -> None:
    program = start(PROGRAM, "stop_rank_1", tmp_path, 2, 5.0)
    assert program.exit_code(timeout_s=40) == 1
    assert "rank 1 is at a halt: its process is frozen" in program.err
    assert "others were waiting in: rank 0 (dist_program.py:" in program.err
    waited_s = float((tmp_path / "waited_s.txt").read_text(encoding="utf-8"))
    assert 5.0 <= waited_s < 7.0
    program.seconds_until_nothing_is_left(timeout_s=0.5)
    assert program.temporary_files() == []


@pytest.mark.slow
def test_a_rank_that_sleeps_ends_the_run_after_the_timeout(
    start: Start, tmp_path: pathlib.Path
) -> None:
    program = start(PROGRAM, "hang_rank_1", tmp_path, 2, 5.0)
    assert program.exit_code(timeout_s=40) == 1
    lines = PROGRAM.read_text(encoding="utf-8").splitlines()
    slept = 3 + next(i for i, line in enumerate(lines) if "def hang_rank_1" in line)
    slept += 1  # def, docstring, if, sleep
    assert f"rank 1 is at (dist_program.py:{slept} in hang_rank_1)" in program.err
    assert f"rank 0 (dist_program.py:{slept + 1} in hang_rank_1)" in program.err
    program.seconds_until_nothing_is_left(timeout_s=0.5)


@pytest.mark.slow
def test_ranks_that_wait_for_each_other_in_different_places_are_all_named(
    start: Start, tmp_path: pathlib.Path
) -> None:
    program = start(PROGRAM, "miss_each_other", tmp_path, 2, 5.0)
    assert program.exit_code(timeout_s=40) == 1
    lines = PROGRAM.read_text(encoding="utf-8").splitlines()
    at = next(i for i, line in enumerate(lines) if "def miss_each_other" in line) + 1
    stacks = "; ".join(
        f"rank {rank} (dist_program.py:{at + below} in miss_each_other)"
        for rank, below in ((0, 3), (1, 5))
    )
    assert f"ranks waited for each other in different places: {stacks}" in program.err
    program.seconds_until_nothing_is_left(timeout_s=0.5)


@pytest.mark.slow
def test_in_debug_mode_a_barrier_names_the_missing_rank_also_without_our_launcher(
    start: Start, tmp_path: pathlib.Path
) -> None:
    debug = {"TORCH_DISTRIBUTED_DEBUG": "INFO"}
    program = start(PROGRAM, "hang_rank_1", tmp_path, 2, 5.0, env=debug)
    assert program.exit_code(timeout_s=40) == 1
    # torch's own words, in the traceback of the rank that waited.
    assert "Ranks 1 failed to pass monitoredBarrier in 5000 ms" in program.err
    assert "rank 1 is at (dist_program.py:" in program.err


@pytest.mark.slow
def test_a_rank_that_never_arrives_ends_the_run_after_the_timeout(
    start: Start, tmp_path: pathlib.Path
) -> None:
    late = {"RANK_ONE_IS_LATE": str(tmp_path / "late")}
    program = start(PROGRAM, "only_who", tmp_path, 2, 5.0, env=late)
    assert program.exit_code(timeout_s=40) == 1
    assert "A rank failed: rank" in program.err
    program.seconds_until_nothing_is_left(timeout_s=0.5)
    assert program.temporary_files() == []


@posix_only
def test_when_the_starter_is_killed_its_ranks_end_also_in_a_collective_or_a_loop(
    start: Start, tmp_path: pathlib.Path
) -> None:
    program = start(PROGRAM, "stuck_and_busy", tmp_path, 2)
    pids = wait_for_ranks(tmp_path, 2)
    assert len(program.temporary_files()) == 1  # the store: it will be cleaned up
    program.process.kill()
    program.seconds_until_nothing_is_left(timeout_s=5)
    assert not any(is_running(pid) for pid in pids)
    assert program.temporary_files() == []


@posix_only
@pytest.mark.slow
def test_ctrl_c_ends_a_run_that_is_stuck_in_a_collective(
    start: Start, tmp_path: pathlib.Path
) -> None:
    program = start(PROGRAM, "stuck_and_busy", tmp_path, 2)
    wait_for_ranks(tmp_path, 2)
    program.press_ctrl_c()
    assert program.exit_code(timeout_s=10) == 130
    program.seconds_until_nothing_is_left(timeout_s=0.5)
    assert program.temporary_files() == []
    assert program.err.splitlines() == [
        "Interrupted. What had been saved before is intact."
    ]


KILLED_BEFORE_THE_FIRST_RANK = """
import os
from distrinews import dist
from distrinews.dist import spawn

spawn.run_ranks = lambda *args, **options: os._exit(9)  # as killed by force
dist.launch(print, num_ranks=2)
"""


def test_a_starter_that_is_killed_before_its_first_rank_runs_leaves_no_folder(
    start: Start, tmp_path: pathlib.Path
) -> None:
    program_file = tmp_path / "killed.py"
    program_file.write_text(KILLED_BEFORE_THE_FIRST_RANK, encoding="utf-8")
    program = start(program_file)
    assert program.exit_code() == 9
    assert program.temporary_files() == []


def test_a_store_that_is_written_anew_while_it_is_deleted_goes_all_the_same(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a rank does that still joins."""
    store = tmp_path / "distrinews-x" / "store"
    store.parent.mkdir()
    store.touch()
    monkeypatch.setenv(process_group.STORE_VARIABLE, str(store))
    rmdir, attempts = os.rmdir, []

    def write_anew_then_rmdir(path: Any, **options: Any) -> None:
        attempts.append(path)
        if len(attempts) == 1:
            store.touch()
        rmdir(path, **options)

    monkeypatch.setattr(os, "rmdir", write_anew_then_rmdir)
    process_group._remove_store()
    assert not store.parent.exists()
    assert len(attempts) == 2  # negative control: the first did fail


@torchrun_only
@pytest.mark.slow
def test_when_torchruns_agent_is_killed_its_ranks_end(
    start: Start, tmp_path: pathlib.Path
) -> None:
    program = start(
        *(*TORCHRUN, "--standalone", "--nproc_per_node=2"),
        *(PROGRAM, "stuck_and_busy", tmp_path, 2),
    )
    pids = wait_for_ranks(tmp_path, 2)
    assert program.process.pid not in pids
    program.process.kill()
    program.seconds_until_nothing_is_left(timeout_s=5)


@torchrun_only
@pytest.mark.slow
@pytest.mark.parametrize("per_machine", [1, 2])
def test_with_two_machines_rank_and_local_rank_differ(
    start: Start, tmp_path: pathlib.Path, per_machine: int
) -> None:
    with socket.socket() as probe:  # a port that is free right now
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    rendezvous = (
        "--nnodes=2",
        f"--nproc_per_node={per_machine}",
        "--rdzv_backend=c10d",
        f"--rdzv_endpoint=127.0.0.1:{port}",
        "--rdzv_id=proof",
        "--local_addr=127.0.0.1",
    )
    # WHY the loopback: both "machines" are this one, and its own name may lead away.
    env = {"GLOO_SOCKET_IFNAME": machine.loopback_interface()}
    command = (*TORCHRUN, *rendezvous, PROGRAM, "only_who", tmp_path, 2)
    agents = [start(*command, env=env) for _ in range(2)]
    for agent in agents:
        assert agent.exit_code(timeout_s=90) == 0, agent.err
    facts = read(tmp_path, 2 * per_machine)
    local_ranks = [fact["who"]["ranks"][1] for fact in facts]
    assert local_ranks == [*range(per_machine), *range(per_machine)]
    for rank, fact in enumerate(facts):
        assert fact["who"]["ranks"][0] == rank
        assert fact["who"]["ranks"][2] == 2 * per_machine
        assert fact["who"]["current"] is True
        assert fact["sums"]["int"] == len(facts) * 2**60 + sum(range(len(facts)))


def test_a_rank_without_a_gpu_of_its_own_computes_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch_dist, "is_nccl_available", lambda: True)
    assert process_group._device(0, 2) == torch.device("cpu")  # one GPU, two ranks
    assert process_group._device(0, 1) == torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert process_group._device(1, 2) == torch.device("cuda", 1)
    monkeypatch.setattr(torch_dist, "is_nccl_available", lambda: False)
    assert process_group._device(1, 2) == torch.device("cpu")  # Windows: no nccl


def wait_for_ranks(out: pathlib.Path, num_ranks: int) -> list[int]:
    """Wait until every rank is at work; return their process ids."""
    files = [out / f"{rank}.pid" for rank in range(num_ranks)]
    wait_until(
        lambda: all(file.exists() and file.read_text() for file in files),
        timeout_s=60,
        what="ranks at work",
    )
    return [int(file.read_text()) for file in files]


def modules_that_call(name: str) -> set[str]:
    """Name the modules of the library with a call of `SOMETHING.NAME(...)`."""
    package = pathlib.Path(dist.__file__).parents[1]
    return {
        path.relative_to(package).with_suffix("").as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == name
    }


def test_only_setup_makes_the_default_group_and_others_make_groups_beside_it() -> None:
    assert modules_that_call("init_process_group") == {"dist/process_group"}
    # Negative control: `setup` and `rank0_first` alone was wrong.
    others = modules_that_call("new_group") - {"dist/process_group"}
    assert others > {"dist/launcher", "sync/sparse_embedding"}


def test_a_rank_takes_its_gpu_before_it_meets_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else every rank's first collective allocates on GPU 0, and nccl refuses."""
    happened: list[Any] = []
    for name, value in {**GOOD, "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch_dist, "is_nccl_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda gpu: happened.append(gpu))
    monkeypatch.setattr(process_group, "_rendezvous_store", lambda *where: None)
    monkeypatch.setattr(
        torch_dist, "init_process_group", lambda **how: happened.append(how)
    )
    monkeypatch.setattr(
        torch_dist, "destroy_process_group", lambda: happened.append("left")
    )
    monkeypatch.setattr("distrinews.dist.spawn.exit_when_orphaned", lambda words: None)
    with dist.setup(timeout_s=7) as ranks:
        assert ranks.device == torch.device("cuda", 1)
    bound, how, left = happened
    assert bound == how["device_id"] == torch.device("cuda", 1)
    assert how["backend"] == "cpu:gloo,cuda:nccl"
    assert how["timeout"].total_seconds() == 7
    assert left == "left"
