"""Proofs for distrinews.errors: four parts, and none is lost on the way."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from distrinews import errors
from distrinews.errors import DistriNewsError

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
