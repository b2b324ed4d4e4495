# %% [markdown]
# # Two T4, one model: DistributedDataParallel for real
#
# You train a DistilBERT news classifier on all of AG News: first on one GPU, then on
# two, with the same scripts that you ran at home. Afterwards you know, on real
# hardware: do two GPUs train the same model as one? How much faster? What
# happens when the session ends in the middle? You also get a trained model, and a
# measurement that replaces one of this course's predictions.
#
# Before you start, in the panel on the right (*Settings*):
#
# - *Accelerator*: **GPU T4 x2**
# - *Add Input*: the data set that `python -m distrinews kaggle pack` made at home
# - *Internet*: on (Kaggle asks for a verified phone number once). It may stay off: then
#   you train on this course's newswire, or on your own rows.
#
# Then *Run All*. The guide, with the predicted time of each step, is
# `site_docs/howto/kaggle.md`. Without GPUs the notebook also runs to the end, with
# small settings.
#
# **No cell trains.** Each cell starts a program and shows its output. A function in a
# notebook cell is in no file, so a new process could not import it; and a process
# that has used CUDA cannot be forked. Lab `function_in_notebook` shows the error.

# %% [markdown]
# ## 1. Where files are
#
# **Do**: nothing, if the data set of `kaggle pack` is attached. Without it, replace
# `ADDRESS` between the quotes by the address of a repository that Kaggle can reach. You
# can also enter the paths of two attached data sets: `WEIGHTS`, a folder with
# `distilbert-base-uncased`; `ROWS`, rows in a form that `--data` accepts.
#
# **Look at** the commit. All files go to `/kaggle/working`, which Kaggle shows
# in the panel under *Output*.

# %%
import os
import pathlib
import subprocess
import sys

ADDRESS = os.environ.get("DISTRINEWS_ADDRESS", "ADDRESS")
WEIGHTS = os.environ.get("DISTRINEWS_DISTILBERT", "")
ROWS = os.environ.get("DISTRINEWS_ROWS", "")
WORK = pathlib.Path(os.environ.get("DISTRINEWS_WORK", "/kaggle/working"))
CHECKOUT = pathlib.Path(os.environ.get("DISTRINEWS_CHECKOUT", WORK / "distrinews"))
INPUT = pathlib.Path(os.environ.get("DISTRINEWS_INPUT", "/kaggle/input"))

# Data sets lie in input/datasets/OWNER/NAME since 2026, in input/NAME before. One that
# was uploaded as a .zip may lie a folder deeper.
places = ("datasets/*/*", "*", "datasets/*/*/*", "*/*")
bundles = [
    path
    for place in places
    for path in sorted(INPUT.glob(f"{place}/distrinews.bundle"))
]
if not CHECKOUT.exists():
    if not bundles and ADDRESS == "ADDRESS":
        raise RuntimeError(
            "The data set of `python -m distrinews kaggle pack` is not attached (Add "
            "Input). Attach it, or write an address into this cell: ADDRESS ="
        )
    source = str(bundles[0]) if bundles else ADDRESS
    clone = ["git", "-c", "advice.detachedHead=false", "clone", "--quiet"]
    subprocess.run([*clone, "--depth", "1", source, str(CHECKOUT)], check=True)
sys.path.insert(0, str(CHECKOUT / "apps" / "kaggle"))

import kaggle_commands

commands = kaggle_commands.Commands(
    WORK,
    CHECKOUT,
    pack=bundles[0].parent if bundles else None,
    weights=pathlib.Path(WEIGHTS) if WEIGHTS else None,
)
print("work    ", WORK)
print("checkout", CHECKOUT)
print("packages", commands.pack or "from the network")
commands.run("git", "-C", CHECKOUT, "log", "-1", "--format=commit   %H", check=False)

# %% [markdown]
# ## 2. The library, without replacing torch
#
# Kaggle's torch was built for Kaggle's GPUs. A plain `pip install` may replace it, and
# then no GPU works, or CUDA fails with an error that does not name the cause.
# So this step installs only missing packages, with torch's version pinned, from the
# data set or from the network. Python imports the library itself from the checkout.
#
# **Look at** the last line: the same torch before and after.

# %%
import kaggle_install

before = kaggle_install.torch_version()
if os.environ.get("DISTRINEWS_INSTALL", "yes") == "yes":
    print("was missing:", kaggle_install.install(commands) or "nothing")
print(f"torch {before} before, {kaggle_install.torch_version()} after")

# %% [markdown]
# ## 3. Check the machine
#
# The doctor checks versions, cores, ports, disk and GPUs, and lets two real
# processes add two numbers.
#
# **Look at** every line that is not `ok`: its cure is below it. With a `warning` you
# lose time or a feature; a `problem` stops one of the next cells. One warning is
# expected: `notebook` repeats that a cell's function cannot become a rank.

# %%
commands.run("python", "-m", "distrinews", "doctor", check=False)

