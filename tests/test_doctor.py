"""Proofs for the doctor: it sees each fault, names the cure, and never fails."""

from __future__ import annotations

import codecs
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from helpers.disks import mount_or_skip
from helpers.like_windows import sitecustomize as windows
from helpers.running import Program, wait_until

from distrinews.doctor import catalogue, checks, examination, system_checks
from distrinews.doctor.checks import CHECKS
from distrinews.doctor.findings import Finding, judge_pair, judge_torch
from distrinews.system import checkout

DOCTOR = (sys.executable, "-m", "distrinews", "doctor", "--json")
LIMIT_S = 30
FACTS: dict[str, Any] = {
    "torch": "2.13.0",
    "distributed": True,
    "gloo": True,
    "nccl": False,
    "libuv": True,
    "gpus": [],
}


def check(name: str) -> list[Finding]:
    [function] = [each for each in CHECKS if each.__name__ in (name, f"_{name}")]
    return function()


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


# --- Each fault is seen, and a sound machine is not accused ------------------------


def test_this_machine_is_sound_as_far_as_the_small_checks_see() -> None:
    """The control of all tests below: without their fault there is no finding."""
    findings = [finding for check in CHECKS for finding in check()]
    assert [f for f in findings if f.level == "problem"] == []
    assert {"python", "packages", "host name", "port", "cores", "folder"} <= {
        f.name for f in findings
    }


@pytest.mark.parametrize("value", ["banana", "", "0", "-2", "1.5", "100000"])
def test_a_nonsensical_number_of_threads_is_a_problem(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    [finding] = check("threads")
    assert (finding.level, finding.page) == ("problem", "omp-one-thread")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert levels(check("threads")) == ["ok"]


@pytest.mark.parametrize("name", ["no-such-host.invalid", "müller-pc", ""])
def test_a_host_name_that_does_not_resolve_is_seen(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    [finding] = check("host_name")
    assert (finding.level, finding.page) == ("warning", "unsupported-gloo-device")
    assert "hosts file" in finding.cure


def test_a_cure_can_be_typed_into_powershell_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nonsense")
    monkeypatch.setattr(sys, "platform", "linux")
    assert check("interface")[0].cure == "unset GLOO_SOCKET_IFNAME"
    monkeypatch.setattr(sys, "platform", "win32")
    assert check("interface")[0].cure == "Remove-Item Env:GLOO_SOCKET_IFNAME"
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    [finding] = check("launcher")
    assert finding.cure == "Remove-Item Env:RANK, Env:WORLD_SIZE"


def test_a_host_name_of_another_machine_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    foreign = [(socket.AF_INET, 0, 0, "", ("192.0.2.7", 0))]  # an address for examples
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: foreign)
    [finding] = check("host_name")
    assert (finding.level, "192.0.2.7" in finding.text) == ("warning", True)


def test_an_interface_that_does_not_exist_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nonsense")
    [finding] = check("interface")
    assert (finding.level, "nonsense" in finding.text) == ("problem", True)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", socket.if_nameindex()[0][1])
    assert levels(check("interface")) == ["ok"]
    # Windows' names are those of its settings, which `socket` does not know.
    adapter = "Loopback Pseudo-Interface 1"
    monkeypatch.setattr("psutil.net_if_addrs", lambda: {"WLAN": [], adapter: []})
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "loopback_0")])
    for name, level in ((adapter, "ok"), ("loopback_0", "problem")):
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", name)
        assert levels(check("interface")) == [level]


def test_a_taken_port_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        monkeypatch.setattr(checks, "TORCHRUN_PORT", port)
        [finding] = check("port")
        assert (finding.level, finding.page) == ("warning", "address-in-use")
        assert str(port) in finding.text
    assert levels(check("port")) == ["ok"]


def test_a_tiny_shared_memory_is_seen(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount_or_skip(tmp_path, size="1m")
    try:
        monkeypatch.setattr(checks, "SHARED_MEMORY", tmp_path)
        [finding] = check("shared_memory")
        assert (finding.level, finding.page) == ("warning", "dataloader-bus-error")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True, timeout=30)


def test_a_nearly_full_disk_is_a_problem(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount_or_skip(tmp_path, size="1m")
    try:
        monkeypatch.setenv("DISTRINEWS_CACHE", str(tmp_path / "new" / "cache"))
        [finding] = [f for f in check("folders") if f.text.startswith("cache")]
        assert (finding.level, finding.page) == ("problem", "output")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True, timeout=30)


def test_a_folder_without_the_right_to_write_is_a_problem(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DISTRINEWS_CACHE", str(tmp_path / "file" / "cache"))
    [finding] = [f for f in check("folders") if f.text.startswith("cache")]
    assert (finding.level, finding.page) == ("problem", "output")
    assert "DISTRINEWS_CACHE" in finding.cure
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]  # nothing was left


