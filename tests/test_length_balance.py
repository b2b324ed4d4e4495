"""Proofs for the comparison of batches: both ways do the same work."""

from __future__ import annotations

import pathlib

import pytest
import torch
from helpers.command import call

from distrinews import dist, sharding, training
from distrinews.bench import length_balance, results
from distrinews.config.settings import DistributedSettings
from distrinews.training import corpus

ALONE = dist.Ranks(0, 0, 1, torch.device("cpu"))
FEW = DistributedSettings(
    preset="tiny", train_rows=340, validation_rows=20, test_rows=20
)


def rows_of_both(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The batches that were trained, in order; warm-up included."""
    splits = corpus.load(FEW)
    seen: list[list[int]] = []
    read = corpus.Splits.batch

    def read_and_record(
        self: corpus.Splits, indices: list[int], *, device: torch.device
    ) -> object:
        seen.append(list(indices))
        return read(self, indices, device=device)

    monkeypatch.setattr(corpus.Splits, "batch", read_and_record)
    samplers = length_balance.build_samplers(splits, ALONE, settings=FEW)
    length_balance.measure(samplers, splits, ALONE, settings=FEW)
    return seen


def test_both_ways_train_whole_epochs_step_by_step_in_turn(
    own_cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = rows_of_both(monkeypatch)[2:]
    splits = corpus.load(FEW)
    plans = {
        variant: list(
            training.build_sampler(
                splits.train_lengths,
                ALONE,
                settings=FEW.model_copy(update={"batches": variant}),
            )
        )
        for variant in ("shuffled", "length")
    }
    assert len(plans["shuffled"]) == len(plans["length"]) == 10
    expected = []
    for step in range(10):
        pair = [plans["shuffled"][step], plans["length"][step]]
        expected += pair if step % 2 == 0 else pair[::-1]
    assert seen == expected
    # Negative control: an epoch of one after the other is another order.
    assert seen != plans["shuffled"] + plans["length"]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_every_combination_is_measured_and_only_the_sampler_differs(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "b.json"
    words = ("--preset", "tiny", "--num-rounds", 1, "--train-rows", 340)
    more = ("--validation-rows", 20, "--test-rows", 20, "--json", path)
    done = call(
        *("-m", "distrinews", "benchmark", "balance"), *words, *more, folder=tmp_path
    )
    figures = results.read(path, kind="balance")["figures"]
    assert set(figures) == {
        f"{a}_{n}" for a in length_balance.AVERAGING_METHODS for n in (16, 32)
    }
    for row in figures.values():
        slow, fast = row["batches"]["shuffled"], row["batches"]["length"]
        assert slow["num_rows"] == fast["num_rows"] == 320
        ratio = fast["samples_per_s"] / slow["samples_per_s"]
        assert row["ratio"] == pytest.approx(ratio, abs=1e-3)
        assert fast["padding_share"] < slow["padding_share"]
    same = [
        figures[f"{a}_16"]["batches"]["length"]
        for a in length_balance.AVERAGING_METHODS
    ]
    assert same[0]["padding_share"] == same[1]["padding_share"]
    assert done.stdout.strip() == length_balance.table(figures).strip()


def test_sorting_nothing_saves_no_padding() -> None:
    """Negative control: what saves padding is the sorting, not the class."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(5, 100, (3200,), generator=generator).tolist()
    shares = {}
    for pool in (1, 50):
        sampler = sharding.LengthBalancedBatchSampler(
            lengths, ALONE, global_batch_size=32, seed=0, pool_batches=pool
        )
        plan = [batch.tolist() for batch in sampler.plan()]
        shares[pool] = sharding.padding_share(lengths, plan)
    assert shares[50] < 0.05 < 0.4 < shares[1]
