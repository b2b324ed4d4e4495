"""Proofs for the server under attack: what one client sends harms no other.

Each with its control: the same measure sees a harmless client, or a server without the
limit.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from helpers.running import HELPERS, wait_until
from helpers.served import Served, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

LIMIT_S = 1.0
CONNECTIONS = 40  # of which one address gets half
BODY = b'{"text":"Oil prices rise"}'
POST = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
WHOLE = POST + LENGTH + b"\r\n" + BODY
CLOSE = b"Connection: close\r\n"
GET = b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served, None, None]:
    limits = {"headers_timeout_s": LIMIT_S, "write_timeout_s": LIMIT_S}
    folder = tmp_path_factory.mktemp("served")
    server = Served(folder, max_connections=CONNECTIONS, **limits)
    yield server
    server.program.kill_everything()


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


def connect(port: int, *, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(
        ("127.0.0.1", port), timeout=20, source_address=(source, 0)
    )


def is_closed(connection: socket.socket, *, within_s: float) -> bool:
    """Whether the other end closes, whatever it sends before."""
    connection.settimeout(within_s)
    until_s = time.monotonic() + within_s
    try:
        while time.monotonic() < until_s:
            if not connection.recv(65536):
                return True
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return False


# --- Framing --------------------------------------------------------------------


def test_endless_trailers_are_refused(served: Served) -> None:
    chunked = POST + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n"
    chunked += b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)
    trailer = b"X-Trailer: aaaaaaaa\r\n"
    before = psutil.Process(served.program.process.pid).cpu_times().user
    # The text is whole, and so it may be answered before the trailers become too long.
    parts = [trailer * 1000] * 30
    with connect(served.port) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(chunked)
        for part in parts:
            connection.sendall(part)
            time.sleep(0.01)
        assert is_closed(connection, within_s=LIMIT_S + 5)
    used_s = psutil.Process(served.program.process.pid).cpu_times().user - before
    assert used_s < 2.0
    # Negative control: a trailer or two are HTTP.
    heard = served.exchange(chunked + trailer * 2 + b"\r\n")
    assert heard.startswith(b"HTTP/1.1 200")


# --- Memory ---------------------------------------------------------------------


def growth_by_pipelining(pid: int, port: int, *, num_bytes: int) -> int:
    """Send requests without reading an answer; return how much memory that took."""
    process = psutil.Process(pid)
    before = most = process.memory_info().rss
    with connect(port) as connection:
        connection.settimeout(5)

        def send() -> None:
            with contextlib.suppress(OSError):  # closed, or nobody takes more
                connection.sendall(GET * (num_bytes // len(GET)))

        sender = threading.Thread(target=send)
        sender.start()
        while sender.is_alive():
            most = max(most, process.memory_info().rss)
            time.sleep(0.02)
        most = max(most, process.memory_info().rss)
    return most - before


NUM_BYTES = 40_000_000


def test_pipelined_requests_take_no_memory(served: Served) -> None:
    pid = served.program.process.pid
    growth = growth_by_pipelining(pid, served.port, num_bytes=NUM_BYTES)
    assert growth < 20_000_000
    assert served.predict().status_code == 200


KEEPS_ALL = """
import socket, sys
listener, kept = socket.create_server(("127.0.0.1", int(sys.argv[1]))), []
while True:
    connection, _ = listener.accept()
    while part := connection.recv(65536):
        kept.append(part)
"""


def test_a_server_that_keeps_them_would_be_seen() -> None:
    """Negative control."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", KEEPS_ALL, str(port)]) as program:
        try:

            def answers() -> bool:
                with contextlib.suppress(OSError), connect(port):
                    return True
                return False

            wait_until(answers, timeout_s=60, what="a server that listens")
            growth = growth_by_pipelining(program.pid, port, num_bytes=NUM_BYTES)
            assert growth > 30_000_000
        finally:
            program.kill()


# --- Connections that never end -------------------------------------------------


def pipeline_and_never_read(port: int) -> socket.socket:
    connection = connect(port)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        for _ in range(2000):
            connection.send(GET)
    return connection


def num_connections(server: Served) -> int:
    process = psutil.Process(server.program.process.pid)
    return sum(
        connection.status == psutil.CONN_ESTABLISHED
        for connection in process.net_connections("tcp")
    )


def test_a_client_that_does_not_read_is_disconnected(served: Served) -> None:
    wait_until(lambda: num_connections(served) == 0, timeout_s=20, what="no others")
    with pipeline_and_never_read(served.port):
        wait_until(lambda: num_connections(served) == 1, timeout_s=5, what="it")
        time.sleep(LIMIT_S / 2)
        assert num_connections(served) == 1  # the control: not at once
        wait_until(
            lambda: num_connections(served) == 0,
            timeout_s=LIMIT_S + 20,
            what="its end",
        )


def test_a_client_that_does_not_read_does_not_hold_up_the_end(
    serve: Callable[..., Served],
) -> None:
    server = serve(write_timeout_s=60, drain_s=60)
    with pipeline_and_never_read(server.port):
        time.sleep(2)
        server.program.process.terminate()
        assert server.program.exit_code(timeout_s=30) == 0


