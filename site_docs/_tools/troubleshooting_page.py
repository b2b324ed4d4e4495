"""Write the catalogue of troubles into the troubleshooting page.

`distrinews/doctor/troubles.json` holds the classic troubles. This tool folds what the
labs printed (`chapters/labs/captured/NAME.txt`) and the headlines of the page's
hand-written part (the library's own errors) into it, and writes the page's
block `<!-- troubles -->`.
"""

from __future__ import annotations

import ast
import json
import pathlib
import re
from typing import Any

from records import ROOT, SITE

from distrinews.doctor.catalogue import Catalogue, Trouble

DATA = ROOT / "distrinews" / "doctor" / "troubles.json"
PAGE = SITE / "troubleshooting.md"
LABS = ROOT / "chapters" / "labs"
# Output of single commands, for troubles that need no lab; the command stands in it.
COMMANDS = SITE / "_tools" / "captured"
BLOCK = re.compile(r"^<!-- troubles -->\n.*?^<!-- end -->$", re.DOTALL | re.MULTILINE)
OWN = re.compile(r"^## (.+?) \{ #([a-z0-9-]+) \}$", re.MULTILINE)
# A captured file begins with what it was captured with: "# torch 2.13.0, ..., DATE".
HEAD = re.compile(r"\A# (.+?),? *([0-9]{4}-[0-9]{2}-[0-9]{2})(?:, *(.+))?\n+")
# What looks like a message of a program and not like a sentence of a person.
MESSAGE = re.compile(
    r"Error: |Error\(s\)|ChildFailedError|Warning: |: error:|^\[|NOTE: |exitcode"
    r"|socket has failed|^(Launching|Setting OMP|Watchdog|nccl|huggingface)"
)
# How sure an error of our own names its cause. These only report that some rank failed,
# or that replicas differ; what else the text says is worth more.
WEIGHTS = {
    "labs": 40,
    "rank-failed": 44,
    "rank-hung": 44,
    "rank-killed": 44,
    "replicas-differ": 80,
}
MAX_CAPTURED_LINES = 30
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # torch prints some words in bold


def renewed_data(before: str, page: str) -> str:
    """Fold the labs' output and the page's hand-written headlines into the data.

    Args:
        before: The data file as it is.
        page: The page as it is.

    Returns:
        The data file as it should be.
    """
    catalogue = json.loads(before)
    catalogue["own"] = [
        {"slug": slug, "title": title, "weight": WEIGHTS.get(slug, 95)}
        for title, slug in OWN.findall(BLOCK.sub("", page))
    ]
    for trouble in catalogue["troubles"]:
        name = trouble["slug"].replace("-", "_")
        lab = LABS / f"{name}.py"
        trouble["lab"] = name if lab.is_file() else None
        trouble["captured"] = (
            _captured(LABS / "captured" / f"{name}.txt", headline=_headline(lab))
            if lab.is_file()
            else _captured(COMMANDS / f"{name}.txt", headline="")
        )
        trouble["reproduced"] = trouble["captured"] is not None
    return json.dumps(catalogue, indent=1) + "\n"


def _headline(lab: pathlib.Path) -> str:
    """What `lab run` prints first; the captured file begins below it."""
    about = ast.get_docstring(ast.parse(lab.read_text(encoding="utf-8"))) or ""
    return about.partition("\n")[0] + "\n\n"


def _captured(path: pathlib.Path, *, headline: str) -> dict[str, Any] | None:
    """Captured output as the data file holds it: as it was on the screen."""
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8")
    head = HEAD.match(text)
    if head is None:
        raise SystemExit(f"{path}: the first line must be '# VERSIONS, YYYY-MM-DD'")
    origin = ", ".join(part for part in (head[1], head[3]) if part)
    output = (headline + text[head.end() :]).strip()
    return {"text": ANSI.sub("", output), "origin": origin, "date": head[2]}


def data() -> str:
    """The data file as it should be."""
    return renewed_data(DATA.read_text("utf-8"), PAGE.read_text("utf-8"))


