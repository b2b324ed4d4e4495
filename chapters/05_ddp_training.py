"""Chapter 05 - The whole run: several processes train one model.

Question  N processes read different news. Why do they end up with one model, and
          how do we know what it can do?
Predict   Two ranks, a global batch of 32 rows: how many rows does each rank read in
first     a step? In which line do ranks wait for each other: backward or step?
Builds on Chapter 01: the same loop on one process.
New here  DistributedDataParallel, a sampler that deals rows, numbers over all ranks.
Left out  How DDP averages gradients (chapter 04), how fast it is (chapter 06).

Run       python chapters/05_ddp_training.py                  two processes, any OS
          python chapters/05_ddp_training.py --num-ranks 1    the same steps, alone
          bash chapters/launch.sh chapters/05_ddp_training.py   torchrun: Linux, Kaggle
Expect    A falling loss, an accuracy on test rows, three headlines with probabilities.
Takes     Two minutes on two CPU cores.
"""

from __future__ import annotations

from distrinews import console

console.quiet_interrupts()  # before the slow imports: Ctrl-C ends them quietly

from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from distrinews import dist, model, news, report, resuming, runs, sharding, training
from distrinews.evaluation import evaluate
from distrinews.settings import DistributedSettings, parse


def train(ranks: dist.Ranks, settings: DistributedSettings) -> None:
    """The story of one rank. Every rank runs exactly these lines."""
    run = runs.begin(settings, ranks=ranks)

    # --8<-- [start:same-start]
    # 1. The same start ----------------------------------------------------------
    with run.phase("data"):
        stories = news.load(settings)  # rank 0 tokenises, all ranks map the result
    with run.phase("model"):
        training.seed_weights(settings.seed)  # equal weights on every rank ...
        net = model.from_settings(settings, stories.tokenizer).to(ranks.device)
        training.seed_noise(settings.seed, ranks=ranks)  # ... and different dropout
        replica = net
        if ranks.world_size > 1:
            # WHY device_ids only on GPUs: a CPU replica has no device number.
            gpu = [ranks.device.index] if ranks.device.type == "cuda" else None
            # WHY bucket views: gradients then live in DDP's communication buffers, and
            # not also in a copy of their own: 4 bytes per parameter less.
            replica = DistributedDataParallel(
                net, device_ids=gpu, gradient_as_bucket_view=True
            )
    report.opening(run, net=net, stories=stories)
    # --8<-- [end:same-start]

    # --8<-- [start:different-data]
    # 2. Different data ----------------------------------------------------------
    # WHY divide: 32 rows on each of two ranks would be steps of 64, and a comparison
    # with one process would compare two different experiments.
    batch_size = sharding.per_rank_batch_size(
        settings.global_batch_size, world_size=ranks.world_size
    )
    sampler = sharding.ShardSampler(
        len(stories.fit_rows), ranks, seed=settings.seed, drop_last=True
    )
    plan = training.plan(settings, num_rows=len(stories.fit_rows))
    # --8<-- [end:different-data]

    optimizer = training.build_optimizer(net, settings=settings)
    scheduler = training.build_scheduler(optimizer, settings=settings, plan=plan)
    run.restore(net=net, optimizer=optimizer, scheduler=scheduler)  # with --resume

    # --8<-- [start:one-gradient]
    # 3. One gradient ------------------------------------------------------------
    while run.step < plan.last_step:
        epoch, done = divmod(run.step, plan.steps_per_epoch)
        sampler.set_epoch(epoch)  # forget it, and every epoch repeats one order
        batches = sharding.training_batches(
            sampler, per_rank_batch_size=batch_size, skip=done
        )
        for batch in run.steps(batches, last_step=plan.last_step):  # draws the bar
            rows = [stories.fit_rows[place] for place in batch]
            inputs, labels = stories.train.batch(rows, device=ranks.device)
            loss = F.cross_entropy(replica(**inputs).logits, labels)
            optimizer.zero_grad()
            # WHY this line is where ranks meet: DDP hangs an all-reduce on every
            # gradient, and backward() sets them off while it runs. It averages.
            loss.backward()
            clip_grad_norm_(net.parameters(), settings.max_gradient_norm)
            optimizer.step()  # local: same weights, same gradient, same step
            scheduler.step()
            # WHY not behind `if ranks.is_main`: it sums over all ranks. A rank that
            # skipped it would leave the others waiting.
            run.log_loss(loss, num_rows=len(rows), scheduler=scheduler)
        with run.phase("validation"):
            # WHY `net` and not `replica`: ranks may hold different numbers of batches
            # here, and DDP's forward may hold a collective.
            tally = evaluate(net, stories.train, ranks, rows=stories.validation_rows)
        with run.phase("checkpoint"):
            run.save(tally, net=net, optimizer=optimizer, scheduler=scheduler)
    # --8<-- [end:one-gradient]

    # 4. The answer: best epoch, test rows once, export, three headlines ----------
    report.closing(run, net=net, stories=stories)


def main() -> None:
    settings = parse(DistributedSettings, about=__doc__)
    resuming.check(settings)
    num_ranks = dist.launched_world_size() or settings.num_ranks
    news.check(settings, world_size=num_ranks)
    dist.launch(train, settings, num_ranks=num_ranks)


# WHY the guard: every new process first imports this file. Without the guard it would
# start two processes of its own, and so on.
if __name__ == "__main__":
    console.run(main)
