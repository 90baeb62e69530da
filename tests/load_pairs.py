"""For the clients of a load: socket pairs of which the test has the other ends, and a loop.

So the test decides when there is room to send and what comes, which no server does on request.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator

from echoservers.lab.load.loop import Loop, clock
from support import PATIENCE

SMALL = 4608  # the smallest buffer that Linux gives a socket


class Pairs:
    """Where a client dials: it gets one end of a pair, and the test the other."""

    def __init__(self, kind: socket.SocketKind) -> None:
        self._kind = kind
        self.peers: list[socket.socket] = []

    def __enter__(self) -> "Pairs":
        return self

    def __exit__(self, *_: object) -> None:
        for peer in self.peers:
            peer.close()

    def dial(self) -> socket.socket:
        ours, theirs = socket.socketpair(type=self._kind)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        ours.setblocking(False)
        theirs.settimeout(PATIENCE)
        self.peers.append(theirs)
        return ours

    def secure(self, sock: socket.socket) -> socket.socket:
        return sock


@contextlib.contextmanager
def a_loop() -> Iterator[Loop]:
    """A loop that looks at an input of its own: the end of ours would end this process."""
    own, (reads, writes) = os.dup(0), os.pipe()
    os.dup2(reads, 0)
    made = Loop(PATIENCE)
    yield made
    made.close()
    os.dup2(own, 0)
    for descriptor in (own, reads, writes):
        os.close(descriptor)


def fill(send: Callable[[bytes], int], data: bytes) -> int:
    """Send *data* again and again until there is no room; how many bytes have gone."""
    sent = 0
    try:
        while True:
            sent += send(data)
    except BlockingIOError:
        return sent


def goes_on(loop: Loop, until: Callable[[], bool]) -> None:
    """Resume the clients until something holds."""
    assert loop.run_until(until, clock() + PATIENCE)


def turns(loop: Loop, seconds: float = 0.03) -> None:
    """Resume the clients that are ready, for a moment."""
    loop.run(clock() + seconds)
