"""THE proof of the course: several ranks and one process train the same model.

The story below is chapter 05's loop, built from the same functions. Dropout is 0: its
noise differs by rank on purpose, see the last two proofs.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from distrinews import dist, model, sync, training
from distrinews.config.settings import DistributedSettings
from distrinews.training import corpus

NUM_STEPS = 20
NUM_STEPS_TO_DIFFER = 5  # enough to see a mistake
ALONE = dist.Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))
Parameters = dict[str, torch.Tensor]
# WHY 40 roundings: two halves of a sum round differently from the whole, and twenty
# steps add that up. Measured: 9 of them (1.1e-6), in a layer norm's bias, which begins
# at 0 and is still small; weight matrices differ by at most 2e-7. The mistakes shown
# here are larger by a factor of a hundred and more.
TOLERANCE = {
    kind: 40 * torch.finfo(kind).eps for kind in (torch.float32, torch.float64)
}
MATRIX_TOLERANCE = 1e-6

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("own_cache")]


def settings() -> DistributedSettings:
    return DistributedSettings(
        preset="tiny",
        train_rows=400,  # 360 to train on, 11 steps an epoch
        test_rows=8,
        epochs=2,  # 20 steps cross into the second
        optimizer="sgd",
        learning_rate=0.1,
        dropout=0.0,
        seed=3,
    )


def train(
    ranks: dist.Ranks,
    *,
    variant: str = "ddp",
    dtype: torch.dtype = torch.float32,
    num_steps: int = NUM_STEPS,
    **changes: object,
) -> Parameters:
    """Chapter 05's loop; `variant` is "ddp", "unaveraged", "undivided" or "uneven"."""
    chosen = settings().model_copy(update=changes)
    splits = corpus.load(chosen)
    training.seed_weights(chosen.seed)
    net = model.build(
        chosen.preset, dropout=chosen.dropout, vocabulary_size=len(splits.tokenizer)
    ).to(dtype)
    training.seed_dropout(chosen.seed, ranks=ranks)
    replica = net if ranks.world_size == 1 else DistributedDataParallel(net)
    # For "uneven", every rank deals whole global batches and cuts its own part.
    sampler_ranks = ALONE if variant == "uneven" else ranks
    accumulation_steps = chosen.accumulation_steps
    sampler = training.build_sampler(
        splits.train_lengths, sampler_ranks, settings=chosen
    )
    plan = training.plan(chosen, num_rows=len(splits.train_rows))
    optimizer = training.build_optimizer(net, settings=chosen)
    scheduler = training.build_scheduler(optimizer, settings=chosen, plan=plan)
    for step in range(num_steps):
        sampler.start_at_step(step)
        micro_batches = list(itertools.islice(sampler, accumulation_steps))
        optimizer.zero_grad()
        for batch in micro_batches:
            if variant == "uneven":
                batch = batch[:24] if ranks.is_main else batch[24:]
            is_last = variant != "unaveraged" and batch is micro_batches[-1]
            with sync.no_sync_unless(is_last or variant == "uneven", replica=replica):
                inputs, labels = splits.batch(batch, device=ranks.device)
                loss = F.cross_entropy(replica(**inputs).logits, labels)
                divisor = 1 if variant == "undivided" else accumulation_steps
                (loss / divisor).backward()
        clip_grad_norm_(net.parameters(), chosen.max_gradient_norm)
        optimizer.step()
        scheduler.step()
    return {name: tensor.detach() for name, tensor in net.named_parameters()}


def dropped(ranks: dist.Ranks, *, seed_by_rank: bool) -> dict[str, torch.Tensor]:
    """One forward pass with dropout: the weights and what came out."""
    chosen = settings()
    training.seed_weights(chosen.seed)
    net = model.build("tiny", dropout=0.3, vocabulary_size=50).train()
    if seed_by_rank:
        training.seed_dropout(chosen.seed, ranks=ranks)
    ids = torch.arange(12).reshape(2, 6)
    return {"weights": flat(dict(net.named_parameters())), "out": net(ids).logits}


