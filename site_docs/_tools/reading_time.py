"""How long a page takes to read: its words in sight, and those that are folded.

Code, captured output, pictures and addresses are no words to read. `??? "Answer"` folds
what is indented below it; `???+` stands open.

`python site_docs/_tools/reading_time.py` prints words and minutes of every page.
"""

from __future__ import annotations

import pathlib
import re
from collections import defaultdict
from typing import NamedTuple

__all__ = ["WORDS_PER_MINUTE", "ReadingTime", "of_page"]

SITE = pathlib.Path(__file__).resolve().parents[1]
WORDS_PER_MINUTE = 220

FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
FOLD = re.compile(r"^( *)\?\?\? [^\n]*\n(?:\1    [^\n]*\n|\s*\n)*", re.MULTILINE)
NO_WORDS = re.compile(
    r"^ *(?:\?\?\?\+?|!!!) \w+|<!--.*?-->"
    r"|<(?:figure|svg|script)\b.*?</(?:figure|svg|script)>|<[^>]+>"
    r"|^ *--8<-- [^\n]*$|^ *::: [^\n]*$|\]\([^)]*\)|\]\[[^]]*\]|\{[^}\n]*\}|https?://\S+",
    re.MULTILINE | re.DOTALL,
)


class ReadingTime(NamedTuple):
    """Words of a page.

    Examples:
        >>> ReadingTime(num_open=440, num_folded=220).minutes
        2.0
    """

    num_open: int
    num_folded: int

    @property
    def minutes(self) -> float:
        """To read what is in sight."""
        return self.num_open / WORDS_PER_MINUTE


def of_page(text: str) -> ReadingTime:
    r"""Count a page's words.

    Args:
        text: Its Markdown.

    Returns:
        The words in sight, and the folded ones with the folds' titles.

    Examples:
        >>> of_page('# A page\n\n??? info "Why"\n\n    It is so.\n\nAnd on.\n')
        ReadingTime(num_open=4, num_folded=4)
        >>> of_page("See [here](there.md):\n\n```sh\nls -l\n```\n")
        ReadingTime(num_open=2, num_folded=0)
    """
    text = FENCE.sub("", FRONT_MATTER.sub("", text))
    return ReadingTime(
        num_open=_num_words(FOLD.sub("", text)),
        num_folded=sum(_num_words(match[0]) for match in FOLD.finditer(text)),
    )


def _num_words(text: str) -> int:
    text = NO_WORDS.sub(" ", text)
    return sum(any(map(str.isalnum, word)) for word in text.split())


def main() -> None:
    """Print a line for every page, and a sum for every folder."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for path in sorted(SITE.rglob("*.md")):
        name = path.relative_to(SITE)
        time = of_page(path.read_text(encoding="utf-8"))
        for total in (sums[str(name.parent)], sums["all"]):
            total[0] += time.num_open
            total[1] += time.num_folded
        print(
            f"{time.minutes:5.1f} min {time.num_open:6} + {time.num_folded:5}  {name}"
        )
    for folder, (num_open, num_folded) in sums.items():
        print(f"{num_open:7} + {num_folded:6} words  {pathlib.PurePath(folder)}")


if __name__ == "__main__":
    main()
