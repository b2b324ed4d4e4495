"""Proofs for the catalogue: of what torch.distributed says, each text has a verdict.

`tests/data/torch_messages.json` holds the messages with which torch's ranks, DDP and
the backends fail or warn, as they look when somebody pastes them. Each names its entry,
or why it has none.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import mmap
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from distrinews.doctor import catalogue
from distrinews.doctor.matching import match

ROOT = pathlib.Path(__file__).resolve().parents[1]
MESSAGES: list[dict[str, Any]] = json.loads(
    (ROOT / "tests" / "data" / "torch_messages.json").read_text("utf-8")
)
# Parts of torch.distributed that this course does not use.
OTHERS = {
    *("_composable", "_local_tensor", "_shard", "_symmetric_memory", "_tools"),
    *("checkpoint", "flight_recorder", "fsdp", "pipelining", "rpc", "tensor"),
}
# A package for CPUs is built without these.
NOT_IN_THIS_PACKAGE = ("c10d/ProcessGroupNCCL.cpp", "c10d/NCCLUtils.hpp")


def best(text: str) -> str | None:
    found = match(text)
    return found[0].entry.slug if found else None


@functools.cache
def torch_folder() -> pathlib.Path:
    """Where torch is installed; it is not loaded for that."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.submodule_search_locations
    return pathlib.Path(spec.submodule_search_locations[0])


def parts(node: ast.expr) -> str:
    """The text of a message; a 7 stands for what is filled in."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(
                parts(v) if isinstance(v, ast.Constant) else "7" for v in values
            )
        case ast.BinOp(left=left, right=right):
            return parts(left) + parts(right)
        case ast.Call(func=func, args=args):
            before = parts(func.value) if isinstance(func, ast.Attribute) else ""
            return before + " ".join(map(parts, args))
    return ""


@functools.cache
def said(path: pathlib.Path) -> str:
    """Every text in a file of Python, and the names of its classes."""
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    texts = [
        node.name if isinstance(node, ast.ClassDef) else " ".join(parts(node).split())
        for node in tree
        if isinstance(node, (ast.ClassDef, ast.Constant, ast.JoinedStr))
    ]
    return "\n".join(texts)


def raised(path: pathlib.Path) -> Iterator[str]:
    """What a file raises, warns of or logs, as it is printed."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            call, kind = node.exc, f"{ast.unparse(node.exc.func)}: "
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith((
            ".warn",
            ".warning",
            ".error",
            ".critical",
            ".exception",
        )):
            call, kind = node, ""
        else:
            continue
        yield " ".join(f"{kind}{' '.join(map(parts, call.args))}".split())


# --- Each message has its verdict -------------------------------------------------


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m["literal"][:50])
def test_a_message_of_torch_finds_its_entry_or_is_declared_out(
    message: dict[str, Any],
) -> None:
    assert best(message["text"]) == message.get("expect")
    assert ("expect" in message) != bool(message.get("out"))


def test_there_are_about_120_messages_and_every_new_entry_has_one() -> None:
    assert 100 <= len(MESSAGES) <= 120
    assert len({message["text"] for message in MESSAGES}) == len(MESSAGES)
    expected = {message.get("expect") for message in MESSAGES}
    # The entries that were made for these messages.
    new = {t.slug for t in catalogue.read().troubles if 76 <= t.number <= 88}
    assert len(new) == 13
    assert new <= expected
    assert sum("out" in message for message in MESSAGES) <= 30


def test_the_pages_figures_are_these() -> None:
    page = (ROOT / "site_docs" / "howto" / "doctor.md").read_text("utf-8")
    num_out = sum("out" in message for message in MESSAGES)
    says = (
        f"{len(MESSAGES)} of torch's own messages: {len(MESSAGES) - num_out} have an "
        f"entry, {num_out} are excluded"
    )
    assert says in " ".join(page.split())


def test_the_messages_are_torchs_own() -> None:
    looked_up = 0
    for message in MESSAGES:
        if message["where"].endswith(".py"):
            there = said(torch_folder() / message["where"])
            assert message["literal"] in there, message["where"]
            looked_up += 1
        if "%s" not in message["literal"]:
            assert message["literal"] in message["text"]
    assert looked_up >= 80
    # Negative control: a message that nobody raises would be seen.
    assert "No such message" not in said(
        torch_folder() / "distributed" / "distributed_c10d.py"
    )


@pytest.mark.slow
def test_the_messages_of_the_compiled_part_are_torchs_own() -> None:
    compiled = [
        *(torch_folder() / "lib").glob("libtorch_cpu.*"),
        *(torch_folder() / "lib").glob("libtorch_python.*"),
    ]
    assert compiled
    literals = {
        message["literal"].encode()
        for message in MESSAGES
        if not message["where"].endswith(".py")
        and message["where"] not in NOT_IN_THIS_PACKAGE
    }
    assert len(literals) >= 15
    for path in compiled:
        with path.open("rb") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                literals = {each for each in literals if content.find(each) < 0}
                # Negative control.
                assert content.find(b"a message that nobody raises") < 0
    assert literals == set()


# --- And nothing else is taken for a trouble ---------------------------------------


@pytest.mark.slow
def test_messages_of_other_parts_of_torch_find_nothing() -> None:
    folder = torch_folder() / "distributed"
    texts = {
        text
        for path in folder.rglob("*.py")
        if OTHERS & set(path.relative_to(folder).parts)
        for text in raised(path)
    }
    assert len(texts) >= 700
    found = {text: best(text) for text in texts if best(text)}
    assert found == {}


@pytest.mark.parametrize(
    "advice",
    [
        "Guessing device ID based on global rank. This can cause a hang if rank to GPU "
        "mapping is heterogeneous. You can specify device_id in init_process_group()",
        "using GPU 1 to perform barrier as devices used by this process are currently "
        "unknown. This can potentially cause a hang if this mapping is incorrect.",
        "Collectives are unchecked and may give incorrect results or hang; see "
        "dist.all_reduce",
        "To avoid a deadlock, call dist.barrier() on every rank.",
        "Calling dist.destroy_process_group() in a thread might hang.",
    ],
)
def test_advice_about_a_possible_hang_is_no_report_of_one(advice: str) -> None:
    slugs = {each.entry.slug for each in match(advice)}
    assert slugs <= {"barrier-unknown-device"}


@pytest.mark.parametrize(
    ("report", "slug"),
    [
        ("my training hangs at dist.barrier()", "collective-behind-rank-0"),
        ("rank 1 is stuck in all_reduce", "collective-behind-rank-0"),
        ("freezing in dist.broadcast", "collective-behind-rank-0"),
        ("the second node hangs in init_process_group", "ranks-do-not-meet"),
        ("init_process_group never returns", "ranks-do-not-meet"),
    ],
)
def test_a_report_of_a_hang_still_finds_its_entry(report: str, slug: str) -> None:
    """Positive control."""
    assert best(report) == slug
