"""Proofs for distrinews.dist.spawn: a failure is reported once, no process is left.

The programs here load no torch: what is proven does not depend on it, and a run costs
tenths of a second. `test_dist.py` repeats the main cases with real collectives.
"""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable

import pytest
from helpers.running import (
    HELPERS,
    Program,
    is_running,
    like_windows,
    wait_until,
)

from distrinews.dist import spawn
from distrinews.errors import SetupError

PROGRAM = HELPERS / "process_program.py"
START_METHODS = multiprocessing.get_all_start_methods()  # on Windows one
Start = Callable[..., Program]
StartRanks = Callable[..., Program]
posix_only = pytest.mark.skipif(
    sys.platform == "win32", reason="POSIX signals do not exist on Windows"
)
# A run has POSIX's signal masks, or it meets Windows' rules and has none.
both_systems = pytest.mark.parametrize(
    "env",
    [
        pytest.param({}, id="posix"),
        pytest.param(like_windows(), id="like_windows", marks=pytest.mark.slow),
    ],
)
INTERRUPTED = "Interrupted. What had been saved before is intact."


@pytest.fixture
def start_ranks(start: Start, tmp_path: pathlib.Path) -> StartRanks:
    """Start a program with two ranks that write into `tmp_path`."""

    def start_program(
        function: str, *, num_ranks: int = 2, env: dict[str, str] | None = None
    ) -> Program:
        variables = {"RANK_OUT": str(tmp_path), **(env or {})}
        return start(PROGRAM, function, num_ranks, env=variables)

    return start_program


def ranks_at_work(out: pathlib.Path, *, num_ranks: int = 2) -> list[int]:
    """Wait until every rank is at work; return their process ids."""
    files = [out / f"{rank}.pid" for rank in range(num_ranks)]
    wait_until(
        lambda: all(file.exists() for file in files), timeout_s=30, what="at work"
    )
    return [int(file.read_text(encoding="utf-8")) for file in files]


def check_nothing_is_left(program: Program, out: pathlib.Path) -> None:
    # WHY not at once: multiprocessing's own helper, the resource tracker, ends when it
    # notices that its program has.
    program.seconds_until_nothing_is_left(timeout_s=0.5)
    assert program.temporary_files() == []
    assert (out / "restored.txt").read_text(encoding="utf-8") == "True"


def test_the_search_for_processes_left_behind_finds_them(
    start_ranks: StartRanks, tmp_path: pathlib.Path
) -> None:
    """Negative control to every "nothing is left" below."""
    program = start_ranks("sleep")
    pids = ranks_at_work(tmp_path)
    found = {process.pid for process in program.processes()}
    assert {program.process.pid, *pids} <= found
    program.kill_everything()
    assert program.processes() == []


# --- Success --------------------------------------------------------------------


@both_systems
def test_every_rank_is_a_new_process_that_sees_the_environment_given_to_it(
    start_ranks: StartRanks, tmp_path: pathlib.Path, env: dict[str, str]
) -> None:
    program = start_ranks("finish", num_ranks=3, env=env)
    assert program.exit_code() == 0, program.err
    pids = ranks_at_work(tmp_path, num_ranks=3)
    assert len({*pids, program.process.pid}) == 4
    for rank in range(3):
        assert (tmp_path / f"{rank}.txt").read_text(encoding="utf-8") == "set child"
    assert program.err == ""
    check_nothing_is_left(program, tmp_path)


# --- A rank fails ---------------------------------------------------------------


@both_systems
def test_the_rank_that_failed_first_is_named_once_with_file_and_line(
    start_ranks: StartRanks, tmp_path: pathlib.Path, env: dict[str, str]
) -> None:
    program = start_ranks("raise_value_error", env=env)
    assert program.exit_code() == 1
    lines = PROGRAM.read_text(encoding="utf-8").splitlines()
    number = 1 + next(i for i, line in enumerate(lines) if '"bad row"' in line)
    where = f"(process_program.py:{number} in raise_value_error)"
    assert f"rank 1 raised ValueError: bad row {where}." in program.err
    assert program.err.count("Traceback") == 1
    assert "peer closed" not in program.err  # a consequence, not the cause
    check_nothing_is_left(program, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "is_above"), [({}, True), ({"RANK_PLAIN": "1"}, False)]
)
def test_the_message_says_where_the_traceback_is_also_in_a_script_of_ones_own(
    start_ranks: StartRanks, env: dict[str, str], is_above: bool
) -> None:
    """`console.run` prints it above the message, Python itself below it."""
    program = start_ranks("raise_value_error", env=env)
    assert program.exit_code() == 1
    assert (
        "fix:  read the traceback of rank 1, printed with this message" in program.err
    )
    [traceback] = re.finditer(r'raise ValueError\("bad row"\)', program.err)
    [message] = re.finditer(r"rank 1 raised ValueError: bad row", program.err)
    assert (traceback.start() < message.start()) is is_above


