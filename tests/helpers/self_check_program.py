"""What ranks do to find the answers to the chapters' self-checks."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as torch_dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist, sync, training
from distrinews.dist import Ranks
from distrinews.sync import ring

Answer = float | str


def find(ranks: Ranks, ids: tuple[str, ...], codes: dict[str, str], out: Path) -> None:
    """Answer some questions on all ranks; rank 0 writes what it found."""
    answers: dict[str, Any] = {}
    for name in ids:
        answers[name] = (
            printed(codes[name], ranks) if name in codes else BY[name](ranks)
        )
    if ranks.is_main:
        out.write_text(json.dumps(answers), encoding="utf-8")


def printed(code: str, ranks: Ranks | None = None) -> str:
    """Run a question's code as it stands; return what this process prints."""
    names: dict[str, Any] = {}
    if ranks is not None:
        names = {"rank": ranks.rank, "torch": torch, "torch_dist": torch_dist, "nn": nn}
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(code, names)
    return output.getvalue().strip()


def ring_megabytes(ranks: Ranks) -> float:
    values = torch.ones(2_000_000)  # 8 MB
    return ring.ring_all_reduce(values).sent_bytes / 1e6


def accuracy_of_all(ranks: Ranks) -> float:
    right, rows = ((30, 40), (10, 10))[ranks.rank]
    return 100 * dist.sum_over_ranks(right) / dist.sum_over_ranks(rows)


def ddp_gradient(ranks: Ranks) -> float:
    layer = nn.Linear(1, 1, bias=False)
    replica = DistributedDataParallel(layer)
    replica(torch.tensor([[(2.0, 6.0)[ranks.rank]]])).sum().backward()
    assert layer.weight.grad is not None
    return layer.weight.grad.item()


def factor_on_rank_1(ranks: Ranks) -> float:
    """The library's factor, if DDP then gives the whole batch's gradient; else NaN."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 1)
    rows = torch.randn(8, 3)
    whole = copy.deepcopy(layer)
    whole(rows).square().mean().backward()
    own = rows[:6] if ranks.is_main else rows[6:]
    factor = sync.uneven_loss_weight(num_rows=len(own))
    # WHY a name: a wrapper that nobody holds is gone before backward, its hooks, too.
    replica = DistributedDataParallel(layer)
    (replica(own).square().mean() * factor).backward()
    assert layer.weight.grad is not None
    assert whole.weight.grad is not None
    factors = dist.gather_objects(factor)
    right = torch.allclose(layer.weight.grad, whole.weight.grad, atol=1e-6)
    return factors[1] if right else float("nan")


def where_rank_0_waits(ranks: Ranks) -> str:
    # Negative control: late before its forward, rank 1 keeps rank 0 waiting in the
    # broadcast of the buffer that forward begins with.
    assert _where_rank_0_waits(ranks, late_before_forward=True) == "a"
    return _where_rank_0_waits(ranks, late_before_forward=False)


class _Late(nn.Module):
    """A layer, a buffer as large as our model's, and a forward that may take longer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("position_ids", torch.arange(512))
        self.late_s = 0.0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        time.sleep(self.late_s)
        outputs: torch.Tensor = self.layer(inputs)
        return outputs


def _where_rank_0_waits(ranks: Ranks, *, late_before_forward: bool) -> str:
    net = _Late()
    replica = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(replica.parameters(), lr=0.1)
    inputs = torch.ones(2, 4)
    for number in range(3):  # the first two build buckets and are not timed
        at_s = [time.perf_counter()]
        late = number == 2 and not ranks.is_main
        time.sleep(0.5 * (late and late_before_forward))
        net.late_s = 0.5 * (late and not late_before_forward)
        loss = replica(inputs).sum()
        at_s.append(time.perf_counter())
        loss.backward()
        at_s.append(time.perf_counter())
        optimizer.step()
        at_s.append(time.perf_counter())
    took_s = [b - a for a, b in zip(at_s, at_s[1:], strict=False)]
    # Rank 0's answer: rank 1 is the one that is late.
    return dist.broadcast_object("abc"[took_s.index(max(took_s))])


def what_two_seeds_make_equal(ranks: Ranks) -> str:
    training.seed_weights(7)
    weights = nn.Linear(4, 4).weight.tolist()
    training.seed_dropout(7, ranks=ranks)
    mask = (torch.rand(64) < 0.5).tolist()
    by_rank = dist.gather_objects((weights, mask))
    equal = [first == second for first, second in zip(*by_rank, strict=True)]
    return {(1, 1): "a", (1, 0): "b", (0, 1): "c", (0, 0): "d"}[equal[0], equal[1]]


def counted_step(net: nn.Module, inputs: torch.Tensor) -> tuple[int, int, int]:
    """Rows of the forward, weights that the optimizer changes, rows of the backward."""
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    outputs = net(inputs)
    gradients: list[torch.Tensor] = []
    outputs.register_hook(gradients.append)
    before = torch.cat([p.detach().flatten().clone() for p in net.parameters()])
    outputs.sum().backward()
    optimizer.step()
    after = torch.cat([p.detach().flatten() for p in net.parameters()])
    return len(outputs), int((after != before).sum()), len(gradients[0])


def what_stays_whole(ranks: Ranks) -> str:
    net = nn.Linear(5, 3)
    inputs = torch.rand(32, 5) + 0.1  # no gradient is 0
    alone = counted_step(copy.deepcopy(net), inputs)
    share = inputs.chunk(ranks.world_size)[ranks.rank]
    shared = counted_step(DistributedDataParallel(net), share)
    [whole] = [n for n in range(3) if alone[n] == shared[n]]  # one, and no more
    return "abc"[whole]


def one_sided(ranks: Ranks, which: str) -> None:
    """What stands behind `if rank == 0`, and what rank 1 does meanwhile."""
    value = torch.ones(1)
    if ranks.is_main:
        {
            "a": lambda: torch_dist.all_reduce(value),
            "b": lambda: torch_dist.send(value, dst=1),
            "c": lambda: torch_dist.barrier(),
        }[which]()
    elif which == "b":
        torch_dist.recv(value, src=0)
    else:
        time.sleep(4)  # alive, and never calls: rank 0 must run into its timeout


BY: dict[str, Callable[[Ranks], Answer]] = {
    "02_ring_bytes": ring_megabytes,
    "03_accuracy_of_all": accuracy_of_all,
    "04_ddp_averages": ddp_gradient,
    "04_weight_of_the_loss": factor_on_rank_1,
    "04_who_waits_where": where_rank_0_waits,
    "05_two_seeds": what_two_seeds_make_equal,
    "06_what_does_not_shrink": what_stays_whole,
}


def on_ranks(
    ids: Iterable[str], *, codes: dict[str, str], num_ranks: int, folder: Path
) -> dict[str, Answer]:
    """Start ranks that answer these questions."""
    out = folder / f"answers-of-{num_ranks}.json"
    dist.launch(find, tuple(ids), codes, out, num_ranks=num_ranks, timeout_s=30)
    answers: dict[str, Answer] = json.loads(out.read_text(encoding="utf-8"))
    return answers
