"""One run, one folder: settings, environment, log, checkpoints, export, result.

Promise: what a run was, what it measured and what it left lies in one place, and no
run ever writes into another one's folder.

Not here: what a checkpoint holds (`distrinews.checkpoint`), training itself (the
chapters).

Guide: reference/run-folder.
"""

from __future__ import annotations

import contextlib
import pathlib
import sys
import time
from collections import defaultdict
from collections.abc import Generator, Iterable
from typing import Any, NoReturn, TypeVar

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from distrinews import checkpoint, dist, metrics
from distrinews.config.settings import TrainSettings
from distrinews.dist import Ranks
from distrinews.errors import OutputError
from distrinews.system import console, files, machine
from distrinews.training import resume, setup
from distrinews.training.logs import RunLog

__all__ = ["Run", "begin"]

LOG_EVERY_STEPS = 10

Work = TypeVar("Work")


def begin(settings: TrainSettings, *, ranks: Ranks) -> Run:
    """Open the run's folder, and switch on deterministic mode if asked for.

    Collective: every rank must call it. Rank 0 makes the folder.

    Args:
        settings: The run's settings; under torchrun rank 0's run name counts.
        ranks: Who this process is.

    Returns:
        The run, on every rank.

    Raises:
        OutputError: The folder cannot be made. On every rank.
        DataError: The data cannot be read. On every rank.
    """
    # WHY share the name: it may come from the clock, and under torchrun every rank
    # read the clock for itself.
    name = dist.broadcast_object(settings.run_name)
    folder = pathlib.Path(settings.runs_dir) / name
    if settings.deterministic:
        setup.be_deterministic()
    environment = machine.describe() | {"num_ranks": ranks.world_size}
    with dist.raise_together():
        if ranks.is_main:
            with files.translate_write_errors(folder):
                folder.mkdir(parents=True, exist_ok=resume.is_resuming(settings))
            if not (folder / "settings.json").exists():
                files.write_json(folder / "settings.json", settings.model_dump())
            if not (folder / resume.DATA_FILE).exists():
                data = resume.describe_data(settings)
                files.write_json(folder / resume.DATA_FILE, data)
            files.write_json(folder / "environment.json", environment)
    run = Run(folder, settings, ranks)
    run.seconds["start"] = time.time() - machine.program_start_s()
    return run


