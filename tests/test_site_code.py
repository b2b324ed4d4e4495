"""Proofs for the site's pages: every code block comes from a tested file, or runs.

And for what is generated: it is fresh, complete, and points at pages that exist.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import os
import pathlib
import re
import subprocess
import sys

import pytest
from helpers import site_code, site_commands
from helpers.site_code import Fence, fences

ROOT = pathlib.Path(__file__).resolve().parents[1]
SITE = ROOT / "site_docs"
TOOLS = SITE / "_tools"

PAGES = sorted(path for path in SITE.rglob("*.md") if "_tools" not in path.parts)
COMMANDS = {"sh", "bash", "powershell"}
INCLUDED = {"python", "text", "diff", "js", "json", "html", "yaml", "toml", "csv"}
# Blocks that are neither included nor run: page, how they begin -> why it is right.
BY_HAND = {
    ("howto/doctor.md", "problem  cores"): "the doctor's own words: proven below",
    (
        "howto/serve.md",
        '{"type": "/docs#overloaded"',
    ): "see tests/test_serving.py",
}


def names(paths: list[pathlib.Path]) -> list[str]:
    return [path.relative_to(SITE).as_posix() for path in paths]


# --- Code blocks ----------------------------------------------------------------


def fault(block: Fence) -> str:
    """Why a block may not stand where it stands; empty if it may."""
    if block.language in COMMANDS:
        problems = [
            site_commands.problem(c) for c in site_commands.commands(block.text)
        ]
        return "" if block.made or block.included else "; ".join(filter(None, problems))
    if block.language == "pycon":
        return "" if ">>> " in block.text else "no >>> in it"  # run by another proof
    if block.language not in INCLUDED:
        return f"no language that the site knows: {block.language!r}"
    if block.made or block.included:
        return ""
    if block.language == "text" and block.below == "pycon":
        return ""
    for page, beginning in BY_HAND:
        if block.page == page and block.text.startswith(beginning):
            return ""
    return "typed by hand: include it from a file, or run it"


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=names(PAGES))
def test_every_code_block_is_included_from_a_file_or_runs(path: pathlib.Path) -> None:
    blocks = site_code.read(path, root=SITE)
    faults = [f"{block.where}: {fault(block)}" for block in blocks if fault(block)]
    assert faults == []
    assert site_code.run_examples(path.name, blocks) == []


def test_no_exception_from_the_rule_has_outlived_its_block() -> None:
    blocks = [block for path in PAGES for block in site_code.read(path, root=SITE)]
    assert len(blocks) >= 100  # the guard: blocks were found
    for page, beginning in BY_HAND:
        assert any(b.page == page and b.text.startswith(beginning) for b in blocks)


def only(text: str) -> Fence:
    [block] = fences(text, page="a.md")
    return block


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(1)\n```",
        '```python\n--8<-- "distrinews/dist/launcher.py"\nprint(1)\n```',
        "    ```python\n    print(1)\n    ```",
        "<!-- source a.py::b -->\n<!-- end -->\n```python\nprint(1)\n```",
        "```text\nloss 0.5\n```",
        "```pycon\n>>> 1\n1\n```\nWords.\n```text\n1\n```\n".partition("Words.")[2],
        "```\npython -m distrinews doctor\n```",
        "```ruby\nputs 1\n```",
        "```pycon\n1 + 1\n```",
    ],
)
def test_a_block_that_somebody_typed_is_found(text: str) -> None:
    """Negative control."""
    assert fault(only(text))


@pytest.mark.parametrize(
    "text",
    [
        '```python\n--8<-- "distrinews/dist/launcher.py"\n```',
        '=== "Linux"\n\n    ```sh\n    python -m distrinews doctor\n    ```',
        "<!-- source a.py::b -->\n\n```python title='a'\nprint(1)\n```\n\n<!-- end -->",
        "``` { .python title='a' }\n--8<-- 'a'\n```",
    ],
)
def test_a_block_that_is_included_or_parsed_is_fine(text: str) -> None:
    assert fault(only(text)) == ""


def test_an_example_with_a_wrong_result_is_found() -> None:
    """Negative control."""
    right = "```pycon\n>>> n = 1\n```\n\n```pycon\n>>> n + 1\n2\n```"
    assert site_code.run_examples("a.md", fences(right, page="a.md")) == []
    wrong = right.replace("\n2\n", "\n3\n")
    assert "Expected" in "".join(
        site_code.run_examples("a.md", fences(wrong, page="a"))
    )


@pytest.mark.parametrize(
    "command",
    [
        "python -m distrinews predict --modle runs/NAME",
        "python -m distrinews nope",
        "python -m distrinews lab run no_such_lab",
        "python -m distrinews benchmark balance --rounds 3",
        "python -m distrinews docs --sever",
        "python chapters/05_ddp_training.py --batch-size 32",
        "python chapters/05_ddp_training.py --epochs none",
        ".venv/bin/python chapters/07_more.py",
        r".venv\Scripts\python chapters/05_ddp_training.py --nope",
        "bash chapters/launch.sh chapters/06_ddp_benchmark.py --nope",
        "torchrun --standalone --num-ranks=2 chapters/05_ddp_training.py",
        "torchrun --standalone --nproc_per_node=2 chapters/05_ddp_training.py --nope",
        "python apps/api.py --prot 8000",
        "python -m pytest tests/test_nope.py",
        'pip install -e ".[qickstart]"',
        "HF_HOME=x python -m distrinews nope",
        "dokcer run image",
    ],
)
def test_a_command_that_does_not_exist_is_found(command: str) -> None:
    """Negative control."""
    assert site_commands.problem(command)


@pytest.mark.parametrize(
    "command",
    [
        "python -m distrinews predict --model runs/NAME",
        "python -m distrinews benchmark balance --num-rounds 3",
        "python -m distrinews docs --serve --port 0",
        r".venv\Scripts\python chapters/05_ddp_training.py --epochs 2",
        "torchrun --standalone --nproc_per_node=2 chapters/05_ddp_training.py --seed 2",
        "HF_HOME=x python apps/api.py --model runs/mine --port 8001",
        "python -m pytest tests/test_sync.py -k average",
        'python -m pip install -c constraints.txt -e ".[quickstart,serve]"',
    ],
)
def test_a_command_that_exists_is_fine(command: str) -> None:
    assert site_commands.problem(command) == ""


def test_continued_lines_comments_and_pipes_are_taken_apart() -> None:
    text = "a --b \\\n  --c  # why\n# all of it\n\nd && e | f"
    assert list(site_commands.commands(text)) == ["a --b  --c", "d", "e", "f"]


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


# --- What is generated ----------------------------------------------------------


@pytest.mark.slow
def test_everything_generated_is_fresh() -> None:
    pytest.importorskip("griffe")
    done = subprocess.run(
        [sys.executable, str(TOOLS / "make_pages.py"), "--check"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
        cwd=ROOT,
    )
    message = f"renew with: python -m distrinews docs --renew\n{done.stderr}"
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + message


@pytest.mark.slow
def test_there_is_a_line_of_the_reference_for_every_public_name() -> None:
    reference_api = pytest.importorskip("reference_api", exc_type=ImportError)

    pages = (
        reference_api.pages()
    )  # raises for a module without a place, or a stale guide
    text = "\n".join(pages.values())
    for module in reference_api.modules().values():
        for name in module.own:
            assert f"\n::: distrinews.{module.name}.{name}\n" in text
        for name, _ in module.re_exported:
            assert f'<a id="distrinews.{module.name}.{name}"></a>' in text
    assert len(reference_api.public_names()) >= 400


@pytest.mark.slow
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


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings name."""
    return set(re.findall(r"\{ #([\w.-]+) \}", text))


