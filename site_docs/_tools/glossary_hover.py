"""Explain words of the glossary where a page first uses them: a hook of MkDocs.

The first use of a word on a page becomes a link to the glossary, with the definition as
its title: it shows on hover, and the link also works on a telephone and by keyboard.
Definitions are those of `site_docs/glossary.md`, so that there is one of each.

Not here: the glossary itself, checked by `tests/lint/pages.py`.
"""

from __future__ import annotations

import functools
import html
import pathlib
import posixpath
import re
from typing import Any

__all__ = ["WORDS", "definitions", "explained", "on_page_content"]

SITE = pathlib.Path(__file__).resolve().parents[1]
GLOSSARY = "glossary.md"
# Anchor -> how pages write the word. Only forms with one meaning: a "stream" may also
# be one of data, and "the kernel" the operating system's.
WORDS = {
    "all-reduce": r"[Aa]ll-reduces?",
    "autocast": r"[Aa]utocast",
    "bucket": r"[Bb]uckets?",
    "collective": r"[Cc]ollectives?",
    "dataloader": r"DataLoaders?",
    "exposed-communication": r"[Ee]xposed communication",
    "fsdp": r"FSDP",
    "fsync": r"fsync",
    "kernel": r"[Kk]ernels|(?:GPU|CUDA|nccl) kernel",
    "libuv": r"libuv",
    "logits": r"[Ll]ogits",
    "micro-batch": r"[Mm]icro-batch(?:es)?",
    "moments": r"moments",
    "nvlink": r"NVLink",
    "onnx": r"ONNX",
    "pcie": r"PCIe",
    "pickle": r"[Pp]ickles?",
    "rank": r"[Rr]anks?",
    "reducer": r"reducer",
    "rendezvous": r"[Rr]endezvous",
    "replica": r"[Rr]eplicas?",
    "state-dict": r"state[_ ]dicts?",
    "straggler": r"[Ss]tragglers?",
    "stream": r"(?:CUDA|[Cc]ompute|[Cc]ommunication) streams?",
    "throughput": r"[Tt]hroughput",
    "utilisation": r"[Uu]tilisation",
    "watchdog": r"[Ww]atchdog",
    "world-size": r"[Ww]orld size",
    "zero": r"ZeRO(?:-[123])?",
}
# No links inside links, code, headings, or what is pressed.
SKIPPED = {
    *("a", "abbr", "button", "code", "dt", "pre", "script", "style", "summary", "svg"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "label"),
}
ENTRY = re.compile(
    r"^[^\n#]+? \{ #(?P<anchor>\S+) \}\n:   (?P<about>.*?)(?=\n\n|\Z)",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\[([^]]+)\]\((\S+?\.md)\S*?\)")
TAG = re.compile(r"(<!--.*?-->|<[^>]+>)", re.DOTALL)


def definitions(glossary: str) -> dict[str, tuple[str, set[str]]]:
    """Read the glossary.

    Args:
        glossary: Its Markdown.

    Returns:
        Anchor -> the definition as plain text, and the pages that it links to.
    """
    found = {}
    for entry in ENTRY.finditer(glossary):
        about = " ".join(entry["about"].split())
        pages = {page for _, page in LINK.findall(about)}
        text = LINK.sub("", about).replace("`", "").strip()
        found[entry["anchor"]] = text, pages
    return found


def explained(content: str, about: dict[str, str], *, glossary_url: str) -> str:
    """Link the first use of each word.

    Args:
        content: A page's HTML.
        about: Anchor -> definition, of the words to explain.
        glossary_url: From the page to the glossary.

    Returns:
        The HTML with links.
    """
    left = dict(about)
    parts = TAG.split(content)
    inside: list[str] = []  # the skipped elements around this place
    for number, part in enumerate(parts):
        tag = re.match(r"<(/?)([a-zA-Z][\w-]*)", part)
        if tag and tag[2].lower() in SKIPPED and not part.endswith("/>"):
            if not tag[1]:
                inside.append(tag[2])
            elif inside:
                inside.pop()
        elif not part.startswith("<") and not inside and left:
            parts[number] = _linked(part, left, glossary_url)
    return "".join(parts)


def _linked(text: str, left: dict[str, str], glossary_url: str) -> str:
    """Link words in a text without tags; forget those that are linked now."""

    def link(match: re.Match[str]) -> str:
        anchor = str(match.lastgroup).replace("_", "-")
        if anchor not in left:
            return match[0]
        title = html.escape(left.pop(anchor))
        href = f"{glossary_url}#{anchor}"
        return f'<a class="g-word" href="{href}" title="{title}">{match[0]}</a>'

    return _any_word().sub(link, text)


@functools.cache
def _any_word() -> re.Pattern[str]:
    forms = (f"(?P<{name.replace('-', '_')}>{form})" for name, form in WORDS.items())
    return re.compile(rf"(?<![\w-])(?:{'|'.join(forms)})(?![\w-])")


@functools.cache
def _of_the_site() -> dict[str, tuple[str, set[str]]]:
    return definitions((SITE / GLOSSARY).read_text(encoding="utf-8"))


def on_page_content(content: str, *, page: Any, config: Any, files: Any) -> str:
    """Explain the words of a page; MkDocs calls it when the page's HTML is made.

    Args:
        content: The page's HTML.
        page: MkDocs' page.
        config: Not used.
        files: All files of the site.

    Returns:
        The HTML with links.
    """
    source = page.file.src_uri
    if source == GLOSSARY or source.startswith("reference/"):
        return content
    about = {
        anchor: text
        for anchor, (text, pages) in _of_the_site().items()
        # A page explains its own words.
        if anchor in WORDS and source not in pages
    }
    url = files.get_file_from_path(GLOSSARY).url
    relative = posixpath.relpath(url, page.url or ".") + "/"
    return explained(content, about, glossary_url=relative)
