"""Proofs for the cost model: its arithmetic by hand, its fits on known truths."""

from __future__ import annotations

import functools
import itertools
import random

import pytest

from distrinews.bench.costmodel import calibration, step_model
from distrinews.bench.costmodel.step_model import Compute, Link

LINK = Link(alpha_s=1e-4, bytes_per_s=1e9)
COMPUTE = Compute(0.01, 1e-4, 1e-7, backward_share=2 / 3, optimizer_s=0.03)


@pytest.mark.parametrize(
    ("world_size", "seconds"),
    # 2 (W - 1) messages of 8 MB / W at 1 GB/s and 0.1 ms each, by hand.
    [(1, 0.0), (2, 2 * (1e-4 + 4e-3)), (4, 6 * (1e-4 + 2e-3)), (8, 14 * (1e-4 + 1e-3))],
)
def test_a_ring_takes_2_w_minus_1_messages_of_one_wth(
    world_size: int, seconds: float
) -> None:
    took = step_model.ring_s(8e6, world_size=world_size, link=LINK)
    assert took == pytest.approx(seconds)


def test_buckets_are_those_of_torchs_ddp() -> None:
    """Minilm's shape in small: the embedding comes last and alone fills a bucket."""
    sizes = [50, 10, 10, 10, 10, 4]
    buckets = step_model.buckets_of(sizes, first_bytes=2, bucket_bytes=15)
    assert [size for _, size in buckets] == [4, 20, 20, 50]
    assert [round(ready * 94) for ready, _ in buckets] == [4, 24, 44, 94]
    assert sum(size for _, size in buckets) == sum(sizes)


def test_hidden_and_exposed_by_hand() -> None:
    """Backward takes 3 s; four buckets of 1 s each are ready after 1, 2, 2 and 3 s."""
    buckets = [(1 / 3, 1), (2 / 3, 1), (2 / 3, 1), (1.0, 1)]
    prediction = step_model.predict(
        Compute(0.0, 1.0, 0.0, backward_share=0.75, optimizer_s=0.5),
        Link(alpha_s=0.0, bytes_per_s=1.0, contention=0.5),
        buckets=buckets,
        world_size=2,
        rows=1,
        tokens=4,
    )
    # They arrive at 2, 3, 4 and 5: two of the four seconds lie behind backward's end.
    assert (prediction.forward_s, prediction.backward_s) == (1.0, 3.0)
    assert (prediction.hidden_s, prediction.exposed_s) == (2.0, 2.0)
    assert prediction.contention_s == 1.0
    assert prediction.step_s == 1.0 + 3.0 + 2.0 + 1.0 + 0.5


@pytest.mark.parametrize("preset", ["minilm", "distilbert"])
def test_a_step_counts_the_last_bucket_once(preset: str) -> None:
    """The page's formulas against the simulation, over slow and fast links."""
    buckets = calibration.ddp_buckets(preset, calibration.DEFAULT_BUCKET_MIB)
    twice_is_wrong = 0
    for world_size, gbit in itertools.product((2, 4, 8, 64), (1, 5, 10, 25, 100)):
        link = Link(alpha_s=5e-5, bytes_per_s=gbit * 1e9 / 8)
        step = functools.partial(
            step_model.predict,
            Compute(0.5 / world_size, 0.0, 0.0, backward_share=0.65, optimizer_s=0.03),
            link,
            world_size=world_size,
            rows=16,
            tokens=50,
        )
        told = step(buckets=buckets)
        travel = [
            step_model.ring_s(size, world_size=world_size, link=link)
            for _, size in buckets
        ]
        ready = [part * told.backward_s for part, _ in buckets]
        outside = told.forward_s + told.optimizer_s
        # Of every bucket: when it is full, then its way and that of all behind it.
        exact = max(ready[i] + sum(travel[i:]) for i in range(len(buckets)))
        assert told.step_s == pytest.approx(outside + exact)
        # The first formula: never too long, and exact for two buckets.
        first = max(told.backward_s, ready[0] + sum(travel[:-1])) + travel[-1]
        assert outside + first <= told.step_s * (1 + 1e-9)
        two = step(buckets=[buckets[0], buckets[-1]])
        first = max(told.backward_s, ready[0] + travel[0]) + travel[-1]
        assert two.step_s == pytest.approx(outside + first)
        # Negative control: with all of communication in the maximum the last bucket
        # counts twice, as soon as communication is longer than backward.
        twice = max(told.backward_s, sum(travel)) + travel[-1]
        twice_is_wrong += outside + twice > 1.2 * told.step_s
    assert twice_is_wrong >= 8  # of the 20 links


def test_alone_nothing_travels() -> None:
    prediction = step_model.predict(
        COMPUTE, LINK, buckets=[(1.0, 10**9)], world_size=1, rows=16, tokens=50
    )
    assert prediction.hidden_s == prediction.exposed_s == prediction.contention_s == 0


def test_one_bucket_hides_nothing_and_many_hide_more() -> None:
    """Negative control to overlap: with one bucket all of it is exposed."""
    sizes = [10**7] * 9
    exposed = [
        step_model.predict(
            COMPUTE,
            LINK,
            buckets=step_model.buckets_of(sizes, first_bytes=size, bucket_bytes=size),
            world_size=2,
            rows=16,
            tokens=50,
        ).exposed_s
        for size in (10**9, 3 * 10**7, 10**7)
    ]
    assert exposed[0] == pytest.approx(
        step_model.ring_s(9 * 10**7, world_size=2, link=LINK)
    )
    assert exposed[0] > exposed[1] > exposed[2] > 0


def test_fits_find_the_truth_again_through_noise_of_two_percent() -> None:
    rng = random.Random(0)

    def noisy(value: float) -> float:
        return value * rng.uniform(0.98, 1.02)

    sizes = [4**power for power in range(4, 14)]
    times = [noisy(step_model.ring_s(n, world_size=2, link=LINK)) for n in sizes]
    link = calibration.fit_link(sizes, times, world_size=2)
    assert link.alpha_s == pytest.approx(LINK.alpha_s, rel=0.05)
    assert link.bytes_per_s == pytest.approx(LINK.bytes_per_s, rel=0.05)
    shapes = [(rows, tokens) for rows in (2, 8, 16, 32) for tokens in (16, 50, 128)]
    times = [noisy(COMPUTE.forward_backward_s(*shape)) for shape in shapes]
    compute = calibration.fit_compute(
        shapes, times, backward_share=2 / 3, optimizer_s=0.03
    )
    for shape in [(4, 30), (24, 100), (64, 128)]:  # held out
        assert compute.forward_backward_s(*shape) == pytest.approx(
            COMPUTE.forward_backward_s(*shape), rel=0.05
        )


def test_a_fit_never_predicts_negative_time() -> None:
    """Times that fall with size, as noise gives them, are no negative rate."""
    link = calibration.fit_link([1e3, 1e6], [2e-3, 1e-3], world_size=2)
    assert link.alpha_s > 0
    assert link.bytes_per_s > 0
