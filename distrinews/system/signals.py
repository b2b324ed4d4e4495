"""What Ctrl-C and SIGTERM do to a process that has started others.

Promise: the first signal starts an orderly end, and a second, impatient one cannot
break that off halfway.

Not here: ending the processes (`distrinews.dist.spawn`), exit codes
(`distrinews.system.console`).

Guide: understand/failures.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Generator
from types import FrameType

__all__ = ["cleanup_on_signal", "defer_signals"]


@contextlib.contextmanager
def defer_signals() -> Generator[None, None, None]:
    """Hold Ctrl-C and SIGTERM back until the block ends.

    Yields:
        None. Windows has no such mask; there the block runs as it is.

    Examples:
        >>> with defer_signals():
        ...     started = ["rank 0", "rank 1"]  # never one without the other
    """
    # WHY both: mypy asks for the system, and proofs take the function away.
    if sys.platform == "win32" or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # WHY block and not ignore: a blocked signal is delivered afterwards, an ignored one
    # is lost. New processes inherit the mask, so a Ctrl-C during their imports, before
    # `_run_worker`, prints no traceback either.
    deferred = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, deferred)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def cleanup_on_signal() -> Generator[None, None, None]:
    """Turn the first Ctrl-C or SIGTERM into an exception, and ignore later ones.

    Why: an exception runs every `finally` on its way, and there the ranks are ended.
    SIGTERM by itself would end this process at once and leave them behind.

    Yields:
        None.

    Raises:
        KeyboardInterrupt: After Ctrl-C.

    Examples:
        >>> with cleanup_on_signal():
        ...     signal.raise_signal(signal.SIGTERM)
        Traceback (most recent call last):
        ...
        SystemExit: 143
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    # WHY leave an ignored signal ignored: `nohup` and `&` in a script ask for that.
    handled = [
        n for n, handler in before.items() if handler not in (signal.SIG_IGN, None)
    ]

    def handle(signum: int, frame: FrameType | None) -> None:
        # WHY only the first: a second, impatient Ctrl-C would break off the cleaning
        # up between two ranks. Windows cannot hold it back otherwise.
        for number in handled:
            signal.signal(number, signal.SIG_IGN)
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + signum)

    for number in handled:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])
