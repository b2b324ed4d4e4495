"""Chapter 06 - Does it pay? One process against several, on your own machine.

Question  Two ranks do half the work each. Why is a step not twice as fast?
Predict   Your computer has two cores. One process with two threads, or two ranks with
first     one thread each: which is faster, and by how much?
Builds on Chapter 04 (where communication hides) and 05 (the whole step).
New here  Strong and weak scaling, exposed communication, the part that never divides.
Left out  What the model learns; it is not trained far enough to judge.

Run       python chapters/06_ddp_benchmark.py
          python chapters/06_ddp_benchmark.py --preset tiny --num-rounds 20
          bash chapters/launch.sh chapters/06_ddp_benchmark.py    Kaggle's two GPUs
Expect    A table, what it means for your machine, a picture, a report.
Takes     Two to four minutes on two CPU cores.
"""

from __future__ import annotations

from distrinews import console

console.quiet_interrupts()  # before the slow imports: Ctrl-C ends them quietly

from distrinews import (
    benchmark,
    dist,
    files,
    machine,
    model,
    news,
    plots,
    results,
    runs,
    scaling,
    training,
)
from distrinews.flags import parse
from distrinews.settings import BenchmarkSettings


def measure(ranks: dist.Ranks, settings: BenchmarkSettings) -> None:
    """The story of one rank. Every rank runs exactly these lines."""
    run = runs.begin(settings, ranks=ranks)

    # --8<-- [start:measure]
    # 1. The same model, the same rows ---------------------------------------------
    stories = news.load(settings)
    training.seed_weights(settings.seed)
    net = model.from_settings(settings, stories.tokenizer).to(ranks.device)

    # 2. Taking turns ----------------------------------------------------------------
    # WHY in turn, within one run: a machine that grows warm, or a neighbour that gets
    # busy, then slows all of them alike.
    told = scaling.measure(
        net, stories, ranks, settings=settings, num_rounds=settings.num_rounds
    )
    # --8<-- [end:measure]

    # 3. What it means -----------------------------------------------------------------
    size, world_size = settings.global_batch_size, ranks.world_size
    found = scaling.figures(told, world_size=world_size, global_batch_size=size)
    if not ranks.is_main:
        return  # no collective below this line
    table = scaling.table(found, world_size=world_size)
    words = scaling.explain(found, world_size=world_size)
    print(f"{table}\n\n{words}\n")

    # 4. Kept: numbers, picture, report ------------------------------------------------
    results.keep(
        settings,
        "scaling",
        figures=found,
        ranks=ranks,
        otherwise=run.folder / "scaling.json",
    )
    cpu = machine.describe()["cpu"]
    title = f"{settings.preset}, {size} rows a step, {cpu}, {ranks.device.type}"
    plots.draw_steps(found, run.folder, world_size=world_size, title=title)
    report = run.folder / "report.md"
    text = f"# {title}\n\n{table}\n\n{words}\n\n![steps](steps.svg)\n"
    with files.atomic_file(report) as draft:
        draft.write_text(text, encoding="utf-8")
    print(report)


def main() -> None:
    settings = parse(BenchmarkSettings, about=__doc__)
    num_ranks = dist.launched_world_size() or settings.num_ranks
    news.check(settings, world_size=num_ranks)
    benchmark.warn_if_crowded(num_ranks, num_cores=machine.num_cores())
    dist.launch(measure, settings, num_ranks=num_ranks)


if __name__ == "__main__":
    console.run(main)
