"""Proofs for the template of one's own task: exact, resumable to the bit, typed."""

from __future__ import annotations

import ast
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import tomllib

import pytest
import torch
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "chapters" / "own_task.py"
LAST = "step-00000400"  # 8 epochs of 1,500 rows, 30 a step
End = tuple[str, dict[str, torch.Tensor]]  # what was printed, the last weights
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def start(folder: pathlib.Path, *launcher: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *launcher, str(TEMPLATE)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end_of(folder: pathlib.Path, *launcher: str) -> End:
    """What a run printed, and the weights of its last checkpoint."""
    program = start(folder, *launcher)
    try:
        out, _ = program.communicate(timeout=400)
    finally:
        program.kill()  # its ranks notice, and end themselves
    assert program.returncode == 0
    [weights] = (folder / "runs" / "digits" / LAST).glob("weights*")
    return out, load_file(weights)


def kill_in_mid_epoch(folder: pathlib.Path) -> None:
    """SIGKILL to all ranks once the checkpoint after 160 steps is there."""
    program = start(folder)
    checkpoints = folder / "runs" / "digits"
    try:
        while not (checkpoints / "step-00000160").exists():
            assert program.poll() is None
            time.sleep(0.002)
    finally:
        os.killpg(program.pid, signal.SIGKILL)
        program.communicate(timeout=60)
    assert not (checkpoints / LAST).exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> End:
    return end_of(tmp_path_factory.mktemp("whole"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_run_ends_with_the_bits_of_an_undisturbed_one(
    whole: End, tmp_path: pathlib.Path
) -> None:
    out, undisturbed = whole
    evaluations = re.findall(r"epoch (\d): (0\.\d{4}) of 297 test rows", out)
    assert [epoch for epoch, _ in evaluations] == list("01234567")
    assert float(evaluations[-1][1]) > 0.85
    kill_in_mid_epoch(tmp_path / "killed")
    rest, resumed = end_of(tmp_path / "killed")
    assert out.endswith(rest)
    assert int(rest[6]) >= 3  # after step 160, of 50 an epoch
    assert resumed.keys() == undisturbed.keys()
    for name, tensor in undisturbed.items():
        assert torch.equal(resumed[name], tensor), name


@pytest.mark.skipif(sys.platform != "linux", reason="torchrun is used on Linux only")
def test_under_torchrun_it_ends_with_the_same_bits(
    whole: End, tmp_path: pathlib.Path
) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    out, weights = end_of(tmp_path, *torchrun)
    assert out == whole[0]
    assert weights.keys() == whole[1].keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in whole[1].items())


def test_the_template_is_shorter_than_its_rivals_and_checked_strictly() -> None:
    lines = TEMPLATE.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 75  # the shorter of the two rivals
    nodes = ast.walk(ast.parse("\n".join(lines)))
    starts = [node.lineno for node in nodes if isinstance(node, ast.stmt)]
    assert len(starts) == len(set(starts)) >= 40  # one statement a line
    mypy = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]
    assert mypy["strict"] is True  # `mypy` itself runs in .ci/run
    assert "chapters" in mypy["files"]
