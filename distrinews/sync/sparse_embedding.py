"""Average only the rows of an embedding's gradient that some rank's batch touched.

A vocabulary has 30,522 rows, a step of 32 headlines touches about a thousand of them.
The gradient of all other rows is zero on every rank, and so is its mean. Yet DDP sends
the whole table: more than half of all bytes for `minilm`. And it sends it last, because
backward reaches the embedding last, so no computing is left to hide it.

With two ranks the gradients are those of torch's DDP bit for bit, for a fraction of the
bytes.

Not here: sharing memory instead of sending (`distrinews.sync.shared_memory`).

Letters used for shapes: V = rows of the table, D = its width, U = rows that the batches
of all ranks touch, W = number of ranks.
Guide: understand/faster-than-ddp.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
import torch.distributed as torch_dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.dist import process_group
from distrinews.errors import SetupError
from distrinews.sync.wrappers import wrap_ddp

__all__ = ["MIN_ROWS", "RowGradient", "distributed_data_parallel", "large_embeddings"]

# Smaller tables are not worth it: a batch touches most of their rows.
MIN_ROWS = 4096


def large_embeddings(
    net: nn.Module, *, min_rows: int = MIN_ROWS
) -> dict[str, nn.Embedding]:
    """Find the embeddings whose gradients are almost all zeros.

    Args:
        net: The model.
        min_rows: Ignore tables with fewer rows.

    Returns:
        Name of the weight -> the table, for tables that are trained and whose weight no
        other module shares: an output layer would give every row a gradient.

    Examples:
        >>> net = nn.Sequential(nn.Embedding(5000, 2), nn.Embedding(5, 2))
        >>> list(large_embeddings(net))
        ['0.weight']
    """
    uses = Counter(id(p) for _, p in net.named_parameters(remove_duplicate=False))
    return {
        f"{name}.weight".lstrip("."): module
        for name, module in net.named_modules()
        if isinstance(module, nn.Embedding)
        and module.num_embeddings >= min_rows
        and module.weight.requires_grad
        and uses[id(module.weight)] == 1
    }


class RowGradient:
    """A dense gradient [V, D] that is kept, with only its touched rows rewritten.

    Optimizers need a dense gradient: AdamW also moves rows whose gradient is zero. A
    new tensor per step would cost writing V x D zeros.

    Args:
        table: Switched to sparse gradients: (row, D numbers) for each token.

    Attributes:
        dense: The gradient that the optimizer sees.
    """

    def __init__(self, table: nn.Embedding) -> None:
        table.sparse = True
        self.weight = table.weight
        self.dense = torch.zeros_like(table.weight)
        self._padding = table.padding_idx
        self._touched = torch.zeros(0, dtype=torch.long, device=table.weight.device)
        self._untouched = -1

    def local_rows(self, *, world_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows that this rank's backward left in the weight's gradient.

        Args:
            world_size: W.

        Returns:
            Row numbers, each once, ascending, and their sums divided by W. The sums are
            added up in the order of the tokens, as in a dense gradient.

        Raises:
            SetupError: The table is used for more than looking up rows. On the ranks
                where that happened.
        """
        gradient = self.weight.grad
        if gradient is not None and gradient.is_sparse:
            # Not coalesce(): it adds a word's gradients in another order than a dense
            # gradient does, and the last bit differs (torch 2.13).
            rows, positions = torch.unique(gradient._indices()[0], return_inverse=True)
            sums = self.dense.new_zeros(len(rows), gradient.shape[1])
            sums.index_add_(0, positions, gradient._values())
            # Divide before the sum over ranks, as DDP does: the sum of W gradients may
            # overflow where their mean does not.
            return rows, sums.mul_(1 / world_size)
        if gradient is None:
            return self._touched[:0], self.dense[:0]
        if gradient is not self.dense:
            raise SetupError(
                "the gradient of an embedding is not sparse.",
                why="its weight is used elsewhere too, such as in F.linear(x, weight), "
                "and then every row has a gradient.",
                fix="wrap this model with torch's DistributedDataParallel.",
                page="touched-rows",
            )
        # zero_grad(set_to_none=False) kept it, and backward added to it.
        rows = gradient.any(dim=1).nonzero()[:, 0]
        return rows, gradient[rows].mul_(1 / world_size)

    def fill(self, parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Replace the gradient by a sum of rows.

        Args:
            parts: Row numbers, each once per part, and their values; added up in this
                order, so that all ranks round alike.
        """
        touched = torch.cat([rows for rows, _ in parts])
        if self._changed_outside():
            self.dense.zero_()
        else:
            self.dense[self._touched] = 0
            self.dense[touched] = 0
        for rows, values in parts:
            self.dense.index_add_(0, rows, values)
        self._touched = touched
        self._untouched = self._any_untouched_row(touched)
        self.weight.grad = self.dense

    def _changed_outside(self) -> bool:
        # Check, because clipping by a norm that is NaN turns every zero into NaN, and
        # adding a penalty changes all rows. One untouched row shows it.
        return bool(self._untouched >= 0 and self.dense[self._untouched].any())

    def _any_untouched_row(self, touched: torch.Tensor) -> int:
        excluded = {*touched.tolist(), self._padding}
        return next((row for row in range(len(self.dense)) if row not in excluded), -1)


def distributed_data_parallel(net: nn.Module, *, min_rows: int = MIN_ROWS) -> nn.Module:
    """Wrap a model with torch's DDP, and send only the touched rows of embeddings.

    Collective: every rank must call it, with the same architecture.

    Args:
        net: The replica, on its device.
        min_rows: Tables with fewer rows are sent whole, as usual.

    Returns:
        As `sync.wrap_ddp`. `no_sync` works as usual; with accumulation the sums are
        added in another order than in DDP and are equal up to rounding.

    Raises:
        SetupError: From `backward()`, if a table is used for more than looking up rows.
            On the ranks where that happened.

    Note:
        Cost per table, beyond DDP's: V bytes during forward, hidden behind it, to agree
        on the rows; then 4 U D bytes instead of 4 V D. On a GPU Python waits several
        times per table in backward, because it needs U. If a rank's loss does not use
        the table, the others wait until the timeout.
    """
    tables = large_embeddings(net, min_rows=min_rows)
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(net, tables)
    replica = wrap_ddp(net, dist.current())
    if not isinstance(replica, DistributedDataParallel):
        return replica
    for table in tables.values():
        torch_dist.broadcast(table.weight.detach(), src=0)
        _TouchedRowsReducer(table, replica)
    return replica


class _TouchedRowsReducer:
    """Agree on the rows in forward, average them in backward."""

    def __init__(self, table: nn.Embedding, replica: DistributedDataParallel) -> None:
        self._gradient = RowGradient(table)
        self._replica = replica
        # A separate group, because its calls come between DDP's and must not be matched
        # with them.
        self._group = process_group.new_group()
        weight = table.weight
        self._mask = torch.zeros(len(weight), dtype=torch.uint8, device=weight.device)
        self._mask_reduced: torch_dist.Work | None = None
        table.register_forward_pre_hook(self._before_forward)
        weight.register_post_accumulate_grad_hook(self._after_backward)

    def _before_forward(self, _: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if not torch.is_grad_enabled():
            return
        if self._mask_reduced is not None:
            self._mask_reduced.wait()  # of an earlier forward
        self._mask[args[0].flatten()] = 1
        if self._replica.require_backward_grad_sync:
            self._mask_reduced = torch_dist.all_reduce(
                self._mask,
                op=torch_dist.ReduceOp.MAX,
                group=self._group,
                async_op=True,
            )

    def _after_backward(self, _: torch.Tensor) -> None:
        if not self._replica.require_backward_grad_sync or self._mask_reduced is None:
            return
        local_rows, values = self._gradient.local_rows(
            world_size=dist.current().world_size
        )
        self._mask_reduced.wait()
        self._mask_reduced = None
        union = self._mask.nonzero()[:, 0]  # [U], the same on every rank
        sums = values.new_zeros(len(union), values.shape[1])
        sums[torch.searchsorted(union, local_rows)] = values
        torch_dist.all_reduce(sums, group=self._group)
        self._mask.zero_()
        self._gradient.fill([(union, sums)])
