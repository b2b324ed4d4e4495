"""From news texts to batches: tokenised once, mapped by every rank, padded as needed.

Promise: rank 0 tokenises each split once into a file that all ranks map into memory,
so N ranks hold one copy, and a second run finds it ready. A batch is padded to its own
longest row, not to the longest there could be.

Offered here, written next door: the mapped file as a table
(`distrinews.data.token_table`).

Not here: where texts come from (`distrinews.data.sources`), who reads which row
(`distrinews.sharding`).

Letters used for shapes: N = rows.
Guide: reference/data.
"""

from __future__ import annotations

import itertools
import json
import pathlib
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from distrinews import dist
from distrinews.data.file_sources import digest
from distrinews.data.sources import Row, Source
from distrinews.data.token_table import TokenTable
from distrinews.errors import DataError
from distrinews.system import files
from distrinews.system.machine import cache_folder

if TYPE_CHECKING:  # WHY: transformers takes seconds to load; only its name is needed
    from transformers import PreTrainedTokenizerFast

__all__ = ["TokenTable", "cache_folder", "split_validation", "tokenise"]

# Rows per record batch of the file: enough to be fast, few enough for flat memory.
ROWS_PER_BATCH = 1000
# Rows given to the tokenizer at a time. It notes far more than ids: 1,000 at a time
# needed 13 MiB more than 100, and no less time.
ROWS_PER_CALL = 100
# Longer rows would not fit the 2 bytes that hold a length.
MAX_ROW_LENGTH = 2**15 - 1


def tokenise(
    source: Source,
    split: str,
    *,
    tokenizer: PreTrainedTokenizerFast,
    num_rows: int | None,
    seed: int,
) -> TokenTable:
    """Tokenise a split, or find it ready in the cache.

    Collective: every rank must call it. Rank 0 does the work while the others wait.

    Args:
        source: Where rows come from.
        split: "train" or "test".
        tokenizer: Cuts texts at its `model_max_length`.
        num_rows: How many rows; None for all.
        seed: Chooses the rows where not all are taken, and generates newswire.

    Returns:
        The table, mapped.

    Raises:
        DataError: The source has malformed, too few or one-sided rows. On every rank.
        OutputError: The cache cannot be written. On every rank.

    Note:
        The file's name is a fingerprint of all that decides its content: data, rows,
        seed, cleaning version, tokenizer, maximum length. A change makes a new file.
    """
    fingerprint = source.fingerprint(split, num_rows=num_rows, seed=seed)
    # WHY without them: the tokenizer notes here how it was last asked to cut and pad.
    # Rank 0, which has just tokenised the first split, would look for the second one
    # under another name than the ranks that waited.
    unset = {"truncation": None, "padding": None}
    tokenizer_state = json.loads(tokenizer.backend_tokenizer.to_str()) | unset
    schema = _schema(tokenizer)
    name = digest(
        fingerprint,
        tokenizer_state,
        tokenizer.model_max_length,
        str(schema),
        ROWS_PER_BATCH,
    )
    path = cache_folder() / f"{split}-{name[:32]}.arrow"
    with dist.rank0_first():
        if not path.exists():
            rows = source.rows(split, num_rows=num_rows, seed=seed)
            facts = {"class_names": json.dumps(source.class_names), "form": source.form}
            with files.atomic_file(path, keep_existing=True) as draft:
                _write(
                    draft,
                    rows,
                    tokenizer,
                    schema.with_metadata({**schema.metadata, **facts}),
                )
    return TokenTable(path, pad_id=tokenizer.pad_token_id)


