"""`python -m distrinews benchmark predict`: T4 and many ranks, from published figures.

Promise: what is written names every assumption, its interval and its source; it calls
itself predicted.

Not here: how it is predicted (`distrinews.bench.costmodel.predictions`,
`distrinews.bench.costmodel.many_ranks`).

Guide: benchmarks/t4.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from distrinews.bench import plots, results, timing
from distrinews.bench.costmodel import many_ranks, predictions, published
from distrinews.config.command_settings import CommandSettings

__all__ = ["PredictionSettings", "draw", "figures", "sources", "run", "t4_table"]

MODELS = ("minilm", "distilbert")
TITLES = {
    "one": "1 x T4",
    "two": "2 x T4, same rows per step",
    "two_weak": "2 x T4, same rows per GPU",
}
PUBLISHED = {
    "t4_pair": published.T4_PAIR,
    "t4_ethernet": published.T4_NODES,
    "a100_efa": published.A100_NODES,
}


class PredictionSettings(CommandSettings):
    """What is predicted.

    Examples:
        >>> PredictionSettings().global_batch_size
        32
    """

    global_batch_size: int = Field(
        32,
        gt=1,
        multiple_of=2,
        description="rows per step of one T4, or of both [rows]",
    )
    tokens: int = Field(
        53,
        ge=8,
        le=512,
        description="of each row on the T4, padding included; 53 is the mean of AG "
        "News, which batches of like length come near [tokens]",
    )
    per_rank_batch_size: int = Field(
        16, gt=0, le=1024, description="rows per rank with many ranks [rows]"
    )
    max_length: int = Field(
        128, ge=8, le=512, description="longer rows are cut [tokens]"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="draws the rows' lengths")
    json_path: str | None = Field(
        None,
        alias="json",
        min_length=1,
        description="where to write the numbers; a picture goes beside them",
    )


def figures(settings: PredictionSettings) -> dict[str, Any]:
    """Predict everything.

    Args:
        settings: What for.

    Returns:
        "t4": model -> as `predictions.two_t4`; "many_ranks": model -> as
        `many_ranks.figures`; "published": every figure with its source; "lengths".
    """
    rows, tokens = settings.global_batch_size, settings.tokens
    drawn = {
        "rows": settings.per_rank_batch_size,
        "max_length": settings.max_length,
        "seed": settings.seed,
    }
    return {
        "t4": {
            model: predictions.two_t4(model, rows=rows, tokens=tokens)
            for model in MODELS
        },
        "many_ranks": {
            model: many_ranks.figures(model, **drawn) for model in MODELS[1:]
        },
        "published": {
            where: {name: dataclasses.asdict(figure) for name, figure in group.items()}
            for where, group in PUBLISHED.items()
        },
        "lengths": [list(pair) for pair in many_ranks.LENGTHS.items()],
    }


def t4_table(predicted: Mapping[str, Any]) -> str:
    """Draw the T4's predictions as a table for Markdown and a terminal.

    Args:
        predicted: `figures(...)["t4"]`.

    Returns:
        A row per model and number of GPUs.
    """
    lines = [["model", "GPUs", "step", "samples/s", "exposed", "speed-up"]]
    for model, cases in predicted.items():
        for name, row in cases.items():
            lines.append([
                model,
                TITLES[name],
                "{:.0f} to {:.0f} ms".format(*row["step_ms"]),
                "{:.0f} to {:.0f}".format(*row["samples_per_s"]),
                "{:.0f} to {:.0f} ms".format(*row["exposed_ms"]),
                "{:.2f}x to {:.2f}x".format(*row["speedup"]),
            ])
    return timing.draw_table(lines)


def sources(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """List figures with their sources, as Markdown.

    Args:
        figures: Name -> a figure's fields, as in `figures(...)["published"]`.

    Returns:
        A line per figure.
    """
    lines = []
    for name, figure in figures.items():
        source = f" [source]({figure['source']})" if figure["source"] else ""
        lines.append(
            f"- `{name}` {figure['low']:g} to {figure['high']:g} {figure['unit']} "
            f"({figure['kind']}): {figure['quote']}.{source}"
        )
    return "\n".join(lines)


def draw(result: Mapping[str, Any], path: pathlib.Path) -> None:
    """Draw the many ranks, if matplotlib is there.

    Args:
        result: What `figures` returned.
        path: The picture.
    """
    if importlib.util.find_spec("matplotlib") is None:
        print("no picture: pip install -c constraints.txt matplotlib", file=sys.stderr)
        return
    [(model, scenarios)] = result["many_ranks"].items()
    titles = {name: scenario.title for name, scenario in many_ranks.SCENARIOS.items()}
    plots.draw_many_ranks(
        scenarios,
        path,
        titles=titles,
        title=f"Predicted, not measured: {model} in float32, the same rows per rank",
    )


def run(settings: PredictionSettings) -> None:
    """Predict, print, and write the record and a picture if they were asked for.

    Args:
        settings: What for.

    Raises:
        ResultError: A file is there that is no prediction; it is as it was.
        OSError: The record could not be written, as the OutputError that names the
            cure; an older file is as it was.
    """
    path = pathlib.Path(settings.json_path) if settings.json_path else None
    if path is not None and path.exists():
        # WHY: a measurement is worth more than what can be predicted again at any time.
        results.read(path, kind="prediction")
    result = figures(settings)
    print("Predicted, not measured: [lowest to highest] that the sources allow.\n")
    print(t4_table(result["t4"]))
    for model, scenarios in result["many_ranks"].items():
        for name, rows in scenarios.items():
            title = many_ranks.SCENARIOS[name].title
            print(f"\n{model}, {title} (predicted)\n")
            print(many_ranks.table(rows))
    if path is not None:
        record = results.build_record(
            "prediction",
            figures=result,
            settings=settings.model_dump(exclude={"json_path"}),
            num_ranks=1,
        )
        results.write(path, record)
        draw(result, path.with_suffix(".svg"))
