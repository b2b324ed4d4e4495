"""Proofs for the chapters' pages: what is stale is noticed, runs can be compared."""

from __future__ import annotations

import importlib
import pathlib
import re
import shutil
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


@pytest.fixture
def captures() -> ModuleType:
    return importlib.import_module("capture_chapters")


def copy_of_chapters(folder: pathlib.Path, *, change: str) -> pathlib.Path:
    """A copy of the scripts in which one has a comment more."""
    shutil.copytree(ROOT / "chapters", folder / "chapters")
    changed = folder / "chapters" / change
    text = changed.read_text(encoding="utf-8")
    assert "    # 1. " in text
    new = text.replace("    # 1. ", "    # A comment more.\n    # 1. ", 1)
    changed.write_text(new, encoding="utf-8")
    return folder


# --- The pictures that the pages open with --------------------------------------------


def test_every_chapter_opens_with_its_picture_which_asks_and_does_not_answer() -> None:
    for chapter, page in pages.PAGES.items():
        text = (LEARN / f"{page}.md").read_text("utf-8")
        head = text.partition("## Predict first")[0]
        name = f"chapter-{chapter[:2]}.svg"
        assert f'--8<-- "diagrams/{name}"' in head
        caption = re.findall(r"<figcaption>(.*)</figcaption>", head)
        assert len(caption) == 1
        assert caption[0].startswith(f"Picture {int(chapter[:2])}. ")
        assert "Notice" in caption[0]
        svg = (SITE / "diagrams" / name).read_text("utf-8")
        drawn = " ".join(re.findall(r"<text [^>]*>([^<]*)</text>", svg))
        assert "?" in drawn


def test_a_picture_is_made_of_the_record_and_changes_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    openers = importlib.import_module("chapter_openers")
    before = openers.files()
    assert len(before) == 6
    for path, svg in before.items():
        fix = "run: python site_docs/_tools/make_pages.py chapter_openers"
        assert path.read_text("utf-8") == svg, fix
    measured = openers.records.figures("scaling")
    one = measured["one_process"]
    assert f"{one['median_ms']:.0f} ms" in before[SITE / "diagrams" / "chapter-06.svg"]
    # Negative control: other records, other pictures.
    real = openers.records.captured_text
    monkeypatch.setattr(
        openers.records,
        "captured_text",
        lambda name: real(name).replace("2432", "2433").replace("[10, 20]", "[7, 20]"),
    )
    slower = measured | {"one_process": one | {"median_ms": 999.0}}
    monkeypatch.setattr(openers.records, "figures", lambda _: slower)
    changed = [
        path.stem for path, svg in openers.files().items() if svg != before[path]
    ]
    assert changed == ["chapter-01", "chapter-02", "chapter-06"]


# --- Captured output ------------------------------------------------------------


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
    assert changed == {"ddp-training"}


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
