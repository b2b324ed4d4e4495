"""Proofs for the exercises: ours pass, wrong ones fail with their own reason."""

from __future__ import annotations

import concurrent.futures
import pathlib
import re

import psutil
import pytest
import torch
from helpers.exercise_program import check_all

from distrinews import dist
from distrinews.cli import exercise_commands
from distrinews.course import exercise_values, exercises
from distrinews.course.sheets import (
    EXERCISES,
    ExerciseSheet,
    exercise_names,
    wrong_solutions,
)
from distrinews.dist import Ranks
from distrinews.errors import ExerciseError, RejectedError
from distrinews.tracing import timeline

CASES = [
    (name, path, why)
    for name in exercise_names()
    for path, why in wrong_solutions(name).items()
]
SITE = EXERCISES.parents[1] / "site_docs"
EASY = "tell_the_others"
# How the reason of a solution that leaves another rank waiting begins.
HANGS = "had already left"


def grade(name: str, path: pathlib.Path) -> tuple[bool, str]:
    """As `exercise check` does it."""
    result = exercise_commands._grade(ExerciseSheet.read(name), path, echo=False)
    assert result.took_s < exercise_commands.LIMIT_S, "a check must end within a minute"
    return result.is_right, exercise_commands._reason(result)


@pytest.mark.slow
@pytest.mark.parametrize("name", exercise_names())
def test_ours_passes_and_each_typical_wrong_one_fails_with_its_own_reason(
    name: str, tmp_path: pathlib.Path
) -> None:
    sheet = ExerciseSheet.read(name)
    reasons = {
        path: why for path, why in wrong_solutions(name).items() if HANGS not in why
    }
    paths = [sheet.solution, *reasons]
    exercise = exercises._load_exercise(str(sheet.check))
    dist.launch(
        check_all,
        *(str(sheet.check), [str(path) for path in paths], tmp_path),
        num_ranks=exercise.num_ranks,
        timeout_s=exercises.START_TIMEOUT_S,
    )
    rejections = [(tmp_path / f"{i}.txt").read_text("utf-8") for i in range(len(paths))]
    assert rejections[0] == "", "ours is rejected"
    for path, reason in zip(reasons, rejections[1:], strict=True):
        assert reason, f"{path.stem} passes"
        assert re.search(reasons[path], reason), f"{path.stem}: {reason}"


@pytest.mark.slow
def test_wrong_solutions_are_rejected_on_the_command_line_also_if_they_hang() -> None:
    cases = [case for case in CASES if HANGS in case[2] or case[0] == EASY]
    assert len(cases) >= 7
    # WHY three at a time: most of them wait for a rank that never comes.
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        graded = list(pool.map(lambda case: grade(*case[:2]), cases))
    for (_, path, why), (passed, reason) in zip(cases, graded, strict=True):
        assert not passed, path.stem
        assert re.search(why, reason), f"{path.stem}: {reason}"
    left = [
        process.cmdline()
        for process in psutil.process_iter()
        if process.status() != psutil.STATUS_ZOMBIE and "run-check" in process.cmdline()
    ]
    assert not left


@pytest.mark.slow
def test_our_solution_passes_on_the_command_line() -> None:
    passed, reason = grade(EASY, ExerciseSheet.read(EASY).solution)
    assert passed, reason


@pytest.mark.slow
def test_an_exercise_that_nobody_solved_yet_is_not_passed() -> None:
    """Negative control: a check that is content with anything would pass it."""
    passed, reason = grade(EASY, ExerciseSheet.read(EASY).path)
    assert not passed
    assert "write it here" in reason


def alone(folder: pathlib.Path, solve: object) -> exercises.Harness:
    module = type(exercises)("solution")
    module.solve = solve  # type: ignore[attr-defined]
    return exercises.Harness(Ranks(0, 0, 1, torch.device("cpu")), module, folder)


