"""Checks: what clients do that go in a bad way; the next client is served all the same."""

import socket
import struct

from .engine import check
from .manners import KNOCK_AGAIN
from .messages import MIB
from .subject import Subject

TCP_RESET = "RFC 9293, 3.5.2"
UNP_ABORT = "UNP vol. 1, 5.11"
UNP_SIGPIPE = "UNP vol. 1, 5.13"

TIMES = 3
"""How often a client does it: some faults show at the second only."""

LEFT_OVER = 0.1
"""Seconds for what has been answered; the end of the stream ends them."""

STALL = 0.05
"""Seconds without progress after which a server is taken to be in the middle of an answer."""


@check(TCP_RESET)
def reset(subject: Subject) -> None:
    """A client that resets its connection when it has been served harms nobody."""
    for _ in range(TIMES):
        peer = subject.connect()
        peer.say(b"hello\n")
        peer.hear(b"hello\n", last=True)
        peer.reset()
    subject.serves()


@check(UNP_SIGPIPE)
def reset_in_mid_echo(subject: Subject) -> None:
    """A client that resets its connection in the middle of an answer harms nobody."""
    for _ in range(TIMES):
        peer = subject.connect()
        peer.stuff(64 * MIB, STALL)
        peer.reset()
    subject.serves()


@check(UNP_SIGPIPE)
def close_without_reading(subject: Subject) -> None:
    """A client that sends much and closes without having read an answer harms nobody."""
    for _ in range(2):
        peer = subject.connect()
        peer.stuff(8 * MIB, STALL)  # more than the buffers take: the server is in the middle of it
        peer.close()
    subject.serves()


@check(UNP_ABORT)
def close_in_queue(subject: Subject) -> None:
    """A client that has gone before it was accepted harms nobody."""
    for abort in (False, True) * 2:
        sock = subject.knock(max(subject.patience, KNOCK_AGAIN))
        if abort:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    subject.serves()


@check("UNP vol. 1, 5.12")
def gone_in_mid_line(subject: Subject) -> None:
    """A client that goes in the middle of a line harms nobody."""
    for _ in range(TIMES):
        peer = subject.connect()
        peer.say(b"half a li")
        peer.finish()
        peer.overhear(LEFT_OVER)  # a close with answers unread would be a reset, too
        peer.close()
    subject.serves()