class Run:
    """The folder of a run, and a timer for its phases.

    Args:
        folder: `runs_dir / run_name`.
        settings: The run's settings.
        ranks: Who this process is.

    Attributes:
        seconds: Wall-clock seconds by phase, on this rank.
        progress: Where training stands: `step`, the best epoch so far, and how many
            epochs in a row were no better.
        first_step: Steps that were done before this program started.
    """

    def __init__(
        self, folder: pathlib.Path, settings: TrainSettings, ranks: Ranks
    ) -> None:
        self.folder, self.settings, self.ranks = folder, settings, ranks
        self.seconds: dict[str, float] = defaultdict(float)
        self.progress: dict[str, Any] = {
            "step": 0,
            "best_step": 0,
            "best_accuracy": -1.0,
            "epochs_without_gain": 0,
            "stopped_early": False,
        }
        self.first_step = 0
        self.log = RunLog(folder, ranks, tensorboard=settings.tensorboard)
        # Of the step under way, one entry a micro-batch: mean loss, rows.
        self._losses: list[tuple[torch.Tensor, int]] = []
        self._bar: tqdm[NoReturn] | None = None

    @property
    def step(self) -> int:
        """Optimizer steps done, those before a resume included."""
        return int(self.progress["step"])

    @property
    def stopped_early(self) -> bool:
        """Whether the validation rows said that more epochs bring nothing."""
        return bool(self.progress["stopped_early"])

    @property
    def export_folder(self) -> pathlib.Path:
        """Where the finished model goes."""
        return self.folder / "export"

    @contextlib.contextmanager
    def phase(self, name: str) -> Generator[None, None, None]:
        """Add the seconds of the block to a phase.

        Args:
            name: Such as "train"; a phase may have many blocks.

        Yields:
            None.
        """
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    def restore(self, state: checkpoint.TrainingState) -> None:
        """Go back to the newest intact checkpoint, if this run is to be resumed.

        Collective: every rank must call it.

        Args:
            state: Objects built like those that were saved. From here on it holds the
                run's progress, too.

        Raises:
            CheckpointError: It does not fit. On every rank.
        """
        state.extra["progress"] = self.progress  # saved with the rest, and filled here
        if not resume.is_resuming(self.settings):
            return
        checkpoint.restore(self.folder / "checkpoints", state)
        self.first_step = self.step
        self.log.truncate_after(self.step)
        self.print_main(f"resuming {self.folder} after step {self.step}")

    def progress_bar(
        self, work: Iterable[Work], *, total: int
    ) -> Generator[Work, None, None]:
        """Hand on each item, show how far the run is, and time the phase "train".

        Args:
            work: An item for each optimizer step.
            total: Steps of the whole run, those before a resume included.

        Yields:
            The items of `work`. A bar on rank 0 shows step, speed and time left.
        """
        if self._bar is None:
            self._bar = tqdm(
                total=total,
                initial=self.step,
                desc="train",
                disable=not self.ranks.is_main,
            )
        with self.phase("train"):
            yield from work
        if self.step == total:
            self._bar.close()

    def log_loss(self, loss: torch.Tensor, *, num_rows: int) -> None:
        """Remember the loss of one micro-batch. Local: no rank waits for another.

        Args:
            loss: Mean over the rows, a scalar; not divided for accumulation.
            num_rows: How many rows those are.
        """
        # WHY detach and not item(): item() waits until the GPU has computed this loss.
        self._losses.append((loss.detach(), num_rows))

    def end_step(self, scheduler: LRScheduler) -> None:
        """Count an optimizer step, and every few of them log the loss over all ranks.

        Collective on the steps that it logs: every rank must call it after each step.

        Args:
            scheduler: Its learning rate, for the next step, is logged.

        Raises:
            OutputError: The log could not be written. On every rank.
        """
        self.progress["step"] += 1
        if self._bar is not None:
            self._bar.update()
        losses, self._losses = self._losses, []
        if self.step % LOG_EVERY_STEPS != 0:
            return
        total = sum(loss.item() * num_rows for loss, num_rows in losses)
        mean = metrics.global_mean(total, count=sum(rows for _, rows in losses))
        learning_rate = float(scheduler.get_last_lr()[0])
        self.log.write({
            "step": self.step,
            "loss": mean,
            "learning_rate": learning_rate,
        })
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{mean:.3f}")

    def log_validation(
        self, validation: metrics.ClassificationMetrics, *, patience: int | None = None
    ) -> None:
        """Compare the last epoch with the best one, and decide whether to continue.

        Collective: every rank must call it.

        Args:
            validation: What the model answered on the validation rows, all ranks.
            patience: Stop after this many epochs without better accuracy; None: never.

        Raises:
            OutputError: The log could not be written. On every rank.
        """
        step, accuracy = self.step, validation.accuracy
        whose = " (all ranks)" if self.ranks.world_size > 1 else ""
        if accuracy > self.progress["best_accuracy"]:
            self.progress |= {"best_step": step, "best_accuracy": accuracy}
            self.progress["epochs_without_gain"] = 0
        else:
            self.progress["epochs_without_gain"] += 1
        stop = patience is not None and self.progress["epochs_without_gain"] >= patience
        # WHY rank 0 decides, though all have the same metrics: a rank that stopped
        # alone would leave the others waiting in the next backward.
        self.progress["stopped_early"] = dist.broadcast_object(stop)
        self.log.write({"step": step, "validation": validation.as_dict()})
        self.print_main(
            f"step {step}: accuracy {accuracy:.4f}, loss {validation.loss:.4f} on "
            f"{validation.num_rows} validation rows{whose}"
        )
        if patience is not None and self.stopped_early:
            if self._bar is not None:
                self._bar.close()  # it would be drawn again below every later message
            epochs = console.counted(patience, "epoch")
            self.print_main(f"stopping early: no better for {epochs}")

    def save(self, state: checkpoint.TrainingState) -> None:
        """Save a checkpoint.

        Collective: every rank must call it.

        Args:
            state: What decides the next step.

        Raises:
            OutputError: It could not be saved, or the run's folder was removed
                meanwhile. On every rank; older ones are intact.
        """
        with dist.raise_together():
            # WHY look: saving would create the folder again, without its settings and
            # its log, and no one would notice before the next resume.
            if self.ranks.is_main and not (self.folder / "settings.json").exists():
                raise OutputError(
                    f"{self.folder} was removed during the run.",
                    why="checkpoints saved from now on would belong to no run.",
                    fix="start again, with a --runs-dir that no clean-up job empties.",
                    page="output",
                )
        checkpoint.save(
            self.folder / "checkpoints",
            state,
            step=self.step,
            best_step=self.progress["best_step"],
            settings=self.settings.model_dump(),
        )

    def load_best(self, net: nn.Module) -> None:
        """Put the weights of the best epoch into the model.

        Collective: every rank must call it.

        Args:
            net: The bare model.

        Raises:
            CheckpointError: It was damaged meanwhile. On every rank.
        """
        if self.progress["best_step"] != self.progress["step"]:
            name = f"step-{self.progress['best_step']:08d}"
            with dist.raise_together():
                folder = self.folder / "checkpoints" / name
                checkpoint.verify(folder)
                checkpoint.load_weights(folder, model=net)

    def print_main(self, text: str) -> None:
        """Print on rank 0; a number in the text must be global or name its rank.

        Args:
            text: One line or more. Progress bars make way for them in a terminal.
        """
        if not self.ranks.is_main:
            return
        # WHY only for a terminal: making way means to erase and to draw again, which
        # in a file would be more copies of the bar.
        is_terminal = sys.stderr.isatty()
        with tqdm.external_write_mode() if is_terminal else contextlib.nullcontext():
            print(text, flush=True)
