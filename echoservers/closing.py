"""Close a connection so that no reset overtakes the replies in flight.

When data is unread at close(), or arrives behind it, the kernel sends a reset and throws
away what it has not delivered yet (RFC 1122, 4.2.2.13; RFC 2525, 2.17).  Whoever closes
first has to wait a little.
"""

import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from .timeouts import limit_waits

__all__ = [
    "CHECK_INTERVAL",
    "DISCARD_SIZE",
    "LINGER_TIME",
    "discard_unread",
    "discarding",
    "linger",
    "untaken",
    "wait_until_taken",
]

LINGER_TIME = 1.0
"""Seconds that we wait for a peer at most: many round trips, and short for a worker."""

CHECK_INTERVAL = 0.005
"""Seconds between looks at the send queue: the kernel has no event for its being empty."""

DISCARD_SIZE = 65536


def linger(connection: socket.socket) -> None:
    """We end the conversation: close our side, and read on until the peer closes its own."""
    deadline = time.monotonic() + LINGER_TIME
    try:
        connection.shutdown(socket.SHUT_WR)
        limit_waits(connection, LINGER_TIME)
        while discarding(connection)(DISCARD_SIZE) and time.monotonic() < deadline:
            continue
    except OSError:
        return  # gone, or silent: either way there is nothing left to wait for


def untaken(connection: socket.socket) -> int:
    """How many bytes that were sent the peer's system has not taken yet."""
    if connection.family == socket.AF_UNIX:
        return 0  # what was sent is in the peer's queue already
    from fcntl import ioctl  # imported late: only a drain needs them
    from termios import TIOCOUTQ

    try:
        return int.from_bytes(ioctl(connection, TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0  # gone: nobody is left to take them


def wait_until_taken(connection: socket.socket) -> None:
    """We have ended the input (SHUT_RD): wait until the peer's system has all replies.

    To close our side first, as `linger` does, would make the kernel answer further input
    with a reset at once; and with the input shut, waiting for input returns at once too.
    """
    notify_close = getattr(connection, "notify_close", None)
    if notify_close is not None:
        notify_close()  # the end of the replies, where they have one of their own (TLS)
    deadline = time.monotonic() + LINGER_TIME
    # A socket that is not alone in its thread has its own way to let time pass.
    pause = getattr(connection, "pause", None) or threading.Event().wait
    while untaken(connection) and time.monotonic() < deadline:
        pause(CHECK_INTERVAL)
    discard_unread(connection)


def discard_unread(connection: socket.socket) -> None:
    """Read what has arrived, so that close() does not send a reset for it."""
    deadline = time.monotonic() + LINGER_TIME
    try:
        discard = discarding(connection)
        while time.monotonic() < deadline and discard(DISCARD_SIZE, socket.MSG_DONTWAIT):
            continue
    except OSError:
        return  # nothing is left, or nobody


def discarding(connection: Any) -> Callable[..., bytes]:
    """What reads from *connection*; nobody need decrypt what is thrown away (TLS)."""
    discard: Callable[..., bytes] | None = getattr(connection, "discard", None)
    return connection.recv if discard is None else discard
