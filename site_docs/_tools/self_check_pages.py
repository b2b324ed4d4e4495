"""Draw the self-checks of the chapters' pages.

`<!-- self-check 02_process_group -->` shows that chapter's questions in
`site_docs/learn/self_checks.toml`.
"""

from __future__ import annotations

import string
import textwrap
import tomllib
from typing import Any

from records import SITE

SOURCE = SITE / "learn" / "self_checks.toml"


def questions() -> list[dict[str, Any]]:
    """Each question, as the file has it."""
    entries: list[dict[str, Any]] = tomllib.loads(SOURCE.read_text("utf-8"))["question"]
    return entries


def _self_check(chapter: str) -> str:
    asked = [question for question in questions() if question["chapter"] == chapter]
    if not asked:
        raise SystemExit(f"there are no questions on {chapter}.")
    return "\n\n".join(_question(question, n) for n, question in enumerate(asked, 1))


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


BLOCKS = {"self-check": _self_check}
