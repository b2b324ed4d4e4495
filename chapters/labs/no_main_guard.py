"""No `if __name__ == "__main__":` in a file that starts processes.

Symptom   "RuntimeError: An attempt has been made to start a new process before the
          current process has finished its bootstrapping phase."
Cause     "spawn", the only way on Windows and macOS, starts a new Python that first
          imports your file. Without the guard that import starts processes too.
Fix       Start processes only below `if __name__ == "__main__":`.
Detector  Python's multiprocessing.
Look at   The traceback begins in spawn.py, so it comes from the child.
Question  The same file works with "fork". Why, and why can you not use fork with CUDA?
Source    https://github.com/pytorch/pytorch/issues/5858
Concept   understand/processes-and-ranks
Silent    no
Takes     3 s
"""

from __future__ import annotations

from distrinews import dist
from distrinews.course import labs


def broken() -> int:
    script = """
import multiprocessing
def train(rank):
    print("rank", rank)
process = multiprocessing.get_context("spawn").Process(target=train, args=(0,))
process.start()
process.join()
raise SystemExit(process.exitcode)
"""
    return labs.run_script(script).code


def fixed() -> int:
    script = """
import multiprocessing
def train(rank):
    print("rank", rank)
if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=train, args=(0,))
    process.start()
    process.join()
    raise SystemExit(process.exitcode)
"""
    return labs.run_script(script).code


def detect(ranks: dist.Ranks, got: int) -> None:
    labs.expect("exit code", got, want=0)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"An attempt has been made to start a new process before the",
    num_ranks=0,
)

if __name__ == "__main__":
    LAB.main()
