"""Proofs for the labs: each breaks as it says, its cure cures, and nothing is left.

The whole set: `pytest -m labs`. Twelve of them run among the slow proofs.
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import functools
import importlib
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from helpers.running import Program, like_windows, wait_until

from distrinews.cli import lab_commands
from distrinews.course import file_gather, labs, sheets
from distrinews.course.lab_process import Finished
from distrinews.course.sheets import LABS, LabSheet
from distrinews.dist import Ranks
from distrinews.errors import LabError, WrongResultError
from distrinews.system import checkout

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAMES = sorted(path.stem for path in LABS.glob("*.py"))
# Hangs, refusals and silent bugs; each kind of detector is among them.
CORE = (
    "collective_behind_rank_0",
    "device_ids_on_cpu",
    "forward_past_the_wrapper",
    "incomplete_resume",
    "mean_of_means",
    "models_differ_across_ranks",
    "no_main_guard",
    "no_set_epoch",
    "padded_evaluation",
    "sync_flag_after_forward",
    "uneven_batches",
    "unfinished_reduction",
)
VERSIONS = ("broken", "fixed")
Start = Callable[..., Program]


def finished(program: Program) -> Finished:
    """Wait for a lab; nothing of it may be left: no process, no file."""
    code = program.exit_code(timeout_s=150)
    program.seconds_until_nothing_is_left(timeout_s=2)
    assert program.temporary_files() == []
    return Finished(code, program.out + program.err, 0.0)


def proves(name: str, version: str, start: Start) -> None:
    """The broken version shows exactly its symptom, the fixed one does not."""
    if LabSheet.read(name).needs_torchrun and sys.platform == "win32":
        pytest.skip("torchrun does not work with the official Windows wheels")
    if name == "omp_one_thread" and os.cpu_count() == 1:
        pytest.skip("one core: one thread a rank is right")
    if name == "device_count_as_world_size" and torch.cuda.device_count() > 1:
        pytest.skip("as many GPUs as ranks: right by luck")
    sheet = LabSheet.read(name)
    result = finished(start(sheet.path, version))
    ended = labs.ENDED in result.text.splitlines()
    if version == "fixed":
        assert result.code == 0, result.text
        assert result.is_right, result.text
        assert not re.search(sheet.symptom, result.text), result.text
        return
    assert result.code in (1, 2), result.text
    assert lab_commands._shows_symptom(sheet, result), result.text
    if sheet.is_silent:
        assert ended, "a silent bug raises nothing"
        assert "Traceback" not in result.text


@pytest.mark.labs
@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", CORE)
def test_a_core_lab_breaks_as_it_says_and_its_cure_cures(
    name: str, version: str, start: Start
) -> None:
    proves(name, version, start)


@pytest.mark.labs
@pytest.mark.timeout(200)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", sorted(set(NAMES) - set(CORE)))
def test_a_lab_breaks_as_it_says_and_its_cure_cures(
    name: str, version: str, start: Start
) -> None:
    proves(name, version, start)


# --- The detectors --------------------------------------------------------------


@functools.cache
def detector(name: str) -> Callable[[object, object], None]:
    """A lab's detector, loaded as the judge of a copy loads it."""
    module = checkout.load_file(LABS / f"{name}.py", error=LabError, page="labs")
    detect: Callable[[object, object], None] = module.LAB.detect
    return detect


@pytest.mark.parametrize("held", [1.5, 1.5 * (1 + 1e-7)])
def test_a_right_value_passes_the_detector(held: float) -> None:
    labs.expect("mean", held, want=1.5)


@pytest.mark.parametrize(
    ("held", "want"),
    [(1.5001, 1.5), (2, 1), ([1, 2], [1]), ([1, 3.1], [1, 3.0]), (None, 1), (True, 0)],
)
def test_a_wrong_value_does_not(held: object, want: object) -> None:
    """Negative control."""
    with pytest.raises(WrongResultError, match="on rank 0; right is"):
        labs.expect("value", held, want=want)


