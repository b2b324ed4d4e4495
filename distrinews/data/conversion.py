r"""Find what a wrong conversion left in a text: 'â€™' for an apostrophe, or U+0092.

Promise: correct text of any language passes. Where a whole file can be converted back,
it is refused with the command that does it. Where it cannot (a file put together from
several, or parquet), a warning names the first place, and the rows are read.

WHY no library: ftfy repairs such texts by a long list of rules. Here one sure sign in a
file is enough, and the file, not each text, is what has to be mended.

Not here: repairs of AG News' own debris (`distrinews.data.cleaning`).
Guide: reference/data.
"""

from __future__ import annotations

import codecs
import functools
import logging
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from distrinews.errors import DataError
from distrinews.system import shell

__all__ = ["Damage", "as_bytes", "find", "refuse_or_warn", "warn_once"]

log = logging.getLogger(__name__)

# How CP1252 and Latin-1 show the bytes 0x80 to 0xbf, which continue a character of
# UTF-8. Latin-1 shows the first 32 of them as control characters; so do Windows'
# programs, for the five bytes that CP1252 does not have.
_C1 = "\x80-\x9f"
_SYMBOLS = bytes(range(0x80, 0xA0)).decode("cp1252", "ignore")
_CONTINUED = f"[{_C1}\xa0-\xbf{_SYMBOLS}]"
_CHARACTER = f"(?:[Â-ß]{_CONTINUED}|[à-ï]{_CONTINUED}{{2}}|[ð-ô]{_CONTINUED}{{3}})"
# WHY not every such character: in "liberté\xa0»" three letters of correct French look
# like one character of UTF-8, and "IRMÃ…" is Portuguese. Sure are: quotes, dashes and
# signs of currency; emoji; a letter that no word ends in before a sign that follows no
# word; control characters; two characters in a row.
_SURE = re.compile(
    f"â[€‚„\x80\x82\x84]{_CONTINUED}|ð[Ÿ\x9f]{_CONTINUED}{{2}}"
    f"|[ÃÂ][¡-ª¬®-º¼-¿€‚ƒ„†‡ˆ‰ŠŒŽ•˜šœžŸ«]|Â\xa0|[Â-ÅÎ-ß][{_C1}]"
    f"|[à-ï][{_C1}]{_CONTINUED}|[à-ï]{_CONTINUED}[{_C1}]|{_CHARACTER}{{2}}"
)
_CONTROLS = re.compile(f"[{_C1}]")


class Damage(NamedTuple):
    """What was found in a text, and how it came there.

    Attributes:
        sign: The characters, as a message shows them.
        cause: Which conversion was wrong.
        undo: Gives a text's correct bytes back; raises UnicodeError if it cannot.
        command: The same in Python, from `old`, the bytes of a file.
    """

    sign: str
    cause: str
    undo: Callable[[str], bytes]
    command: str


def as_bytes(text: str) -> bytes:
    r"""Encode a text in CP1252, with Latin-1's control characters where it has none.

    Args:
        text: What a program of Windows made of bytes.

    Returns:
        The bytes.

    Raises:
        UnicodeError: It holds other characters.

    Examples:
        >>> as_bytes("â€\x9d").decode()
        '”'
    """
    try:
        return text.encode("cp1252")
    except UnicodeEncodeError:
        return b"".join(
            c.encode("latin-1" if "\x80" <= c <= "\x9f" else "cp1252") for c in text
        )


def find(text: str) -> list[Damage]:
    r"""Find what a wrong conversion left in a text.

    Args:
        text: One row's text or label.

    Returns:
        The likeliest cause first; nothing for a correct text.

    Examples:
        >>> [damage.sign for damage in find("don\u00e2\u20ac\u2122t")]
        ["'â€™', which was '’'"]
        >>> [damage.sign for damage in find("don\x92t")]
        ['the control character U+0092']
        >>> find("caf\u00e9 \u201copen\u201d")
        []
    """
    if text.isascii():
        return []
    found = []
    for match in _SURE.finditer(text):
        try:
            was = as_bytes(match[0]).decode()
        except UnicodeError:
            continue
        sign = f"{match[0]!r}, which was {was!r}"
        cause = "UTF-8 was read as if it were CP1252 or Latin-1"
        found.append(Damage(sign, cause, as_bytes, _UTF8_COMMAND))
        break
    if control := _CONTROLS.search(text):
        sign = f"the control character U+{ord(control[0]):04X}"
        cause = "a Windows file (CP1252) was read as if it were Latin-1"
        found.append(Damage(sign, cause, _windows_text, _WINDOWS_COMMAND))
    return found


_UTF8_COMMAND = (
    "b''.join(c.encode('latin-1' if 127 < ord(c) < 160 else 'cp1252') "
    "for c in old.decode('utf-8-sig'))"
)
_WINDOWS_COMMAND = "old.decode('utf-8-sig').encode('latin-1').decode('cp1252').encode()"


def _windows_text(text: str) -> bytes:
    return text.encode("latin-1").decode("cp1252").encode()


def refuse_or_warn(
    found: list[Damage], location: str, read_bytes: Callable[[], Iterable[bytes]]
) -> None:
    """Refuse a file of text that can be converted back; else warn of it.

    Args:
        found: What `find` gave for one of its texts; not empty.
        location: File and line of that text.
        read_bytes: Gives all lines of the file.

    Raises:
        DataError: One of the causes holds for the whole file. On this rank only.

    Note:
        Cost: the file is read once more.
    """
    for damage in found:
        if _undoes(damage, read_bytes()):
            command = shell.rewrite_file("old.csv", "new.csv", damage.command)
            raise DataError(
                f"{location} holds {damage.sign}.",
                why=f"no text has it: {damage.cause}.",
                fix=f"convert the original file again, or undo it: {command}",
                page="bad-data",
            )
    warn_once(
        f"{location} holds {found[0].sign}: {found[0].cause}. The file as a whole "
        "cannot be converted back, so its rows are read as they are."
    )


def _undoes(damage: Damage, all_lines: Iterable[bytes]) -> bool:
    """Whether each line can be converted back, and one of them becomes another."""
    is_other = False
    try:
        for line in all_lines:
            line = line.removeprefix(codecs.BOM_UTF8)
            mended = damage.undo(line.decode())
            mended.decode()
            is_other |= mended != line
    except UnicodeError:
        return False
    return is_other


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning the first time only: rows are read several times.

    Args:
        message: One sentence or more.
    """
    log.warning(message)
