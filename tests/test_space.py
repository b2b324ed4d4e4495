"""Proofs for apps/space/space.py and apps/space: the folder is whole, and it runs.

The slow ones start the folder as Spaces do: an environment of its own, `python app.py`
in the folder, the platform's variables. That environment borrows the packages of this
one, but not this library. DISTRINEWS_FRESH=1 makes one from nothing instead, with the
folder's own requirements.txt; it takes minutes.
"""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from typing import Any

import psutil
import pytest
import space
import space_files
import space_model
import yaml
from helpers import tiny_export
from helpers.browsing import DESK, Visit, browser, free_port, wait_for_answer
from helpers.running import HELPERS, Program, wait_until

from distrinews.errors import (
    DistriNewsError,
    HubUnreachableError,
    ModelError,
    SettingsError,
    SetupError,
)
from distrinews.inference import engines
from distrinews.inference.classifier import Classifier
from distrinews.system import files

REPO, COMMIT = "me/news", "0123456789abcdef" * 2 + "01234567"
HARDWARE = ["cpu", "zerogpu"]


@pytest.fixture(scope="module")
def hub_cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A disk on which the platform has loaded our model repository before."""
    home = tmp_path_factory.mktemp("hf")
    snapshots = home / f"hub/models--{REPO.replace('/', '--')}/snapshots"
    tiny_export.write(snapshots / COMMIT)
    return home


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, hub_cache: pathlib.Path) -> pathlib.Path:
    """The same disk, for this process; nothing beyond it can be reached."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub_cache / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return hub_cache


Done = subprocess.CompletedProcess[str]


def run_build(*arguments: object, home: pathlib.Path) -> Done:
    words = [str(argument) for argument in arguments]
    command = (sys.executable, "-m", "distrinews", "space", "build", *words)
    env = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=env
    )


# --- Bad input ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "revision", "kind", "message"),
    [
        (REPO, None, SettingsError, "needs a commit"),
        (REPO, "main", SettingsError, "needs a commit"),
        (REPO, COMMIT[:12], SettingsError, "needs a commit"),
        (REPO, COMMIT.replace("0", "f"), HubUnreachableError, "cannot get model"),
        ("other/news", COMMIT, HubUnreachableError, "cannot get model"),
        ("no-such-folder", None, ModelError, "neither a folder nor a repository"),
        ("a/b/c", COMMIT, ModelError, "neither a folder nor a repository"),
        (str(HELPERS), None, ModelError, "holds no exported model"),
        (str(HELPERS), COMMIT, SettingsError, "is a folder"),
    ],
)
def test_a_model_that_cannot_be_pinned_is_refused(
    offline: pathlib.Path,
    model: str,
    revision: str | None,
    kind: type[DistriNewsError],
    message: str,
) -> None:
    with pytest.raises(kind, match=message):
        space.fetch(model, revision=revision)


def test_a_pinned_model_in_the_cache_is_found(offline: pathlib.Path) -> None:
    """Negative control."""
    weights = space.fetch(REPO, revision=COMMIT)
    assert (weights.repo_id, weights.revision) == (REPO, COMMIT)
    assert weights.bundle.identity.id == REPO


