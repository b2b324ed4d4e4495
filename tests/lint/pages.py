"""The site's pages: fresh, whole, and naming only what exists."""

from __future__ import annotations

import ast
import functools
import importlib
import itertools
import math
import os
import pathlib
import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

import chapter_pages
import nav_pages
import reading_time
from helpers import site_code, site_commands
from helpers.site_code import Fence

from distrinews.doctor import catalogue

from . import ROOT, SITE, Finding, at, expect, words
from .course import CHAPTERS

TOOLS = SITE / "_tools"
LEARN = SITE / "learn"
PAGES = sorted(path for path in SITE.rglob("*.md") if "_tools" not in path.parts)


# --- What is generated --------------------------------------------------------------


def check_everything_generated_is_fresh() -> Iterator[Finding]:
    tool = TOOLS / "make_pages.py"
    done = subprocess.run(
        [sys.executable, str(tool), "--check"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        timeout=300,
        check=False,
    )
    for name in done.stdout.split():
        yield at(ROOT / name, "stale: python -m distrinews docs --renew")
    if done.returncode != (1 if done.stdout else 0):
        yield at(tool, f"exit code {done.returncode}: {done.stderr}")


def check_captured_outputs() -> Iterator[Finding]:
    """What was captured is of the scripts as they are, and stands on a page."""
    for name in ("capture_chapters", "exercise_pictures"):
        tool = importlib.import_module(name)
        for what in tool.stale():
            yield at(TOOLS / f"{name}.py", what)
    pages = "\n".join(map(words, PAGES))
    shown = set(re.findall(r"<!-- captured (\S+) -->", pages))
    if '--8<-- "widgets/first-run.html"' in pages:  # made of this output
        shown.add("05_ddp_training")
    folder = LEARN / "captured"
    captured = {path.stem for path in folder.glob("*.txt")}
    yield from expect(folder, ((len(captured) >= 15, "few outputs were found"),))
    for name in captured ^ shown:
        yield at(folder, f"{name} is captured or shown, and not both")


# --- The chapters' pages ------------------------------------------------------------

PYTHON = re.compile(
    r'^``` \{ \.python title="(\S+)" \}\n(.*?)^```$', re.MULTILINE | re.DOTALL
)
ASKED_FIRST = (
    "**The question.**",
    "<!-- opener {stem:.2} -->",
    "## Predict first",
    '??? success "Answer"',
    "## Run it",
    "```sh\npython chapters/{name}\n```",
    "{output}",
    "## The script, act by act",
    "`chapters/{name}`",
    "**Why ",
    "## Change something",
    "## Exercises",
    "## Keep these sentences",
    "## Check yourself",
)
# Whose output another page of the path has already explained.
OUTPUT_ELSEWHERE = {"05_ddp_training": "(../start/first-run.md#what-is-printed)"}


def missing_lines(text: str, *, chapter: pathlib.Path) -> list[str]:
    """Lines of a script's code that its page does not show, act by act."""
    path = f"chapters/{chapter.name}"
    shown = [
        line.strip()
        for title, code in PYTHON.findall(text)
        if title == path
        for line in code.splitlines()
    ]
    left = [line for line in chapter_pages.code(path) if line.strip()]
    for line in shown:
        if left and line == left[0].strip():
            left.pop(0)
    return left


def chapter_page_faults(text: str, *, chapter: pathlib.Path) -> Iterator[str]:
    """What the page of a chapter lacks."""
    for line in missing_lines(text, chapter=chapter)[:1]:
        yield f"not every line of the script is shown, first: {line}"
    if f'--8<-- "chapters/{chapter.name}"' in text:
        yield "the script stands here twice: act by act, and whole"
    output = OUTPUT_ELSEWHERE.get(chapter.stem, f"<!-- captured {chapter.stem} -->")
    about = {"name": chapter.name, "stem": chapter.stem, "output": output}
    parts = [part.format(**about) for part in ASKED_FIRST]
    for part in parts:
        if part not in text:
            yield f"{part!r} is missing"
    if sorted(parts, key=text.find) != parts:
        yield f"not in this order: {parts}"
    exercises = text.partition("## Exercises")[2].partition("## Keep")[0]
    questions = exercises.split('\n??? question "')[1:]
    if not 3 <= len(questions) <= 5:
        yield f"{len(questions)} exercises, not three to five"
    for number, question in enumerate(questions, start=1):
        if not question.startswith(f"{number}. "):
            yield f"exercise {number} has another number"
        if question.count('    ??? success "Answer"\n') != 1:
            yield f"exercise {number} has not one answer"


def check_the_chapters_pages() -> Iterator[Finding]:
    stems = [path.stem for path in CHAPTERS]
    there_are = stems == list(chapter_pages.PAGES)
    yield from expect(LEARN, ((there_are, "not a page for every chapter"),))
    for chapter in CHAPTERS:
        page = LEARN / f"{chapter_pages.PAGES[chapter.stem]}.md"
        for what in chapter_page_faults(words(page), chapter=chapter):
            yield at(page, what)


# --- The navigation ----------------------------------------------------------------

TABS = ["Get started", "Learn", "Understand", "Practice", "Help", "Reference"]


def tabs(config: str) -> list[str]:
    """The names at the navigation's first level."""
    nav = config.partition("\nnav:\n")[2]
    return re.findall(r"^  - ([^:\n]+):", nav, re.MULTILINE)


def not_linked(index: str, pages: list[str], text: str) -> list[str]:
    """Pages of a section to which its index, with this text, does not link."""
    links = re.findall(r"\]\(([^)#]+\.md)", text)
    folder = posixpath.dirname(index)
    there = {posixpath.normpath(posixpath.join(folder, link)) for link in links}
    return [page for page in pages if page not in {*there, index}]


def check_the_navigation() -> Iterator[Finding]:
    config = words(ROOT / "mkdocs.yml")
    has_six = tabs(config) == TABS
    yield from expect(ROOT / "mkdocs.yml", ((has_six, "other tabs"),), near="nav:")
    # How-to's index names what leads out of its folder, too.
    for section in ("Learn", "Understand", "How-to", "Interview", "Benchmarks"):
        index, *pages = nav_pages.pages_of(section, config)
        for page in not_linked(index, pages, words(SITE / index)):
            yield at(SITE / index, f"no link to {page}, which its section has")


# --- Each thing once, in a time that somebody has -----------------------------------

# Minutes to read a page of this folder, without code and without what is folded.
MINUTES = {"learn": 12, "understand": 8}
# Shorter paragraphs may be alike by chance.
MIN_WORDS = 14
BLOCK = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
# What says where numbers come from stands below each of them. The reference's texts are
# the modules' own docstrings.
ORIGIN = ("Measured on ", "<small>Our run of ", "Assumed: ", "<!--")


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs, tables and code blocks of a page, each on one line."""
    rest = BLOCK.sub("\n\n", text)
    parts = [match[0] for match in BLOCK.finditer(text)] + re.split(r"\n\s*\n", rest)
    for part in parts:
        line = " ".join(re.sub(r"\]\([^)]*\)", "]", part).split())
        if len(line.split()) >= MIN_WORDS and not line.startswith(ORIGIN):
            yield line


def repeated(texts: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """A page, the page that has the same paragraph, and how the paragraph begins."""
    first: dict[str, str] = {}
    for name, text in texts.items():
        for line in paragraphs(text):
            where = first.setdefault(line, name)
            if where != name:
                yield name, where, line[:60]


def check_each_thing_stands_once() -> Iterator[Finding]:
    texts = {
        path.relative_to(SITE).as_posix(): words(path)
        for path in PAGES
        if "api" not in path.parts
    }
    num_paragraphs = sum(len(list(paragraphs(text))) for text in texts.values())
    yield from expect(SITE, ((num_paragraphs >= 1000, "few paragraphs were found"),))
    for name, where, begins in repeated(texts):
        yield at(SITE / name, f"{where} says the same: {begins}", near=begins)


def too_long(folder: str, text: str) -> str:
    """By how much a page takes longer to read than its folder allows; empty if not."""
    minutes = reading_time.of_page(text).minutes
    if minutes <= MINUTES.get(folder, math.inf):
        return ""
    return f"{minutes:.1f} minutes to read, more than {MINUTES[folder]}"


def check_the_minutes_to_read() -> Iterator[Finding]:
    for path in PAGES:
        if fault := too_long(path.parent.name, words(path)):
            yield at(path, fault)


def check_the_proofs_are_folded() -> Iterator[Finding]:
    for path in PAGES:
        proof = words(path).partition("\n## The proof\n")[2].strip()
        if proof and not proof.startswith("???"):
            yield at(path, "fold the proof", near="\n## The proof")


# --- Code blocks and commands -------------------------------------------------------

COMMANDS = {"sh", "bash", "powershell"}
INCLUDED = {"python", "text", "diff", "js", "json", "html", "yaml", "toml", "csv"}
# Blocks that are neither included nor run: page, how they begin -> why it is right.
BY_HAND = {
    (
        "howto/doctor.md",
        "problem  cores",
    ): "the doctor's own words: tests/test_site_code.py",
    (
        "howto/serve.md",
        '{"type": "/docs#overloaded"',
    ): "see tests/test_serving.py",
    (
        "howto/serve.md",
        '{"index": 0, "done": 1',
    ): "see tests/test_serving_api.py",
    (
        "howto/own-task.md",
        "%%writefile own_task.py",
    ): "a notebook's cell around the script, which the page includes above",
}


def block_fault(block: Fence) -> str:
    """Why a block may not stand where it stands; empty if it may."""
    if block.language in COMMANDS:
        problems = [
            site_commands.problem(c) for c in site_commands.commands(block.text)
        ]
        return "" if block.made or block.included else "; ".join(filter(None, problems))
    if block.language == "pycon":
        return "" if ">>> " in block.text else "no >>> in it"  # run by a test
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


def check_code_blocks() -> Iterator[Finding]:
    """Every block is included from a file or made by a tool, or runs."""
    num_blocks = 0
    unused = set(BY_HAND)
    for path in PAGES:
        for block in site_code.read(path, root=SITE):
            num_blocks += 1
            unused -= {
                (page, start)
                for page, start in unused
                if block.page == page and block.text.startswith(start)
            }
            if fault := block_fault(block):
                name = path.relative_to(ROOT).as_posix()
                yield Finding(name, block.line, fault)
    yield from expect(SITE, ((num_blocks >= 100, "few blocks were found"),))
    for page, start in unused:
        yield at(SITE / page, f"the exception for {start!r} has outlived its block")


SETUP = SITE / "start" / "setup.md"
NOT_RUN = re.compile(r"not run here", re.IGNORECASE)
# Command -> a file that runs it, and words by which one sees it there.
RUN_BY = {
    "sudo apt install python3 python3-venv git": (".ci/run", "+=(python3-venv)"),
    "git clone ADDRESS distrinews": (".ci/run", "git clone -q"),
    "cd distrinews": (".ci/run", 'cd "$work/main"'),
    "python3 -m venv .venv": ("README.md", "python3 -m venv .venv && "),
    '.venv/bin/python -m pip install -q -c constraints.txt -e ".[quickstart]"': (
        "README.md",
        '-q -c constraints.txt -e ".[quickstart]" && ',
    ),
    ".venv/bin/python chapters/05_ddp_training.py": (
        "README.md",
        "&& .venv/bin/python chapters/05_ddp_training.py",
    ),
    ".venv/bin/python -m distrinews doctor": ("tests/test_doctor.py", '"distrinews"'),
    "python chapters/01_single_gpu.py --preset tiny": (
        "tests/helpers/chapters.py",
        '"01_single_gpu.py"',
    ),
    "python3 --version": ("tests/test_site_setup.py", '"python3 --version"'),
    "source .venv/bin/activate": ("tests/test_site_setup.py", "/bin/activate"),
}


def unmarked(text: str) -> list[str]:
    """Commands that the page says our checks run."""
    commands: list[str] = []
    tab = lead = ""
    fence: list[str] | None = None
    for line in text.splitlines():
        if fence is not None and line.strip() == "```":
            left_out = tab in {"Windows", "macOS"}
            if not left_out and not NOT_RUN.search(lead):
                commands += site_commands.commands("\n".join(fence))
            fence, lead = None, ""
        elif fence is not None:
            fence.append(line)
        elif line.strip() in {"```sh", "```powershell"}:
            fence = []
            tab = tab if line.startswith(" ") else ""
        elif line.strip():
            title = re.match(r'=== "(\w+)', line)
            if not line.startswith(" "):
                tab = title[1] if title else ""
            if line.startswith("## "):
                lead = ""
            lead = f"{lead} {line}"  # what stands there since the last block
    return commands


def check_every_column_of_a_table_has_a_heading() -> Iterator[Finding]:
    """A screen reader says a cell's heading before the cell."""
    ruler = re.compile(r"^\s*\|[\s|:]*-[\s|:-]*\|\s*$")
    for path in PAGES:
        lines = words(path).splitlines()
        for head, below in itertools.pairwise(lines):
            cells = head.strip().strip("|").split("|")
            if ruler.match(below) and not all(cell.strip() for cell in cells):
                yield at(path, "a column of a table has no heading", near=head)


def check_the_setup_page() -> Iterator[Finding]:
    """Our checks run each command, or it is marked; accounts say what they want."""
    text = words(SETUP)
    commands = unmarked(text)
    yield from expect(SETUP, ((len(commands) >= 10, "few commands were found"),))
    for command in set(commands) - set(RUN_BY):
        yield at(SETUP, f"nobody runs {command!r}, nobody marks it", near=command)
    for command, (path, part) in RUN_BY.items():
        if command not in commands:
            yield at(SETUP, f"{command!r} has left the page: forget it in RUN_BY")
        if part not in words(ROOT / path):
            yield at(ROOT / path, f"it does not run {command!r}")
    space = words(SITE / "howto" / "space.md")
    kaggle = words(SITE / "howto" / "kaggle.md")
    yield from expect(
        SETUP,
        (
            ("Windows and macOS were **not run here**" in text, "what was not run?"),
            ("30 days" in text, "how long does an account's waiting time take?"),
        ),
    )
    # What an account costs and wants stands where it is needed first.
    yield from expect(
        SITE / "howto" / "space.md",
        (
            ("verified e-mail address" in space, "who must be verified?"),
            *(
                (f"hf {word}" in space, f"no command hf {word}")
                for word in ("auth login", "repos create", "upload")
            ),
        ),
    )
    yield from expect(
        SITE / "howto" / "kaggle.md",
        (
            ("phone number" in kaggle, "who must be verified?"),
            ("GPU T4 x2" in kaggle, "which GPUs?"),
        ),
    )


# --- Glossary and pictures ----------------------------------------------------------


def glossary_faults(text: str) -> Iterator[tuple[str, str]]:
    """A word, and what is wrong with it."""
    form = r"^([^\n#]+?) \{ #(\S+) \}\n:   (.*?)(?=\n\n|\Z)"
    entries = re.findall(form, text, re.MULTILINE | re.DOTALL)
    if len(entries) < 60:
        yield "", f"{len(entries)} words, fewer than 60"
    names = [name.lower().replace("_", " ") for name, _, _ in entries]
    for before, name in zip(names, names[1:], strict=False):
        if name < before:
            yield name, f"{name} stands behind {before}"
    seen: set[str] = set()
    for name, anchor, about in entries:
        links = re.findall(r"\]\((\S+?\.md)\)", about)
        if anchor in seen:
            yield name, f"the anchor {anchor} stands twice"
        seen.add(anchor)
        if not links or not all((SITE / link).is_file() for link in links):
            yield name, f"{name} leads to no page, or to none that exists"


def check_the_glossary() -> Iterator[Finding]:
    path = SITE / "glossary.md"
    for name, what in glossary_faults(words(path)):
        yield at(path, what, near=f"\n{name} {{")


def picture_faults(name: str, text: str) -> Iterator[str]:
    """What keeps a picture from being read, and from following the theme."""
    root = ElementTree.fromstring(text)
    ids = [node.attrib["id"] for node in root.iter() if "id" in node.attrib]
    labels = [f"{name}-title", f"{name}-desc"]
    for holds, what in (
        ("\n\n" not in text, "a blank line would end the HTML block"),
        (len(ids) == len(set(ids)), "an id stands twice"),
        (all(i.startswith(f"{name}-") for i in ids), f"an id without {name}-"),
        (root.attrib.get("role") == "img", "its role is not img"),
        (root.attrib.get("aria-labelledby", "").split() == labels, "not labelled"),
        (set(labels) <= set(ids), "no title, or no description"),
    ):
        if not holds:
            yield what
    for node in root.iter():
        # Colours come from the theme, in light and in dark.
        if {"fill", "stroke"} & node.attrib.keys():
            yield f"a colour of its own in {node.tag.rpartition('}')[2]}"
        if node.attrib.get("class") == "d-small":
            yield "letters too small to read"


def check_pictures() -> Iterator[Finding]:
    for name in (
        "accumulation",
        "bucket-overlap",
        "buffers-and-gradients",
        "concept-map",
        "dataparallel-and-ddp",
        "ddp-step",
        "mean-of-means",
        "ring-phases",
    ):
        path = SITE / "diagrams" / f"{name}.svg"
        for what in picture_faults(name, words(path)):
            yield at(path, what)
    for path in sorted((SITE / "diagrams").glob("*-tall.svg")):
        for what in picture_faults(path.stem, words(path)):
            yield at(path, what)


# --- Words about our settings -------------------------------------------------------


def check_what_pages_say_of_resuming_and_dropout() -> Iterator[Finding]:
    from distrinews.config.settings import DistributedSettings

    settings = DistributedSettings()
    resume = SITE / "howto" / "resume.md"
    ranks = [int(n) for n in re.findall(r"--resume --num-ranks (\d+)", words(resume))]
    divides = ranks and all(settings.global_batch_size % n == 0 for n in ranks)
    yield from expect(
        resume, ((divides, "it resumes on ranks that do not divide the batch"),)
    )
    for name in ("learn/ddp-training.md", "understand/randomness.md"):
        text = words(SITE / name)
        says = "`--dropout 0.0`" in text and "`--dropout 0.1`" in text
        yield from expect(
            SITE / name,
            ((says and settings.dropout == 0.0, "say that by default nothing drops"),),
        )


# --- Errors and troubles ------------------------------------------------------------

FAMILIES = SITE / "troubleshooting"
# Every anchor that an error may name, each with the address that it leads on to.
TROUBLES = SITE / "widgets" / "match-box.html"
ROW = re.compile(r'<li class="t-row" id="([\w-]+)"[^>]*><a href="([\w-]+)/#([\w-]+)">')
DATA = ROOT / "distrinews" / "doctor" / "troubles.json"
HEADLINE = re.compile(r"^## .+\{ #([\w-]+) \}\s*$", re.MULTILINE)
# `module.name` or `torch.a.b`, as the texts write them in backticks.
CODE = re.compile(r"`([^`]+)`")
OURS = re.compile(r"(?<![.\w])([a-z_]+)\.([A-Za-z_]+)\b")
TORCH = re.compile(r"\b(?:torch|torch_dist)(?:\.[A-Za-z_0-9]+)+")
# What the texts write before a dot that is no module of ours: a reader's variables,
# and other packages. torch's names are looked up by TORCH.
THEIRS = {
    *("autograd", "datasets", "mp", "os", "platform", "sysconfig", "torch"),
    *("torch_dist", "x"),
    *("ddp_model", "loss", "model", "p", "param", "ranks", "sampler", "scaler"),
}


def named_anchors(source: str) -> dict[str, int]:
    """The pages (patterns) of the errors and findings in a file, and their lines."""
    found: dict[str, int] = {}
    for node in ast.walk(ast.parse(source)):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding":
            # What the doctor found; its page, if it has one, is the fifth part.
            values = node.args[4:]
        elif isinstance(node, ast.keyword) and node.arg == "page":
            values = [node.value]
        for value in values:
            if isinstance(value, ast.Constant):
                found[str(value.value)] = value.lineno
            elif isinstance(value, ast.JoinedStr):
                # What is filled in may be anything.
                pattern = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else r"[\w-]+"
                    for part in value.values
                )
                found[pattern] = value.lineno
            elif not isinstance(value, ast.Name):
                # A name is passed on: the caller's is found where it is written.
                found[ast.unparse(value)] = value.lineno
    return found


