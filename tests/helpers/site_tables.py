"""Read the tables that the site's tools write."""

from __future__ import annotations

__all__ = ["cells"]


def cells(table: str) -> list[list[str]]:
    """The body of a Markdown table, without what marks words as code."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in lines[2:]
    ]
