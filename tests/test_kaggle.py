"""Proofs for apps/kaggle: the notebook as Kaggle gets it, run to its end on the CPU."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
from helpers.running import HELPERS, Program

from distrinews.data import newswire

ROOT = pathlib.Path(__file__).resolve().parents[1]
KAGGLE = ROOT / "apps" / "kaggle"
COMMIT = "eb185aade064a813bc0b7f42de02595523103ca4"
NOTEBOOK = KAGGLE / "distrinews.ipynb"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Kaggle is Linux")


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> Generator[None, None, None]:
    """Let the modules of apps/kaggle be found, as the notebook's first cell does."""
    monkeypatch.syspath_prepend(str(KAGGLE))
    yield
    for name in [name for name in sys.modules if name.startswith("kaggle_")]:
        del sys.modules[name]


@pytest.fixture
def plan(cells: None) -> ModuleType:
    import kaggle_plan

    return kaggle_plan


@pytest.fixture
def install(cells: None) -> ModuleType:
    import kaggle_install

    return kaggle_install


@pytest.fixture
def commands(cells: None, tmp_path: pathlib.Path) -> Any:
    import kaggle_commands

    return kaggle_commands.Commands(tmp_path, ROOT)


# --- The files ------------------------------------------------------------------


def builder() -> ModuleType:
    import build_notebook

    return build_notebook


