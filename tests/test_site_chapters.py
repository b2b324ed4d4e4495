"""Proofs for the chapters' pages: whole scripts, real output, nothing stale."""

from __future__ import annotations

import doctest
import importlib
import pathlib
import re
import shutil
import textwrap
from types import ModuleType

import chapter_pages as pages
import make_pages
import pytest
import torch

from distrinews import dist, training
from distrinews.config.settings import DistributedSettings

ROOT = pathlib.Path(__file__).resolve().parents[1]
SITE = ROOT / "site_docs"
LEARN = SITE / "learn"
CHAPTERS = sorted((ROOT / "chapters").glob("[0-9]*.py"))
PYCON = re.compile(r"^ *```pycon\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(
    r'^``` \{ \.python title="(\S+)" \}\n(.*?)^```$', re.MULTILINE | re.DOTALL
)


@pytest.fixture
def captures() -> ModuleType:
    return importlib.import_module("capture_chapters")


def page_of(chapter: pathlib.Path) -> pathlib.Path:
    return LEARN / f"{pages.PAGES[chapter.stem]}.md"


def copy_of_chapters(folder: pathlib.Path, *, change: str) -> pathlib.Path:
    """A copy of the scripts in which one has a comment more."""
    shutil.copytree(ROOT / "chapters", folder / "chapters")
    changed = folder / "chapters" / change
    text = changed.read_text(encoding="utf-8")
    assert "    # 1. " in text
    new = text.replace("    # 1. ", "    # A comment more.\n    # 1. ", 1)
    changed.write_text(new, encoding="utf-8")
    return folder


# --- Captured output ------------------------------------------------------------


def test_every_captured_output_is_that_of_the_script_as_it_is(
    captures: ModuleType,
) -> None:
    assert captures.stale() == []
    assert len(list(captures.FOLDER.glob("*.txt"))) >= 15


