"""Write the self-checks into the chapters' pages.

A page holds `<!-- self-check 02_process_group -->` and `<!-- end self-check -->`; what
stands between them is made of that chapter's questions in
`site_docs/learn/self_checks.toml`.

`python site_docs/_tools/self_check_pages.py` renews the pages; with `--check` it only
says which are stale, with exit code 1.
"""

from __future__ import annotations

import functools
import re
import string
import sys
import textwrap
import tomllib
from collections.abc import Sequence
from typing import Any

import renewal
from renewal import ROOT

LEARN = ROOT / "site_docs" / "learn"
SOURCE = LEARN / "self_checks.toml"
BLOCK = re.compile(
    r"(<!-- self-check (\S+) -->\n).*?(<!-- end self-check -->)", re.DOTALL
)


def questions() -> list[dict[str, Any]]:
    """Read the source.

    Returns:
        Each question, as the file has it.
    """
    with SOURCE.open("rb") as file:
        entries: list[dict[str, Any]] = tomllib.load(file)["question"]
    return entries


def render(text: str, *, all_questions: Sequence[dict[str, Any]]) -> str:
    """Fill every block of a page.

    Args:
        text: The page.
        all_questions: What `questions` returned.

    Returns:
        The page with its blocks renewed.
    """

    def block(match: re.Match[str]) -> str:
        chapter_questions = [
            question for question in all_questions if question["chapter"] == match[2]
        ]
        if not chapter_questions:
            raise SystemExit(f"there are no questions on {match[2]}.")
        content = "\n\n".join(
            _question(question, number)
            for number, question in enumerate(chapter_questions, 1)
        )
        return f"{match[1]}\n{content}\n\n{match[3]}"

    return BLOCK.sub(block, text)


def _question(question: dict[str, Any], number: int) -> str:
    """A question, then its folded answer."""
    parts = [f"**{number}.** {question['ask']}"]
    choices = question.get("choices", [])
    if choices:
        letters = zip(string.ascii_lowercase, choices, strict=False)
        parts.append("\n".join(f"- **{letter})** {text}" for letter, text in letters))
    if "code" in question:
        # WHY not "```python": ruff would format it, and it is run as it stands.
        parts.append(f"``` {{ .python }}\n{question['code'].strip()}\n```")
    answer = question["answer"]
    shown_answer = f"`{answer}`" if "code" in question else f"**{answer}**"
    if choices:
        shown_answer = f"**{answer})** {choices[string.ascii_lowercase.index(answer)]}"
    parts.append(f'??? question "Answer to {number}"')
    parts.append(textwrap.indent(f"{shown_answer}\n\n{question['why']}", "    "))
    return "\n\n".join(parts)


def main() -> int:
    """Renew or check all pages.

    Returns:
        The exit code.
    """
    return renewal.finish(
        renewal.pages(functools.partial(render, all_questions=questions()), LEARN)
    )


if __name__ == "__main__":
    sys.exit(main())
