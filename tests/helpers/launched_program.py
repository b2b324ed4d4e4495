"""What a rank of `chapters/launch.sh` finds: arguments and environment. No torch."""

from __future__ import annotations

import json
import os
import sys

NAMES = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "OMP_NUM_THREADS",
    "PYTHONUNBUFFERED",
    "GLOO_SOCKET_IFNAME",
    "MASTER_ADDR",
)
print(json.dumps([sys.argv[1:], {name: os.environ.get(name) for name in NAMES}]))
print(f"error output of {os.environ.get('RANK')}", file=sys.stderr)
