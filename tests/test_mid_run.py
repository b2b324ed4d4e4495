"""Proofs for what befalls a run while it trains: its disk or its folder goes away.

A disk that fills up stands in test_bad_input, kills in test_chaos.
"""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

import pytest
from helpers import chapters, disks
from helpers.chapters import CHAPTER_05, LONG
from helpers.running import Program, wait_until

from distrinews import checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def first_checkpoint(program: Program, folder: pathlib.Path) -> None:
    wait_until(
        lambda: (
            list((folder / "checkpoints").glob("step-*[0-9]"))
            or program.process.poll() is not None
        ),
        timeout_s=90,
        what="the first checkpoint",
    )


def test_a_disk_that_becomes_read_only_ends_the_run_and_keeps_what_was_saved(
    tmp_path: pathlib.Path,
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    disks.mount_or_skip(disk, size="99m")
    try:
        program, folder = chapters.start(CHAPTER_05, *LONG, name="ro", runs=disk)
        first_checkpoint(program, folder)
        # A file that is open for writing would refuse; try until none is.
        command = ["mount", "-o", "remount,ro", str(disk)]
        wait_until(
            lambda: subprocess.run(command, check=False).returncode == 0,
            timeout_s=30,
            what="read-only",
        )
        done = chapters.finish(program, folder)
        assert done.code == 2, str(done)
        assert len(re.findall(r"^Error: ", done.err, re.MULTILINE)) == 1, str(done)
        assert "Read-only file system" in done.err
        assert "Traceback" not in done.err, str(done)
        assert done.left == []
        kept = sorted((folder / "checkpoints").glob("step-*[0-9]"))
        assert kept
        for path in kept:
            checkpoint.verify(path)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_run_whose_folder_is_removed_says_so_and_ends() -> None:
    program, folder = chapters.start(CHAPTER_05, *LONG, "--save-every-steps", "3")
    first_checkpoint(program, folder)
    while folder.exists():  # it may be writing at the same time
        shutil.rmtree(folder, ignore_errors=True)
    done = chapters.finish(program, folder)
    assert done.code == 2, str(done)
    assert len(re.findall(r"^Error: ", done.err, re.MULTILINE)) == 1, str(done)
    assert "removed during" in done.err or "No such file" in done.err
    assert "Traceback" not in done.err, str(done)
    assert done.left == []
