"""What every proof starts from: no launcher's variables, no colours, few threads."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Generator

import pytest
from helpers.running import Program

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


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    # WHY: a developer who runs pytest inside a job has some of these set, and every
    # proof about "alone" would meet a rank.
    for name in LAUNCHER_VARIABLES:
        monkeypatch.delenv(name, raising=False)


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
