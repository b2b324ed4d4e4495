"""A program with ranks. Each rank writes what it saw as `<rank>.json`.

Run   python dist_program.py FUNCTION OUT NUM_RANKS [TIMEOUT_S]
      torchrun --nproc_per_node=2 dist_program.py FUNCTION OUT 2
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import psutil
import torch
import torch.distributed as torch_dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.dist import process_group
from distrinews.errors import DataError, DistriNewsError
from distrinews.sync import sparse_embedding
from distrinews.system import console

if __name__ == "__mp_main__" and os.environ.get("RANK_ONE_IS_LATE"):
    # Of all ranks that import this file, the first to make the folder sleeps.
    with contextlib.suppress(FileExistsError):
        pathlib.Path(os.environ["RANK_ONE_IS_LATE"]).mkdir()
        time.sleep(120)

HEADLINE = "Хоккейный клуб выиграл финал"
BIG = 2**60  # far beyond 2**53, where float64 begins to skip integers
TINY = 2.0**-50  # far below float32's resolution around 1


def error_of(call: Callable[[], object]) -> dict[str, object]:
    """The error that `call` raises, as plain values."""
    try:
        call()
    except DistriNewsError as error:
        notes = getattr(error, "__notes__", [])
        return {"kind": type(error).__name__, "text": str(error), "notes": notes}
    return {"kind": None}


def who(ranks: dist.Ranks) -> dict[str, object]:
    process = psutil.Process()
    # Below 6, psutil calls it `connections`.
    listed = getattr(process, "net_connections", None) or process.connections
    sockets = listed(kind="inet")
    return {
        "ranks": [ranks.rank, ranks.local_rank, ranks.world_size, str(ranks.device)],
        "current": dist.current() == ranks,
        "launched": dist.launched_world_size(),
        "initialized": torch_dist.is_initialized(),
        "backend": torch_dist.get_backend() if torch_dist.is_initialized() else None,
        "command": psutil.Process().cmdline(),
        "listens_on": [s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN],
        "num_threads": torch.get_num_threads(),
        "env": {
            name: os.environ.get(name)
            for name in (
                "OMP_NUM_THREADS",
                "GLOO_SOCKET_IFNAME",
                "MASTER_PORT",
                "DISTRINEWS_STORE",
            )
        },
        "child": multiprocessing.parent_process() is not None,
    }


def sums(ranks: dist.Ranks) -> dict[str, object]:
    row = torch.tensor([[1.5, 2.0], [ranks.rank, -1.0]], dtype=torch.float64)
    total = dist.sum_over_ranks(row)
    int_of_numpy: Any = np.int64(BIG + ranks.rank)
    return {
        "int": dist.sum_over_ranks(BIG + ranks.rank),
        "float": dist.sum_over_ranks(1.0 + ranks.rank * TINY),
        "bool": [dist.sum_over_ranks(True), dist.sum_over_ranks(ranks.is_main)],
        "bools": dist.sum_over_ranks(torch.tensor([True, ranks.is_main])).tolist(),
        "numpy": dist.sum_over_ranks(int_of_numpy),
        "tensor": total.tolist(),
        "unchanged": row.tolist() == [[1.5, 2.0], [ranks.rank, -1.0]],
        "dtype": str(total.dtype),
    }


def objects(ranks: dist.Ranks) -> dict[str, object]:
    local_object = {"rank": ranks.rank, "text": HEADLINE * (1 + 2_000 * ranks.rank)}
    gathered = dist.gather_objects(local_object)
    return {
        "gathered": [item["rank"] for item in gathered],
        "lengths": [len(str(item["text"])) for item in gathered],
        "broadcast": dist.broadcast_object(f"from rank {ranks.rank}"),
    }


def votes(ranks: dist.Ranks) -> dict[str, object]:
    bad_row = DataError(
        f"row {ranks.rank} is empty.", why="why", fix="fix", page="data"
    )
    bad_row.add_note("seen in test.csv")
    last = ranks.rank == ranks.world_size - 1

    def divide() -> None:
        with dist.raise_together():
            _ = 1 / (0 if last else 1)

    return {
        "healthy": error_of(lambda: dist.vote_then_raise(None)),
        "last_only": error_of(lambda: dist.vote_then_raise(bad_row if last else None)),
        "all": error_of(lambda: dist.vote_then_raise(bad_row)),
        "crash": error_of(divide),
        # The group is still in step after four votes and three errors.
        "afterwards": dist.sum_over_ranks(1),
    }


def prepare(ranks: dist.Ranks, file: pathlib.Path) -> bool:
    """Rank 0 takes its time to write; the others say whether they found the file."""
    if ranks.is_main:
        time.sleep(0.3)
        file.write_text("ready", encoding="utf-8")
    return file.exists()


def orders(ranks: dist.Ranks, out: pathlib.Path) -> dict[str, object]:
    with dist.rank0_first():
        found = prepare(ranks, out / "ordered")
    dist.sum_over_ranks(0)  # all start the control together
    found_unordered = prepare(ranks, out / "unordered")
    entered = False

    def fail_on_rank_0() -> None:
        nonlocal entered
        with dist.rank0_first():
            entered = True
            raise DataError("no disk.", why="why", fix="fix", page="data")

    error = error_of(fail_on_rank_0)
    return {
        "found": found,
        "found_unordered": found_unordered,
        "error": error,
        "entered": entered,
        "afterwards": dist.sum_over_ranks(1),
    }


def timeouts(ranks: dist.Ranks) -> dict[str, object]:
    """The real timeout, in seconds, of groups that are made in different ways."""
    groups = {
        "run": torch_dist.group.WORLD,
        "ours": process_group.new_group(),
        "ours, one member": process_group.new_group([ranks.world_size - 1]),
        "torch's": torch_dist.new_group(),
    }
    net = nn.Sequential(nn.Embedding(5, 2), nn.Linear(2, 1))
    with record_new_groups() as made:
        sparse_embedding.distributed_data_parallel(net, min_rows=5)
    groups["touched rows"] = made[0]
    seconds = {
        name: process_group.timeout_of(group).total_seconds()
        for name, group in groups.items()
        if group != torch_dist.GroupMember.NON_GROUP_MEMBER
    }
    process_group.set_timeout(7)
    seconds["run, changed"] = process_group.timeout_of().total_seconds()
    process_group.set_timeout(seconds["run"])
    return seconds


@contextlib.contextmanager
def record_new_groups() -> Generator[list[Any], None, None]:
    """Note every group that is made inside the block."""
    made: list[Any] = []
    make = torch_dist.new_group

    def record(*args: Any, **kwargs: Any) -> Any:
        made.append(make(*args, **kwargs))
        return made[-1]

    torch_dist.new_group = record
    try:
        yield made
    finally:
        torch_dist.new_group = make


def write(ranks: dist.Ranks, out: pathlib.Path, facts: dict[str, Any]) -> None:
    (out / f"{ranks.rank}.json").write_text(json.dumps(facts), encoding="utf-8")


def check_everything(ranks: dist.Ranks, out: pathlib.Path) -> None:
    facts = {
        "who": who(ranks),
        "sums": sums(ranks),
        "objects": objects(ranks),
        "votes": votes(ranks),
        "orders": orders(ranks, out),
        "timeouts": timeouts(ranks) if ranks.world_size > 1 else {},
        "nested_setup": error_of(lambda: dist.setup().__enter__()),
        "nested_launch": error_of(lambda: dist.launch(print, num_ranks=2)),
    }
    if ranks.is_main:
        print(HEADLINE)
    write(ranks, out, facts)


def only_who(ranks: dist.Ranks, out: pathlib.Path) -> None:
    write(ranks, out, {"who": who(ranks), "sums": sums(ranks)})


def leave_rank_0_alone(ranks: dist.Ranks, out: pathlib.Path) -> None:
    """Rank 1 fails without a vote; rank 0 is in its next collective by then."""
    if ranks.rank == 1:
        time.sleep(0.3)
        raise ValueError("bad row")
    try:
        dist.sum_over_ranks(1)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"  # torch ends it in an emoji
        (out / "rank_0.txt").write_text(text, encoding="utf-8")
        raise


def stop_rank_1(ranks: dist.Ranks, out: pathlib.Path) -> None:
    """Rank 1 freezes; rank 0 waits for it in a collective."""
    (out / f"{ranks.rank}.pid").write_text(str(os.getpid()))
    if ranks.rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    began_s = time.monotonic()
    try:
        dist.sum_over_ranks(1)
    finally:
        (out / "waited_s.txt").write_text(str(time.monotonic() - began_s))


def hang_rank_1(ranks: dist.Ranks, out: pathlib.Path) -> None:
    """As above, but rank 1 sleeps in Python."""
    if ranks.rank == 1:
        time.sleep(120)
    dist.sum_over_ranks(1)


def miss_each_other(ranks: dist.Ranks, out: pathlib.Path) -> None:
    """Each rank waits for a message that the other never sends."""
    if ranks.rank == 0:
        torch_dist.recv(torch.zeros(1), src=1)
    else:
        torch_dist.recv(torch.zeros(2), src=0)


def run_out_of_batches(ranks: dist.Ranks, out: pathlib.Path) -> None:
    """Rank 1 has two batches less."""
    for _ in range(4 - 2 * ranks.rank):
        torch_dist.all_reduce(torch.ones(1))


def leave_with_3(ranks: dist.Ranks, out: pathlib.Path) -> None:
    """Rank 1 ends itself with an exit code."""
    torch_dist.all_reduce(torch.ones(1))
    if ranks.rank == 1:
        sys.exit(3)
    torch_dist.all_reduce(torch.ones(1))


def leave_with_0(ranks: dist.Ranks, out: pathlib.Path) -> None:
    """Rank 1 ends itself as if all were well."""
    torch_dist.all_reduce(torch.ones(1))
    if ranks.rank == 1:
        sys.exit(0)
    torch_dist.all_reduce(torch.ones(1))


def fail_with_work_under_way(ranks: dist.Ranks, out: pathlib.Path) -> None:
    """Rank 1 starts an all-reduce that rank 0 never joins, and fails."""
    if ranks.rank == 1:
        torch_dist.all_reduce(torch.ones(1), async_op=True)
        (out / "failing").touch()
        raise ValueError("bad row")
    time.sleep(120)


def fail_with_a_wrapper_and_work_under_way(
    ranks: dist.Ranks, out: pathlib.Path
) -> None:
    """The same, while a DDP wrapper holds the group, as in every real loop."""
    process_group.EXIT_TIMEOUT_S = 3.0
    replica = DistributedDataParallel(torch.nn.Linear(1, 1))
    fail_with_work_under_way(ranks, out)
    replica(torch.ones(1))


def stuck_and_busy(ranks: dist.Ranks, out: pathlib.Path) -> None:
    """Rank 0 waits in a collective that rank 1 never joins: it computes for ever."""
    (out / f"{ranks.rank}.pid").write_text(str(os.getpid()))
    if ranks.rank == 0:
        dist.sum_over_ranks(1)
    while True:
        pass


def setup_again(out: pathlib.Path) -> None:
    """Five groups one after the other, the second left by an error."""
    sums, left = [], []
    for turn in range(5):
        with contextlib.suppress(ZeroDivisionError), dist.setup() as ranks:
            sums.append(dist.sum_over_ranks(ranks.rank + turn))
            _ = 1 / (0 if turn == 1 else 1)
        left.append(not torch_dist.is_initialized())
    write(ranks, out, {"sums": sums, "left": left})


RANK_FUNCTIONS = {
    "check_everything": check_everything,
    "only_who": only_who,
    "leave_rank_0_alone": leave_rank_0_alone,
    "stop_rank_1": stop_rank_1,
    "hang_rank_1": hang_rank_1,
    "fail_with_a_wrapper_and_work_under_way": fail_with_a_wrapper_and_work_under_way,
    "fail_with_work_under_way": fail_with_work_under_way,
    "stuck_and_busy": stuck_and_busy,
    "leave_with_0": leave_with_0,
    "leave_with_3": leave_with_3,
    "miss_each_other": miss_each_other,
    "run_out_of_batches": run_out_of_batches,
}


def main() -> None:
    if os.environ.get("DESTROY_IN_FINALLY"):  # what tutorials write
        process_group._leave_after_error = lambda error: (
            torch_dist.destroy_process_group()
        )
    function, out = sys.argv[1], pathlib.Path(sys.argv[2])
    if function == "setup_again":
        setup_again(out)
        return
    timeout_s = float(sys.argv[4]) if len(sys.argv) > 4 else 60.0
    dist.launch(
        RANK_FUNCTIONS[function], out, num_ranks=int(sys.argv[3]), timeout_s=timeout_s
    )


if __name__ == "__main__":
    console.run(main)
