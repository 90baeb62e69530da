"""Limits on waiting that the kernel keeps, on its monotonic clock (socket(7)).

A Python socket timeout adds a poll() to every read and write; SO_RCVTIMEO and SO_SNDTIMEO
add nothing.  On Linux a TCP connection inherits them from its listening socket, so that a
server sets them once.
"""

import socket
import struct
import sys

__all__ = ["CONNECTIONS_INHERIT", "limit_waits"]

CONNECTIONS_INHERIT = sys.platform == "linux"
"""Whether an accepted TCP socket has the limits of the listening one."""


def limit_waits(sock: socket.socket, seconds: float | None) -> None:
    """Let a read or write on *sock* that waits longer than *seconds* raise an error.

    The error is BlockingIOError; where Python waits already, with a limit of its own, as ssl
    must, it is TimeoutError.

    :param seconds: None: however long it takes.
    """
    own = getattr(sock, "limit_waits", None)
    if own is not None:  # another kind of socket, not the kernel's to limit
        own(seconds)
        return
    if sock.gettimeout():
        sock.settimeout(seconds)
        return
    # 0 means no limit.
    microseconds = 0 if seconds is None else max(1, round(seconds * 1_000_000))
    limit = struct.pack("@ll", *divmod(microseconds, 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
