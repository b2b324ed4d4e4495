"""The settings of a training run: one frozen model, from which the flags derive.

Promise: a run is described by one object that cannot change under way and is saved
beside its results. A value that cannot work is refused before any process starts.

Not here: reading the command line (`distrinews.config.flags`), the launcher's
environment variables (`distrinews.dist.process_group`).

Guide: reference/settings.
"""

from __future__ import annotations

import datetime
import importlib.util
import os
import re
from typing import Any, ClassVar, Literal, Self

import psutil
from pydantic import Field, field_validator, model_validator
from pydantic_settings import CliImplicitFlag

from distrinews.config.command_settings import CommandSettings

__all__ = ["BenchmarkSettings", "DistributedSettings", "TrainSettings"]

PresetName = Literal["tiny", "minilm", "distilbert"]

# Values that follow from the preset unless they are given. Learning rates for a global
# batch of 32. minilm: with it the quickstart ends at .966 on newswire's test rows
# (site_docs/benchmarks/results/quickstart.json); no committed file compares it with
# other rates. distilbert: the usual value for fine-tuning BERT (Devlin et al. 2019,
# appendix A.3), not measured here.
# WHY 3e-3 for tiny: accuracy on newswire's test rows, seeds 0, 1, 2 (torch 2.13, CPU):
#   one epoch, one process:    1e-3 .61 .50 .61   2e-3 .72 .64 .80
#                              3e-3 .93 .72 .71   5e-3 .76 .90 .92
#   four epochs, one process:  2e-3 .96 .96 .97   5e-3 .96 .97 .98
#   four epochs, two ranks:    3e-3 .97 .97 .98   5e-3 .36 .97 .98
# 5e-3 starts fastest, and fell back to guessing in one of its six long runs; 3e-3 did
# not.
LEARNING_RATES = {"tiny": 3e-3, "minilm": 2e-4, "distilbert": 5e-5}
BASE_GLOBAL_BATCH_SIZE = 32  # rows; what those rates are for
NEWS = ("newswire", "ag_news")  # values of --data that are no path
# Rows of the generated newswire, which has no end of its own.
NEWSWIRE_ROWS = {"train": 2560, "test": 1000}
# Also with an ending, such as nul.txt. WHY refused everywhere: a run's folder may be
# copied to Windows.
RESERVED_ON_WINDOWS = re.compile("(?i)con|prn|aux|nul|com[0-9]|lpt[0-9]")


def _timestamp_name() -> str:
    """A run name that is unique by time and sorts by it; no colon, for Windows."""
    now = datetime.datetime.now()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # WHY the time at which torchrun started: all its ranks agree on it, and a
        # restarted rank finds the run of its predecessor.
        launcher = psutil.Process(os.getppid())
        now = datetime.datetime.fromtimestamp(launcher.create_time())
    return now.strftime("%Y%m%d-%H%M%S-%f")[:-3]