def check_every_error_names_a_page_that_exists() -> Iterator[Finding]:
    there = {anchor for anchor, _, _ in ROW.findall(words(TROUBLES))}
    named: set[str] = set()
    # The last holds commands that only a checkout has, such as `distrinews docs`.
    for folder in ("distrinews", "chapters", "apps", "site_docs/_tools"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for anchor, line in named_anchors(words(path)).items():
                meant = {name for name in there if re.fullmatch(anchor, name)}
                named |= meant
                if not meant:
                    name = path.relative_to(ROOT).as_posix()
                    yield Finding(name, line, f"troubleshooting has no #{anchor}")
    yield from expect(TROUBLES, (("bad-data" in named, "no errors were found"),))
    # The other pages hold the catalogue, whose troubles are torch's errors.
    library = FAMILIES / "library.md"
    for anchor in HEADLINE.findall(words(library)):
        if anchor not in named:
            yield at(library, f"no error leads to #{anchor}", near=f"#{anchor}")


def check_every_trouble_is_whole_on_its_page() -> Iterator[Finding]:
    known = catalogue.read()
    pages = {path.stem: words(path) for path in sorted(FAMILIES.glob("*.md"))}
    numbers = {trouble.number for trouble in known.troubles}
    num_silent = sum(trouble.silent for trouble in known.troubles)
    yield from expect(
        DATA,
        (
            (len(numbers) == len(known.troubles), "a number that stands twice"),
            (len(numbers) >= 69, "few troubles"),
            ({t.group for t in known.troubles} == set(known.groups), "an empty group"),
            (set(known.groups) | {"library"} == set(pages), "pages are not families"),
            (num_silent >= 14, "few silent troubles"),
        ),
    )
    entries = {entry.slug for entry in (*known.own, *known.troubles)}
    in_headlines = {
        (family, anchor)
        for family, page in pages.items()
        for anchor in HEADLINE.findall(page)
    }
    for slug in entries ^ {anchor for _, anchor in in_headlines}:
        yield at(FAMILIES, f"{slug} is an entry or a headline, and not both")
    rows = ROW.findall(words(TROUBLES))
    for anchor, family, target in rows:
        if anchor != target or (family, target) not in in_headlines:
            yield at(TROUBLES, f"#{anchor} leads to {family}/#{target}", near=anchor)
    for slug in entries ^ {anchor for anchor, _, _ in rows}:
        yield at(TROUBLES, f"{slug} is an entry or on the list, and not both")
    for trouble in known.troubles:
        page = pages.get(trouble.group, "")
        headline = f"{{ #{trouble.slug} }}"
        entry = page.partition(headline)[2].partition("\n## ")[0]
        # In the order in which a reader with an error needs them.
        parts = (trouble.symptom, trouble.cure, trouble.cause, trouble.prevention)
        place = FAMILIES / f"{trouble.group}.md"
        for part in (*parts, *trouble.sources):
            if part not in entry:
                yield at(place, f"{trouble.slug} lacks {part[:40]!r}", near=headline)
        starts = [entry.find(part) for part in parts]
        if starts != sorted(starts):
            yield at(place, f"{trouble.slug}: not symptom, cure, why", near=headline)
        for source in trouble.sources:
            if not re.fullmatch(r"https://[^\s]+[^.,\s]", source):
                yield at(DATA, f"no address: {source}", near=source)


@functools.cache
def our_modules() -> dict[str, list[str]]:
    """The last part of a dotted name -> modules and packages of ours that have it."""
    modules: dict[str, list[str]] = {}
    for path in sorted((ROOT / "distrinews").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        dotted = ".".join(parts).removesuffix(".__init__")
        modules.setdefault(dotted.rpartition(".")[2], []).append(dotted)
    return modules


def is_ours(module: str, name: str) -> bool:
    """Whether some module of ours with this short name has the name."""
    return any(
        hasattr(importlib.import_module(dotted), name)
        for dotted in our_modules()[module]
    )


def missing_names(text: str) -> set[str]:
    """What a text calls ours or torch's in backticks, and is not."""
    missing = set()
    for code in CODE.findall(text):
        for module, name in OURS.findall(code):
            # A path (`chapters/x.py`) or somebody else's `model.module` is no claim.
            if module in THEIRS or name in {"py", "json"}:
                continue
            if module not in our_modules() or not is_ours(module, name):
                missing.add(f"{module}.{name}")
        for dotted in TORCH.findall(code):
            names = dotted.replace("torch_dist", "torch.distributed").split(".")
            here: Any = importlib.import_module("torch")
            for number, name in enumerate(names[1:], start=2):
                if not hasattr(here, name):
                    try:
                        importlib.import_module(".".join(names[:number]))
                    except ImportError:
                        missing.add(dotted)
                        break
                here = getattr(here, name)
    return missing


def check_every_function_that_a_cure_names_exists() -> Iterator[Finding]:
    for trouble in catalogue.read().troubles:
        for text in (trouble.cause, trouble.cure, trouble.prevention):
            for name in missing_names(text):
                yield at(DATA, f"{trouble.slug}: there is no {name}", near=name)


# --- The reference ------------------------------------------------------------------


def check_the_reference_has_a_line_for_every_public_name() -> Iterator[Finding]:
    import reference_api

    # Raises for a module without a place, or a stale guide.
    text = "\n".join(reference_api.pages().values())
    here = TOOLS / "reference_api.py"
    num_names = len(reference_api.public_names())
    yield from expect(here, ((num_names >= 300, f"only {num_names} names"),))
    for module in reference_api.modules().values():
        whole = f"distrinews.{module.name}"
        for name in module.own:
            if f"\n::: {whole}.{name}\n" not in text:
                yield at(here, f"no line for {whole}.{name}")
        for name, _ in module.re_exported:
            if f'<a id="{whole}.{name}"></a>' not in text:
                yield at(here, f"no anchor for {whole}.{name}")
