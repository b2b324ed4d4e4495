"""Measure the server beside its peers, and then at ten times its load.

All serve the same export on this machine, in the same run, one at a time (the others
are stopped meanwhile), to wrk over loopback: 16 connections, real AG News texts.

wrk has one thread and runs on the cores that the server runs on; nothing is pinned. The
pipeline in a route is measured twice: as a tutorial leaves torch's threads, and with
one thread per request, so that the better of the two is what we are set against.

Run   python -m tests.load --model runs/NAME       Linux, needs wrk; about 6 minutes
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import httpx
from helpers.running import HELPERS, Program, wait_until
from helpers.served import free_port
from prometheus_client.parser import text_string_to_metric_families

from distrinews.bench import results, timing
from distrinews.data import csv_rows

ROOT = pathlib.Path(__file__).resolve().parents[1]
NEWS = ROOT.parent / "shared" / "data" / "ag_news" / "test.csv"
OURS = "distrinews"
# Servers by name -> the file of `helpers` and what follows model and port.
PEERS = {
    "naive": ("naive_server.py", ()),
    "naive_one_thread": ("naive_server.py", ("1",)),
    "litserve": ("litserve_server.py", ()),
}
NUM_CONNECTIONS = 16
# The flood's connections; each waits between its requests, so that together they send
# as many a second as they should.
FLOOD_CONNECTIONS = 400
# Of them, so many wait for the answer to a request that was accepted, by the server's
# defaults: one address gets half of the queue, and a batch. The others must send what
# these do not.
NUM_ACCEPTED = 64 + 64
# WHY more than ten: an answer takes its time, too, and the flood must not fall short.
AIM = 10.6  # times the capacity
PROBES_PER_S = 60  # requests of our own in the flood, timed one by one
DEADLINE_S = 10.0  # the server's default


def texts(num_rows: int) -> list[str]:
    """Headlines and first lines of the test set, in random order."""
    rows = [row.text for row in csv_rows.read_csv(NEWS).rows]
    random.Random(0).shuffle(rows)
    return rows[:num_rows]


class Server:
    """One server, running or stopped."""

    def __init__(self, name: str, model: str, *, folder: pathlib.Path) -> None:
        self.name, self.port = name, free_port()
        folder.mkdir()
        if name == OURS:
            words = [ROOT / "apps" / "api.py", "--model", model, "--port", self.port]
            words += ["--no-ui", "--log-level", "info"]
        else:
            script, more = PEERS[name]
            words = [HELPERS / script, model, self.port, *more]
        quiet = {"TOKENIZERS_PARALLELISM": None, "HF_HUB_OFFLINE": "1"}
        self.program = Program(words, folder=folder, env=quiet)
        self.url = f"http://127.0.0.1:{self.port}"
        wait_until(self.answers, timeout_s=120, what=f"{name}: {self.program.err}")

    def answers(self) -> bool:
        assert self.program.process.poll() is None, self.program.err
        with contextlib.suppress(httpx.HTTPError):
            return self.predict().status_code == 200
        return False

    def predict(self) -> httpx.Response:
        body = {"text": "Oil prices rise as a storm nears the coast"}
        return httpx.post(f"{self.url}/predict", json=body, timeout=30)

    def suspend(self) -> None:
        for process in self.program.processes():
            process.suspend()

    def resume(self) -> None:
        for process in self.program.processes():
            process.resume()

    def num_by_status(self) -> collections.Counter[int]:
        """Requests to /predict so far, as the server counts them."""
        metrics = httpx.get(f"{self.url}/metrics", timeout=30).text
        counts: collections.Counter[int] = collections.Counter()
        for family in text_string_to_metric_families(metrics):
            for sample in (
                family.samples if family.name == "distrinews_requests" else ()
            ):
                if (
                    sample.name.endswith("_total")
                    and sample.labels["route"] == "/predict"
                ):
                    counts[int(sample.labels["status"])] += int(sample.value)
        return counts

    def rss_bytes(self) -> int:
        return sum(process.memory_info().rss for process in self.program.processes())


def wrk(
    url: str, bodies: pathlib.Path, *, seconds: float, **load: int
) -> dict[str, Any]:
    """Let wrk send; return what it counted."""
    env = {
        **os.environ,
        "LOAD_BODIES": str(bodies),
        "LOAD_DELAY_MS": str(load.get("delay_ms", 0)),
    }
    num = load.get("connections", NUM_CONNECTIONS)
    command = ["wrk", "-t1", f"-c{num}", f"-d{seconds:g}s", "--timeout", "30s"]
    command += ["-s", HELPERS / "load.lua", f"{url}/predict"]
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        env=env,
        timeout=seconds + 60,
        check=True,
    )
    [line] = [line for line in done.stdout.splitlines() if line.startswith("LOAD ")]
    counts: dict[str, Any] = json.loads(line.removeprefix("LOAD "))
    counts["per_s"] = round(counts["answered"] / counts["seconds"], 1)
    return counts


def compare(
    servers: list[Server], bodies: pathlib.Path, *, rounds: int, seconds: float
) -> dict[str, Any]:
    """Time all of them in turn; return the median round of each."""
    rounds_by_name: dict[str, list[dict[str, Any]]] = {
        server.name: [] for server in servers
    }
    for server in servers:
        server.suspend()
    for _, server in timing.turns(servers, num_rounds=rounds):
        server.resume()
        wrk(server.url, bodies, seconds=1)  # warm again
        counts = wrk(server.url, bodies, seconds=seconds)
        print(server.name, counts, flush=True)
        rounds_by_name[server.name].append(counts)
        server.suspend()
    return {
        name: _median_round(rounds_of_server)
        for name, rounds_of_server in rounds_by_name.items()
    }


def _median_round(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    fields = ("per_s", "p50_ms", "p99_ms")
    medians = {
        name: statistics.median(round_counts[name] for round_counts in rounds)
        for name in fields
    }
    rates = [round_counts["per_s"] for round_counts in rounds]
    failed = sum(
        round_counts["refused"] + round_counts["other"] + round_counts["broken"]
        for round_counts in rounds
    )
    spread = {"slowest_per_s": min(rates), "fastest_per_s": max(rates)}
    return medians | spread | {"failed": failed, "rounds_per_s": rates}


# --- Overload -------------------------------------------------------------------


async def probe(port: int, body: bytes) -> tuple[int, float]:
    """One request on a connection of its own: status, and seconds it took."""
    began_s = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    response = await reader.read()
    writer.close()
    return int(response[9:12] or 0), time.perf_counter() - began_s


async def probe_steadily(
    port: int, bodies: list[bytes], *, seconds: float, per_s: float
) -> list[tuple[int, float]]:
    """Send at a fixed rate, whether or not answers come."""
    tasks = []
    began_s = time.monotonic()
    for number in range(int(seconds * per_s)):
        await asyncio.sleep(max(0, began_s + number / per_s - time.monotonic()))
        body = bodies[number % len(bodies)]
        tasks.append(asyncio.create_task(probe(port, body)))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    return [outcome if isinstance(outcome, tuple) else (0, 0.0) for outcome in outcomes]


def overload(
    server: Server, bodies: pathlib.Path, *, capacity_per_s: float, seconds: float
) -> dict[str, Any]:
    """Offer ten times what it can do; watch who is answered, and when it recovers."""
    server.resume()
    lines = bodies.read_bytes().splitlines()
    before = asyncio.run(probe_steadily(server.port, lines, seconds=3, per_s=10))
    rss_bytes, counted = [server.rss_bytes()], server.num_by_status()
    flood_per_s = AIM * capacity_per_s - PROBES_PER_S
    probes: list[tuple[int, float]] = []
    with _flood(server, bodies, per_s=flood_per_s, seconds=seconds) as flood_counts:
        for part_s in (seconds / 4, seconds * 3 / 4 - 2):
            probes += asyncio.run(
                probe_steadily(server.port, lines, seconds=part_s, per_s=PROBES_PER_S)
            )
            rss_bytes.append(server.rss_bytes())
    time.sleep(2)
    after = asyncio.run(probe_steadily(server.port, lines, seconds=3, per_s=10))
    accepted = sorted(took for status, took in probes if status == 200)
    refused = sorted(took for status, took in probes if status == 503)
    counted = server.num_by_status() - counted
    # 499: who left before the answer, which wrk does at its end.
    other = sum(num for name, num in counted.items() if name not in {200, 499, 503})
    lost = sum(status not in {200, 503} for status, _ in probes)
    per_s = {
        "offered": (flood_counts["answered"] + flood_counts["refused"] + len(probes))
        / flood_counts["seconds"],
        "accepted": (flood_counts["answered"] + len(accepted))
        / flood_counts["seconds"],
    }
    return {
        "how": f"{FLOOD_CONNECTIONS} connections; what is due within the same 10 ms is "
        f"sent together; {PROBES_PER_S} of the requests a second are timed one by one",
        "offered_per_s": round(per_s["offered"], 1),
        "offered_by_capacity": round(per_s["offered"] / capacity_per_s, 2),
        "accepted_per_s": round(per_s["accepted"], 1),
        "accepted_by_capacity": round(per_s["accepted"] / capacity_per_s, 3),
        "accepted": flood_counts["answered"] + len(accepted),
        "refused": flood_counts["refused"] + len(refused),
        "refused_as_the_server_counts": counted[503],
        "neither": other + flood_counts["broken"] + lost,
        "accepted_p99_s": round(_percentile(accepted, 99), 3),
        "refused_p99_s": round(_percentile(refused, 99), 3),
        "deadline_s": DEADLINE_S,
        "rss_mib_before": round(rss_bytes[0] / 2**20, 1),
        "rss_mib_at_a_quarter": round(rss_bytes[1] / 2**20, 1),
        "rss_mib_after": round(rss_bytes[2] / 2**20, 1),
        "median_ms_before": round(1000 * statistics.median(t for _, t in before), 1),
        "median_ms_after_2_s": round(1000 * statistics.median(t for _, t in after), 1),
        "refused_after_2_s": sum(status != 200 for status, _ in after),
    }


@contextlib.contextmanager
def _flood(
    server: Server, bodies: pathlib.Path, *, per_s: float, seconds: float
) -> Generator[dict[str, Any], None, None]:
    """Let wrk send beside the block; fill in what it counted."""
    counts: dict[str, Any] = {}
    delay_ms = round(1000 * (FLOOD_CONNECTIONS - NUM_ACCEPTED) / per_s)
    load = {"connections": FLOOD_CONNECTIONS, "delay_ms": delay_ms}

    def send() -> None:
        counts.update(wrk(server.url, bodies, seconds=seconds, **load))

    sender = threading.Thread(target=send)
    sender.start()
    time.sleep(1)
    yield counts
    sender.join()


def _percentile(values: list[float], percent: float) -> float:
    if not values:
        return float("nan")
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


def main() -> None:
    """Measure, print, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="an export")
    parser.add_argument("--rounds", type=int, default=timing.FEWEST_ROUNDS)
    parser.add_argument("--seconds", type=float, default=8, help="of a round")
    parser.add_argument("--overload-seconds", type=float, default=30)
    parser.add_argument("--json", help="where to write the record")
    given = parser.parse_args()
    # WHY: a signal would otherwise leave the servers behind, stopped as they are.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as cleanup:
        folder = pathlib.Path(name)
        bodies = folder / "bodies.jsonl"
        lines = [json.dumps({"text": text}) for text in texts(4000)]
        bodies.write_text("\n".join(lines), encoding="utf-8")
        servers = []
        for kind in (OURS, *PEERS):
            servers.append(Server(kind, given.model, folder=folder / kind))
            cleanup.callback(servers[-1].program.kill_everything)
            servers[-1].suspend()
        for server in servers:
            server.resume()
        comparison = compare(
            servers, bodies, rounds=given.rounds, seconds=given.seconds
        )
        figures: dict[str, Any] = {"side_by_side": comparison}
        ours = servers[0]
        ours.resume()
        version = httpx.get(f"{ours.url}/version").json()
        figures["overload"] = overload(
            ours,
            bodies,
            capacity_per_s=comparison[OURS]["per_s"],
            seconds=given.overload_seconds,
        )
    settings = {
        "engine": version["engine"],
        "model": version["model"]["id"],
        "num_connections": NUM_CONNECTIONS,
        "num_rounds": given.rounds,
        "round_s": given.seconds,
        "overload_s": given.overload_seconds,
    }
    record = results.build_record(
        "serving", figures=figures, settings=settings, num_ranks=1
    )
    print(json.dumps(record, indent=1))
    if given.json:
        results.write(pathlib.Path(given.json), record)


if __name__ == "__main__":
    main()
