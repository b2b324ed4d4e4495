"""Every number that the interview's cards say, computed.

Promise: each is a size of our models, a result of the cost model, or stands in a
committed file of measurements; who changes one of them changes the cards. What is
predicted or assumed is called so in the number itself or in the card's sentence.

Not here: the cards (`distrinews.course.interview_cards`). They read a file that
`site_docs/_tools/interview_pages.py` writes from this, so that no card needs torch.

Letters used: W = number of ranks.
Guide: interview/index.
"""

from __future__ import annotations

import functools
from typing import Any

import headlines
import records
import torch
from number_tables import MODELS, TEST_ROWS, TRAIN_ROWS, between, gradient_bytes, mb

from distrinews.bench import averaging as averaging_bench
from distrinews.bench import grad_sync, length_balance, trace_overhead
from distrinews.bench import scaling as scaling_bench
from distrinews.bench.costmodel import calibration, predictions, published, step_model
from distrinews.bench.costmodel.step_model import Link
from distrinews.config.settings import TrainSettings
from distrinews.data.labels import LABEL_NAMES
from distrinews.metrics import ClassificationMetrics
from distrinews.model import sizes
from distrinews.training import plan

__all__ = ["GPU_HOURS_PER_FAILURE", "LARGE_MODEL", "ROWS_PER_RANK", "figures"]

LARGE_MODEL = 7e9  # parameters of a model to compare with
# What `benchmark predict` chooses by default, and so the committed prediction.
ROWS_PER_RANK = 16
TOKENS = 53
A100 = "a100_efa"
# What others met: 419 unexpected interruptions in 54 days on 16,384 H100.
# Source: The Llama 3 Herd of Models, 2024, section 3.3.4.
GPU_HOURS_PER_FAILURE = 54 * 24 * 16_384 / 419


def figures() -> dict[str, str]:
    """Compute all numbers. Needs a checkout: the measurements lie beside its site.

    Returns:
        Name -> number with its unit, as it is to be said.

    Raises:
        FileNotFoundError: There is no checkout.
    """
    result = _traffic() | _memory() | _rows() | _measured() | _predicted() | _failures()
    for model in MODELS:
        result |= {f"{model}_{name}": text for name, text in _model(model).items()}
    return dict(sorted(result.items()))


def _model(model: str) -> dict[str, str]:
    grads = sizes.gradient_bytes(model)
    buckets = calibration.ddp_buckets(model, calibration.DEFAULT_BUCKET_MIB)
    total, last = sum(grads), buckets[-1][1]
    return {
        "parameters": f"{total / 4e6:.1f} million",
        "gradients": mb(total),
        "tensors": str(len(grads)),
        "small_tensors": str(sum(n <= 4 * 3072 for n in grads)),
        "embedding": mb(grads[0]),
        "embedding_share": f"{grads[0] / total:.0%}",
        "buckets": str(len(buckets)),
        "buckets_of_four": str(4 * len(buckets)),
        "first_bucket": f"{buckets[0][1] / 1e6:.1f} MB",
        "last_bucket": mb(last),
        "last_share": f"{last / total:.0%}",
        "state": mb(4 * total),  # weight, gradient, two moments
        "optimizer": mb(2 * total),
        "checkpoint": mb(3 * total),
    }


def _traffic() -> dict[str, str]:
    """What a rank sends for the gradients of `distilbert`."""
    total = gradient_bytes("distilbert")
    result = {}
    for ranks in (2, 8, 1024):
        result[f"sent_{ranks}"] = mb(2 * (ranks - 1) / ranks * total)
        result[f"messages_{ranks}"] = f"{2 * (ranks - 1):,}"
    return result | {
        "four_sent_2": mb(4 * total),
        "sharded_sent_8": mb(3 * (8 - 1) / 8 * total),
        "root_receives_8": mb((8 - 1) * total),
        "piece_8": mb(total / 8),
        "thin_bytes": f"{_powersgd_bytes('distilbert', rank=4) / 1e6:.1f} MB",
        "thin_rank": "4",
        "half_bytes": mb(total / 2),
        "tally_bytes": str(ClassificationMetrics(LABEL_NAMES).confusion.nbytes),
        "vote_bytes": str(torch.zeros(1, dtype=torch.int64).nbytes),
        "scores_bytes": f"{TEST_ROWS * 4 * 4 / 1000:.0f} kB",
        "buffer_bytes": f"{sum(b.nbytes for b in _shapes('distilbert').buffers()):,}",
        "norms": str(_count("distilbert", torch.nn.LayerNorm)),
        "batch_norms": str(_count("distilbert", torch.nn.BatchNorm1d)),
    }