def test_a_harness_rejects_what_is_wrong_and_says_what_is_right(
    tmp_path: pathlib.Path,
) -> None:
    harness = alone(tmp_path, lambda _, value: value + 1)
    got, trace = harness.run(torch.tensor([1.0, 2.0]))
    harness.expect("the sum", got, want=torch.tensor([2.0, 3.0]))
    assert trace.calls() == trace.num_bytes == 0
    with pytest.raises(
        RejectedError, match=r"the sum: \[2, 3\] on rank 0; right is \[2, 4\]"
    ):
        harness.expect("the sum", got, want=torch.tensor([2.0, 4.0]))
    harness.at_most("calls", 2, limit=2, why="")
    with pytest.raises(RejectedError, match="calls: 3; the target is 2"):
        harness.at_most("calls", 3, limit=2, why="")
    harness.reject_if(False, "never said")
    with pytest.raises(RejectedError, match="because"):
        harness.reject_if(True, "because")


def promising(promised: str) -> object:
    def solve(_: Ranks, value: object) -> object:
        return value

    solve.__annotations__["return"] = promised
    return solve


@pytest.mark.parametrize(
    ("promised", "got", "said"),
    [
        ("float", torch.tensor(7.0), r"returns a tensor: `\.item\(\)`"),
        ("list[int]", torch.arange(3), r"returns a tensor: `\.tolist\(\)`"),
        ("bool", None, "returns nothing: is a `return` missing"),
        ("tuple[int, float]", 3, "returns one int"),
    ],
)
def test_another_kind_of_value_than_promised_is_named(
    tmp_path: pathlib.Path, promised: str, got: object, said: str
) -> None:
    with pytest.raises(RejectedError, match=said):
        alone(tmp_path, promising(promised)).run(got)


@pytest.mark.parametrize(
    ("promised", "got"),
    [
        ("float", 7.0),
        ("torch.Tensor", torch.ones(2)),
        ("str | None", None),
        ("None", None),
        ("tuple[int, float]", (3, 4.0)),
    ],
)
def test_what_was_promised_is_taken(
    tmp_path: pathlib.Path, promised: str, got: object
) -> None:
    """Negative control."""
    assert alone(tmp_path, promising(promised)).run(got)[0] is got


def test_a_phase_that_a_check_marks_is_in_the_picture_and_no_collective(
    tmp_path: pathlib.Path,
) -> None:
    harness = alone(tmp_path, lambda _, work: work())

    def work() -> int:
        with harness.phase("compute"):
            return 3

    got, trace = harness.run(work)
    assert (got, trace.events) == (3, [])
    [event] = timeline.read(tmp_path / "records" / "01")[0]
    assert (event.kind, event.name) == ("phase", "compute")
    with harness.phase("afterwards"):  # nobody records any more
        pass


@pytest.mark.parametrize(
    ("got", "want", "same"),
    [
        (1.0 + 1e-9, 1.0, True),
        (1.01, 1.0, False),
        ("1", 1.0, False),
        ([1, 2], (1, 2), True),
        ([1], [1, 2], False),
        (torch.ones(2), torch.ones(3), False),
        (None, torch.ones(3), False),
        (None, 2.0, False),
    ],
)
def test_values_are_the_same_up_to_rounding_and_never_by_shape_alone(
    got: object, want: object, same: bool
) -> None:
    assert exercise_values.same(got, want) is same


def test_a_name_that_does_not_exist_is_corrected() -> None:
    with pytest.raises(ExerciseError, match="Did you mean tell_the_others"):
        ExerciseSheet.read("tell-the-other")


def test_progress_is_kept_in_a_file_and_shown(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    progress = exercise_commands.Progress(exercise_commands.FOLDER)
    exercise_commands._list(progress)
    assert f"0 of {len(exercise_names())} passed" in capsys.readouterr().out
    progress.note(EASY, passed="2031-05-06")
    exercise_commands._hint(ExerciseSheet.read(EASY), progress)
    again = exercise_commands.Progress(exercise_commands.FOLDER)
    assert again.passed(EASY)
    assert again.hints(EASY) == 1
    exercise_commands._list(again)
    assert f"1 of {len(exercise_names())} passed" in capsys.readouterr().out


def test_start_never_overwrites_what_a_learner_wrote(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exercise_commands._start(ExerciseSheet.read(EASY))
    own = tmp_path / "my_exercises" / f"{EASY}.py"
    assert own.read_text("utf-8") == ExerciseSheet.read(EASY).path.read_text("utf-8")
    own.write_text("mine", encoding="utf-8")
    exercise_commands._start(ExerciseSheet.read(EASY))
    assert own.read_text("utf-8") == "mine"
