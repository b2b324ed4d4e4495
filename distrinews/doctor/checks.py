"""What the doctor looks at: one small function per thing, each returning findings.

Promise: every finding that is not "ok" carries a cure that can be typed and the anchor
of its troubleshooting entry. A check changes nothing on the machine.

Not here: what only Windows and macOS have (`distrinews.doctor.system_checks`), running
them all within a time limit (`distrinews.doctor.examination`), asking
torch (`distrinews.doctor.probe`). This module loads neither torch nor anything else
heavy.

Guide: troubleshooting.
"""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
import re
import shutil
import socket
import sys
import tempfile
import tomllib
from collections.abc import Callable

from distrinews.doctor import system_checks
from distrinews.doctor.findings import INSTALL, Finding, Level
from distrinews.system import checkout, files, shell

__all__ = ["CHECKS"]

SHARED_MEMORY = pathlib.Path("/dev/shm")
MIB = 2**20
# A DataLoader worker's few batches; Docker's default of 64 MiB is where people fail.
ENOUGH_SHARED_BYTES = 128 * MIB
# A run's checkpoints and the cache of tokenised rows; and what hardly lasts a minute.
ENOUGH_DISK_BYTES = 2 * 2**30
LEAST_DISK_BYTES = 200 * MIB
# torchrun takes it where the rendezvous is static and no port was given. torch 2.13
# does so for several machines only: on one machine it looks for a free port by itself,
# as --standalone does; older versions need that flag. Many scripts set it by hand.
TORCHRUN_PORT = 29500
# Set in notebooks by Jupyter, Kaggle and Colab.
NOTEBOOK_VARIABLES = ("JPY_PARENT_PID", "KAGGLE_KERNEL_RUN_TYPE", "COLAB_RELEASE_TAG")
LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


def _python() -> list[Finding]:
    version = platform.python_version()
    wanted = _required_versions()[0]
    bits = 64 if sys.maxsize > 2**32 else 32
    if bits == 32 or not _fits(version, wanted):
        cure = f"install a 64-bit Python {wanted or 'from python.org'}"
        text = f"{version}, {bits} bit, is not what this course works with"
        return [Finding("python", "problem", text, cure, "machine")]
    return [Finding("python", "ok", f"{version}, {bits} bit")]


def _required_versions() -> tuple[str, list[str]]:
    """The ranges for Python and the packages: as installed, or of a checkout."""
    try:
        metadata = importlib.metadata.metadata("distrinews")
    except importlib.metadata.PackageNotFoundError:
        project = checkout.ROOT / "pyproject.toml"
        if not project.is_file():
            return "", []
        content = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        return content["requires-python"], content["dependencies"]
    packages = metadata.get_all("Requires-Dist") or []
    # WHY without those behind a semicolon: an extra is another page's business.
    return metadata["Requires-Python"] or "", [
        line for line in packages if ";" not in line
    ]


