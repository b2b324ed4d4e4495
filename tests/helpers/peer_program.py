"""Loops that break a promise of the comparison, to be started on two ranks.

`python peer_program.py FILE.json` compares them with one that keeps it.
"""

from __future__ import annotations

import functools
import json
import pathlib
import sys

import torch
from torch import nn
from torch.utils.data import DataLoader

from distrinews import dist
from distrinews.bench import peer_loops, peers
from distrinews.bench.peer_job import Job
from distrinews.training import corpus


def never_meets(job: Job) -> int:
    """Averages nothing: every rank trains a model of its own."""
    loops = peer_loops.DistributedDataParallel
    peer_loops.DistributedDataParallel = Bare
    try:
        return peer_loops.torch_ddp(job, padding="longest")
    finally:
        peer_loops.DistributedDataParallel = loops


class Bare(nn.Module):
    """Looks like DDP and passes calls on."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, **inputs: torch.Tensor) -> object:
        return self.module(**inputs)


def reads_all_on_every_rank(job: Job) -> int:
    """Forgets the sampler: DDP does not split batches."""
    collate = padding_collator(job)
    loader = DataLoader(
        job.train.remove_columns("length"),
        job.per_rank_batch_size,
        shuffle=True,
        collate_fn=job.record_reads(collate),
    )
    net = peer_loops.DistributedDataParallel(job.net)
    optimizer = torch.optim.AdamW(net.parameters(), **job.adamw_options)
    for batch in loader:
        optimizer.zero_grad()
        net(**batch).loss.backward()
        optimizer.step()
        job.end_step()
    return 203


def padding_collator(job: Job) -> object:
    from transformers import DataCollatorWithPadding

    return DataCollatorWithPadding(job.splits.tokenizer)


LOOPS = {
    "right": functools.partial(peer_loops.torch_ddp, padding="longest"),
    "never_meets": never_meets,
    "reads_all": reads_all_on_every_rank,
}


def compare(ranks: dist.Ranks, path: pathlib.Path) -> None:
    settings = peers.PeerSettings(preset="tiny", num_rounds=1, train_rows=363)
    splits = corpus.load(settings)
    result = peers.measure(splits, ranks, settings=settings, loops=LOOPS)
    if ranks.is_main:
        path.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    dist.launch(compare, pathlib.Path(sys.argv[1]), num_ranks=2)