NOT_NUMBERS = {  # their detectors compare models over ranks, or with another model
    "batchnorm_per_rank",
    "forward_on_one_rank",
    "forward_past_the_wrapper",
    "hook_reduces_parameter",
    "incomplete_resume",
    "layer_replaced_after_wrap",
    "marked_ready_twice",
    "module_prefix",
    "sync_flag_after_forward",
}


def test_a_detector_refuses_what_no_version_returns() -> None:
    """Negative control: no lab is passed by returning just anything."""
    from distrinews import dist

    for name in sorted(set(NAMES) - NOT_NUMBERS):
        try:
            detector(name)(dist.current(), -12345)
        except WrongResultError:
            continue
        pytest.fail(f"the detector of {name} takes anything")


def test_the_detector_of_a_prefix_refuses_other_weights() -> None:
    """Negative control."""
    from distrinews import dist

    net = labs.small_model()
    detector("module_prefix")(dist.current(), net)
    net[0].bias.data[0] += 1e-3
    with pytest.raises(WrongResultError):
        detector("module_prefix")(dist.current(), net)


# --- The command ----------------------------------------------------------------


def command(start: Start, *words: object) -> Finished:
    return finished(start(sys.executable, "-m", "distrinews", "lab", *words))


def test_list_names_every_lab_without_loading_torch() -> None:
    script = (
        "import sys; from distrinews.cli import lab_commands; "
        "lab_commands._list(); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    listed = [line.split()[0] for line in done.stdout.splitlines()[: len(NAMES)]]
    assert listed == NAMES
    assert "41 labs, 20 of them silent" in done.stdout


def test_a_mistyped_name_gets_a_suggestion() -> None:
    with pytest.raises(LabError, match="Did you mean uneven_batches"):
        lab_commands._run_broken("unevn-batches")
    with pytest.raises(LabError) as caught:
        lab_commands._run_broken("qqqq")
    assert "Did you mean" not in caught.value.what


def test_an_installed_package_says_that_the_labs_need_a_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(sheets, "LABS", tmp_path)
    with pytest.raises(LabError, match="the labs are not here") as caught:
        lab_commands._list()
    assert "clone the repository" in caught.value.fix


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(LabError, match=r"nowhere\.py is not a file"):
        lab_commands._check("mean_of_means", file="nowhere.py")


def learners_copy(folder: pathlib.Path, body: str) -> pathlib.Path:
    """A copy of a lab in which `broken` is the learner's own."""
    source = (LABS / "group_not_initialized.py").read_text(encoding="utf-8")
    old = next(
        ast.get_source_segment(source, node)
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == "broken"
    )
    assert old is not None
    copy = folder / "my_fix.py"
    # A detector that is content with everything must not help.
    text = source.replace(old, f"def broken() -> float:\n    {body}")
    text = text.replace("want=1.5", "want=got")
    copy.write_text(text, encoding="utf-8")
    return copy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ("return dist.sum_over_ranks(1.5)", 0, "passed: group_not_initialized"),
        ("return 3.0", 1, "failed: group_not_initialized: not right"),
        ("return None", 1, "the lab returned nothing"),
        ("raise SystemExit(0)", 1, "failed: group_not_initialized: not right"),
        ("torch_dist.barrier()", 1, "the symptom is still there"),
    ],
)
def test_check_judges_a_copy_by_the_labs_own_detector(
    body: str, code: int, says: str, start: Start, tmp_path: pathlib.Path
) -> None:
    copy = learners_copy(tmp_path, body)
    done = command(start, "check", "group_not_initialized", "--file", copy)
    assert done.code == code, done.text
    assert says in done.text


