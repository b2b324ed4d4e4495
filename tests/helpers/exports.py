"""What a training run says of the tiny models that proofs export."""

from __future__ import annotations

from typing import Any

__all__ = ["facts"]


def facts(*, max_length: int) -> dict[str, Any]:
    """Facts for the model card of an untrained tiny model."""
    return {
        "licence": "mit",
        "run_id": "proof",
        "preset": "tiny",
        "summary": "2 layers",
        "data": "newswire",
        "rows": 8,
        "accuracy": 0.5,
        "macro_f1": 0.25,
        "fitted_rows": 100,
        "num_ranks": 2,
        "max_length": max_length,
        "origin": "random weights",
    }
