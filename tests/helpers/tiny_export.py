"""An export of a tiny model, made in a moment; another seed, other weights."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import torch
from helpers.exports import facts

from distrinews import model
from distrinews.data.labels import LABEL_NAMES
from distrinews.training import export

__all__ = ["HEADLINE", "write"]

HEADLINE = "Striker scores twice as champions win the cup final"
TEXTS = [HEADLINE, "Oil prices rise as a storm nears the coast", "Peace talks resume"]


def write(
    folder: pathlib.Path,
    *,
    seed: int = 1,
    classes: Sequence[str] = LABEL_NAMES,
    vocabulary: str = "tiny",
    max_length: int = 24,
) -> pathlib.Path:
    """Write it, and return the folder; with the vocabulary of any preset."""
    tokenizer = model.load_tokenizer(vocabulary, max_length=max_length, texts=TEXTS * 3)
    torch.manual_seed(seed)
    net = model.build(
        "tiny", dropout=0.0, vocabulary_size=len(tokenizer), class_names=classes
    )
    with torch.no_grad():
        for weights in net.parameters():
            weights *= 3  # an untrained model would say 0.25 to everything
    about = facts(max_length=max_length) | {"classes": list(classes)}
    if tuple(classes) != LABEL_NAMES:
        about["data"] = "own rows"
    export.write(folder, net=net, tokenizer=tokenizer, facts=about)
    return folder
