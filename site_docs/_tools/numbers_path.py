"""The path: every page that a learner reads, in one order, and what to do after each.

The minutes to read are counted from the words of the pages. Every time of the computer
is read from what was captured, or is what a lab or exercise says about itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import reading_time
import records
from number_tables import text

from distrinews.course import sheets

NOT_MEASURED = "not measured"
LINK = re.compile(r"\]\(([^)#]+\.md)\)")


@dataclass(frozen=True)
class Step:
    """A stretch of the path.

    Attributes:
        part: Its name in the table.
        read: The pages, with links as seen from `start/`, in the order of the path.
        runs: Captured outputs of what it lets you run.
        labs: To play.
        exercises: To solve.
        cards: A group of interview cards.
    """

    part: str
    read: str
    runs: tuple[str, ...] = ()
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
        runs=("05_ddp_training", "05_predict"),
    ),
    Step(
        "One process",
        "[chapter 01](../learn/single-gpu.md)",
        runs=("01_single_gpu",),
    ),
    Step(
        "Processes that talk",
        "[chapter 02](../learn/process-group.md), "
        "[processes and ranks](../understand/processes-and-ranks.md), "
        "[collectives](../understand/collectives.md)",
        runs=("02_process_group",),
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
        runs=("03_data_sharding",),
        labs=("no_set_epoch", "padded_evaluation"),
        exercises=("my_rows", "rows_to_evaluate"),
        cards="data",
    ),
    Step(
        "One gradient",
        "[chapter 04](../learn/gradient-sync.md), "
        "[the ring](../understand/ring-all-reduce.md), "
        "[DDP inside](../understand/ddp-inside.md)",
        runs=("04_gradient_sync",),
        labs=("sum_instead_of_mean", "unfinished_reduction"),
        exercises=("average_gradients", "one_message"),
    ),
    Step(
        "The whole run",
        "[chapter 05](../learn/ddp-training.md), "
        "[when N ranks equal one](../understand/gradient-sync.md), "
        "[accumulation](../understand/accumulation.md)",
        runs=("05_ddp_training", "05_one_rank"),
        labs=("larger_global_batch", "early_stop_on_one_rank"),
        exercises=("mean_over_all_rows", "report_once"),
        cards="gradients",
    ),
    Step(
        "When it breaks",
        "[checkpoint](../understand/checkpoint.md), "
        "[failures](../understand/failures.md)",
        runs=("resume_interrupted", "resume_resumed"),
        labs=("error_on_one_rank", "incomplete_resume"),
        exercises=("raise_together", "save_once"),
        cards="failures",
    ),
    Step(
        "Does it pay?",
        "[chapter 06](../learn/ddp-benchmark.md), "
        "[performance](../understand/performance.md), "
        "[why DDP can be slower](../understand/why-ddp-can-be-slower.md)",
        runs=("06_ddp_benchmark",),
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
        "| part | read, in this order | minutes to read | then | the computer needs |",
        "|---|---|--:|---|---|",
    ]
    for step in PATH:
        minutes = sum(map(reading_minutes, step.pages()))
        lines.append(
            f"| {step.part} | {step.read} | {minutes:.0f} | {_practice(step)} "
            f"| {_computer_time(step)} |"
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


def _computer_time(step: Step) -> str:
    """Seconds that were measured, and those that labs and exercises declare."""
    parts = []
    if step.runs:
        runs = [records.capture(name) for name in step.runs]
        seconds = sum(run["seconds"] for run in runs)
        busy = any(run["busy"] for run in runs)
        parts.append(f"{seconds:.0f} s" + ", on a busy machine" * busy)
    if step.labs:
        seconds = sum(_takes_s(sheets.LabSheet.read(name)) for name in step.labs)
        parts.append(f"labs: about {seconds} s")
    if step.exercises:
        seconds = sum(
            _takes_s(sheets.ExerciseSheet.read(name)) for name in step.exercises
        )
        parts.append(f"checks: about {seconds} s, each time")
    return "; ".join(parts) or NOT_MEASURED


def _takes_s(sheet: sheets.LabSheet | sheets.ExerciseSheet) -> int:
    return int(sheet.fields["Takes"].split()[0])
