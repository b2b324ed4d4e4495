"""A fixed port that another job already uses.

Symptom   "torch.distributed.DistNetworkError: The server socket has failed to listen on
          any local network address. port: ..., code: -98, name: EADDRINUSE, message:
          address already in use".
Cause     MASTER_PORT or the default 29500 is taken: by a second job, or by processes
          that your last job left behind.
Fix       Port 0: torchrun --rdzv-endpoint=localhost:0 (or --standalone), or a file
          (`dist.launch`). End leftover processes by their process id.
Detector  The operating system.
Look at   The port in the message, and which process has it (`ss -ltnp`, `lsof -i
          :PORT`).
Question  A helper opens a free port, closes it and passes its number on. What can go
          wrong?
Source    https://github.com/pytorch/pytorch/issues/85604
Concept   understand/launchers
Silent    no
Takes     3 s
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Generator

import torch.distributed as torch_dist

from distrinews import dist
from distrinews.course import labs

LIBUV = sys.platform != "win32"  # PyTorch's Windows wheels are built without it


@contextlib.contextmanager
def another_job() -> Generator[int, None, None]:
    with socket.socket() as job:
        job.bind(("127.0.0.1", 0))
        job.listen()
        yield job.getsockname()[1]


def broken() -> bool:
    with another_job() as port:
        store = torch_dist.TCPStore(  # type: ignore[attr-defined]
            "127.0.0.1", port, is_master=True, wait_for_workers=False, use_libuv=LIBUV
        )
        return bool(store.port != port)


def fixed() -> bool:
    with another_job() as port:
        store = torch_dist.TCPStore(  # type: ignore[attr-defined]
            "127.0.0.1", 0, is_master=True, wait_for_workers=False, use_libuv=LIBUV
        )  # 0: the system chooses a free one
        return bool(store.port != port)


def detect(ranks: dist.Ranks, got: bool) -> None:
    labs.expect("the job has a port of its own", got, want=True)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"(?i)address already in use|\b10048\b",
    num_ranks=0,
)

if __name__ == "__main__":
    LAB.main()