def write_results(ranks: dist.Ranks, out: Path, whole: bool) -> None:
    results = {"float32": train(ranks)}
    if whole:
        results["float64"] = train(ranks, dtype=torch.float64)
        few = NUM_STEPS_TO_DIFFER
        results["accumulated"] = train(ranks, accumulation_steps=2)
        results["undivided"] = train(
            ranks, variant="undivided", accumulation_steps=2, num_steps=few
        )
        results["few"] = train(ranks, num_steps=few)
        results["unaveraged"] = train(ranks, variant="unaveraged", num_steps=few)
        results["uneven"] = train(ranks, variant="uneven", num_steps=few)
        adamw = {"optimizer": "adamw", "learning_rate": 1e-3}
        results["adamw"] = train(ranks, **adamw)
        results["adamw64"] = train(ranks, dtype=torch.float64, **adamw)
        results["doubled"] = train(ranks, global_batch_size=64, num_steps=few)
        results["noise"] = dropped(ranks, seed_by_rank=True)
        results["same noise"] = dropped(ranks, seed_by_rank=False)
    torch.save(results, out / f"{ranks.rank}.pt")


def flat(tensors: Parameters) -> torch.Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors.values()])


def gap(left: Parameters, right: Parameters) -> float:
    """The largest difference, as a part of the tensor's own largest value."""
    assert left.keys() == right.keys()
    # WHY not the keys' biases: they add the same number to all scores of a query, and
    # softmax forgets it. Their gradient is 0 but for rounding, and so are they: see
    # `test_the_keys_biases_are_rounding_and_nothing_else`.
    return max(
        ((left[name] - right[name]).abs().max() / left[name].abs().max()).item()
        for name in left
        if not name.endswith("k_lin.bias")
    )


@pytest.fixture(scope="module")
def alone() -> Parameters:
    return train(ALONE)


@pytest.fixture(scope="module")
def alone_few() -> Parameters:
    """What the controls are compared with: fewer steps are enough."""
    return train(ALONE, num_steps=NUM_STEPS_TO_DIFFER)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Parameters]]:
    out = tmp_path_factory.mktemp("two")
    dist.launch(write_results, out, True, num_ranks=2, timeout_s=60)
    return [torch.load(out / f"{rank}.pt") for rank in range(2)]


def test_two_ranks_and_one_process_train_the_same_model(
    alone: Parameters, two: list[dict[str, Parameters]]
) -> None:
    together = two[0]["float32"]
    assert gap(alone, together) < TOLERANCE[torch.float32]
    matrices = {name for name, tensor in alone.items() if tensor.dim() == 2}
    assert len(matrices) == 16  # two tables, six in each of two layers, two in the head
    actual, expected = ({n: net[n] for n in matrices} for net in (alone, together))
    assert gap(actual, expected) < MATRIX_TOLERANCE


def test_two_ranks_that_accumulate_two_pieces_train_the_same_model(
    alone: Parameters, two: list[dict[str, Parameters]]
) -> None:
    assert gap(alone, two[0]["accumulated"]) < TOLERANCE[torch.float32]


def test_pieces_whose_loss_is_not_divided_train_another_model(
    alone_few: Parameters, two: list[dict[str, Parameters]]
) -> None:
    """Negative control: the sum of two means is twice the mean.

    The gradient's clipping would hide that where every gradient is clipped.
    """
    assert gap(alone_few, two[0]["undivided"]) > 100 * TOLERANCE[torch.float32]


def test_the_replicas_are_equal_to_the_last_bit(
    two: list[dict[str, Parameters]],
) -> None:
    for kind in ("float32", "float64", "accumulated", "uneven", "doubled"):
        assert torch.equal(flat(two[0][kind]), flat(two[1][kind])), kind


def test_the_keys_biases_are_rounding_and_nothing_else(
    alone: Parameters, two: list[dict[str, Parameters]]
) -> None:
    for trained in (alone, two[0]["float32"]):
        biases = [t for name, t in trained.items() if name.endswith("k_lin.bias")]
        assert len(biases) == 2
        assert all(0 < bias.abs().max() < 1e-8 for bias in biases)


def test_in_float64_the_difference_shrinks_like_rounding_does(
    two: list[dict[str, Parameters]],
) -> None:
    """What is left above is rounding and nothing else: it follows the format."""
    want = train(ALONE, dtype=torch.float64)
    assert gap(want, two[0]["float64"]) < TOLERANCE[torch.float64]


