"""The same training in other libraries, as each documents it, in its best setting.

Promise: all loops get the same model with the same weights, the same tokenised rows and
the same recipe (rows per step, learning rate and its course, weight decay, clipping).
Beyond that each has what its documentation offers for rows of unequal length, and for
speed on the hardware at hand: batches grouped by length, the fused AdamW, DDP's bucket
views.

Each is one function to be read, and its lines are counted. It returns how many rows its
own evaluation counted.

Not here: starting and timing them (`distrinews.bench.peers`), what they are given
(`distrinews.bench.peer_job`).

Letters used for shapes: B = rows per rank and step, T = tokens, W = ranks.
Guide: benchmarks/peers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import AdamW
from torch.utils.data import DataLoader

from distrinews.bench.peer_job import Job

__all__ = ["LOOPS", "accelerate_loop", "fabric_loop", "trainer"]


def trainer(job: Job, **options: Any) -> int:
    """Hugging Face's Trainer; its default AdamW is the fused one.

    Args:
        job: What to train, on what.
        **options: Further TrainingArguments, such as `train_sampling_strategy`.

    Returns:
        Rows that its evaluation counted, over all ranks.

    Source: huggingface.co/docs/transformers, "Fine-tuning" and "Trainer"; the
        docstring of TrainingArguments.
    """
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    settings = job.settings
    counted: list[int] = []

    def count(prediction: Any) -> dict[str, float]:
        counted.append(len(prediction.label_ids))
        return {}

    collate = DataCollatorWithPadding(job.splits.tokenizer)
    arguments = TrainingArguments(
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=job.per_rank_batch_size,
        per_device_eval_batch_size=job.per_rank_batch_size,
        learning_rate=settings.peak_learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup_fraction,
        max_grad_norm=settings.max_gradient_norm,
        seed=settings.seed,
        use_cpu=job.ranks.device.type == "cpu",
        dataloader_pin_memory=job.ranks.device.type != "cpu",
        save_strategy="no",
        disable_tqdm=True,
        **options,
    )
    hf_trainer = Trainer(
        model=job.net,
        args=arguments,
        train_dataset=job.train,
        data_collator=job.record_reads(collate),
        compute_metrics=count,
    )
    hf_trainer.train()
    hf_trainer.data_collator = collate
    hf_trainer.evaluate(job.validation)
    return counted[0]


def accelerate_loop(job: Job) -> int:
    """Accelerate: torch's loop, prepared; batches by transformers' own length sampler.

    Args:
        job: What to train, on what.

    Returns:
        Rows that its evaluation counted, over all ranks.

    Source: github.com/huggingface/accelerate, examples/nlp_example.py; docs,
        "Quicktour" and "DistributedDataParallelKwargs".
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from transformers import DataCollatorWithPadding, get_linear_schedule_with_warmup
    from transformers.trainer_pt_utils import LengthGroupedSampler

    settings = job.settings
    collate = DataCollatorWithPadding(job.splits.tokenizer)
    accelerator = Accelerator(
        cpu=job.ranks.device.type == "cpu",
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )
    train: Any = job.train.remove_columns("length")
    loader = DataLoader(
        train,
        job.per_rank_batch_size,
        sampler=LengthGroupedSampler(
            settings.global_batch_size,
            lengths=list(job.train["length"]),
            generator=torch.Generator().manual_seed(settings.seed),
        ),
        collate_fn=job.record_reads(collate),
    )
    rows: Any = job.validation.remove_columns("length")
    validation = DataLoader(rows, job.per_rank_batch_size, collate_fn=collate)
    optimizer = AdamW(job.net.parameters(), fused=True, **job.adamw_options)
    net, optimizer, loader, validation = accelerator.prepare(
        job.net, optimizer, loader, validation
    )
    num_steps = settings.epochs * len(loader)
    warmup = int(settings.warmup_fraction * num_steps)
    scheduler = get_linear_schedule_with_warmup(optimizer, warmup, num_steps)
    net.train()
    for _ in range(settings.epochs):
        for batch in loader:
            loss = net(**batch).loss
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(net.parameters(), settings.max_gradient_norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()

    net.eval()
    count = 0
    for batch in validation:
        with torch.no_grad():
            predictions = net(**batch).logits.argmax(dim=-1)
        predictions, labels = accelerator.gather_for_metrics((
            predictions,
            batch["labels"],
        ))
        count += len(labels)
    return count


def fabric_loop(job: Job) -> int:
    """Lightning Fabric: torch's loop, set up; batches by transformers' length sampler.

    Args:
        job: What to train, on what.

    Returns:
        Rows that its evaluation counted, over all ranks.

    Source: lightning.ai/docs/fabric, "Convert PyTorch code to Fabric", "DDPStrategy".
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy
    from transformers import DataCollatorWithPadding, get_linear_schedule_with_warmup
    from transformers.trainer_pt_utils import LengthGroupedSampler

    settings, ranks = job.settings, job.ranks
    collate = DataCollatorWithPadding(job.splits.tokenizer)
    fabric = Fabric(
        accelerator=ranks.device.type,
        devices=ranks.world_size,
        strategy=DDPStrategy(gradient_as_bucket_view=True),
    )
    fabric.launch()
    optimizer: Any = AdamW(job.net.parameters(), fused=True, **job.adamw_options)
    train: Any = job.train.remove_columns("length")
    rows: Any = job.validation.remove_columns("length")
    net, optimizer = fabric.setup(job.net, optimizer)
    loader: Any = fabric.setup_dataloaders(
        DataLoader(
            train,
            job.per_rank_batch_size,
            sampler=LengthGroupedSampler(
                settings.global_batch_size,
                lengths=list(job.train["length"]),
                generator=torch.Generator().manual_seed(settings.seed),
            ),
            collate_fn=job.record_reads(collate),
        )
    )
    validation: Any = fabric.setup_dataloaders(
        DataLoader(rows, job.per_rank_batch_size, collate_fn=collate)
    )
    num_steps = settings.epochs * len(loader)
    warmup = int(settings.warmup_fraction * num_steps)
    scheduler = get_linear_schedule_with_warmup(optimizer, warmup, num_steps)
    net.train()
    for _ in range(settings.epochs):
        for batch in loader:
            optimizer.zero_grad()
            loss = net(**batch).loss
            fabric.backward(loss)
            fabric.clip_gradients(net, optimizer, max_norm=settings.max_gradient_norm)
            optimizer.step()
            scheduler.step()

    net.eval()
    count = torch.zeros((), device=fabric.device)
    for batch in validation:
        with torch.no_grad():
            count += len(net(**batch).logits)
    total: Any = fabric.all_reduce(count, reduce_op="sum")
    return int(total)


LOOPS: dict[str, Callable[[Job], int]] = {
    "trainer": trainer,
    # WHY False: torch warns that the Trainer's default walks the graph once more each
    # step.
    "trainer_grouped": functools.partial(
        trainer,
        train_sampling_strategy="group_by_length",
        ddp_find_unused_parameters=False,
    ),
    "accelerate": accelerate_loop,
    "fabric": fabric_loop,
}
