"""Measure variants of averaging gradients that go beyond DDP, side by side with it.

Promise: all variants start from the same weights, see the same rows in the same minutes
of one process group and take turns; whether they end in the same weights is part of the
result. Two variants never average. Their weights show that the comparison would notice,
and their times split the gain of touched rows: the one with a dense gradient of the
embedding is the floor of all that keep it, and what the other is faster than that is
less computing, not less sending.

Not here: the variants themselves (`distrinews.sync.overlap`,
`distrinews.sync.sparse_embedding`, `distrinews.sync.shared_memory`), the variants of
chapter 04 (`distrinews.bench.grad_sync`).

Letters used for shapes: W = number of ranks, G = rows per global batch.
Guide: understand/faster-than-ddp.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from distrinews import dist, sync, training
from distrinews.bench import results, steps, timing
from distrinews.config.settings import BenchmarkSettings
from distrinews.dist import Ranks
from distrinews.sync import sparse_embedding
from distrinews.training import corpus
from distrinews.training.corpus import Splits

__all__ = ["figures", "measure", "ratio_to_ddp", "run", "saved_text", "table"]

TITLES = {
    "torch_ddp": "torch DDP",
    "overlapped": "our Overlapped (chapter 04)",
    "touched_rows": "touched embedding rows",
    "shared_memory": "shared memory",
    "both": "shared memory, touched rows",
    "unsynced": "no averaging at all (wrong)",
    "unsynced_touched_rows": "no averaging, touched rows (wrong)",
}
UNSYNCED = ("unsynced", "unsynced_touched_rows")
NUM_BATCHES = 4  # in turn, so that no variant always gets the same lengths
NEVER = 10**9  # rows: no embedding has this many


def measure(
    net: nn.Module,
    splits: Splits,
    ranks: Ranks,
    *,
    settings: BenchmarkSettings,
) -> dict[str, dict[str, Any]]:
    """Time a whole step of every variant, in turn, and compare the final weights.

    Collective: every rank must call it.

    Args:
        net: The model on the rank's device, with equal weights; it is not changed.
        splits: Rows to train on; at least G.
        ranks: Who this process is; at least two of them.
        settings: The global batch size G, the optimizer, the number of rounds.

    Returns:
        What `figures` returns; the same on every rank.

    Raises:
        SetupError: The ranks share no memory. On every rank.

    Note:
        Cost: memory for a replica and an optimizer per variant. On GPUs the variants
        in shared memory are left out, because nccl does that itself.
    """
    sampler = training.build_sampler(splits.train_lengths, ranks, settings=settings)
    batches = [
        splits.batch(rows, device=ranks.device)
        for rows in itertools.islice(sampler, NUM_BATCHES)
    ]
    nets, variants = {}, {}
    for name, wrap in _wrappers(ranks).items():
        nets[name] = copy.deepcopy(net)
        variants[name] = _make_step(
            wrap(nets[name]), batches, settings=settings, name=name
        )
    timings = timing.interleave(
        variants, ranks, num_rounds=settings.num_rounds, title="time the variants"
    )
    reference = dict(nets["torch_ddp"].named_parameters())
    gaps = {}
    for name, candidate in nets.items():
        pairs = ((p, reference[key]) for key, p in candidate.named_parameters())
        local_gap = max(float((a - b).detach().abs().max()) for a, b in pairs)
        gaps[name] = max(dist.gather_objects(local_gap))
    return figures(timings, gaps)


def _wrappers(ranks: Ranks) -> dict[str, Callable[[nn.Module], nn.Module]]:
    """Name -> what makes a replica of a bare model."""
    torch_ddp = functools.partial(sync.wrap_ddp, ranks=ranks)
    wrappers: dict[str, Callable[[nn.Module], nn.Module]] = {
        "torch_ddp": torch_ddp,
        "overlapped": sync.Overlapped,
        "touched_rows": sparse_embedding.distributed_data_parallel,
    }
    if ranks.device.type == "cpu":
        all_rows = functools.partial(sync.ddp_in_shared_memory, min_rows=NEVER)
        wrappers |= {"shared_memory": all_rows, "both": sync.ddp_in_shared_memory}

    def touched_rows_alone(bare: nn.Module) -> nn.Module:
        for table in sparse_embedding.large_embeddings(bare).values():
            _keep_touched_rows(table)
        return bare

    return wrappers | {
        "unsynced": torch_ddp,
        "unsynced_touched_rows": touched_rows_alone,
    }


def _keep_touched_rows(table: nn.Embedding) -> None:
    """Give the optimizer a table's gradient as touched rows do, without the others."""
    gradient = sparse_embedding.RowGradient(table)
    table.weight.register_post_accumulate_grad_hook(
        lambda _: gradient.fill([gradient.local_rows(world_size=1)])
    )


def _make_step(
    replica: nn.Module,
    batches: Sequence[tuple[Mapping[str, torch.Tensor], torch.Tensor]],
    *,
    settings: BenchmarkSettings,
    name: str,
) -> timing.Variant:
    """A step of training: what chapter 05 does, but for reading the rows."""
    optimizer = training.build_optimizer(replica, settings=settings)
    upcoming = itertools.cycle(batches)
    return lambda timer: steps.take_step(
        replica,
        next(upcoming),
        optimizer=optimizer,
        settings=settings,
        timer=timer,
        synchronise=name not in UNSYNCED,
    )