def named_anchors(source: str) -> set[str]:
    """Every `page="..."` that a file gives to an error."""
    return {
        word.value.value
        for word in ast.walk(ast.parse(source))
        if isinstance(word, ast.keyword)
        and word.arg == "page"
        and isinstance(word.value, ast.Constant)
    }


def test_every_error_names_an_anchor_of_the_troubleshooting_page() -> None:
    there = anchors((SITE / "troubleshooting.md").read_text(encoding="utf-8"))
    files = [*(ROOT / "distrinews").rglob("*.py"), *(ROOT / "apps").glob("*.py")]
    named: set[str] = set()
    for path in [*files, *(ROOT / "chapters").rglob("*.py")]:
        named |= named_anchors(path.read_text(encoding="utf-8"))
    assert len(named) >= 15  # the guard: errors were found
    assert named - there == set()


def test_an_error_with_a_stale_anchor_would_be_found() -> None:
    """Negative control."""
    assert named_anchors('raise E("x", why="", fix="", page="nope")') == {"nope"}
    assert "nope" not in anchors("## Set-up { #setup }")
    assert "setup" in anchors("## Set-up { #setup }")


def test_every_concept_of_a_lab_or_an_exercise_is_a_page() -> None:
    paths = [*(ROOT / "chapters" / "labs").glob("*.py")]
    paths += (ROOT / "chapters" / "exercises").rglob("*.py")
    num_concepts = 0
    for path in paths:
        text = path.read_text(encoding="utf-8")
        for where in re.findall(r"^Concept +([\w/-]+)$", text, re.MULTILINE):
            num_concepts += 1
            assert (SITE / f"{where}.md").is_file(), f"{path.name}: {where}"
    assert num_concepts >= 40


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
