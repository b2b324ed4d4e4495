"""A function from a notebook cell cannot be started in a new process.

Symptom   "AttributeError: Can't get attribute 'train' on <module '__main__'
          (built-in)>"
Cause     A spawned process gets a function by its name and imports the file that
          defines it. A notebook cell is not in a file.
Fix       Put the function in a file: use %%writefile and import it, or run `!torchrun
          file.py` from the cell.
Detector  pickle, in the new process.
Look at   "built-in": the new process's __main__ has no file.
Question  Why does a lambda fail even in a file?
Source    https://github.com/Lightning-AI/pytorch-lightning/issues/10511
Concept   understand/processes-and-ranks
Silent    no
Takes     3 s
"""

from __future__ import annotations

from distrinews import dist
from distrinews.course import lab_process, labs

CELL = """
def train(rank):
    print("rank", rank)
"""
START = """
import multiprocessing
process = multiprocessing.get_context("spawn").Process(target=train, args=(0,))
process.start()
process.join()
raise SystemExit(process.exitcode)
"""


def broken() -> int:
    # Like a notebook, `python -c` has no file that a new process could import.
    return lab_process.run(("-c", CELL + START)).code


def fixed() -> int:
    # %%writefile cell.py, and then import from it.
    (labs.folder() / "cell.py").write_text(CELL, encoding="utf-8")
    code = "from cell import train\n" + START
    return lab_process.run(("-c", code), cwd=labs.folder()).code


def detect(ranks: dist.Ranks, got: int) -> None:
    labs.expect("exit code", got, want=0)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"Can't get attribute 'train' on <module '__main__' \(built-in\)>",
    num_ranks=0,
)

if __name__ == "__main__":
    LAB.main()