def test_what_cannot_be_built_leaves_nothing(
    offline: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = space.fetch(REPO, revision=COMMIT)
    out = tmp_path / "made" / "space"
    with pytest.raises(SettingsError, match="unknown"):
        space.build(out, weights=weights, hardware="gpu")
    # pip fails when everything else is in its place
    monkeypatch.setattr(space_files.sys, "executable", "/bin/false")
    with pytest.raises(SetupError, match="could not be packed"):
        space.build(out, weights=weights, hardware="cpu")
    assert list((tmp_path / "made").iterdir()) == []


def test_a_folder_that_exists_stays_as_it_is(tmp_path: pathlib.Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    arguments = ("--model", REPO, "--out", tmp_path, "--hardware", "cpu")
    done = run_build(*arguments, home=tmp_path)
    assert done.returncode == 2
    assert f"--out {tmp_path} exists" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("hardware", HARDWARE)
def test_every_package_has_an_exact_version(hardware: str) -> None:
    lines = space_files.requirements(hardware).splitlines()
    named = [line for line in lines if line and not line.startswith(("#", "--"))]
    loose = [line for line in named if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]
    # The platform's own package is the one that it may raise.
    assert loose == ([] if hardware == "cpu" else ["spaces>=0.51"])
    assert len(named) >= 15
    [torch] = [line for line in named if line.startswith("torch==")]
    index = "--extra-index-url https://download.pytorch.org/whl/cpu"
    # ZeroGPU lists torch 2.8.0 to 2.11.0, which have CUDA.
    assert (index in lines) == (hardware == "cpu")
    assert hardware == "cpu" or torch in {f"torch==2.{n}.0" for n in range(8, 12)}


# --- The folder -----------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(
    hub_cache: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, pathlib.Path]:
    """The folder for each hardware, built by the command."""
    work, made = tmp_path_factory.mktemp("built"), {}
    for hardware in HARDWARE:
        made[hardware] = work / hardware
        pinned = ("--model", REPO, "--revision", COMMIT, "--hardware", hardware)
        done = run_build(*pinned, "--out", made[hardware], home=hub_cache)
        assert done.returncode == 0, done.stderr
        assert "hf upload" in done.stdout
    return made


@pytest.mark.slow
def test_the_front_matter_is_what_spaces_read(
    folders: dict[str, pathlib.Path], hub_cache: pathlib.Path
) -> None:
    for hardware, python in (("cpu", "3.11"), ("zerogpu", "3.12.12")):
        text = (folders[hardware] / "README.md").read_text("utf-8")
        head = yaml.safe_load(text.split("---\n")[1])
        assert (head["sdk"], head["sdk_version"]) == ("gradio", "6.31.0")
        assert (head["app_file"], head["base_path"]) == ("app.py", "/ui")
        assert head["python_version"] == python
        assert head["models"] == [REPO]
        assert len(head["short_description"]) <= 60
        repo, names, commit = head["preload_from_hub"][0].split()
        assert (repo, commit) == (REPO, COMMIT)
        snapshot = hub_cache / f"hub/models--me--news/snapshots/{COMMIT}"
        assert set(names.split(",")) == {path.name for path in snapshot.iterdir()}
        assert "{" not in text.replace('{"text"', "")


@pytest.mark.slow
def test_the_manifest_lists_every_file_and_the_same_input_makes_the_same_bytes(
    folders: dict[str, pathlib.Path], hub_cache: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    def digests(folder: pathlib.Path) -> dict[str, str]:
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return {p.relative_to(folder).as_posix(): files.sha256(p) for p in paths}

    first = digests(folders["cpu"])
    listed = files.read_json(folders["cpu"] / space.MANIFEST)["files"]
    assert listed == {n: d for n, d in first.items() if n != space.MANIFEST}
    pinned = ("--model", REPO, "--revision", COMMIT, "--hardware", "cpu")
    assert run_build(*pinned, "--out", tmp_path / "x", home=hub_cache).returncode == 0
    assert digests(tmp_path / "x") == first
    # Negative control: other hardware, other bytes, in the files that speak of it.
    other = digests(folders["zerogpu"])
    differ = {name for name in first if other[name] != first[name]}
    assert differ == {"requirements.txt", "README.md", space.MANIFEST}


# --- It runs --------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment(
    folders: dict[str, pathlib.Path], tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """The Python of an environment that does not hold this library."""
    venv = tmp_path_factory.mktemp("environment") / "venv"
    python = venv / "bin" / "python"
    fresh = bool(os.environ.get("DISTRINEWS_FRESH"))
    options = () if fresh else ("--without-pip",)
    subprocess.run((sys.executable, "-m", "venv", *options, venv), check=True)
    if fresh:  # in the order of the platform: first ours, then its own
        pip = (python, "-P", "-m", "pip", "install", "--quiet")
        # WHY without PYTHONPATH and the current folder: pip would not install what it
        # finds there, and the Spaces are started without it.
        env = {**os.environ, "PIP_RETRIES": "0", "PYTHONPATH": ""}
        wanted = ("-r", folders["cpu"] / "requirements.txt")
        subprocess.run((*pip, *wanted), check=True, env=env)
        subprocess.run((*pip, "gradio[oauth]==6.31.0"), check=True, env=env)
    else:
        borrowed = [path for path in sys.path if path.endswith("site-packages")]
        (packages,) = venv.glob("lib/python*/site-packages")
        # WHY this does not bring our own library: Python reads no .pth file there.
        (packages / "borrowed.pth").write_text("\n".join(borrowed))
    return python


def start_space(
    folder: pathlib.Path,
    python: pathlib.Path,
    *,
    home: pathlib.Path,
    work: pathlib.Path,
    zerogpu: bool = False,
    platform: dict[str, str] | None = None,
) -> tuple[Program, str]:
    """Start a built folder with what Spaces set, and `platform` on top."""
    work.mkdir()
    with socket.socket() as probe:  # 7860 as on Spaces, unless somebody has it here
        taken = probe.connect_ex(("127.0.0.1", 7860)) == 0
    port = free_port() if taken else 7860
    env: dict[str, str | None] = {
        "GRADIO_SERVER_NAME": "127.0.0.1",  # 0.0.0.0 on Spaces
        "GRADIO_SERVER_PORT": str(port),
        "SYSTEM": "spaces",
        "SPACE_ID": "me/space",
        "SPACE_HOST": "me-space.hf.space",
        "SPACE_AUTHOR_NAME": "me",
        "SPACE_REPO_NAME": "space",
        "CPU_CORES": "2",
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": None,
    }
    if zerogpu:
        env |= {
            "SPACES_ZERO_GPU": "true",
            "PYTHONPATH": str(HELPERS / "stubs"),  # the platform's package
            "STUB_REPORT": str(work / "report.txt"),
        }
    env |= platform or {}
    program = Program((python, "app.py"), folder=work, env=env, cwd=folder)
    return program, f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def running(*args: Any, **options: Any) -> Generator[tuple[Program, str], None, None]:
    program, url = start_space(*args, **options)
    try:
        wait_for_answer(program, f"{url}/readyz", timeout_s=90)
        yield program, url
    finally:
        program.kill_everything()


def begin_request(url: str) -> tuple[socket.socket, bytes]:
    """Send half a request; return the connection and the other half."""
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps({"text": tiny_export.HEADLINE}).encode()
    head = (
        f"POST /predict HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(head.encode() + body[:5])
    return connection, body[5:]


def takes_nobody(url: str) -> bool:
    """Whether a server sends newcomers away."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5):
            return False
    except urllib.error.HTTPError as error:
        return error.code == 503
    except OSError:  # it does not even listen any more
        return True


def finish_request(connection: socket.socket, rest: bytes) -> str:
    """Send the other half; return the status, or "" where the line was cut."""
    with connection, contextlib.suppress(ConnectionError):
        connection.sendall(rest)
        return connection.recv(65536).decode().partition("\r\n")[0]
    return ""


@pytest.mark.slow
def test_the_environment_lends_packages_but_not_this_library(
    environment: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Negative control: what runs below is the library in the folder."""
    env = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    for name, works in (("uvicorn", True), ("distrinews", False), ("api", False)):
        done = subprocess.run(
            (environment, "-c", f"import {name}"),
            capture_output=True,
            check=False,
            cwd=tmp_path,
            env=env,  # as `start_space` has it
            timeout=60,
        )
        assert (done.returncode == 0) == works, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("hardware", HARDWARE)
def test_the_folder_serves_api_and_page_and_leaves_in_order(
    folders: dict[str, pathlib.Path],
    environment: pathlib.Path,
    hub_cache: pathlib.Path,
    tmp_path: pathlib.Path,
    hardware: str,
) -> None:
    httpx = pytest.importorskip("httpx")
    work = tmp_path / "run"
    options: dict[str, Any] = {"home": hub_cache, "work": work}
    options["zerogpu"] = hardware == "zerogpu"
    with running(folders[hardware], environment, **options) as (program, url):
        # The API: the answer that the reference gives here, from the pinned commit.
        snapshot = hub_cache / f"hub/models--me--news/snapshots/{COMMIT}"
        [want] = Classifier(snapshot).predict([tiny_export.HEADLINE])
        body = {"text": tiny_export.HEADLINE}
        got = httpx.post(f"{url}/predict", json=body).json()
        tolerance = engines.TOLERANCES[httpx.get(f"{url}/version").json()["engine"]]
        assert got["scores"] == pytest.approx(want.scores, abs=tolerance)
        assert got["label"] == max(got["scores"], key=got["scores"].get)
        assert got["model"]["id"] == REPO
        assert httpx.get(f"{url}/predict").status_code == 405
        assert httpx.get(f"{url}/").headers["location"] == "ui"
        assert len(httpx.get(f"{url}/openapi.json").json()["paths"]) == 8
        # Nothing of Gradio's can be reached, and the limits are those of any machine.
        for door in ("gradio_api/info", "gradio_api/upload", "config", "queue/join"):
            for root in (url, f"{url}/ui"):
                answer = httpx.post(f"{root}/{door}", json=body)
                assert answer.status_code == 404
                assert answer.json()["type"] == "/docs#not-found"
                assert httpx.get(f"{root}/{door}").status_code == 404
        long_head = {"X-Long": "x" * 70_000}
        assert httpx.get(f"{url}/healthz", headers=long_head).status_code == 400
        other_origin = httpx.get(f"{url}/healthz", headers={"Origin": "http://x"})
        assert not [n for n in other_origin.headers if n.startswith("access-control")]
        # Two ports would be one too many: Gradio's was closed again.
        listening = [
            connection.laddr.port
            for process in program.processes()
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening == [int(url.rpartition(":")[2])]
        # The page.
        with browser() as chromium:
            visit = Visit(chromium, f"{url}/ui", size=DESK)
            visit.type(tiny_export.HEADLINE)
            visit.sees("Answered in")
            assert visit.bars()[0].startswith(got["label"])
            assert len(visit.bars()) == 4
            visit.keep_picture(f"space_{hardware}")
        # The end.
        connection, rest = begin_request(url)
        time.sleep(0.5)  # until the server has seen its beginning
        os.kill(program.process.pid, signal.SIGTERM)
        wait_until(lambda: takes_nobody(url), timeout_s=10, what="the end to begin")
        assert finish_request(connection, rest) == "HTTP/1.1 200 OK"
        assert program.exit_code(timeout_s=30) == 0, program.err
        program.seconds_until_nothing_is_left(timeout_s=5)
        output = program.out + program.err
        assert "Striker" not in output
    # What ZeroGPU waits for came once, with a function for the GPU; else never.
    report = work / "report.txt"
    report_lines = report.read_text().splitlines() if report.exists() else []
    assert report_lines == (["gpu_name 5"] if options["zerogpu"] else [])


def copy_with(folder: pathlib.Path, to: pathlib.Path, *change: str) -> pathlib.Path:
    """A copy of a built folder whose app.py is changed in one place."""
    subprocess.run(("cp", "-r", folder, to), check=True)
    text = (to / "app.py").read_text("utf-8")
    assert text.count(change[0]) == 1
    (to / "app.py").write_text(text.replace(*change), "utf-8")
    return to


@pytest.mark.slow
def test_without_launch_zerogpu_would_get_no_report(
    folders: dict[str, pathlib.Path],
    environment: pathlib.Path,
    hub_cache: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    """Negative control."""
    change = ("        _report_to_zero_gpu()\n", "        pass\n")
    folder = copy_with(folders["zerogpu"], tmp_path / "changed", *change)
    options: dict[str, Any] = {"home": hub_cache, "work": tmp_path / "run"}
    with running(folder, environment, zerogpu=True, **options):
        assert not (tmp_path / "run/report.txt").exists()


@pytest.mark.slow
def test_the_platforms_own_package_sends_its_report_once(
    folders: dict[str, pathlib.Path],
    environment: pathlib.Path,
    hub_cache: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    """With the real package `spaces`, where it is installed, but for its torch part."""
    package = importlib.util.find_spec("spaces")
    if package is None or package.origin is None:
        pytest.skip("the package spaces is not installed")
    came: list[str] = []

    class Platform(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Platform)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    packages = pathlib.Path(package.origin).parents[1]
    platform = {
        "PYTHONPATH": f"{HELPERS / 'no_cuda'}{os.pathsep}{packages}",
        "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{server.server_port}",
    }
    options: dict[str, Any] = {"home": hub_cache, "work": tmp_path / "run"}
    options |= {"zerogpu": True, "platform": platform}
    with running(folders["zerogpu"], environment, **options) as (program, _):
        assert came == ["/startup-report"]
        os.kill(program.process.pid, signal.SIGTERM)
        assert program.exit_code(timeout_s=30) == 0, program.err
        program.seconds_until_nothing_is_left(timeout_s=5)
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_space_whose_model_cannot_be_had_says_so_and_ends(
    folders: dict[str, pathlib.Path],
    environment: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    empty = tmp_path / "empty"
    program, _ = start_space(
        folders["cpu"], environment, home=empty, work=tmp_path / "run"
    )
    assert program.exit_code(timeout_s=60) == 2
    assert f"cannot get model '{REPO}'" in program.err
    assert COMMIT in program.err
    assert "Traceback" not in program.err


def test_other_weights_than_the_pinned_ones_are_refused(
    offline: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    export = tiny_export.write(tmp_path / "model", seed=2)
    sha256 = files.sha256(export / "model.safetensors")
    pinned: dict[str, Any] = {"repo": None, "revision": None, "sha256": sha256}
    files.write_json(tmp_path / space.MANIFEST, {"model": pinned})
    assert space_model.find_model(tmp_path) == export  # the control
    tiny_export.write(export, seed=3)  # whole in itself, and another model
    with pytest.raises(ModelError, match="are others than"):
        space_model.find_model(tmp_path)
    weights = export / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="is damaged"):
        space_model.find_model(tmp_path)
