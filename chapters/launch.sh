#!/usr/bin/env bash
# Start a chapter with torchrun: one process per GPU, on Linux and Kaggle.
#
# Usage     bash chapters/launch.sh [-n NUM_PROCESSES] [-l LOG_DIR] CHAPTER [FLAGS...]
# Example   bash chapters/launch.sh -n 2 chapters/05_ddp_training.py --help
#
#   -n NUM_PROCESSES  ranks to start [default: one per GPU; 2 on a machine without]
#   -l LOG_DIR        where each rank's output is kept
#                     [default: runs/torchrun/DATE-TIME in the current folder]
#   CHAPTER           a file, or the name of a file beside this script
#   FLAGS             everything after CHAPTER goes to the chapter, unchanged
#
# Why torchrun instead of `python CHAPTER`? Here both do the same, but clusters use
# torchrun. This script is for one machine: its ranks connect over the loopback. On two
# machines that share a file system, run the same chapter with your own torchrun line.
# (On Windows use `python CHAPTER`: the official wheels cannot run torchrun.)

# -e: stop at the first failing command. -u: a misspelt variable is an error, not "".
# pipefail: a pipeline fails if any part of it does.
set -euo pipefail

usage() { # the comment block above, without its leading "# "
    sed -n '2,/^$/{s/^# \{0,1\}//;p;}' "$0"
}

fail() { # what, why, fix: the three parts of every error of this course
    printf 'Error: %s\n  why:  %s\n  fix:  %s\n' "$1" "$2" "$3" >&2
    exit 2
}

# 1. The arguments ----------------------------------------------------------------
num_processes=""
log_dir="runs/torchrun/$(date +%Y%m%d-%H%M%S)-$$"
while [[ "${1:-}" == -* ]]; do
    case "$1" in
        -h | --help)
            usage
            exit 0
            ;;
        -n | -l)
            [[ $# -ge 2 ]] || fail "$1 is the last word." \
                "it needs a value after it." "bash chapters/launch.sh --help"
            if [[ "$1" == -n ]]; then num_processes="$2"; else log_dir="$2"; fi
            # Refuse an empty value too: it would otherwise mean "one per GPU".
            [[ -n "$2" ]] || fail "the value of $1 is empty." \
                "a misspelt variable in a script looks like this." "$1 2, for example"
            shift 2
            ;;
        *)
            fail "unknown option $1." \
                "options of this script come before the chapter, the chapter's after." \
                "bash chapters/launch.sh [-n NUM_PROCESSES] CHAPTER $1"
            ;;
    esac
done
if [[ -n "$num_processes" && ! "$num_processes" =~ ^[1-9][0-9]{0,3}$ ]]; then
    fail "NUM_PROCESSES is '$num_processes'." \
        "each process is one rank; there must be at least one." "-n 2"
fi

here="$(CDPATH="" cd -- "$(dirname -- "$0")" && pwd)"
chapter="${1:-}"
[[ -f "$chapter" ]] || chapter="$here/$chapter"
if [[ ! -f "$chapter" ]]; then
    shopt -s nullglob
    found=("$here"/[0-9]*.py)
    fail "there is no chapter '${1:-}'." "torchrun would start ranks that all fail." \
        "name one of these: ${found[*]##*/}"
fi
shift

# 2. This machine ------------------------------------------------------------------
# WHY the interpreter and not the `torchrun` command: they are the same program, but
# the command found first on PATH may belong to another environment.
python="$(command -v python3 || command -v python || true)"
[[ -n "$python" ]] || fail "there is no python3 on PATH." \
    "torchrun is a Python program." "source .venv/bin/activate"
# One program for all questions, because importing torch takes seconds. torch instead
# of nvidia-smi, because only torch respects CUDA_VISIBLE_DEVICES.
question='
import importlib.util
import sys
try:
    import torch
    import torch.distributed.run
    from distrinews.system import gpus, machine
except ImportError as error:
    sys.exit(str(error))
# Without the GPUs that torch was not built for: ranks there compute on the CPU.
print(
    len(gpus.usable()), machine.num_cores(), machine.loopback_interface() or "-"
)
'
answer="$("$python" -c "$question" 2>&1)" || fail \
    "torchrun cannot run with $python: $(tail -n 1 <<<"$answer")" \
    "torchrun is part of torch, and the chapters import distrinews." \
    "source .venv/bin/activate, or in $(dirname -- "$here"): $python -m pip install -c constraints.txt -e ."
# The last line: warnings may come before it, for example about an old driver.
read -r num_gpus num_cores loopback <<<"$(tail -n 1 <<<"$answer")"

# One process per GPU, because one replica fills a GPU. Without a GPU, two processes are
# enough to see everything in this course.
if [[ -z "$num_processes" ]]; then
    num_processes=$((num_gpus > 0 ? num_gpus : 2))
fi

# 3. Every rank's environment ------------------------------------------------------
# OpenMP threads per rank: ranks that each start one thread per core compete for the
# cores. (torchrun's own default is 1: safe, but too slow for training on the CPU.)
threads=$((num_cores / num_processes))
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}"
# Python writes to a file in blocks of 8 KiB. With --tee a rank's output goes to a file
# first, and without this the terminal would stay empty for minutes.
export PYTHONUNBUFFERED=1
# The prefix of each line on the terminal. "rank" is the global one.
# shellcheck disable=SC2016  # torchrun fills in ${rank}, not this shell
export TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE='[rank ${rank}] '
# gloo looks up the machine's own name to find its network. On laptops that leads to a
# VPN or nowhere; ranks on one machine need only the loopback.
if [[ "$loopback" != "-" ]]; then
    export GLOO_SOCKET_IFNAME="${GLOO_SOCKET_IFNAME:-$loopback}"
fi

# 4. Start -------------------------------------------------------------------------
flags=(
    # One machine, with the store on a free port. Without this flag torch 2.13 does the
    # same; older versions use port 29500, where two runs at a time would collide.
    --standalone
    # How many ranks to start. Each finds RANK, LOCAL_RANK and WORLD_SIZE in its
    # environment; distrinews.dist.setup reads them.
    --nproc_per_node="$num_processes"
    # The address of this machine as the ranks see it, for the same reason as above.
    --local_addr=127.0.0.1
    # Keep every rank's output: LOG_DIR/.../attempt_0/LOCAL_RANK/{stdout,stderr}.log.
    # When one rank of eight fails, its error is here.
    --log_dir="$log_dir"
    # tee: into the file and on the terminal. 1 is stdout, 2 is stderr, 3 is both.
    --tee=3
    # Show only rank 0 on the terminal. The others print the same or nothing.
    --local_ranks_filter=0
    # Left out: --max_restarts. It starts all ranks again after a failure, which helps
    # on clusters; in a course it would hide the error. Resume a run explicitly.
)
echo "launch.sh: ranks: $num_processes, GPUs: $num_gpus, threads per rank:" \
    "$OMP_NUM_THREADS. Every rank's output: $log_dir" >&2
# exec: this shell becomes torchrun, so that Ctrl-C and SIGTERM reach it directly.
exec "$python" -m torch.distributed.run "${flags[@]}" "$chapter" "$@"
