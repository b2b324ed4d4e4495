"""What one rank holds and sends in training, by what of the model's state is sharded.

In float32 with AdamW. The tables of `numbers_concepts3` and the widget <will-it-fit>
count with these figures; `widget_fixtures` writes them down for the widget's model.

Source: Rajbhandari et al. 2020 (ZeRO), sections 5 and 7; activations: Korthikanti et
al. 2022 (Reducing Activation Recomputation), section 4.1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from distrinews.model import sizes

__all__ = [
    "STATE",
    "UNITS",
    "activation_bytes",
    "assumed_shape",
    "bytes_per_parameter",
    "memory_data",
    "memory_fixture",
    "models",
    "sent_bytes",
]

# Bytes a parameter. AdamW keeps two running averages.
STATE = {"weights": 4, "gradients": 4, "optimizer": 8}
SHARDED: dict[str, tuple[str, ...]] = {
    "DDP": (),
    "ZeRO-1": ("optimizer",),
    "ZeRO-2": ("gradients", "optimizer"),
    "ZeRO-3": ("weights", "gradients", "optimizer"),
}
# What a step sends, in (N - 1) / N times the parameters' bytes: a reduce-scatter and an
# all-gather are one unit each; ZeRO-3 gathers the weights twice.
UNITS = {"DDP": 2, "ZeRO-1": 2, "ZeRO-2": 2, "ZeRO-3": 3}
# Of models that only a number of parameters is known of: as wide as 128 times their
# layers, which GPT-3 and Llama are near; a layer has 12 dim^2 weights.
WIDTH_PER_LAYER = 128
PARAMETERS = (350e6, 1e9, 3e9, 7e9, 13e9, 30e9, 70e9)


def bytes_per_parameter(stage: str, num_ranks: int) -> dict[str, float]:
    """Count the state of one rank.

    Args:
        stage: In `UNITS`.
        num_ranks: N.

    Returns:
        Part of the state -> bytes a parameter.

    Examples:
        >>> bytes_per_parameter("ZeRO-1", 8)
        {'weights': 4.0, 'gradients': 4.0, 'optimizer': 1.0}
    """
    return {
        part: each / (num_ranks if part in SHARDED[stage] else 1)
        for part, each in STATE.items()
    }


def sent_bytes(stage: str, num_ranks: int, *, parameters: float) -> float:
    """Count what a rank sends in a step.

    Args:
        stage: In `UNITS`.
        num_ranks: N.
        parameters: Of the model.

    Returns:
        Bytes; 0 alone.

    Examples:
        >>> sent_bytes("DDP", 4, parameters=100)
        600.0
    """
    return UNITS[stage] * (num_ranks - 1) / num_ranks * 4 * parameters


def activation_bytes(
    layers: float, dim: float, hidden_dim: float, *, rows: int, tokens: int
) -> float:
    """Count what forward keeps for backward, in float32.

    Without dropout, and without attention's matrix of scores, which fused attention
    does not keep. Of each token and layer: the layer's input, queries, keys, values,
    attention's result, the inputs of two norms and of the feed-forward part (8 dim),
    and the inside of the latter before and after its activation (2 hidden_dim).

    Args:
        layers: Of the transformer.
        dim: Numbers a token.
        hidden_dim: Inside the feed-forward part.
        rows: Of one rank.
        tokens: Of a row.

    Returns:
        Bytes.

    Examples:
        >>> activation_bytes(2, 64, 128, rows=1, tokens=10)
        61440
    """
    return layers * rows * tokens * (8 * dim + 2 * hidden_dim) * 4


def assumed_shape(parameters: float) -> tuple[float, float, float]:
    """Say how deep and wide a transformer of this size would be.

    Args:
        parameters: Of the model.

    Returns:
        Layers, numbers a token, numbers inside the feed-forward part; not rounded.

    Examples:
        >>> [round(number) for number in assumed_shape(7e9)]
        [33, 4211, 16846]
    """
    layers = math.cbrt(parameters / (12 * WIDTH_PER_LAYER**2))
    dim = WIDTH_PER_LAYER * layers
    return layers, dim, 4 * dim


def models() -> Iterator[dict[str, Any]]:
    """List the models to choose from: ours by their shapes, others by an assumption."""
    for name in ("minilm", "distilbert"):
        size = sizes.SIZES[name]
        yield {
            "name": name,
            "parameters": sum(sizes.gradient_bytes(name)) // 4,
            "shape": [size.layers, size.dim, size.hidden_dim],
        }
    for parameters in PARAMETERS:
        yield {"name": "", "parameters": parameters, "shape": None}


def memory_data() -> dict[str, Any]:
    """What the widget reads."""
    return {"models": list(models())}


def memory_fixture() -> list[dict[str, Any]]:
    """What the widget's model has to answer.

    Returns:
        For models, ranks, rows and tokens: each stage's bytes, rounded.
    """
    cases = itertools.product(models(), (1, 2, 8, 64), ((1, 128), (16, 512)))
    answers = []
    for model, num_ranks, (rows, tokens) in cases:
        parameters = model["parameters"]
        layers, dim, hidden_dim = model["shape"] or assumed_shape(parameters)
        activations = activation_bytes(
            layers, dim, hidden_dim, rows=rows, tokens=tokens
        )
        stages = [
            {
                "name": stage,
                "units": UNITS[stage],
                "parts": [
                    *(
                        _whole(each * parameters)
                        for each in bytes_per_parameter(stage, num_ranks).values()
                    ),
                    _whole(activations),
                ],
                "sent": _whole(sent_bytes(stage, num_ranks, parameters=parameters)),
            }
            for stage in UNITS
        ]
        answers.append({
            "model": model,
            "ranks": num_ranks,
            "rows": rows,
            "tokens": tokens,
            "stages": stages,
        })
    return answers


def _whole(num_bytes: float) -> int:
    # Halves upwards, as JavaScript rounds; Python's round takes the even neighbour.
    return math.floor(num_bytes + 0.5)
