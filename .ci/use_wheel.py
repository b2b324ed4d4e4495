"""Use the installed library as a script of your own would, far from any checkout.

Started by `.ci/wheel.py`, in an empty folder and a fresh environment:

    python use_wheel.py CHECKOUT

Exit code 1 if a claim below does not hold, or if something came from CHECKOUT.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

import torch
from torch import nn
from torch.nn import functional as F

import distrinews
from distrinews import checkpoint, dist, metrics, model, sharding, sync
from distrinews.course import interview_cards
from distrinews.data import sources
from distrinews.inference.classifier import Classifier
from distrinews.training import export

CLASSES = ("low", "middle", "high")
NUM_ROWS, NUM_FEATURES = 103, 6  # 103: two ranks evaluate different numbers of rows
GLOBAL_BATCH_SIZE, NUM_STEPS, SAVED_STEP = 8, 12, 6
HEADLINE = "Striker scores twice as champions win the cup final"


def claim(words: str, holds: bool) -> None:
    """Print a claim that holds; end with the one that does not."""
    if not holds:
        sys.exit(f"NOT TRUE: {words}")
    print(f"  {words}", flush=True)


def came_from_the_wheel() -> bool:
    """Whether neither this process nor its imports see the checkout."""
    checkout = pathlib.Path(sys.argv[1]).resolve()
    home = pathlib.Path(distrinews.__file__).resolve()
    seen = [pathlib.Path(entry).resolve() for entry in sys.path]
    return home.is_relative_to(pathlib.Path(sys.prefix).resolve()) and not any(
        path.is_relative_to(checkout) for path in [home, *seen]
    )


def labelled_rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Features [N, 6] and a class that a linear layer can learn [N]."""
    inputs = torch.randn(
        NUM_ROWS, NUM_FEATURES, generator=torch.Generator().manual_seed(3)
    )
    return inputs, torch.bucketize(inputs.sum(dim=1), torch.tensor([-1.0, 1.0]))


def train(ranks: dist.Ranks, run: pathlib.Path) -> None:
    """One epoch on this rank, from the newest checkpoint on; rank 0 writes the end."""
    if not came_from_the_wheel():
        sys.exit(f"rank {ranks.rank} sees the checkout: {sys.path}")
    inputs, labels = labelled_rows()
    torch.manual_seed(1)
    net = nn.Linear(NUM_FEATURES, len(CLASSES))
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0, momentum=0.5)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.5)
    sampler = sharding.ShuffledBatchSampler(
        NUM_ROWS, ranks, global_batch_size=GLOBAL_BATCH_SIZE, seed=1
    )
    state = checkpoint.TrainingState(net, optimizer, scheduler, sampler)
    first = checkpoint.restore(run / "checkpoints", state)
    for step, batch in enumerate(sampler, start=first + 1):
        optimizer.zero_grad()
        F.cross_entropy(net(inputs[batch]), labels[batch]).backward()
        sync.average_gradients(net)
        optimizer.step()
        scheduler.step()
        if step == SAVED_STEP:
            checkpoint.save(run / "checkpoints", state, step=step, best_step=step)
    sync.assert_replicas_equal(net)
    counts = metrics.ClassificationMetrics(CLASSES)
    for rows in sharding.evaluation_batches([1] * NUM_ROWS, ranks, batch_size=16):
        counts.update(net(inputs[rows]).detach(), labels[rows])
    total = counts.all_reduce()
    if ranks.is_main:
        end = {"weights": net.state_dict(), "counts": total.confusion, "first": first}
        torch.save(end, run / f"from_{first}_ranks_{ranks.world_size}.pt")


