"""Processes that end with the one that has forked them, however that ends.

Who is killed cannot end its children, and a process group for each worker would take it from
the terminal's jobs.  The kernel can do it: prctl(2), PR_SET_PDEATHSIG (Linux).
"""

import os
import signal
import sys
from collections.abc import Callable

__all__ = ["end_with_parent"]

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, linux/prctl.h


def end_with_parent() -> Callable[[int], None]:
    """What a forked child calls with its parent's number, to be killed when that ends.

    Made before the fork, so that no child looks the call up.  The thread that has forked
    is what counts as the parent.  On other systems than Linux the call does nothing: there
    a child ends when its client does.
    """
    if sys.platform != "linux":
        return lambda _: None
    import ctypes  # late: only workers that fork need it

    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes = (ctypes.c_int, *4 * (ctypes.c_ulong,))

    def end_with(parent: int) -> None:
        prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it had ended before
            os.kill(os.getpid(), signal.SIGKILL)

    return end_with