@pytest.mark.parametrize(
    ("variable", "name", "level"),
    [
        ("KAGGLE_KERNEL_RUN_TYPE", "notebook", "warning"),
        ("RANK", "launcher", "problem"),
    ],
)
def test_a_notebook_and_a_launchers_variables_are_seen(
    variable: str, name: str, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    assert levels(check(name)) == ["ok"]
    monkeypatch.setenv(variable, "0")
    assert levels(check(name)) == [level]


def test_a_package_or_python_outside_its_range_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert levels([*check("packages"), *check("python")]) == ["ok", "ok"]
    wanted = (">=99", ["torch>=99", "not-a-package-at-all>=1", "psutil>=5.9"])
    monkeypatch.setattr(checks, "_required_versions", lambda: wanted)
    [packages], [python] = check("packages"), check("python")
    assert (packages.level, python.level) == ("problem", "problem")
    assert "torch" in packages.text
    assert "not-a-package-at-all is missing" in packages.text
    assert "psutil" not in packages.text


def test_the_ranges_are_those_of_the_project() -> None:
    python, packages = checks._required_versions()
    # WHY parts: an installed package's own words may name them in another order.
    assert ">=3.11" in python.split(",")
    assert any(line.startswith("torch>=") for line in packages)
    assert not any("matplotlib" in line for line in packages)


def test_what_torch_cannot_do_is_seen() -> None:
    assert levels(judge_torch(FACTS)) == ["ok", "ok", "ok"]
    assert levels(judge_torch({**FACTS, "gloo": False})) == ["problem"]
    pages = [f.page for f in judge_torch({**FACTS, "libuv": False})]
    assert "no-libuv-on-windows" in pages


def test_a_t4s_emulated_bfloat16_is_not_taken_for_the_real_one() -> None:
    t4 = {"name": "Tesla T4", "bf16_native": False, "unusable": None}
    assert judge_torch({**FACTS, "gpus": [t4, t4]})[-1].page == "bf16-emulated"
    a100 = {"name": "A100", "bf16_native": True, "unusable": None}
    assert levels(judge_torch({**FACTS, "gpus": [a100]})) == ["ok", "ok", "ok"]


def test_two_ranks_that_failed_are_explained_by_the_catalogue() -> None:
    error = "RuntimeError: makeDeviceForHostname(): unsupported gloo device\n  why:  x"
    finding = judge_pair({"error": error})
    assert (finding.level, finding.page) == ("problem", "unsupported-gloo-device")
    assert finding.text.startswith("RuntimeError: makeDevice")
    assert judge_pair({"sum": 3, "world_size": 2, "took_s": 1.0}).level == "ok"
    assert judge_pair({}).level == "problem"
    assert judge_pair({"sum": 4, "took_s": 1.0}).level == "problem"


@pytest.mark.parametrize(
    ("system", "machine", "built_for", "macos", "level"),
    [
        ("win32", "AMD64", "win-amd64", "", "ok"),
        ("win32", "ARM64", "win-amd64", "", "ok"),  # x64, as Windows on ARM runs it
        ("win32", "ARM64", "win-arm64", "", "problem"),
        ("darwin", "arm64", "macosx-11.0-universal2", "14.5", "ok"),
        ("darwin", "x86_64", "macosx-11.0-universal2", "14.5", "problem"),  # Rosetta
        ("darwin", "arm64", "macosx-11.0-universal2", "13.6", "problem"),
        ("linux", "x86_64", "linux-x86_64", "", "ok"),
    ],
)
def test_a_python_that_torch_is_not_built_for_is_seen(
    system: str,
    machine: str,
    built_for: str,
    macos: str,
    level: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("sysconfig.get_platform", lambda: built_for)
    monkeypatch.setattr("platform.mac_ver", lambda: (macos, ("", "", ""), ""))
    [finding] = system_checks.architecture()
    assert finding.level == level
    assert finding.page == ("no-torch-wheel" if level == "problem" else "")


def test_a_long_or_a_synchronised_folder_of_windows_is_seen(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    for name in system_checks.ONEDRIVE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    root = pathlib.Path("/") / "c"
    monkeypatch.setattr(checkout, "ROOT", root)
    assert levels(system_checks.checkout_folder()) == ["ok"]
    monkeypatch.setattr(checkout, "ROOT", root / ("x" * 80))
    monkeypatch.setenv("OneDrive", str(root))
    pages = [finding.page for finding in system_checks.checkout_folder()]
    assert pages == ["windows-long-path", "file-in-use-on-windows"]
    monkeypatch.setattr(system_checks, "_has_long_paths", lambda: True)
    monkeypatch.setenv("OneDrive", str(tmp_path))
    assert levels(system_checks.checkout_folder()) == ["ok"]


def test_without_a_folder_to_meet_in_the_doctor_does_not_blame_a_firewall(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert system_checks.meeting_folder() == []
    temporary = tmp_path / "Łukasz"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    codecs.register(windows.code_page)
    try:
        [finding] = system_checks.meeting_folder()
    finally:
        codecs.unregister(windows.code_page)
    assert (finding.level, finding.page) == ("problem", "no-narrow-folder")
    assert "TEMP" in finding.cure


def test_a_missing_visual_c_runtime_is_explained_by_the_catalogue() -> None:
    error = (
        "OSError: [WinError 1114] A dynamic link library (DLL) initialization routine "
        'failed. Error loading "C:\\x\\torch\\lib\\c10.dll" or one of its dependencies.'
    )
    finding = examination._torch_failed(error)
    assert (finding.page, "vc_redist.x64.exe" in finding.cure) == (
        "dll-not-loaded",
        True,
    )
    # Negative control: an error that nobody knows.
    assert examination._torch_failed("it said no").page == "machine"


# --- It never raises, and ends in time -------------------------------------------


def test_the_doctor_itself_loads_nothing_that_may_be_broken() -> None:
    script = "import sys, distrinews.doctor.examination; print(*sys.modules)"
    done = subprocess.run(
        (sys.executable, "-c", script),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert loaded & {"torch", "pydantic", "psutil", "numpy", "transformers"} == set()
    assert "distrinews.doctor.checks" in loaded


def test_a_check_that_raises_or_never_answers_becomes_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> list[Finding]:
        raise RuntimeError("boom")

    def frozen() -> list[Finding]:
        time.sleep(3600)
        return []

    monkeypatch.setattr(examination, "CHECKS_LIMIT_S", 0.5)
    findings = examination._run_checks([
        broken,
        frozen,
        lambda: [Finding("x", "ok", "y")],
    ])
    assert levels(findings) == ["warning", "warning", "ok"]
    assert "boom" in findings[0].text
    assert "no answer within" in findings[1].text


def test_a_probe_that_talks_nonsense_becomes_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Nonsense(examination._Probe):
        def __enter__(self) -> examination._Probe:
            self._process = None
            return self

        def findings(self) -> list[Finding]:
            raise KeyError("gloo")

    monkeypatch.setattr(examination, "_Probe", Nonsense)
    [finding] = examination.examine(())
    assert (finding.level, "gloo" in finding.text) == ("problem", True)


def test_only_a_problem_makes_the_exit_code_1_and_json_holds_everything() -> None:
    warning = Finding("port", "warning", "taken", "take another", "address-in-use")
    problem = Finding("cores", "problem", "none", "buy one", "omp-one-thread")
    assert examination.exit_code([warning]) == 0
    assert examination.exit_code([warning, problem]) == 1
    report = json.loads(examination.describe([warning, problem], as_json=True))
    assert report["exit_code"] == 1
    assert report["findings"][1]["cure"] == "buy one"
    shown = examination.describe([warning, problem])
    assert "1 problem, 1 warning." in shown
    assert "more: troubleshooting/#address-in-use" in shown


def run_doctor(
    start: Callable[..., Program], *, cwd: pathlib.Path | None = None, **env: str | None
) -> dict[str, Any]:
    began_s = time.monotonic()
    home = str(pathlib.Path(__file__).resolve().parents[1])
    program = start(*DOCTOR, cwd=cwd, env={"PYTHONPATH": home, **env})
    code = program.exit_code(timeout_s=2 * LIMIT_S)
    took_s = time.monotonic() - began_s
    assert "Traceback" not in program.err
    report: dict[str, Any] = json.loads(program.out)
    assert report["exit_code"] == code
    assert took_s < LIMIT_S, f"took {took_s:.1f} s"
    program.seconds_until_nothing_is_left(timeout_s=2)
    left = [n for n in program.temporary_files() if "pymp" not in n]
    assert left == []
    anchors = {e.slug for e in (*catalogue.read().own, *catalogue.read().troubles)}
    for finding in report["findings"]:
        assert finding["level"] in {"ok", "warning", "problem"}
        if finding["level"] != "ok":
            assert finding["cure"], finding
            assert finding["page"] in anchors, finding
    return report


def faulty(report: dict[str, Any]) -> set[str]:
    return {f["name"] for f in report["findings"] if f["level"] == "problem"}


@pytest.mark.slow
def test_on_a_sound_machine_two_real_ranks_meet_and_nothing_is_left(
    start: Callable[..., Program],
) -> None:
    report = run_doctor(start)
    assert faulty(report) == set()
    [pair] = [f for f in report["findings"] if f["name"] == "two ranks"]
    assert "1 + 2 = 3" in pair["text"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="faults made by Linux's means")
@pytest.mark.parametrize(
    ("fault", "want"),
    [
        ({"GLOO_SOCKET_IFNAME": "nonsense"}, {"network", "two ranks"}),
        ({"OMP_NUM_THREADS": "banana"}, {"cores"}),
        ({"OMP_NUM_THREADS": "100000"}, {"cores"}),
        ({"DISTRINEWS_CACHE": "/proc/nothing/here"}, {"folder"}),
        ({"TMPDIR": "/proc", "TEMP": "/proc"}, None),
        ({"RANK": "7", "WORLD_SIZE": "9"}, {"launcher"}),
        ({"HOSTALIASES": "/dev/null", "MASTER_ADDR": "nowhere.invalid"}, set()),
    ],
)
def test_with_a_fault_the_doctor_ends_in_time_and_names_it(
    fault: dict[str, str], want: set[str] | None, start: Callable[..., Program]
) -> None:
    report = run_doctor(start, **fault)
    if want is not None:
        assert faulty(report) == want


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_without_write_access_to_this_folder_the_doctor_says_so(
    start: Callable[..., Program],
) -> None:
    report = run_doctor(start, cwd=pathlib.Path("/proc"))
    assert faulty(report) == {"folder"}


def in_namespace(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a copy of this system whose name and /dev/shm are broken."""
    broken = (
        "hostname no-such-host.invalid && mount -t tmpfs -o size=64k tmpfs /dev/shm && "
        'exec "$@"'
    )
    unshare = ("unshare", "--mount", "--uts", "sh", "-c", broken, "sh")
    return subprocess.run(
        (*unshare, *command), capture_output=True, text=True, timeout=90, check=False
    )


@pytest.mark.slow
def test_a_broken_host_name_and_a_tiny_shared_memory_are_warnings_not_failures() -> (
    None
):
    if not shutil.which("unshare") or in_namespace("true").returncode != 0:
        pytest.skip("this container may not change names and mounts")
    began_s = time.monotonic()
    done = in_namespace(*DOCTOR)
    assert time.monotonic() - began_s < LIMIT_S
    by_name = {f["name"]: f for f in json.loads(done.stdout)["findings"]}
    assert done.returncode == 0, done.stdout
    assert by_name["host name"]["level"] == "warning"
    assert by_name["memory"]["level"] == "warning"
    assert by_name["two ranks"]["level"] == "ok"


@pytest.mark.slow
def test_without_torch_the_doctor_reports_that_and_lives(
    tmp_path: pathlib.Path, start: Callable[..., Program]
) -> None:
    (tmp_path / "torch").mkdir()
    broken = "raise OSError('a DLL of torch could not be loaded')\n"
    (tmp_path / "torch" / "__init__.py").write_text(broken, encoding="utf-8")
    root = pathlib.Path(__file__).resolve().parents[1]
    path = os.pathsep.join((str(tmp_path), str(root)))
    report = run_doctor(start, PYTHONPATH=path)
    assert "torch" in faulty(report)
    assert any("a DLL of torch" in f["text"] for f in report["findings"])


@pytest.mark.slow
def test_a_probe_that_never_answers_is_ended_and_leaves_nothing(
    start: Callable[..., Program], tmp_path: pathlib.Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from distrinews.doctor import examination\n"
        "examination.PROBE_LIMIT_S = examination.PAIR_LIMIT_S = 1.0\n"
        "print(examination.describe(examination.examine(()), as_json=True))\n",
        encoding="utf-8",
    )
    root = pathlib.Path(__file__).resolve().parents[1]
    program = start(script, env={"PYTHONPATH": str(root)})
    assert program.exit_code(timeout_s=LIMIT_S) == 0
    report = json.loads(program.out)
    assert faulty(report) & {"torch", "two ranks"}
    assert any("within" in f["text"] for f in report["findings"])
    program.seconds_until_nothing_is_left(timeout_s=5)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C as POSIX sends it")
def test_ctrl_c_ends_the_doctor_and_its_ranks(start: Callable[..., Program]) -> None:
    root = str(pathlib.Path(__file__).resolve().parents[1])
    program = start(*DOCTOR, env={"PYTHONPATH": root})
    # The doctor, the probe, its helper and two ranks.
    wait_until(lambda: len(program.processes()) >= 4, timeout_s=30, what="the ranks")
    program.press_ctrl_c()
    assert program.exit_code(timeout_s=10) == 130
    assert "Traceback" not in program.err
    program.seconds_until_nothing_is_left(timeout_s=5)
