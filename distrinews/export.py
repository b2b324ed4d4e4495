"""Write a trained model as a folder that plain `transformers` opens.

Promise: `pipeline("text-classification", model=folder)` gives the labels and scores
that were measured here. The folder says what it is (model card) and proves that its
files are the ones that were measured (manifest).

Not here: checkpoints, which hold what is needed to go on training.

Guide: understand/training-and-inference.
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

from distrinews import checkpoint, files, model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["write"]

CARD = """---
license: {licence}
library_name: transformers
pipeline_tag: text-classification
---
# News classifier from run {run_id}

Made with DistriNews: {preset}, {summary}, trained on {data}.

| figure | value |
|---|---|
| test rows, each counted once | {rows} |
| accuracy | {accuracy:.4f} |
| macro F1 | {macro_f1:.4f} |
| training rows | {fitted_rows} |
| ranks | {num_ranks} |

Classes: World, Sports, Business, Sci/Tech. Texts are cut at {max_length} tokens.
Start weights: {origin}.

```python
from transformers import pipeline

classify = pipeline("text-classification", model="PATH OF THIS FOLDER", top_k=None)
classify("Oil prices rise as storm nears the coast", truncation=True)
```
"""


def write(
    folder: pathlib.Path,
    *,
    net: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    facts: dict[str, Any],
) -> None:
    """Write model, tokenizer, model card and manifest, all or nothing.

    Call it on rank 0 only: nothing here waits for another rank.

    Args:
        folder: Where; an older export there is replaced.
        net: The bare model.
        tokenizer: As used in training; it carries the maximum length.
        facts: What the model card states: `licence`, `run_id`, `preset`, `summary`,
            `data`, `rows`, `accuracy`, `macro_f1`, `fitted_rows`, `num_ranks`,
            `max_length`, `origin`.

    Raises:
        OutputError: It could not be written. On this rank only.
    """
    card = CARD.format(**facts)
    model.silence_library_bars()
    with files.atomic_folder(folder) as draft:
        net.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        (draft / "README.md").write_text(card, encoding="utf-8")
        files.write_json(draft / "distrinews.json", facts)
        checkpoint.write_manifest(draft)