def _fits(version: str, wanted: str) -> bool:
    """Whether a version lies in a range; True if it cannot be determined."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True
    # WHY without "+cpu": a local build of a version is that version.
    return SpecifierSet(wanted).contains(version.partition("+")[0], prereleases=True)


def _packages() -> list[Finding]:
    wrong = []
    for line in _required_versions()[1]:
        name = re.split(r"[^A-Za-z0-9._-]", line)[0]
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        if not _fits(version, line[len(name) :]):
            wrong.append(f"{name} {version} is outside {line[len(name) :]}")
    if wrong:
        text = "; ".join(wrong)
        return [Finding("packages", "problem", text, INSTALL, "machine")]
    return [Finding("packages", "ok", "all within the tested range")]


def _notebook() -> list[Finding]:
    variables = [name for name in NOTEBOOK_VARIABLES if name in os.environ]
    if not variables:
        return [Finding("notebook", "ok", "no, an ordinary program")]
    return [
        Finding(
            "notebook",
            "warning",
            f"yes ({variables[0]} is set): a cell's function cannot become a rank",
            "run scripts from a cell: !python chapters/05_ddp_training.py",
            "function-in-notebook",
        )
    ]


def _launcher() -> list[Finding]:
    variables = [name for name in LAUNCHER_VARIABLES if name in os.environ]
    if not variables:
        return [Finding("launcher", "ok", "no variables of a launcher are set")]
    names = " ".join(variables)
    text = f"{names} set: every program takes itself for a rank and waits for others"
    cure = shell.unset_variables(*variables)
    return [Finding("launcher", "problem", text, cure, "setup")]


def _host_name() -> list[Finding]:
    from distrinews.system import machine

    name = socket.gethostname()
    page = "unsupported-gloo-device"
    cure = f"add the line '127.0.0.1 {name or 'localhost'}' to the hosts file"
    loopback = machine.loopback_interface()
    if loopback is not None:
        cure += f", or: {shell.set_variable('GLOO_SOCKET_IFNAME', loopback)}"
    if not name or not name.isascii():
        text = f"{name!r} is no name that gloo can look up"
        return [Finding("host name", "warning", text, cure, page)]
    try:
        family, _, _, _, address = socket.getaddrinfo(name, None)[0]
    except (OSError, UnicodeError) as error:
        text = f"{name!r} does not resolve ({error}); gloo looks it up"
        return [Finding("host name", "warning", text, cure, page)]
    try:
        with socket.socket(family) as probe:
            probe.bind(address)
    except OSError:
        text = f"{name!r} leads to {address[0]}, which is no network of this machine"
        return [Finding("host name", "warning", text, cure, page)]
    return [Finding("host name", "ok", f"{name} resolves to {address[0]}")]


def _interface() -> list[Finding]:
    import psutil

    wanted = os.environ.get("GLOO_SOCKET_IFNAME")
    if wanted is None:
        return []
    # WHY not socket.if_nameindex: on Windows it gives names that gloo cannot find.
    names = psutil.net_if_addrs().keys()
    missing = [name for name in wanted.split(",") if name not in names]
    if not missing:
        return [Finding("network", "ok", f"GLOO_SOCKET_IFNAME={wanted} exists")]
    text = f"GLOO_SOCKET_IFNAME={wanted}, but there is only {', '.join(sorted(names))}"
    cure = shell.unset_variables("GLOO_SOCKET_IFNAME")
    return [Finding("network", "problem", text, cure, "unsupported-gloo-device")]


def _port() -> list[Finding]:
    page = "address-in-use"
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        text = f"none can be opened on 127.0.0.1: {error.strerror or error}"
        cure = "let your firewall allow python on 127.0.0.1"
        return [Finding("port", "problem", text, cure, page)]
    with socket.socket() as probe:
        # WHY connect and not bind: on Windows a taken port can be bound once more.
        probe.settimeout(1)
        taken = probe.connect_ex(("127.0.0.1", TORCHRUN_PORT)) == 0
    if taken:
        text = f"{TORCHRUN_PORT}, torchrun's default between machines, is taken"
        cure = "torchrun --standalone ... on one machine, else another --master-port"
        return [Finding("port", "warning", text, cure, page)]
    return [Finding("port", "ok", f"free ones can be opened; {TORCHRUN_PORT} is free")]


def _threads() -> list[Finding]:
    import psutil

    logical = psutil.cpu_count() or 1
    cores = psutil.cpu_count(logical=False) or logical
    threads = os.environ.get("OMP_NUM_THREADS")
    page = "omp-one-thread"
    if threads is None:
        text = f"{cores} cores, {logical} hardware threads; ranks share them equally"
        return [Finding("cores", "ok", text)]
    cure = (
        shell.unset_variables("OMP_NUM_THREADS")
        + "  (each rank then gets its share of the cores)"
    )
    if not threads.isascii() or not threads.isdigit() or int(threads) < 1:
        text = f"OMP_NUM_THREADS={threads!r} is no number of threads"
        return [Finding("cores", "problem", text, cure, page)]
    if int(threads) > 8 * logical:
        text = (
            f"OMP_NUM_THREADS={threads} on {logical} hardware threads: starting fails"
        )
        return [Finding("cores", "problem", text, cure, page)]
    if int(threads) > cores:
        text = (
            f"OMP_NUM_THREADS={threads} per rank on {cores} cores: they fight for them"
        )
        return [Finding("cores", "warning", text, cure, page)]
    return [
        Finding("cores", "ok", f"{cores} cores, OMP_NUM_THREADS={threads} per rank")
    ]


def _shared_memory() -> list[Finding]:
    if not SHARED_MEMORY.is_dir():
        return []  # macOS and Windows share memory without a folder
    free = shutil.disk_usage(SHARED_MEMORY).free
    text = f"{free // MIB} MiB free in {SHARED_MEMORY}"
    if free < ENOUGH_SHARED_BYTES:
        cure = "num_workers=0 in DataLoaders; in a container: docker run --shm-size=2g"
        return [Finding("memory", "warning", text, cure, "dataloader-bus-error")]
    return [Finding("memory", "ok", text)]


def _folders() -> list[Finding]:
    """Space and the right to write, where runs, caches and temporary files go."""
    findings = []
    cache = os.environ.get("DISTRINEWS_CACHE") or "~/.cache/distrinews"
    folders = {"here": pathlib.Path(), "cache": pathlib.Path(cache).expanduser()}
    cures = {
        "here": "cd to a folder of your own, or: --runs-dir FOLDER",
        "cache": shell.set_variable("DISTRINEWS_CACHE", "FOLDER"),
        "temporary": shell.set_variable(
            "TEMP" if sys.platform == "win32" else "TMPDIR", "FOLDER"
        ),
    }
    try:
        folders["temporary"] = pathlib.Path(tempfile.gettempdir())
    except OSError as error:
        text = f"there is no usable folder for temporary files: {error.strerror}"
        findings.append(
            Finding("folder", "problem", text, cures["temporary"], "output")
        )
    for name, folder in folders.items():
        findings.append(_folder(name, folder, cure=cures[name]))
    return findings


def _folder(name: str, folder: pathlib.Path, *, cure: str) -> Finding:
    existing = folder.absolute()
    try:
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent  # the rest would be made there
        files.check_writable(existing)
        free = shutil.disk_usage(existing).free
    except OSError as error:
        text = f"{name}: cannot write to {existing}: {error.strerror or error}"
        return Finding("folder", "problem", text, cure, "output")
    text = f"{name}: {free / 2**30:.1f} GiB free in {existing}"
    if free < ENOUGH_DISK_BYTES:
        level: Level = "problem" if free < LEAST_DISK_BYTES else "warning"
        return Finding("folder", level, text, f"free some space, or {cure}", "output")
    return Finding("folder", "ok", text)


CHECKS: tuple[Callable[[], list[Finding]], ...] = (
    _python,
    system_checks.architecture,
    system_checks.checkout_folder,
    _packages,
    _notebook,
    _launcher,
    _host_name,
    _interface,
    _port,
    _threads,
    _shared_memory,
    _folders,
    system_checks.meeting_folder,
)
