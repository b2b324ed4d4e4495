"""Proofs for scripts of one's own: exact, resumable to the bit, with any launcher.

Five scripts, models and data of their own and nothing of the course: the template of
the page (digits with BatchNorm), and those in helpers/own_scripts.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import dataclasses
import functools
import importlib
import json
import multiprocessing
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import tomllib
from typing import Any

import pytest
import torch
from helpers import mishaps
from helpers.command import call
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from distrinews import dist, sharding
from distrinews.errors import RankFailedError

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "chapters" / "own_task.py"
OWN_SCRIPTS = ROOT / "tests" / "helpers" / "own_scripts"
RIVALS = ROOT / "tests" / "helpers" / "rivals"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclasses.dataclass(frozen=True)
class Script:
    """One of the five.

    Attributes:
        path: The file.
        last_step: Of the whole run; its last checkpoint.
        killed_at: A step in mid-epoch, some steps after a checkpoint.
        test_rows: How many rows each evaluation must count.
        good: What the last line prints at least; a perplexity: at most.
        same_alone: Whether one and two ranks train the same model. Dropout and
            BatchNorm's statistics are each rank's own.
    """

    path: pathlib.Path
    last_step: int
    killed_at: int
    test_rows: int
    good: float
    same_alone: bool

    @property
    def folder(self) -> str:
        """Where it saves, in the working directory."""
        return str(importlib.import_module(self.path.stem).FOLDER)


SCRIPTS = {
    "digits": Script(TEMPLATE, 400, 165, 297, 0.85, same_alone=False),
    "uneven": Script(OWN_SCRIPTS / "uneven.py", 104, 45, 203, 0.9, same_alone=True),
    "gpt": Script(OWN_SCRIPTS / "adding_gpt.py", 88, 60, 299, 8.0, same_alone=True),
    "towers": Script(OWN_SCRIPTS / "towers.py", 140, 85, 721, 0.9, same_alone=True),
    "flowers": Script(OWN_SCRIPTS / "flowers.py", 96, 45, 30, 0.8, same_alone=False),
}
every_script = pytest.mark.parametrize("name", SCRIPTS)
every_size = pytest.mark.parametrize("num_ranks", [1, 2])


@pytest.fixture(autouse=True, scope="module")
def _scripts_can_be_imported() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for folder in (TEMPLATE.parent, OWN_SCRIPTS):
            patch.syspath_prepend(str(folder))
        yield


# --- Running them -----------------------------------------------------------------


def train(ranks: dist.Ranks, name: str, killed_at: int | None) -> None:
    """Run a script's function on this rank; what it prints goes to a file."""
    if killed_at is not None:
        mishaps.after_step(killed_at, "kill")
    script = importlib.import_module(SCRIPTS[name].path.stem)
    with (
        open(f"rank{ranks.rank}.txt", "w", encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
    ):
        script.train(ranks)


def train_alone(name: str, killed_at: int) -> None:
    # WHY: the fork server lives as long as pytest does, with the variables of the
    # moment when it was started. By those of two ranks, rank 0 is not the last.
    for variable in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        os.environ.pop(variable, None)
    torch.set_num_threads(1)  # as in pytest's own process, which runs undisturbed
    dist.launch(train, name, killed_at, num_ranks=1)


@dataclasses.dataclass(frozen=True)
class End:
    """What a run printed, and what its last checkpoint holds but random states."""

    out: str
    weights: dict[str, torch.Tensor]
    digests: dict[str, str]

    @property
    def figures(self) -> list[float]:
        """The numbers with a point in them, in the order of the lines."""
        return [float(number) for number in re.findall(r"\d+\.\d+", self.out)]


def end_of(folder: pathlib.Path, name: str, out: str) -> End:
    script = SCRIPTS[name]
    saved = folder / script.folder / f"step-{script.last_step:08d}"
    manifest = json.loads((saved / "manifest.json").read_text(encoding="utf-8"))
    digests = {file: entry["sha256"] for file, entry in manifest["files"].items()}
    # A script that seeds torch alone has other states of Python's own generator each
    # time. They stand in a file of their own and, by their size, in state.json.
    del digests["random.safetensors"], digests["state.json"]
    record = json.loads((saved / "state.json").read_text(encoding="utf-8"))
    del record["random"]
    digests["state"] = json.dumps(record, sort_keys=True)
    return End(out, load_file(saved / "weights.safetensors"), digests)


def launched(folder: pathlib.Path, name: str, num_ranks: int) -> End:
    """Run a script to its end, from what the folder holds."""
    prepare(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        dist.launch(train, name, None, num_ranks=num_ranks, timeout_s=60)
    return end_of(folder, name, (folder / "rank0.txt").read_text(encoding="utf-8"))


def prepare(folder: pathlib.Path) -> None:
    """Write the file that one of the scripts reads: petals and sepals of 150 irises."""
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is needed")
    iris = datasets.load_iris()
    folder.mkdir(exist_ok=True)
    with open(folder / "flowers.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*iris.feature_names, "kind"])
        for features, number in zip(iris.data, iris.target, strict=True):
            writer.writerow([*features, iris.target_names[number]])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The end of an undisturbed run, made once for each script and number of ranks."""

    @functools.cache
    def run(name: str, num_ranks: int) -> End:
        folder = tmp_path_factory.mktemp(f"{name}{num_ranks}")
        return launched(folder, name, num_ranks)

    return run


# --- The five ---------------------------------------------------------------------


@every_script
@every_size
def test_each_evaluation_counts_each_row_once_and_the_model_has_learned(
    undisturbed: Any, name: str, num_ranks: int
) -> None:
    script, end = SCRIPTS[name], undisturbed(name, num_ranks)
    lines = end.out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"epoch {epoch}" for epoch in range(len(lines))
    ]
    for line in lines:
        assert line.endswith(f" {script.test_rows} test rows")
    best = end.figures[-1]
    assert best < script.good if "perplexity" in end.out else best > script.good


@every_script
def test_two_ranks_have_the_figures_of_one(undisturbed: Any, name: str) -> None:
    """Where each rank has noise or statistics of its own, they are others."""
    alone, two = undisturbed(name, 1), undisturbed(name, 2)
    # Printed with four digits; sums in another order may round the last one otherwise.
    figures = pytest.approx(alone.figures, abs=2e-4)
    if SCRIPTS[name].same_alone:
        assert two.figures == figures
    else:
        gaps = [(two.weights[n] - alone.weights[n]).abs().max() for n in two.weights]
        assert max(gaps) > 1e-3


@pytest.mark.skipif(sys.platform != "linux", reason="torchrun is used on Linux only")
@every_script
@every_size
def test_under_torchrun_a_script_ends_with_the_same_bits(
    undisturbed: Any, tmp_path: pathlib.Path, name: str, num_ranks: int
) -> None:
    prepare(tmp_path)
    done = subprocess.run(
        [
            *(sys.executable, *TORCHRUN),
            *(f"--nproc_per_node={num_ranks}", str(SCRIPTS[name].path)),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        timeout=200,
        text=True,
        check=True,
    )
    end, wanted = end_of(tmp_path, name, done.stdout), undisturbed(name, num_ranks)
    assert end.out == wanted.out
    assert end.digests == wanted.digests


@pytest.mark.skipif(sys.platform != "linux", reason="needs SIGKILL and a fork server")
@every_script
@every_size
def test_killed_in_mid_epoch_a_script_ends_with_the_bits_of_an_undisturbed_run(
    undisturbed: Any, tmp_path: pathlib.Path, name: str, num_ranks: int
) -> None:
    script = SCRIPTS[name]
    prepare(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        if num_ranks == 1:
            context = multiprocessing.get_context("forkserver")
            process = context.Process(target=train_alone, args=(name, script.killed_at))
            process.start()
            process.join(100)
            assert process.exitcode == -signal.SIGKILL
        else:
            with pytest.raises(RankFailedError, match="rank 1 was killed by SIGKILL"):
                dist.launch(train, name, script.killed_at, num_ranks=2, timeout_s=60)
    saved = sorted(path.name for path in (tmp_path / script.folder).glob("step-*"))
    assert 0 < int(saved[-1].removeprefix("step-")) < script.killed_at
    end, wanted = launched(tmp_path, name, num_ranks), undisturbed(name, num_ranks)
    assert end.digests == wanted.digests
    # Negative control: it went on, and did not begin anew.
    assert wanted.out.endswith(end.out)
    assert len(end.out) < len(wanted.out)


# --- What each has of its own -----------------------------------------------------


def plain_uneven(*, weighs_parts_alike: bool) -> dict[str, torch.Tensor]:
    """Train uneven.py's model in torch alone: no ranks, no accumulation."""
    script = importlib.import_module("uneven")
    generator = torch.Generator().manual_seed(0)
    num_rows = script.TRAIN_ROWS + script.TEST_ROWS
    features = torch.rand(num_rows, 5, generator=generator)
    targets = features.square().sum(dim=1, keepdim=True) - features[:, :1]
    alone = dist.Ranks(0, 0, 1, torch.device("cpu"))
    sampler = sharding.ShuffledBatchSampler(
        script.TRAIN_ROWS, alone, global_batch_size=40, seed=0, drop_last=False
    )
    model = script.new_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(script.EPOCHS):
        sampler.set_epoch(epoch)
        for rows in sampler:
            # Of two micro-batches on two ranks each, as equally large they may be not.
            parts = [rows]
            if weighs_parts_alike:
                halves = torch.tensor(rows).tensor_split(2)
                parts = [half[rank::2].tolist() for half in halves for rank in (0, 1)]
            losses = [F.mse_loss(model(features[p]), targets[p]) for p in parts]
            optimizer.zero_grad()
            (sum(losses) / len(losses)).backward()
            optimizer.step()
    return model.state_dict()


def test_uneven_parts_train_the_model_of_one_loop_over_whole_steps(
    undisturbed: Any,
) -> None:
    wanted = plain_uneven(weighs_parts_alike=False)
    for num_ranks in (1, 2):
        trained = undisturbed("uneven", num_ranks).weights
        torch.testing.assert_close(trained, dict(wanted), rtol=0, atol=1e-5)
    # Negative control: DDP's and accumulation's plain means train another one.
    alike = plain_uneven(weighs_parts_alike=True)
    assert max((alike[name] - wanted[name]).abs().max() for name in wanted) > 1e-4


def test_the_towers_share_one_table_and_a_checkpoint_holds_it_once(
    undisturbed: Any,
) -> None:
    end = undisturbed("towers", 2)
    tables = [name for name, tensor in end.weights.items() if tensor.shape == (60, 16)]
    assert len(tables) == 1
    model = importlib.import_module("towers").Towers()
    assert model.query[0] is model.answer[0]
    # Negative control: torch's own names are two.
    assert {"query.0.weight", "answer.0.weight"} <= model.state_dict().keys()


def test_the_figures_of_the_flowers_are_scikit_learns(
    undisturbed: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    end = undisturbed("flowers", 2)
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    rows, class_names = importlib.import_module("flowers").read()
    assert class_names == ["setosa", "versicolor", "virginica"]
    model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Dropout(0), nn.Linear(32, 3))
    model.load_state_dict(end.weights)
    features, labels = rows[::5]
    answers = model(features).argmax(dim=1)
    f1 = sklearn_metrics.f1_score(labels, answers, average="macro")
    assert f"{f1:.4f}" == f"{end.figures[-1]:.4f}"


def test_the_gpts_loss_is_the_mean_over_tokens_and_not_over_batches(
    undisturbed: Any,
) -> None:
    script = importlib.import_module("adding_gpt")
    model = script.Gpt().eval()
    model.load_state_dict(undisturbed("gpt", 2).weights)
    order = torch.randperm(
        len(script.TEXTS), generator=torch.Generator().manual_seed(0)
    )
    texts = [script.TEXTS[row] for row in order[: script.TEST_ROWS]]
    num_tokens = sum(len(text.partition("=")[2]) for text in texts)
    loss_sum = 0.0
    for text in texts:  # each alone: nothing is padded
        inputs, targets = script.collate([text])
        with torch.no_grad():
            logits = model(inputs)[0]
        losses = F.cross_entropy(logits, targets[0], reduction="none")
        loss_sum += losses.double().sum().item()
    perplexity = torch.tensor(loss_sum / num_tokens).exp().item()
    for num_ranks in (1, 2):
        end = undisturbed("gpt", num_ranks)
        assert f" {num_tokens} tokens " in end.out.splitlines()[-1]
        assert end.figures[-1] == pytest.approx(perplexity, rel=1e-4)


# --- The template -----------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_from_outside_with_all_its_ranks_the_template_resumes_to_the_bit(
    undisturbed: Any, tmp_path: pathlib.Path
) -> None:
    """As a user starts it, and as the system kills it: everything, at any moment."""
    program = subprocess.Popen(
        [sys.executable, str(TEMPLATE)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    checkpoints = tmp_path / "runs" / "digits"
    try:
        while not (checkpoints / "step-00000160").exists():
            assert program.poll() is None
            time.sleep(0.002)
    finally:
        os.killpg(program.pid, signal.SIGKILL)
        program.communicate(timeout=60)
    assert not (checkpoints / "step-00000400").exists()
    rest, wanted = launched(tmp_path, "digits", 2), undisturbed("digits", 2)
    assert wanted.out.endswith(rest.out)
    assert int(rest.out[6]) >= 3  # after step 160, of 50 an epoch
    assert rest.digests == wanted.digests


def num_statements_and_lines(path: pathlib.Path) -> tuple[int, int]:
    """Count a program's statements and lines; none may hold two statements."""
    text = path.read_text(encoding="utf-8")
    starts = [n.lineno for n in ast.walk(ast.parse(text)) if isinstance(n, ast.stmt)]
    assert len(starts) == len(set(starts)), f"{path.name}: two statements on a line"
    return len(starts), len(text.splitlines())


def test_the_template_is_shorter_than_both_rivals_and_checked_strictly() -> None:
    num_statements, num_lines = num_statements_and_lines(TEMPLATE)
    assert num_statements >= 40
    rivals = sorted(RIVALS.glob("*.py"))
    assert [path.name for path in rivals] == [
        "accelerate_digits.py",
        "fabric_digits.py",
    ]
    record = ROOT / "site_docs" / "benchmarks" / "results" / "own_task.json"
    measured = json.loads(record.read_text(encoding="utf-8"))["figures"]
    assert measured["own"]["lines"] == num_lines
    for name, path in zip(("accelerate", "fabric"), rivals, strict=True):
        num_rival_lines = num_statements_and_lines(path)[1]
        assert measured[name]["lines"] == num_rival_lines > num_lines
    mypy = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]
    assert mypy["strict"] is True  # `mypy` itself runs in .ci/run
    assert "chapters" in mypy["files"]


# --- The loop in the README -------------------------------------------------------

# What the README says is yours: a model, two data sets, the names of the classes.
YOURS = """
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from distrinews import checkpoint, dist, metrics, sharding, sync

digits = load_digits()
pixels, labels = torch.tensor(digits.data).float() / 16, torch.tensor(digits.target)
train_set = TensorDataset(pixels[:1500], labels[:1500])
test_set = TensorDataset(pixels[1500:], labels[1500:])
names = digits.target_names.astype(str)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
"""
RESTORE = '    checkpoint.restore("runs/mine", state)'


def test_the_readmes_loop_trains_on_two_ranks_and_continues(
    tmp_path: pathlib.Path,
) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    [loop] = re.findall(r"^```python\n(.+?)^```$", readme, re.MULTILINE | re.DOTALL)
    script = tmp_path / "mine.py"

    def accuracy_of_a_run(text: str) -> float:
        script.write_text(YOURS + text, encoding="utf-8")
        printed = call(script, folder=tmp_path).stdout
        [accuracy] = re.findall(
            r"^accuracy (0\.\d{4}) on 297 test rows$", printed, re.M
        )
        return float(accuracy)

    def saved_at() -> list[int]:
        files = (tmp_path / "runs" / "mine").glob("step-*/state.json")
        return sorted(file.stat().st_mtime_ns for file in files)

    first = accuracy_of_a_run(loop)
    assert first > 0.8
    before = saved_at()
    assert len(before) == 2
    assert accuracy_of_a_run(loop) == first
    assert saved_at() == before  # all epochs are trained: nothing was left to do
    # Negative control: without the line that restores, it trains and saves again.
    assert RESTORE in loop
    accuracy_of_a_run(loop.replace(RESTORE, "    pass"))
    assert saved_at() != before
