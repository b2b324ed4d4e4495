"""Your own task: handwritten digits, on one rank or many, to be stopped at any time.

Run       python chapters/own_task.py               two processes; again: it resumes
          torchrun --nproc_per_node=2 chapters/own_task.py    Linux, Kaggle
Again     When all epochs are trained, nothing is left to do: delete runs/digits.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from distrinews import checkpoint, dist, metrics, sharding, sync

FOLDER, EPOCHS, TRAIN_ROWS = "runs/digits", 8, 1500


def train(ranks: dist.Ranks) -> None:
    digits = load_digits()
    pixels, labels = torch.tensor(digits.data).float() / 16, torch.tensor(digits.target)
    train_set = TensorDataset(pixels[:TRAIN_ROWS], labels[:TRAIN_ROWS])
    test_set = TensorDataset(pixels[TRAIN_ROWS:], labels[TRAIN_ROWS:])
    sampler = sharding.ShuffledBatchSampler(
        TRAIN_ROWS, ranks, global_batch_size=30, seed=0
    )
    loader = DataLoader(train_set, batch_sampler=sampler, generator=torch.Generator())
    test_plan = sharding.evaluation_batches(len(test_set), ranks, batch_size=64)
    test_loader = DataLoader(test_set, batch_sampler=test_plan)

    torch.manual_seed(0)  # equal weights on every rank
    layers = nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10)
    model = nn.Sequential(*layers)
    replica = sync.wrap_ddp(model, ranks)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=200, gamma=0.5)
    state = checkpoint.TrainingState(model, optimizer, scheduler, sampler)
    checkpoint.restore(FOLDER, state)

    for epoch in range(sampler.epoch, EPOCHS):
        sampler.set_epoch(epoch)
        for inputs, targets in loader:
            logits = replica(inputs.to(ranks.device))
            optimizer.zero_grad()
            F.cross_entropy(logits, targets.to(ranks.device)).backward()
            optimizer.step()
            scheduler.step()
            state.step += 1
            if state.step % 40 == 0:
                checkpoint.save(FOLDER, state)
        counts = metrics.ClassificationMetrics(digits.target_names.astype(str))
        test = metrics.evaluate(model, test_loader, counts)
        if ranks.is_main:
            print(f"epoch {epoch}: {test.accuracy:.4f} of {test.num_rows} test rows")


if __name__ == "__main__":
    dist.launch(train, num_ranks=2)
