"""torch.distributed.launch passes --local-rank, but the script expects --local_rank.

Symptom   "train.py: error: unrecognized arguments: --local-rank=0"
Cause     The old launcher adds an argument to those of the script. Since torch 2.0 it
          is spelt with a dash.
Fix       Use torchrun, and read LOCAL_RANK from the environment.
Detector  The script's argument parser.
Look at   The dash in one name and the underscore in the other.
Question  Why is an environment variable the better place for this number?
Source    https://github.com/XPixelGroup/BasicSR/issues/626
Concept   understand/launchers
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


def broken() -> int:
    script = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--local_rank", type=int)
print("local rank", parser.parse_args().local_rank)
"""
    launcher = ("-m", "torch.distributed.launch", *LAUNCHED)
    return labs.run_script(script, launcher=launcher).code


def fixed() -> int:
    script = """
import os
print("local rank", os.environ["LOCAL_RANK"])
"""
    launcher = ("-m", "torch.distributed.run", *LAUNCHED)
    return labs.run_script(script, launcher=launcher).code


def detect(ranks: dist.Ranks, got: int) -> None:
    labs.expect("exit code of the launcher", got, want=0)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"error: unrecognized arguments: --local-rank=0",
    num_ranks=0,
)

if __name__ == "__main__":
    LAB.main()