@pytest.mark.slow
def test_the_notebook_is_what_its_text_makes(
    cells: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jupytext")
    build = builder()
    text = build.SOURCE.read_text(encoding="utf-8")
    made = build.render(text)
    assert NOTEBOOK.read_text(encoding="utf-8") == made, (
        "run: python apps/kaggle/build_notebook.py"
    )
    assert build.render(text) == made  # nothing in it is chance
    assert build.render(text.replace("Where things are", "Where")) != made
    monkeypatch.setattr(sys, "argv", ["build_notebook.py", "--check"])
    assert build.main() == 0


@pytest.mark.slow
def test_a_changed_text_is_noticed(
    cells: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Negative control."""
    pytest.importorskip("jupytext")
    build = builder()
    changed = tmp_path / "kaggle_notebook.py"
    text = build.SOURCE.read_text(encoding="utf-8")
    changed.write_text(text.replace("## 5. One", "## 5. 1"), encoding="utf-8")
    monkeypatch.setattr(build, "SOURCE", changed)
    monkeypatch.setattr(sys, "argv", ["build_notebook.py", "--check"])
    before = NOTEBOOK.read_bytes()
    assert build.main() == 1
    assert "stale" in capsys.readouterr().out
    assert NOTEBOOK.read_bytes() == before


# --- What the machine can do ------------------------------------------------------


def test_two_t4_get_everything_and_a_file_that_replaces_the_prediction(
    plan: ModuleType,
) -> None:
    chosen = plan.choose(["Tesla T4", "Tesla T4"])
    assert chosen.message == (
        "2 GPU(s): Tesla T4, Tesla T4. Full settings: one rank, then two."
    )
    assert chosen.comparable
    assert chosen.record == "t4_scaling.json"
    assert (ROOT / "site_docs/benchmarks/t4.md").read_text("utf-8").count(
        f"<!-- from {chosen.record} or "
    ) == 1
    assert chosen.measure[-4:-2] == ("--device", "cuda")
    assert chosen.test_rows == ()  # all
    assert chosen.break_after == "step-00001000"
    # Negative control: other GPUs get no file that is named after the T4.
    assert plan.choose(["NVIDIA L4"] * 2).record == "gpu_scaling.json"


def test_one_gpu_trains_alone_in_full_and_says_what_is_missing(
    plan: ModuleType,
) -> None:
    chosen = plan.choose(["Tesla T4"])
    assert "1 GPU(s): Tesla T4." in chosen.message
    assert "two ranks need two GPUs" in chosen.message
    assert "GPU T4 x2" in chosen.message
    assert chosen.alone == plan.FULL
    assert chosen.pair == plan.SMALL
    assert not chosen.comparable
    assert chosen.record == "cpu_scaling.json"
    assert chosen.measure[-4:-2] == ("--device", "cpu")


def test_a_p100_is_named_and_the_plan_takes_the_cpu(
    plan: ModuleType, commands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = (
        "import pytest\n"
        "from helpers import fake_gpus\n"
        "fake_gpus.show(pytest.MonkeyPatch(), fake_gpus.NAME)\n"
    )
    import kaggle_commands

    listed = {}
    for name in ("P100", "T4"):
        show = fake.replace("NAME", name)
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests'}")
            patch.setattr(
                kaggle_commands, "LIST_GPUS", show + kaggle_commands.LIST_GPUS
            )
            listed[name] = commands.gpus()
    usable, refused = listed["P100"]
    assert usable == []
    chosen = plan.choose(usable, refused=refused)
    assert chosen.alone == chosen.pair == plan.SMALL
    assert chosen.message.startswith(
        "No GPU that torch can compute on. Not usable: Tesla P100-PCIE-16GB (sm_60): "
    )
    assert "Accelerator, GPU T4 x2" in chosen.message
    # Negative control: a T4 is usable.
    assert listed["T4"] == (["Tesla T4"], [])
    assert "Not usable" not in plan.choose(["Tesla T4"]).message


def test_no_gpu_goes_to_the_end_with_small_settings_and_says_so(
    plan: ModuleType,
) -> None:
    chosen = plan.choose([])
    assert chosen.message.startswith("No GPU. Small settings on the CPU")
    assert "say nothing about a GPU" in chosen.message
    assert chosen.alone == chosen.pair == plan.SMALL
    assert chosen.test_rows == ("--test-rows", "200")
    small = plan.choose(["Tesla T4"] * 2, wanted="small")
    assert small.pair == plan.SMALL
    with pytest.raises(ValueError, match="full or small"):
        plan.choose([], wanted="medium")


# --- How long it takes --------------------------------------------------------------


@pytest.fixture(scope="module")
def timetable() -> Callable[..., list[Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(KAGGLE))
        import numbers_kaggle
    made: Callable[..., list[Any]] = numbers_kaggle.timetable
    return made


@pytest.mark.slow
def test_the_plan_for_two_t4_fits_in_two_hours(
    timetable: Callable[..., list[Any]],
) -> None:
    parts = timetable()
    total = [sum(part.low_s for part in parts), sum(part.high_s for part in parts)]
    print(f"predicted for Kaggle: {total[0] / 60:.0f} to {total[1] / 60:.0f} minutes")
    assert 600 < total[0] < total[1] < 2 * 3600
    assert all(0 < part.low_s < part.high_s for part in parts)
    # Negative control: four epochs would not fit.
    assert sum(part.high_s for part in timetable(epochs=4)) > 2 * 3600


@pytest.mark.slow
def test_the_plan_is_the_cost_models_and_says_what_is_only_assumed(
    timetable: Callable[..., list[Any]],
) -> None:
    path = ROOT / "site_docs" / "benchmarks" / "results" / "prediction.json"
    prediction = json.loads(path.read_text(encoding="utf-8"))["figures"]["t4"][
        "distilbert"
    ]
    parts = {part.title.partition(":")[0]: part for part in timetable()}
    num_steps = (120_000 - 1_000) // 32
    for title, variant, again in (
        ("one rank", "one", 0),
        ("two ranks, broken off and resumed", "two", 500),
    ):
        low_ms, high_ms = prediction[variant]["step_ms"]
        part = parts[title]
        assert part.known == "predicted"
        assert f"{num_steps:,} steps" in part.title
        assert part.low_s == pytest.approx(num_steps * low_ms / 1000, rel=0.01)
        assert part.high_s == pytest.approx((num_steps + again) * high_ms / 1000, 0.01)
    assert {part.known for part in parts.values()} == {"predicted", "assumed"}
    page = (ROOT / "site_docs" / "howto" / "kaggle.md").read_text(encoding="utf-8")
    shown = page.partition("<!-- numbers kaggle_plan -->")[2].partition("<!-- end")[0]
    assert shown.strip().startswith("**Predicted, not measured.**")
    assert all(part.title in shown for part in parts.values())


# --- Installing ---------------------------------------------------------------------


def versions(**there: str) -> Callable[[str], str]:
    def version(name: str) -> str:
        if name not in there:
            raise importlib.metadata.PackageNotFoundError(name)
        return there[name]

    return version


def test_only_what_is_missing_or_does_not_fit_is_installed(install: ModuleType) -> None:
    wanted = ["torch>=2.6", "pydantic>=2.7,<3", "numpy>=1.26", "tqdm>=4.66"]
    there = {"torch": "2.10.0+cu128", "pydantic": "2.12.1", "numpy": "1.20.0"}
    assert install.missing(wanted, version=versions(**there)) == wanted[2:]
    there |= {"numpy": "2.4.0", "tqdm": "4.67"}
    assert install.missing(wanted, version=versions(**there)) == []


@pytest.mark.parametrize(
    ("there", "named"), [({"torch": "2.1.0+cu121"}, "2.1.0"), ({}, "None")]
)
def test_a_torch_that_does_not_fit_is_an_error_and_never_replaced(
    there: dict[str, str], named: str, install: ModuleType
) -> None:
    with pytest.raises(RuntimeError, match=rf"torch is {named}.*does not replace it"):
        install.missing(["torch>=2.6"], version=versions(**there))


def test_the_library_comes_without_dependencies_and_torch_is_pinned(
    install: ModuleType, commands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "FOR_PROOFS", ("no-such-package-anywhere>=1",))
    ran: list[list[str]] = []
    lacks = install.install(commands, run=lambda *words: ran.append([*map(str, words)]))
    assert "no-such-package-anywhere>=1" in lacks
    assert not [text for text in lacks if text.startswith("torch>")]
    first, second = ran
    pins = pathlib.Path(first[first.index("--constraint") + 1])
    have = importlib.metadata.version("torch")
    assert pins.read_text(encoding="utf-8") == f"torch=={have}\n"
    assert second[-3:] == ["--no-deps", "--editable", str(ROOT)]


def test_another_torch_afterwards_is_an_error(
    install: ModuleType, commands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: an installation that replaced it does not pass."""
    answers = iter(["2.10.0+cu128", "2.13.0+cpu"])
    monkeypatch.setattr(install, "torch_version", lambda: next(answers))
    with pytest.raises(RuntimeError, match=r"torch was 2\.10\.0\+cu128 and is 2\.13"):
        install.install(commands, run=lambda *words: None)


# --- Commands -------------------------------------------------------------------


def test_a_command_is_shown_followed_and_its_failure_is_an_error(
    commands: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    done = commands.run("python", "-c", "print('news'); print('é')")
    assert (done.code, done.text) == (0, "news\né\n")
    assert capsys.readouterr().out.startswith("$ python -c ")
    with pytest.raises(RuntimeError, match="exit code 3"):
        commands.run("python", "-c", "raise SystemExit(3)")
    assert commands.run("python", "-c", "raise SystemExit(3)", check=False).code == 3


def test_of_a_progress_bar_only_some_states_are_shown(
    commands: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code = """
for done in range(101):
    print(f"[rank 0] \\r[rank 0] train: {done:3}%|## | {done}/100 [00:01, 9it/s]")
print("[rank 0] step 100: accuracy 0.5")
print("plain", end="")
"""
    done = commands.run("python", "-c", code)
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if line.startswith("[rank 0] train")] == [
        "[rank 0] train:   0%|## | 0/100 [00:01, 9it/s]",
        "[rank 0] train: 100%|## | 100/100 [00:01, 9it/s]",
    ]
    assert said[-2:] == ["[rank 0] step 100: accuracy 0.5", "plain"]
    assert done.text.count("%|") == 101  # control: nothing is lost, only not shown
    assert repr(done) == "Done(code=0)"


def test_a_command_that_is_broken_off_ends_and_leaves_nothing(
    commands: Any, tmp_path: pathlib.Path
) -> None:
    there = tmp_path / "step-00000020"
    code = (
        "import pathlib, time; print('begun', flush=True); "
        "pathlib.Path('step-00000020').touch(); time.sleep(100)"
    )
    began_s = time.monotonic()
    done = commands.run_until("python", "-c", code, exists=there)
    assert done.code != 0
    assert "begun" in done.text
    assert time.monotonic() - began_s < 30


INTERRUPTED = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import kaggle_commands
commands = kaggle_commands.Commands(pathlib.Path.cwd(), pathlib.Path(sys.argv[2]))
code = "import time; print('waiting', flush=True); time.sleep(99)"
commands.run("python", "-c", code)
"""


def test_an_interrupted_cell_ends_its_command(
    start: Callable[..., Program], tmp_path: pathlib.Path
) -> None:
    program = start(sys.executable, "-c", INTERRUPTED, KAGGLE, ROOT, cwd=tmp_path)
    deadline_s = time.monotonic() + 30
    while "waiting\n" not in program.out and time.monotonic() < deadline_s:
        time.sleep(0.05)
    program.press_ctrl_c()
    assert program.exit_code(timeout_s=30) != 0
    assert "KeyboardInterrupt" in program.err
    program.seconds_until_nothing_is_left(timeout_s=10)


def test_the_first_cell_clones_the_repository_or_asks_for_its_address(
    tmp_path: pathlib.Path,
) -> None:
    all_cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    first = next(cell["source"] for cell in all_cells if cell["cell_type"] == "code")
    small = tmp_path / "origin"
    (small / "apps" / "kaggle").mkdir(parents=True)
    text = (KAGGLE / "kaggle_commands.py").read_text(encoding="utf-8")
    (small / "apps" / "kaggle" / "kaggle_commands.py").write_text(
        text, encoding="utf-8"
    )
    me = ("-c", "user.name=proof", "-c", "user.email=proof@localhost")
    for words in (("init", "-q"), ("add", "."), (*me, "commit", "-q", "-m", "Begin")):
        subprocess.run(("git", *words), cwd=small, check=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith("DISTRINEWS_")}
    env["DISTRINEWS_WORK"] = str(tmp_path)

    def execute(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", first],
            env=env | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done = execute()
    assert "Write the repository's address into this cell" in done.stderr
    assert not (tmp_path / "distrinews").exists()
    done = execute(DISTRINEWS_ADDRESS=small.as_uri())
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "distrinews" / ".git").is_dir()  # chapter 06 names the commit


# --- What came out ----------------------------------------------------------------


def record(*, gpus: list[str], speedups: tuple[float, float]) -> str:
    """An invented record of chapter 06; the prediction is the committed one."""
    strong, weak = ({"speedup": speedup} for speedup in speedups)
    result = {
        "settings": {"preset": "distilbert"},
        "environment": {
            "num_ranks": 2,
            "gpus": gpus,
            "device": "cuda" if gpus else "cpu",
        },
        "figures": {"strong": strong, "weak": weak},
    }
    return json.dumps(result)


def test_the_picture_shows_the_prediction_beside_t4_and_nowhere_else(
    plan: ModuleType, commands: Any
) -> None:
    pytest.importorskip("matplotlib")
    import kaggle_results

    drawn = {}
    for gpus in (["Tesla T4"] * 2, ["NVIDIA L4"] * 2, []):
        chosen = plan.choose(gpus)
        text = record(gpus=gpus, speedups=(1.52, 1.83))
        (commands.work / chosen.record).write_text(text, encoding="utf-8")
        picture = kaggle_results.draw_speed_up(commands, chosen)
        assert picture.read_bytes().startswith(b"\x89PNG")
        svg = (commands.work / "speed_up.svg").read_text(encoding="utf-8")
        drawn[chosen.record] = svg
    predicted = {name: "#d55e00" in svg.lower() for name, svg in drawn.items()}
    assert predicted == {
        "t4_scaling.json": True,
        "gpu_scaling.json": False,
        "cpu_scaling.json": False,
    }


# --- From start to end ----------------------------------------------------------


@dataclass(frozen=True)
class Executed:
    """The notebook after "Run All".

    Attributes:
        work: Where its files are.
        code: 0 if no cell failed.
        error: What the failing cell said.
        texts: What the cells below each step's heading printed.
        seconds: Wall clock.
        left: Command lines of processes that were still there at the end.
    """

    work: pathlib.Path
    code: int
    error: str
    texts: dict[int, str]
    seconds: float
    left: list[list[str]]


def hub_cache(home: pathlib.Path) -> None:
    """Lay invented rows out as AG News lies in the cache of the Hugging Face Hub."""
    import pyarrow
    import pyarrow.parquet

    folder = home / "hub" / "datasets--fancyzhx--ag_news"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    data = folder / "snapshots" / COMMIT / "data"
    data.mkdir(parents=True)
    for split, num_rows in (("train", 1400), ("test", 300)):
        rows = [newswire.story(i, seed=0, split=split) for i in range(num_rows)]
        table = pyarrow.table({
            "text": [row.text for row in rows],
            "label": [row.label for row in rows],
        })
        pyarrow.parquet.write_table(table, data / f"{split}-00000-of-00001.parquet")


def execute(folder: pathlib.Path, notebook: pathlib.Path) -> Executed:
    """Run a notebook on the CPU, offline, with the installation left out."""
    work = folder / "work"
    work.mkdir()
    hub_cache(folder / "hf")
    began_s = time.monotonic()
    program = Program(
        (HELPERS / "run_notebook.py", notebook, work / "executed.ipynb"),
        folder=folder,
        env={
            "DISTRINEWS_WORK": str(work),
            "DISTRINEWS_CHECKOUT": str(ROOT),
            "DISTRINEWS_INSTALL": "no",
            "DISTRINEWS_NOTEBOOK": "small",
            "DISTRINEWS_CACHE": str(folder / "cache"),
            "HF_HOME": str(folder / "hf"),
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",  # models so small: threads would only wait
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_PLATFORM_DIRS": "1",
        },
        cwd=work,
    )
    try:
        code = program.exit_code(timeout_s=900)
        seconds = time.monotonic() - began_s
        deadline_s = time.monotonic() + 5
        while program.processes() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        left, error = program.commands(), program.err
    finally:
        program.kill_everything()
    cells = json.loads((work / "executed.ipynb").read_text("utf-8"))["cells"]
    return Executed(work, code, error, outputs(cells), seconds, left)


def outputs(cells: list[dict[str, Any]]) -> dict[int, str]:
    """Step -> everything that was printed below its heading."""
    texts: dict[int, str] = {}
    step = 0
    for cell in cells:
        if cell["cell_type"] == "markdown":
            heading = re.match(r"## (\d+)\.", "".join(cell["source"]))
            step = int(heading[1]) if heading else step
        else:
            for output in cell["outputs"]:
                texts[step] = texts.get(step, "") + "".join(output.get("text", ""))
    return texts


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Executed:
    for package in ("nbclient", "nbformat", "ipykernel", "matplotlib"):
        pytest.importorskip(package)
    done = execute(tmp_path_factory.mktemp("notebook"), NOTEBOOK)
    assert done.code == 0, done.error
    return done


def read(path: pathlib.Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_the_notebook_runs_from_start_to_end_and_leaves_no_process(
    executed: Executed,
) -> None:
    print(f"the notebook took {executed.seconds:.0f} s")
    assert "The notebook went to its end." in executed.texts[14]
    assert executed.left == []
    assert sorted(executed.texts) == list(range(1, 15))


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_torch_is_the_same_and_the_machine_is_described(executed: Executed) -> None:
    have = importlib.metadata.version("torch")
    assert f"torch {have} before, {have} after" in executed.texts[2]
    assert "ok" in executed.texts[3]
    assert "No GPU. Small settings, as asked for." in executed.texts[4]


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_one_rank_trains_and_two_are_broken_off_and_go_on(executed: Executed) -> None:
    runs = executed.work / "runs"
    assert "1 on cpu" in executed.texts[5]
    assert re.search(r"accuracy 0\.\d{4}, macro F1", executed.texts[5])
    assert "2 on cpu" in executed.texts[6]
    assert "broken off after step-00000020" in executed.texts[6]
    assert "a result?   False" in executed.texts[6]
    match = re.search(r"resuming \S+ after step (\d+)", executed.texts[7])
    assert match is not None
    one_rank, two_ranks = (read(runs / name / "result.json") for name in ("one", "two"))
    # It did not begin again, and it was not finished: 38 steps an epoch, four epochs.
    assert 20 <= int(match[1]) < two_ranks["steps"] == one_rank["steps"] == 4 * 38
    assert two_ranks["rows_trained"] == 32 * (two_ranks["steps"] - int(match[1]))
    lines = (runs / "two" / "metrics.jsonl").read_text("utf-8").splitlines()
    logged = [step["step"] for step in map(json.loads, lines) if "loss" in step]
    assert logged == list(range(10, 4 * 38, 10))  # no gap, nothing twice


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_one_rank_and_two_train_the_same_and_every_row_counts_once(
    executed: Executed,
) -> None:
    lines = executed.texts[8].splitlines()
    assert lines[0].split() == ["step", "one", "rank", "two", "ranks", "difference"]
    first = float(lines[1].split()[3])
    losses = [float(line.split()[1]) for line in lines[1:]]
    assert first < 1e-5 < 0.05 < losses[0] - losses[-1]  # control: losses do change
    evaluations = [read(executed.work / f"evaluation_{ranks}.json") for ranks in (1, 2)]
    # WHY only the loss: a sum of floats depends on its order; counts do not.
    loss_one_rank, loss_two_ranks = (figures.pop("loss") for figures in evaluations)
    assert loss_one_rank == pytest.approx(loss_two_ranks, rel=1e-12)
    assert evaluations[0] == evaluations[1]
    assert evaluations[0]["rows"] == 200
    result = read(executed.work / "runs" / "two" / "result.json")
    assert result["confusion_matrix"] == evaluations[0]["confusion_matrix"]
    accuracy = f"accuracy {evaluations[0]['accuracy']:.4f}, 200 rows"
    assert executed.texts[9].count(accuracy) == 2


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_the_measurement_the_picture_the_space_and_the_proofs_are_there(
    executed: Executed,
) -> None:
    work = executed.work
    record = read(work / "cpu_scaling.json")
    assert (record["kind"], record["schema"]) == ("scaling", 1)
    assert record["environment"]["device"] == "cpu"
    assert "communication" in executed.texts[10]
    assert "fewer than 5 rounds" in executed.texts[10]  # it would not be published
    assert (work / "speed_up.png").read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in (work / "speed_up.svg").read_text(encoding="utf-8")
    assert (work / "space" / "app.py").is_file()
    assert (work / "space" / "model" / "model.safetensors").is_file()
    proofs = (work / "gpu_proofs.txt").read_text(encoding="utf-8")
    assert re.search(r"\d+ skipped", proofs)
    assert "failed" not in proofs
    with zipfile.ZipFile(work / "bring_home.zip") as archive:
        names = set(archive.namelist())
    assert {
        "cpu_scaling.json",
        "gpu_proofs.txt",
        "runs/two/result.json",
        "runs/one/metrics.jsonl",
        "space/model/model.safetensors",
        "speed_up.svg",
    } <= names
    assert not [name for name in names if "checkpoints" in name]
    assert "not there" not in executed.texts[14]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_notebook_with_a_failing_cell_fails(tmp_path: pathlib.Path) -> None:
    """Negative control: the run above would not pass over an error."""
    for package in ("nbclient", "nbformat", "ipykernel"):
        pytest.importorskip(package)
    notebook = read(NOTEBOOK)
    ids = [cell["id"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    kept = [cell for cell in notebook["cells"] if cell["id"] <= ids[0]]
    broken = dict(kept[-1], id="broken", source='commands.run("python", "-c", "1 / 0")')
    after = dict(kept[-1], id="after", source='print("never reached")')
    notebook["cells"] = [*kept, broken, after]
    spoilt = tmp_path / "spoilt.ipynb"
    spoilt.write_text(json.dumps(notebook), encoding="utf-8")
    done = execute(tmp_path, spoilt)
    assert done.code != 0
    assert "failed with exit code 1" in done.error
    assert "ZeroDivisionError" in done.texts[1]
    assert "never reached" not in done.texts[1]
    assert done.left == []
