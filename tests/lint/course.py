"""The course's files: headers of chapters, labs and exercises, and their tables."""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numbers_path
import self_check_pages

from distrinews.cli import lab_commands
from distrinews.config.settings import DistributedSettings
from distrinews.course import sheets
from distrinews.course.sheets import EXERCISES, LABS, ExerciseSheet, LabSheet
from distrinews.doctor import catalogue

from . import ROOT, SITE, Finding, at, expect, words

CHAPTERS = sorted((ROOT / "chapters").glob("[0-9]*.py"))
GUARD = ['if __name__ == "__main__":', "    console.run(main)"]
ISSUE = r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+"
CAPTURE = r"# torch \d\S+, Python 3\.\d+\.\d+, \w+, \d{4}-\d\d-\d\d"
LEARN = SITE / "learn"
PATH_PAGE = SITE / "start" / "path.md"


# --- Chapters ---------------------------------------------------------------------


def chapter_faults(name: str, text: str) -> Iterator[str]:
    """What a chapter's text lacks."""
    num_lines = len(text.splitlines())
    if num_lines > 130:
        yield f"{num_lines} lines, more than 130"
    header = text.split('"""')[1]
    fields = ("Question", "Predict", "Run", "Expect", "Takes")
    positions = [header.find(f"\n{word} ") for word in fields]
    if min(positions) <= 0 or positions != sorted(positions):
        yield f"the header has not {', '.join(fields)}, in this order"
    if f"python chapters/{name}" not in header:
        yield "the header does not say how to run it"
    if inspect.cleandoc(text).splitlines()[-2:] != GUARD:
        yield "it does not start behind the guard"


def check_chapters() -> Iterator[Finding]:
    yield from expect(ROOT / "chapters", ((len(CHAPTERS) == 6, "not six chapters"),))
    for path in CHAPTERS:
        for what in chapter_faults(path.name, words(path)):
            yield at(path, what)


def check_units_of_settings() -> Iterator[Finding]:
    """The help names the unit of every number that has one."""
    fields = DistributedSettings.model_fields
    path = ROOT / "distrinews" / "config" / "settings.py"
    numbers = {
        name: field.description or ""
        for name, field in fields.items()
        if field.annotation in (int, float, int | None, float | None)
    }
    # Shares, probabilities, a norm and a seed are plain numbers.
    plain = {"warmup_fraction", "weight_decay", "dropout", "max_gradient_norm", "seed"}
    without = {name for name, text in numbers.items() if "[" not in text}
    yield from expect(path, ((len(numbers) >= 10, "few numbers among the settings"),))
    for name in without ^ plain:
        yield at(path, f"{name}: its unit in square brackets, or none", near=f"{name}:")


# --- Labs -------------------------------------------------------------------------


def lab_faults(text: str, sheet: LabSheet) -> Iterator[str]:
    """What a lab's file lacks."""
    fields = sheet.fields
    defined = {n.name for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)}
    if list(fields) != list(sheets.LAB_FIELDS):
        yield f"the header has not {', '.join(sheets.LAB_FIELDS)}, in this order"
        return
    for holds, what in (
        (len(text.splitlines()) <= 80, "more than 80 lines"),
        (sheet.title.endswith("."), "a title without a full stop"),
        (re.fullmatch(ISSUE, fields["Source"]), "Source is no issue or pull request"),
        (fields["Silent"] in ("yes", "no"), "Silent is neither yes nor no"),
        (re.fullmatch(r"\d+ s", fields["Takes"]), "Takes is no number of seconds"),
        (fields["Question"].endswith("?"), "Question asks nothing"),
        (is_page(fields["Concept"]), "Concept is no page of understand or learn"),
        ({"broken", "fixed", "detect"} <= defined, "no broken, fixed or detect"),
    ):
        if not holds:
            yield what


def is_page(concept: str) -> bool:
    """Whether the page that explains something exists."""
    where = re.fullmatch(r"(understand|learn)/[a-z0-9-]+", concept)
    return bool(where) and (SITE / f"{concept}.md").is_file()


def capture_faults(text: str, *, symptom: str) -> Iterator[str]:
    """What is wrong with the captured output of a lab."""
    first, _, output = text.partition("\n")
    if not re.fullmatch(CAPTURE, first):
        yield "the first line does not say torch, Python, system and date"
    if not re.search(symptom, output):
        yield "it does not show the symptom"
    if str(ROOT) in output or lab_commands.normalised(output) != output:
        yield "it names the machine that it was made on"


