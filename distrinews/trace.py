"""Record what every rank does when: collectives, with their call sites, and phases.

Promise: each event is on disk before the call that it describes begins, so that after a
hang or a kill the files say who was where. One JSON line per event and rank.

What is seen: every call of torch.distributed's functions by name (`torch_dist.x(...)`),
what DDP sends for its buckets (through a communication hook), and blocks marked with
`phase`. What gloo does inside is not seen.

Not here: the picture (`distrinews.timeline`).

Guide: understand/timeline.
"""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
import time
import traceback
from collections.abc import Callable, Generator
from typing import Any

import torch
import torch.distributed as torch_dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import whereabouts
from distrinews.dist import Ranks

__all__ = ["COLLECTIVES", "Recorder", "recording"]

COLLECTIVES = (
    *("all_reduce", "broadcast", "reduce", "all_gather", "gather", "scatter"),
    *("reduce_scatter", "all_gather_object", "broadcast_object_list", "barrier"),
    *("send", "recv", "isend", "irecv", "batch_isend_irecv", "monitored_barrier"),
)


class Recorder:
    """Writes the events of one rank.

    Args:
        folder: Where `rank-K.jsonl` goes.
        ranks: Who this process is.
    """

    def __init__(self, folder: pathlib.Path, ranks: Ranks) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"rank-{ranks.rank}.jsonl"
        # WHY unbuffered by line: what is still in a buffer dies with the process.
        self._file = path.open("w", encoding="utf-8", buffering=1)
        self._next = 0
        self._inside = 0
        self._write({"rank": ranks.rank, "world_size": ranks.world_size})

    @contextlib.contextmanager
    def phase(self, name: str) -> Generator[None, None, None]:
        """Record a block of computing.

        Args:
            name: Such as "forward".

        Yields:
            None.
        """
        number = self.begin("phase", name)
        try:
            yield
        finally:
            self.end(number)

    def begin(self, kind: str, name: str, *, num_bytes: int = 0, site: str = "") -> int:
        """Write that something begins.

        Args:
            kind: "phase" or "collective".
            name: Of the phase or the operation.
            num_bytes: That travel.
            site: Where in the program.

        Returns:
            Its number, for `end`. Numbers count this rank's events from 0.
        """
        number, self._next = self._next, self._next + 1
        event: dict[str, Any] = {"n": number, "at": time.perf_counter(), "kind": kind}
        event |= {"name": name}
        if num_bytes:
            event["bytes"] = num_bytes
        if site:
            event["site"] = site
        self._write(event)
        return number

    def end(self, number: int) -> None:
        """Write that it is over.

        Args:
            number: What `begin` returned.
        """
        self._write({"end": number, "at": time.perf_counter()})

    def watch(self, replica: nn.Module) -> None:
        """See the all-reduces of a DDP wrapper, which it starts in compiled code.

        Args:
            replica: A DDP wrapper without a communication hook; else nothing happens.

        Note:
            The hook does what DDP does without one: divide by W, all-reduce.
        """
        if not isinstance(replica, DistributedDataParallel):
            return

        def hook(_: object, bucket: Any) -> Any:
            tensor = bucket.buffer()
            tensor.div_(torch_dist.get_world_size())
            number = self.begin(
                "collective",
                f"bucket {bucket.index()}",
                num_bytes=tensor.nbytes,
                site="DDP, in backward",
            )
            with self._unseen():
                work = torch_dist.all_reduce(tensor, async_op=True)

            def arrived(future: torch.futures.Future[Any]) -> torch.Tensor:
                self.end(number)
                value = future.value()
                return value[0] if isinstance(value, list) else value  # type: ignore[no-any-return]

            return work.get_future().then(arrived)

        # WHY none: torch compares annotations with its own class, and in this file they
        # are texts (torch 2.13, _check_comm_hook).
        hook.__annotations__ = {}
        replica.register_comm_hook(None, hook)

    def close(self) -> None:
        """Close the file; events after it are lost."""
        self._file.close()

    @contextlib.contextmanager
    def _unseen(self) -> Generator[None, None, None]:
        """Calls inside are parts of a call that is recorded already."""
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Make a function that records itself.

        Args:
            name: Of the operation.
            call: The function.

        Returns:
            The same function, seen.
        """

        @functools.wraps(call)
        def seen(*args: Any, **kwargs: Any) -> Any:
            if self._inside:  # all_gather_object calls all_gather, and so on
                return call(*args, **kwargs)
            size = sum(a.nbytes for a in args if isinstance(a, torch.Tensor))
            site = whereabouts.innermost(traceback.extract_stack(limit=12)[:-1])
            number = self.begin("collective", name, num_bytes=size, site=site)
            with self._unseen():
                result = call(*args, **kwargs)
            self.end(number)
            return result

        return seen

    def _write(self, event: dict[str, Any]) -> None:
        with contextlib.suppress(ValueError):  # closed: a hook that came late
            self._file.write(json.dumps(event, separators=(",", ":")) + "\n")


@contextlib.contextmanager
def recording(folder: pathlib.Path, ranks: Ranks) -> Generator[Recorder, None, None]:
    """Record everything that this rank does inside the block.

    Local: no rank waits for another.

    Args:
        folder: Where the files of all ranks go.
        ranks: Who this process is.

    Yields:
        The recorder, to mark phases and to watch a DDP wrapper.

    Examples:
        >>> import tempfile
        >>> alone = Ranks(0, 0, 1, torch.device("cpu"))
        >>> with tempfile.TemporaryDirectory() as name:
        ...     with recording(pathlib.Path(name), alone) as recorder:
        ...         with recorder.phase("forward"):
        ...             pass
        ...     len((pathlib.Path(name) / "rank-0.jsonl").read_text().splitlines())
        3
    """
    recorder = Recorder(folder, ranks)
    before = {name: getattr(torch_dist, name) for name in COLLECTIVES}
    # WHY replace functions: torch has no hook that sees collectives on every backend,
    # and this library calls them by their full names for this reason, too.
    for name, call in before.items():
        setattr(torch_dist, name, recorder.wrap(name, call))
    try:
        yield recorder
    finally:
        for name, call in before.items():
            setattr(torch_dist, name, call)
        recorder.close()