def test_adamw_loosens_equality_where_a_gradient_is_nothing_but_rounding(
    two: list[dict[str, Parameters]],
) -> None:
    """SGD's step is as small as its gradient; AdamW divides it by its own size.

    So in the keys' biases, whose gradient is 0 but for rounding, AdamW comes to other
    numbers altogether; small ones, thanks to its epsilon. Elsewhere it is as close as
    SGD. Where a rounding is as large as epsilon (1e-8), it would not be.
    """
    adamw = {"optimizer": "adamw", "learning_rate": 1e-3}
    alone, together = train(ALONE, **adamw), two[0]["adamw"]
    exact = train(ALONE, dtype=torch.float64, **adamw)
    assert torch.equal(flat(together), flat(two[1]["adamw"]))
    # Measured: 4.8e-6, and 6.4e-15 in float64.
    assert gap(alone, together) < 10 * TOLERANCE[torch.float32]
    assert gap(exact, two[0]["adamw64"]) < 10 * TOLERANCE[torch.float64]
    biases = [name for name in alone if name.endswith("k_lin.bias")]
    assert len(biases) == 2
    for name in biases:
        apart = (alone[name] - together[name]).abs().max() / alone[name].abs().max()
        print(f"AdamW, {name}: {apart:.3f} of {alone[name].abs().max():.1e}")
        assert apart > 0.01


def test_training_moved_the_weights_far_more_than_the_tolerance(
    alone: Parameters,
) -> None:
    """Negative control: equal is not the same as untouched."""
    chosen = settings()
    training.seed_weights(chosen.seed)
    start = model.build(
        chosen.preset,
        dropout=chosen.dropout,
        vocabulary_size=len(corpus.load(chosen).tokenizer),
    )
    assert gap(alone, dict(start.named_parameters())) > 0.1


def test_without_averaging_the_ranks_part_from_each_other_and_from_one_process(
    alone_few: Parameters, two: list[dict[str, Parameters]]
) -> None:
    """Negative control: DDP's averaging is what makes them equal."""
    assert gap(alone_few, two[0]["few"]) < TOLERANCE[torch.float32]
    first, second = two[0]["unaveraged"], two[1]["unaveraged"]
    assert gap(first, second) > 100 * TOLERANCE[torch.float32]
    assert gap(alone_few, first) > 100 * TOLERANCE[torch.float32]


def test_with_unequal_parts_of_the_same_global_batches_it_is_another_model(
    alone_few: Parameters, two: list[dict[str, Parameters]]
) -> None:
    """Negative control: 24 + 8 rows are averaged as if they were 16 + 16."""
    assert gap(alone_few, two[0]["uneven"]) > 100 * TOLERANCE[torch.float32]


def test_with_32_rows_on_each_rank_it_is_another_model(
    alone_few: Parameters, two: list[dict[str, Parameters]]
) -> None:
    """Negative control: who forgets to divide the batch trains something else."""
    assert gap(alone_few, two[0]["doubled"]) > 100 * TOLERANCE[torch.float32]


@pytest.mark.slow
def test_four_ranks_and_one_process_train_the_same_model(
    alone: Parameters, tmp_path: Path
) -> None:
    dist.launch(write_results, tmp_path, False, num_ranks=4, timeout_s=100)
    for rank in range(4):
        results = torch.load(tmp_path / f"{rank}.pt")
        assert gap(alone, results["float32"]) < TOLERANCE[torch.float32]


def test_ranks_start_with_equal_weights_and_different_dropout(
    two: list[dict[str, Parameters]],
) -> None:
    first, second = two[0]["noise"], two[1]["noise"]
    assert torch.equal(first["weights"], second["weights"])
    assert not torch.allclose(first["out"], second["out"], atol=1e-3)


def test_without_a_seed_by_rank_all_replicas_drop_the_same_neurons(
    two: list[dict[str, Parameters]],
) -> None:
    """Negative control: nothing but `seed_dropout` makes the noise differ."""
    first, second = two[0]["same noise"], two[1]["same noise"]
    assert torch.equal(first["weights"], second["weights"])
    assert torch.equal(first["out"], second["out"])