def catalogue_block(data_text: str) -> str:
    """Write the catalogue.

    Args:
        data_text: The data file.

    Returns:
        The Markdown of the page's block.
    """
    catalogue = Catalogue.model_validate_json(data_text)
    parts = [*_intro(catalogue)]
    for key, headline in catalogue.groups.items():
        parts += ["", f"### {headline}"]
        for trouble in catalogue.troubles:
            if trouble.group == key:
                parts += ["", *_entry(trouble)]
    return "\n".join(parts)


def _intro(catalogue: Catalogue) -> list[str]:
    labs = sum(trouble.lab is not None for trouble in catalogue.troubles)
    silent = sum(trouble.silent for trouble in catalogue.troubles)
    lines = [
        "## The classic troubles of DDP",
        "",
        f"{len(catalogue.troubles)} troubles that people really had; {silent} of them "
        "raise nothing at all.",
        "Search this page for a piece of your message, or let a program search:",
        "`python -m distrinews doctor match my_traceback.txt`. Where it says",
        f"*our run* the output is real; {labs} troubles are broken on purpose in "
        "`chapters/labs`.",
        "The others say what a run would need, and where they were reported.",
        "",
        "| what you see | entry |",
        "|---|---|",
    ]
    for trouble in catalogue.troubles:
        symptom = trouble.symptom.split("\n")[0].replace("|", "\\|")
        # WHY at a space: half a word is none, for a reader or for codespell.
        short = (
            symptom
            if len(symptom) <= 110
            else symptom[:107].rpartition(" ")[0] + " ..."
        )
        lines.append(f"| {_quoted(short)} | [{trouble.title}](#{trouble.slug}) |")
    return lines


def _quoted(text: str) -> str:
    """As code if it is a message, as prose if it is a sentence about one."""
    if MESSAGE.search(text) is None:
        return text
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _entry(trouble: Trouble) -> list[str]:
    lines = [f"#### {trouble.title} {{ #{trouble.slug} }}", ""]
    if trouble.silent:
        lines += ["*Silent: nothing is raised.*", ""]
    lines += ["```text", trouble.symptom, "```", ""]
    if trouble.captured is not None:
        captured = trouble.captured
        lines_shown = captured.text.splitlines()
        if len(lines_shown) > MAX_CAPTURED_LINES:
            cut = len(lines_shown) - MAX_CAPTURED_LINES
            lines_shown = [*lines_shown[:MAX_CAPTURED_LINES], f"[{cut} more lines]"]
        lines += [f"Our run, {captured.date}, {captured.origin}:", ""]
        lines += ["```text", *lines_shown, "```", ""]
    lines += [
        f"**Cause.** {trouble.cause}",
        "",
        f"**Cure.** {trouble.cure}",
        "",
        f"**Prevention.** {trouble.prevention}",
        "",
    ]
    if trouble.lab:
        lines += [f"**Try it.** `python -m distrinews lab run {trouble.lab}`", ""]
    sources = ", ".join(
        f"[{_short(address)}]({address})" for address in trouble.sources
    )
    if trouble.captured is None:
        reason = (
            f" ({trouble.why_not_reproduced})" if trouble.why_not_reproduced else ""
        )
        lines += [f"Not reproduced{reason}, source: {sources}.", ""]
    else:
        lines += [f"Sources: {sources}.", ""]
    return [*lines, f"Read on: {_concept(trouble.concept)}."]


def _short(address: str) -> str:
    """`owner/repository#number` for a thread, the host for anything else."""
    thread = re.fullmatch(
        r"https://github\.com/(.+?)/(?:issues|pull)/([0-9]+)", address
    )
    return f"{thread[1]}#{thread[2]}" if thread else address.split("/")[2]


def _concept(name: str) -> str:
    # WHY only if it is there: a strict build refuses a link to a page to come.
    exists = (PAGE.parent / f"{name}.md").is_file()
    return f"[{name}]({name}.md)" if exists else name


def files() -> dict[pathlib.Path, str]:
    """The data file."""
    return {DATA: data()}


BLOCKS = {"troubles": lambda _: catalogue_block(data())}
