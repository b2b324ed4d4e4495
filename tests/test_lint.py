"""Proofs for `python -m tests.lint`: each check finds what it is there to find."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from helpers import site_code, site_commands
from helpers.site_code import Fence, fences
from helpers.site_sections import sections
from lint import ROOT, SITE, apps, at, cards, course, layout, lost_link, pages, words

from distrinews.course import sheets
from distrinews.course.interview_cards import Card
from distrinews.course.sheets import LABS, LabSheet


def lint(*names: str, folder: pathlib.Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.lint", *names],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=200,
        check=False,
    )


# --- The command ------------------------------------------------------------------


def test_all_findings_are_printed_at_once_with_file_and_line(
    tmp_path: pathlib.Path,
) -> None:
    """A copy of the repository with two faults in one file and one in another."""
    ignored = shutil.ignore_patterns("__pycache__", ".*", "runs", "*.png")
    for name in ("apps", "chapters", "distrinews", "site_docs", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    card = tmp_path / "distrinews" / "course" / "interview_basics.toml"
    text = card.read_text(encoding="utf-8")
    text = text.replace('page = "', 'page = "nowhere/', 1)
    text = re.sub(
        r'^short = """\n?', "\\g<0>In 2019 it was so. ", text, count=1, flags=8
    )
    card.write_text(text, encoding="utf-8")
    done = lint("cards", folder=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if "interview_basics" in line]
    line = text[: text.index('id = "')].count("\n") + 1
    place = f"distrinews/course/interview_basics.toml:{line}: card "
    assert all(line.startswith(place) for line in lines), lines
    assert any("no page nowhere/" in line for line in lines), lines
    assert any("typed digits ['2019']" in line for line in lines), lines


def test_checks_that_do_not_exist_are_named() -> None:
    done = lint("crads")
    assert done.returncode == 2
    assert "no such checks: crads; there are apps, cards" in done.stdout


def test_a_finding_is_on_the_line_where_it_is() -> None:
    found = at(SITE / "glossary.md", "wrong", near="\n## ")
    assert str(found).startswith("site_docs/glossary.md:")
    assert str(found).endswith(": wrong")


# --- Cards ------------------------------------------------------------------------


def a_card() -> Card:
    return cards.raw_cards()[0]


@pytest.mark.parametrize(
    ("part", "text", "says"),
    [
        ("short", "One sentence only.", "1 sentences"),
        ("short", "So. " * 100, "100 sentences"),
        ("short", f"{'word ' * 100}. So.", "over half a minute"),
        ("deep", "Too short.", "a deep answer"),
        ("question", 'Why "DDP"?', "a quotation mark"),
        ("title", "naïve", "a letter"),
        ("number", "", "an empty part"),
        ("number", "91 MB", "no number in braces"),
        ("page", "understand/nope.md#the-idea", "no page"),
        ("page", "understand/sharding.md#nope", "no nope"),
        ("proof", "tests/test_ring.py::test_nope", "does not exist"),
        ("proof", "tests/nope.py::test_x", "does not exist"),
        ("proof", "lab nope", "does not exist"),
        ("proof", "word", "does not exist"),
    ],
)
def test_a_card_that_is_not_complete_is_found(part: str, text: str, says: str) -> None:
    assert list(cards.card_faults(a_card())) == []
    faults = cards.card_faults(dataclasses.replace(a_card(), **{part: text}))
    assert any(says in fault for fault in faults)


def test_a_typed_number_is_found() -> None:
    for text in (
        *("91 MB", "two ranks reach 1.7x", "rank 25", "in 2019"),
        "{x} of 104 tensors",
    ):
        assert cards.typed_digits(text), text


def test_a_link_that_leads_nowhere_is_found() -> None:
    assert lost_link("understand/sharding.md#the-idea") == ""
    assert lost_link("understand/nope.md#the-idea")
    assert lost_link("understand/sharding.md#nope")


def test_a_missing_page_anchor_or_sentence_would_be_found() -> None:
    right = {"at": "understand/gradient-sync.md#clipping", "says": "Clip *after*"}
    assert cards.lacking(right) == ""
    for where, says, why in (
        ("understand/nowhere.md#clipping", "norm", "no page"),
        ("understand/gradient-sync.md#clip", "norm", "has no #clip"),
        ("understand/gradient-sync.md#clipping", "sampler", "does not say"),
        # The words stand on the page, but under another headline:
        ("understand/gradient-sync.md#uneven-parts", "Clip *after*", "does not say"),
    ):
        assert why in cards.lacking({"at": where, "says": says})


