"""Read by Python at its start: the real package `spaces`, without its torch part.

That part needs torch with CUDA. The rest stays as it is: the decorator, the function
around Gradio's launch(), the report to the platform.
"""

from __future__ import annotations

import sys
import types

stand_in = types.ModuleType("spaces.zero.torch")
for name in ("is_in_bad_fork", "pack", "patch"):
    setattr(stand_in, name, lambda: 0)
sys.modules[stand_in.__name__] = stand_in
