"""Two towers over one embedding table: which of 60 words belong together?

The table has two names in the model's state, and a checkpoint holds it once. A figure
that needs every prediction, the area under the ROC curve, is taken of gathered scores.
"""

import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from distrinews import checkpoint, dist, metrics, sharding, sync

FOLDER, EPOCHS, NUM_WORDS, TEST_ROWS = "runs/towers", 4, 60, 721


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        words = nn.Embedding(NUM_WORDS, 16)
        self.query = nn.Sequential(words, nn.Linear(16, 16))
        self.answer = nn.Sequential(words, nn.Linear(16, 16))

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        queries, answers = pairs.unbind(dim=1)
        return (self.query(queries) * self.answer(answers)).sum(dim=1)


def area_under_curve(
    model: nn.Module, pairs: torch.Tensor, labels: torch.Tensor, ranks: dist.Ranks
) -> float:
    plan = sharding.evaluation_batches(len(pairs), ranks, batch_size=100)
    rows = [row for batch in plan for row in batch]
    with torch.no_grad():
        scores = model(pairs[rows].to(ranks.device))
    every_score = metrics.gather(scores, rows=rows, num_rows=len(pairs))
    return float(roc_auc_score(labels, every_score))


def train(ranks: dist.Ranks) -> None:
    words = torch.arange(NUM_WORDS)
    order = torch.randperm(NUM_WORDS**2, generator=torch.Generator().manual_seed(0))
    pairs = torch.cartesian_prod(words, words)[order]
    labels = (pairs[:, 0] % 5 == pairs[:, 1] % 5).float()
    train_set = TensorDataset(pairs[TEST_ROWS:], labels[TEST_ROWS:])
    sampler = sharding.ShuffledBatchSampler(
        len(train_set), ranks, global_batch_size=80, seed=0
    )
    loader = DataLoader(train_set, batch_sampler=sampler, generator=torch.Generator())

    torch.manual_seed(0)  # equal weights on every rank
    model = Towers()
    replica = sync.wrap_ddp(model, ranks)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    curve: list[float] = []
    state = checkpoint.TrainingState(
        model, optimizer, sampler=sampler, extra={"curve": curve}
    )
    checkpoint.restore(FOLDER, state)

    for epoch in range(sampler.epoch, EPOCHS):
        sampler.set_epoch(epoch)
        for inputs, targets in loader:
            scores = replica(inputs.to(ranks.device))
            loss = F.binary_cross_entropy_with_logits(scores, targets.to(ranks.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            state.step += 1
            if state.step % 10 == 0:
                checkpoint.save(FOLDER, state)
        area = area_under_curve(model, pairs[:TEST_ROWS], labels[:TEST_ROWS], ranks)
        curve.append(round(area, 4))
        if ranks.is_main:
            print(f"epoch {epoch}: areas {curve} of {TEST_ROWS} test rows")


if __name__ == "__main__":
    dist.launch(train, num_ranks=2)
