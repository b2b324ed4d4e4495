"""Regression with accumulation on 1,023 rows: an epoch ends with a short step.

Its 23 rows are 12 and 11 per micro-batch, and one rank holds one row fewer. So losses
are summed, and the gradient is divided once by the rows of the whole step.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from distrinews import checkpoint, dist, metrics, sharding, sync

FOLDER, EPOCHS, TRAIN_ROWS, TEST_ROWS = "runs/uneven", 4, 1023, 203


def new_model() -> nn.Module:
    torch.manual_seed(0)  # equal weights on every rank
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 1))


def train(ranks: dist.Ranks) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(TRAIN_ROWS + TEST_ROWS, 5, generator=generator)
    targets = features.square().sum(dim=1, keepdim=True) - features[:, :1]
    train_set = TensorDataset(features[:TRAIN_ROWS], targets[:TRAIN_ROWS])
    test_set = TensorDataset(features[TRAIN_ROWS:], targets[TRAIN_ROWS:])
    sampler = sharding.ShuffledBatchSampler(
        TRAIN_ROWS,
        ranks,
        global_batch_size=40,
        seed=0,
        accumulation_steps=2,
        drop_last=False,
    )
    loader = DataLoader(train_set, batch_sampler=sampler, generator=torch.Generator())
    test_plan = sharding.evaluation_batches(TEST_ROWS, ranks, batch_size=50)
    test_loader = DataLoader(test_set, batch_sampler=test_plan)

    model = new_model()
    replica = sync.wrap_ddp(model, ranks)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    state = checkpoint.TrainingState(model, optimizer, sampler=sampler)
    checkpoint.restore(FOLDER, state)

    for epoch in range(sampler.epoch, EPOCHS):
        sampler.set_epoch(epoch)
        num_rows = 0  # of this rank, in this step
        for number, (inputs, wanted) in enumerate(loader, start=1):
            is_last = number % sampler.accumulation_steps == 0
            with sync.no_sync_unless(is_last, replica=replica):
                outputs = replica(inputs.to(ranks.device))
                loss = F.mse_loss(outputs, wanted.to(ranks.device), reduction="sum")
                loss.backward()
            num_rows += len(inputs)
            if not is_last:
                continue
            # DDP has divided the sum over ranks by their number, not by the rows.
            scale = ranks.world_size / dist.sum_over_ranks(num_rows)
            for param in model.parameters():
                param.grad *= scale
            optimizer.step()
            optimizer.zero_grad()
            num_rows = 0
            state.step += 1
            if state.step % 13 == 0:
                checkpoint.save(FOLDER, state)
        test = metrics.evaluate(model, test_loader, metrics.RegressionMetrics())
        if ranks.is_main:
            print(f"epoch {epoch}: r2 {test.r2:.4f} of {test.num_rows} test rows")


if __name__ == "__main__":
    dist.launch(train, num_ranks=2)
