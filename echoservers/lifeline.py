"""Children that end with the process that has forked them, however that ends.

A child that answers a datagram has the server's own socket.  If the server is killed while its
handler thinks, nobody else can have the address until it has thought.

The parent keeps a pipe open for writing, and only the parent.  When it ends, the kernel sends a
signal for the reading end (fcntl(2), F_SETSIG, Linux), and that is SIGKILL, which needs nobody's
attention.  PR_SET_PDEATHSIG would be one call, but takes the thread that has forked for the
parent: with a server that serves in a thread for a while, children would end with that.
"""

import os
import re
import signal
import sys
from typing import Any

__all__ = ["SINCE", "WRITING_ENDS", "Lifeline"]

SINCE = (5, 6)
"""The Linux that tells of the last writer alone.  One before tells of each reader that has closed
the pipe, too, and the first child that ends would take the others along."""

WRITING_ENDS: set[int] = set()
"""Of all servers of this process: what a forked child of one closes.  While any process has one
open, nobody learns that the parent has ended."""


class Lifeline:
    """What ties the children of this process to it; made before they are forked."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        WRITING_ENDS.add(self._write)
        self._fcntl: Any = None
        if _tells_of_the_writer_alone():
            import fcntl  # here, so that no child looks for it

            self._fcntl = fcntl

    def end_with_parent(self) -> None:
        """In a forked child, which has closed `WRITING_ENDS`: be killed when the parent ends.

        Where that cannot be had (`SINCE`), the child ends when its handler does.
        """
        fcntl = self._fcntl
        if fcntl is None:
            return
        try:
            # Opened anew: whom to signal belongs to what is open, and a fork shares that.
            own = os.open(f"/proc/self/fd/{self._read}", os.O_RDONLY | os.O_NONBLOCK)
            fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(own, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
            os.read(own, 1)
        except OSError:  # BlockingIOError: the parent is there
            return
        os._exit(1)  # it had ended before: nobody is left who could write

    def close(self) -> None:
        """Let go, in the parent; those who are left end with it."""
        WRITING_ENDS.discard(self._write)
        os.close(self._read)
        os.close(self._write)


def _tells_of_the_writer_alone() -> bool:
    if sys.platform != "linux":
        return False
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return found is not None and (int(found[1]), int(found[2])) >= SINCE
