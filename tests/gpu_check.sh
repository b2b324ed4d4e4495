#!/usr/bin/env bash
# Check on a machine with one GPU what CPUs cannot show, in at most 8 minutes, without a
# network: bash tests/gpu_check.sh OUT.json [--tiny]. Exit code 1 if a check failed.
#
# It needs Python 3.11 or later with torch, transformers, psutil and tqdm, and wheels of
# what is missing there, in a folder that WHEELS names (pydantic, pydantic-settings,
# python-dotenv, annotated-types, typing-inspection, pydantic-core). On a lent machine:
#
#   WHEELS=.whl bash tests/gpu_check.sh "$OUT/gpu_check.json"
set -u
root="$(cd "$(dirname "$0")/.." && pwd)"
path="$root"
if [ -n "${WHEELS:-}" ]; then
  site="$(mktemp -d)"
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir \
    --target "$site" "$WHEELS"/*.whl || exit 1
  path="$root:$site"
fi
export PYTHONPATH="$path" PYTHONUNBUFFERED=1
exec timeout 470 "${PYTHON:-python3}" "$root/tests/gpu_check.py" "$@"
