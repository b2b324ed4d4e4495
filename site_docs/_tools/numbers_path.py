"""The learner's path: what to do when, and how long the computer needs for it.

Every time of the computer is read from what was captured, or is what a lab or exercise
says about itself. The minutes of a plan are a plan, and no measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import records
from number_tables import text

from distrinews.course import sheets

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Step:
    """Something to do.

    Attributes:
        plan: How long we would give it; minutes, or a day's name.
        do: What, with links as seen from `start/`.
        runs: Captured outputs of it.
        labs: To play.
        exercises: To solve.
    """

    plan: str
    do: str
    runs: tuple[str, ...] = ()
    labs: tuple[str, ...] = ()
    exercises: tuple[str, ...] = ()


def _chapter(number: int, page: str) -> str:
    return f"[chapter {number:02}](../learn/{page}.md)"


ONE, TWO, THREE = (
    _chapter(1, "single-gpu"),
    _chapter(2, "process-group"),
    _chapter(3, "data-sharding"),
)
FOUR, FIVE, SIX = (
    _chapter(4, "gradient-sync"),
    _chapter(5, "ddp-training"),
    _chapter(6, "ddp-benchmark"),
)
INSIDE = "[DDP inside](../understand/ddp-inside.md)"
QUESTIONS = "[Interview](../interview/index.md)"
HOUR = (
    Step("10 min", "[Set it up](setup.md); keep the window open"),
    Step(
        "10 min",
        "Run chapter 05 and read [what it prints](first-run.md); then a headline of "
        "your own",
        runs=("05_ddp_training", "05_predict"),
    ),
    Step(
        "15 min",
        f"{TWO}: Predict first, run it, read acts 1 and 2, Check yourself",
        runs=("02_process_group",),
    ),
    Step(
        "10 min",
        f"The heart of {FIVE}: acts 1 to 3, and the sentences under *Keep these*",
    ),
    Step(
        "10 min",
        "Break it, once loud and once silent",
        labs=("collective_behind_rank_0", "sum_instead_of_mean"),
    ),
    Step("5 min", "Write one line yourself", exercises=("tell_the_others",)),
)
DAY = (
    Step("60 min", "The hour above"),
    Step("60 min", f"{ONE}, whole", runs=("01_single_gpu",)),
    Step(
        "75 min",
        f"{THREE}, whole, and [exact evaluation](../understand/exact-evaluation.md)",
        runs=("03_data_sharding",),
        labs=("no_set_epoch", "padded_evaluation"),
        exercises=("my_rows", "rows_to_evaluate"),
    ),
    Step(
        "90 min",
        f"{FOUR}, whole, and {INSIDE}",
        runs=("04_gradient_sync",),
        labs=("hook_reduces_parameter", "unfinished_reduction"),
        exercises=("average_gradients", "one_message"),
    ),
    Step(
        "90 min",
        f"{FIVE}, the rest: evaluation, checkpoint, the difference from 01",
        runs=("05_one_rank",),
        labs=("larger_global_batch", "loss_of_one_rank", "early_stop_on_one_rank"),
        exercises=("mean_over_all_rows", "report_once"),
    ),
    Step(
        "60 min",
        f"{SIX}, on your own machine with other programs closed",
        runs=("06_ddp_benchmark",),
    ),
    Step("45 min", f"{QUESTIONS}: ten of the questions, aloud"),
)
WEEK = (
    Step("Day 1", "The hour above", runs=("05_ddp_training", "02_process_group")),
    Step(
        "Day 2",
        f"{ONE}, {THREE}; [sharding](../understand/sharding.md), [the global "
        "batch](../understand/global-batch.md)",
        runs=("01_single_gpu", "03_data_sharding"),
        labs=("no_set_epoch", "larger_global_batch", "same_noise_on_all_ranks"),
        exercises=("my_rows", "two_kinds_of_random"),
    ),
    Step(
        "Day 3",
        f"{FOUR}; {INSIDE}, [the ring](../understand/ring-all-reduce.md)",
        runs=("04_gradient_sync",),
        labs=("sum_instead_of_mean", "sync_flag_after_forward"),
        exercises=("average_gradients", "one_message", "fill_buckets"),
    ),
    Step(
        "Day 4",
        f"{FIVE}; [when N ranks equal one](../understand/gradient-sync.md), "
        "[accumulation](../understand/accumulation.md), [exact "
        "evaluation](../understand/exact-evaluation.md)",
        runs=("05_ddp_training", "05_one_rank"),
        labs=("mean_of_means", "forward_on_one_rank", "module_prefix"),
        exercises=("uneven_counts", "accumulate_quietly", "accuracy_of_all"),
    ),
    Step(
        "Day 5",
        "[Failures](../understand/failures.md), "
        "[checkpoint](../understand/checkpoint.md): what to do when a rank dies",
        runs=("resume_interrupted", "resume_resumed"),
        labs=("uneven_batches", "error_on_one_rank", "incomplete_resume"),
        exercises=("raise_together", "save_once"),
    ),
    Step(
        "Day 6",
        f"{SIX}; [performance](../understand/performance.md), [why DDP can be "
        "slower](../understand/why-ddp-can-be-slower.md), [memory and "
        "beyond](../understand/memory-and-beyond.md)",
        runs=("06_ddp_benchmark",),
        exercises=("write_the_reducer",),
    ),
    Step(
        "Day 7",
        f"{QUESTIONS}: all questions, aloud, without looking; and *Check yourself* of "
        "all six chapters",
    ),
)
KAGGLE = (
    Step(
        "before",
        "[Set it up](setup.md) and [the first run](first-run.md) on your own computer: "
        "what fails here fails there, and costs no quota",
        runs=("05_ddp_training",),
    ),
    Step(
        "before",
        "[Launchers](../understand/launchers.md), [backends](../understand/backends.md)"
        ": why a script and not a cell, why nccl",
        labs=("function_in_notebook", "local_rank_argument"),
    ),
    Step(
        "before",
        "[Resume a run](../howto/resume.md): a session ends when it ends",
        runs=("resume_interrupted", "resume_resumed"),
        labs=("incomplete_resume",),
    ),
    Step("there", "[Train on Kaggle's two T4](../howto/kaggle.md), step by step"),
    Step(
        "there",
        f"{SIX}, under torchrun; compare with [what is "
        "predicted](../benchmarks/t4.md), and [send your "
        "file](../benchmarks/how-to-add-yours.md)",
    ),
    Step(
        "after",
        "[Serve the model](../howto/serve.md), [a public Space](../howto/space.md)",
    ),
)
CHAPTERS_IN_ORDER = tuple(
    Step(f"{number:02}", f"{chapter}, then {then}", runs=(run,))
    for number, (chapter, run, then) in enumerate(
        (
            (ONE, "01_single_gpu", "[randomness](../understand/randomness.md)"),
            (
                TWO,
                "02_process_group",
                "[processes and ranks](../understand/processes-and-ranks.md) and all "
                "of *Processes that talk*",
            ),
            (
                THREE,
                "03_data_sharding",
                "[sharding](../understand/sharding.md) and all of *Data and numbers*",
            ),
            (
                FOUR,
                "04_gradient_sync",
                "[data parallelism](../understand/data-parallelism.md) and all of *One "
                "model, many replicas*",
            ),
            (
                FIVE,
                "05_ddp_training",
                "[checkpoint](../understand/checkpoint.md) and "
                "[failures](../understand/failures.md)",
            ),
            (
                SIX,
                "06_ddp_benchmark",
                "[performance](../understand/performance.md) and all of *Speed* and "
                "*Beyond*",
            ),
        ),
        start=1,
    )
)


@text
def path_hour() -> str:
    """One hour."""
    return _table("plan", HOUR)


@text
def path_day() -> str:
    """One day."""
    return _table("plan", DAY)


@text
def path_week() -> str:
    """One week before an interview."""
    return _table("day", WEEK)


@text
def path_kaggle() -> str:
    """What to do before, on and after Kaggle."""
    return _table("when", KAGGLE)


@text
def path_everything() -> str:
    """Chapter by chapter, then all labs and all exercises."""
    labs, exercises = tuple(sheets.lab_names()), tuple(sheets.exercise_names())
    rest = (
        Step("then", f"All {len(labs)} [labs](../learn/labs.md)", labs=labs),
        Step(
            "then",
            f"All {len(exercises)} [exercises](../learn/exercises.md)",
            exercises=exercises,
        ),
        Step("last", f"{QUESTIONS}, and the code in `distrinews/`, module by module"),
    )
    return _table("part", CHAPTERS_IN_ORDER + rest)


def _table(first: str, steps: Sequence[Step]) -> str:
    lines = [f"| {first} | do this | the computer needs |", "|---|---|---|"]
    lines += [
        f"| {step.plan} | {_task(step)} | {_computer_time(step)} |" for step in steps
    ]
    return "\n".join(lines)


def _task(step: Step) -> str:
    """What to do; labs and exercises by name, unless it is all of them."""
    parts = [step.do]
    for kind, chosen, known in (
        ("lab", step.labs, sheets.lab_names()),
        ("exercise", step.exercises, sheets.exercise_names()),
    ):
        if 0 < len(chosen) < len(known):
            names = ", ".join(f"`{name}`" for name in chosen)
            parts.append(f"{kind}{'s' * (len(chosen) > 1)} {names}")
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
