"""Your own CSV: flowers.csv has the column "kind", of any classes, and numbers."""

import csv

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset, TensorDataset

from distrinews import checkpoint, dist, metrics, sharding, sync

FILE, LABEL, FOLDER, EPOCHS = "flowers.csv", "kind", "runs/flowers", 8


def read() -> tuple[TensorDataset, list[str]]:
    with open(FILE, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    columns = [name for name in lines[0] if name != LABEL]
    # Sorted: each process lists a set in another order.
    class_names = sorted({line[LABEL] for line in lines})
    features = torch.tensor([[float(line[name]) for name in columns] for line in lines])
    labels = torch.tensor([class_names.index(line[LABEL]) for line in lines])
    return TensorDataset(features, labels), class_names


def train(ranks: dist.Ranks) -> None:
    rows, class_names = read()
    train_set = Subset(rows, [row for row in range(len(rows)) if row % 5])
    test_set = Subset(rows, range(0, len(rows), 5))
    sampler = sharding.ShuffledBatchSampler(
        len(train_set), ranks, global_batch_size=10, seed=0
    )
    loader = DataLoader(train_set, batch_sampler=sampler, generator=torch.Generator())
    test_plan = sharding.evaluation_batches(len(test_set), ranks, batch_size=8)
    test_loader = DataLoader(test_set, batch_sampler=test_plan)

    torch.manual_seed(0)  # equal weights on every rank
    layers = nn.Linear(4, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 3)
    model = nn.Sequential(*layers)
    torch.manual_seed(1 + ranks.rank)  # each rank's dropout is its own
    replica = sync.wrap_ddp(model, ranks)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    state = checkpoint.TrainingState(model, optimizer, sampler=sampler)
    checkpoint.restore(FOLDER, state)

    for epoch in range(sampler.epoch, EPOCHS):
        sampler.set_epoch(epoch)
        for inputs, targets in loader:
            logits = replica(inputs.to(ranks.device))
            optimizer.zero_grad()
            F.cross_entropy(logits, targets.to(ranks.device)).backward()
            optimizer.step()
            state.step += 1
            if state.step % 8 == 0:
                checkpoint.save(FOLDER, state)
        counts = metrics.ClassificationMetrics(class_names)
        test = metrics.evaluate(model, test_loader, counts)
        if ranks.is_main:
            print(f"epoch {epoch}: F1 {test.macro_f1:.4f} of {test.num_rows} test rows")


if __name__ == "__main__":
    dist.launch(train, num_ranks=2)
