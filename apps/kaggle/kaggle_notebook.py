# %% [markdown]
# # Two T4, one model: DistributedDataParallel for real
#
# You train a DistilBERT news classifier on all of AG News: first on one GPU, then on
# two, with the very scripts that you ran at home. At the end you know, on hardware
# that you can name: do two GPUs train the same model as one? How much faster? What
# happens when the session ends in the middle? And you take home a trained model, and a
# measurement that replaces a prediction of this course.
#
# Before you start, in the panel on the right (*Settings*):
#
# - *Accelerator*: **GPU T4 x2**
# - *Add Input*: the data set that `python -m distrinews kaggle pack` made at home
# - *Internet*: on (Kaggle asks for a verified phone number once). It may stay off: then
#   the rows are this course's newswire, or yours.
#
# Then *Run All*. The guide to it, with the time that is predicted for each step:
# `site_docs/howto/kaggle.md`. Without GPUs the notebook goes to its end, too, with
# small settings.
#
# **No cell trains.** Each starts a program and shows what it prints. A function that
# stands in a cell is in no file, so a new process could not import it; and a process
# that once used CUDA cannot be forked. Lab `function_in_notebook` shows what you would
# see.

# %% [markdown]
# ## 1. Where things are
#
# **Do**: nothing, if the data set of `kaggle pack` is attached. Without it, write
# between the quotes of `ADDRESS` the address of a repository that Kaggle can reach. Two
# more may be named, each the path of an attached data set: `WEIGHTS`, a folder with
# `distilbert-base-uncased`; `ROWS`, rows as `--data` takes them.
#
# **Look at** the commit. Everything goes to `/kaggle/working`, whose files Kaggle shows
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
# ## 2. The library, without another torch
#
# Kaggle's torch was built for Kaggle's GPUs. A plain `pip install` may replace it, and
# then no GPU works, or CUDA starts with an error that names everything but the cause.
# So: only what is missing is installed, with torch's version pinned, from the data set
# or from the network. The library itself is found in the checkout.
#
# **Look at** the last line: the same torch before and after.

# %%
import kaggle_install

before = kaggle_install.torch_version()
if os.environ.get("DISTRINEWS_INSTALL", "yes") == "yes":
    print("was missing:", kaggle_install.install(commands) or "nothing")
print(f"torch {before} before, {kaggle_install.torch_version()} after")

# %% [markdown]
# ## 3. Is the machine fit?
#
# The doctor looks at versions, cores, ports, disk and GPUs, and lets two real
# processes add up two numbers.
#
# **Look at** every line that is not `ok`: below it stands the cure. A `warning` costs
# time or a feature; a `problem` stops one of the next cells. One warning is meant to be
# there: `notebook` says what stands above, that a cell's function cannot become a rank.

# %%
commands.run("python", "-m", "distrinews", "doctor", check=False)

# %% [markdown]
# ## 4. Two GPUs?
#
# **Look at** the table of `nvidia-smi`: two rows *Tesla T4*, and memory that no
# process uses yet. If a process uses memory here, restart the session: training needs
# it. Below it: what torch can compute on. Only that counts: a driver without a
# fitting torch shows GPUs in the table and none to torch, and for a *Tesla P100*
# Kaggle's torch has no kernels. Then the message says so, and the plan takes the CPU.

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
# Chapter 05 with a single process: what two will be compared with. Not chapter 01,
# which deals the rows in another order: here one and two ranks take the *same* steps,
# rows and learning rates, and only the number of processes differs.
#
# The first time, the rows are downloaded and tokenised; the others find them in a
# cache.
#
# **Look at** the line `ranks`: `1 on cuda`. At the end: the accuracy on the test rows,
# and the samples per second.

# %%
launch = ("bash", CHECKOUT / "chapters" / "launch.sh")
chapter_05 = CHECKOUT / "chapters" / "05_ddp_training.py"

one_rank = (*launch, "-n", "1", chapter_05, *plan.alone, "--run-name", "one")
commands.run(*one_rank, *commands.resume("one"))

# Something is trained now, and nothing below may lose it: a step that fails is named,
# and the next one runs.
import kaggle_steps

steps = kaggle_steps.Steps()

# %% [markdown]
# ## 6. Two ranks, until the session ends
#
# `launch.sh` starts torchrun, and torchrun two processes. Each reads its `LOCAL_RANK`,
# takes that GPU, and reads half of each global batch. 32 rows per step, as before: 16
# each.
#
# A session may end at any moment: a time limit, a closed lid. So this run is broken
# off on purpose, in its middle, by the signal that ends programs. Nothing is saved
# then; what counts are the checkpoints of `--save-every-steps`.
#
# (If you know beforehand how far a session reaches, `--max-steps` stops in good order:
# the learning rate still follows the whole plan. `--resume` continues from both.)
#
# **Look at** `2 on cuda`, and then at how it ends: without a result.

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
# Weights, optimizer, schedule, random states and the place in the rows come back from
# the newest intact checkpoint. In a *new* session it is the same, if you copied the
# folder `runs` of the old one (under *Output*) to `/kaggle/working` first.
#
# **Look at** `resuming ... after step`: it does not begin at 0. What was trained after
# the checkpoint is trained once more, with the same rows.