@pytest.mark.slow
def test_run_shows_the_symptom_and_asks_and_fix_shows_the_difference(
    start: Start,
) -> None:
    sheet = LabSheet.read("group_not_initialized")
    ran = command(start, "run", sheet.name)
    assert ran.code == 0, ran.text
    assert re.search(sheet.symptom, ran.text)
    assert sheet.fields["Question"] in ran.text
    assert sheet.fields["Cause"] not in ran.text  # first look, then read
    fixed = command(start, "fix", sheet.name)
    assert fixed.code == 0, fixed.text
    assert "-    torch_dist.all_reduce(loss)" in fixed.text
    assert sheet.fields["Cause"] in fixed.text
    untouched = command(start, "check", sheet.name)
    assert untouched.code == 1
    assert "the symptom is still there" in untouched.text


@pytest.mark.slow
def test_a_program_that_never_ends_is_stopped_with_what_it_started(
    start: Start, tmp_path: pathlib.Path
) -> None:
    script = tmp_path / "never.py"
    script.write_text(
        "from distrinews.course import lab_process\n"
        "code = 'import subprocess, sys, time\\n'\n"
        'code += \'subprocess.Popen([sys.executable, "-c", '
        '"import time; time.sleep(60)"])\\n\'\n'
        "code += 'time.sleep(60)'\n"
        "result = lab_process.run(('-c', code), limit_s=2.0)\n"
        "print(result.code, result.took_s < 30.0, result.text)\n",
        encoding="utf-8",
    )
    done = finished(start(script))
    assert done.code == 0, done.text
    code, in_time, text = done.text.split(maxsplit=2)
    assert int(code) != 0
    assert in_time == "True"  # stopped: by itself it would have ended after 60 s
    assert text == "It did not end within 2 s and was stopped.\n\n"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("through", ["the command", "the file"])
def test_a_lab_that_hangs_and_is_interrupted_leaves_nothing(
    number: signal.Signals, through: str, start: Start
) -> None:
    path = LABS / "uneven_batches.py"
    words = (sys.executable, "-m", "distrinews", "lab", "run", path.stem)
    program = start(*(words if through == "the command" else (path,)))
    wait_until(
        lambda: len(program.processes()) >= 3 and "in this epoch" in program.out,
        timeout_s=60,
        what="two ranks at work",
    )
    program.process.send_signal(number)
    assert program.exit_code(timeout_s=10) == 128 + number
    program.seconds_until_nothing_is_left(timeout_s=2)
    assert program.temporary_files() == []


def test_what_differs_by_machine_is_taken_out() -> None:
    text = (
        f'File "{ROOT}/chapters/labs/x.py", line 3\n'
        "[W1124 22:31:07.123456789 ProcessGroup.cpp:12] pid: 4711, port: 40123\n"
    )
    assert lab_commands.normalised(text) == (
        'File "chapters/labs/x.py", line 3\n'
        "[W TIME ProcessGroup.cpp:12] pid: PID, port: PORT\n"
    )


# --- What labs and exercises share ------------------------------------------------


def test_ranks_meet_through_files_and_wait_for_the_last(tmp_path: pathlib.Path) -> None:
    def gather(rank: int) -> list[object]:
        ranks = Ranks(rank, rank, 2, torch.device("cpu"))
        value = {"rank": rank}
        return file_gather.gather_objects(value, ranks, folder=tmp_path, name="first")

    with concurrent.futures.ThreadPoolExecutor() as pool:
        early = pool.submit(gather, 1)
        with pytest.raises(concurrent.futures.TimeoutError):  # negative control
            early.result(timeout=0.2)
        assert gather(0) == early.result(timeout=5) == [{"rank": 0}, {"rank": 1}]


def test_a_file_is_run_by_its_path_whatever_it_is_called(
    tmp_path: pathlib.Path,
) -> None:
    for folder in ("mine", "ours"):
        (tmp_path / folder).mkdir()
        text = f"OWNER = {folder!r}"
        (tmp_path / folder / "json.py").write_text(text, encoding="utf-8")
    mine, ours = (
        checkout.load_file(tmp_path / folder / "json.py", error=LabError, page="labs")
        for folder in ("mine", "ours")
    )
    assert (mine.OWNER, ours.OWNER) == ("mine", "ours")
    assert not hasattr(sys.modules["json"], "OWNER")
    # Negative control: by its name Python's own is found.
    assert importlib.import_module("json") is sys.modules["json"]
    with pytest.raises(LabError, match=r"notes\.txt is no Python file"):
        checkout.load_file(tmp_path / "notes.txt", error=LabError, page="labs")


