"""Proofs for distrinews.system.machine, and for what importing this package costs."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import types

import psutil
import pytest
import torch

from distrinews import FIRST_LINE_S, dist
from distrinews.system import machine


def test_cores_are_physical_and_never_more_than_this_process_may_use() -> None:
    num_cores = machine.num_cores()
    assert 1 <= num_cores <= (psutil.cpu_count(logical=True) or 1)
    if sys.platform == "linux":
        assert num_cores <= len(os.sched_getaffinity(0))


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's")
@pytest.mark.parametrize(
    ("limit", "want"),
    [
        ("max 100000", 8),
        ("300000 100000", 3),
        ("50000 100000", 1),  # half a core is still one
        ("1600000 100000", 8),
        ("nonsense", 8),
    ],
)
def test_a_containers_cpu_limit_counts(
    limit: str, want: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    monkeypatch.setattr(pathlib.Path, "read_text", lambda self, encoding: limit)
    assert machine.num_cores() == want


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's")
@pytest.mark.parametrize(("quota", "want"), [("-1", 8), ("300000", 3)])
def test_a_limit_of_control_groups_version_1_counts(
    quota: str, want: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"cpu.cfs_quota_us": f"{quota}\n", "cpu.cfs_period_us": "100000\n"}

    def read_text(self: pathlib.Path, encoding: str) -> str:
        if self.name not in files:
            raise FileNotFoundError(self)
        return files[self.name]

    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    monkeypatch.setattr(pathlib.Path, "read_text", read_text)
    assert machine.num_cores() == want


@pytest.mark.parametrize(
    ("granted", "want"),
    [("2", 2), ("2.0", 2), ("0.5", 1), ("99", 8), ("", 8), ("inf", 8)],
)
def test_what_a_space_says_it_grants_counts(
    granted: str, want: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 8)
    monkeypatch.setattr(sys, "platform", "other")
    monkeypatch.setenv("CPU_CORES", granted)
    assert machine.num_cores() == want


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")
def test_a_process_bound_to_one_core_has_one_core() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert machine.num_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_peak_memory_never_falls_and_sees_a_new_block() -> None:
    before = machine.peak_memory_bytes()
    # WHY twice the peak: whatever was freed before, this cannot fit into it.
    block = bytearray(before)
    block[::4096] = b"x" * len(block[::4096])  # touch every page
    after = machine.peak_memory_bytes()
    assert after >= before + len(block) // 2
    del block
    assert machine.peak_memory_bytes() >= after
    assert after < psutil.virtual_memory().total


def test_the_description_is_json_and_true() -> None:
    description = json.loads(json.dumps(machine.describe()))
    assert description["num_threads"] == torch.get_num_threads()
    assert description["packages"]["torch"] == torch.__version__
    assert description["num_cores"] == machine.num_cores()
    assert description["memory_bytes"] == psutil.virtual_memory().total
    assert description["cpu"]


def test_on_windows_a_processor_has_the_name_that_it_is_sold_under(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = types.ModuleType("winreg")
    asked = []

    def open_key(root: int, folder: str) -> contextlib.AbstractContextManager[str]:
        asked.append((root, folder))
        return contextlib.nullcontext("key")

    names = {
        "HKEY_LOCAL_MACHINE": 2,
        "OpenKey": open_key,
        "QueryValueEx": lambda key, name: ("AMD Ryzen 7 7840U ", 1),
    }
    registry.__dict__.update(names)
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_, **__: "")  # no /proc
    monkeypatch.setitem(sys.modules, "winreg", registry)
    assert machine._cpu_name() == "AMD Ryzen 7 7840U"
    assert asked == [(2, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0")]


def test_on_macos_a_processor_has_the_name_that_it_is_sold_under(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(command: tuple[str, ...], **_: object) -> types.SimpleNamespace:
        assert command[-1] == "machdep.cpu.brand_string"
        return types.SimpleNamespace(stdout=b"Apple M3 Pro\n")

    monkeypatch.setattr("pathlib.Path.read_text", lambda *_, **__: "")  # no /proc
    monkeypatch.setattr("platform.processor", lambda: "arm")
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setitem(sys.modules, "winreg", None)
    assert machine._cpu_name() == "arm"  # negative control: on no Mac
    monkeypatch.setattr(sys, "platform", "darwin")
    assert machine._cpu_name() == "Apple M3 Pro"


def test_the_loopback_exists_and_carries_the_loopback_address() -> None:
    name = machine.loopback_interface()
    assert name is not None
    addresses = [address.address for address in psutil.net_if_addrs()[name]]
    assert "127.0.0.1" in addresses


def test_an_adapter_of_windows_is_named_and_one_that_gloo_cannot_read_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def address(number: str) -> types.SimpleNamespace:
        return types.SimpleNamespace(address=number)

    adapters = {
        "WLAN": [address("192.168.178.20"), address("fe80::1")],
        "Loopback Pseudo-Interface 1": [address("::1"), address("127.0.0.1")],
    }
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: adapters)
    assert machine.loopback_interface() == "Loopback Pseudo-Interface 1"
    adapters["Kehrschleife ö"] = adapters.pop("Loopback Pseudo-Interface 1")
    assert machine.loopback_interface() is None


# --- When the program began -----------------------------------------------------


ASK_BOTH_CLOCKS = """
from distrinews.system import machine
import time, psutil
created_s = psutil.Process().create_time()
print(time.time() - machine.program_start_s(), time.time() - created_s)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no exec")
def test_the_start_does_not_count_what_a_shell_did_before_it_became_python() -> None:
    command = 'sleep 3; exec "$0" -c "$1"'
    done = subprocess.run(
        ("sh", "-c", command, sys.executable, ASK_BOTH_CLOCKS),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    since_first_line_s, since_creation_s = map(float, done.stdout.split())
    # Negative control: the creation of the process, which exec keeps, holds the sleep.
    assert since_creation_s >= 2.9
    assert 0 <= since_first_line_s <= since_creation_s - 2.9


def write_start(ranks: dist.Ranks, folder: pathlib.Path) -> None:
    text = json.dumps([machine.program_start_s(), FIRST_LINE_S])
    (folder / str(ranks.rank)).write_text(text, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_a_rank_counts_from_the_start_of_its_launcher(tmp_path: pathlib.Path) -> None:
    dist.launch(write_start, tmp_path, num_ranks=2, timeout_s=60)
    for rank in ("0", "1"):
        start_s, own_s = json.loads((tmp_path / rank).read_text(encoding="utf-8"))
        assert start_s == machine.program_start_s()
        assert own_s > start_s  # the guard: its own first line came later


def test_a_program_that_a_rank_starts_counts_from_its_own_start() -> None:
    ask = "from distrinews.system import machine; print(machine.program_start_s())"
    env = os.environ | {machine.PROGRAM_START_VARIABLE: "5.0"}
    done = subprocess.run(
        (sys.executable, "-c", ask),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=env,
    )
    assert float(done.stdout) > FIRST_LINE_S


# --- What importing costs -------------------------------------------------------


def run_python(*lines: str) -> str:
    done = subprocess.run(
        (sys.executable, "-c", "\n".join(lines)),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def modules_after(statement: str) -> set[str]:
    return set(run_python("import sys", statement, "print(*sys.modules)").split())


@pytest.mark.parametrize(
    "module", ["distrinews", "distrinews.errors", "distrinews.system.console"]
)
def test_importing_the_package_or_its_errors_loads_nothing_heavy(module: str) -> None:
    loaded = modules_after(f"import {module}")
    assert module in loaded
    assert loaded.isdisjoint({"torch", "transformers", "numpy", "pydantic"})


def test_importing_dist_loads_torch_but_not_transformers() -> None:
    loaded = modules_after("import distrinews.dist")
    assert "torch" in loaded  # negative control: heavy imports are seen
    assert loaded.isdisjoint({"transformers", "datasets", "pyarrow"})


def test_importing_the_package_takes_less_than_a_tenth_of_a_second() -> None:
    lines = (
        "import time; began_s = time.perf_counter()",
        "import distrinews",
        "print(time.perf_counter() - began_s)",
    )
    times_s = [float(run_python(*lines)) for _ in range(5)]
    assert statistics.median(times_s) < 0.1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have none")
@pytest.mark.parametrize("number", [0, 7])
def test_a_thread_that_gives_way_stands_behind_its_process(number: int) -> None:
    """Also in a process that runs under `nice`; the main thread stays as it was."""
    code = (
        "import os, threading; from distrinews.system import machine\n"
        "def look():\n"
        "    machine.lower_thread_priority()\n"
        "    tid = threading.get_native_id()\n"
        "    print(os.getpriority(os.PRIO_PROCESS, tid))\n"
        "thread = threading.Thread(target=look)\n"
        "thread.start(); thread.join()\n"
        "print(os.getpriority(os.PRIO_PROCESS, os.getpid()))\n"
    )
    done = subprocess.run(
        ["nice", "-n", str(number), sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    of_thread, of_process = map(int, done.stdout.split())
    assert of_process == min(19, os.getpriority(os.PRIO_PROCESS, 0) + number)
    assert of_thread == min(19, of_process + machine.NICE_INCREMENT)


# Allocates and frees as a step of training does, and counts what Linux had to clear.
COUNT_PAGE_FAULTS = """
import resource, sys, torch
from distrinews import dist
from distrinews.system import machine

def step():
    # WHY 40 MB each: glibc alone learns to keep smaller ones, up to 32 MB.
    tensors = [torch.ones(10_000_000) for _ in range(2)]  # all written

def faults_per_step():
    for _ in range(3):  # until the heap has room for all of them
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 5

print(faults_per_step())  # negative control: as a process begins
with dist.setup():
    print(faults_per_step())
"""


@pytest.mark.slow
@pytest.mark.skipif(
    # WHY not ask keep_freed_memory(): it would change this process for all later tests.
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc",
    reason="only glibc can be told to keep what is freed",
)
def test_a_rank_reuses_the_memory_that_it_freed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COUNT_PAGE_FAULTS],
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = map(int, done.stdout.split())
    pages_of_the_tensors = 2 * 40_000_000 // os.sysconf("SC_PAGE_SIZE")
    assert before > pages_of_the_tensors / 2
    assert after < before / 100


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_elsewhere_than_on_linux_nothing_is_asked_of_its_c_library(
    system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str | None) -> None:
        raise TypeError(f"imitated: Windows' ctypes loads no {name}")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    monkeypatch.delattr(os, "getpriority", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    for function in (machine.keep_freed_memory, machine.lower_thread_priority):
        with pytest.raises((TypeError, AttributeError)):  # negative control
            function()
    monkeypatch.setattr(sys, "platform", system)
    assert machine.keep_freed_memory() is False
    machine.return_freed_memory()
    machine.lower_thread_priority()