@functools.cache
def _shapes(model: str) -> torch.nn.Module:
    with torch.device("meta"):  # shapes only: no memory, no time
        net: torch.nn.Module = sizes.build(model)
        return net


def _count(model: str, module_type: type[torch.nn.Module]) -> int:
    return sum(isinstance(module, module_type) for module in _shapes(model).modules())


def _powersgd_bytes(model: str, *, rank: int) -> int:
    """What PowerSGD sends: two thin matrices where that is less than half, else all."""
    total = 0
    for parameter in _shapes(model).parameters():
        rows, columns = parameter.shape[0], parameter.numel() // parameter.shape[0]
        low_rank = rank * (rows + columns)
        total += 4 * (
            low_rank
            if parameter.dim() > 1 and 2 * low_rank < parameter.numel()
            else parameter.numel()
        )
    return total


def _memory() -> dict[str, str]:
    """Bytes a rank of 8, by what is sharded; and a model that is 100 times larger."""
    weights = gradient_bytes("distilbert")
    eighth = weights / 8
    return {
        "zero_1_8": mb(2 * weights + 2 * eighth),
        "zero_2_8": mb(weights + 3 * eighth),
        "zero_3_8": mb(4 * eighth),
        "large_model": f"{LARGE_MODEL / 1e9:.0f} billion",
        "large_state": f"{16 * LARGE_MODEL / 1e9:.0f} GB",
        "random_state": f"{torch.get_rng_state().nbytes:,} bytes",
    }


def _rows() -> dict[str, str]:
    result = {"train_rows": f"{TRAIN_ROWS:,}", "test_rows": f"{TEST_ROWS:,}"}
    result |= {"batch": str(_settings().global_batch_size), "ranks_64": "64"}
    result |= {"rows_a_rank": str(ROWS_PER_RANK), "ranks_1024": "1,024"}
    for size in (32, 64, 1024 * ROWS_PER_RANK):
        steps = plan(_settings(global_batch_size=size), num_rows=TRAIN_ROWS)
        result[f"steps_{size}"] = f"{steps.steps_per_epoch:,}"
    for ranks in (3, 64):
        extra = -TEST_ROWS % ranks
        result[f"padded_{ranks}"] = f"{TEST_ROWS + extra:,}"
        result[f"extra_{ranks}"] = str(extra)
    result["off_64"] = f"{100 * extra / (TEST_ROWS + extra):.2f} percentage points"
    for name, rule in (("", "constant"), ("_linear", "linear"), ("_sqrt", "sqrt")):
        settings = _settings(global_batch_size=64, learning_rate_rule=rule)
        result[f"rate_64{name}"] = f"{settings.peak_learning_rate:.2g}"
    return result


def _settings(**values: Any) -> TrainSettings:
    return TrainSettings.model_validate(values)


def _read(name: str) -> Any:
    record = records.record(name)
    return record.get("figures", record)


def _measured() -> dict[str, str]:
    """On two cores, all of it; the cards say so."""
    scaling, averaging = _read("scaling"), _read("averaging")
    balance, run, fit = _read("balance"), _read("quickstart"), _read("calibration")
    # WHY with torch DDP: that is how chapter 05 averages.
    trace, balanced = _read("trace"), balance["torch_ddp_32"]
    batches = balanced["batches"]
    result = {
        "cpu_speedup": scaling_bench.speedup_text(scaling, "strong"),
        "cpu_weak_speedup": scaling_bench.speedup_text(scaling, "weak"),
        "cpu_one_ms": f"{scaling['one_process']['median_ms']:.0f} ms",
        "cpu_two_ms": f"{scaling['strong']['median_ms']:.0f} ms",
        "cpu_exchange_ms": f"{scaling['strong']['phases_ms']['communication']:.0f} ms",
        "cpu_data_ms": f"{scaling['strong']['phases_ms']['data']:.1f} ms",
        "cpu_spread": f"{scaling['strong']['spread']:.1%}",
        "cpu_rounds": str(scaling["strong"]["num_rounds"]),
        "fast_ratio": averaging_bench.ratio_to_ddp(averaging, "both"),
        "unsynced_ratio": averaging_bench.ratio_to_ddp(averaging, "unsynced"),
        "balance_rows": str(balanced["rows_per_rank"]),
        "balance_ratio": length_balance.ratio_of(balanced),
        "padding_shuffled": f"{batches['shuffled']['padding_share']:.0%}",
        "padding_balanced": f"{batches['length']['padding_share']:.0%}",
        "recording_ratio": trace_overhead.ratio_to_bare(trace),
        "median_error": f"{fit['median_error']:.1%}",
        "worst_error": f"{fit['worst_error']:.1%}",
        "accuracy": f"{run['result']['accuracy']:.1%}",
        # WHY of the capture: the first run's page and the README show that very run.
        "run_s": f"{records.capture(headlines.QUICKSTART)['seconds']:.0f} s",
        "start_s": f"{headlines.captured_phase_s('start'):.1f} s",
        "checkpoint_s": f"{headlines.captured_phase_s('checkpoint'):.1f} s",
        "rank_memory": f"{run['result']['peak_memory_bytes'][0] / 1e9:.1f} GB",
    }
    for variant, row in headlines.ladder().items():
        if variant != grad_sync.BASELINE:
            result[f"{variant}_ratio"] = grad_sync.ratio_to_ddp(variant, row)
    for kind, gap in _read("sync_ladder")["drift"].items():
        name = kind.partition(": ")[2].replace(" ", "_")
        if kind.startswith("wrong"):
            result[f"drift_{name}"] = f"{gap:.3f}"
    return result