def test_anchors_are_those_of_the_site_generator() -> None:
    toc = pytest.importorskip("markdown.extensions.toc")
    markdown = pytest.importorskip("markdown")
    page = "# A\n\n## Why `x`, and not y?\n\n## A: b - c\n\n## A\n\n## Zwölf { #own }\n"
    made = markdown.Markdown(extensions=[toc.TocExtension(), "attr_list"])
    made.convert(page)
    theirs = re.findall(r"'id': '([^']+)'", str(made.toc_tokens))
    assert list(sections(page)) == theirs


# --- The course -------------------------------------------------------------------


def test_a_chapter_without_a_part_is_found() -> None:
    path = course.CHAPTERS[0]
    text = words(path)
    assert list(course.chapter_faults(path.name, text)) == []
    for before, after, says in (
        ("\nPredict ", "\nGuess ", "the header has not"),
        (f"python chapters/{path.name}", "python it", "how to run"),
        ("    console.run(main)", "    main()", "guard"),
        ("\n\n\n", "\n" * 130, "lines, more than 130"),
    ):
        faults = course.chapter_faults(path.name, text.replace(before, after))
        assert any(says in fault for fault in faults), before


def test_a_lab_without_a_part_is_found() -> None:
    sheet = LabSheet.read("mean_of_means")
    text = words(sheet.path)
    assert list(course.lab_faults(text, sheet)) == []
    for field, value, says in (
        ("Source", "https://example.org/1", "Source"),
        ("Silent", "perhaps", "Silent"),
        ("Takes", "soon", "Takes"),
        ("Question", "Say why.", "asks nothing"),
        ("Concept", "understand/nope", "no page"),
        ("Concept", "glossary", "no page"),
    ):
        wrong = dataclasses.replace(sheet, fields=sheet.fields | {field: value})
        assert any(says in fault for fault in course.lab_faults(text, wrong)), field
    wrong = dataclasses.replace(sheet, fields={"Takes": "1 s"})
    assert any("the header" in fault for fault in course.lab_faults(text, wrong))
    wrong = dataclasses.replace(sheet, title="No stop")
    assert any("full stop" in fault for fault in course.lab_faults(text, wrong))
    no_fix = text.replace("def fixed(", "def cured(")
    assert any("no broken" in fault for fault in course.lab_faults(no_fix, sheet))


def test_an_output_of_another_lab_or_of_a_named_machine_is_found() -> None:
    sheet = LabSheet.read("mean_of_means")
    text = words(LABS / "captured" / "mean_of_means.txt")
    assert list(course.capture_faults(text, symptom=sheet.symptom)) == []
    for wrong, says in (
        (f"# torch\n{text}", "the first line"),
        (text.partition("\n")[0], "the symptom"),
        (f"{text}{ROOT}/x.py\n", "the machine"),
    ):
        faults = course.capture_faults(wrong, symptom=sheet.symptom)
        assert any(says in fault for fault in faults), says


def test_an_exercise_without_a_part_is_found(tmp_path: pathlib.Path) -> None:
    sheet = sheets.ExerciseSheet.read(sheets.exercise_names()[0])
    assert list(course.exercise_faults(sheet)) == []
    path = tmp_path / "nothing.py"
    path.write_text("", encoding="utf-8")
    fields = sheet.fields | {"Concept": "understand/nope"}
    wrong = dataclasses.replace(sheet, name="nothing", path=path, fields=fields)
    assert len(list(course.exercise_faults(wrong))) == 5


def test_questions_without_a_kind_or_an_answer_are_found() -> None:
    import self_check_pages

    questions = self_check_pages.questions()
    assert list(course.question_faults(questions)) == []
    assert list(course.question_faults(questions[1:]))
    twice = [questions[0], *questions[:1], *questions[2:]]
    assert list(course.question_faults(twice))
    choice = next(q for q in questions if "choices" in q)
    wrong = [q | {"answer": "e"} if q is choice else q for q in questions]
    assert [what for _, what in course.question_faults(wrong)] == [
        "its answer is none of its choices"
    ]


