"""Record what every rank does when: collectives, with their call sites, and phases.

Promise: each event is on disk before the call that it describes begins, so that after a
hang or a kill the files say who was where. One JSON line per event and rank.

What is seen: every call of torch.distributed's functions by name (`torch_dist.x(...)`),
what DDP sends for its buckets (through a communication hook), and blocks marked with
`phase`. A call with `async_op=True` ends when its result has arrived. What gloo does
inside is not seen, nor is a function that was imported by itself before (`from
torch.distributed import all_reduce`). On a GPU the times are those at which orders were
given: good for "who never came", not for the overlap inside the GPU.

Not here: the picture (`distrinews.tracing.timeline`).

Guide: understand/timeline.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import pathlib
import time
import traceback
from collections.abc import Callable, Generator, Iterable
from typing import Any

import torch
import torch.distributed as torch_dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews.dist import Ranks, stacks

__all__ = ["COLLECTIVES", "MESSAGES", "Recorder", "recording"]

# Every rank of the group must call these. torch 2.13's public ones; older versions lack
# some of them.
COLLECTIVES = (
    *("all_reduce", "broadcast", "reduce", "all_gather", "gather", "scatter"),
    *("reduce_scatter", "all_to_all", "all_to_all_single", "barrier"),
    *("monitored_barrier", "all_gather_into_tensor", "reduce_scatter_tensor"),
    *("all_gather_single", "reduce_scatter_single", "all_gather_coalesced"),
    *("all_reduce_coalesced", "all_gather_object", "gather_object"),
    *("scatter_object_list", "broadcast_object_list"),
)
# Two ranks call these, and nobody else has to.
MESSAGES = (
    *("send", "recv", "isend", "irecv", "batch_isend_irecv"),
    *("send_object_list", "recv_object_list"),
)
log = logging.getLogger(__name__)


class Recorder:
    """Writes the events of one rank.

    Args:
        folder: Where `rank-K.jsonl` goes.
        ranks: Who this process is.
    """

    def __init__(self, folder: pathlib.Path, ranks: Ranks) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"rank-{ranks.rank}.jsonl"
        # WHY unbuffered: what is still in a buffer dies with the process. And one write
        # a line: torch's own threads report what arrived, while this one goes on.
        self._file = path.open("wb", buffering=0)
        self._next_number = 0
        self._depth = 0
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
            kind: "phase", "collective", or "message" where not all ranks take part.
            name: Of the phase or the operation.
            num_bytes: That travel.
            site: Where in the program.

        Returns:
            Its number, for `end`. Numbers count this rank's events from 0.
        """
        number, self._next_number = self._next_number, self._next_number + 1
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
            replica: A DDP wrapper. Of one with a communication hook of its own nothing
                is seen, with a warning: torch allows one hook. Of what is no DDP
                wrapper nothing is seen either.

        Note:
            A hook does what DDP does without one: divide each bucket by W when it is
            full, and all-reduce it. It stays after recording; a later recorder that
            watches the replica takes it over. Cost: one more pass over the gradients,
            which DDP divides while it copies them.
        """
        if not isinstance(replica, DistributedDataParallel):
            return
        # There is no public way to ask a wrapper for its hook (torch 2.13).
        hooks = replica._comm_hooks
        for _, state in hooks:
            if isinstance(state, _Watched):
                state.recorder = self
                return
        if not hooks:
            try:
                replica.register_comm_hook(_Watched(self, replica), _Watched._average)
                return
            except RuntimeError:  # a hook written in C++, which stands in no list
                hooks.clear()
        log.warning(
            "the buckets of this DDP wrapper are not recorded: it has a communication "
            "hook already."
        )

    def close(self) -> None:
        """Close the file; events after it are lost."""
        self._file.close()

    @contextlib.contextmanager
    def _without_recording(self) -> Generator[None, None, None]:
        """Calls inside are parts of a call that is recorded already."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Make a function that records itself.

        Args:
            name: Of the operation.
            call: The function.

        Returns:
            The same function, seen.
        """

        @functools.wraps(call)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            if self._depth:  # all_gather_object calls all_gather, and so on
                return call(*args, **kwargs)
            arguments = (*args, *kwargs.values())
            number = self.begin(
                "collective" if _is_collective(name, arguments) else "message",
                name,
                num_bytes=_bytes_of(arguments),
                site=stacks.innermost_line(
                    traceback.extract_stack(limit=12)[:-1], users_only=True
                ),
            )
            with self._without_recording():
                result = call(*args, **kwargs)
            if isinstance(result, torch_dist.Work):
                self._end_on_arrival(result, number)
            else:
                self.end(number)
            return result

        return recorded

    def _end_on_arrival(self, work: torch_dist.Work, number: int) -> None:
        """Write the end of a call that goes on in the background when it is over."""
        try:
            work.get_future().add_done_callback(lambda _: self.end(number))
        except RuntimeError:  # gloo's isend and irecv have no future (torch 2.13)
            self.end(number)

    def _write(self, event: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(event, separators=(",", ":")).encode() + b"\n")
        except ValueError:  # closed: a hook that came late
            return
        except OSError as error:
            # WHY go on without: a full disk must not end what is only being watched.
            log.warning("recording stops: %s: %s", self._file.name, error)
            self._file.close()


class _Watched:
    """The communication hook of a watched replica, and who records now."""

    def __init__(self, recorder: Recorder, replica: DistributedDataParallel) -> None:
        self.recorder, self.group = recorder, replica.process_group

    # WHY no annotations: torch compares them with its own class, and in this file they
    # are texts (torch 2.13, _check_comm_hook).
    @staticmethod
    def _average(watched, bucket):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN205
        """Average a bucket as DDP does, and record it."""
        recorder, tensor = watched.recorder, bucket.buffer()
        # WHY the bucket and not each gradient when it is ready: what earlier
        # micro-batches left of a parameter that this loss does not use is in the
        # bucket, too, and no hook of the parameter runs for it.
        # WHY not div_: DDP multiplies. With three ranks the last bits would differ.
        tensor.mul_(1 / watched.group.size())
        number = recorder.begin(
            "collective",
            f"bucket {bucket.index()}",
            num_bytes=tensor.nbytes,
            site="DDP, in backward",
        )
        with recorder._without_recording():
            work = torch_dist.all_reduce(tensor, group=watched.group, async_op=True)

        def on_done(future: torch.futures.Future[Any]) -> torch.Tensor:
            recorder.end(number)
            value = future.value()
            return value[0] if isinstance(value, list) else value  # type: ignore[no-any-return]

        return work.get_future().then(on_done)


def _is_collective(name: str, arguments: Iterable[object]) -> bool:
    """Whether every rank must make this call; else ranks may differ in it."""
    if name in MESSAGES:
        return False
    groups = [
        argument
        for argument in arguments
        if isinstance(argument, torch_dist.ProcessGroup)
    ]
    return all(group.size() == torch_dist.get_world_size() for group in groups)


def _bytes_of(arguments: Iterable[object]) -> int:
    """The size of the tensors that were given, of those in lists if none is bare."""
    tensors = [argument for argument in arguments if isinstance(argument, torch.Tensor)]
    if not tensors:
        lists = [argument for argument in arguments if isinstance(argument, list)]
        tensors = [
            item
            for argument in lists
            for item in argument
            if isinstance(item, torch.Tensor)
        ]
    return sum(tensor.nbytes for tensor in tensors)


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
    originals = {
        name: getattr(torch_dist, name)
        for name in (*COLLECTIVES, *MESSAGES)
        if hasattr(torch_dist, name)
    }
    # WHY replace functions: torch has no hook that sees collectives on every backend,
    # and this library calls them by their full names for this reason, too.
    for name, call in originals.items():
        setattr(torch_dist, name, recorder.wrap(name, call))
    try:
        yield recorder
    finally:
        for name, call in originals.items():
            setattr(torch_dist, name, call)
        recorder.close()