def figures(
    timings: Mapping[str, Sequence[Mapping[str, float]]], gaps: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Turn times and differences into what is printed and kept.

    Args:
        timings: What `timing.interleave` returned.
        gaps: Name -> largest difference of a weight to torch DDP's, after all steps.

    Returns:
        Name -> what `timing.summarise` returns, `ratio_to_ddp` (the median over
        rounds of this variant's time by torch DDP's in that round), its
        `ratio_interval` and `max_abs_diff`.

    Examples:
        >>> fast, slow = {"total": 3.0}, {"total": 4.0}
        >>> result = figures({"torch_ddp": [slow], "both": [fast]}, {"both": 0.0})
        >>> result["both"]["ratio_to_ddp"], result["both"]["max_abs_diff"]
        (0.75, 0.0)
    """
    result = {name: timing.summarise(rounds) for name, rounds in timings.items()}
    for name, row in result.items():
        ratio, interval = timing.ratio_of_rows(row, result["torch_ddp"])
        row |= {
            "ratio_to_ddp": ratio,
            "ratio_interval": interval,
            "max_abs_diff": gaps.get(name),
        }
    return result


def table(result: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw the figures as a table that Markdown and a terminal both show.

    Args:
        result: What `figures` returned.

    Returns:
        A row per variant.

    Examples:
        >>> slow, fast = [{"total": 4.0}] * 5, [{"total": 2.0}] * 5
        >>> gaps = {"torch_ddp": 0.0, "both": 0.0}
        >>> result = figures({"torch_ddp": slow, "both": fast}, gaps)
        >>> print(table(result).splitlines()[3][30:59])
        | 2 ms | 0.50x (0.50 to 0.50)
    """
    ratios = "ratio to torch DDP (interval),ratio to no averaging"
    head = f"way,step,{ratios},spread,difference"
    lines = [head.split(",")]
    for name, row in result.items():
        lines.append([
            TITLES[name],
            f"{row['median_ms']:.0f} ms",
            _ratio(result, name, "torch_ddp"),
            _ratio(result, name, "unsynced"),
            f"{row['spread']:.0%}",
            f"{row['max_abs_diff']:.1e}",
        ])
    return timing.draw_table(lines)


def ratio_to_ddp(result: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """Put a variant's ratio to torch DDP into words.

    Args:
        result: What `figures` returned.
        name: The variant.

    Returns:
        As `timing.ratio_text`; "1" for torch DDP itself.

    Examples:
        >>> slow, fast = [{"total": 4.0}] * 5, [{"total": 2.0}] * 5
        >>> ratio_to_ddp(figures({"torch_ddp": slow, "both": fast}, {}), "both")
        '0.50x (0.50 to 0.50)'
    """
    return _ratio(result, name, "torch_ddp")


def _ratio(result: Mapping[str, Mapping[str, Any]], name: str, other: str) -> str:
    """A variant's time by another's in the same rounds, in words; "1" for itself."""
    if name == other:
        return "1"
    if other not in result:
        return "not measured"
    row = result[name]
    # WHY from the rounds: files from before the interval was kept hold them, too.
    ratio, interval = timing.ratio_of_rows(row, result[other])
    return timing.ratio_text(ratio, interval, num_rounds=row["num_rounds"])


def saved_text(result: Mapping[str, Mapping[str, Any]]) -> str:
    """Say how much of what touched rows save is computing, and how much sending.

    Args:
        result: What `figures` returned.

    Returns:
        Sentences with the medians of the rounds' differences and their intervals;
        empty for a record without the variant that sends nothing.

    Examples:
        >>> names = ("torch_ddp", "touched_rows", *UNSYNCED)
        >>> rounds = [[{"total": ms}] * 5 for ms in (9.0, 6.0, 7.0, 5.0)]
        >>> saved_text(figures(dict(zip(names, rounds)), {}))
        'Touched rows save 3 ms (3 to 3) of a step. Without averaging they save \
2 ms (2 to 2): this part is less computing, the rest is less sending.'
    """
    if UNSYNCED[1] not in result:
        return ""
    (saved, saves), (computing, computes_less) = (
        _difference_ms(result, *pair)
        for pair in (("torch_ddp", "touched_rows"), UNSYNCED)
    )
    if not saves:
        return f"Touched rows save nothing that was measured ({saved}) of a step."
    if not computes_less:
        return (
            f"Touched rows save {saved} of a step. Without averaging they save nothing "
            f"that was measured ({computing}): they save only sending."
        )
    return (
        f"Touched rows save {saved} of a step. Without averaging they save "
        f"{computing}: this part is less computing, the rest is less sending."
    )


def _difference_ms(
    result: Mapping[str, Mapping[str, Any]], name: str, other: str
) -> tuple[str, bool]:
    """How much longer one variant takes, in words, and whether it surely does."""
    pairs = zip(result[name]["all_ms"], result[other]["all_ms"], strict=True)
    median, (low, high) = timing.median_and_interval([a - b for a, b in pairs])
    return f"{median:.0f} ms ({low:.0f} to {high:.0f})", low > 0


def run(ranks: Ranks, settings: BenchmarkSettings) -> None:
    """Measure, print, and write the record if one was asked for.

    Collective: every rank must call it; it is what `dist.launch` runs.

    Args:
        ranks: Who this process is.
        settings: What to measure.
    """
    splits = corpus.load(settings)
    net = steps.build_net(splits, ranks, settings=settings)
    result = measure(net, splits, ranks, settings=settings)
    texts = (table(result), saved_text(result), timing.noise_warning(result))
    results.print_and_save(settings, "averaging", *texts, figures=result, ranks=ranks)
