"""What every proof starts from: no launcher's variables, no colours, few threads."""

from __future__ import annotations

import pathlib
import signal
from collections.abc import Callable, Generator
from typing import Any

import pytest
import torch
from helpers import browsing, warm
from helpers.running import Program

from distrinews.dist import spawn

# WHY: pytest would import them to look for doctests; they are programs, and some need
# an optional package or take the place of one.
collect_ignore = ["helpers", "lint", "load.py"]

LAUNCHER_VARIABLES = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "OMP_NUM_THREADS",
    "GLOO_SOCKET_IFNAME",
    "DISTRINEWS_STORE",
)


# Seconds a test may take where no alarm can end it alone.
TIMEOUT_WITHOUT_ALARM_S = 900


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # WHY so long: without SIGALRM, as on Windows, pytest-timeout can only end the whole
    # session. A test that is merely slow would take all others' results with it.
    if not hasattr(signal, "SIGALRM") and config.option.timeout is None:
        config.option.timeout = TIMEOUT_WITHOUT_ALARM_S


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    # WHY: a developer who runs pytest inside a job has some of these set, and every
    # proof about "alone" would meet a rank.
    for name in LAUNCHER_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    # WHY one: the proofs' models are so small that two threads wait for each other
    # longer than they compute; on a busy machine ten times longer (measured).
    torch.set_num_threads(1)


# What these prove is the start of a rank itself, or needs CUDA, which survives no fork.
COLD_STARTS = {"test_dist", "test_gpu", "test_gpus", "test_machine", "test_spawn"}


@pytest.fixture(autouse=True, scope="module")
def _ranks_start_warm(request: pytest.FixtureRequest) -> Generator[None, None, None]:
    if not warm.AVAILABLE or request.path.stem in COLD_STARTS:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spawn, "multiprocessing", warm.in_place_of_spawn())
        yield


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    # WHY: a shell that runs pytest in its background lets it ignore Ctrl-C, and so
    # would every program that it starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def own_cache(
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[pathlib.Path, None, None]:
    """Keep tokenised data of this file's proofs away from the developer's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("DISTRINEWS_CACHE", str(folder))
        yield folder


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Generator[Callable[..., Program], None, None]:
    """Start programs; at the end of the test none of their processes is left."""
    started: list[Program] = []

    def start_one(*command: object, **options: object) -> Program:
        folder = tmp_path / f"program_{len(started)}"
        folder.mkdir()
        program = Program(command, folder=folder, **options)  # type: ignore[arg-type]
        started.append(program)
        return program

    yield start_one
    for program in started:
        program.kill_everything()


@pytest.fixture(scope="module")
def chromium() -> Generator[Any, None, None]:
    """One browser for all proofs of a file."""
    with browsing.browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[str, None, None]:
    """A small site with the real theme, and a page for each widget of `NAMES`."""
    # Imported late: most proofs run where mkdocs is not installed.
    from helpers import widget_site

    folder = tmp_path_factory.mktemp("site")
    with widget_site.served(folder, request.module.NAMES) as where:
        yield where


@pytest.fixture
def visit(chromium: Any, address: str) -> Generator[Callable[..., Any], None, None]:
    """Open a page of `address`; at the end, nothing may have been complained about."""
    from helpers import widget_site

    with widget_site.pages(chromium, timeout_ms=60_000) as go:
        yield lambda path, *, width=1280, **options: go(
            f"{address}/{path}", width=width, height=1000, **options
        )