# %% [markdown]
# ## 4. Two GPUs?
#
# **Look at** the table of `nvidia-smi`: it should show two rows *Tesla T4*, with unused
# memory. If a process already uses memory, restart the session, because training needs
# it. The line below says which devices torch can compute on, and only that counts: if
# torch does not fit the driver, the table shows GPUs that torch does not see, and for a
# *Tesla P100* Kaggle's torch has no kernels. Then the message says so, and the plan
# uses the CPU.

# %%
import shutil

import kaggle_plan

if shutil.which("nvidia-smi"):
    commands.run("nvidia-smi", check=False)
gpus, refused = commands.gpus()
wanted = os.environ.get("DISTRINEWS_NOTEBOOK", "full")
plan = kaggle_plan.choose(
    gpus,
    refused=refused,
    wanted=wanted,
    hub=kaggle_plan.has_hub(),
    weights=commands.weights is not None,
    rows=ROWS or None,
)
print(plan.message)

# %% [markdown]
# ## 5. One rank
#
# This is chapter 05 with a single process, the baseline for two. It is not chapter 01,
# which orders the rows differently: here one and two ranks take the *same* steps,
# rows and learning rates, and only the number of processes differs.
#
# This first run downloads and tokenises the rows; the later ones find them in a
# cache.
#
# **Look at** the line `ranks`: `1 on cuda`. At the end: the accuracy on the test rows,
# and the samples per second.

# %%
launch = ("bash", CHECKOUT / "chapters" / "launch.sh")
chapter_05 = CHECKOUT / "chapters" / "05_ddp_training.py"

one_rank = (*launch, "-n", "1", chapter_05, *plan.alone, "--run-name", "one")
commands.run(*one_rank, *commands.resume("one"))

# A model is trained now, and no later failure may lose it: a failed step is named, and
# the next one runs.
import kaggle_steps

steps = kaggle_steps.Steps()

# %% [markdown]
# ## 6. Two ranks, until the session ends
#
# `launch.sh` starts torchrun, and torchrun starts two processes. Each reads its
# `LOCAL_RANK`, uses that GPU, and reads half of each global batch: 16 of the 32 rows
# per step.
#
# A session may end at any moment, by a time limit or a closed lid. So this run is
# interrupted on purpose, in the middle, by the signal that ends programs. It saves
# nothing at that moment; only the checkpoints of `--save-every-steps` remain.
#
# (If you know beforehand how many steps fit into a session, stop with `--max-steps`:
# the learning rate still follows the whole schedule. `--resume` continues either run.)
#
# **Look at** `2 on cuda`, and then at the end: there is no result.

# %%
two_ranks = (*launch, "-n", "2", chapter_05, *plan.pair, "--run-name", "two")
folder = WORK / "runs" / "two"

with steps.may_fail(6):
    if not commands.resume("two"):
        commands.run_until(*two_ranks, exists=folder / "checkpoints" / plan.break_after)
    print("checkpoints:", *sorted(path.name for path in folder.glob("checkpoints/*")))
    print("a result?  ", (folder / "result.json").exists())

# %% [markdown]
# ## 7. The same command, and `--resume`
#
# The run restores weights, optimizer, schedule, random states and the position in the
# rows from the newest intact checkpoint. This also works in a *new* session, if you
# first copy the old one's folder `runs` (under *Output*) to `/kaggle/working`.
#
# **Look at** `resuming ... after step`: it does not begin at 0. The steps after
# the checkpoint are repeated, with the same rows.

# %%
with steps.may_fail(7):
    commands.run(*two_ranks, *commands.resume("two"))

# %% [markdown]
# ## 8. The same model?
#
# DDP averages the gradients of two half batches. That is the gradient of the whole
# batch, up to rounding. So the losses of both runs should agree.
#
# **Look at** the last column. The first differences are rounding errors, because sums
# are added in another order. They grow, because each step starts from weights that
# already differ a little. A mistake (summing gradients instead of averaging them, both
# ranks reading the same rows) would show in the first line, as a large difference.

# %%
import kaggle_results

with steps.may_fail(8):
    if plan.comparable:
        print(kaggle_results.compare(commands))
    else:
        print("Not comparable: one rank trained in full, two with small settings.")

# %% [markdown]
# ## 9. Evaluate every row once
#
# This step evaluates the trained model on the test rows again, over one rank and over
# two. A sampler that pads would count some rows twice, and the accuracy would depend on
# the number of ranks.
#
# **Look at** `rows` and `accuracy`: they are the same in both. (On GPUs a row whose
# classes tie to the last digit may change class, because other batches round
# differently. `rows` must not differ.)

# %%
import json

with steps.may_fail(9):
    for num_ranks in (1, 2):
        json_path = WORK / f"evaluation_{num_ranks}.json"
        evaluate = ("python", "-m", "distrinews", "evaluate", "--model", folder)
        evaluate = (*evaluate, *plan.rows, *plan.test_rows, "--num-ranks", num_ranks)
        commands.run(*evaluate, "--json", json_path, quiet=True)
        metrics = json.loads(json_path.read_text(encoding="utf-8"))
        accuracy, rows = metrics["accuracy"], metrics["rows"]
        ranks = "1 rank" if num_ranks == 1 else f"{num_ranks} ranks"
        print(f"{ranks}: accuracy {accuracy:.4f}, {rows} rows")

