"""Go on after a step that failed, and say so at the end.

Promise: what was trained is packed, whatever happens after the training. A cell that
fails would end "Run All" there, and a version that Kaggle saves would have no output.

Not here: the steps (the notebook).

Guide: howto/kaggle.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass, field

__all__ = ["Steps"]


@dataclass
class Steps:
    """The steps that may fail, and which did.

    Attributes:
        failed: Number of a step -> what it said.
    """

    failed: dict[int, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def may_fail(self, number: int) -> Generator[None, None, None]:
        """Run a step; if it fails, name it and continue.

        Args:
            number: Of the step, as its heading says.

        Yields:
            Nothing.
        """
        try:
            yield
        # WHY not BaseException: who interrupts a cell wants the notebook to stop.
        except Exception as error:
            self.failed[number] = f"{type(error).__name__}: {error}"
            print(f"\nStep {number} FAILED, the next one runs. {self.failed[number]}")

    def summary(self) -> str:
        """The last line: all steps succeeded, or the failed ones with their errors."""
        if not self.failed:
            return "The notebook ran to its end."
        lines = [f"  step {number}: {what}" for number, what in self.failed.items()]
        noun = "step" if len(lines) == 1 else "steps"
        return "\n".join((
            f"The notebook ran to its end, but {len(lines)} {noun} FAILED:",
            *lines,
            "Repair the cause, then run the cells of these steps again.",
        ))
