"""Tokenised rows in a mapped file, and how a batch is collected from them.

Promise: opening copies 8 bytes per row, and collecting a batch is a few operations on
whole arrays, for any number of rows.

WHY not a `datasets.Dataset`, which maps a file, too: collecting 32 rows from one took
0.9 ms, from this table 0.015 ms (datasets 5.2 in numpy format, best of 8 in turn).

Not here: how the file comes to be (`distrinews.data.tokenised`).

Letters used for shapes: N = rows, B = rows of a batch, T = tokens of its longest row.
Guide: benchmarks/data-path.
"""

from __future__ import annotations

import copy
import json
import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch

__all__ = ["TokenTable", "to_device"]


class TokenTable:
    """Tokenised rows in a file that is mapped, not read.

    Why mapping: every rank sees the same physical memory, and a table larger than
    memory works too.

    Args:
        path: A file written by `tokenised.tokenise`.
        pad_id: The token id that fills short rows.

    Attributes:
        class_names: What the classes are called, in the order of their numbers.
        form: How the rows' file was read, in words; empty for news.
        num_cut: How many of the file's rows are longer than the model reads.
        labels: int16 [N], class of each row.
        lengths: int16 [N], tokens of each row. Turn them into int before adding up.

    Note:
        Cost: 8 bytes per row, and the file's pages, which all ranks share.
    """

    def __init__(self, path: pathlib.Path, *, pad_id: int) -> None:
        self.path, self.pad_id = path, pad_id
        mapped = pa.memory_map(str(path)).read_buffer()  # nothing is copied
        file = pa.ipc.open_file(pa.BufferReader(mapped))
        metadata = file.schema.metadata
        self.class_names: tuple[str, ...] = tuple(json.loads(metadata[b"class_names"]))
        self.form, self.num_cut = metadata[b"form"].decode(), 0
        batch_numbers = range(file.num_record_batches)
        # WHY the whole file as if it were tokens: a row's position is then a single
        # number, and no batch has to ask in which record batch a row is.
        token_type = file.schema.field("input_ids").type.value_type
        dtype = np.dtype(token_type.to_pandas_dtype())
        num_slots = mapped.size // dtype.itemsize
        self._tokens = np.frombuffer(mapped, dtype, count=num_slots)
        num_rows = sum(file.get_batch(i).num_rows for i in batch_numbers)
        rows = np.empty(num_rows, dtype=_row_type(num_slots))
        num_done = 0
        for i in batch_numbers:
            batch = file.get_batch(i)
            ids, ends = batch.column(0).values, batch.column(0).offsets.to_numpy()
            base = (ids.buffers()[1].address - mapped.address) // dtype.itemsize
            chunk = rows[num_done : num_done + len(batch)]
            chunk["start"] = base + ends[:-1].astype(np.int64)
            chunk["length"] = np.diff(ends)
            chunk["label"] = batch.column(1).to_numpy()
            num_done += len(batch)
            self.num_cut += batch.column(2).true_count
        self._set_rows(rows)

    def _set_rows(self, rows: np.ndarray) -> None:
        self._rows = rows  # [N] of (start, length, label)
        self.labels, self.lengths = rows["label"], rows["length"]

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, num_rows: int) -> TokenTable:
        """Look at the first rows as a table of their own.

        Args:
            num_rows: How many.

        Returns:
            A table that shares all its memory with this one.
        """
        table = copy.copy(self)
        table._set_rows(self._rows[:num_rows])
        return table

    def with_rows_last(self, rows: Sequence[int] | np.ndarray) -> TokenTable:
        """Put some rows behind all others.

        Why: the rows to train on are then the first ones. To look up which row of the
        table the n-th of them is, in each batch, would be one more trip to memory a
        row, and 4 bytes per row to remember it.

        Args:
            rows: Row numbers, each at most once.

        Returns:
            A table that maps the same file; both parts in the order they had.

        Note:
            Cost: 8 bytes per row; the old table's are freed when no one needs it.
        """
        last = np.sort(np.asarray(rows))
        reordered, start = np.empty_like(self._rows), 0
        # WHY slice by slice: a mask or a list of row numbers would for a moment take
        # twice the memory of the table itself.
        for num_moved, row in enumerate([*last.tolist(), len(self)]):
            reordered[start - num_moved : row - num_moved] = self._rows[start:row]
            start = row + 1
        reordered[len(self) - len(last) :] = self._rows[last]
        table = copy.copy(self)
        table._set_rows(reordered)
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

        Note:
            On a GPU the copies are queued: Python does not wait for them.
        """
        # WHY no loop over rows: Python's work for each of them takes longer than all
        # the rest. See `datapath.collect_one_by_one`.
        picked = self._rows.take(rows)  # [B] of (start, length, label)
        lengths = picked["length"][:, None]  # [B, 1]
        max_length = int(lengths.max())
        # For each position in the file, the window of T tokens from there on; nothing
        # is copied yet. Behind a short row are tokens of the next one; padding
        # replaces them.
        # WHY T tokens as one item: the fewer steps between two rows, the more of them
        # the processor fetches at once. A million rows instead of ten thousand cost
        # 0.02 us a row more this way, and 0.04 us as an array [B, T] (numpy 2).
        itemsize = self._tokens.itemsize
        num_windows = len(self._tokens) - max_length + 1
        window = np.dtype((np.void, max_length * itemsize))
        windows = np.ndarray(num_windows, window, self._tokens, strides=(itemsize,))
        tokens = windows[picked["start"]].view(self._tokens.dtype)  # [B * T]
        input_ids = tokens.reshape(-1, max_length).astype(np.int64)  # [B, T]
        is_token = np.arange(max_length, dtype=np.int16) < lengths  # [B, T]
        input_ids[~is_token] = self.pad_id
        inputs = {
            "input_ids": to_device(input_ids, device),
            "attention_mask": to_device(is_token.astype(np.int64), device),
        }
        return inputs, to_device(picked["label"].astype(np.int64), device)


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Bring an array to where the model lives, without waiting for a GPU.

    Why not `.to(device)` alone: from ordinary memory torch's copy waits until the GPU
    has finished everything that is queued on its stream. In every micro-batch that
    would be a pause in which the GPU gets no new work.

    Args:
        array: Freshly made: on the CPU the tensor shares its memory.
        device: Where the model lives.

    Returns:
        The tensor. On a GPU its copy may still be under way; whatever uses the tensor
        on the same stream comes after the copy.

    Note:
        On a GPU one more copy, on the CPU, into pinned memory. Torch keeps that memory
        until the GPU has read it, and then takes it for the next batch. The first
        batches are slower: pinned memory is expensive to allocate.

    Source: `copy_kernel_cuda` in aten/src/ATen/native/cuda/Copy.cu, torch 2.13.

    Examples:
        >>> to_device(np.array([1, 2]), torch.device("cpu"))
        tensor([1, 2])
    """
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    # WHY both: without `non_blocking` torch waits after the copy; from memory that is
    # not pinned the driver may wait before it.
    return tensor.pin_memory().to(device, non_blocking=True)


def _row_type(num_slots: int) -> np.dtype:
    """Start, length and label of a row, side by side: one memory access reads all."""
    # 4 bytes for the position of its first token; 8 if the file is too large for that.
    start_type = np.promote_types(np.uint32, np.min_scalar_type(num_slots))
    fields = [("start", start_type), ("length", np.int16), ("label", np.int16)]
    return np.dtype(fields, align=True)