# %% [markdown]
# ## 10. How much faster?
#
# Chapter 06 lets one process and two ranks take the same steps in turn, within one
# run, so that a warm GPU slows all of them equally.
#
# **Look at** `communication`: the part of a step in which gradients are still being
# sent and no rank computes. Also compare the lines *same rows* (the speed-up of a
# training run that must stay the same) and *same rows each* (twice the work per
# step).
#
# The file replaces the prediction on the page *One T4 and two T4*. The last line says
# whether it may be published there. It may not if the machine was too noisy, after
# fewer than five rounds, or from a checkout with changes, which cannot be repeated.

# %%
chapter_06 = CHECKOUT / "chapters" / "06_ddp_benchmark.py"
with steps.may_fail(10):
    commands.run(*launch, "-n", "2", chapter_06, *plan.measure, "--json", plan.record)
    check = ("python", "-m", "distrinews", "benchmark", "check", plan.record)
    print(kaggle_results.verdict(commands.run(*check, check=False, quiet=True)))

# %% [markdown]
# ## 11. The picture
#
# **Look at** the distance to the dashed line: it is the gain that two ranks missed. On
# two T4, the orange bars are this course's prediction. Is your measurement inside?
# If not, which assumption of the prediction was wrong?

# %%
with steps.may_fail(11):
    from IPython.display import Image, display

    picture = kaggle_results.draw_speed_up(commands, plan)
    display(Image(filename=str(picture)))

# %% [markdown]
# ## 12. For the Space
#
# This builds the folder of a Hugging Face Space with the app, this library and the
# model. You push it from home (`site_docs/howto/space.md`).
#
# **Look at** its size: the weights are nearly all of it, with four bytes per parameter.

# %%
with steps.may_fail(12):
    took_two = plan.comparable and (folder / "result.json").exists()
    model = WORK / "runs" / ("two" if took_two else "one")
    space = WORK / "space"
    if space.exists():
        shutil.rmtree(space)  # of an earlier run of this cell
    build = ("python", "-m", "distrinews", "space", "build", "--model", model)
    commands.run(*build, "--hardware", "zerogpu", "--out", space)

# %% [markdown]
# ## 13. The tests that need GPUs
#
# The course's tests run on CPUs, with gloo. These tests check what only GPUs can show:
# the ranks use nccl, each has the GPU of its `LOCAL_RANK`, they train
# the same model as one GPU, a resumed run is the same to the last bit, and a missing
# rank causes an error and not a hang. Each test has a negative control that fails.
#
# **Look at** the last line. `skipped` means that there were fewer than two GPUs and
# nothing was tested.

# %%
with steps.may_fail(13):
    pytest = ("python", "-m", "pytest", "-m", "gpu", CHECKOUT / "tests/test_gpu.py")
    # WHY these: warnings of other versions than ours are no failure of the proof, and
    # pytest would leave its cache in the checkout.
    pytest = (*pytest, "-W", "default", "-p", "no:cacheprovider", "--color=no", "-rs")
    proofs = commands.run(*pytest, "-v", "-c", CHECKOUT / "pyproject.toml", check=False)
    (WORK / "gpu_proofs.txt").write_text(proofs.text, encoding="utf-8")
    if proofs.code != 0:
        raise RuntimeError(f"the proofs ended with code {proofs.code}.")

# %% [markdown]
# ## 14. Take it home
#
# In the panel, under *Output*, download `bring_home.zip` before you stop the session.
# To keep it on Kaggle, choose *Save Version*, and there that the output is saved, too.
#
# | file | purpose |
# |---|---|
# | `t4_scaling.json` | `site_docs/benchmarks/results/`: the page on two T4 shows it |
# | `scaling-2xt4.json` | the same, for the table of all machines |
# | `space/` | push it; `space/model` is the model, for `predict` and `serve` |
# | `runs/*/result.json`, `metrics.jsonl` | results and losses |
# | `gpu_proofs.txt` | the output of the GPU tests |
#
# The checkpoints are not in it: each is three times the weights. Keep them for
# `--resume` until you are done; then delete `runs`, so that the version you save is
# small.

# %%
with steps.may_fail(14):
    home = [plan.record, "speed_up.svg", "speed_up.png", "gpu_proofs.txt", "space"]
    home += ["evaluation_1.json", "evaluation_2.json"]
    for run in ("one", "two"):
        for name in ("result.json", "metrics.jsonl", "settings.json"):
            home.append(f"runs/{run}/{name}")
        home.append(f"runs/{run}/environment.json")
    if not (WORK / "space").exists():
        home += ["runs/one/export", "runs/two/export"]  # where the model is, too
    if plan.record == "t4_scaling.json" and (WORK / plan.record).exists():
        shutil.copyfile(WORK / plan.record, WORK / "scaling-2xt4.json")
        home.append("scaling-2xt4.json")
    kaggle_results.pack(commands, home)

# %% [markdown]
# **Next:** compare `speed_up.png` with your laptop's; *Why DDP can be slower*
# explains both. Then put the Space online.

# %%
# WHY no error here, whatever failed: Kaggle keeps the output of a version that ended.
print(steps.summary())