@pytest.mark.parametrize(("reports", "named"), [("1", 1), ("0", 0)])
def test_a_rank_reports_before_it_leaves_and_so_the_first_failure_counts(
    start_ranks: StartRanks, reports: str, named: int
) -> None:
    """With "0" as negative control: the first report is another rank's."""
    program = start_ranks("close_slowly", env={"RANK_REPORTS": reports})
    assert program.exit_code() == 1
    assert f"A rank failed: rank {named} raised" in program.err


@pytest.mark.slow
def test_the_line_named_is_ours_also_when_pythons_own_library_raised(
    start_ranks: StartRanks,
) -> None:
    program = start_ranks("raise_in_the_library")
    assert program.exit_code() == 1
    assert "in raise_in_the_library)" in program.err


@pytest.mark.slow
def test_an_error_of_every_rank_is_shown_once_with_its_cure_and_exit_code_2(
    start_ranks: StartRanks, tmp_path: pathlib.Path
) -> None:
    program = start_ranks("raise_data_error")
    assert program.exit_code() == 2
    assert program.err.splitlines() == [
        "seen in test.csv",
        "Error: no rows.",
        "  why:  why",
        "  fix:  fix",
        "  more: troubleshooting/#data",
    ]
    check_nothing_is_left(program, tmp_path)


@pytest.mark.slow
def test_a_report_longer_than_a_pipes_buffer_arrives(start_ranks: StartRanks) -> None:
    program = start_ranks("raise_much")
    assert program.exit_code(timeout_s=10) == 1
    assert "rank 1 raised ValueError: xxx" in program.err
    assert len(program.err) > 1_000_000


@posix_only
def test_a_killed_rank_is_the_cause_not_those_who_noticed_it(
    start_ranks: StartRanks, tmp_path: pathlib.Path
) -> None:
    program = start_ranks("die")
    assert program.exit_code() == 1
    assert "rank 1 was killed by SIGKILL" in program.err
    assert "peer closed" not in program.err
    check_nothing_is_left(program, tmp_path)


@pytest.mark.slow
def test_a_rank_that_leaves_with_an_exit_code_ends_the_run(
    start_ranks: StartRanks,
) -> None:
    program = start_ranks("leave_at_once")
    assert program.exit_code(timeout_s=10) == 1
    assert "rank 1 ended with exit code 7" in program.err
    program.seconds_until_nothing_is_left(timeout_s=0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("leave", "rank 1 called sys.exit(7) (process_program.py:{line} in leave)."),
        (
            "leave_quietly",
            "rank 0 left early and without an error: it called sys.exit(0) "
            "(process_program.py:{line} in leave_quietly). rank 1 waited for it",
        ),
        (
            "return_early",
            "rank 1 left early and without an error: it returned from return_early. "
            "rank 0 waited for it (process_program.py:",
        ),
    ],
)
def test_a_rank_that_leaves_is_blamed_and_not_the_rank_that_lost_it(
    start_ranks: StartRanks, tmp_path: pathlib.Path, function: str, said: str
) -> None:
    program = start_ranks(function)
    assert program.exit_code() == 1
    lines = PROGRAM.read_text(encoding="utf-8").splitlines()
    begun = lines.index(f"def {function}(rank: int) -> None:")
    number = next(
        (n for n in range(begun, begun + 6) if "sys.exit(" in lines[n]), begun
    )
    assert f"A rank failed: {said.format(line=number + 1)}" in program.err
    check_nothing_is_left(program, tmp_path)


