"""Proofs for distrinews.sync.ring: the sum, the same bits on all ranks, the cost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as torch_dist

from distrinews import dist
from distrinews.sync import ring

pytestmark = pytest.mark.timeout(120)
# Fewer elements than ranks, one each, a rest, and some that are many packets long.
SIZES = [0, 1, 3, 4, 10, 1_000_003]


def own(rank: int, size: int) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(rank))


def add_up(ranks: dist.Ranks, out: Path) -> None:
    results = {}
    for size in SIZES:
        tensor = own(ranks.rank, size)
        cost = ring.ring_all_reduce(tensor)
        results[size] = (tensor, cost.steps, cost.sent_bytes)
    grid = torch.full((2, 3), ranks.rank + 1, dtype=torch.int64)
    ring.ring_all_reduce(grid)
    results["grid"] = grid
    reduced_by_torch = own(ranks.rank, 10)
    torch_dist.all_reduce(reduced_by_torch)
    results["torch"] = reduced_by_torch
    torch.save(results, out / f"{ranks.rank}.pt")


@pytest.mark.parametrize("num_ranks", [2, pytest.param(4, marks=pytest.mark.slow), 3])
def test_the_ring_adds_up_in_2_w_minus_1_steps_of_one_wth_each(
    num_ranks: int, tmp_path: Path
) -> None:
    dist.launch(add_up, tmp_path, num_ranks=num_ranks, timeout_s=60)
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(num_ranks)]
    for size in SIZES:
        want = sum(own(rank, size).double() for rank in range(num_ranks))
        for tensor, steps, sent_bytes in (result[size] for result in results):
            torch.testing.assert_close(tensor.double(), want, rtol=0, atol=1e-5)
            assert torch.equal(tensor, results[0][size][0])
            assert steps == 2 * (num_ranks - 1)
            # A chunk is n / W elements, rounded up or down.
            share = steps * 4 * (size / num_ranks)
            assert abs(sent_bytes - share) <= steps * 4
        total = sum(result[size][2] for result in results)
        assert total == 2 * (num_ranks - 1) * 4 * size
    for result in results:
        assert result["grid"].tolist() == [[num_ranks * (num_ranks + 1) // 2] * 3] * 2
        torch.testing.assert_close(result["torch"], result[10][0])


def test_a_view_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="contiguous"):
        ring.ring_all_reduce(torch.zeros(3, 2).T)
