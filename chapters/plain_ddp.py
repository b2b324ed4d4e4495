"""Plain PyTorch DDP on Windows, macOS and Linux: a file to copy, without this library.

Run       python plain_ddp.py
Expect    A falling loss, and the same weight on both ranks.
"""

import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as torch_dist
from torch import multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

WORLD_SIZE = 2


def train(rank: int, path: str) -> None:
    # A file instead of a port: no port can be taken, and the official Windows wheels
    # cannot open torchrun's store. On Windows torch reads the path in the system's code
    # page: below `Users/Jörg` it would not find what Python writes as UTF-8.
    file = path.encode("mbcs") if sys.platform == "win32" else path
    store = torch_dist.FileStore(file, WORLD_SIZE)
    torch_dist.init_process_group(
        "gloo",
        store=store,
        rank=rank,
        world_size=WORLD_SIZE,
        timeout=timedelta(seconds=60),
    )
    torch.manual_seed(0)  # equal data and weights on both ranks
    inputs = torch.randn(256, 4)
    data = TensorDataset(inputs, inputs.sum(dim=1, keepdim=True))
    sampler = DistributedSampler(data, seed=0)  # each rank its half
    loader = DataLoader(data, batch_size=16, sampler=sampler)
    replica = DistributedDataParallel(nn.Linear(4, 1))
    optimizer = torch.optim.SGD(replica.parameters(), lr=0.05)
    for epoch in range(3):
        sampler.set_epoch(epoch)  # another order each epoch
        total = torch.zeros(2)  # sum of the losses, number of rows
        for rows, targets in loader:
            loss = nn.functional.mse_loss(replica(rows), targets)
            optimizer.zero_grad()
            loss.backward()  # the ranks average their gradients in here
            optimizer.step()
            total += torch.tensor([loss.item() * len(rows), len(rows)])
        torch_dist.all_reduce(total)  # every rank calls it
        if rank == 0:  # only printing stands behind the `if`
            mean, num_rows = total[0] / total[1], int(total[1])
            print(f"epoch {epoch}: loss {mean:.6f} over {num_rows} rows")
    weights = [torch.empty(1, 4) for _ in range(WORLD_SIZE)]
    torch_dist.all_gather(weights, replica.module.weight.detach())
    if rank == 0:
        print("equal on both ranks:", torch.equal(*weights))
    # Time for gloo's threads to release their last tensor: if Python ends before they
    # do, the process aborts ("terminate called without an active exception").
    time.sleep(0.1)
    torch_dist.destroy_process_group()


def main() -> None:
    # A fresh file each time: an old one holds the addresses of dead ranks.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = str(Path(folder, "store"))
        multiprocessing.spawn(train, args=(path,), nprocs=WORLD_SIZE)


# Each rank imports this file: without the guard it would start ranks too.
if __name__ == "__main__":
    main()
