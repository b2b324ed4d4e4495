"""Proofs for the pages on processes, data, batches, randomness, metrics, launchers."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numbers_concepts2
import pytest
import torch
from helpers.site_tables import cells
from sklearn.metrics import accuracy_score, f1_score
from torch.distributed.elastic.agent.server import local_elastic_agent

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "site_docs" / "understand"


def test_a_padded_evaluation_counts_the_next_multiple_of_the_ranks() -> None:
    rows = cells(numbers_concepts2.evaluation_padding())
    assert len(rows) == 7
    for ranks, counted, twice, off, ours, _ in rows:
        extra = -7600 % int(ranks)
        assert int(counted.replace(",", "")) == 7600 + extra
        assert int(twice) == extra
        assert float(off.split()[0]) == pytest.approx(
            100 * extra / (7600 + extra), abs=0.0005
        )
        assert ours == "7,600"


def test_a_mean_of_figures_is_told_apart_from_the_figure_of_all_rows() -> None:
    # The rows behind the picture: true class, said class; the last two are rank 1's.
    labels, predicted = [0, 0, 0, 1, 0, 1], [0, 0, 0, 1, 0, 0]
    parts = (slice(0, 4), slice(4, 6), slice(0, 6))
    accuracy = [accuracy_score(labels[part], predicted[part]) for part in parts]
    f1 = [
        f1_score(labels[part], predicted[part], average="macro", zero_division=0)
        for part in parts
    ]
    for row, want in zip(
        cells(numbers_concepts2.metrics_two_ways()),
        (accuracy, f1),
        strict=True,
    ):
        first, second, mean, total = map(float, row[1:])
        assert [first, second, total] == pytest.approx(want, abs=0.0005)
        assert mean == pytest.approx((want[0] + want[1]) / 2, abs=0.0005)
        assert abs(mean - total) > 0.05  # else the page would show no difference


def test_a_global_batch_is_the_product_and_the_rates_follow_their_rule() -> None:
    for ranks, micro_batches, rows, step, steps in cells(
        numbers_concepts2.same_global_batch()
    ):
        assert int(ranks) * int(micro_batches) * int(rows) == int(step) == 32
        assert steps == "3,750"
    for size, steps, *rates in cells(numbers_concepts2.batches_and_rates()):
        growth = int(size.replace(",", "")) / 32
        assert int(steps.replace(",", "")) == int(120_000 / 32 / growth)
        for base, linear, root in ((2e-4, *rates[:2]), (5e-5, *rates[2:])):
            assert float(linear) == pytest.approx(base * growth, rel=0.03)
            assert float(root) == pytest.approx(base * growth**0.5, rel=0.03)


def test_shards_are_padded_up_or_cut_down_to_a_multiple_of_the_ranks() -> None:
    for ranks, each, repeated, dropped, steps, rest in cells(
        numbers_concepts2.shard_sizes()
    ):
        assert int(each.replace(",", "")) == -(-120_000 // int(ranks))
        assert int(repeated) == -120_000 % int(ranks)
        assert int(dropped) == 120_000 % int(ranks)
        count, size = (int(n.replace(",", "")) for n in steps.split(" of "))
        assert count * size + int(rest) == 120_000
        assert size % int(ranks) == 0


def test_computing_the_seeds_leaves_the_global_generator_as_it_was() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    table = cells(numbers_concepts2.seeds_of_ranks())
    assert torch.equal(torch.get_rng_state(), before)
    assert [row[3] for row in table] == ["equal", "different", "equal", "equal"]


def test_a_replica_is_four_times_its_weights_in_every_process() -> None:
    for _, *cells_of_row in cells(numbers_concepts2.replica_memory()):
        weights, grads, adamw, alone, two, four = (
            int(text.removesuffix(" MB").replace(",", "")) for text in cells_of_row
        )
        assert weights == grads
        for got, factor in ((adamw, 2), (alone, 4), (two, 8), (four, 16)):
            assert got == pytest.approx(factor * weights, abs=factor)


def test_what_travels_grows_towards_twice_the_tensor() -> None:
    rows = cells(numbers_concepts2.collective_costs())
    assert [row[1] for row in rows[:2]] == ["8", str(8 * 4 * 4)]
    for _, size, by_2, by_8, _ in rows:
        sizes = [float(text.removesuffix(" MB")) for text in (size, by_2, by_8)]
        assert sizes[1] == sizes[0]  # 2 (2 - 1) / 2
        assert sizes[2] == pytest.approx(1.75 * sizes[0], abs=1)  # 2 (8 - 1) / 8
    assert cells(numbers_concepts2.metric_bytes())[0][1] == str(128 + 8 + 240)


def test_every_variable_that_the_page_names_is_one_that_torchrun_sets() -> None:
    text = (PAGES / "launchers.md").read_text(encoding="utf-8")
    table = text[text.index("| variable |") : text.index("`init_process_group()`")]
    named = set(re.findall(r"`([A-Z_]{4,})`", table))
    assert len(named) == 13
    source = inspect.getsource(local_elastic_agent)
    assert {name for name in named if f'"{name}"' not in source} <= {"LOCAL_RANK"}
    # That one is set by a method of the agent's base class.
    assert "LOCAL_RANK" in inspect.getsource(
        local_elastic_agent.LocalElasticAgent._set_local_rank_env
    )
