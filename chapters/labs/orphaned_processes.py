"""The launcher is killed, and its ranks keep running.

Symptom   "a rank is left behind: True", reported by the detector. In practice: memory,
          GPU or port are still taken after Ctrl-C or a crash.
Cause     A process that is killed by force cannot end the processes that it started,
          and nothing else ends them.
Fix       Each rank watches its parent and ends with it (`spawn.exit_when_orphaned`;
          `dist.launch` uses it). Find leftover processes with `ps` and kill them by id.
Detector  The process table, three seconds later.
Look at   The parent id of a process whose parent has ended. Whose is it?
Question  Why can a signal handler in the launcher not help here?
Source    https://github.com/ultralytics/ultralytics/issues/3544
Concept   understand/failures
Silent    no
Takes     6 s
"""

from __future__ import annotations

import contextlib
import subprocess
import sys

import psutil

from distrinews import dist
from distrinews.course import labs

STARTER = """
import multiprocessing, sys
rank = multiprocessing.get_context("spawn").Process(target=exec, args=sys.argv[1:])
rank.start(), rank.join()
"""
TRAIN = """
import os, time
print(os.getpid(), flush=True), time.sleep(60)  # it trains
"""


def still_there(code: str) -> bool:
    """Kill a launcher by force; return whether its child still runs 3 s later."""
    command = [sys.executable, "-c", STARTER, code]
    starter = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    rank = psutil.Process(int(starter.stdout.readline() if starter.stdout else ""))
    try:
        starter.kill()
        starter.wait()
        psutil.wait_procs([rank], timeout=3.0)
        return rank.is_running()
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            rank.kill()


def broken() -> bool:
    return still_there(TRAIN)


def fixed() -> bool:
    watch = """
from distrinews.dist import spawn
spawn.exit_when_orphaned(lambda: None)
"""
    return still_there(watch + TRAIN)


def detect(ranks: dist.Ranks, got: bool) -> None:
    labs.expect("a rank is left behind", got, want=False)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"a rank is left behind: True on rank 0; right is False",
    num_ranks=0,
)

if __name__ == "__main__":
    LAB.main()