class TrainSettings(CommandSettings):
    """What one process trains, on what, and for how long.

    Examples:
        >>> TrainSettings(preset="tiny", epochs=2).learning_rate
        0.003
    """

    # What may differ when a run goes on: who computes a step (its rows stay the same),
    # where to stop and save, and where it lies. WHY its name, too: a folder that was
    # copied or renamed trains the same.
    may_change_on_resume: ClassVar[frozenset[str]] = frozenset({
        "resume",
        "max_steps",
        "num_ranks",
        "accumulation_steps",
        "averaging",
        "save_every_steps",
        "tensorboard",
        "run_name",
        "runs_dir",
    })

    preset: PresetName = Field(
        "minilm",
        description="the model: tiny (from scratch, for quick looks), minilm "
        "(pretrained, from PyPI, 22.7M parameters), distilbert (pretrained, from the "
        "Hub, 67M parameters)",
    )
    data: str = Field(
        "newswire",
        description="the rows: newswire (generated, needs no download), ag_news (from "
        "the Hub), or a path: a CSV, JSON lines or parquet file, or a folder with "
        "train and test files or saved by datasets",
    )
    text_columns: str | None = Field(
        None,
        min_length=1,
        description="columns of your file whose texts are read, joined with a blank, "
        "such as title,body; in a CSV file without a header their places, such as 2,3 "
        "[default: those with a usual name, such as text]",
    )
    label_column: str | None = Field(
        None,
        min_length=1,
        description="the column of your file with the class, by name or number "
        "[default: the one with a usual name, such as label]",
    )
    train_rows: int | None = Field(
        None,
        gt=0,
        description="rows taken from the training split, validation rows included "
        f"[rows; default: all, of newswire {NEWSWIRE_ROWS['train']}]",
    )
    validation_rows: int | None = Field(
        None,
        gt=0,
        description="rows cut from the training rows to judge epochs by [rows; "
        "default: a twentieth, at most 1000]",
    )
    test_rows: int | None = Field(
        None,
        gt=0,
        description="rows of the test split, evaluated once at the end [rows; default: "
        f"all, of newswire {NEWSWIRE_ROWS['test']}]",
    )
    max_length: int = Field(
        128, ge=8, le=512, description="longer texts are cut [tokens]"
    )
    global_batch_size: int = Field(
        32, gt=0, description="rows per optimizer step, over all ranks [rows]"
    )
    epochs: int = Field(1, gt=0, description="passes over the training rows [epochs]")
    optimizer: Literal["adamw", "sgd"] = Field(
        "adamw", description="adamw, or plain sgd for exact comparisons"
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="peak learning rate [default: by preset, "
        + ", ".join(f"{name} {rate:g}" for name, rate in LEARNING_RATES.items())
        + "]",
    )
    learning_rate_rule: Literal["constant", "linear", "sqrt"] = Field(
        "constant",
        description="how the rate grows with --global-batch-size: not at all, in "
        f"proportion to it, or to its square root, from {BASE_GLOBAL_BATCH_SIZE} on",
    )
    warmup_fraction: float = Field(
        0.1, ge=0, lt=1, description="part of the steps in which the rate rises"
    )
    weight_decay: float = Field(0.01, ge=0, description="AdamW's weight decay")
    # WHY none: one epoch over a few thousand rows does not overfit. On 5,120 rows of
    # AG News: 0.8946 with 0.1, 0.8955 with 0.05, 0.8968 with 0 (one seed each). And one
    # process and several then train the same model, see tests/test_equality.py.
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="probability of dropping an activation; for many epochs take 0.1",
    )
    max_gradient_norm: float = Field(
        1.0, gt=0, description="gradients are clipped to this global norm"
    )
    seed: int = Field(
        0, ge=0, lt=2**31, description="fixes weights, row order, dropout, newswire"
    )
    deterministic: CliImplicitFlag[bool] = Field(
        False,
        description="let torch use only algorithms that repeat bit for bit; matters "
        "on GPUs, where it costs speed",
    )
    tensorboard: CliImplicitFlag[bool] = Field(
        False,
        description="also write events for TensorBoard into the run's folder "
        "[needs: pip install -c constraints.txt tensorboard]",
    )
    run_name: str = Field(
        default_factory=_timestamp_name,
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?$",
        description="the folder below --runs-dir [default: unique by time]",
    )
    runs_dir: str = Field("runs", min_length=1, description="where runs are kept")

    @field_validator("run_name")
    @classmethod
    def _check_windows_can_keep_it(cls, name: str) -> str:
        if RESERVED_ON_WINDOWS.fullmatch(name.partition(".")[0]):
            raise ValueError(
                f"{name!r} is the name of a device on Windows: no folder can have it"
            )
        return name

    @model_validator(mode="before")
    @classmethod
    def _apply_defaults(cls, values: Any) -> Any:
        """Replace "by preset" and "by data" with the numbers they stand for."""
        # WHY before validation and not later: what is saved beside the results must be
        # what was used, also when a later version has other defaults.
        if isinstance(values, dict):
            preset = values.get("preset", "minilm")
            if values.get("learning_rate") is None and preset in LEARNING_RATES:
                values["learning_rate"] = LEARNING_RATES[preset]
            if values.get("data", "newswire") == "newswire":
                for split, rows in NEWSWIRE_ROWS.items():
                    if values.get(f"{split}_rows") is None:
                        values[f"{split}_rows"] = rows
        return values

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after warm-up: by preset, grown by `learning_rate_rule`.

        Twice the rows in a step give a gradient with half the noise, so one may step
        further. Linear says: two steps of 32 with rate r move about as far as one of
        64 with 2r (Goyal et al. 2017; made for SGD). AdamW divides the gradient by its
        size already, and there the square root fits better (Malladi et al. 2022).
        Constant changes nothing: right while only the number of *ranks* grows and
        the global batch stays.
        """
        rate = self.learning_rate or LEARNING_RATES[self.preset]
        growth = self.global_batch_size / BASE_GLOBAL_BATCH_SIZE
        exponent = {"constant": 0.0, "sqrt": 0.5, "linear": 1.0}
        return float(rate * growth ** exponent[self.learning_rate_rule])

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        validation_rows = self.validation_rows
        if (
            self.train_rows is not None
            and validation_rows is not None
            and validation_rows >= self.train_rows
        ):
            raise ValueError(
                f"validation_rows ({validation_rows}) must be below train_rows "
                f"({self.train_rows}): they are cut from them"
            )
        is_news = self.data in NEWS
        if is_news and (self.text_columns or self.label_column):
            raise ValueError(
                "--text-columns and --label-column are for a file of your own, not for "
                f"--data {self.data}"
            )
        if self.tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise ValueError(
                "--tensorboard needs an optional package: "
                "pip install -c constraints.txt tensorboard"
            )
        return self


class DistributedSettings(TrainSettings):
    """`TrainSettings` and what only several ranks or long runs need.

    Examples:
        >>> DistributedSettings().num_ranks
        2
    """

    num_ranks: int = Field(
        2,
        gt=0,
        description="processes to start, one replica each [ranks; ignored under "
        "torchrun, which has started them already]",
    )
    batches: Literal["length", "shuffled"] = Field(
        "length",
        description="rows of like length together, so that little is padded and no "
        "rank waits for the longest; or purely shuffled, as in chapter 01",
    )
    averaging: Literal["ddp", "shared"] = Field(
        "ddp",
        description="how gradients meet: ddp sends them, as torch's DDP always does; "
        "shared lets the ranks of one machine without GPUs add them up in memory that "
        "all of them see, the same gradients in less time",
    )
    accumulation_steps: int = Field(
        1,
        gt=0,
        description="each rank computes its part of a global batch in so many "
        "micro-batches, one after the other: less memory, the same step "
        "[micro-batches]",
    )
    max_steps: int | None = Field(
        None,
        gt=0,
        description="stop after so many optimizer steps; the learning rate still "
        "follows the whole plan of --epochs [steps]",
    )
    save_every_steps: int | None = Field(
        None,
        gt=0,
        description="also save a checkpoint each so many optimizer steps; the end of "
        "an epoch always saves one [steps]",
    )
    patience: int | None = Field(
        None,
        gt=0,
        description="stop when so many epochs in a row brought no better accuracy on "
        "the validation rows [epochs]",
    )
    resume: CliImplicitFlag[bool] = Field(
        False,
        description="go on from the newest intact checkpoint of --run-name",
    )

    @model_validator(mode="after")
    def _check_resume(self) -> Self:
        if self.resume and "run_name" not in self.model_fields_set:
            raise ValueError("--resume needs the --run-name of the run to resume")
        return self


class BenchmarkSettings(DistributedSettings):
    """`DistributedSettings` of chapter 06, which times steps and trains nothing.

    Examples:
        >>> BenchmarkSettings().num_rounds
        9
    """

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="where to compute: auto (GPUs where every rank has its own), cpu, "
        "or cuda, which is refused where there are too few",
    )
    num_rounds: int = Field(
        9, gt=0, le=1000, description="times that each way is timed [rounds]"
    )
    json_path: str | None = Field(
        None,
        alias="json",
        min_length=1,
        description="where to write the numbers, too; a file that is there is replaced "
        "only by a measurement of its kind and hardware",
    )
