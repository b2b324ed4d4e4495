"""Proofs for apps/api.py as a process: its end, its command line, a long time."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import json
import signal
import socket
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

from helpers.running import HELPERS, Program, wait_until
from helpers.served import Served
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
API = ROOT / "apps" / "api.py"
BODY = b'{"text":"Oil prices rise"}'
POST = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
WHOLE = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture
def serve(tmp_path: Path) -> Generator[Callable[..., Served], None, None]:
    started: list[Served] = []

    def start(**options: float) -> Served:
        folder = tmp_path / f"served_{len(started)}"
        folder.mkdir()
        started.append(Served(folder, **options))
        return started[-1]

    yield start
    for server in started:
        server.program.kill_everything()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served, None, None]:
    server = Served(tmp_path_factory.mktemp("served"))
    yield server
    server.program.kill_everything()


def test_a_client_that_hangs_up_at_any_byte_harms_nobody(served: Served) -> None:
    for end in range(0, len(WHOLE), 7):
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            connection.sendall(WHOLE[:end])
    assert served.predict().status_code == 200


# --- The end --------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)]
)
def test_after_a_signal_requests_in_flight_are_answered(
    serve: Callable[..., Served], number: int
) -> None:
    server = serve(seconds=1.0, max_batch_texts=2)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(server.predict, f"text {i}") for i in range(6)]
        # WHY all: one that connects after the signal is refused, and rightly so.
        wait_until(lambda: num_received(server) == 6, timeout_s=20, what="all six")
        server.program.process.send_signal(number)
        assert [future.result().status_code for future in asked] == [200] * 6
    assert server.program.exit_code(timeout_s=10) == 0
    server.program.seconds_until_nothing_is_left(timeout_s=5)
    with pytest.raises(httpx.ConnectError):
        server.get("/healthz")


def num_received(server: Served) -> float:
    """Requests to /predict that are in the server, or answered."""
    families = text_string_to_metric_families(server.get("/metrics").text)
    samples = {
        (sample.name, sample.labels.get("route")): sample.value
        for family in families
        for sample in family.samples
    }
    in_flight = samples["distrinews_requests_in_flight", None] - 1  # /metrics itself
    return in_flight + samples.get(("distrinews_requests_total", "/predict"), 0)


def test_a_killed_server_would_not_have_answered(serve: Callable[..., Served]) -> None:
    """Negative control."""
    server = serve(seconds=0.5)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.predict)
        time.sleep(0.2)
        server.program.process.kill()
        with pytest.raises(httpx.HTTPError):
            asked.result()


def test_readiness_drops_before_the_door_closes(serve: Callable[..., Served]) -> None:
    server = serve(notice_s=1.0)
    with httpx.Client(base_url=server.url) as client:
        server.program.process.send_signal(signal.SIGTERM)
        wait_until(
            lambda: client.get("/readyz").status_code == 503,
            timeout_s=0.8,
            what="a readiness that drops",
        )
        assert client.post("/predict", json={"text": "a"}).status_code == 200
    assert server.program.exit_code(timeout_s=10) == 0


def test_a_model_that_hangs_does_not_hold_the_process_up(
    serve: Callable[..., Served],
) -> None:
    server = serve(seconds=60, drain_s=1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.predict)
        time.sleep(0.3)
        server.program.process.send_signal(signal.SIGTERM)
        assert server.program.exit_code(timeout_s=10) == 0
        with contextlib.suppress(httpx.HTTPError):
            asked.result()


# --- The command line -----------------------------------------------------------

Start = Callable[..., Program]


def test_without_a_model_it_says_how_to_get_one(start: Start) -> None:
    program = start(API)
    assert program.exit_code() == 2
    assert "python chapters/05_ddp_training.py" in program.err
    assert "hf download" in program.err
    assert "Traceback" not in program.err


def test_a_folder_without_a_model_is_refused_before_anything_starts(
    start: Start, tmp_path: Path
) -> None:
    program = start(API, "--model", tmp_path)
    assert program.exit_code() == 2
    assert "holds no exported model" in program.err
    assert "listening" not in program.err


def test_a_taken_port_is_named(served: Served, start: Start) -> None:
    program = start(HELPERS / "serving.py", served.port, 0)
    assert program.exit_code() == 2
    assert f"port {served.port}" in program.err
    assert "Traceback" not in program.err


def test_help_lists_every_setting_and_its_variable(start: Start) -> None:
    from serve_settings import ServeSettings

    program = start(API, "--help")
    assert program.exit_code() == 0
    for name in ServeSettings.model_fields:
        flag = "no-ui" if name == "ui" else name.replace("_", "-")
        assert f"--{flag} " in program.out.replace("]", " ")
        assert f"DISTRINEWS_{name.upper()}\n" in program.out


def test_a_variable_is_read_and_a_flag_beats_it(start: Start) -> None:
    env: dict[str, Any] = {"DISTRINEWS_PORT": "99999"}
    program = start(API, "--model", "x", env=env)
    assert program.exit_code() == 2
    assert "--port 99999" in program.err
    program = start(API, "--model", "nowhere", "--port", "1", env=env)
    assert program.exit_code() == 2
    assert "nowhere holds no exported model" in program.err


def test_without_the_packages_it_says_what_to_install(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError(name='fastapi')")
    program = start(API, env={"PYTHONPATH": str(tmp_path)})
    assert program.exit_code() == 2
    assert 'pip install -c constraints.txt -e ".[quickstart,serve]"' in program.err
    assert "Traceback" not in program.err


def test_a_log_line_of_a_process_is_json_too(served: Served) -> None:
    served.predict("Zanzibar")
    served.get("/Zanzibar?text=Zanzibar")
    lines = [json.loads(line) for line in served.program.err.splitlines()]
    assert lines[0]["event"] == "listening"
    assert any(line.get("route") == "/predict" for line in lines)
    assert "Zanzibar" not in served.program.err + served.program.out


# --- For a long time ------------------------------------------------------------

SOAK_S = 600.0


@pytest.mark.endurance
@pytest.mark.timeout(SOAK_S + 200)
def test_under_load_for_ten_minutes_every_answer_comes_and_memory_stays(
    serve: Callable[..., Served],
) -> None:
    served = serve(seconds=0.005)
    process = psutil.Process(served.program.process.pid)
    end_s = time.monotonic() + SOAK_S

    def ask(caller: int) -> collections.Counter[int]:
        statuses: collections.Counter[int] = collections.Counter()
        with httpx.Client(base_url=served.url, timeout=30) as client:
            while time.monotonic() < end_s:
                # Texts of all lengths, and one in sixteen that is refused.
                is_bad = statuses.total() % 16 == caller
                text = "" if is_bad else "word " * (caller + 1)
                answer = client.post("/predict", json={"text": text})
                statuses[answer.status_code] += 1
        return statuses

    with concurrent.futures.ThreadPoolExecutor(8) as callers:
        asked = [callers.submit(ask, caller) for caller in range(8)]
        time.sleep(SOAK_S / 10)  # by then buffers and caches have grown
        before, files = process.memory_info().rss, process.num_fds()
        statuses = sum((done.result() for done in asked), collections.Counter())
    print(f"{statuses.total()} requests in {SOAK_S:.0f} s: {dict(statuses)}")
    assert set(statuses) == {200, 422}
    assert statuses.total() > 20 * SOAK_S
    assert process.memory_info().rss < 1.1 * before
    assert process.num_fds() <= files  # the callers' connections are gone, too
    assert served.predict().status_code == 200
