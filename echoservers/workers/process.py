"""One worker as its master sees it."""

import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from .board import Board
from .link import say

__all__ = ["NEVER", "Worker", "was_killed"]

NEVER = float("inf")
"""The time of what is not planned."""


_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT}
"""Signals that a process brings upon itself."""


def was_killed(status: int) -> bool:
    """Whether a signal from outside has ended a process; *status* is of waitpid(2)."""
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) not in _FAULTS


class Worker:
    """What the master knows of one of its workers."""

    def __init__(self, slot: int, position: int) -> None:
        self.slot = slot
        """On the board; its own while it lives."""
        self.position = position
        """Among the workers; its successor has the same."""
        self.pid = 0
        self.descriptor = -1
        self.control, self.others_control = socket.socketpair()
        self.listener: Any = None
        self.channel: socket.socket | None = None
        self.others_channel: socket.socket | None = None
        self.signal_mask: set[int] = set()
        """Of the master, for the worker to put back."""
        self.began = time.monotonic()
        self.ready = False
        self.leaving = False
        self.killed = False
        self.handed = 0
        """Connections that were handed to it."""
        self.next_step = NEVER
        self.steps: deque[tuple[float, Callable[[Worker], None]]] = deque()
        self.ping_at = NEVER
        self.answer_by = NEVER

    def load(self, board: Board) -> int:
        """How many connections were handed to it that are not over."""
        return self.handed - board.column("closed")[self.slot] - board.column("refused")[self.slot]

    def tell(self, word: bytes) -> None:
        """Say *word* to it."""
        say(self.control, word)

    def end_channel(self) -> None:
        """Hand nothing over to it any more; it takes what is on its way."""
        if self.channel is not None:
            try:
                self.channel.shutdown(socket.SHUT_WR)
            except OSError:
                return  # it has gone

    def kill(self) -> None:
        """End it at once."""
        self.killed = True
        try:
            if self.descriptor >= 0:
                signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it has ended already

    def release(self) -> None:
        """Close what we have of it."""
        for sock in (self.control, self.others_control, self.channel, self.others_channel):
            if sock is not None:
                sock.close()
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
