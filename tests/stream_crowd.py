"""A reactor that a test turns by hand, so that what its clients have sent is one batch."""

import contextlib
import socket
from array import array
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

import echoservers
from echoservers import EchoHandler, LineFraming, aio
from echoservers.loop import MANY
from echoservers.stream_batches import ROOM
from support import MODES, PATIENCE


def _is_there() -> bool:
    many = aio.many_streams(1, 1)
    if many is not None:
        many.close()
    return many is not None


needs_many = pytest.mark.skipif(not _is_there(), reason="one system call a message here")
REACTORS = [
    m.name
    for m in MODES
    if m.model in ("select", "poll", "epoll", "kqueue") and m.transport == "tcp"
]
SIZES = (1, 64, ROOM - 1, ROOM, ROOM + 1, 3 * ROOM, 2, 1000, 7, 5 * ROOM)
IN_A_ROW = 40
"""Batches of eight after which the kernel's ring has begun anew."""


class Crowd(ExitStack):
    """A reactor that a test turns, with clients over socket pairs."""

    def __init__(self, handler: Any = EchoHandler, mode: str = "epoll-tcp", **options: Any) -> None:
        super().__init__()
        server: Any = echoservers.create_server(mode, ("127.0.0.1", 0), handler, **options)
        self.server = self.enter_context(server)
        self.batches: Any = self.server._loop.gatherer
        self.taken: list[int] = []
        load = self.batches._load

        def loaded() -> Any:
            many = load()
            if many is not None:
                self._watch(many)
            return many

        self.batches._load = loaded

    def _watch(self, many: Any) -> None:
        receive = many.receive

        def counted(descriptors: "array[int]") -> list[int]:
            self.taken.append(len(descriptors))
            sizes: list[int] = receive(descriptors)
            return sizes

        many.receive = counted

    def clients(self, count: int) -> list[socket.socket]:
        return [self.client() for _ in range(count)]

    def client(
        self, wrap: Callable[[socket.socket], Any] = lambda made: made, *, tcp: bool = False
    ) -> socket.socket:
        ours, theirs = tcp_pair() if tcp else socket.socketpair()
        theirs.settimeout(PATIENCE)
        self.server._admit(wrap(ours), ("test", 1), contain=True)
        return self.enter_context(theirs)

    def gathered(self) -> tuple[list[socket.socket], Any]:
        """As many clients as are gathered, once echoed, and what serves them together."""
        clients = self.clients(MANY)
        self.echo(clients, [b"hello"] * MANY)
        return clients, self.batches._many

    def turn(self) -> None:
        self.server._turn(PATIENCE)

    def echo(self, clients: list[socket.socket], messages: list[bytes]) -> None:
        """Send all of it, let the server turn, and compare what comes back."""
        for client, message in zip(clients, messages, strict=True):
            client.sendall(message)
            client.setblocking(False)
        came = [b""] * len(clients)
        while any(len(one) < len(message) for one, message in zip(came, messages, strict=True)):
            self.turn()
            for n, client in enumerate(clients):
                with contextlib.suppress(BlockingIOError):
                    came[n] += client.recv(1 << 20)
        for client in clients:
            client.settimeout(PATIENCE)
        assert came == messages


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname(), PATIENCE)
        return listener.accept()[0], theirs


def pattern(size: int, number: int) -> bytes:
    return bytes((number + n) % 251 for n in range(size))


class Lines(EchoHandler):
    framing_class = LineFraming
