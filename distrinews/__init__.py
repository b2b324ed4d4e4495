"""DistriNews: PyTorch DistributedDataParallel (DDP) in building blocks you can read.

The five building blocks:

- `distrinews.dist`: start ranks, join their process group, agree, fail together.
- `distrinews.sharding`: which rank reads which row.
- `distrinews.sync`: average gradients, compare replicas.
- `distrinews.checkpoint`: save and restore all state of a run, atomically.
- `distrinews.metrics`: exact figures over all ranks.

`from distrinews import dist, sharding, sync, checkpoint, metrics` is all that a
training script of your own needs. The other rooms serve the course, its app and its
benchmarks.

Importing this package costs nothing: it loads no torch and starts nothing. Each room
loads what it needs when you import it.
"""

import time

__version__ = "0.1.0"

# When this process ran its first line of ours, in seconds since 1970; from it
# `distrinews.system.machine.program_start_s` counts. WHY here: a chapter imports this
# package before torch, so the slow imports come after it.
FIRST_LINE_S = time.time()
