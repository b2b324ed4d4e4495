"""torchrun's ChildFailedError says nothing about the error.

Symptom   "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ...
          exitcode : 1 ... error_file: <N/A> ... traceback : To enable traceback see:
          https://..."
Cause     torchrun only knows that a process ended with exit code 1. The traceback is in
          that rank's output, far above or lost.
Fix       @record on main: the rank writes its error to a file that torchrun reads. Look
          for the FIRST rank that failed.
Detector  torchrun's summary.
Look at   "Root Cause (first observed failure)", and the lines above it.
Question  With eight ranks: which of the eight tracebacks do you read?
Source    https://github.com/pytorch/pytorch/issues/113546
Concept   understand/failures
Silent    no
Takes     8 s
"""

from __future__ import annotations

from distrinews import dist
from distrinews.course import labs

LAUNCHED = (
    *("--nproc-per-node=1", "--rdzv-backend=c10d"),
    *("--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"),
)


def broken() -> bool:
    script = """
def main():
    raise ValueError("row 7 has no label")
main()
"""
    return summary_names_cause(script)


def fixed() -> bool:
    script = """
from torch.distributed.elastic.multiprocessing.errors import record
@record
def main():
    raise ValueError("row 7 has no label")
main()
"""
    return summary_names_cause(script)


def summary_names_cause(script: str) -> bool:
    launcher = ("-m", "torch.distributed.run", *LAUNCHED)
    text = labs.run_script(script, launcher=launcher).text
    return "row 7" in text.partition("Root Cause")[2]  # the summary at the end


def detect(ranks: dist.Ranks, got: bool) -> None:
    labs.expect("the summary names the cause", got, want=True)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"(?s)ChildFailedError.*error_file: <N/A>.*To enable traceback see",
    num_ranks=0,
)

if __name__ == "__main__":
    LAB.main()