@pytest.mark.parametrize("is_proxy", [False, True])
def test_one_address_gets_half_of_the_connections_unless_it_is_a_trusted_proxy(
    served: Served, is_proxy: bool
) -> None:
    one, other = ("127.0.0.1" if is_proxy else "127.0.0.2"), "127.0.0.3"
    with contextlib.ExitStack() as ended:
        for _ in range(CONNECTIONS // 2):
            ended.enter_context(connect(served.port, source=one))
        time.sleep(0.2)
        # Negative control: another address finds room in any case.
        for source in (one, other):
            with connect(served.port, source=source) as surplus:
                if source == one and not is_proxy:
                    assert is_closed(surplus, within_s=LIMIT_S / 2)
                    continue
                surplus.sendall(WHOLE)
                assert surplus.recv(65536).startswith(b"HTTP/1.1 200")


def test_above_all_connections_requests_are_refused_and_later_answered(
    serve: Callable[..., Served],
) -> None:
    served = serve(max_connections=CONNECTIONS)
    with contextlib.ExitStack() as ended:
        for source in ("127.0.0.2", "127.0.0.3"):
            for _ in range(CONNECTIONS // 2 - 1):
                ended.enter_context(connect(served.port, source=source))
        time.sleep(0.2)
        assert served.predict().status_code == 200  # the control: still room
        for source in ("127.0.0.2", "127.0.0.3"):
            ended.enter_context(connect(served.port, source=source))
        assert served.predict().status_code == 503
    wait_until(
        lambda: served.predict().status_code == 200, timeout_s=10, what="an answer"
    )


@pytest.mark.parametrize(("keep_alive_s", "closes"), [(0.5, True), (60, False)])
def test_an_idle_connection_is_kept_for_as_long_as_was_said(
    serve: Callable[..., Served], keep_alive_s: float, closes: bool
) -> None:
    server = serve(keep_alive_s=keep_alive_s)
    with connect(server.port) as connection:
        connection.sendall(WHOLE)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert is_closed(connection, within_s=10 if closes else 3) == closes


@pytest.mark.parametrize(
    ("source", "scheme"), [("127.0.0.1", b"https"), ("127.0.0.2", b"http")]
)
def test_only_a_trusted_proxy_says_what_the_outer_address_is(
    served: Served, source: str, scheme: bytes
) -> None:
    forwarded = b"X-Forwarded-Proto: https\r\n" + CLOSE
    with connect(served.port, source=source) as connection:
        connection.sendall(GET.replace(b"Host: x\r\n", b"Host: x\r\n" + forwarded))
        heard = b""
        while part := connection.recv(65536):
            heard += part
    assert b" %b://x/predict" % scheme in heard


# --- Half-closed ----------------------------------------------------------------


def test_a_client_that_has_sent_everything_may_close_its_side(
    serve: Callable[..., Served],
) -> None:
    """As `printf ... | nc -N` does."""
    server = serve(seconds=0.2)
    with connect(server.port) as connection:
        connection.sendall(WHOLE)
        connection.shutdown(socket.SHUT_WR)
        heard = b""
        while part := connection.recv(65536):
            heard += part
    assert heard.startswith(b"HTTP/1.1 200")
    # Negative control: with half a request there is nothing to answer.
    with connect(server.port) as connection:
        connection.sendall(WHOLE[:-3])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65536) == b""


def test_a_client_that_is_gone_frees_its_place_all_the_same(
    serve: Callable[..., Served],
) -> None:
    server = serve(seconds=60, deadline_s=300)

    def waiting() -> float:
        lines = server.get("/metrics").text.splitlines()
        [line] = [x for x in lines if x.startswith("distrinews_texts_waiting ")]
        return float(line.split()[1])

    with connect(server.port) as stays:
        stays.sendall(WHOLE)
        time.sleep(0.5)
        with connect(server.port) as leaves:
            leaves.sendall(WHOLE)
            wait_until(lambda: waiting() == 1, timeout_s=10, what="it waits")
        wait_until(lambda: waiting() == 0, timeout_s=10, what="a free place")


# --- The log --------------------------------------------------------------------


def test_a_pipe_that_nobody_reads_stops_nobody(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, HELPERS / "serving.py", str(port), "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as program:
        try:

            def answers() -> bool:
                with contextlib.suppress(OSError), connect(port) as connection:
                    connection.sendall(WHOLE)
                    return connection.recv(65536).startswith(b"HTTP/1.1 200")
                return False

            wait_until(answers, timeout_s=60, what="a server that is ready")
            # 1,000 lines are twice what a pipe holds on Linux (64 KiB).
            get = GET.replace(b"/docs", b"/healthz")
            last = get.replace(b"Host: x", b"Host: x\r\nConnection: close")
            heard = b""
            with connect(port) as connection:
                connection.sendall(get * 999 + last)
                while part := connection.recv(65536):
                    heard += part
            assert heard.count(b"HTTP/1.1 200") == 1000
            program.terminate()
            assert program.wait(30) == 0
        finally:
            program.kill()