def test_a_changed_comment_makes_the_captures_of_that_chapter_stale(
    captures: ModuleType, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    root = copy_of_chapters(tmp_path, change="02_process_group.py")
    monkeypatch.setattr(captures, "ROOT", root)
    faults = captures.stale()
    assert {fault.partition(":")[0] for fault in faults} == {
        f"stale capture {name}"
        for name, capture in captures.CAPTURES.items()
        if capture.scripts == ("chapters/02_process_group.py",)
    }
    run = "run: python site_docs/_tools/capture_chapters.py 02_process_group"
    assert any(run in fault for fault in faults)


def test_other_line_ends_are_no_change(
    captures: ModuleType, tmp_path: pathlib.Path
) -> None:
    for name, ends in (("unix.py", b"a\nb\n"), ("windows.py", b"a\r\nb\r\n")):
        (tmp_path / name).write_bytes(ends)
    hashes = {captures.sha256(path) for path in tmp_path.iterdir()}
    assert len(hashes) == 1


def test_an_output_that_somebody_edited_or_that_nobody_made_is_named(
    captures: ModuleType, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    folder = shutil.copytree(captures.FOLDER, tmp_path / "captured")
    monkeypatch.setattr(captures, "FOLDER", folder)
    assert captures.stale() == []
    edited = folder / "02_process_group.txt"
    edited.write_text(edited.read_text("utf-8") + "I like it.\n", encoding="utf-8")
    (folder / "invented.txt").write_text("10x faster\n", encoding="utf-8")
    (folder / "02_alone.txt").unlink()
    faults = "\n".join(captures.stale())
    assert "02_process_group.txt was edited by hand" in faults
    assert "invented.txt belongs to no capture" in faults
    assert "no capture 02_alone" in faults


def test_a_progress_bar_is_kept_in_its_last_state(captures: ModuleType) -> None:
    written = "go\r\ntrain:  50%|## | 1/2\rtrain: 100%|####| 2/2\r\nlonger\rdone\r\n"
    want = "go\ntrain: 100%|####| 2/2\ndoneer\n"  # what a terminal shows
    assert captures.screen(written) == want


def test_every_captured_output_is_shown_on_a_page() -> None:
    text = "\n".join(path.read_text("utf-8") for path in SITE.rglob("*.md"))
    names = {path.stem for path in (LEARN / "captured").glob("*.txt")}
    assert names == set(re.findall(r"<!-- captured (\S+) -->", text))


# --- The pages ------------------------------------------------------------------


def test_a_changed_script_makes_its_page_and_the_diffs_stale(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    root = copy_of_chapters(tmp_path, change="05_ddp_training.py")
    monkeypatch.setattr(pages, "ROOT", root)
    changed = set()
    for path in LEARN.glob("*.md"):
        text = path.read_text("utf-8")
        if make_pages.render(text, pages.BLOCKS) != text:
            changed.add(path.stem)
    assert changed == {"ddp-training", "ddp-benchmark"}  # 06 shows the diff from 05


def test_there_is_a_page_for_every_chapter() -> None:
    assert [path.stem for path in CHAPTERS] == list(pages.PAGES)
    assert len(CHAPTERS) == 6


def missing_lines(text: str, *, chapter: pathlib.Path) -> list[str]:
    """Lines of a script's code that its page does not show, act by act."""
    path = f"chapters/{chapter.name}"
    fences = PYTHON.findall(text)
    shown = [
        line.strip()
        for title, code in fences
        if title == path
        for line in code.splitlines()
    ]
    left = [line for line in pages.code(path) if line.strip()]
    for line in shown:
        if left and line == left[0].strip():
            left.pop(0)
    return left


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_page_shows_every_line_of_its_script_in_order(chapter: pathlib.Path) -> None:
    text = page_of(chapter).read_text("utf-8")
    assert missing_lines(text, chapter=chapter) == []
    assert f'--8<-- "chapters/{chapter.name}"' in text  # and all at once, to copy
    # Negative control: without one act, its first line is missed.
    first = next(m for m in PYTHON.finditer(text) if m[1].endswith(chapter.name))
    holed = text[: first.start()] + text[first.end() :]
    assert missing_lines(holed, chapter=chapter)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_page_asks_first_and_has_exercises_with_answers(
    chapter: pathlib.Path,
) -> None:
    text = page_of(chapter).read_text("utf-8")
    order = [
        text.index(part)
        for part in (
            "**The question.**",
            "## Predict first",
            '??? success "Answer"',
            "## Run it",
            f"```sh\npython chapters/{chapter.name}\n```",
            f"<!-- captured {chapter.stem} -->",
            "## The script, act by act",
            "**Why ",
            "## Change something",
            "## Exercises",
            "## Keep these sentences",
            "**Next:**",
        )
    ]
    assert order == sorted(order)
    exercises = text.partition("## Exercises")[2].partition("## Keep")[0]
    questions = exercises.split('\n??? question "')[1:]
    assert 3 <= len(questions) <= 5
    for number, question in enumerate(questions, start=1):
        assert question.startswith(f"{number}. ")
        assert question.count('    ??? success "Answer"\n') == 1


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(SITE.rglob("*.md")) if path.parent.name in ("learn",)]
    + [SITE / "howto" / "own-data.md"],
    ids=lambda path: path.stem,
)
def test_the_examples_of_a_page_give_what_stands_below_them(
    path: pathlib.Path,
) -> None:
    blocks = PYCON.finditer(path.read_text("utf-8"))
    code = "\n".join(textwrap.dedent(match[1]) for match in blocks)
    test = doctest.DocTestParser().get_doctest(code, {}, path.name, str(path), 0)
    report: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert result.failed == 0, "".join(report)


# --- The glossary ---------------------------------------------------------------


def test_the_glossary_explains_sixty_words_and_each_leads_on() -> None:
    text = (SITE / "glossary.md").read_text("utf-8")
    form = r"^([^\n#]+?) \{ #(\S+) \}\n:   (.*?)(?=\n\n|\Z)"
    entries = re.findall(form, text, re.MULTILINE | re.DOTALL)
    assert len(entries) >= 60
    anchors = [anchor for _, anchor, _ in entries]
    assert len(set(anchors)) == len(anchors)
    names = [name.lower().replace("_", " ") for name, _, _ in entries]
    assert names == sorted(names), sorted(names)
    for name, _, about in entries:
        links = re.findall(r"\]\((\S+?\.md)\)", about)
        assert links, name
        assert all((SITE / link).is_file() for link in links), name


# --- One process and two, seen by eye ---------------------------------------------


def test_two_processes_end_where_one_ended_if_they_take_its_batches() -> None:
    import numbers_course

    one, two, alone, pair = map(numbers_course.end_of, numbers_course.RUNS)
    for left, right in ((one, two), (alone, pair)):
        assert (left.loss, left.accuracy) == (right.loss, right.accuracy)
        assert left.confusion == right.confusion
        assert len(left.confusion) == 4
    # Negative control: other batches end elsewhere, so equality is no accident.
    assert one.loss != alone.loss
    assert one.confusion != alone.confusion
    shown = numbers_course.one_and_two()
    assert shown in (LEARN / "ddp-training.md").read_text(encoding="utf-8")
    assert "`05_ddp_training.py --num-ranks 1`" in shown


def test_chapter_05_can_take_the_very_batches_of_chapter_01() -> None:
    ranks = dist.Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))
    lengths = list(range(70))

    def batches_of(kind: str) -> list[list[int]]:
        settings = DistributedSettings.model_validate({"batches": kind, "seed": 3})
        sampler = training.build_sampler(lengths, ranks, settings=settings)
        sampler.set_epoch(2)
        return list(sampler)

    generator = torch.Generator().manual_seed(3 + 2)  # as chapter 01 writes it
    order = torch.randperm(70, generator=generator).tolist()
    expected = [order[:32], order[32:64]]
    assert batches_of("shuffled") == expected
    assert batches_of("length") != expected  # negative control


def test_the_ranks_that_the_pages_resume_on_divide_the_default_batch() -> None:
    size = DistributedSettings().global_batch_size
    assert [n for n in range(1, 5) if size % n == 0] == [1, 2, 4]
    assert [36 % n for n in (2, 3, 4)] == [0, 0, 0]
    resume = (SITE / "howto" / "resume.md").read_text(encoding="utf-8")
    resumed_on = re.findall(r"--resume --num-ranks (\d+)", resume)
    assert resumed_on
    assert all(size % int(num_ranks) == 0 for num_ranks in resumed_on)


def test_where_a_page_speaks_of_dropout_by_rank_it_says_that_the_default_is_none() -> (
    None
):
    assert DistributedSettings().dropout == 0.0
    for page in ("learn/ddp-training.md", "understand/randomness.md"):
        text = (SITE / page).read_text(encoding="utf-8")
        assert "`--dropout 0.0`" in text
        assert "`--dropout 0.1`" in text
