"""`python -m distrinews`: use a trained model, look at this machine, find a cure.

Not here: the commands and their arguments (`distrinews.cli.parser`), training
(`chapters/`).

Guide: reference/command-line.
"""

from __future__ import annotations

import sys

from distrinews.cli import parser
from distrinews.system import console

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name."""
    console.run(_run)


def _run() -> None:
    code = parser.run(sys.argv[1:])
    # WHY only then: a rank of torchrun's that succeeded must end by `console.exit_now`.
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