# --- On Windows -------------------------------------------------------------------


def test_labs_that_need_torchrun_say_so_in_the_list_and_refuse_to_run_on_windows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    need_it = {name for name in NAMES if LabSheet.read(name).needs_torchrun}
    assert need_it == {"child_failed_error", "local_rank_argument"}
    lab_commands.run(argparse.Namespace(act="list"))
    lines = capsys.readouterr().out.splitlines()
    marked = {line.split()[0] for line in lines if "(not on Windows)" in line}
    assert marked == need_it
    page = (ROOT / "site_docs" / "learn" / "labs.md").read_text("utf-8")
    assert "`child_failed_error` and `local_rank_argument`, start torchrun" in page
    monkeypatch.setattr(sys, "platform", "win32")
    for act in ("run", "fix", "check"):
        given = argparse.Namespace(act=act, name="child_failed_error", file=None)
        with pytest.raises(LabError, match="does not work on Windows"):
            lab_commands.run(given)
    # Negative control: the other labs are not refused.
    assert lab_commands._playable("uneven_batches").name == "uneven_batches"


def test_a_taken_port_is_seen_also_by_the_store_that_windows_has() -> None:
    path = LABS / "address_in_use.py"
    lab = checkout.load_file(path, error=LabError, page="labs")
    lab.LIBUV = False
    with pytest.raises(Exception, match=lab.LAB.symptom):
        lab.broken()
    assert lab.fixed() is True
    assert re.search(lab.LAB.symptom, "port: 4242, code: -10048, name: EADDRINUSE")


@pytest.mark.skipif(sys.platform != "linux", reason="the rule is imitated on Linux")
def test_a_rank_whose_parents_number_never_changes_ends_with_it_too(
    start: Start, tmp_path: pathlib.Path
) -> None:
    """As on Windows, for ranks that another launcher than ours started."""
    rank = (
        "import os, pathlib, time\n"
        "from distrinews.dist import spawn\n"
        "spawn.exit_when_orphaned(lambda: None)\n"
        "pathlib.Path('pid').write_text(str(os.getpid()))\n"
        "time.sleep(60)"
    )
    starter = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    program = start(
        *(sys.executable, "-c", starter, sys.executable, "-c", rank),
        cwd=tmp_path,
        env=like_windows(),
    )
    wait_until((tmp_path / "pid").exists, timeout_s=90, what="the rank begins")
    program.process.kill()
    program.process.wait()
    program.seconds_until_nothing_is_left(timeout_s=10)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX gives orphans a parent")
@pytest.mark.parametrize(
    ("parent", "ends"),
    [
        ("os.getppid = lambda: 0", False),  # first in a container
        ("psutil.Process = hidden", False),  # of another user, on some clusters
        # On Windows, where a parent's number stays, one that is gone was our starter.
        ("import sys; sys.platform = 'win32'; psutil.Process = hidden", True),
        # Negative control: another parent, as POSIX gives it to an orphan.
        ("os.getppid = iter([*[os.getppid()] * 2, 1, 1, 1]).__next__", True),
    ],
)
def test_a_rank_whose_parent_is_out_of_sight_goes_on(parent: str, ends: bool) -> None:
    rank = (
        "import os, psutil, time\n"
        "from distrinews.dist import spawn\n"
        "def hidden(pid): raise psutil.NoSuchProcess(pid)\n"
        f"{parent}\n"
        "spawn.exit_when_orphaned(lambda: None)\n"
        "time.sleep(4 * spawn.POLL_S)\n"
        "print('went on')"
    )
    done = subprocess.run(
        [sys.executable, "-c", rank], capture_output=True, text=True, timeout=60
    )
    assert ("went on" in done.stdout) != ends, done.stderr
    assert "Error" not in done.stderr