def split_validation(
    labels: Sequence[int] | np.ndarray, *, num_rows: int | None, seed: int
) -> tuple[np.ndarray, list[int]]:
    """Set rows aside to judge epochs by, each class in proportion.

    Why not the test rows: choosing the best of many epochs by the test set makes the
    test result a little too good every time. The test set is looked at once.

    Args:
        labels: Class of each row [N].
        num_rows: How many rows to set aside; None for a twentieth, at most 1000.
        seed: Chooses them.

    Returns:
        Row numbers to train on, int32, and row numbers to validate on, both ascending;
        disjoint, together N.

    Raises:
        DataError: No row would be left on one of the sides. The same on every rank.

    Examples:
        >>> train, validation = split_validation([0, 1] * 10, num_rows=4, seed=0)
        >>> len(train), sorted(row % 2 for row in validation)
        (16, [0, 0, 1, 1])
    """
    num_validation = min(1000, len(labels) // 20) if num_rows is None else num_rows
    if not 0 < num_validation < len(labels):
        raise DataError(
            f"{num_validation} validation rows cannot be cut from "
            f"{len(labels)} training rows.",
            why="the best epoch is judged on rows that were not trained on.",
            fix="use 100 training rows or more, and fewer validation rows (a chapter: "
            "--train-rows, --validation-rows).",
            page="bad-data",
        )
    # WHY arrays, and small ones: lists of a million rows would be a hundred megabytes.
    class_of_row = np.asarray(labels)
    by_class = [(int(np.argmax(class_of_row == k)), k) for k in np.unique(class_of_row)]
    rng = random.Random(seed)
    quantiles, candidates = [], []
    for _, label in sorted(by_class):  # in the order in which classes turn up
        rows = np.flatnonzero(class_of_row == label).astype(np.int32)
        # Python's shuffle takes any sequence, and torch's or numpy's would be others.
        rng.shuffle(rows)  # type: ignore[arg-type]
        # Each row gets its quantile within its class, 0 to 1. The smallest quantiles
        # over all classes are a sample in which each class has its share.
        smallest = rows[:num_validation]
        candidates.append(smallest)
        quantiles.append((np.arange(len(smallest)) + 0.5) / len(rows))
    # By quantile; of equal quantiles the smaller row comes first.
    rows = np.concatenate(candidates)
    validation_rows = np.sort(
        rows[np.lexsort((rows, np.concatenate(quantiles)))[:num_validation]]
    )
    all_rows = np.arange(len(class_of_row), dtype=np.int32)
    return np.delete(all_rows, validation_rows), validation_rows.tolist()


def _max_length(tokenizer: PreTrainedTokenizerFast) -> int:
    """Number of tokens after which texts are cut."""
    return min(int(tokenizer.model_max_length), MAX_ROW_LENGTH)


def _schema(tokenizer: PreTrainedTokenizerFast) -> pa.Schema:
    """Describe the columns of a cache file."""
    # WHY 2 bytes a token where they do: half as much to fetch from memory.
    needs_32_bits = len(tokenizer) > 2**16
    token_type = pa.int32() if needs_32_bits else pa.uint16()
    # WHY room: `TokenTable.batch` looks at as many tokens of the last row as the
    # longest one has, and must not look beyond the file. Arrow repeats this text at
    # the file's end.
    padding = " " * (_max_length(tokenizer) * token_type.bit_width // 8)
    columns = [
        ("input_ids", pa.list_(token_type)),
        ("label", pa.int16()),
        ("is_cut", pa.bool_()),
    ]
    return pa.schema(columns, metadata={"room": padding})


def _write(
    path: pathlib.Path,
    rows: Iterator[Row],
    tokenizer: PreTrainedTokenizerFast,
    schema: pa.Schema,
) -> None:
    """Tokenise batch by batch, so that memory does not grow with the number of rows."""
    with path.open("wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        while batch := list(itertools.islice(rows, ROWS_PER_BATCH)):
            ids: list[list[int]] = []
            is_cut: list[bool] = []
            for start in range(0, len(batch), ROWS_PER_CALL):
                texts = [row.text for row in batch[start : start + ROWS_PER_CALL]]
                encoded = tokenizer(
                    texts, truncation=True, max_length=_max_length(tokenizer)
                )
                ids += encoded["input_ids"]
                is_cut += [bool(text.overflowing) for text in encoded.encodings]
            columns = [ids, [row.label for row in batch], is_cut]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    # WHY: Arrow would keep some MiB to write more, and nothing more is written.
    pa.default_memory_pool().release_unused()