# %%
with steps.may_fail(7):
    commands.run(*two_ranks, *commands.resume("two"))

# %% [markdown]
# ## 8. The same model?
#
# DDP averages the gradients of two half batches. That is the gradient of the whole
# batch, up to rounding. So the losses of both runs should agree.
#
# **Look at** the last column. The first differences are rounding: sums in another
# order. They grow, because each step starts from weights that differ a little already.
# A mistake (gradients added up instead of averaged, both ranks reading the same rows)
# would show in the first line, and not behind the decimal point.

# %%
import kaggle_results

with steps.may_fail(8):
    if plan.comparable:
        print(kaggle_results.compare(commands))
    else:
        print("Not comparable: one rank trained in full, two with small settings.")

# %% [markdown]
# ## 9. What can it do? Every row once
#
# The trained model, on the test rows again, over one rank and over two. A sampler that
# pads would count some rows twice, and the accuracy would depend on the number of
# ranks.
#
# **Look at** `rows` and `accuracy`: the same in both. (On GPUs a row that is undecided
# to the last digit may fall either way: batches of another composition round otherwise.
# `rows` may not differ.)

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
        print(f"ranks {num_ranks}: accuracy {accuracy:.4f}, {rows} rows")

# %% [markdown]
# ## 10. How much faster?
#
# Chapter 06 lets one process and two ranks take the same steps in turn, within one
# run, so that a GPU that grows warm slows all of them alike.
#
# **Look at** `communication`: the part of a step in which gradients still travel and
# no GPU computes. Also compare *same rows per step* (the speed-up of a training run
# that must stay the same) with *same rows per rank* (twice the work in a step).
#
# The file replaces the prediction on the page *One T4 and two T4*. The last line says
# whether it could stand there: not if the machine was too noisy, after fewer than five
# rounds, or from a checkout with changes, which no one could repeat.

# %%
chapter_06 = CHECKOUT / "chapters" / "06_ddp_benchmark.py"
with steps.may_fail(10):
    commands.run(*launch, "-n", "2", chapter_06, *plan.measure, "--json", plan.record)
    check = ("python", "-m", "distrinews", "benchmark", "check", plan.record)
    print(kaggle_results.verdict(commands.run(*check, check=False, quiet=True)))

# %% [markdown]
# ## 11. The picture
#
# **Look at** the distance to the dashed line: it is what two ranks did not gain. On
# two T4, the orange bars are what this course predicted. Is your measurement inside?
# If not, which assumption of the prediction was wrong?

# %%
with steps.may_fail(11):
    from IPython.display import Image, display

    picture = kaggle_results.draw_speed_up(commands, plan)
    display(Image(filename=str(picture)))

# %% [markdown]
# ## 12. For the Space
#
# The folder of a Hugging Face Space: the app, this library, the model. You push it
# from home (`site_docs/howto/space.md`).
#
# **Look at** its size: nearly all of it are the weights, four bytes a parameter.

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
# ## 13. The proofs that need GPUs
#
# The course's tests run on CPUs, with gloo. What only GPUs can show is proven here:
# that the ranks speak nccl, that each has the GPU of its `LOCAL_RANK`, that they train
# what one GPU trains, that a resumed run is the same to the last bit, and that a rank
# that never comes ends in an error and not in a hang. Each proof has a control that
# fails.
#
# **Look at** the last line. `skipped` means: fewer than two GPUs, nothing was proven.

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
# In the panel, under *Output*: download `bring_home.zip` before you stop the session.
# To keep it on Kaggle, *Save Version*, and choose there that the output is saved, too.
#
# | in it | what for |
# |---|---|
# | `t4_scaling.json` | `site_docs/benchmarks/results/`: the page on two T4 shows it |
# | `scaling-2xt4.json` | the same, for the table of all machines |
# | `space/` | push it; `space/model` is the model, for `predict` and `serve` |
# | `runs/*/result.json`, `metrics.jsonl` | what came out, and the losses |
# | `gpu_proofs.txt` | what the proofs said |
#
# The checkpoints stay here: each is three times the weights. Keep them until you are
# done, for `--resume`; then delete `runs`, so that the version you save is small.

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
# **And now?** Compare `speed_up.png` with your laptop's: *Why DDP can be slower*
# explains both. Then put the Space online.

# %%
# WHY no error here, whatever failed: Kaggle keeps the output of a version that ended.
print(steps.summary())
