"""What this machine offers: cores, memory, versions; and how ranks share it.

Promise: numbers that a result is printed with (hardware, versions, peak memory) come
from one place and mean the same on Linux, macOS and Windows.

Not here: judging the machine or curing it.

Guide: understand/launchers.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import multiprocessing
import os
import pathlib
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import psutil

from distrinews import FIRST_LINE_S

if TYPE_CHECKING:
    import torch

__all__ = [
    "cache_folder",
    "describe",
    "keep_freed_memory",
    "loopback_interface",
    "num_cores",
    "peak_memory_bytes",
    "program_start_s",
    "return_freed_memory",
    "threads",
    "lower_thread_priority",
]

# By it a launcher tells the ranks that it starts when the program began.
PROGRAM_START_VARIABLE = "DISTRINEWS_PROGRAM_START_S"
# A nice value: about a third of the weight of an ordinary thread.
NICE_INCREMENT = 5
# glibc's names, from malloc.h: no size is so large that it is mapped alone and unmapped
# when freed (M_MMAP_THRESHOLD), and the heap's end is not given back
# (M_TRIM_THRESHOLD).
MALLOPT = {-3: 2**30, -1: 2**31 - 1}
PACKAGES = (
    "distrinews",
    "torch",
    "transformers",
    "tokenizers",
    "pyarrow",
    "pydantic",
    "safetensors",
)


def num_cores() -> int:
    """Count the physical cores that this process may really use, at least 1.

    Why: a laptop has cores that share one arithmetic unit, a container may use a part
    of its host's cores. Threads beyond that number slow each other down.

    Returns:
        Cores, after affinity, a container's CPU limit and `CPU_CORES`, by which Hugging
        Face Spaces say what they grant.

    Examples:
        >>> num_cores() >= 1
        True
    """
    counts = [psutil.cpu_count(logical=False) or 1]
    if sys.platform == "linux":
        counts.append(len(os.sched_getaffinity(0)))
        with contextlib.suppress(OSError, ValueError):
            quota, period = _cgroup_cpu_limit().split()
            counts.append(int(quota) // int(period))  # "max" is a ValueError: no limit
    with contextlib.suppress(ValueError, OverflowError):
        counts.append(int(float(os.environ.get("CPU_CORES", "none"))))
    return max(1, min(counts))


def _cgroup_cpu_limit() -> str:
    """The CPU limit of our cgroup, as "microseconds of CPU" and "per period"."""
    cgroup = pathlib.Path("/sys/fs/cgroup")
    try:
        return (cgroup / "cpu.max").read_text(encoding="utf-8")
    except FileNotFoundError:  # control groups of version 1 have two files
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        quota, period = (
            (cgroup / "cpu" / n).read_text(encoding="utf-8") for n in names
        )
        return f"{quota} {period}".replace("-1", "max")


def cache_folder() -> pathlib.Path:
    """Name the folder of caches: DISTRINEWS_CACHE, else a folder below home.

    Returns:
        A folder; it may not exist yet. It can be deleted at any time between runs.

    Examples:
        >>> from unittest import mock
        >>> with mock.patch.dict(os.environ, DISTRINEWS_CACHE="somewhere/else"):
        ...     cache_folder().name
        'else'
    """
    configured = os.environ.get("DISTRINEWS_CACHE")
    default = pathlib.Path.home() / ".cache" / "distrinews"
    return pathlib.Path(configured) if configured else default


def loopback_interface() -> str | None:
    """Name this machine's loopback network interface.

    Why: gloo looks up the machine's own host name to find its network. On laptops that
    lookup fails or leads to a VPN, and on Windows it leads to the Wi-Fi, where the
    firewall asks; ranks on one machine need only the loopback.

    Returns:
        "lo" on Linux, "lo0" on macOS, on Windows the adapter's name (not run there; in
        English "Loopback Pseudo-Interface 1"). None if there is none, or if its name
        has letters that not every code page has: gloo then looks up the host name.

    Source: gloo's `transport/uv/device.cc` compares with libuv's names, which are those
        of Windows' own settings, as psutil's are.

    Examples:
        >>> import sys
        >>> names = {"linux": "lo", "darwin": "lo0"}
        >>> loopback_interface() == names.get(sys.platform, loopback_interface())
        True
    """
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address == "127.0.0.1" for each in addresses) and name.isascii():
            return name
    return None


def peak_memory_bytes(device: torch.device | None = None) -> int:
    """Measure the most memory this process has needed so far, in bytes.

    Args:
        device: Where its replica lives; None for the CPU.

    Returns:
        On a GPU what torch has had allocated there, else the resident bytes of the
        process.

    Examples:
        >>> peak_memory_bytes() > 10_000_000
        True
    """
    if device is not None and device.type == "cuda":
        import torch  # WHY here, and below: serving may need no torch

        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # exists on POSIX only

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts KiB


def lower_thread_priority() -> None:
    """Lower the priority of the calling thread, so that others get its core first.

    Why: a server's event loop needs little of a core, but at once. Beside threads that
    compute without a pause it would wait for its turn at every step of every request.

    Note:
        On Linux only, where a thread has a priority of its own; elsewhere nothing
        happens.
    """
    if sys.platform == "linux":
        # WHY the process's own and more: one that runs under `nice` has others too.
        niceness = os.getpriority(os.PRIO_PROCESS, os.getpid()) + NICE_INCREMENT
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


def keep_freed_memory() -> bool:
    """Let this process reuse the memory that it frees, without asking Linux again.

    Why: glibc gives large tensors back as soon as they are freed. The next step of the
    training gets fresh pages for the same tensors, and Linux has to clear each of them.

    Returns:
        Whether it is so from now on: with glibc only. Elsewhere nothing happens.

    Note:
        Memory that was freed is held until `return_freed_memory`.

    Source: man 3 mallopt.

    Examples:
        >>> import sys
        >>> keep_freed_memory() or sys.platform != "linux"
        True
    """
    mallopt = _glibc("mallopt")
    return mallopt is not None and all(
        mallopt(option, value) == 1 for option, value in MALLOPT.items()
    )


def return_freed_memory() -> None:
    """Give the memory that this process has freed, and still holds, back to Linux.

    Note:
        With glibc only. Elsewhere nothing happens.

    Source: man 3 malloc_trim.

    Examples:
        >>> return_freed_memory()
    """
    malloc_trim = _glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _glibc(name: str) -> Callable[..., int] | None:
    """A function of glibc; None on other systems, and with musl, which lacks it."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), name, None)


