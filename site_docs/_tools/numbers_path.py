"""The path: every page that a learner reads, in one order, and what to do after each.

The minutes to read are counted from the words of the pages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import reading_time
import records
from number_tables import text

LINK = re.compile(r"\]\(([^)#]+\.md)\)")


@dataclass(frozen=True)
class Step:
    """A stretch of the path.

    Attributes:
        part: Its name in the table.
        read: The pages, with links as seen from `start/`, in the order of the path.
        labs: To play.
        exercises: To solve.
        cards: A group of interview cards.
    """

    part: str
    read: str
    labs: tuple[str, ...] = ()
    exercises: tuple[str, ...] = ()
    cards: str = ""

    def pages(self) -> list[str]:
        """What it links to, from the site's root."""
        inside = (link.removeprefix("../") for link in LINK.findall(self.read))
        return [link if "/" in link else f"start/{link}" for link in inside]


PATH = (
    Step(
        "Start",
        "[Setup](setup.md), [First run](first-run.md)",
    ),
    Step(
        "One process",
        "[chapter 01](../learn/single-gpu.md)",
    ),
    Step(
        "Processes that talk",
        "[chapter 02](../learn/process-group.md), "
        "[processes and ranks](../understand/processes-and-ranks.md), "
        "[collectives](../understand/collectives.md)",
        labs=("collective_behind_rank_0",),
        exercises=("tell_the_others",),
        cards="basics",
    ),
    Step(
        "Different rows",
        "[chapter 03](../learn/data-sharding.md), "
        "[sharding](../understand/sharding.md), "
        "[the global batch](../understand/global-batch.md), "
        "[exact evaluation](../understand/exact-evaluation.md)",
        labs=("no_set_epoch", "padded_evaluation"),
        exercises=("my_rows", "rows_to_evaluate"),
        cards="data",
    ),
    Step(
        "One gradient",
        "[chapter 04](../learn/gradient-sync.md), "
        "[the ring](../understand/ring-all-reduce.md), "
        "[DDP inside](../understand/ddp-inside.md)",
        labs=("sum_instead_of_mean", "unfinished_reduction"),
        exercises=("average_gradients", "one_message"),
    ),
    Step(
        "The whole run",
        "[chapter 05](../learn/ddp-training.md), "
        "[when N ranks equal one](../understand/gradient-sync.md), "
        "[accumulation](../understand/accumulation.md)",
        labs=("larger_global_batch", "early_stop_on_one_rank"),
        exercises=("mean_over_all_rows", "report_once"),
        cards="gradients",
    ),
    Step(
        "When it breaks",
        "[checkpoint](../understand/checkpoint.md), "
        "[failures](../understand/failures.md)",
        labs=("error_on_one_rank", "incomplete_resume"),
        exercises=("raise_together", "save_once"),
        cards="failures",
    ),
    Step(
        "Does it pay?",
        "[chapter 06](../learn/ddp-benchmark.md), "
        "[performance](../understand/performance.md), "
        "[why DDP can be slower](../understand/why-ddp-can-be-slower.md)",
        cards="speed",
    ),
    Step(
        "Beyond",
        "[memory and beyond](../understand/memory-and-beyond.md), "
        "[training and inference](../understand/training-and-inference.md)",
        cards="seniors",
    ),
)


def spine() -> list[str]:
    """The path's pages in order, from the site's root."""
    return [page for step in PATH for page in step.pages()]


def reading_minutes(page: str) -> float:
    """To read a page's words that are in sight."""
    text = (records.SITE / page).read_text(encoding="utf-8")
    return reading_time.of_page(text).minutes


@text
def path_steps() -> str:
    """The path, a line for each stretch."""
    lines = [
        "| part | read, in this order | minutes to read | then |",
        "|---|---|--:|---|",
    ]
    for step in PATH:
        minutes = sum(map(reading_minutes, step.pages()))
        lines.append(
            f"| {step.part} | {step.read} | {minutes:.0f} | {_practice(step)} |"
        )
    return "\n".join(lines)


@text
def path_length() -> str:
    """How long the whole path is, in one sentence."""
    pages = spine()
    hours = sum(map(reading_minutes, pages)) / 60
    return (
        f"The path has {len(pages)} pages: {hours:.1f} hours of reading at "
        f"{reading_time.WORDS_PER_MINUTE} words per minute, without code and without "
        "what is folded. Running, trying and thinking come on top; that time is not "
        "measured."
    )


def _practice(step: Step) -> str:
    """Labs and exercises by name, and the group of cards."""
    parts = []
    for kind, page, names in (
        ("lab", "labs", step.labs),
        ("exercise", "exercises", step.exercises),
    ):
        if names:
            shown = ", ".join(f"`{name}`" for name in names)
            plural = "s" * (len(names) > 1)
            parts.append(f"[{kind}{plural}](../learn/{page}.md) {shown}")
    if step.cards:
        parts.append(f"[cards](../interview/{step.cards}.md)")
    return "; ".join(parts)