# --- Pages ------------------------------------------------------------------------


def test_a_chapters_page_without_an_act_or_an_answer_is_found() -> None:
    chapter = course.CHAPTERS[0]
    page = SITE / "learn" / f"{pages.chapter_pages.PAGES[chapter.stem]}.md"
    text = words(page)
    assert list(pages.chapter_page_faults(text, chapter=chapter)) == []
    first = next(m for m in pages.PYTHON.finditer(text) if m[1].endswith(chapter.name))
    holed = text[: first.start()] + text[first.end() :]
    assert pages.missing_lines(holed, chapter=chapter)
    for before in ("## Predict first", "## Exercises", '    ??? success "Answer"\n'):
        faults = pages.chapter_page_faults(text.replace(before, ""), chapter=chapter)
        assert list(faults), before
    twice = f'{text}\n``` {{ .python }}\n--8<-- "chapters/{chapter.name}"\n```\n'
    [fault] = pages.chapter_page_faults(twice, chapter=chapter)
    assert "twice" in fault


def test_a_page_that_its_sections_index_forgets_is_found() -> None:
    text = "[a](a.md#x), [c](../c/d.md), [e](https://example.org/e.md)"
    section = ["b/index.md", "b/a.md", "c/d.md"]
    assert pages.not_linked("b/index.md", section, text) == []
    assert pages.not_linked("b/index.md", [*section, "b/e.md"], text) == ["b/e.md"]
    config = "x: 1\nnav:\n  - A: a.md\n  - B: # why\n      - C: c.md\n"
    assert pages.tabs(config) == ["A", "B"]


def test_what_stands_on_two_pages_is_found() -> None:
    words_once = " ".join(f"word{n}" for n in range(14))
    code = f"```sh\necho {words_once}\n```"
    for part in (words_once, f"| a | b |\n|---|---|\n| {words_once} | c |", code):
        pair = {"a.md": f"# A\n\n{part}\n\nEnd.\n", "b.md": f"# B\n\n{part}\n"}
        assert [found[:2] for found in pages.repeated(pair)] == [("b.md", "a.md")]
        # Negative controls: other words, few words, and where a number comes from.
        pair["b.md"] = pair["b.md"].replace("word7", "other")
        assert list(pages.repeated(pair)) == []
    for alike in ("A short sentence.", f"Measured on a day: {words_once}"):
        assert list(pages.repeated({"a.md": alike, "b.md": alike})) == []


def test_a_page_that_takes_too_long_is_found() -> None:
    text = "word " * (12 * 220)
    assert pages.too_long("learn", text) == ""
    assert "12.0 minutes to read, more than 8" in pages.too_long("understand", text)
    assert pages.too_long("understand", f'??? info "Deep"\n\n    {text}\n') == ""
    assert pages.too_long("reference", text * 9) == ""


def only(text: str) -> Fence:
    [block] = fences(text, page="a.md")
    return block


def test_a_block_that_somebody_typed_is_found() -> None:
    for text in (
        "```python\nprint(1)\n```",
        '```python\n--8<-- "distrinews/dist/launcher.py"\nprint(1)\n```',
        "    ```python\n    print(1)\n    ```",
        "<!-- source a.py::b -->\n<!-- end -->\n```python\nprint(1)\n```",
        "```text\nloss 0.5\n```",
        "```pycon\n>>> 1\n1\n```\nWords.\n```text\n1\n```\n".partition("Words.")[2],
        "```\npython -m distrinews doctor\n```",
        "```ruby\nputs 1\n```",
        "```pycon\n1 + 1\n```",
    ):
        assert pages.block_fault(only(text)), text


def test_a_block_that_is_included_or_parsed_is_fine() -> None:
    for text in (
        '```python\n--8<-- "distrinews/dist/launcher.py"\n```',
        '=== "Linux"\n\n    ```sh\n    python -m distrinews doctor\n    ```',
        "<!-- source a.py::b -->\n\n```python title='a'\nprint(1)\n```\n\n<!-- end -->",
        "``` { .python title='a' }\n--8<-- 'a'\n```",
    ):
        assert pages.block_fault(only(text)) == "", text


