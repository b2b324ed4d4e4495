"""The digits of chapters/own_task.py with Lightning Fabric, as its pages advise.

Run       torchrun --standalone --nproc_per_node=2 fabric_digits.py
"""

import os
from pathlib import Path

import torch
from lightning_fabric import Fabric
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

FOLDER, EPOCHS, TRAIN_ROWS = Path("runs/digits"), 8, 1500


def main() -> None:
    num_ranks = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(devices=num_ranks, strategy="ddp")
    fabric.launch()
    fabric.seed_everything(0)
    digits = load_digits()
    pixels, labels = torch.tensor(digits.data).float() / 16, torch.tensor(digits.target)
    train_set = TensorDataset(pixels[:TRAIN_ROWS], labels[:TRAIN_ROWS])
    test_set = TensorDataset(pixels[TRAIN_ROWS:], labels[TRAIN_ROWS:])
    batch_size = 30 // fabric.world_size
    train_loader, test_loader = fabric.setup_dataloaders(
        DataLoader(train_set, batch_size=batch_size, shuffle=True, drop_last=True),
        DataLoader(test_set, batch_size=64),
    )

    layers = nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10)
    model = nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=200, gamma=0.5)
    model, optimizer = fabric.setup(model, optimizer)
    state = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "step": 0}
    checkpoints = sorted(FOLDER.glob("step-*.ckpt"))
    if checkpoints:
        fabric.load(checkpoints[-1], state)
    first_epoch, num_done = divmod(state["step"], len(train_loader))

    for epoch in range(first_epoch, EPOCHS):
        model.train()
        for number, (inputs, targets) in enumerate(train_loader):
            if epoch == first_epoch and number < num_done:
                continue
            loss = F.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            fabric.backward(loss)
            optimizer.step()
            scheduler.step()
            state["step"] += 1
            if state["step"] % 40 == 0:
                fabric.save(FOLDER / f"step-{state['step']:08d}.ckpt", state)
                if fabric.is_global_zero:
                    for old in sorted(FOLDER.glob("step-*.ckpt"))[:-2]:
                        old.unlink()
        model.eval()
        counts = torch.zeros(2, device=fabric.device)
        for inputs, targets in test_loader:
            with torch.no_grad():
                answers = model(inputs).argmax(dim=1)
            counts[0] += (answers == targets).sum()
            counts[1] += len(targets)
        num_correct, num_rows = fabric.all_reduce(counts, reduce_op="sum").tolist()
        accuracy = num_correct / num_rows
        fabric.print(f"epoch {epoch}: {accuracy:.4f} of {num_rows:.0f} test rows")


if __name__ == "__main__":
    main()