def check_labs() -> Iterator[Finding]:
    for name in sheets.lab_names():
        sheet = LabSheet.read(name)
        for what in lab_faults(words(sheet.path), sheet):
            yield at(sheet.path, what)
        captured = LABS / "captured" / f"{name}.txt"
        if not captured.is_file():
            yield at(sheet.path, "no captured output")
            continue
        for what in capture_faults(words(captured), symptom=sheet.symptom):
            yield at(captured, what)


def check_the_set_of_labs() -> Iterator[Finding]:
    names = sheets.lab_names()
    all_sheets = {name: LabSheet.read(name) for name in names}
    slugs = {trouble.slug for trouble in catalogue.read().troubles}
    page = LEARN / "labs.md"
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", words(page), re.MULTILINE))
    num_silent = sum(sheet.is_silent for sheet in all_sheets.values())
    captured = sorted(path.stem for path in (LABS / "captured").glob("*.txt"))
    yield from expect(
        LABS,
        (
            (len(names) == 41, f"{len(names)} labs, not 41"),
            (num_silent == 20, f"{num_silent} silent labs, not 20"),
            (names == sorted(p.stem for p in LABS.glob("*.py")), "a file is no lab"),
            (captured == names, "something is captured of a lab that does not exist"),
        ),
    )
    for name, sheet in all_sheets.items():
        row = f"{sheet.title} | {'silent' if sheet.is_silent else 'loud'}"
        if rows.pop(name, "") != row:
            yield at(page, f"its line on {name} is not: {row}", near=f"`{name}`")
        if name.replace("_", "-") not in slugs:
            yield at(sheet.path, "no entry of the catalogue is about it")
    for name in rows:
        yield at(page, f"there is no lab {name}", near=f"`{name}`")


# --- Exercises --------------------------------------------------------------------


def exercise_faults(sheet: ExerciseSheet) -> Iterator[str]:
    """What an exercise lacks."""
    for holds, what in (
        (sheet.check.is_file(), "it has no check"),
        (sheet.solution.is_file(), "it has no solution"),
        (sheets.wrong_solutions(sheet.name), "it has no wrong solution"),
        ("NotImplementedError" in words(sheet.path), "it leaves nothing to be done"),
        (is_page(sheet.fields["Concept"]), "Concept is no page"),
    ):
        if not holds:
            yield what


def check_exercises() -> Iterator[Finding]:
    names = sheets.exercise_names()
    page = LEARN / "exercises.md"
    rows = [line for line in words(page).splitlines() if line.startswith("| `")]
    files = {path.stem for path in EXERCISES.glob("*.py")}
    all_sheets = [ExerciseSheet.read(name) for name in names]
    targets = " ".join(sheet.fields["Target"] for sheet in all_sheets)
    whys = Counter(
        (name, why) for name in names for why in sheets.wrong_solutions(name).values()
    )
    yield from expect(
        EXERCISES,
        (
            (files == set(names), "a file is no exercise"),
            (len(names) >= 20, "under 20 exercises"),
            *((n == 1, f"two wrong solutions share {why}") for why, n in whys.items()),
            *(
                (kind in targets, f"no exercise for a target of the kind {kind!r}")
                for kind in ("Correct", "collective", "all-reduce", "bytes", " s. ")
            ),
            ("alive" in targets, "no exercise in which ranks must stay alive"),
        ),
    )
    yield from expect(
        page, ((len(rows) == len(names), "the table has not a row an exercise"),)
    )
    for sheet, row in zip(all_sheets, rows, strict=False):
        for what in exercise_faults(sheet):
            yield at(sheet.path, what)
        fields = sheet.fields
        for part in (
            f"| `{sheet.name}`, {fields['Level']} | [",
            *(sheet.title.rstrip("."), fields["Target"]),
            f"(../{fields['Concept']}.md)",
        ):
            if part not in row:
                yield at(page, f"{sheet.name}: its row lacks {part!r}", near=row)


def check_what_is_rejected_on_the_page() -> Iterator[Finding]:
    rejected = LEARN / "captured" / "exercise_rejected.txt"
    passed = LEARN / "captured" / "exercise_passed.txt"
    means = [4.0, (1 + 3) / 2, (2 + 2 + 6 + 0 + 6) / 5]
    text = words(rejected)
    wrong_mean = f"rejected: {sum(means) / 3:.3f} is not the mean"
    yield from expect(
        rejected,
        (
            (wrong_mean in text, f"not: {wrong_mean}"),
            ("exercise hint mean_over_all_rows\n" in text, "no hint"),
            ("NAME" not in text, "NAME stands for no exercise here"),
        ),
    )
    said = "passed: mean_over_all_rows" in words(passed)
    yield from expect(passed, ((said, "the right solution did not pass"),))


