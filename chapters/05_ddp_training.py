"""Chapter 05 - The whole run: several processes train one model.

Question  Why do N processes that read different news end up with one model?
Predict   Two ranks, a global batch of 32 rows: how many rows does each rank read per
first     step? In which line do the ranks wait for each other: backward or step?
Builds on Chapters 01 (the loop), 03 (the ranks' rows), 04 (averaging gradients).
New here  All of it together; accumulation, early stopping, resuming a killed run.
Left out  How fast it is (chapter 06).

Run       python chapters/05_ddp_training.py                  two processes, any OS
          python chapters/05_ddp_training.py --num-ranks 1    the same steps, alone
          bash chapters/launch.sh chapters/05_ddp_training.py   torchrun: Linux, Kaggle
Expect    A falling loss, an accuracy on test rows, three headlines with probabilities.
Takes     About a minute on two CPU cores.
"""

from __future__ import annotations

from distrinews.system import console

console.quiet_interrupts()  # before the slow imports: Ctrl-C ends them quietly

from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from distrinews import checkpoint, dist, model, sync, training
from distrinews.config.flags import parse
from distrinews.config.settings import DistributedSettings
from distrinews.training import corpus, report, resume, runs


def train(ranks: dist.Ranks, settings: DistributedSettings) -> None:
    """What one rank does. Every rank runs exactly these lines."""
    run = runs.begin(settings, ranks=ranks)
    # --8<-- [start:same-start]
    # 1. The same start ----------------------------------------------------------
    with run.phase("data"):
        splits = corpus.load(settings)  # rank 0 tokenises, all ranks map the result
    with run.phase("model"):
        training.seed_weights(settings.seed)  # equal weights on every rank ...
        net = model.build(
            settings.preset,
            dropout=settings.dropout,
            vocabulary_size=len(splits.tokenizer),
            class_names=splits.class_names,  # one output each: news, or your labels
        ).to(ranks.device)
        training.seed_dropout(settings.seed, ranks=ranks)  # ... and different dropout
        replica = net
        if ranks.world_size > 1 and settings.averaging == "shared":
            replica = sync.ddp_in_shared_memory(net)  # DDP with a hook instead of gloo
        elif ranks.world_size > 1:
            # device_ids only on GPUs: a replica on the CPU has no device number.
            gpu = [ranks.device.index] if ranks.device.type == "cuda" else None
            # Bucket views: gradients live in DDP's buckets, without a second copy.
            replica = DistributedDataParallel(
                net, device_ids=gpu, gradient_as_bucket_view=True
            )
        if ranks.world_size > 1:
            # DDP rebuilds its buckets after the first backward. A resumed run would
            # start with other buckets, and three ranks or more would round differently.
            with sync.discarded_step(net):
                inputs, labels = splits.batch([0], device=ranks.device)
                F.cross_entropy(replica(**inputs).logits, labels).backward()
    report.print_summary(run, net=net, splits=splits)
    # --8<-- [end:same-start]
    # 2. Different data, and a plan ----------------------------------------------
    sampler = training.build_sampler(splits.train_lengths, ranks, settings=settings)
    plan = training.plan(settings, num_rows=len(splits.train_rows))
    optimizer = training.build_optimizer(net, settings=settings)
    scheduler = training.build_scheduler(optimizer, settings=settings, plan=plan)
    state = checkpoint.TrainingState(net, optimizer, scheduler, sampler)
    run.restore(state)  # with --resume: everything that decides the next step
    while run.step < plan.last_step and not run.stopped_early:
        # --8<-- [start:one-gradient]
        # 3. One gradient --------------------------------------------------------
        sampler.start_at_step(run.step)  # each epoch has its own order
        micro_batches = iter(sampler)  # this rank's part of each global batch
        pause = plan.next_pause(run.step)  # the epoch ends, or a checkpoint is due
        for _ in run.progress_bar(range(run.step, pause), total=plan.last_step):
            optimizer.zero_grad()
            for micro_step in range(settings.accumulation_steps):
                is_last = micro_step == settings.accumulation_steps - 1
                rows = next(micro_batches)
                # Only the last micro-batch synchronises; until then gradients add up.
                # Forward is inside too, because it decides what backward will do.
                with sync.no_sync_unless(is_last, replica=replica):
                    inputs, labels = splits.batch(rows, device=ranks.device)
                    loss = F.cross_entropy(replica(**inputs).logits, labels)
                    # The ranks synchronise in this line: DDP has a hook on every
                    # parameter, and backward() sends full buckets and averages them.
                    (loss / settings.accumulation_steps).backward()
                run.log_loss(loss, num_rows=len(rows))
            clip_grad_norm_(net.parameters(), settings.max_gradient_norm)
            optimizer.step()  # local: same weights, same gradient, same step
            scheduler.step()
            # Not inside `if ranks.is_main`: in some steps this sums over all ranks.
            run.end_step(scheduler)
        # --8<-- [end:one-gradient]
        # 4. The pause: validate at the end of an epoch, save a checkpoint --------
        if plan.should_validate(run.step):
            with run.phase("validation"):
                # Not `replica`: its forward may communicate, but batch counts differ.
                table, rows = splits.train, splits.validation_rows
                validation = training.evaluate_table(net, table, ranks, rows=rows)
            run.log_validation(validation, patience=settings.patience)
        with run.phase("checkpoint"):
            run.save(state)

    # 5. Test once, on the best epoch; export, and classify three headlines -------
    run.load_best(net)
    with run.phase("test"):
        test = training.evaluate_table(net, splits.test, ranks, title="test")
    report.finish(run, state=state, splits=splits, test=test)


def main() -> None:
    settings = parse(DistributedSettings, about=__doc__)
    resume.check(settings)
    num_ranks = dist.launched_world_size() or settings.num_ranks
    corpus.check(settings, world_size=num_ranks)
    dist.launch(train, settings, num_ranks=num_ranks)


# The guard: every new process first imports this file, and would start two more.
if __name__ == "__main__":
    console.run(main)
