"""Choose paragraphs by a seed, to be read aloud by a reader who did not write them.

    python -m tests.read_aloud --seed 1

Prose of the site, the README, cards, docstrings and the chapters' comments. Which were
chosen, and what the reader said of them, is kept in `tests/read_aloud.json`, with a
digest of the paragraph as it was read.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import pathlib
import random
import re
import tomllib
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[1]
RECORD = pathlib.Path(__file__).with_suffix(".json")
NUM_PARAGRAPHS = 15
FEWEST_WORDS = 9  # a shorter one is a heading or a label
# What stands between paragraphs: tables, code, markers, headings, lists of links.
NO_PROSE = ("|", "<", "```", "    ", "#", "!", ":::", "---", "===", "{", "$ ", "[")


def of_page(text: str) -> Iterator[str]:
    """The prose of a Markdown page, without its front matter and its code."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)
    yield from (part for part in text.split("\n\n") if not part.startswith(NO_PROSE))


def of_program(text: str) -> Iterator[str]:
    """The docstrings of a Python file, paragraph by paragraph."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            parts = (ast.get_docstring(node) or "").split("\n\n")
            yield from (part for part in parts if not re.search(">>>|^Args:", part))


def of_comments(text: str) -> Iterator[str]:
    """The comments of a Python file, each run of lines as one."""
    for found in re.finditer(r"(?:^ *# [^\n]*\n)+", text, re.MULTILINE):
        yield re.sub(r"^ *# ", "", found[0], flags=re.MULTILINE)


def of_cards(text: str) -> Iterator[str]:
    """Questions and answers of interview cards."""
    for card in tomllib.loads(text)["card"]:
        for key in ("question", "short", "deep", "follow_up_answer"):
            yield from card[key].split("\n\n")


SOURCES = (
    ("README.md", of_page),
    ("site_docs/**/*.md", of_page),
    ("distrinews/course/*.toml", of_cards),
    ("distrinews/**/*.py", of_program),
    ("chapters/**/*.py", of_program),
    ("chapters/*.py", of_comments),
)


def paragraphs() -> list[tuple[str, str]]:
    """Every paragraph that a person may read, with its file."""
    found = []
    for pattern, parts in SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            where = path.relative_to(ROOT).as_posix()
            if where.startswith("site_docs/reference/api/"):
                continue  # made of docstrings
            for part in parts(path.read_text(encoding="utf-8")):
                words = " ".join(part.split())
                if len(words.split()) >= FEWEST_WORDS:
                    found.append((where, words))
    return found


def digest(words: str) -> str:
    """Name a paragraph, so that a later change of it is seen."""
    return hashlib.sha256(words.encode()).hexdigest()[:12]


def main() -> None:
    """Print the paragraphs of a seed; note them, with no verdict yet."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, required=True)
    seed = parser.parse_args().seed
    chosen = random.Random(seed).sample(paragraphs(), NUM_PARAGRAPHS)
    for number, (where, words) in enumerate(chosen, start=1):
        print(f"\n{number}. {where}\n{words}")
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    record[str(seed)] = [
        {"file": where, "digest": digest(words), "starts": words[:60], "verdict": ""}
        for where, words in chosen
    ]
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
