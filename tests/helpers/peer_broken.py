"""Loops that break a promise of the comparison, to be started on two ranks.

`python peer_broken.py FILE.json` compares them with one that keeps it.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from distrinews import dist, model, training
from distrinews.bench import peer_job, peer_program
from distrinews.bench.peer_job import Job
from distrinews.config.settings import DistributedSettings
from distrinews.training import corpus

SETTINGS = DistributedSettings(preset="tiny", train_rows=363, validation_rows=203)


def loop(job: Job, *, meets: bool = True, splits_rows: bool = True) -> int:
    """Torch's DDP, right or with one thing forgotten."""
    from transformers import DataCollatorWithPadding

    rows: Any = job.train.remove_columns("length")
    loader = DataLoader(
        rows,
        job.per_rank_batch_size,
        sampler=DistributedSampler(rows) if splits_rows else None,
        collate_fn=job.record_reads(DataCollatorWithPadding(job.splits.tokenizer)),
    )
    net = DistributedDataParallel(job.net) if meets else job.net
    optimizer = torch.optim.AdamW(net.parameters(), **job.adamw_options)
    for batch in loader:
        optimizer.zero_grad()
        net(**batch).loss.backward()
        optimizer.step()
    return 203


LOOPS: dict[str, dict[str, bool]] = {
    "right": {},
    "never_meets": {"meets": False},
    "reads_all": {"splits_rows": False},
}


def compare(ranks: dist.Ranks, path: pathlib.Path) -> None:
    splits = corpus.load(SETTINGS)
    found = {}
    for name, options in LOOPS.items():
        training.seed_weights(0)
        net = model.build(
            "tiny", dropout=0.0, vocabulary_size=len(splits.tokenizer)
        ).to(ranks.device)
        job = peer_job.build(net, splits, SETTINGS, ranks)
        found[name] = peer_program.summarise(job, loop(job, **options))
    if ranks.is_main:
        path.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    dist.launch(compare, pathlib.Path(sys.argv[1]), num_ranks=2)