@contextlib.contextmanager
def threads(number: int) -> Generator[None, None, None]:
    """Compute with the given number of threads inside the block.

    Args:
        number: Of threads of this process.

    Yields:
        None.

    Examples:
        >>> import torch
        >>> before = torch.get_num_threads()
        >>> with threads(1):
        ...     torch.get_num_threads()
        1
        >>> torch.get_num_threads() == before
        True
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    # WHY compute something: the threads are made by the first work they get.
    torch.ones(512, 512).mm(torch.ones(512, 512))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def describe() -> dict[str, object]:
    """List hardware and versions, for the record beside every measured number.

    Returns:
        Plain values that JSON can hold: system, python, cpu, cores, threads, memory in
        bytes, GPU names, package versions.

    Examples:
        >>> import torch
        >>> describe()["packages"]["torch"] == torch.__version__
        True
    """
    import torch  # WHY here: serving counts cores, and may need no torch

    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpu": _cpu_name(),
        "num_cores": num_cores(),
        "num_threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": [torch.cuda.get_device_name(i) for i in gpus],
        "packages": versions,
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        info = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
        for line in info.splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    with contextlib.suppress(ImportError, OSError):
        import winreg

        # mypy: on Linux this module has no names. Windows' platform.processor() says
        # "Intel64 Family 6 Model 186", which cannot be compared.
        names: Any = winreg
        folder = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with names.OpenKey(names.HKEY_LOCAL_MACHINE, folder) as key:
            return str(names.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            # platform.processor() says "arm", or "i386".
            command = ("/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string")
            output = subprocess.run(command, capture_output=True, timeout=5, check=True)
            return output.stdout.decode().strip()
    return platform.processor() or platform.machine()


def program_start_s() -> float:
    """Say when the command began: when its first process ran its first line of ours.

    Why: what a person waits for is not only training; imports take seconds in every
    process. Why not the process's creation: a shell that ends with `exec python ...`
    hands its process on, and the system keeps the shell's own start as its creation.
    `bash -c "pip install ... && exec python ..."` would count the installation.

    Returns:
        Seconds since 1970, as `time.time()`. In a rank that `dist.launch` started, that
        of its launcher. The start of the interpreter before it is not counted: on our
        two cores `python -c pass` took 0.02 to 0.07 s.

    Examples:
        >>> import time
        >>> program_start_s() < time.time()
        True
    """
    handed_on = os.environ.get(PROGRAM_START_VARIABLE)
    # WHY ask for a parent, too: a program that a rank starts inherits the variable,
    # and is a program of its own.
    if handed_on and multiprocessing.parent_process() is not None:
        return float(handed_on)
    return FIRST_LINE_S
