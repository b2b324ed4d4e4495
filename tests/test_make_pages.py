"""Proofs for the site's generated parts: filled, compared, and nothing else touched."""

from __future__ import annotations

import sys
from pathlib import Path

import compare_builds
import make_pages
import number_tables
import pytest

BLOCKS = {"shout": str.upper, "rows": lambda _: "a\n\nb"}
PAGE = """# A page
By hand: `<!-- shout nothing -->`.
<!-- shout one two -->
stale
<!-- end -->
  <!-- rows -->
  <!-- end -->
<!-- other -->
"""
FILLED = """# A page
By hand: `<!-- shout nothing -->`.
<!-- shout one two -->

ONE TWO

<!-- end -->
  <!-- rows -->

  a

  b

  <!-- end -->
<!-- other -->
"""


def test_a_block_is_filled_as_far_in_as_its_marker_and_the_rest_stays() -> None:
    assert make_pages.render(PAGE, BLOCKS) == FILLED
    assert make_pages.render(FILLED, BLOCKS) == FILLED
    # Negative control: what nobody makes stays as it is.
    assert make_pages.render(PAGE, {"else": str.upper}) == PAGE


@pytest.mark.parametrize("end", ["", "<!-- shout b -->\n<!-- end -->\n"])
def test_a_block_without_an_end_of_its_own_is_refused(end: str) -> None:
    with pytest.raises(SystemExit, match="shout a --> has no <!-- end -->"):
        make_pages.render(f"<!-- shout a -->\nText.\n{end}", BLOCKS)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pages in a folder of their own, and a module that makes three files."""
    (tmp_path / "toy_maker.py").write_text(
        "import pathlib\n"
        "HERE = pathlib.Path(__file__).parent\n"
        "BLOCKS = {'shout': str.upper}\n"
        "def files():\n"
        "    return {HERE / 'new' / 'a.txt': 'a\\n', HERE / 'b.bin': b'b',\n"
        "        HERE / 'old.txt': None}\n",
        encoding="utf-8",
    )
    (tmp_path / "page.md").write_text(PAGE, encoding="utf-8")
    (tmp_path / "README.md").write_text("# By hand\n", encoding="utf-8")
    (tmp_path / "old.txt").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("ROOT", "SITE"):
        monkeypatch.setattr(make_pages, name, tmp_path)
    monkeypatch.setattr(make_pages, "MAKERS", ("toy_maker",))
    monkeypatch.delitem(sys.modules, "toy_maker", raising=False)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["make_pages.py", *words])
    return make_pages.main()


def test_check_names_what_is_stale_and_writes_nothing(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--check") == 1
    stale = ["page.md", "old.txt", "new/a.txt", "b.bin"]
    assert sorted(capsys.readouterr().out.split()) == sorted(stale)
    assert (site / "page.md").read_text("utf-8") == PAGE
    assert (site / "old.txt").exists()
    assert run(monkeypatch) == 0
    assert "ONE TWO" in (site / "page.md").read_text("utf-8")
    assert (site / "new" / "a.txt").read_bytes() == b"a\n"
    assert not (site / "old.txt").exists()
    capsys.readouterr()
    # Negative control: what is fresh is not named.
    assert run(monkeypatch, "toy_maker", "--check") == 0
    assert capsys.readouterr().out == ""


def test_after_an_error_no_file_is_written(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / "z.md").write_text("<!-- shout a -->\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"z.md: <!-- shout a -->"):
        run(monkeypatch)
    assert (site / "page.md").read_text("utf-8") == PAGE
    assert not (site / "b.bin").exists()


def test_a_name_that_makes_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, "nothing_pages")
    assert "no nothing_pages; there are" in capsys.readouterr().err


def test_rows_become_a_table_and_a_name_is_taken_once() -> None:
    def toy_figure() -> list[list[object]]:
        return [["ring", 2]]

    make = number_tables.table("way | steps", above="Above.", below="Below.")
    try:
        drawn = make(toy_figure)()
        assert drawn.splitlines()[2:5] == [
            "| way  | steps |",
            "| ---- | ----: |",
            "| ring | 2     |",
        ]
        assert drawn.startswith("Above.\n\n|")
        assert drawn.endswith("|\n\nBelow.")
        with pytest.raises(SystemExit, match="two figures are called toy_figure"):
            make(toy_figure)
    finally:
        del number_tables.FIGURES["toy_figure"]


# --- Two builders -------------------------------------------------------------------


def built(folder: Path, **pages: str) -> set[str]:
    for name, article in pages.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "index.html").write_text(
            f'<nav id="theme"></nav><article>{article}</article><p id="end"></p>',
            encoding="utf-8",
        )
    return compare_builds.anchors(folder)


def test_pages_and_anchors_that_one_build_lacks_are_named(tmp_path: Path) -> None:
    text = '<h1 id="a.b">A</h1><code id="__code_0"></code><h2 id="c">C</h2>'
    whole = built(tmp_path / "whole", one=text, two=text)
    assert len(whole) == 2 + 4
    less = built(tmp_path / "less", one=text.replace('id="c"', ""))
    assert compare_builds.report({"whole": whole, "less": less}).splitlines() == [
        *("whole: 2 pages, 1 only here", "  two/index.html"),
        *("whole: 4 anchors, 1 only here", "  one/index.html#c"),
        "less: 1 pages, 0 only here",
        "less: 1 anchors, 0 only here",
    ]
    # Negative control: equal builds differ in nothing.
    same = compare_builds.report({"one": whole, "other": whole})
    assert same.count(", 0 only here") == 4


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    import number_tables

    table = (
        "| way | step | ratio | text |\n| --- | ---- | ----- | ---- |\n"
        "| a | 5 ms | 0.9x (0.8 to 1.0) | 5 of 6 |\n| b | 1,234 ms | - | 6 |"
    )
    aligned = number_tables.numbers_right(table).splitlines()
    assert aligned[1] == "| --- | ---: | ----: | ---- |"
    assert [aligned[0], *aligned[2:]] == [table.splitlines()[n] for n in (0, 2, 3)]
    # Negative control: what is no table stays as it is.
    assert number_tables.numbers_right("| 1 |\n\n5 ms\n") == "| 1 |\n\n5 ms\n"
