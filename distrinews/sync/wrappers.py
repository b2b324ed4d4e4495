"""Wrap a model so that `backward()` averages: torch's DDP, and our base class.

Not here: our own wrappers (`distrinews.sync.overlap`, `distrinews.sync.shared_memory`,
and the wrong ones in `distrinews.sync.wrong`).

Guide: understand/ddp-inside.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Generator
from typing import Any

import torch
import torch.distributed as torch_dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.errors import MissingGradientError

__all__ = ["HookedModule", "wrap_ddp"]


def wrap_ddp(
    model: nn.Module,
    ranks: dist.Ranks,
    *,
    sync_batch_norm: bool = False,
    gradient_as_bucket_view: bool = True,
    **options: Any,
) -> nn.Module:
    """Move a replica to its rank's device and wrap it with torch's DDP.

    Why: the same line works alone, on CPUs and on GPUs. For accumulation, pass the
    result to `sync.no_sync_unless(is_last, replica=...)`; that also works alone.

    Collective: every rank must call it, with the same architecture.

    Args:
        model: The replica. It is moved, not copied: build the optimizer from its
            parameters, and save and evaluate this object. Rank 0's parameters and
            buffers are copied to all ranks.
        ranks: This process's rank and device.
        sync_batch_norm: Compute BatchNorm's mean and variance over the rows of all
            ranks. On GPUs only: torch has no such layer for CPUs, where the layers stay
            unchanged, with a warning.
        gradient_as_bucket_view: Whether gradients live in DDP's buckets, with no
            second copy.
        **options: Passed on to torch's `DistributedDataParallel`.

    Returns:
        The `DistributedDataParallel`; alone the bare model, which has no other replica.

    Note:
        Cost: a broadcast of the model; then every gradient once per `backward()`, and
        the buffers once per step. Each converted BatchNorm adds a collective to forward
        and to backward.

    Examples:
        >>> alone = dist.Ranks(0, 0, world_size=1, device=torch.device("cpu"))
        >>> wrap_ddp(nn.Linear(2, 1), alone)
        Linear(in_features=2, out_features=1, bias=True)
    """
    model = model.to(ranks.device)
    if ranks.world_size == 1:
        return model
    on_gpu = ranks.device.type == "cuda"
    if sync_batch_norm and on_gpu:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    elif sync_batch_norm and ranks.is_main:
        logging.getLogger(__name__).warning(
            "BatchNorm uses the statistics of each rank's own rows: torch has "
            "SyncBatchNorm for GPUs only."
        )
    return DistributedDataParallel(
        model,
        # A CPU has no device number, and DDP rejects one.
        device_ids=[ranks.device.index] if on_gpu else None,
        gradient_as_bucket_view=gradient_as_bucket_view,
        **options,
    )


class HookedModule(nn.Module):
    """A model that is notified of each gradient in `backward()` as soon as it is ready.

    Calls are passed to the module. A subclass calls `_copy_from_rank_0` and
    `_register_hooks` in its constructor, and overrides the methods that the hooks call:
    `_begin_backward`, `_take_gradient`, `_finish_backward`.

    Args:
        module: The replica.

    Attributes:
        module: The bare model. Save and evaluate that one.

    Examples:
        >>> replica = HookedModule(nn.Linear(2, 1))
        >>> replica(torch.ones(4, 2)).shape
        torch.Size([4, 1])
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._sync = True
        self._in_backward = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module."""
        return self.module(*args, **kwargs)

    @contextlib.contextmanager
    def no_sync(self) -> Generator[None, None, None]:
        """Accumulate gradients locally: no `backward()` inside communicates.

        Yields:
            None.
        """
        before, self._sync = self._sync, False
        try:
            yield
        finally:
            self._sync = before

    def _copy_from_rank_0(self) -> None:
        """Make the replicas equal; averaging then keeps them equal."""
        for tensor in [*self.module.parameters(), *self.module.buffers()]:
            torch_dist.broadcast(tensor.detach(), src=0)

    def _register_hooks(self) -> None:
        """Hook every trainable parameter; alone, hook none."""
        if dist.current().world_size > 1:
            for name, param in self.module.named_parameters():
                if param.requires_grad:
                    self._register_hook(name, param)

    def _register_hook(self, name: str, param: nn.Parameter) -> None:
        def on_gradient(_: torch.Tensor) -> None:
            if not self._sync:
                return
            if not self._in_backward:
                self._in_backward = True
                self._begin_backward()
                # Runs when this backward has computed everything. torch's DDP and FSDP
                # use it too; it has no public name.
                engine = torch.autograd.Variable._execution_engine
                engine.queue_callback(on_end)
            self._take_gradient(name, param)

        def on_end() -> None:
            self._in_backward = False
            self._finish_backward()

        # This kind of hook runs after the gradient was added to those of earlier
        # micro-batches. `register_hook` runs before that, and sees only the newest.
        param.register_post_accumulate_grad_hook(on_gradient)

    def _begin_backward(self) -> None:
        """At the first gradient of a backward."""
        raise NotImplementedError

    def _take_gradient(self, name: str, param: nn.Parameter) -> None:
        """At each gradient: `param.grad` is complete."""
        raise NotImplementedError

    def _finish_backward(self) -> None:
        """After the last gradient."""
        raise NotImplementedError

    def _raise_unused(self, unused: Collection[str]) -> None:
        """Raise on every rank if a rank's loss did not use a parameter. Collective."""
        names = [name for name, _ in self.module.named_parameters() if name in unused]
        problem = MissingGradientError(
            f"rank {dist.current().rank}: backward() gave no gradient to "
            f"{len(names)} of the trainable parameters: {names}.",
            why="the loss does not depend on them here; on another rank it may, and "
            "the mean would be wrong.",
            fix="use them in the loss on every rank, or freeze them with "
            "requires_grad_(False) before wrapping the model.",
            page="missing-gradient",
        )
        dist.vote_then_raise(problem if names else None)
