"""Chapter 06 - Does it pay? One process against several, on your own machine.

Question  Two ranks do half the work each. Why is a step not twice as fast?
Predict   Your computer has two cores. One process with two threads, or two ranks with
first     one thread each: which is faster, and by how much?
Builds on Chapters 04 (hiding communication) and 05 (the whole step).
New here  Strong and weak scaling, exposed communication, the serial part.
Left out  Accuracy: the model is not trained long enough to judge it.

Run       python chapters/06_ddp_benchmark.py
          python chapters/06_ddp_benchmark.py --preset tiny --num-rounds 20
          bash chapters/launch.sh chapters/06_ddp_benchmark.py    Kaggle's two GPUs
Expect    A table, what it means for your machine, a picture, a timeline, a report.
Takes     One to two minutes on two CPU cores.
"""

from __future__ import annotations

from distrinews.system import console

console.quiet_interrupts()  # before the slow imports: Ctrl-C ends them quietly

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from distrinews import dist, model, sync, training
from distrinews.bench import plots, preflight, results, scaling, timing, trace_overhead
from distrinews.config.flags import parse
from distrinews.config.settings import BenchmarkSettings
from distrinews.system import files, machine
from distrinews.training import corpus, runs


# 1. The step that is timed ------------------------------------------------------------
def timed_step(
    replica: nn.Module,
    batch: tuple[dict[str, torch.Tensor], torch.Tensor],
    *,
    optimizer: torch.optim.Optimizer,
    settings: BenchmarkSettings,
    timer: timing.PhaseTimer,
    synchronise: bool = True,
) -> None:
    """Take chapter 05's step, with a clock around each part."""
    inputs, labels = batch
    optimizer.zero_grad()
    # Also without: backward inside no_sync computes the same and sends nothing. The
    # difference is the communication that computing does not hide.
    with sync.no_sync_unless(synchronise, replica=replica):
        with timer.phase("forward"):
            loss = F.cross_entropy(replica(**inputs).logits, labels)
        with timer.phase("backward"):
            loss.backward()
    with timer.phase("optimizer"):
        clip_grad_norm_(replica.parameters(), settings.max_gradient_norm)
        optimizer.step()


def measure(ranks: dist.Ranks, settings: BenchmarkSettings) -> None:
    """What one rank does. Every rank runs exactly these lines."""
    run = runs.begin(settings, ranks=ranks)
    num_steps = scaling.num_steps(settings) + trace_overhead.NUM_STEPS
    bar = tqdm(total=num_steps, desc="load", disable=not ranks.is_main)

    # --8<-- [start:measure]
    # 2. The same model, the same rows ---------------------------------------------
    splits = corpus.load(settings)
    training.seed_weights(settings.seed)
    net = model.build(
        settings.preset,
        dropout=settings.dropout,
        vocabulary_size=len(splits.tokenizer),
        class_names=splits.class_names,
    ).to(ranks.device)

    # 3. Taking turns ----------------------------------------------------------------
    # Alternate within one run: if the machine gets hot, or another program gets busy,
    # all variants slow down alike.
    bar.unpause()  # estimate the remaining time from steps, not from loading
    bar.set_description("time steps")
    times = scaling.measure(
        net, splits, ranks, settings=settings, take_step=timed_step, title=bar
    )
    workload = scaling.workload(net, splits, ranks, settings=settings)
    # --8<-- [end:measure]

    # 4. Record a timeline -------------------------------------------------------------
    # After the timing, because recorded steps are a little slower.
    bar.set_description("record steps")
    trace_overhead.record(net, splits, ranks, settings=settings, folder=run.folder)
    bar.update(trace_overhead.NUM_STEPS)
    bar.close()
    if not ranks.is_main:
        return  # no collective below this line

    # 5. What it means -----------------------------------------------------------------
    figures = scaling.figures(times, workload=workload)
    table = scaling.table(figures, world_size=ranks.world_size)
    explanation = scaling.explain(figures, world_size=ranks.world_size)
    print(f"{table}\n\n{explanation}\n")

    # 6. Save numbers, picture and report ----------------------------------------------
    path = run.folder / "scaling.json"
    results.save(settings, "scaling", figures=figures, ranks=ranks, always=path)
    cpu, size = machine.describe()["cpu"], settings.global_batch_size
    title = f"{settings.preset}, {size} rows per step, {cpu}, {ranks.device.type}"
    plots.draw_steps(figures, run.folder, world_size=ranks.world_size, title=title)
    report = run.folder / "report.md"
    text = (
        f"# {title}\n\n{table}\n\n{explanation}\n\n![steps](steps.svg)\n\n"
        "[Timeline](timeline.html); `timeline.perfetto.json` opens in ui.perfetto.dev\n"
    )
    with files.atomic_file(report) as draft:
        draft.write_text(text, encoding="utf-8")
    print(report)


def main() -> None:
    settings = parse(BenchmarkSettings, about=__doc__)
    num_ranks = dist.launched_world_size() or settings.num_ranks
    preflight.check(settings, kind="scaling", world_size=num_ranks)
    dist.launch(measure, settings, num_ranks=num_ranks)


if __name__ == "__main__":
    console.run(main)
