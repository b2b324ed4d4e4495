"""What the doctor looks at on Windows and macOS: their kinds of Python, their folders.

Not here: what is alike on every system (`distrinews.doctor.checks`). What stands here
was read in the systems' documentation and proven with their answers imitated: not run
on Windows or macOS.

Guide: troubleshooting/#no-torch-wheel.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import platform
import sys
import sysconfig

from distrinews.doctor.findings import Finding
from distrinews.errors import SetupError
from distrinews.system import checkout, narrow_path

__all__ = ["architecture", "checkout_folder", "meeting_folder"]

# torch 2.13's wheels for macOS are tagged macosx_14_0_arm64.
OLDEST_MACOS = 14
# Windows' limit for a path is 260 characters with the zero at its end; the longest file
# of torch 2.13 below a checkout needs the rest.
MAX_CHECKOUT_CHARACTERS = 66
ONEDRIVE_VARIABLES = ("OneDrive", "OneDriveConsumer", "OneDriveCommercial")


def architecture() -> list[Finding]:
    """Whether PyPI has a torch for this kind of Python.

    Returns:
        One finding.

    Examples:
        >>> [finding.name for finding in architecture()]
        ['processor']
    """
    machine, text, cure = platform.machine(), "", ""
    if sys.platform == "win32" and sysconfig.get_platform() == "win-arm64":
        text = "this Python is built for ARM, and PyPI has no torch for it"
        cure = "install the x64 Python (Windows runs it), and make .venv again with it"
    elif sys.platform == "darwin" and machine == "x86_64":
        text = "this Python is built for Intel, and PyPI has no current torch for it"
        cure = "on a Mac with an M processor install Python from python.org and make "
        cure += ".venv again; for a Mac with an Intel processor there is none"
    elif sys.platform == "darwin" and _macos_version() < OLDEST_MACOS:
        text = f"macOS {platform.mac_ver()[0]}: torch needs {OLDEST_MACOS} or newer"
        cure = "update macOS"
    if text:
        return [Finding("processor", "problem", text, cure, "no-torch-wheel")]
    return [Finding("processor", "ok", f"{machine}, {sysconfig.get_platform()}")]


def _macos_version() -> int:
    return int(platform.mac_ver()[0].partition(".")[0] or OLDEST_MACOS)


def checkout_folder() -> list[Finding]:
    """Whether the course lies where Windows lets torch be installed and files alone.

    Returns:
        Findings on Windows, else none.

    Examples:
        >>> from unittest import mock
        >>> with mock.patch.object(sys, "platform", "linux"):
        ...     checkout_folder()
        []
    """
    if sys.platform != "win32":
        return []
    findings, folder = [], pathlib.Path(checkout.ROOT)
    length = len(str(folder))
    if length > MAX_CHECKOUT_CHARACTERS and not _has_long_paths():
        text = f"{folder} has {length} characters: with more than "
        text += f"{MAX_CHECKOUT_CHARACTERS} torch's files exceed Windows' limit of 260"
        cure = r"move the course to a short folder such as C:\course, make .venv again"
        findings.append(Finding("checkout", "warning", text, cure, "windows-long-path"))
    for name in ONEDRIVE_VARIABLES:
        synced = os.environ.get(name)
        if synced and folder.is_relative_to(synced):
            text = f"{folder} is synchronised by OneDrive, which holds files open"
            cure = r"move the course out of OneDrive, for instance to C:\course"
            page = "file-in-use-on-windows"
            findings.append(Finding("checkout", "warning", text, cure, page))
            break
    return findings or [Finding("checkout", "ok", f"{length} characters: {folder}")]


def _has_long_paths() -> bool:
    """Whether this Windows is set to accept paths of any length."""
    with contextlib.suppress(ImportError, OSError):
        import winreg

        key_name = r"SYSTEM\CurrentControlSet\Control\FileSystem"
        # mypy: on Linux this module has no names.
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key_name) as key:  # type: ignore[attr-defined]
            return bool(winreg.QueryValueEx(key, "LongPathsEnabled")[0])  # type: ignore[attr-defined]
    return False


def meeting_folder() -> list[Finding]:
    """Whether there is a folder for the file in which ranks meet.

    Returns:
        A problem, or nothing: an ordinary temporary folder is no news.

    Examples:
        >>> meeting_folder()
        []
    """
    try:
        narrow_path.new_folder_name("distrinews-")
    except SetupError as error:
        return [Finding("folder", "problem", error.what, error.fix, "no-narrow-folder")]
    return []
