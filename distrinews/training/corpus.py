"""From settings to everything a chapter trains on: tokenizer, tables, split.

Promise: what can be wrong with the data is found before any process starts; after
that, every rank holds the same tables and the same split.

Not here: the sources (`distrinews.data.sources`), the tables
(`distrinews.data.tokenised`).

Guide: reference/data.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from distrinews import dist, model, sharding
from distrinews.config.settings import DistributedSettings, TrainSettings
from distrinews.data import sources, tokenised
from distrinews.data.columns import ColumnsWanted
from distrinews.errors import DataError, SettingsError
from distrinews.system import files

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["Splits", "check", "load", "open_source"]

# Texts that tiny learns its vocabulary from: enough for 4,000 pieces, read in a second.
VOCABULARY_TEXTS = 5000
# Part of the cached vocabulary's name: raise it with any change of how it is trained.
VOCABULARY_VERSION = 3


@dataclass(frozen=True)
class Splits:
    """What a chapter trains on and is judged by.

    Attributes:
        description: The source in one line.
        card_description: The same for a model card: no path.
        licence: What a model made from the rows may be given on under; None: unknown.
        tokenizer: As the texts were tokenised with.
        train: All rows taken from the training split; those to train on come first.
        train_rows: Rows of `train` to train on [N], from 0. The setting `train_rows`
            counts the validation rows, too; `result.json` says `fitted_rows` for N.
        validation_rows: Rows of `train` set aside to judge epochs by: the last ones.
        test: The test rows, to be looked at once.
    """

    description: str
    card_description: str
    licence: str | None
    tokenizer: PreTrainedTokenizerFast
    train: tokenised.TokenTable
    train_rows: range
    validation_rows: list[int]
    test: tokenised.TokenTable

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of their numbers [C]."""
        return self.train.class_names

    @functools.cached_property
    def train_subset(self) -> tokenised.TokenTable:
        """The rows to train on, as a table of their own [N]."""
        return self.train.first(len(self.train_rows))

    @property
    def train_lengths(self) -> np.ndarray:
        """Tokens of each row to train on, int16 [N]."""
        # WHY a copy: on its own it is small enough to be at hand when rows are sorted.
        return np.ascontiguousarray(self.train_subset.lengths)

    def batch(
        self, indices: Sequence[int], *, device: torch.device
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Collect rows to train on into one padded batch.

        Args:
            indices: Which of `train_rows` [B], as a sampler numbers them: from 0.
            device: Where the model lives.

        Returns:
            As `TokenTable.batch`.
        """
        return self.train_subset.batch(indices, device=device)


def check(settings: TrainSettings, *, world_size: int) -> None:
    """Refuse what cannot work, before any process starts.

    Args:
        settings: What was asked for.
        world_size: How many ranks there will be.

    Raises:
        SettingsError: The batch does not divide, or there are fewer rows than a batch.
        DataError: The source is unknown or malformed.
        ModelError: The preset's weights are not installed.
        HubUnreachableError: They are on the Hub, and it does not answer.
    """
    accumulation_steps = 1  # chapter 01 does not accumulate
    if isinstance(settings, DistributedSettings):
        accumulation_steps = settings.accumulation_steps
    sharding.per_rank_batch_size(
        settings.global_batch_size,
        world_size=world_size,
        accumulation_steps=accumulation_steps,
    )
    if settings.train_rows is not None:
        _check_enough(settings.train_rows, settings)
    model.check(settings.preset)
    open_source(settings).check()


def open_source(settings: TrainSettings) -> sources.Source:
    """Open what `--data` names, with the columns that were asked for.

    Args:
        settings: Source and columns.

    Returns:
        The source; nothing is read yet.

    Raises:
        DataError: The name is unknown.

    Examples:
        >>> open_source(TrainSettings()).name
        'newswire'
    """
    wanted = ColumnsWanted(settings.text_columns, settings.label_column)
    return sources.open_source(settings.data, wanted=wanted)


def load(settings: TrainSettings) -> Splits:
    """Tokenise the rows, or find them ready.

    Collective: every rank must call it. Rank 0 does the work while the others wait.

    Args:
        settings: Source, rows, seed, preset.

    Returns:
        Tables and split, the same on every rank.

    Raises:
        DataError: Rows are malformed, too few or of one class. On every rank.
        SettingsError: Fewer rows than one batch. On every rank.
    """
    source = open_source(settings)
    tokenizer = _tokenizer(source, settings)
    train, test = (
        tokenised.tokenise(
            source, split, tokenizer=tokenizer, num_rows=num_rows, seed=settings.seed
        )
        for split, num_rows in (
            ("train", settings.train_rows),
            ("test", settings.test_rows),
        )
    )
    _check_enough(len(train), settings)  # before a twentieth of too little is cut off
    train_rows, validation_rows = tokenised.split_validation(
        train.labels, num_rows=settings.validation_rows, seed=settings.seed
    )
    _check_enough(len(train_rows), settings)
    if len(np.unique(train.labels[train_rows])) < 2:
        raise DataError(
            f"all {len(train_rows)} training rows are of one class.",
            why="a model that always says this class would be right every time.",
            fix="--train-rows with a larger number, or a file with several classes.",
            page="bad-data",
        )
    train = train.with_rows_last(validation_rows)
    train_range = range(len(train_rows))
    validation_range = list(range(len(train_rows), len(train)))
    return Splits(
        source.description,
        source.card_description,
        source.licence,
        tokenizer,
        train,
        train_range,
        validation_range,
        test,
    )


def _tokenizer(
    source: sources.Source, settings: TrainSettings
) -> PreTrainedTokenizerFast:
    """The preset's tokenizer; tiny's is trained once, by rank 0, and kept."""
    from transformers import PreTrainedTokenizerFast

    if settings.preset != "tiny":
        return model.load_tokenizer(settings.preset, max_length=settings.max_length)
    fingerprint = source.fingerprint(
        "train", num_rows=settings.train_rows, seed=settings.seed
    )
    cache_key = f"{fingerprint}|{settings.max_length}|{VOCABULARY_VERSION}"
    name = hashlib.sha256(cache_key.encode()).hexdigest()[:32]
    folder = tokenised.cache_folder() / f"tiny-{name}"
    with dist.rank0_first():
        if not folder.exists():
            rows = source.rows(
                "train", num_rows=settings.train_rows, seed=settings.seed
            )
            tokenizer = model.load_tokenizer(
                "tiny",
                max_length=settings.max_length,
                texts=(row.text for row in itertools.islice(rows, VOCABULARY_TEXTS)),
            )
            with files.atomic_folder(folder) as draft:
                tokenizer.save_pretrained(draft)
    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return loaded


def _check_enough(num_rows: int, settings: TrainSettings) -> None:
    """Raise SettingsError where not even one step could be taken."""
    if num_rows < settings.global_batch_size:
        raise SettingsError(
            f"{num_rows} training rows are fewer than one global batch of "
            f"{settings.global_batch_size}.",
            why="each optimizer step takes a whole batch; there would be none.",
            fix=f"--train-rows {settings.global_batch_size * 10}, or a smaller "
            "--global-batch-size.",
            page="batch-size",
        )