def train_resume_and_count(work: pathlib.Path) -> None:
    """Two ranks, two resumed ones, and one process: one and the same result."""
    two, one = work / "two", work / "one"
    for run, num_ranks in ((two, 2), (two, 2), (one, 1)):
        run.mkdir(parents=True, exist_ok=True)
        dist.launch(train, run, num_ranks=num_ranks)
    whole, resumed, alone = (
        torch.load(path, weights_only=True)
        for path in (
            two / "from_0_ranks_2.pt",
            two / f"from_{SAVED_STEP}_ranks_2.pt",
            one / "from_0_ranks_1.pt",
        )
    )
    claim(
        "two ranks, resumed from the checkpoint of step 6, end with the same bits",
        all(torch.equal(whole["weights"][n], t) for n, t in resumed["weights"].items()),
    )
    claim(
        "one process on the same batches ends with the same weights, up to rounding",
        all(torch.allclose(whole["weights"][n], t) for n, t in alone["weights"].items())
        and not torch.equal(alone["weights"]["weight"], torch.zeros(3, NUM_FEATURES)),
    )
    inputs, labels = labelled_rows()
    logits = F.linear(inputs, alone["weights"]["weight"], alone["weights"]["bias"])
    by_hand = torch.zeros(3, 3, dtype=torch.int64)
    for truth, answer in zip(labels.tolist(), logits.argmax(1).tolist(), strict=True):
        by_hand[truth, answer] += 1
    claim(
        f"every one of {NUM_ROWS} rows is counted once over two ranks, as by hand",
        torch.equal(whole["counts"], by_hand) and int(by_hand.sum()) == NUM_ROWS,
    )
    claim("it has learned", int(by_hand.diagonal().sum()) > 0.7 * NUM_ROWS)


def predict(work: pathlib.Path) -> None:
    """Export a tiny model; library and command line give it the same label."""
    rows = list(sources.open_source("newswire").rows("train", num_rows=64, seed=0))
    texts = [HEADLINE, *(row.text for row in rows)]
    tokenizer = model.load_tokenizer("tiny", max_length=24, texts=texts)
    torch.manual_seed(1)
    net = model.build("tiny", dropout=0.0, vocabulary_size=len(tokenizer))
    facts = dict.fromkeys(
        ("licence", "run_id", "preset", "summary", "data", "origin"), "proof"
    ) | {"rows": 1, "accuracy": 0.0, "macro_f1": 0.0, "fitted_rows": 1}
    folder = work / "export"
    export.write(
        folder,
        net=net,
        tokenizer=tokenizer,
        facts=facts | {"num_ranks": 1, "max_length": 24},
    )
    [answer] = Classifier(folder).predict([HEADLINE])
    claim(
        "the library classifies a headline",
        abs(sum(answer.scores.values()) - 1) < 1e-5 and len(answer.scores) == 4,
    )
    line = command("predict", "--model", str(folder), HEADLINE)
    claim(
        "`distrinews predict` gives the same label",
        line.startswith(f"{answer.label}\t") and HEADLINE in line,
    )


def command(*arguments: str, text: str = "", exit_code: int = 0) -> str:
    """What the installed command prints, both streams."""
    program = shutil.which("distrinews", path=str(pathlib.Path(sys.executable).parent))
    if program is None:
        sys.exit("NOT TRUE: there is a command `distrinews`")
    done = subprocess.run(
        [program, *arguments],
        input=text,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    if done.returncode != exit_code:
        sys.exit(f"{arguments}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout + done.stderr


def main() -> None:
    """Make all claims, the quick ones first."""
    claim("the library comes from the wheel", came_from_the_wheel())
    claim("interview cards are there", len(interview_cards.read()) > 3)
    pasted = "UnpicklingError: Weights only load failed. In PyTorch 2.6, we changed"
    cure = command("doctor", "match", text=pasted)
    claim("`distrinews doctor match` knows a traceback", "weights-only-load" in cure)
    missing = command("lab", "list", exit_code=2)
    claim("`distrinews lab list` says what to clone", "clone the repository" in missing)
    work = pathlib.Path("work").resolve()
    shutil.rmtree(work, ignore_errors=True)
    predict(work)
    train_resume_and_count(work)


if __name__ == "__main__":
    main()
