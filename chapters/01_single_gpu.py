"""Chapter 01 - One process, one model: the loop that the course distributes.

Question  What happens between reading a batch of headlines and a better model?
Predict   2,432 rows, 32 per step: how many steps does an epoch have, and what happens
first     to the rows that do not fill a batch?
Builds on Nothing: this is the start.
New here  The whole loop; validation rows to choose the best epoch, test rows used once.
Left out  A second process (chapter 05 runs this loop on several).

Run       python chapters/01_single_gpu.py                    a GPU if there is one
          python chapters/01_single_gpu.py --preset tiny      a quick look, 20 seconds
Expect    A falling loss, an accuracy on test rows, three headlines with probabilities.
Takes     About a minute on two CPU cores.
"""

from __future__ import annotations

from distrinews.system import console

console.quiet_interrupts()  # before the slow imports: Ctrl-C ends them quietly

import torch
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from distrinews import dist, model, training
from distrinews.checkpoint import TrainingState
from distrinews.config.flags import parse
from distrinews.config.settings import TrainSettings
from distrinews.training import corpus, report, resume, runs


def train(ranks: dist.Ranks, settings: TrainSettings) -> None:
    """Train and test; `ranks` gives the device, and here holds one rank only."""
    run = runs.begin(settings, ranks=ranks)

    # --8<-- [start:start]
    # 1. Data and model ----------------------------------------------------------
    with run.phase("data"):
        splits = corpus.load(settings)
    with run.phase("model"):
        training.seed_weights(settings.seed)
        net = model.build(
            settings.preset,
            dropout=settings.dropout,
            vocabulary_size=len(splits.tokenizer),
            class_names=splits.class_names,
        ).to(ranks.device)
        training.seed_dropout(settings.seed, ranks=ranks)
    report.print_summary(run, net=net, splits=splits)
    # --8<-- [end:start]

    plan = training.plan(settings, num_rows=len(splits.train_rows))
    optimizer = training.build_optimizer(net, settings=settings)
    scheduler = training.build_scheduler(optimizer, settings=settings, plan=plan)
    state = TrainingState(net, optimizer, scheduler)  # what a checkpoint holds

    # --8<-- [start:loop]
    # 2. The loop ----------------------------------------------------------------
    size = settings.global_batch_size
    for epoch in range(settings.epochs):
        # A new order in each epoch: with a fixed order, every batch would hold the same
        # rows in every epoch.
        generator = torch.Generator().manual_seed(settings.seed + epoch)
        order = torch.randperm(len(splits.train_rows), generator=generator).tolist()
        batches = [order[step * size :][:size] for step in range(plan.steps_per_epoch)]
        for rows in run.progress_bar(batches, total=plan.num_steps):
            inputs, labels = splits.batch(rows, device=ranks.device)
            loss = F.cross_entropy(net(**inputs).logits, labels)  # mean over 32 rows
            optimizer.zero_grad()  # otherwise gradients of earlier steps add up
            loss.backward()
            clip_grad_norm_(net.parameters(), settings.max_gradient_norm)
            optimizer.step()
            scheduler.step()
            run.log_loss(loss, num_rows=len(rows))
            run.end_step(scheduler)
        with run.phase("validation"):
            rows = splits.validation_rows
            validation = training.evaluate_table(net, splits.train, ranks, rows=rows)
        run.log_validation(validation)
        with run.phase("checkpoint"):
            run.save(state)
    # --8<-- [end:loop]

    # 3. Test once, on the best epoch; export, and classify three headlines ------
    run.load_best(net)
    with run.phase("test"):
        test = training.evaluate_table(net, splits.test, ranks, title="test")
    report.finish(run, state=state, splits=splits, test=test)


def main() -> None:
    settings = parse(TrainSettings, about=__doc__)
    resume.check(settings)
    corpus.check(settings, world_size=1)
    dist.launch(train, settings, num_ranks=1)


if __name__ == "__main__":
    console.run(main)
