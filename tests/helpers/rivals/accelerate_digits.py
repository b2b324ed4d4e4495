"""The digits of chapters/own_task.py with accelerate, as its pages advise.

Run       accelerate launch --cpu --num_processes 2 accelerate_digits.py
"""

import shutil
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

FOLDER, EPOCHS, TRAIN_ROWS = Path("runs/digits"), 8, 1500


def main() -> None:
    # Batches of 30 rows in all, and an order that can be drawn again after a resume.
    config = DataLoaderConfiguration(split_batches=True, use_seedable_sampler=True)
    accelerator = Accelerator(dataloader_config=config)
    set_seed(0)
    digits = load_digits()
    pixels, labels = torch.tensor(digits.data).float() / 16, torch.tensor(digits.target)
    train_set = TensorDataset(pixels[:TRAIN_ROWS], labels[:TRAIN_ROWS])
    test_set = TensorDataset(pixels[TRAIN_ROWS:], labels[TRAIN_ROWS:])

    layers = nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10)
    model = nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=200, gamma=0.5)
    model, optimizer, scheduler, train_loader, test_loader = accelerator.prepare(
        model,
        optimizer,
        scheduler,
        DataLoader(train_set, batch_size=30, shuffle=True, drop_last=True),
        DataLoader(test_set, batch_size=128),
    )
    step = 0
    checkpoints = sorted(FOLDER.glob("step-*"))
    if checkpoints:
        accelerator.load_state(str(checkpoints[-1]))
        step = int(checkpoints[-1].name.removeprefix("step-"))
    first_epoch, num_done = divmod(step, len(train_loader))

    for epoch in range(first_epoch, EPOCHS):
        model.train()
        train_loader.set_epoch(epoch)
        loader = train_loader
        if epoch == first_epoch:
            loader = accelerator.skip_first_batches(train_loader, num_done)
        for inputs, targets in loader:
            loss = F.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            scheduler.step()
            step += 1
            if step % 40 == 0:
                accelerator.save_state(str(FOLDER / f"step-{step:08d}"))
                if accelerator.is_main_process:
                    for old in sorted(FOLDER.glob("step-*"))[:-2]:
                        shutil.rmtree(old)
        model.eval()
        num_correct = num_rows = 0
        for inputs, targets in test_loader:
            with torch.no_grad():
                answers = model(inputs).argmax(dim=1)
            answers, targets = accelerator.gather_for_metrics((answers, targets))
            num_correct += (answers == targets).sum().item()
            num_rows += len(targets)
        accuracy = num_correct / num_rows
        accelerator.print(f"epoch {epoch}: {accuracy:.4f} of {num_rows} test rows")
    accelerator.end_training()


if __name__ == "__main__":
    main()