@pytest.mark.slow
@posix_only
@pytest.mark.parametrize("answer", ["posix", "windows"])
def test_ranks_whose_output_nobody_reads_any_more_end_quietly(
    tmp_path: pathlib.Path, answer: str
) -> None:
    """As in `python chapters/05_ddp_training.py | head -1`."""
    program = subprocess.Popen(
        (sys.executable, PROGRAM, "print_much", "2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "RANK_OUT": str(tmp_path), "RANK_PIPE": answer},
    )
    assert program.stdout is not None
    assert program.stderr is not None
    assert program.stdout.readline().startswith(b"rank ")
    program.stdout.close()
    err = program.stderr.read().decode()
    program.stderr.close()
    assert (program.wait(30), err) == (0, "")


@pytest.mark.slow
def test_ranks_that_all_leave_without_an_error_are_a_run_that_went_well(
    start_ranks: StartRanks, tmp_path: pathlib.Path
) -> None:
    program = start_ranks("all_leave")
    assert program.exit_code() == 0, program.err
    assert program.err == ""
    check_nothing_is_left(program, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen", [None, *(m for m in ("spawn", "forkserver") if m in START_METHODS)]
)
def test_what_a_rank_starts_is_started_as_in_the_program_that_started_the_rank(
    start_ranks: StartRanks, tmp_path: pathlib.Path, chosen: str | None
) -> None:
    """DataLoader workers: forked on Linux, as under torchrun."""
    env = {} if chosen is None else {"RANK_START_METHOD": chosen}
    program = start_ranks("start_method", env=env)
    assert program.exit_code() == 0, program.err
    wanted = chosen or START_METHODS[0]
    wanted = "spawn" if wanted == "forkserver" else wanted
    for rank in range(2):
        assert (tmp_path / f"{rank}.txt").read_text(encoding="utf-8") == wanted


# --- Functions that a new process could not import ------------------------------------


def a_rank(rank: int) -> None:
    """A function as it should be."""


def nested() -> Callable[[int], None]:
    def inner(rank: int) -> None:
        """A function that is no name of its module."""

    return inner


def run(function: Callable[..., None], *args: object) -> None:
    spawn.run_ranks(a_rank, function, *args, num_ranks=2, env={})


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda rank: None, r"<lambda> \(test_spawn.py:\d+\) is a lambda"),
        (nested(), r"nested.<locals>.inner \(.*\) is defined inside a function"),
    ],
)
def test_a_function_that_has_no_name_of_its_own_is_refused_with_the_cure(
    function: Callable[..., None], said: str
) -> None:
    with pytest.raises(SetupError, match=said) as caught:
        run(function)
    assert "top level of the file" in caught.value.fix


def test_a_function_from_a_notebook_cell_is_refused_with_the_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell = types.ModuleType("__main__")  # like a kernel's: it has no file
    exec("def train(ranks):\n    pass\n", vars(cell))
    monkeypatch.setitem(sys.modules, "__main__", cell)
    with pytest.raises(SetupError, match="train is not defined in a file") as caught:
        run(cell.train)
    assert "%%writefile train.py" in caught.value.fix


def test_an_argument_that_does_not_pickle_is_named(tmp_path: pathlib.Path) -> None:
    with (tmp_path / "open").open("w") as file:
        with pytest.raises(SetupError, match="cannot be sent to them: .*TextIOWrapper"):
            run(a_rank, file)


# --- Ctrl-C and SIGTERM ---------------------------------------------------------


@posix_only
@both_systems
@pytest.mark.parametrize("to", ["everyone", "starter"])
def test_ctrl_c_at_work_ends_all_quietly_with_130(
    start_ranks: StartRanks, tmp_path: pathlib.Path, to: str, env: dict[str, str]
) -> None:
    program = start_ranks("sleep", env=env)
    ranks_at_work(tmp_path)
    if to == "everyone":
        program.press_ctrl_c()
    else:
        program.process.send_signal(signal.SIGINT)
    assert program.exit_code(timeout_s=10) == 130
    assert program.err.splitlines() == [INTERRUPTED]
    check_nothing_is_left(program, tmp_path)


@pytest.mark.slow
@posix_only
def test_ctrl_c_while_the_ranks_still_import_ends_all_quietly_with_130(
    start_ranks: StartRanks, tmp_path: pathlib.Path
) -> None:
    program = start_ranks("sleep", env={"RANK_IMPORT_S": "2"})
    wait_until(
        lambda: len(list(tmp_path.glob("held_back_*"))) == 2,
        timeout_s=30,
        what="two importing ranks",
    )
    program.press_ctrl_c()
    assert program.exit_code(timeout_s=10) == 130
    assert program.err.splitlines() == [INTERRUPTED]
    assert not list(tmp_path.glob("*.pid")), "too late: the ranks were at work"
    check_nothing_is_left(program, tmp_path)
    for file in tmp_path.glob("held_back_*"):
        # Why that was quiet: both ranks were born with these held back.
        assert file.read_text(encoding="utf-8") == "SIGINT SIGTERM"


