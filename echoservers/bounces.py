"""How two servers that a forged datagram has set at each other fall silent.

Where both send from a port of their own choice, neither can tell the other from a client that
asks the same again and again.  So there are two ways, and neither judges by the time:

- Replies carry a mark that clients do not set, in the field of the service class (RFC 2474),
  and the kernel throws away what comes with it: a reply is no question (as the QR bit of DNS
  says).  Two servers of this package fall silent at the first reply.  Linux alone; what is
  thrown away is not counted, and costs no more than to receive it.
- ``max_repeats``, unless it is none: of that many equal datagrams of one source, with no pause
  between them, the next is not answered.  A loop is a ball that is lost when it is dropped
  once; a client asks again, as UDP asks of it.  For peers that are not of this package, and
  networks that clear the mark on the way.  Not by default: a client that sends the same over
  and over, as a load generator does, would wait for an answer that never comes.
"""

import socket
import sys
import time
from typing import Any

from .bpf import attach_program

__all__ = ["Repeats", "mark_replies"]

REPLY_MARK = 0b000011 << 2
"""Of the pool that is left to experiments and local use (RFC 2474, 6: xxxx11), with the
precedence of ordinary traffic, which routers of before 1998 go by."""

PAUSE = 1.0
"""Seconds: longer than any two hosts are apart.  A loop makes no longer pause, and who asks
the same more seldom, a monitor, is no loop."""

MOST_SOURCES = 4096
"""Counted at a time, half a mebibyte; when there are more all begin anew.  To keep a loop
alive by it takes a hundred times as many forged datagrams as it makes."""

_ATTACH = 26  # SO_ATTACH_FILTER, asm-generic/socket.h
_NETWORK_HEADER = 2**32 - 0x100000  # SKF_NET_OFF, linux/filter.h
_FIRST_HALFWORD, _IS_IPV6, _SHIFT, _MASK, _EQUALS, _TAKE = 0x28, 0x45, 0x74, 0x54, 0x15, 0x06

_THROW_MARKED_AWAY = (  # linux/bpf_common.h: operation, steps if true, steps if not, number
    (_FIRST_HALFWORD, 0, 0, _NETWORK_HEADER),
    (_IS_IPV6, 0, 1, 0x2000),  # the version is 4 or 6, in the first four bits
    (_SHIFT, 0, 0, 4),  # RFC 8200, 3: version, traffic class; RFC 791, 3.1: the class follows IHL
    (_MASK, 0, 0, 0xFC),  # without ECN (RFC 3168)
    (_EQUALS, 0, 1, REPLY_MARK),
    (_TAKE, 0, 0, 0),
    (_TAKE, 0, 0, 0xFFFFFFFF),
)


def mark_replies(sock: socket.socket) -> None:
    """Mark what is sent from *sock*, a UDP socket, and throw away what comes marked.

    Where the system cannot mark, nothing is thrown away.
    """
    if sys.platform != "linux":
        return
    try:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, REPLY_MARK)  # of IPv6: for mapped IPv4
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, REPLY_MARK)
        # The kernel takes the mark for a wish to be sent last (socket(7)).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 0)
    except OSError:
        return  # a server without the mark serves as well
    attach_program(sock, _ATTACH, _THROW_MARKED_AWAY)


class Repeats:
    """Counts how often each source sends the same, without a pause.

    :param most: how often in a row it may.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: dict[Any, tuple[int, float]] = {}

    def too_many(self, source: Any, message: bytes) -> bool:
        """Whether *message* is one too many of *source*; then it may begin anew."""
        key = (source, hash(message))
        now = time.monotonic()
        number, before = self._seen.get(key, (0, 0.0))
        if now - before > PAUSE:
            number = 0
        if len(self._seen) >= MOST_SOURCES:
            self._seen.clear()
        self._seen[key] = (0 if number >= self._most else number + 1, now)
        return number >= self._most
