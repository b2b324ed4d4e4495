"""Classify headlines with an exported model: load once, predict batches.

Training scale, inference simplicity: one process, no process group. A forward pass
needs no gradient, so there is nothing to average and no rank to wait for.

Not here: training, HTTP, what computes (`distrinews.inference.engines`).

Letters used for shapes: B = texts, C = classes.
Guide: understand/training-and-inference.
"""

from __future__ import annotations

import functools
import pathlib
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distrinews.errors import DistriNewsError, ModelError
from distrinews.inference import engines, golden
from distrinews.inference.bundle import (
    TOKENIZER,
    WEIGHTS,
    Bundle,
    Identity,
    open_bundle,
)
from distrinews.system import machine

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["LETTER", "Classifier", "Encoded", "Identity", "Prediction", "open_best"]

# A letter or digit that can be seen, by blocks of Unicode: without blanks, marks that
# only combine, symbols, and what is invisible (such as U+115F). WHY neither \w nor
# isalnum: the HTTP API's schema holds this expression, and JavaScript's \w is ASCII.
LETTER = re.compile(
    r"[0-9A-Za-z\u00aa\u00b5\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02c1"
    r"\u0370-\u037d\u037f-\u0482\u048a-\u0590\u05d0-\u05ff\u0620-\u064a"
    r"\u0660-\u06d5\u06de-\u070e\u0710-\u08ff\u0904-\u115e\u1161-\u167f"
    r"\u1681-\u17b3\u17d8-\u180a\u1810-\u1aaf\u1b05-\u1dbf\u1e00-\u1fff"
    r"\u2c00-\u2ddf\u3005-\u3007\u3021-\u3029\u3031-\u3163\u3165-\ud7ff"
    r"\uf900-\ufdff\ufe70-\ufefc\uff10-\uff19\uff21-\uff3a\uff41-\uff5a"
    r"\uff66-\uff9f\uffa1-\uffdc"
    "\U00010000-\U0001bc9f\U0001d400-\U0001d7ff\U0001e000-\U0001eeff"
    "\U00020000-\U0003ffff]"
)
# Before a text becomes tokens, it is cut to this many characters for each token that
# the model reads; a token of usual English has about four. WHY cut: the time to make
# tokens grows with the text, and the model would read only the first few hundred.
CHARACTERS_PER_TOKEN = 16
FASTEST_FIRST = ("onnx-int8", "onnx-float32", engines.REFERENCE)


@dataclass(frozen=True)
class Encoded:
    """A text as the model reads it.

    Attributes:
        ids: Token ids, cut at the model's longest.
        truncated: Whether something was cut off.
    """

    ids: tuple[int, ...]
    truncated: bool

    @property
    def num_tokens(self) -> int:
        """How many tokens the model will read."""
        return len(self.ids)


@dataclass(frozen=True)
class Prediction:
    """The answer to one text.

    Attributes:
        label: The class with the highest probability.
        scores: Probability of each class; they add up to 1.
        truncated: Whether the text was longer than the model reads.
    """

    label: str
    scores: dict[str, float]
    truncated: bool


