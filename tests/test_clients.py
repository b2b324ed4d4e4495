"""Proofs for apps/clients: each example works as it is printed in howto/serve."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

from helpers.served import Served
from helpers.serving import LABELS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = ROOT / "apps" / "clients"
HEADLINE = "Oil prices rise as a storm nears the coast"
LABEL = LABELS[sum(map(ord, HEADLINE)) % 4]


@pytest.fixture
def served(tmp_path: Path) -> Generator[Served, None, None]:
    """A server that is not ready for its first 2.5 seconds."""
    served = Served(tmp_path, wait=False, load_s=2.5)
    yield served
    served.program.kill_everything()


def ask(name: str, url: str) -> subprocess.CompletedProcess[str]:
    commands = {
        "predict.sh": ["bash", CLIENTS / name, url],
        "predict.py": [sys.executable, CLIENTS / name, "--url", url, HEADLINE],
        "predict.mjs": ["node", CLIENTS / name, url, HEADLINE],
    }
    program = "curl" if name == "predict.sh" else str(commands[name][0])
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not here")
    return subprocess.run(
        commands[name], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", ["predict.sh", "predict.py", "predict.mjs"])
def test_a_client_waits_for_a_busy_server_and_gets_its_answer(
    served: Served, name: str
) -> None:
    # Negative control: who does not come back is refused.
    assert served.predict().status_code == 503
    done = ask(name, served.url)
    assert done.returncode == 0, done.stderr
    if name == "predict.sh":
        assert json.loads(done.stdout)["label"] == LABEL
    else:
        assert done.stdout.split()[0] == LABEL.split()[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("predict.py", [sys.executable, CLIENTS / "predict.py", "--url", "URL", " "]),
        ("predict.mjs", ["node", CLIENTS / "predict.mjs", "URL", " "]),
    ],
)
def test_a_client_shows_what_the_server_explains(
    served: Served, name: str, words: list[object]
) -> None:
    if words[0] == "node" and shutil.which("node") is None:
        pytest.skip("node is not here")
    served.wait()
    command = [str(word).replace("URL", served.url) for word in words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "Not what was asked for" in done.stderr
    assert "Traceback" not in done.stderr
