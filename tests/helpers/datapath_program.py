"""Measure the memory of reading rows, with and without a copy of them in lists.

`python datapath_program.py NUM_ROWS FILE.json [lists]`
"""

from __future__ import annotations

import pathlib
import sys

import torch

from distrinews import dist
from distrinews.bench import datapath
from distrinews.training.corpus import Splits

CPU = torch.device("cpu")


def copy_into_lists(splits: Splits) -> list[list[int]]:
    """What a loop over a dataset does that was not thought through."""
    return [
        splits.train.batch([row], device=CPU)[0]["input_ids"][0].tolist()
        for row in range(len(splits.train))
    ]


if __name__ == "__main__":
    settings = datapath.DataPathSettings(train_rows=int(sys.argv[1]))
    prepare = copy_into_lists if sys.argv[3:] == ["lists"] else None
    out = pathlib.Path(sys.argv[2])
    dist.launch(datapath.measure_one_size, settings, out, prepare, num_ranks=2)