def test_a_command_that_does_not_exist_is_found() -> None:
    for command in (
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
    ):
        assert site_commands.problem(command), command


def test_a_command_that_exists_is_fine() -> None:
    for command in (
        "python -m distrinews predict --model runs/NAME",
        "python -m distrinews benchmark balance --num-rounds 3",
        "python -m distrinews docs --serve --port 0",
        r".venv\Scripts\python chapters/05_ddp_training.py --epochs 2",
        "torchrun --standalone --nproc_per_node=2 chapters/05_ddp_training.py --seed 2",
        "HF_HOME=x python apps/api.py --model runs/mine --port 8001",
        "python -m pytest tests/test_sync.py -k average",
        'python -m pip install -c constraints.txt -e ".[quickstart,serve]"',
    ):
        assert site_commands.problem(command) == "", command


def test_continued_lines_comments_and_pipes_are_taken_apart() -> None:
    text = "a --b \\\n  --c  # why\n# all of it\n\nd && e | f"
    assert list(site_commands.commands(text)) == ["a --b  --c", "d", "e", "f"]


def test_an_example_with_a_wrong_result_is_found() -> None:
    right = "```pycon\n>>> n = 1\n```\n\n```pycon\n>>> n + 1\n2\n```"
    assert site_code.run_examples("a.md", fences(right, page="a.md")) == []
    wrong = right.replace("\n2\n", "\n3\n")
    assert "Expected" in "".join(
        site_code.run_examples("a.md", fences(wrong, page="a"))
    )


def test_a_command_that_nobody_runs_and_nobody_marks_is_found() -> None:
    text = words(pages.SETUP)
    more = "\n\n```sh\nrm -rf runs\n```\n"
    assert "rm -rf runs" in pages.unmarked(text + more)
    assert "rm -rf runs" not in pages.unmarked(f"{text}\n\nNot run here:{more}")
    mac = '=== "macOS"\n\n    ```sh\n    brew install git\n    ```'
    assert pages.unmarked(mac) == []
    assert pages.unmarked(mac.replace("macOS", "Linux")) == ["brew install git"]


def test_a_word_out_of_order_or_without_a_page_is_found() -> None:
    text = words(SITE / "glossary.md")
    assert list(pages.glossary_faults(text)) == []
    more = "\nAardvark { #aardvark }\n:   An animal. See [nope](nope.md).\n"
    faults = [what for _, what in pages.glossary_faults(f"{text}\n{more}")]
    assert any("stands behind" in what for what in faults)
    assert any("leads to no page" in what for what in faults)
    assert list(pages.glossary_faults("")) == [("", "0 words, fewer than 60")]


def test_a_picture_without_a_title_or_with_a_colour_of_its_own_is_found() -> None:
    text = words(SITE / "diagrams" / "ddp-step.svg")
    assert list(pages.picture_faults("ddp-step", text)) == []
    for before, after, says in (
        ('role="img"', 'role="none"', "role"),
        ('id="ddp-step-title"', 'id="title"', "an id without"),
        ("<path ", '<path fill="red" ', "a colour"),
        ("\n", "\n\n", "a blank line"),
    ):
        faults = pages.picture_faults("ddp-step", text.replace(before, after, 1))
        assert any(says in fault for fault in faults), before


