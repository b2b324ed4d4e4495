"""One run, one folder: settings, environment, log, checkpoints, export, result.

Promise: what a run was, what it measured and what it left lies in one place, and no
run ever writes into another one's folder.

Not here: what a checkpoint holds (`distrinews.checkpoint`), training itself (the
chapters).

Guide: reference/run-folder.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import multiprocessing
import os
import pathlib
import time
from collections import defaultdict
from collections.abc import Generator, Iterable
from typing import Any, NoReturn

import psutil
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from distrinews import checkpoint, dist, files, machine, metrics, resuming
from distrinews.dist import Ranks
from distrinews.settings import TrainSettings

__all__ = ["Run", "begin"]

LOG_EVERY_STEPS = 10


def begin(settings: TrainSettings, *, ranks: Ranks) -> Run:
    """Open the run's folder.

    Collective: every rank must call it. Rank 0 makes the folder.

    Args:
        settings: The run's settings; under torchrun rank 0's run name counts.
        ranks: Who this process is.

    Returns:
        The run, on every rank.

    Raises:
        OutputError: The folder cannot be made. On every rank.
    """
    # WHY share the name: it may come from the clock, and under torchrun every rank
    # read the clock for itself.
    name = dist.broadcast_object(settings.run_name)
    run = Run(pathlib.Path(settings.runs_dir) / name, settings, ranks)
    environment = machine.describe() | {"num_ranks": ranks.world_size}
    with dist.raise_together():
        if ranks.is_main:
            with files.clear_output_errors(run.folder):
                run.folder.mkdir(parents=True, exist_ok=resuming.resumes(settings))
            if not (run.folder / "settings.json").exists():
                files.write_json(run.folder / "settings.json", settings.model_dump())
            files.write_json(run.folder / "environment.json", environment)
    run.seconds["start"] = time.time() - _program_start_s()
    return run


class Run:
    """The folder of a run, and the clock over its phases.

    Args:
        folder: `runs_dir / run_name`.
        settings: The run's settings.
        ranks: Who this process is.

    Attributes:
        seconds: Wall-clock seconds by phase, on this rank.
        state: Where training stands: `step`, and the best epoch so far.
        first_step: Steps that were done before this program started.
    """

    def __init__(
        self, folder: pathlib.Path, settings: TrainSettings, ranks: Ranks
    ) -> None:
        self.folder, self.settings, self.ranks = folder, settings, ranks
        self.seconds: dict[str, float] = defaultdict(float)
        self.state: dict[str, Any] = {"step": 0, "best_step": 0, "best_accuracy": -1.0}
        self.first_step = 0
        self._bar: tqdm[NoReturn] | None = None

    @property
    def step(self) -> int:
        """Optimizer steps done, those before a resume included."""
        return int(self.state["step"])

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

    def restore(
        self, *, net: nn.Module, optimizer: Optimizer, scheduler: LRScheduler
    ) -> None:
        """Go back to the newest intact checkpoint, if this run is to be resumed.

        Collective: every rank must call it.

        Args:
            net: The bare model.
            optimizer: Built for it.
            scheduler: Built for it.

        Raises:
            CheckpointError: It does not fit. On every rank.
        """
        if not resuming.resumes(self.settings):
            return
        newest = checkpoint.latest(self.folder / "checkpoints")
        if newest is not None:
            with dist.raise_together():
                self.state = checkpoint.load_training(
                    newest, net=net, optimizer=optimizer, scheduler=scheduler
                )
        self.first_step = self.step
        self.say(f"resuming {self.folder} after step {self.step}")

    def steps(
        self, batches: Iterable[list[int]], *, last_step: int
    ) -> Generator[list[int], None, None]:
        """Hand out batches and count each as one optimizer step when it is done.

        Args:
            batches: What is left of an epoch.
            last_step: Where to stop.

        Yields:
            The next batch. A progress bar on rank 0 shows step, speed and time left.
        """
        if self._bar is None:
            self._bar = tqdm(
                total=last_step,
                initial=self.step,
                desc="train",
                disable=not self.ranks.is_main,
            )
        with self.phase("train"):
            for batch in itertools.islice(batches, last_step - self.step):
                yield batch
                self.state["step"] += 1
                self._bar.update()
        if self.step == last_step:
            self._bar.close()

    def log_loss(
        self, loss: torch.Tensor, *, num_rows: int, scheduler: LRScheduler
    ) -> None:
        """Record the loss over all ranks, every few steps.

        Collective on the steps it records: every rank must call it in each step.

        Args:
            loss: Mean over this rank's rows of this step, a scalar.
            num_rows: How many rows those are.
            scheduler: Its rate is recorded: that of the next step.
        """
        step = self.step + 1  # the one that is just being finished
        if step % LOG_EVERY_STEPS != 0:
            return
        mean = metrics.global_mean(loss.item() * num_rows, count=num_rows)
        rate = float(scheduler.get_last_lr()[0])
        self._append({"step": step, "loss": mean, "learning_rate": rate})
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{mean:.3f}")

    def save(
        self,
        validation: metrics.Tally,
        *,
        net: nn.Module,
        optimizer: Optimizer,
        scheduler: LRScheduler,
    ) -> None:
        """Judge the epoch that just ended and save a checkpoint.

        Collective: every rank must call it.

        Args:
            validation: What the model answered on the validation rows.
            net: The bare model.
            optimizer: Its state is saved.
            scheduler: Its state is saved.

        Raises:
            OutputError: It could not be saved. On every rank; older ones are intact.
        """
        step, accuracy = self.step, validation.accuracy
        if accuracy > self.state["best_accuracy"]:
            self.state |= {"best_step": step, "best_accuracy": accuracy}
        self._append({"step": step, "validation": validation.as_dict()})
        self.say(
            f"step {step}: accuracy {accuracy:.4f}, loss {validation.loss:.4f} on "
            f"{validation.num_rows} validation rows (all ranks)"
        )
        checkpoint.save(
            self.folder / "checkpoints",
            net=net,
            optimizer=optimizer,
            scheduler=scheduler,
            state=self.state,
        )

    def load_best(self, net: nn.Module) -> None:
        """Put the weights of the best epoch into the model.

        Collective: every rank must call it.

        Args:
            net: The bare model.

        Raises:
            CheckpointError: It was damaged meanwhile. On every rank.
        """
        if self.state["best_step"] != self.state["step"]:
            name = f"step-{self.state['best_step']:08d}"
            with dist.raise_together():
                folder = self.folder / "checkpoints" / name
                checkpoint.verify(folder)
                checkpoint.load_weights(folder, net=net)

    def finish(self, facts: dict[str, Any]) -> pathlib.Path:
        """Write `result.json`, the last file of a run.

        Collective: every rank must call it.

        Args:
            facts: What the run measured.

        Returns:
            The path of the file.

        Raises:
            OutputError: It could not be written. On every rank.
        """
        path = self.folder / "result.json"
        memory = dist.gather_objects(machine.peak_memory_bytes())
        total_s = time.time() - _program_start_s()
        seconds = {name: round(value, 3) for name, value in self.seconds.items()}
        result = {
            "run_name": self.folder.name,
            "finished": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
            "num_ranks": self.ranks.world_size,
            "seconds": seconds | {"total": round(total_s, 3)},
            "peak_memory_bytes": memory,
            "export_dir": str(self.export_folder),
        }
        with dist.raise_together():
            if self.ranks.is_main:
                files.write_json(path, result | facts)
        return path

    def say(self, text: str) -> None:
        """Print on rank 0; a number in the text must be global or name its rank.

        Args:
            text: One line or more.
        """
        if self.ranks.is_main:
            print(text, flush=True)

    def _append(self, record: dict[str, Any]) -> None:
        """Add a line to the log. Collective: a full disk becomes everybody's news."""
        with dist.raise_together():
            if self.ranks.is_main:
                line = record | {"time_s": round(time.time(), 3)}
                files.append_line(self.folder / "metrics.jsonl", line)


def _program_start_s() -> float:
    """When the command began, that is when the first process of it was started."""
    starter = multiprocessing.parent_process()
    pid = os.getpid() if starter is None or starter.pid is None else starter.pid
    return psutil.Process(pid).create_time()
