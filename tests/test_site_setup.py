"""Proofs for the set-up page: our checks run each command, or it is marked."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest
from helpers import site_commands

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "site_docs" / "start" / "setup.md"
NOT_RUN = re.compile(r"not run here", re.IGNORECASE)
# Command -> a file that runs it, and words by which one sees it there.
RUN_BY = {
    "sudo apt install python3 python3-venv git": (".ci/run", "+=(python3-venv)"),
    "git clone ADDRESS distrinews": (".ci/run", "git clone -q"),
    "cd distrinews": (".ci/run", 'cd "$work/main"'),
    "python3 -m venv .venv": ("README.md", "python3 -m venv .venv && "),
    '.venv/bin/python -m pip install -q -c constraints.txt -e ".[quickstart]"': (
        "README.md",
        '-q -c constraints.txt -e ".[quickstart]" && ',
    ),
    ".venv/bin/python chapters/05_ddp_training.py": (
        "README.md",
        "&& .venv/bin/python chapters/05_ddp_training.py",
    ),
    ".venv/bin/python -m distrinews doctor": ("tests/test_doctor.py", '"distrinews"'),
    "python chapters/01_single_gpu.py --preset tiny": (
        "tests/helpers/chapters.py",
        '"01_single_gpu.py"',
    ),
}
# And those that a proof below runs.
RUN_HERE = {
    "python3 --version": [sys.executable, "--version"],
    "git --version": ["git", "--version"],
    "source .venv/bin/activate": [
        *("bash", "-c"),
        f"source {sys.prefix}/bin/activate && command -v python",
    ],
}


def unmarked(text: str) -> list[str]:
    """Commands that the page says our checks run."""
    commands: list[str] = []
    tab = section = lead = ""
    fence: list[str] | None = None
    for line in text.splitlines():
        if fence is not None and line.strip() == "```":
            left_out = tab in {"Windows", "macOS"} or "accounts" in section
            if not left_out and not NOT_RUN.search(lead):
                commands += site_commands.commands("\n".join(fence))
            fence, lead = None, ""
        elif fence is not None:
            fence.append(line)
        elif line.strip() in {"```sh", "```powershell"}:
            fence = []
            tab = tab if line.startswith(" ") else ""
        elif line.strip():
            title = re.match(r'=== "(\w+)', line)
            if not line.startswith(" "):
                tab = title[1] if title else ""
            if line.startswith("## "):
                section, lead = line, ""
            lead = f"{lead} {line}"  # what stands there since the last block
    return commands


def test_every_command_is_run_by_our_checks_or_marked_as_not_run() -> None:
    text = PAGE.read_text(encoding="utf-8")
    commands = unmarked(text)
    assert len(commands) >= 10
    missing = [
        command
        for command in commands
        if command not in RUN_BY and command not in RUN_HERE
    ]
    assert missing == []
    for command, (path, words) in RUN_BY.items():
        assert command in commands, f"{command} has left the page: forget it here"
        assert words in (ROOT / path).read_text(encoding="utf-8"), path
    for words in ("Windows and macOS: **not run here**", "account"):
        assert words in text


def test_a_command_that_nobody_runs_and_nobody_marks_is_found() -> None:
    """Negative control."""
    text = PAGE.read_text(encoding="utf-8")
    more = "\n\n```sh\nrm -rf runs\n```\n"
    assert "rm -rf runs" in unmarked(text + more)
    assert "rm -rf runs" not in unmarked(f"{text}\n\nNot run here:{more}")
    assert unmarked('=== "macOS"\n\n    ```sh\n    brew install git\n    ```') == []
    linux = '=== "Linux"\n\n    ```sh\n    brew install git\n    ```'
    assert unmarked(linux) == ["brew install git"]


@pytest.mark.skipif(sys.platform == "win32", reason="the page's Linux tabs")
@pytest.mark.parametrize("command", RUN_HERE)
def test_the_small_commands_work(command: str) -> None:
    done = subprocess.run(RUN_HERE[command], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_both_accounts_say_what_they_cost_their_quota_and_their_waiting_time() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("## 6.")[2]
    text = text.partition("\n## ")[0]
    for name in ("Hugging Face", "Kaggle"):
        [row] = re.findall(rf"^\| \[{name}\].*$", text, re.MULTILINE)
        assert "| nothing |" in row
        assert re.search(r"\d+ (GB|GPU hours)", row)
        assert "verified" in row
    assert "30 days" in text
    assert "GPU T4 x2" in text
    assert NOT_RUN.search(text)
    for word in ("auth login", "auth whoami", "repos create", "upload"):
        assert f"hf {word}" in text
