"""Write the troubleshooting pages from the catalogue of troubles.

`distrinews/doctor/troubles.json` holds the classic troubles. This tool folds what the
labs printed (`chapters/labs/captured/NAME.txt`) and the sections of the hand-written
page `troubleshooting/library.md` (the library's own errors) into it. From the data it
makes a page for each family of troubles and the list that the box on the first page
filters. The list contains every entry under its anchor, because error messages name
`troubleshooting/#ANCHOR`: from there the list redirects to the entry's page.
"""

from __future__ import annotations

import ast
import html
import json
import pathlib
import re
from typing import Any

from records import ROOT, SITE

from distrinews.doctor.catalogue import Catalogue, OwnError, Trouble

DATA = ROOT / "distrinews" / "doctor" / "troubles.json"
FAMILIES = SITE / "troubleshooting"
LIBRARY = FAMILIES / "library.md"
LIBRARY_TITLE = "DistriNews: errors of this library"
LIST = SITE / "widgets" / "match-box.html"
LABS = ROOT / "chapters" / "labs"
# Output of single commands, for troubles that need no lab; it includes the command.
COMMANDS = SITE / "_tools" / "captured"
OWN = re.compile(
    r"^## (?P<title>.+?) \{ #(?P<slug>[a-z0-9-]+) \}\n(?P<body>.*?)(?=^## |\Z)",
    re.MULTILINE | re.DOTALL,
)
# Chips beside those of the families: the words by which an entry belongs to one.
PLATFORMS = {"Windows": r"\bWindows\b", "Kaggle": r"\bKaggle\b|\bT4\b"}
# A captured file begins with what it was captured with: "# torch 2.13.0, ..., DATE".
HEAD = re.compile(r"\A# (.+?),? *([0-9]{4}-[0-9]{2}-[0-9]{2})(?:, *(.+))?\n+")
# What looks like a message of a program and not like a sentence of a person.
MESSAGE = re.compile(
    r"Error: |Error\(s\)|ChildFailedError|Warning: |: error:|^\[|NOTE: |exitcode"
    r"|socket has failed|^(Launching|Setting OMP|Watchdog|nccl|huggingface)"
)
# How surely our own error names the cause. These only report that some rank failed, or
# that replicas differ; any other message in the text says more.
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
    """Fold the labs' output and the library's own errors into the data.

    Args:
        before: The data file as it is.
        page: The hand-written page of the library's own errors.

    Returns:
        The data file as it should be.
    """
    catalogue = json.loads(before)
    catalogue["own"] = [
        {
            "slug": own["slug"],
            "title": own["title"],
            "weight": WEIGHTS.get(own["slug"], 95),
            "about": _plain(own["body"].strip().partition("\n\n")[0]),
        }
        for own in OWN.finditer(page)
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


def _plain(markdown: str) -> str:
    """A paragraph on one line, and of a link its words only."""
    return " ".join(re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", markdown).split())


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
    return renewed_data(DATA.read_text("utf-8"), LIBRARY.read_text("utf-8"))


def _catalogue(data_text: str) -> Catalogue:
    return Catalogue.model_validate_json(data_text)


def _titles(catalogue: Catalogue) -> dict[str, str]:
    """Page of a family -> its title; the first word is its short name."""
    return {**catalogue.groups, LIBRARY.stem: LIBRARY_TITLE}


def _short_name(title: str) -> str:
    return title.split()[0].rstrip(":")


# --- A family's page ------------------------------------------------------------------


def family_block(family: str, data_text: str) -> str:
    """Write a family's entries.

    Args:
        family: Key of the catalogue's groups.
        data_text: The data file.

    Returns:
        The Markdown of the page's block.
    """
    catalogue = _catalogue(data_text)
    parts = [families_block(family, data_text)]
    for trouble in catalogue.troubles:
        if trouble.group == family:
            parts += ["", *_entry(trouble)]
    return "\n".join(parts)


def families_block(here: str, data_text: str) -> str:
    """Write the links to the families, as the chips on the first page look.

    Args:
        here: The family whose page it is.
        data_text: The data file.

    Returns:
        The HTML.
    """
    links = ['<a class="t-chip" href="../">Search all</a>']
    for family, title in _titles(_catalogue(data_text)).items():
        current = ' aria-current="page"' if family == here else ""
        links.append(
            f'<a class="t-chip" href="../{family}/"{current}>{_short_name(title)}</a>'
        )
    return "\n".join((
        '<nav class="t-chips" aria-label="Families of troubles" data-search-exclude>',
        *links,
        "</nav>",
    ))


def _entry(trouble: Trouble) -> list[str]:
    """Symptom, cure, why, try it; then what was printed, folded, and the sources."""
    lines = [f"## {trouble.title} {{ #{trouble.slug} }}", ""]
    if MESSAGE.search(trouble.symptom):
        lines += ["``` { .text .t-symptom }", trouble.symptom, "```", ""]
    else:
        lines += [f"> {trouble.symptom}", ""]
    if trouble.also:
        lines += [f"Also described as: {'; '.join(trouble.also)}.", "{ .t-small }", ""]
    lines += [
        *(f"**Cure.** {trouble.cure}", "{ .t-cure }", ""),
        *(f"**Why.** {trouble.cause}", ""),
        *(f"**Next time.** {trouble.prevention}", ""),
    ]
    if trouble.lab:
        lines += [f"**Try it.** `python -m distrinews lab run {trouble.lab}`", ""]
    if trouble.captured is not None:
        captured = trouble.captured
        shown = captured.text.splitlines()
        if len(shown) > MAX_CAPTURED_LINES:
            cut = len(shown) - MAX_CAPTURED_LINES
            shown = [*shown[:MAX_CAPTURED_LINES], f"[{cut} more lines]"]
        lines += [
            f'??? quote "Our run, {captured.date}, {captured.origin}"',
            "",
            *(f"    {line}".rstrip() for line in ("```text", *shown, "```")),
            "",
        ]
    return [*lines, _sources(trouble), "{ .t-small }"]


def _sources(trouble: Trouble) -> str:
    sources = ", ".join(
        f"[{_short(address)}]({address})" for address in trouble.sources
    )
    reason = f" ({trouble.why_not_reproduced})" if trouble.why_not_reproduced else ""
    run = "" if trouble.captured else f"Not reproduced{reason}. "
    return f"{run}Sources: {sources}. Read on: {_link(trouble.concept)}."


def _link(page: str) -> str:
    """A link named by the page's headline; a missing page is an error."""
    lines = (SITE / f"{page}.md").read_text(encoding="utf-8").splitlines()
    headline = next(line for line in lines if line.startswith("# "))
    return f"[{headline.removeprefix('# ')}](../{page}.md)"


def _short(address: str) -> str:
    """`owner/repository#number` for a thread, the host for a page elsewhere."""
    github = re.match(
        r"https://github\.com/([^/]+/[^/]+)(?:/(?:issues|pull)/([0-9]+))?", address
    )
    if github is None:
        return address.split("/")[2]
    return f"{github[1]}#{github[2]}" if github[2] else github[1]


# --- The first page -------------------------------------------------------------------


def entry_list(data_text: str) -> str:
    """Write every entry on a line, under its anchor, by family: what the box filters.

    Args:
        data_text: The data file.

    Returns:
        The HTML of the box and its list, as it stands without JavaScript.
    """
    catalogue = _catalogue(data_text)
    bodies = {
        own["slug"]: own["body"] for own in OWN.finditer(LIBRARY.read_text("utf-8"))
    }
    lines = [
        '<div class="widget-place">',
        "<match-box>",
        "<p>With JavaScript, a box here finds your entry while you type. Without it, "
        "look through the list, or run <code>python -m distrinews doctor match "
        "my_traceback.txt</code>.</p>",
        '<div class="t-list" data-search-exclude>',
    ]
    for family, title in _titles(catalogue).items():
        own = family == LIBRARY.stem
        entries = catalogue.own if own else catalogue.troubles
        rows = [
            _row(entry, family, text=bodies.get(entry.slug, ""))
            for entry in entries
            if own or getattr(entry, "group", "") == family
        ]
        lines += [
            f'<div class="t-family" data-family="{family}">',
            f'<h2><a href="{family}/">{html.escape(title)}</a></h2>',
            "<ul>",
            *rows,
            "</ul>",
            "</div>",
        ]
    return "\n".join((*lines, "</div>", "</match-box>", "</div>", LEAD_ON, ""))


# WHY in the page and not in the widget: an error message leads here, and its reader
# would see the list for a moment before the entry.
LEAD_ON = """<script>
(() => {
  const leadOn = () => {
    const row = document.getElementById(location.hash.slice(1));
    if (row && row.matches(".t-row")) location.replace(row.querySelector("a").href);
  };
  addEventListener("hashchange", leadOn);
  leadOn();
})();
</script>"""


def _row(entry: Trouble | OwnError, family: str, *, text: str) -> str:
    """An entry on one line: headline and symptom."""
    if isinstance(entry, Trouble):
        names = ("title", "symptom", "cause", "cure", "prevention", "also")
        text = " ".join(str(getattr(entry, name)) for name in names)
        says = _shortened(entry.symptom.split("\n")[0])
        code = "code" if MESSAGE.search(says) else "span"
    else:
        says, code = _shortened(entry.about.replace("`", "")), "span"
    there = [name for name, words in PLATFORMS.items() if re.search(words, text)]
    platforms = f' data-platforms="{" ".join(there)}"' if there else ""
    return (
        f'<li class="t-row" id="{entry.slug}"{platforms}>'
        f'<a href="{family}/#{entry.slug}">{_inline(entry.title)}</a> '
        f'<{code} class="t-says">{html.escape(says)}</{code}></li>'
    )


def _inline(title: str) -> str:
    return re.sub("`(.+?)`", r"<code>\1</code>", html.escape(title))


def _shortened(text: str) -> str:
    """The beginning of a line, cut at a space: half a word is no word."""
    return text if len(text) <= 110 else text[:107].rpartition(" ")[0] + " ..."


def files() -> dict[pathlib.Path, str]:
    """The data file, and the list of the first page."""
    renewed = data()
    return {DATA: renewed, LIST: entry_list(renewed)}


BLOCKS = {
    "troubles": lambda family: family_block(family, data()),
    "families": lambda family: families_block(family, data()),
}
