"""A small GPT learns to add. Only the tokens of the answer count, each the same.

Answers are of two or three tokens, so ranks with equally many rows hold different
numbers of tokens: the loss gets a weight, and DDP's mean is one over tokens.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from distrinews import checkpoint, dist, metrics, sharding, sync

FOLDER, EPOCHS, TEST_ROWS = "runs/gpt", 2, 299
VOCABULARY = "0123456789+=;"
NOT_COUNTED = -100
TEXTS = [f"{a}+{b}={a + b};" for a in range(50) for b in range(50)]


class Gpt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(len(VOCABULARY), 32)
        self.positions = nn.Embedding(9, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, len(VOCABULARY))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        length = ids.shape[1]
        positions = self.positions(torch.arange(length, device=ids.device))
        causal = nn.Transformer.generate_square_subsequent_mask(length, ids.device)
        return self.head(self.layers(self.tokens(ids) + positions, causal))


def collate(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = [], []
    for text in texts:
        ids = torch.tensor([VOCABULARY.index(character) for character in text])
        inputs.append(ids[:-1])
        targets.append(ids[1:].clone())
        targets[-1][: text.index("=")] = NOT_COUNTED
    padded = pad_sequence(targets, batch_first=True, padding_value=NOT_COUNTED)
    return pad_sequence(inputs, batch_first=True), padded


def train(ranks: dist.Ranks) -> None:
    order = torch.randperm(len(TEXTS), generator=torch.Generator().manual_seed(0))
    texts = [TEXTS[row] for row in order]
    train_set, test_set = texts[TEST_ROWS:], texts[:TEST_ROWS]
    sampler = sharding.ShuffledBatchSampler(
        len(train_set), ranks, global_batch_size=50, seed=0
    )
    loader = DataLoader(
        train_set,
        batch_sampler=sampler,
        collate_fn=collate,
        generator=torch.Generator(),
    )
    test_plan = sharding.evaluation_batches(TEST_ROWS, ranks, batch_size=50)
    test_loader = DataLoader(test_set, batch_sampler=test_plan, collate_fn=collate)

    torch.manual_seed(0)  # equal weights on every rank
    model = Gpt()
    replica = sync.wrap_ddp(model, ranks)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=8),
            torch.optim.lr_scheduler.MultiStepLR(optimizer, [40, 60]),
        ],
        milestones=[8],
    )
    state = checkpoint.TrainingState(model, optimizer, scheduler, sampler)
    checkpoint.restore(FOLDER, state)

    for epoch in range(sampler.epoch, EPOCHS):
        sampler.set_epoch(epoch)
        for ids, wanted in loader:
            targets = wanted.to(ranks.device).flatten()
            logits = replica(ids.to(ranks.device)).flatten(0, 1)
            loss = F.cross_entropy(logits, targets, ignore_index=NOT_COUNTED)
            num_tokens = int((wanted != NOT_COUNTED).sum())
            optimizer.zero_grad()
            (loss * sync.uneven_loss_weight(num_rows=num_tokens)).backward()
            optimizer.step()
            scheduler.step()
            state.step += 1
            if state.step % 11 == 0:
                checkpoint.save(FOLDER, state)
        counts = metrics.LanguageModelMetrics(ignore_index=NOT_COUNTED)
        test = metrics.evaluate(model, test_loader, counts)
        if ranks.is_main:
            print(
                f"epoch {epoch}: perplexity {test.perplexity:.4f} of "
                f"{test.num_tokens} tokens in {test.num_rows} test rows"
            )


if __name__ == "__main__":
    dist.launch(train, num_ranks=2)
