"""Proofs for the set-up page: its small commands work.

That something runs each of the others: `python -m tests.lint pages`.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

RUN_HERE = {
    "python3 --version": [sys.executable, "--version"],
    "git --version": ["git", "--version"],
    "source .venv/bin/activate": [
        *("bash", "-c"),
        f"source {sys.prefix}/bin/activate && command -v python",
    ],
}


@pytest.mark.skipif(sys.platform == "win32", reason="the page's Linux tabs")
@pytest.mark.parametrize("command", RUN_HERE)
def test_the_small_commands_work(command: str) -> None:
    done = subprocess.run(RUN_HERE[command], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_workflow_runs_the_readmes_commands_on_windows_and_macos() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    workflow = (ROOT / ".github" / "workflows" / "checks.yml").read_text("utf-8")
    run_lines = {line.strip() for line in workflow.splitlines()}
    commands = re.findall(r"^```(?:sh|powershell)\n(.+ -m venv .+)\n```$", readme, re.M)
    assert len(commands) == 4  # two for each shell
    assert [each for each in commands if each not in run_lines] == []
    # Negative control: another command is not found.
    assert commands[0].replace("quickstart", "serve") not in run_lines


def test_powershells_commands_say_which_encoding_a_text_has() -> None:
    """PowerShell 5.1 sends a body as Latin-1 and a pipe as ASCII, if nobody says so."""
    pages = [path.read_text("utf-8") for path in (ROOT / "site_docs").rglob("*.md")]
    commands = [
        line.strip()
        for page in pages
        for block in re.findall(r"```powershell\n(.*?)```", page, re.S)
        for line in block.splitlines()
    ]
    posts = [line for line in commands if "-Body" in line]
    assert len(posts) >= 1  # the guard: they were found
    assert [line for line in posts if "charset=utf-8" not in line] == []
    piped = [k for k, line in enumerate(commands) if "| python" in line]
    assert len(piped) >= 1
    assert all("$OutputEncoding" in commands[k - 1] for k in piped)
