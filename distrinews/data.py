"""From news texts to batches: tokenised once, mapped by every rank, padded as needed.

Promise: rank 0 tokenises each split once into a file that all ranks map into memory,
so N ranks hold one copy, and a second run finds it ready. A batch is padded to its own
longest row, not to the longest there could be.

Not here: where texts come from (`distrinews.sources`), who reads which row
(`distrinews.sharding`).

Letters used for shapes: N = rows, B = rows of a batch, T = tokens of its longest row.
Guide: reference/data.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import pathlib
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch

from distrinews import dist, files
from distrinews.errors import DataError
from distrinews.large_pages import LargeWrites
from distrinews.machine import cache_folder
from distrinews.sources import Row, Source

if TYPE_CHECKING:  # WHY: transformers takes seconds to load; only its name is needed
    from transformers import PreTrainedTokenizerFast

__all__ = ["TokenTable", "cache_folder", "split_validation", "tokenise"]

# Rows tokenised and written at a time: enough to be fast, few enough for flat memory.
ROWS_PER_PIECE = 1000
# Longer rows would not fit the 2 bytes that hold a length.
LONGEST_ROW = 2**15 - 1


class TokenTable:
    """Tokenised rows in a file that is mapped, not read.

    Why mapping: every rank sees the same physical memory, and a table larger than
    memory works too.

    Args:
        path: A file written by `tokenise`.
        pad_id: The token id that fills short rows.

    Attributes:
        labels: int8 [N], class of each row.
        lengths: int16 [N], tokens of each row. Turn them into int before adding up.

    Note:
        Cost: 8 bytes a row, and the file's pages, which all ranks share.
    """

    def __init__(self, path: pathlib.Path, *, pad_id: int) -> None:
        self.path, self.pad_id = path, pad_id
        mapped = pa.memory_map(str(path)).read_buffer()  # nothing is copied
        file = pa.ipc.open_file(pa.BufferReader(mapped))
        pieces = [file.get_batch(i) for i in range(file.num_record_batches)]
        # WHY the whole file as if it were tokens: a row's place in it is then a single
        # number, and a batch is collected without asking which piece a row is in.
        kind = np.dtype(
            file.schema.field("input_ids").type.value_type.to_pandas_dtype()
        )
        num_places = mapped.size // kind.itemsize
        self._tokens = np.frombuffer(mapped, kind, count=num_places)
        known = np.empty(sum(map(len, pieces)), dtype=_row_type(num_places))
        for i, piece in enumerate(pieces):
            ids, ends = piece.column(0).values, piece.column(0).offsets.to_numpy()
            first = (ids.buffers()[1].address - mapped.address) // kind.itemsize
            some = known[i * ROWS_PER_PIECE : i * ROWS_PER_PIECE + len(piece)]
            some["start"] = first + ends[:-1].astype(np.int64)
            some["length"] = np.diff(ends)
            some["label"] = piece.column(1).to_numpy()
        self._set_rows(known)

    def _set_rows(self, known: np.ndarray) -> None:
        self._rows = known  # [N] of (start, length, label)
        self.labels, self.lengths = known["label"], known["length"]

    def __len__(self) -> int:
        return len(self.labels)

    def choose(self, rows: Sequence[int] | np.ndarray) -> TokenTable:
        """Make a table of some of the rows.

        Why: to look up which row of the table the n-th row to train on is, in each
        batch, would be one more trip to memory a row.

        Args:
            rows: Row numbers; the n-th of them is row n of the new table.

        Returns:
            A table that maps the same file.

        Note:
            Cost: 8 bytes a row.
        """
        table = copy.copy(self)
        table._set_rows(self._rows.take(rows))
        return table

    def ids(self, row: int) -> np.ndarray:
        """Look at the tokens of one row.

        Args:
            row: Its number.

        Returns:
            Token ids [tokens], as they lie in the mapped file; read only.
        """
        start, length, _ = self._rows[row].item()
        return self._tokens[start : start + length]

    def batch(
        self, rows: Sequence[int] | np.ndarray, *, device: torch.device
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Collect rows into one padded batch.

        Args:
            rows: Row numbers [B].
            device: Where the model lives.

        Returns:
            The model's inputs, `input_ids` and `attention_mask`, int64 [B, T]; and the
            labels, int64 [B].
        """
        # WHY no loop over rows: each is somewhere else in the file, too far for the
        # processor to have it at hand. In a loop it waits for one row after the other;
        # here it waits for many at once.
        known = self._rows.take(rows)  # [B] of (start, length, label)
        lengths = known["length"][:, None]  # [B, 1]
        longest = int(lengths.max())
        # For each place of the file the T tokens from there on; nothing is copied yet.
        # Behind a short row they are those of its neighbour, and padding replaces them.
        size = self._tokens.itemsize
        shape = (len(self._tokens) - longest + 1, longest)
        runs = np.ndarray(shape, self._tokens.dtype, self._tokens, strides=(size, size))
        input_ids = runs[known["start"]].astype(np.int64)  # [B, T]
        is_token = np.arange(longest, dtype=np.int16) < lengths  # [B, T]
        input_ids[~is_token] = self.pad_id
        inputs = {
            "input_ids": torch.from_numpy(input_ids).to(device),
            "attention_mask": torch.from_numpy(is_token.astype(np.int64)).to(device),
        }
        labels = torch.from_numpy(known["label"].astype(np.int64))
        return inputs, labels.to(device)


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
    what = source.fingerprint(split, num_rows=num_rows, seed=seed)
    # WHY without them: the tokenizer notes here how it was last asked to cut and pad.
    # Rank 0, which has just tokenised the first split, would look for the second one
    # under another name than the ranks that waited.
    last_used = {"truncation": None, "padding": None}
    pieces = json.loads(tokenizer.backend_tokenizer.to_str()) | last_used
    schema = _schema(tokenizer)
    parts = (what, pieces, tokenizer.model_max_length, str(schema), ROWS_PER_PIECE)
    name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    path = cache_folder() / f"{split}-{name}.arrow"
    with dist.rank0_first():
        if not path.exists():
            rows = source.rows(split, num_rows=num_rows, seed=seed)
            with files.atomic_file(path) as draft:
                _write(draft, rows, tokenizer, schema)
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
    wanted = min(1000, len(labels) // 20) if num_rows is None else num_rows
    if not 0 < wanted < len(labels):
        raise DataError(
            f"{wanted} validation rows cannot be cut from {len(labels)} training rows.",
            why="the best epoch is judged on rows that were not trained on.",
            fix="--train-rows 100 or more, and --validation-rows below it.",
            page="bad-data",
        )
    # WHY arrays, and small ones: lists of a million rows would be a hundred megabytes.
    classes = np.asarray(labels)
    by_class = [(int(np.argmax(classes == k)), k) for k in np.unique(classes)]
    dice = random.Random(seed)
    places, candidates = [], []
    for _, label in sorted(by_class):  # in the order in which classes turn up
        rows = np.flatnonzero(classes == label).astype(np.int32)
        # Python's shuffle takes any sequence, and torch's or numpy's would be others.
        dice.shuffle(rows)  # type: ignore[arg-type]
        # Each row gets its place within its class, 0 to 1. The smallest places over
        # all classes are a sample in which each class has its share.
        first = rows[:wanted]
        candidates.append(first)
        places.append((np.arange(len(first)) + 0.5) / len(rows))
    # By place; of equal places the smaller row comes first.
    found = np.concatenate(candidates)
    aside = np.sort(found[np.lexsort((found, np.concatenate(places)))[:wanted]])
    every = np.arange(len(classes), dtype=np.int32)
    return np.delete(every, aside), aside.tolist()


def _row_type(num_places: int) -> np.dtype:
    """What is known of a row, side by side: one trip to memory finds all of it."""
    # 4 bytes for the place of its first token; 8 if the file has too many for that.
    start = np.promote_types(np.uint32, np.min_scalar_type(num_places))
    fields = [("start", start), ("length", np.int16), ("label", np.int8)]
    return np.dtype(fields, align=True)


def _longest(tokenizer: PreTrainedTokenizerFast) -> int:
    """After how many tokens texts are cut."""
    return min(int(tokenizer.model_max_length), LONGEST_ROW)


def _schema(tokenizer: PreTrainedTokenizerFast) -> pa.Schema:
    """Describe the columns of a cache file."""
    # WHY 2 bytes a token where they do: half as much to fetch from memory.
    large = len(tokenizer) > 2**16
    kind = pa.int32() if large else pa.uint16()
    # WHY room: `batch` looks at as many tokens of the last row as the longest one has,
    # and must not look beyond the file. Arrow repeats this text at the file's end.
    room = " " * (_longest(tokenizer) * kind.bit_width // 8)
    columns = [("input_ids", pa.list_(kind)), ("label", pa.int8())]
    return pa.schema(columns, metadata={"room": room})


def _write(
    path: pathlib.Path,
    rows: Iterator[Row],
    tokenizer: PreTrainedTokenizerFast,
    schema: pa.Schema,
) -> None:
    """Tokenise piece by piece, so that memory does not grow with the number of rows."""
    with LargeWrites(path) as sink, pa.ipc.new_file(sink, schema) as writer:
        while piece := list(itertools.islice(rows, ROWS_PER_PIECE)):
            texts = [row.text for row in piece]
            ids = tokenizer(texts, truncation=True, max_length=_longest(tokenizer))
            columns = [ids["input_ids"], [row.label for row in piece]]
            writer.write_batch(pa.record_batch(columns, schema=schema))
