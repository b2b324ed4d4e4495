"""Proofs for distrinews.errors: four parts, and none is lost on the way."""

from __future__ import annotations

import ast
import copy
import inspect
import pathlib
import pickle
import re
from collections.abc import Iterator

import pytest

from distrinews import errors
from distrinews.errors import DistriNewsError

LIBRARY = pathlib.Path(errors.__file__).parent
# Rooms that a script of one's own uses without the course's settings.
ROOMS_WITHOUT_FLAGS = (
    *("checkpoint", "data", "dist", "metrics", "model", "sharding", "sync", "system"),
    "tracing",
)
KINDS = [getattr(errors, name) for name in errors.__all__]


def make(kind: type[DistriNewsError]) -> DistriNewsError:
    return kind("3 rows.", why="nobody trains.", fix="add rows.", page="data")


def test_every_error_class_of_the_module_is_public() -> None:
    classes = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert classes == set(errors.__all__)
    assert len(classes) >= 10


def test_every_error_survives_pickling_with_its_parts_and_notes() -> None:
    for kind in KINDS:
        before = make(kind)
        before.add_note("rank 1 said so")
        for after in (pickle.loads(pickle.dumps(before)), copy.copy(before)):
            assert type(after) is kind
            assert str(after) == str(before)
            parts = (after.what, after.why, after.fix, after.page)
            assert parts == ("3 rows.", "nobody trains.", "add rows.", "data"), kind
            assert after.__notes__ == ["rank 1 said so"]


def test_without_its_reduce_method_an_error_would_not_survive() -> None:
    """Negative control: what pickle does by itself with keyword-only arguments."""
    plain = Exception.__reduce__(make(errors.DataError))
    kind, arguments = plain[:2]
    with pytest.raises(TypeError, match="keyword-only"):
        kind(*arguments)  # type: ignore[operator]


def test_every_error_says_what_why_fix_and_where_to_read_on() -> None:
    for kind in KINDS:
        assert str(make(kind)).splitlines() == [
            "3 rows.",
            "  why:  nobody trains.",
            "  fix:  add rows.",
            "  more: troubleshooting/#data",
        ], kind


def test_only_a_crash_has_exit_code_1() -> None:
    codes = {kind.__name__: kind.exit_code for kind in KINDS}
    assert codes.pop("RankFailedError") == 1
    assert set(codes.values()) == {2}


def test_an_error_is_also_the_built_in_kind_that_callers_expect() -> None:
    for kind, builtin in (
        (errors.SettingsError, ValueError),
        (errors.DataError, ValueError),
        (errors.ModelError, ValueError),
        (errors.CheckpointError, ValueError),
        (errors.HubUnreachableError, ConnectionError),
        (errors.OutputError, OSError),
        (errors.SetupError, RuntimeError),
        (errors.MissingGradientError, RuntimeError),
        (errors.RankFailedError, RuntimeError),
    ):
        with pytest.raises(builtin):
            raise make(kind)


def cures(rooms: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Place and words of every `fix=` in the code of some rooms."""
    for path in (path for room in rooms for path in (LIBRARY / room).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "fix":
                parts = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
                place = f"{path.parent.name}/{path.name}:{node.value.lineno}"
                yield place, "".join(map(str, parts))


def names_a_flag(cure: str) -> bool:
    """Whether it names one without saying that a chapter has it."""
    return bool(
        re.search(r"(?<![\w-])--[a-z]", re.sub(r"\(a chapter: .*?\)", "", cure))
    )


def test_a_cure_names_a_chapters_flag_only_beside_what_an_own_script_has() -> None:
    found = dict(cures(ROOMS_WITHOUT_FLAGS))
    assert len(found) > 40
    assert [place for place, cure in found.items() if names_a_flag(cure)] == []
    # Negative control: what one of them said before, and rooms that have flags.
    assert names_a_flag("--test-rows 1 or more.")
    assert any(names_a_flag(cure) for _, cure in cures(("training",)))