class Classifier:
    """An exported model, ready to answer. Its methods may be called from any thread.

    Args:
        folder: An export, or the run folder that holds it; or one that
            `bundle.open_bundle` has verified already.
        engine: What computes, a name in `engines.NAMES`.
        num_threads: Threads to compute with; None: torch's are left as they are, ONNX
            Runtime gets one for each core.
        cache: Where a converted model is kept; None: beside the export.

    Attributes:
        folder: The export.
        identity: Which model answers.
        labels: Class names, in the order of the scores [C].
        fallback_reason: Why `open_best` did not take a faster engine; None if it did.

    Raises:
        ModelError: There is no export, a file in it is damaged, or the engine cannot
            be had.
    """

    def __init__(
        self,
        folder: pathlib.Path | str | Bundle,
        *,
        engine: str = engines.REFERENCE,
        num_threads: int | None = None,
        cache: pathlib.Path | str | None = None,
    ) -> None:
        import tokenizers

        self._bundle = folder if isinstance(folder, Bundle) else open_bundle(folder)
        self.folder = self._bundle.folder
        self.identity = self._bundle.identity
        self.labels = list(self._bundle.labels)
        self.fallback_reason: str | None = None
        # WHY not transformers' tokenizer: this is the same one (tokenizer.json), and
        # importing transformers takes seconds and 100 MB.
        self._tokenizer = tokenizers.Tokenizer.from_buffer(self._bundle.read(TOKENIZER))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self._bundle.max_length)
        self._engine = engines.load(
            engine, self._bundle, num_threads=num_threads, cache=cache
        )

    @property
    def max_length(self) -> int:
        """Tokens after which a text is cut."""
        return self._bundle.max_length

    @property
    def facts(self) -> dict[str, Any]:
        """What the training run said of the model; empty if it is not from here."""
        return self._bundle.facts

    @property
    def engine_name(self) -> str:
        """What computes."""
        return self._engine.name

    @property
    def tolerance(self) -> float:
        """How far a score may lie from the reference's."""
        return self._engine.tolerance

    @functools.cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer as transformers opens it; loaded when first asked for."""
        from transformers import AutoTokenizer

        # WHY copies: transformers also takes files that the manifest does not list.
        with tempfile.TemporaryDirectory() as folder:
            for name in self._bundle.digests.keys() - {WEIGHTS}:
                pathlib.Path(folder, name).write_bytes(self._bundle.read(name))
            tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        return tokenizer

    @property
    def net(self) -> PreTrainedModel:
        """The torch model; only the engine torch-float32 has one."""
        if not isinstance(self._engine, engines.TorchEngine):
            raise ModelError(
                f"the engine {self.engine_name} holds no torch model.",
                why="it computes without torch.",
                fix='Classifier(folder, engine="torch-float32").net',
                page="engines",
            )
        return self._engine.net

    def encode(self, text: str) -> Encoded:
        """Turn one text into token ids, unchanged: no repair, no clean-up.

        Why apart from predicting: what is wrong with a text is found before it shares
        a batch with others.

        Args:
            text: One text. It is cut to 16 characters for each token that the model
                reads, then to its maximum length in tokens.

        Returns:
            Token ids, and whether they were cut.

        Raises:
            ModelError: The text has no letter or digit, or half a character.
        """
        if not LETTER.search(text):
            is_empty = not text.strip()
            raise ModelError(
                f"the text {'is empty' if is_empty else 'has no letter and no digit'}.",
                why="the model would answer, and the answer would mean nothing.",
                fix='python -m distrinews predict --model runs/... "a headline"',
                page="predict",
            )
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ModelError(
                f"character {error.start + 1} of the text is half of a pair.",
                why="a lone surrogate is no character; no tokenizer can read it.",
                fix='text.encode("utf-8", "replace").decode("utf-8")',
                page="predict",
            ) from None
        num_characters = self.max_length * CHARACTERS_PER_TOKEN
        encoding = self._tokenizer.encode(text[:num_characters])
        is_cut = bool(encoding.overflowing or text[num_characters:].strip())
        return Encoded(tuple(encoding.ids), truncated=is_cut)

    def predict_encoded(self, items: Sequence[Encoded]) -> list[Prediction]:
        """Classify texts that were encoded before.

        Args:
            items: B texts, as `encode` returned them.

        Returns:
            B predictions, in the order of the items. A text's scores do not depend on
            its neighbours (torch float32: up to rounding, below 1e-5).
        """
        if not items:
            return []
        logits = self._engine.logits([item.ids for item in items])  # [B, C]
        # WHY float64: four float32 probabilities may add up to 1.0000001.
        exponentials = np.exp(
            logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        )  # [B, C]
        scores = exponentials / exponentials.sum(axis=1, keepdims=True)
        return [
            Prediction(
                label=self.labels[int(row.argmax())],
                scores=dict(zip(self.labels, row.tolist(), strict=True)),
                truncated=item.truncated,
            )
            for row, item in zip(scores, items, strict=True)
        ]

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Classify texts, as they come: no repair, no clean-up.

        Args:
            texts: B texts; longer ones are cut at the model's maximum length.

        Returns:
            B predictions, in the order of the texts.

        Raises:
            ModelError: A text has no characters to judge.
        """
        items = []
        for index, text in enumerate(texts):
            try:
                items.append(self.encode(text))
            except ModelError as error:
                position = f"text {index + 1} of {len(texts)}"
                what = error.what.replace("the text", position)
                more = {"why": error.why, "fix": error.fix, "page": error.page}
                raise ModelError(what, **more) from None
        return self.predict_encoded(items)

    def warm_up(self) -> None:
        """Compute once, a short and a long text, so that the first user need not wait.

        Libraries choose their kernels and take their memory on the first call.
        """
        longest = self._bundle.max_length
        for num_tokens in (min(16, longest), longest):
            self._engine.logits([[self._bundle.pad_id] * num_tokens])


def open_best(
    folder: pathlib.Path | str,
    *,
    engine: str = "auto",
    cache: pathlib.Path | str | None = None,
) -> Classifier:
    """Open an export with the fastest engine that is right on this machine.

    Right means: it gives the export's golden rows the scores that were recorded with
    torch float32, within the engine's tolerance.

    Args:
        folder: An export, or the run folder that holds it.
        engine: "auto", or a name in `engines.NAMES`: that one or, where it fails, the
            reference.
        cache: Where a converted model is kept; None: beside the export.

    Returns:
        The classifier, warm, computing on all cores that this process really has. Its
        `fallback_reason` says why it is not the first choice, if it is not.

    Raises:
        DistriNewsError: There is no export, a file in it is damaged, or there is no
            such engine.
        ModelError: Not even the reference gives the recorded scores.

    Note:
        Cost: the first start makes the ONNX model, some seconds. Later ones load it
        and answer the golden rows; torch is not imported.
    """
    bundle = open_bundle(folder)
    choices = list(FASTEST_FIRST) if engine == "auto" else [engine, engines.REFERENCE]
    reasons: list[str] = []
    if golden.FILE not in bundle.digests and engine in ("auto", *engines.NAMES):
        reasons = [
            "the export has no golden rows to check an engine with; export again"
        ]
        choices = [engines.REFERENCE]
    for name in dict.fromkeys(choices):
        try:
            classifier = Classifier(
                bundle, engine=name, num_threads=machine.num_cores(), cache=cache
            )
            answer = functools.partial(_scores, classifier)
            reason = golden.mismatch(bundle, answer, tolerance=classifier.tolerance)
        except DistriNewsError as error:
            if name == engines.REFERENCE or name not in engines.NAMES:
                raise
            reason = f"{error.what} Fix: {error.fix}"
        if reason is None:
            break
        reasons.append(f"{name}: {reason}")
    else:
        raise ModelError(
            f"no engine gives the scores that {bundle.folder} recorded. "
            + " ".join(reasons),
            why="its answers would not be those that were measured.",
            fix="export again; if this is the machine that made the export, report it.",
            page="engines",
        )
    classifier.fallback_reason = "; ".join(reasons) or None
    classifier.warm_up()
    return classifier


def _scores(classifier: Classifier, texts: Sequence[str]) -> list[list[float]]:
    return [list(answer.scores.values()) for answer in classifier.predict(texts)]
