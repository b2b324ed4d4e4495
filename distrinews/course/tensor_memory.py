"""Watch how many bytes of tensors are alive at once.

Every storage that a torch operation creates is counted once, until nothing refers to it
any more: no variable, no view, no graph that autograd keeps for a later backward. The
same code gives the same number on every machine.

Not here: the memory of a process (`distrinews.bench.memory`), which includes the
allocator's cache and differs from run to run.

Guide: learn/exercises.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["TensorWatch"]


class TensorWatch(TorchDispatchMode):
    """Count the bytes of tensors that are created in the block, while they are alive.

    Note:
        Tensors from before the block do not count, nor do views of them. Cost: some
        microseconds per operation. Other threads are not seen, so a backward on a GPU
        is not counted.

    Examples:
        >>> with TensorWatch() as watch:
        ...     for _ in range(10):
        ...         rows = torch.zeros(250)  # the one before lives until this is made
        >>> watch.peak_bytes
        2000
        >>> with TensorWatch() as watch:
        ...     rows = [torch.zeros(250) for _ in range(10)]
        >>> watch.peak_bytes
        10000
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0
        self.peak_bytes = 0
        # By identity, because a storage that is passed on, as a view or in place, is
        # the same object and must not be counted again.
        self._known: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation; count the storages that it created."""
        inputs = {id(tensor.untyped_storage()) for tensor in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if id(storage) not in inputs | self._known:
                self._count(storage)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, num_bytes = id(storage), storage.nbytes()
        self._known.add(key)
        self.bytes += num_bytes
        self.peak_bytes = max(self.peak_bytes, self.bytes)
        # The Python object lives as long as the storage does (torch keeps it).
        weakref.finalize(storage, self._forget, key, num_bytes)

    def _forget(self, key: int, num_bytes: int) -> None:
        self._known.discard(key)
        self.bytes -= num_bytes


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
