"""Numbers of the course's models, computed from their own shapes."""

from __future__ import annotations

from distrinews.bench.timing import draw_table
from distrinews.model import sizes

__all__ = ["model_sizes"]

BYTES = 4  # of a float32


def model_sizes() -> str:
    """Parameters, bytes of the gradients and of training's state, by preset.

    Returns:
        A Markdown table.
    """
    lines = [["preset", "parameters", "gradients", "weights, gradients and AdamW"]]
    for name in ("minilm", "distilbert"):
        grads = sum(sizes.gradient_bytes(name))
        # WHY four times: weight, gradient, and AdamW's two running means.
        row = [
            f"{grads // BYTES:,}",
            f"{grads / 1e6:.1f} MB",
            f"{4 * grads / 1e6:.0f} MB",
        ]
        lines.append([f"`{name}`", *row])
    return draw_table(lines)
