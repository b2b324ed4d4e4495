"""Proofs for the server's real clients: apps/clients, the Hub's client, a browser."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

import huggingface_hub
from helpers.browsing import browser
from helpers.served import Served
from helpers.serving import LABELS, POISON
from huggingface_hub.errors import HfHubHTTPError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = ROOT / "apps" / "clients"
HEADLINE = "Oil prices rise as a storm nears the coast"
LABEL = LABELS[sum(map(ord, HEADLINE)) % 4]
KEY = "correct-horse-battery"


@pytest.fixture
def served(tmp_path: Path) -> Generator[Served, None, None]:
    """A server that is not ready for its first 2.5 seconds."""
    served = Served(tmp_path, wait=False, load_s=2.5)
    yield served
    served.program.kill_everything()


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served, None, None]:
    """A server with a key."""
    served = Served(tmp_path_factory.mktemp("keyed"), api_key=KEY)
    yield served
    served.program.kill_everything()


def ask(name: str, url: str, **more: str) -> subprocess.CompletedProcess[str]:
    commands = {
        "predict.sh": ["bash", CLIENTS / name, url],
        "predict.py": [sys.executable, CLIENTS / name, "--url", url, HEADLINE],
        "predict.mjs": ["node", CLIENTS / name, url, HEADLINE],
    }
    program = "curl" if name == "predict.sh" else str(commands[name][0])
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not here")
    return subprocess.run(
        commands[name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **more},
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


# --- A server with a key ---------------------------------------------------------


@pytest.mark.parametrize("name", ["predict.sh", "predict.py", "predict.mjs"])
def test_a_client_takes_the_key_from_its_variable(keyed: Served, name: str) -> None:
    done = ask(name, keyed.url, DISTRINEWS_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    # Negative controls: another key, and none.
    assert ask(name, keyed.url, DISTRINEWS_API_KEY=KEY + "x").returncode != 0
    assert ask(name, keyed.url).returncode != 0


# --- The Hub's client ------------------------------------------------------------


def test_the_hubs_own_client_works_unchanged(keyed: Served) -> None:
    client = huggingface_hub.InferenceClient(base_url=keyed.url, api_key=KEY)
    answer = client.text_classification(HEADLINE)
    assert [(answer[0].label, answer[0].score)] == [(LABEL, 1.0)]
    assert {each.label for each in answer} == set(LABELS)
    assert len(client.text_classification(HEADLINE, top_k=2)) == 2
    # Negative controls: no such function, no key, another route of ours.
    with pytest.raises(HfHubHTTPError, match=r"(?s)422.*function_to_apply"):
        client.text_classification(HEADLINE, function_to_apply="sigmoid")
    for url, key in ((keyed.url, "wrong"), (f"{keyed.url}/predict", KEY)):
        other = huggingface_hub.InferenceClient(base_url=url, api_key=key)
        with pytest.raises(HfHubHTTPError):
            other.text_classification(HEADLINE)


def test_the_example_of_the_hubs_client_runs_as_printed(keyed: Served) -> None:
    program = [sys.executable, str(CLIENTS / "predict_hub.py"), keyed.url]
    for key, code in ((KEY, 0), ("wrong", 1)):  # the second is the control
        env = {**os.environ, "DISTRINEWS_API_KEY": key}
        done = subprocess.run(
            program, capture_output=True, text=True, timeout=60, check=False, env=env
        )
        assert done.returncode == code, done.stderr
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        assert [len(row) for row in rows] == ([2, 2] if key == KEY else [])


def test_the_example_of_a_stream_classifies_each_line_of_a_file(keyed: Served) -> None:
    texts = [f"headline {number}" for number in range(50)]
    done = subprocess.run(
        [sys.executable, CLIENTS / "predict_lines.py", keyed.url],
        input="\n".join([*texts, "", POISON]),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "DISTRINEWS_API_KEY": KEY},
    )
    want = [f"{LABELS[sum(map(ord, text)) % 4]}\t{text}" for text in texts]
    assert done.stdout.splitlines() == [*want, f"failed\t{POISON}"]
    assert "51 of 51" in done.stderr


# --- Everyday clients ------------------------------------------------------------


def by_httpx(url: str, body: dict[str, Any], key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return int(httpx.post(url, json=body, headers=headers, timeout=30).status_code)


def by_requests(url: str, body: dict[str, Any], key: str) -> int:
    requests = pytest.importorskip("requests")
    headers = {"Authorization": f"Bearer {key}"}
    return int(requests.post(url, json=body, headers=headers, timeout=30).status_code)


def by_program(command: list[str]) -> int:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not here")
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True
    )
    return int(done.stdout)


def by_curl(url: str, body: dict[str, Any], key: str) -> int:
    command = [
        "curl",
        "--silent",
        "--output",
        os.devnull,
        "--write-out",
        "%{http_code}",
    ]
    data = ["--header", "Content-Type: application/json", "--data", json.dumps(body)]
    return by_program([*command, *data, "--oauth2-bearer", key, url])


FETCH = """
const [url, body, key] = process.argv.slice(1);
const headers = { "Content-Type": "application/json" };
headers.Authorization = `Bearer ${key}`;
const reply = await fetch(url, { method: "POST", headers, body });
console.log(reply.status);
"""


def by_fetch(url: str, body: dict[str, Any], key: str) -> int:
    code = ["--input-type=module", "--eval", FETCH]
    return by_program(["node", *code, url, json.dumps(body), key])


@pytest.mark.parametrize("ask_by", [by_httpx, by_requests, by_curl, by_fetch])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"text": HEADLINE, "top_k": 1}),
        ("/predict/batch", {"texts": [HEADLINE], "truncate": False}),
        ("/predict/stream", {"texts": [HEADLINE] * 40}),
        ("", {"inputs": HEADLINE, "parameters": {"top_k": 1}}),
    ],
)
def test_every_client_gets_an_answer_with_the_key_only(
    keyed: Served,
    ask_by: Callable[[str, dict[str, Any], str], int],
    path: str,
    body: dict[str, Any],
) -> None:
    assert ask_by(keyed.url + path, body, KEY) == 200
    assert ask_by(keyed.url + path, body, KEY[:-1]) == 401


def test_a_prefix_that_a_proxy_takes_off_is_put_before_every_address(
    tmp_path: Path,
) -> None:
    served = Served(tmp_path, root_path="/news")
    try:
        assert served.predict().status_code == 200  # the proxy took it off
        assert served.predict("").json()["type"] == "/news/docs#invalid"
        assert f"{served.url}/news/predict" in served.get("/docs").text
        # Negative control: a proxy that leaves it on asks for what is not there.
        assert served.get("/news/healthz").status_code == 404
    finally:
        served.program.kill_everything()


# --- The typed client ------------------------------------------------------------


@pytest.fixture(scope="module")
def distrinews_client() -> Any:
    path = CLIENTS / "distrinews_client.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_typed_client_answers_by_each_route(
    distrinews_client: Any, keyed: Served
) -> None:
    with distrinews_client.Client(keyed.url, api_key=KEY) as client:
        answer = client.predict(HEADLINE, top_k=1)
        assert (answer.label, answer.scores) == (LABEL, {LABEL: 1.0})
        good, bad = client.predict_batch([HEADLINE, POISON])
        assert good.label == LABEL
        assert bad.status == 500
        *_, last = client.stream([HEADLINE] * 40 + [POISON])
        assert (last.index, last.done, last.total) == (40, 41, 41)
        assert last.result.status == 500
        assert client.version()["facts"]["accuracy"] == 0.5
        with pytest.raises(distrinews_client.ServerError, match="Holds no letter"):
            client.predict("?!")
    with distrinews_client.Client(keyed.url) as client:
        with pytest.raises(distrinews_client.ServerError) as refused:
            client.predict(HEADLINE)
        assert refused.value.status == 401


class Scripted(http.server.BaseHTTPRequestHandler):
    """Answers each request with the next of the script: status, header, body."""

    script: list[tuple[int, dict[str, str], bytes]]
    asked_s: list[float]

    def do_POST(self) -> None:
        self.asked_s.append(time.monotonic())
        self.rfile.read(int(self.headers["Content-Length"]))
        status, headers, body = self.script.pop(0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def scripted() -> Generator[tuple[str, type[Scripted]], None, None]:
    handler = type("Handler", (Scripted,), {"script": [], "asked_s": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()
        thread.join()


ANSWER = json.dumps({"label": "a", "scores": {"a": 1.0}, "truncated": False}).encode()
GOOD: tuple[int, dict[str, str], bytes] = (200, {}, ANSWER)
PROBLEM = b'{"title": "Busy", "detail": "Later.", "status": 503}'


@pytest.mark.parametrize(
    ("headers", "at_least_s", "at_most_s"),
    [
        ({"Retry-After": "2"}, 2.0, 4.0),
        ({}, 1.0, 3.0),
        ({"Retry-After": "soon"}, 1.0, 3.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0, 1.0),
    ],
)
def test_the_typed_client_returns_when_the_server_said(
    distrinews_client: Any,
    scripted: tuple[str, type[Scripted]],
    headers: dict[str, str],
    at_least_s: float,
    at_most_s: float,
) -> None:
    url, server = scripted
    server.script[:] = [(503, headers, PROBLEM), GOOD]
    with distrinews_client.Client(url) as client:
        assert client.predict("a").label == "a"
    first_s, second_s = server.asked_s
    assert at_least_s <= second_s - first_s < at_most_s


@pytest.mark.parametrize(
    ("answers", "options", "num_asked", "message"),
    [
        # Busy for ever; busy for longer than is worth it; not busy but wrong; a proxy.
        (
            [(503, {"Retry-After": "0"}, PROBLEM)] * 9,
            {"num_tries": 3},
            3,
            "Busy: Later",
        ),
        ([(503, {"Retry-After": "99"}, PROBLEM)] * 2, {}, 1, "Busy: Later"),
        ([(422, {}, PROBLEM), GOOD], {}, 1, "Busy: Later"),
        ([(502, {}, b"<html>"), GOOD], {}, 1, "Bad Gateway: No problem details"),
    ],
)
def test_the_typed_client_gives_up_where_asking_again_is_of_no_use(
    distrinews_client: Any,
    scripted: tuple[str, type[Scripted]],
    answers: list[tuple[int, dict[str, str], bytes]],
    options: dict[str, Any],
    num_asked: int,
    message: str,
) -> None:
    url, server = scripted
    server.script[:] = answers
    with distrinews_client.Client(url, **options) as client:
        with pytest.raises(distrinews_client.ServerError, match=message):
            client.predict("a")
    assert len(server.asked_s) == num_asked


def test_the_typed_client_sees_that_a_stream_was_cut_off(
    distrinews_client: Any, scripted: tuple[str, type[Scripted]]
) -> None:
    url, server = scripted
    line = b'{"index":0,"done":1,"total":2,"result":%b}\n' % ANSWER
    server.script[:] = [(200, {}, line), (200, {}, line + b'{"num_failed":0}\n')]
    with distrinews_client.Client(url) as client:
        with pytest.raises(distrinews_client.ServerError, match="Cut off"):
            list(client.stream(["a", "b"]))
        assert len(list(client.stream(["a"]))) == 1  # the control


def test_the_typed_client_waits_for_a_server_that_is_not_there_yet(
    distrinews_client: Any, scripted: tuple[str, type[Scripted]]
) -> None:
    from helpers.served import free_port

    nowhere = f"http://127.0.0.1:{free_port()}"
    began_s = time.monotonic()
    with distrinews_client.Client(nowhere, num_tries=2) as client:
        with pytest.raises(httpx.ConnectError):
            client.predict("a")
    assert time.monotonic() - began_s >= 1.0
    url, server = scripted
    server.script[:] = [GOOD]
    with distrinews_client.Client(url, num_tries=1) as client:  # the control
        assert client.predict("a").label == "a"


# --- A browser on another site ---------------------------------------------------

SCRIPT = """async ([url, key]) => {
  const headers = { "Content-Type": "application/json" };
  headers.Authorization = `Bearer ${key}`;
  const body = JSON.stringify({ texts: Array(40).fill("a") });
  try {
    const reply = await fetch(url, { method: "POST", headers, body });
    return [reply.status, (await reply.text()).trim().split("\\n").length];
  } catch (error) { return [0, String(error)]; }
}"""


def test_a_page_of_a_listed_site_may_ask_from_a_browser(tmp_path: Path) -> None:
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(tmp_path)
    )
    with (
        browser() as chromium,
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site,
    ):
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        port, started = site.server_port, []
        try:
            served = Served(
                tmp_path, api_key=KEY, cors_origins=f"http://127.0.0.1:{port}"
            )
            started.append(served)

            def asked_from(host: str, key: str) -> list[Any]:
                page = chromium.new_page()
                page.goto(f"http://{host}:{port}/")
                answer = page.evaluate(SCRIPT, [f"{served.url}/predict/stream", key])
                page.close()
                return list(answer)

            assert asked_from("127.0.0.1", KEY) == [200, 41]
            assert asked_from("127.0.0.1", "wrong" * 4)[0] == 401  # readable, too
            # Negative control: the same page under another name is another site.
            assert asked_from("localhost", KEY)[0] == 0
        finally:
            for server in started:
                server.program.kill_everything()
            site.shutdown()
            thread.join()