def _predicted() -> dict[str, str]:
    """By the cost model; `prediction.json` is what `benchmark predict` writes."""
    prediction = _read("prediction")
    result = {}
    for model in MODELS:
        for name in ("two", "two_weak"):
            row = prediction["t4"][model][name]
            result[f"{model}_{name}_speedup"] = between(row["speedup"], ".2f", " x")
            result[f"{model}_{name}_step"] = between(row["step_ms"], ".0f", " ms")
            result[f"{model}_{name}_exposed"] = between(row["exposed_ms"], ".0f", " ms")
    rows = {
        row["world_size"]: row for row in prediction["many_ranks"]["distilbert"][A100]
    }
    thousand, eight = rows[1024], rows[8]
    result |= {
        "efficiency_1024": between(thousand["efficiency"], ".0%"),
        "tree_efficiency_1024": between(thousand["tree_efficiency"], ".0%"),
        "longest_of_8": f"{eight['longest_tokens']:.0f} tokens",
        "longest_of_one": f"{eight['one_tokens']:.0f} tokens",
    }
    return result | _small_all_reduce() | _bucket_sizes()


def _small_all_reduce() -> dict[str, str]:
    """A number of 8 bytes among 1,024 ranks, over a ring and over a tree."""
    alpha = published.A100_NODES["message_s"]
    result = {}
    for name, all_reduce_s in (
        ("ring", step_model.ring_s),
        ("tree", step_model.tree_s),
    ):
        times = [
            1000 * all_reduce_s(8, world_size=1024, link=Link(alpha_s, 1e10))
            for alpha_s in (alpha.low, alpha.high)
        ]
        result[f"small_{name}_1024"] = between(times, ".1f", " ms")
    return result


def _bucket_sizes() -> dict[str, str]:
    """What stays exposed on two T4, 16 rows each, by the size of the buckets."""
    result = {}
    combinations = list(predictions.low_high_combinations(published.T4_PAIR))
    for name, mib in (("one", 1000), ("default", 25), ("small", 1)):
        exposed = [_exposed_ms(figures, mib) for figures in combinations]
        result[f"bucket_{name}_exposed"] = between(exposed, ".0f", " ms")
    return result


def _exposed_ms(figures: dict[str, float], bucket_mib: int) -> float:
    prediction = step_model.predict(
        predictions.gpu_compute("distilbert", 53, figures),
        Link(
            figures["message_s"], figures["link_gb_per_s"] * 1e9, figures["contention"]
        ),
        buckets=calibration.ddp_buckets("distilbert", bucket_mib),
        world_size=2,
        rows=ROWS_PER_RANK,
        tokens=TOKENS,
    )
    return 1000 * prediction.exposed_s


def mean_time_between_failures_s(num_gpus: int) -> float:
    """Say how long a job runs until something of it fails, on average.

    One failure anywhere stops all: with the same chance a GPU and hour, the time is
    divided by the number of GPUs.

    Args:
        num_gpus: Of the job.

    Returns:
        Seconds, assumed: the rate is another cluster's.
    """
    return 3600 * GPU_HOURS_PER_FAILURE / num_gpus


def _failures() -> dict[str, str]:
    """With an assumed rate of failures."""
    result = {"gpu_hours_a_failure": f"{round(GPU_HOURS_PER_FAILURE, -3):,.0f} hours"}
    for ranks in (8, 1024):
        result[f"failure_{ranks}"] = (
            f"{mean_time_between_failures_s(ranks) / 86400:,.0f} days"
        )
    return result
