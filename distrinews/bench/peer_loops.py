"""One epoch of the same training, written as each library's own documentation does.

Promise: all loops get the same model with the same weights, the same tokenised rows and
the same recipe (rows per step, learning rate and its course, weight decay, clipping).
What they do themselves, they do as documented: which rows meet, how they are padded,
which AdamW, how gradients meet, how evaluation counts.

Each is one function to be read, and its lines are counted. It calls `job.end_step()`
after each step and returns how many rows its own evaluation counted.

Not here: measuring (`distrinews.bench.peers`).

Letters used for shapes: B = rows per rank and step, T = tokens, W = ranks.
Guide: benchmarks/peers.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as torch_dist
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from torch.utils.data import DataLoader, DistributedSampler

from distrinews import sync, training
from distrinews.bench.peer_job import Job
from distrinews.metrics import evaluation
from distrinews.model import cls_token
from distrinews.sync import shared_memory, sparse_embedding

__all__ = ["accelerate_loop", "fabric_loop", "our_loop", "torch_ddp", "trainer"]


def torch_ddp(job: Job, *, padding: str) -> int:
    """PyTorch's own DDP, DataLoader and DistributedSampler; AdamW as it comes.

    Args:
        job: What to train, on what.
        padding: "max_length" pads rows to 128 tokens, "longest" to the batch's longest.

    Returns:
        Rows that its evaluation counted, over all ranks.

    Source: pytorch.org/tutorials, "Getting Started with Distributed Data Parallel" and
        "Multi GPU training with DDP"; huggingface.co, "Padding and truncation".
    """
    from transformers import DataCollatorWithPadding, get_linear_schedule_with_warmup

    settings, device = job.settings, job.ranks.device
    collate = DataCollatorWithPadding(
        job.splits.tokenizer, padding=padding, max_length=settings.max_length
    )
    train = job.train.remove_columns("length")
    sampler: Any = DistributedSampler(train, seed=settings.seed)
    loader = DataLoader(
        train,
        batch_size=job.per_rank_batch_size,
        sampler=sampler,
        collate_fn=job.record_reads(collate),
    )
    net = DistributedDataParallel(job.net)
    optimizer = AdamW(net.parameters(), **job.adamw_options)
    warmup = int(settings.warmup_fraction * len(loader))
    scheduler = get_linear_schedule_with_warmup(optimizer, warmup, len(loader))
    sampler.set_epoch(0)
    net.train()
    for batch in loader:
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        loss = net(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(net.parameters(), settings.max_gradient_norm)
        optimizer.step()
        scheduler.step()
        job.end_step()

    rows = job.validation.remove_columns("length")
    sampler = DistributedSampler(rows, shuffle=False)
    net.eval()
    count = torch.zeros((), device=device)
    for batch in DataLoader(
        rows, job.per_rank_batch_size, sampler=sampler, collate_fn=collate
    ):
        with torch.no_grad():
            logits = job.net(**{k: v.to(device) for k, v in batch.items()}).logits
        count += len(logits)
    torch_dist.all_reduce(count)
    return int(count)


def trainer(job: Job, **options: Any) -> int:
    """Hugging Face's Trainer.

    Args:
        job: What to train, on what.
        **options: Further TrainingArguments, such as `train_sampling_strategy`.

    Returns:
        Rows that its evaluation counted, over all ranks.

    Source: huggingface.co/docs/transformers, "Fine-tuning" and "Trainer"; the
        docstring of TrainingArguments.
    """
    from transformers import (
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    class StepEnds(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            job.end_step()

    settings = job.settings
    counted: list[int] = []

    def count(prediction: Any) -> dict[str, float]:
        counted.append(len(prediction.label_ids))
        return {}

    collate = DataCollatorWithPadding(job.splits.tokenizer)
    arguments = TrainingArguments(
        num_train_epochs=1,
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
        callbacks=[StepEnds()],
    )
    hf_trainer.train()
    hf_trainer.data_collator = collate
    hf_trainer.evaluate(job.validation)
    return counted[0]


def accelerate_loop(job: Job) -> int:
    """Accelerate: torch's loop, prepared.

    Args:
        job: What to train, on what.

    Returns:
        Rows that its evaluation counted, over all ranks.

    Source: github.com/huggingface/accelerate, examples/nlp_example.py;
        docs, "Quicktour".
    """
    from accelerate import Accelerator
    from transformers import DataCollatorWithPadding, get_linear_schedule_with_warmup

    settings = job.settings
    collate = DataCollatorWithPadding(job.splits.tokenizer)
    accelerator = Accelerator(cpu=job.ranks.device.type == "cpu")
    train: Any = job.train.remove_columns("length")
    loader = DataLoader(
        train,
        job.per_rank_batch_size,
        shuffle=True,
        collate_fn=job.record_reads(collate),
    )
    rows: Any = job.validation.remove_columns("length")
    validation = DataLoader(rows, job.per_rank_batch_size, collate_fn=collate)
    optimizer = AdamW(job.net.parameters(), **job.adamw_options)
    warmup = int(settings.warmup_fraction * len(loader))
    scheduler = get_linear_schedule_with_warmup(optimizer, warmup, len(loader))
    net, optimizer, loader, validation, scheduler = accelerator.prepare(
        job.net, optimizer, loader, validation, scheduler
    )
    net.train()
    for batch in loader:
        loss = net(**batch).loss
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(net.parameters(), settings.max_gradient_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        job.end_step()

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
    """Lightning Fabric: torch's loop, set up.

    Args:
        job: What to train, on what.

    Returns:
        Rows that its evaluation counted, over all ranks.

    Source: lightning.ai/docs/fabric, "Convert PyTorch code to Fabric".
    """
    from lightning_fabric import Fabric
    from transformers import DataCollatorWithPadding, get_linear_schedule_with_warmup

    settings, ranks = job.settings, job.ranks
    collate = DataCollatorWithPadding(job.splits.tokenizer)
    fabric = Fabric(
        accelerator=ranks.device.type, devices=ranks.world_size, strategy="ddp"
    )
    fabric.launch()
    optimizer: Any = AdamW(job.net.parameters(), **job.adamw_options)
    train: Any = job.train.remove_columns("length")
    rows: Any = job.validation.remove_columns("length")
    net, optimizer = fabric.setup(job.net, optimizer)
    loader: Any = fabric.setup_dataloaders(
        DataLoader(
            train,
            job.per_rank_batch_size,
            shuffle=True,
            collate_fn=job.record_reads(collate),
        )
    )
    validation: Any = fabric.setup_dataloaders(
        DataLoader(rows, job.per_rank_batch_size, collate_fn=collate)
    )
    warmup = int(settings.warmup_fraction * len(loader))
    scheduler = get_linear_schedule_with_warmup(optimizer, warmup, len(loader))
    net.train()
    for batch in loader:
        optimizer.zero_grad()
        loss = net(**batch).loss
        fabric.backward(loss)
        fabric.clip_gradients(net, optimizer, max_norm=settings.max_gradient_norm)
        optimizer.step()
        scheduler.step()
        job.end_step()

    net.eval()
    count = torch.zeros((), device=fabric.device)
    for batch in validation:
        with torch.no_grad():
            count += len(net(**batch).logits)
    total: Any = fabric.all_reduce(count, reduce_op="sum")
    return int(total)


def our_loop(job: Job, *, beyond_ddp: bool) -> int:
    """This library's building blocks, put together as in chapter 05.

    Args:
        job: What to train, on what.
        beyond_ddp: Also average as DDP cannot, and leave out of the last layer what
            the classifier does not read.

    Returns:
        Rows that its evaluation counted, over all ranks.

    Source: chapters/05_ddp_training.py; understand/faster-than-ddp.
    """
    settings, ranks, splits = job.settings, job.ranks, job.splits
    replica: torch.nn.Module
    if not beyond_ddp:
        replica = sync.wrap_ddp(job.net)
    else:
        cls_token.compute_cls_token_only(job.net)
        if ranks.device.type == "cpu":
            replica = shared_memory.SharedMemoryDDP(job.net)
        else:
            replica = sparse_embedding.distributed_data_parallel(job.net)
    sampler = training.build_sampler(splits.train_lengths, ranks, settings=settings)
    optimizer = training.build_optimizer(job.net, settings=settings)
    plan = training.plan(settings, num_rows=len(splits.train_rows))
    scheduler = training.build_scheduler(optimizer, settings=settings, plan=plan)
    replica.train()
    for rows in sampler:
        inputs, labels = job.batch(rows)
        optimizer.zero_grad()
        F.cross_entropy(replica(**inputs).logits, labels).backward()
        clip_grad_norm_(job.net.parameters(), settings.max_gradient_norm)
        optimizer.step()
        scheduler.step()
        job.end_step()

    rows = splits.validation_rows
    return evaluation.evaluate(job.net, splits.train, ranks, rows=rows).num_rows
