"""Proof that the check for a machine with a GPU works at the first try: here, small."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import gpu_check
import pytest

from distrinews.bench import results

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a script of bash")
def test_every_check_holds_here_and_the_file_says_so(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "gpu_check.json"
    done = subprocess.run(
        ["bash", str(ROOT / "tests" / "gpu_check.sh"), str(path), "--tiny"],
        cwd=tmp_path,
        env=os.environ | {"PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        encoding="utf-8",
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("all held")
    figures = results.read(path, kind="gpu_check")["figures"]
    assert list(figures) == [check.__name__ for check in gpu_check.CHECKS]
    assert {len(each) for each in figures["step_time"]["step_ms"].values()} == {2}


def test_a_check_that_fails_is_named_and_the_others_go_on(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Negative control."""

    def broken(scale: gpu_check.Scale) -> dict[str, object]:
        gpu_check.check(holds=False, says="as was to be shown")
        return {}

    def fine(scale: gpu_check.Scale) -> dict[str, object]:
        return {"rows": scale.rows}

    monkeypatch.setattr(gpu_check, "CHECKS", (broken, fine))
    path = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", str(path), "--tiny"])
    assert gpu_check.main() == 1
    assert "failed: broken" in capsys.readouterr().out
    figures = results.read(path, kind="gpu_check")["figures"]
    assert "as was to be shown" in figures["broken"]["error"]
    assert figures["fine"]["held"]
