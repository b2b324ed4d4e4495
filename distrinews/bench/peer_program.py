"""Train the rows once with another library: the program that `peers` starts and times.

`python -m distrinews.bench.peer_program --loop trainer` and the flags of chapter 05.
What the loop read, how its own evaluation counted, and how good its model became is
written into a file after the training, in the same way for all.

The loop `whole_layer` is chapter 05 itself with one difference: the model's last layer
computes all tokens, as in the other libraries.

Not here: the loops (`distrinews.bench.peer_loops`).

Guide: benchmarks/peers.
"""

from __future__ import annotations

import contextlib
import functools
import io
import pathlib
import warnings
from collections import Counter
from collections.abc import Generator
from typing import Any
from unittest import mock

from pydantic import Field

from distrinews import dist, model, sync, training
from distrinews.bench import peer_job, peer_loops
from distrinews.bench.peer_job import Job
from distrinews.config.flags import parse
from distrinews.config.settings import DistributedSettings
from distrinews.system import checkout, console, files
from distrinews.training import corpus

__all__ = ["CHAPTER", "WHOLE_LAYER", "PeerProgramSettings", "train"]

CHAPTER = "chapters/05_ddp_training.py"
WHOLE_LAYER = "whole_layer"


class PeerProgramSettings(DistributedSettings):
    """`DistributedSettings` of chapter 05, and which loop is to train.

    Examples:
        >>> PeerProgramSettings(loop="fabric", report="fabric.json").num_ranks
        2
    """

    loop: str = Field(description=f"{', '.join(peer_loops.LOOPS)} or {WHOLE_LAYER}")
    report: str = Field(description="the JSON file to write")


def train(ranks: dist.Ranks, settings: PeerProgramSettings) -> None:
    """Train with one loop, evaluate, write the report.

    Collective: every rank must call it; it is what `dist.launch` runs.

    Args:
        ranks: Who this process is.
        settings: The recipe, the loop and the file.
    """
    splits = corpus.load(settings)
    training.seed_weights(settings.seed)
    net = model.build(
        settings.preset,
        dropout=settings.dropout,
        vocabulary_size=len(splits.tokenizer),
        class_names=splits.class_names,
        whole_last_layer=True,
    ).to(ranks.device)
    job = peer_job.build(net, splits, settings, ranks)
    with _suppress_output():
        num_evaluated = peer_loops.LOOPS[settings.loop](job)
    report = summarise(job, num_evaluated)
    with dist.raise_together():
        if ranks.is_main:
            files.write_json(pathlib.Path(settings.report), report)


@contextlib.contextmanager
def _suppress_output() -> Generator[None, None, None]:
    """Suppress what the libraries print beside their work."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def summarise(job: Job, num_evaluated: int) -> dict[str, Any]:
    """Judge a trained model, and put together what all ranks read.

    Collective: every rank must call it.

    Args:
        job: After the loop.
        num_evaluated: What the loop returned.

    Returns:
        `loss` and `accuracy` on the test rows, counted exactly; `batch_places` by rank
        and step; `num_tokens` of all ranks; whether each row was read once and the
        replicas ended equal; the rows that the loop's own evaluation counted. The same
        on every rank.
    """
    test_metrics = training.evaluate_table(job.net, job.splits.test, job.ranks)
    gap = sync.max_parameter_gap(job.net)
    local = (job.row_checksums, job.batch_places, job.num_tokens)
    rows, places, tokens = zip(*dist.gather_objects(local), strict=True)
    expected = Counter(peer_job.checksum(row) for row in job.train["input_ids"])
    for name in expected:
        expected[name] *= job.settings.epochs
    return {
        "loss": test_metrics.loss,
        "accuracy": test_metrics.accuracy,
        "batch_places": places,
        "num_tokens": sum(tokens),
        "each_row_once": sum((Counter(each) for each in rows), Counter()) == expected,
        "evaluated_rows": num_evaluated,
        "replicas_equal": gap == 0.0,
    }


def _train_chapter(ranks: dist.Ranks, settings: PeerProgramSettings) -> None:
    """Chapter 05's own function, with a last layer as the other libraries have it."""
    whole = functools.partial(model.build, whole_last_layer=True)
    with mock.patch.object(model, "build", whole):
        checkout.load(CHAPTER).train(ranks, settings)


def main() -> None:
    """Read the flags and start the ranks."""
    settings = parse(PeerProgramSettings, about=__doc__ or "")
    function = _train_chapter if settings.loop == WHOLE_LAYER else train
    dist.launch(function, settings, num_ranks=settings.num_ranks)


if __name__ == "__main__":
    console.run(main)