@pytest.mark.slow
@posix_only
@pytest.mark.parametrize("wait_s", [0.05, 0.3])
def test_ctrl_c_at_any_moment_of_the_start_leaves_nobody(
    start_ranks: StartRanks, tmp_path: pathlib.Path, wait_s: float
) -> None:
    program = start_ranks("sleep", num_ranks=3)
    wait_until(
        # Before that, Python itself is starting and knows no handler of ours.
        lambda: list(tmp_path.glob("importing_*")),
        timeout_s=30,
        what="the first rank",
    )
    time.sleep(wait_s)
    program.press_ctrl_c()
    assert program.exit_code(timeout_s=10) == 130
    assert "Traceback" not in program.err
    check_nothing_is_left(program, tmp_path)


@pytest.mark.slow
@posix_only
@pytest.mark.parametrize("pause_s", [0.0, 0.02])
def test_a_second_impatient_ctrl_c_does_not_stop_the_cleaning_up(
    start_ranks: StartRanks, tmp_path: pathlib.Path, pause_s: float
) -> None:
    program = start_ranks("sleep")
    ranks_at_work(tmp_path)
    program.press_ctrl_c()
    time.sleep(pause_s)
    program.press_ctrl_c()
    assert program.exit_code(timeout_s=10) == 130
    assert "Traceback" not in program.err
    program.seconds_until_nothing_is_left(timeout_s=0.5)


@pytest.mark.slow
@posix_only
def test_a_rank_that_ignores_the_request_to_end_is_ended_by_force(
    start_ranks: StartRanks, tmp_path: pathlib.Path
) -> None:
    program = start_ranks("sleep_deaf")
    ranks_at_work(tmp_path)
    program.press_ctrl_c()
    assert program.exit_code(timeout_s=15) == 130
    check_nothing_is_left(program, tmp_path)


@pytest.mark.slow
@posix_only
@both_systems
@pytest.mark.parametrize("to", ["everyone", "starter"])
def test_sigterm_ends_all_with_143(
    start_ranks: StartRanks, tmp_path: pathlib.Path, to: str, env: dict[str, str]
) -> None:
    program = start_ranks("sleep", env=env)
    ranks_at_work(tmp_path)
    if to == "everyone":
        os.killpg(program.process.pid, signal.SIGTERM)
    else:
        program.process.terminate()
    assert program.exit_code(timeout_s=10) == 143
    assert program.err == ""
    check_nothing_is_left(program, tmp_path)


# --- The starter is killed ------------------------------------------------------


@pytest.mark.slow
@posix_only
def test_ranks_whose_starter_was_killed_say_their_last_words_and_end(
    start_ranks: StartRanks, tmp_path: pathlib.Path
) -> None:
    program = start_ranks("watched")
    ranks_at_work(tmp_path)
    program.process.kill()
    program.seconds_until_nothing_is_left(timeout_s=5)
    for rank in range(2):
        assert (tmp_path / f"last_words_{rank}").exists()


@pytest.mark.slow
@posix_only
def test_without_watching_they_would_live_on(
    start_ranks: StartRanks, tmp_path: pathlib.Path
) -> None:
    """Negative control: a killed starter does not take its ranks with it."""
    program = start_ranks("unwatched")
    pids = ranks_at_work(tmp_path)
    program.process.kill()
    program.process.wait(10)
    time.sleep(1.5)
    assert all(is_running(pid) for pid in pids)


@pytest.mark.slow
@posix_only
def test_ranks_whose_starter_is_killed_while_they_import_end_too(
    start_ranks: StartRanks, tmp_path: pathlib.Path
) -> None:
    program = start_ranks("watched", env={"RANK_IMPORT_S": "1"})
    wait_until(
        lambda: len(list(tmp_path.glob("held_back_*"))) == 2,
        timeout_s=30,
        what="two importing ranks",
    )
    program.process.kill()
    program.seconds_until_nothing_is_left(timeout_s=5)
