"""The four classes of AG News, in the order of their class numbers, and a labelled row.

Promise: one place defines the names, so data, model, metrics and the served answer
can never disagree about what class 2 is.

Not here: anything that needs torch. Every module may import this one.

Guide: reference/data.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LABEL_NAMES", "Row"]

# WHY a tuple in this order: AG News numbers its classes 1 to 4 in its files and 0 to 3
# on the Hub. Index k here is the Hub's label k; another order would still train, and
# every printed name would be wrong.
LABEL_NAMES = ("World", "Sports", "Business", "Sci/Tech")


class Row(NamedTuple):
    """One row: the text and its label, an index into `LABEL_NAMES`."""

    text: str
    label: int