def test_an_error_with_a_stale_anchor_would_be_found() -> None:
    source = 'raise E("x", why="", fix="", page="nope")\nFinding(1, 2, 3, 4, "other")'
    assert pages.named_anchors(source) == {"nope": 1, "other": 2}
    assert pages.named_anchors("E(page=page)") == {}  # the caller names it
    assert pages.named_anchors("E(page=f'{kind}s')") == {r"[\w-]+s": 1}
    assert pages.named_anchors("E(page=a + b)") == {"a + b": 1}  # and so is no anchor


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("", "", ""),
        (
            'id="duplicate-gpu"><a href="launch/',
            'id="duplicate-gpu"><a href="hang/',
            "#duplicate-gpu leads to hang/#duplicate-gpu",
        ),
        ('id="duplicate-gpu"', 'id="x"', "duplicate-gpu is an entry or on the list"),
        ("{ #duplicate-gpu }", "", "duplicate-gpu is an entry or a headline"),
        ("**Cure.** Before `init", "**Cure.** After `init", "duplicate-gpu lacks"),
    ],
)
def test_an_entry_that_is_lost_or_cut_is_found(
    right: str, wrong: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative controls; the pages as they are find nothing."""
    real = pages.words
    if right:
        monkeypatch.setattr(pages, "words", lambda p: real(p).replace(right, wrong))
    found = [str(one) for one in pages.check_every_trouble_is_whole_on_its_page()]
    assert bool(found) == bool(right), found
    assert says in " ".join(found)


def test_a_function_that_does_not_exist_would_be_seen() -> None:
    for text, missing in (
        ("call `sync.average_everything()`", {"sync.average_everything"}),
        # A module that was renamed, under its old name and its new one.
        ("`trace.recording`", {"trace.recording"}),
        ("`recorder.recording` and `model.parameters()`", set()),
        ("call `torch.nn.parallel.Wrong(x)`", {"torch.nn.parallel.Wrong"}),
        ("`sync.average_gradients` and `torch_dist.all_reduce`", set()),
    ):
        assert pages.missing_names(text) == missing


# --- Layout and apps --------------------------------------------------------------


def test_a_circle_would_be_seen_also_through_a_late_import() -> None:
    late = "def run():\n    import api"
    assert layout.circles({"api": "from contract import x", "contract": late}) == {
        "api",
        "contract",
    }


@pytest.mark.skipif(
    not (shutil.which("git") and (ROOT / ".git").exists()), reason="not a git checkout"
)
def test_an_ignored_path_would_be_noticed() -> None:
    paths = ["runs/today/log.jsonl", "distrinews/dist/process_group.py"]
    assert layout.ignored(paths) == ["runs/today/log.jsonl"]


def test_a_second_address_is_found() -> None:
    text = "Compare them:\n`replicas.assert_replicas_equal(net)`."
    assert list(layout.second_addresses(text)) == [
        (2, "replicas.assert_replicas_equal: say sync.assert_replicas_equal")
    ]
    assert list(layout.second_addresses("`sync.assert_replicas_equal(net)`")) == []


def test_an_endurance_test_that_nobody_runs_is_found() -> None:
    files = {"tests/test_a.py": "@pytest.mark." + "endurance", "tests/test_b.py": ""}
    command = ["pytest", "-m", "endurance", "tests/test_a.py"]
    assert layout.never_run(files, [command]) == set()
    assert layout.never_run(files, []) == {"tests/test_a.py"}
    assert layout.never_run(files, [[*command, "tests/test_b.py"]]) == {
        "tests/test_b.py"
    }
    assert layout.never_run(files, [[*command, "tests/test_gone.py"]]) == {
        "tests/test_gone.py"
    }


def test_a_notebook_with_an_output_or_without_gpus_is_found() -> None:
    notebook = json.loads(words(apps.NOTEBOOK))
    assert list(apps.notebook_faults(notebook)) == []
    notebook["metadata"]["kaggle"]["isInternetEnabled"] = False
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code[0]["outputs"] = [{}]
    code[1]["source"] += "\nfrom distrinews import dist"
    assert list(apps.notebook_faults(notebook)) == [
        "a cell has an output",
        "it does not ask for the internet",
        "a cell loads torch",
    ]


def test_metadata_that_kaggle_would_refuse_are_found() -> None:
    metadata = json.loads(words(apps.METADATA))
    assert apps.metadata_faults(metadata) == []
    assert apps.metadata_faults(metadata | {"title": "Another"}) == [
        "the id must end with the title's slug, another"
    ]
    assert apps.metadata_faults(metadata | {"code_file": "nothing.ipynb"})
    assert apps.metadata_faults({"id": "a/b"})


def test_a_table_with_a_column_that_has_no_heading_is_found(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    rest = "\n|---|:-:|\n| a | b |\n"
    page.write_text(f"| one | two |{rest}", encoding="utf-8")
    bad = tmp_path / "bad.md"
    bad.write_text(f"| | two |{rest}", encoding="utf-8")
    monkeypatch.setattr(pages, "PAGES", [page, bad])
    [finding] = pages.check_every_column_of_a_table_has_a_heading()
    assert str(bad) in str(finding)
