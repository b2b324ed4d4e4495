"""Proofs for the site's pages: their examples run, their names can be imported.

Where each code block comes from is judged by `python -m tests.lint pages`.
"""

from __future__ import annotations

import builtins
import importlib
import os
import pathlib
import subprocess
import sys

import pytest
from helpers import site_code

ROOT = pathlib.Path(__file__).resolve().parents[1]
SITE = ROOT / "site_docs"
PAGES = sorted(path for path in SITE.rglob("*.md") if "_tools" not in path.parts)


def test_the_examples_of_every_page_give_what_stands_below_them() -> None:
    """That a wrong result is found: tests/test_lint.py."""
    faults, num_pages = [], 0
    for path in PAGES:
        blocks = site_code.read(path, root=SITE)
        num_pages += any(block.language == "pycon" for block in blocks)
        faults += site_code.run_examples(path.name, blocks)
    assert faults == []
    assert num_pages >= 10  # the guard: examples were found


@pytest.mark.slow
def test_the_doctors_page_shows_what_the_doctor_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "distrinews", "doctor"],
        env=os.environ | {"OMP_NUM_THREADS": "banana"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
        cwd=ROOT,
    )
    blocks = site_code.read(SITE / "howto" / "doctor.md", root=SITE)
    [shown] = [block.text for block in blocks if block.language == "text"]
    assert " ".join(shown.split()) in " ".join(done.stdout.split())


def test_public_names_are_those_that_python_imports() -> None:
    reference_api = pytest.importorskip("reference_api", exc_type=ImportError)

    from distrinews import dist, sync
    from distrinews.inference import bundle

    for module in (dist, bundle, sync):
        shown = reference_api.modules()[module.__name__.removeprefix("distrinews.")]
        names = {*shown.own, *(name for name, _ in shown.re_exported)}
        assert names == set(module.__all__)


@pytest.mark.slow
def test_a_guide_that_does_not_exist_is_refused() -> None:
    """Negative control."""
    reference_api = pytest.importorskip("reference_api", exc_type=ImportError)

    assert reference_api.guide_link("understand/sharding").startswith("[understand/")
    with pytest.raises(SystemExit, match="learn/nope"):
        reference_api.guide_link("learn/nope")


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("torch.Tensor", "tensors.html#torch.Tensor"),
        ("torch.nn.Module", "generated/torch.nn.Module.html#torch.nn.Module"),
        ("torch.optim.Optimizer", "optim.html#torch.optim.Optimizer"),
        (
            "torch.nn.Parameter",
            "generated/torch.nn.parameter.Parameter.html#torch.nn.parameter.Parameter",
        ),
        (
            "torch.distributed.all_reduce",
            "distributed.html#torch.distributed.all_reduce",
        ),
        ("torch.no_such_name", None),
    ],
)
def test_torchs_addresses_follow_the_rules_of_its_documentation(
    name: str, where: str | None
) -> None:
    pytest.importorskip("mkdocstrings")
    import inventories

    assert inventories.torch_address(name) == where


def test_every_name_in_our_inventories_can_be_imported() -> None:
    import inventories

    python = [name for names in inventories.PYTHON.values() for name in names]
    for name in (
        *inventories.TORCH,
        *python,
    ):
        module, _, last = name.rpartition(".")
        if module:
            assert hasattr(importlib.import_module(module), last), name
        else:
            assert hasattr(builtins, name), name