# --- Self-checks ------------------------------------------------------------------


def question_faults(questions: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """An id, and what is wrong with this question or its chapter's."""
    by_chapter: dict[str, list[dict[str, Any]]] = {}
    for question in questions:
        by_chapter.setdefault(question["id"][:3], []).append(question)
        letters = "abcd"[: len(question.get("choices", ""))]
        if "choices" in question and question["answer"] not in letters:
            yield question["id"], "its answer is none of its choices"
    if list(by_chapter) != [f"{number:02}_" for number in range(1, 7)]:
        yield "", "not the questions of six chapters, in order"
    for own in by_chapter.values():
        kinds = {"choices" if "choices" in q else "code" in q for q in own}
        num_ids = len({question["id"] for question in own})
        num_pages = len({question["chapter"] for question in own})
        if (len(own), num_ids, num_pages) != (5, 5, 1) or len(kinds) < 2:
            yield own[0]["id"], "a chapter asks five questions of several kinds"


def check_self_checks() -> Iterator[Finding]:
    path = self_check_pages.SOURCE
    for name, what in question_faults(self_check_pages.questions()):
        yield at(path, f"{name}: {what}", near=f'"{name}"')


def check_the_pages_of_self_checks() -> Iterator[Finding]:
    questions = self_check_pages.questions()
    shown = set()
    order = ["## Exercises", "## Keep these sentences", "## Check yourself"]
    for page in sorted(LEARN.glob("*.md")):
        text = words(page)
        shown |= set(re.findall(r"^<!-- self-check (\S+) -->$", text, re.MULTILINE))
        if "<!-- self-check" in text and sorted(order, key=text.find) != order:
            yield at(page, f"not in this order: {', '.join(order)}")
    asked = {question["chapter"] for question in questions}
    yield from expect(LEARN, ((shown == asked, "questions that no page shows"),))


# --- The learner's path -----------------------------------------------------------


HOURS_OF_THE_PATH = 6


def listed_path(config: str) -> list[str]:
    """The pages of `extra: path:` in mkdocs.yml."""
    block = re.search(r"^  path:\n((?:    - \S+\n)+)", config, re.MULTILINE)
    return re.findall(r"- (\S+)", block[1]) if block else []


def path_faults(listed: list[str], pages: list[str], minutes: float) -> Iterator[str]:
    """What is wrong with the path: the site's list, the table's pages, its length."""
    if listed != pages:
        differing = sorted(set(listed) ^ set(pages))
        yield f"mkdocs.yml and the table differ: {differing or 'in their order'}"
    if len(pages) != len(set(pages)):
        yield "a page stands twice on the path"
    if minutes > HOURS_OF_THE_PATH * 60:
        yield f"{minutes:.0f} minutes to read, more than {HOURS_OF_THE_PATH} hours"


def check_the_path_is_one() -> Iterator[Finding]:
    pages = numbers_path.spine()
    minutes = sum(map(numbers_path.reading_minutes, pages))
    listed = listed_path(words(ROOT / "mkdocs.yml"))
    for what in path_faults(listed, pages, minutes):
        yield at(ROOT / "mkdocs.yml", what, near="  path:")


def check_the_path_names_only_what_exists() -> Iterator[Finding]:
    text = words(PATH_PAGE)
    steps = numbers_path.PATH
    labs = {lab for step in steps for lab in step.labs} - set(sheets.lab_names())
    named = {name for step in steps for name in step.exercises}
    exercises = named - set(sheets.exercise_names())
    links = re.findall(r"\]\(([^)#]+\.md)", text)
    yield from expect(
        PATH_PAGE,
        (
            *(
                (part in text, f"{part!r} is missing")
                for part in (
                    "## An interview soon",
                    "## Training on Kaggle",
                    "## Short of time: what to skip",
                    *(f"[chapter {chapter:02}]" for chapter in range(1, 7)),
                )
            ),
            (not labs, f"no such labs: {labs}"),
            (not exercises, f"no such exercises: {exercises}"),
            (len(links) > 30, "few links to pages"),
        ),
    )
    for link in links:
        if not (PATH_PAGE.parent / link).resolve().is_file():
            yield at(PATH_PAGE, f"no page {link}", near=f"]({link}")
