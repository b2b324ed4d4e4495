"""What classes are called and how they are numbered: one place for all.

The names of a data set start here and travel with the data: the reader finds the labels
(`distrinews.data.file_sources`), the token table carries their names, and from there
they reach the model's head, the metrics, the export and every served answer. No other
module numbers classes, so no two runs can disagree about what class 2 is.

Not here: anything that needs torch. Every module may import this one.

Guide: reference/data.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import NamedTuple

__all__ = [
    "LABEL_NAMES",
    "MAX_CLASSES",
    "Row",
    "describe_numbering",
    "label_name",
    "list_classes",
    "missing_label",
    "number_classes",
]

# WHY a tuple in this order: AG News numbers its classes 1 to 4 in its files and 0 to 3
# on the Hub. Index k here is the Hub's label k; another order would still train, and
# every printed name would be wrong.
LABEL_NAMES = ("World", "Sports", "Business", "Sci/Tech")

# A column with more different values is rarely one of labels: an id, or the text.
MAX_CLASSES = 1000
MAX_LISTED = 50  # in the text of a page

# How programs write a missing label as text. WHY not "None" or "NA": these are names of
# classes, too. WHY only among numbers: `nan` is also the code of a language.
_MISSING = {"nan", "<na>", "null", "n/a"}

_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,9}(?:\.0+)?")


class Row(NamedTuple):
    """One row: the text and its label, an index into the source's class names."""

    text: str
    label: int


def label_name(value: object) -> str | None:
    """Say what a label that stands in a file is called.

    Args:
        value: A string, a number or a truth value.

    Returns:
        The name, without blanks around it, its accents composed (NFC); of a whole
        number its digits, also where a spreadsheet wrote `2.0`. None if the value names
        no class: empty, missing, a fraction, a list.

    Examples:
        >>> [label_name(value) for value in (" spam", 3, 2.0, "2.0", True, "", 0.5)]
        ['spam', '3', '2', '2', 'True', None, None]
    """
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, Decimal):  # what databases export
        value = float(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        return None
    # WHY: an accent can be written in two ways that look alike: as part of its letter,
    # or after it, as macOS does. One class would become two.
    text = unicodedata.normalize("NFC", value).strip()
    if _WHOLE_NUMBER.fullmatch(text):
        return str(int(float(text)))
    return text or None


def missing_label(found: Collection[str]) -> str | None:
    """Find a label that is no class but a missing value, written as text.

    Args:
        found: The names that `label_name` gave, each once.

    Returns:
        Such a name, if all others are whole numbers; else None.

    Examples:
        >>> missing_label({"0", "1", "NaN"})
        'NaN'
        >>> missing_label({"deu", "eng", "nan"}) is None
        True
    """
    missing = [name for name in found if name.lower() in _MISSING]
    others = set(found).difference(missing)
    is_numbers = others and all(map(_WHOLE_NUMBER.fullmatch, others))
    return missing[0] if missing and is_numbers else None


def number_classes(found: Collection[str]) -> tuple[str, ...]:
    """Give each label of a data set its number: its place in the result.

    Args:
        found: The names that `label_name` gave, each once.

    Returns:
        Numbers in their order, from the smallest; else names in the order of the
        alphabet. The order of the rows plays no part.

    Examples:
        >>> number_classes({"10", "9"}), number_classes({"spam", "ham"})
        (('9', '10'), ('ham', 'spam'))
    """
    if all(map(_WHOLE_NUMBER.fullmatch, found)):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def list_classes(class_names: Sequence[str]) -> str:
    """Name the classes of a model in a text.

    Args:
        class_names: All of them.

    Returns:
        The names with commas; of more than 50 the first, and where the others stand.

    Examples:
        >>> list_classes(("ham", "spam"))
        'ham, spam'
        >>> list_classes([str(k) for k in range(60)]).partition("48")[2]
        ', 49 and 10 more (see config.json)'
    """
    listed = ", ".join(class_names[:MAX_LISTED])
    if len(class_names) > MAX_LISTED:
        listed += f" and {len(class_names) - MAX_LISTED} more (see config.json)"
    return listed


def describe_numbering(class_names: Collection[str]) -> str:
    """Say how labels were read: as names, or as numbers from 0 or 1.

    Args:
        class_names: Of a data set.

    Returns:
        Half a sentence for the summary before training.

    Examples:
        >>> describe_numbering(("1", "2", "3"))
        'numbered from 1 in the file'
        >>> describe_numbering(("ham", "spam"))
        'by name'
    """
    names = list(class_names)
    if not all(map(_WHOLE_NUMBER.fullmatch, names)):
        return "by name"
    for first in (0, 1):
        if names == [str(first + k) for k in range(len(names))]:
            return f"numbered from {first} in the file"
    return "numbers with gaps in the file"
