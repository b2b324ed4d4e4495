"""DistriNews: PyTorch DistributedDataParallel (DDP) in building blocks you can read.

Promise: importing this package costs nothing. It loads no torch and starts nothing;
each module loads what it needs when you import that module.

Not here: any code. Start with `distrinews.dist` (processes and ranks), then read
`distrinews.sharding` (who reads what) and `distrinews.metrics` (numbers that speak
for all ranks).
"""

__version__ = "0.1.0"
