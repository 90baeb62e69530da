"""A reactor's connection, step by step: woken for nothing, short of room, its peer gone.

The other end is in the test's hand, so that each thing happens at the moment that it is about.
"""

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from echoservers import EchoHandler, LineFraming
from echoservers.activity import ActiveRequest
from echoservers.connection import Connection
from echoservers.counters import BYTES_OUT, ERRORS, MESSAGES, new_cells
from echoservers.loop import Loop
from support import PATIENCE, receive_all, receive_exactly

LARGE = bytes(range(256)) * 4000


class Server:
    """What a connection wants of its server."""

    idle_timeout: float | None = None
    max_message_size = None
    logs_connections = False

    def __init__(self) -> None:
        self._loop = Loop()
        self.read_buffer = memoryview(bytearray(1 << 20))
        self.cells = new_cells()
        self.connection: Any = None
        self.contained: list[BaseException] = []

    def cells_of(self, _request: object) -> list[int]:
        return self.cells

    def drive_handler(self, handler: EchoHandler) -> None:
        record = ActiveRequest(handler.request, handler.client_address, None)
        self.connection = Connection(self, handler, record)  # type: ignore[arg-type]
        self.connection.begin()

    def contain(self, error: BaseException, _handler: EchoHandler) -> None:
        self.contained.append(error)

    def shutdown_request(self, request: socket.socket) -> None:
        request.close()

    def serve(self, request: socket.socket, handler: type[EchoHandler]) -> Any:
        request.setblocking(False)
        handler(request, ("test", 1), self)
        return self.connection

    def turn(self) -> None:
        self._loop.turn(PATIENCE)

    def until_closed(self) -> None:
        while not self.connection.closed:
            self.turn()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    if made.connection is not None:
        made.connection.close()
        made.connection.close()  # harmless twice
    made._loop.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's end, with the smallest buffer, and the peer's."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    theirs.settimeout(PATIENCE)
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
def tcp() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's end and the peer's, of a connection that can be reset."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname(), PATIENCE)
        ours, _ = listener.accept()
    yield ours, theirs
    ours.close()
    theirs.close()


def reset(peer: socket.socket) -> None:
    """Close *peer* in a way that the other end sees as an error."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


class Upper(EchoHandler):
    """Its replies are made of an object."""

    def respond(self, message: bytes) -> bytes | None:
        return message.upper()


class Lines(Upper):
    framing_class = LineFraming
    max_message_size = 1 << 21


KINDS = pytest.mark.parametrize("handler", [EchoHandler, Upper, Lines])
Pair = tuple[socket.socket, socket.socket]


def greeting(handler: type[EchoHandler]) -> type[EchoHandler]:
    """The same, with a greeting."""
    return type("Greeting", (handler,), {"greet": lambda _self: b"welcome"})


@KINDS
def test_woken_for_nothing_it_waits_on(
    handler: type[EchoHandler], server: Server, pair: Pair
) -> None:
    ours, peer = pair
    connection = server.serve(ours, handler)
    read = server._loop.reader(ours.fileno())
    assert read is not None
    read()
    assert not connection.closed
    peer.sendall(b"HELLO\n")
    server.turn()
    assert peer.recv(100) == b"HELLO\n"
    assert server.cells[MESSAGES] == 1


@KINDS
def test_a_reset_ends_it(handler: type[EchoHandler], server: Server, pair: Pair) -> None:
    ours, peer = pair
    server.serve(ours, greeting(handler))
    peer.close()  # with the greeting unread
    server.until_closed()
    assert (server.contained, server.cells[ERRORS]) == ([], 0)


@KINDS
def test_a_peer_that_does_not_wait_for_its_reply(
    handler: type[EchoHandler], server: Server, pair: Pair
) -> None:
    ours, peer = pair
    server.serve(ours, handler)
    peer.sendall(b"hello\n")
    peer.close()
    server.until_closed()
    assert (server.contained, server.cells[ERRORS]) == ([], 0)
    assert server.cells[BYTES_OUT] == 0


@KINDS
def test_what_finds_no_room_follows_piece_by_piece(
    handler: type[EchoHandler], server: Server, pair: Pair
) -> None:
    ours, peer = pair
    connection = server.serve(ours, handler)
    message = LARGE.upper().replace(b"\n", b"-").replace(b"\r", b"-")[:60_000] + b"\n"
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    peer.sendall(message)
    while connection._outgoing is None:
        server.turn()
    connection._write()  # woken for nothing: there is no room
    peer.shutdown(socket.SHUT_WR)
    received = b""
    while len(received) < len(message):
        received += peer.recv(1500)
        with contextlib.suppress(TypeError):
            server._loop.turn(0)
    assert received == message
    server.until_closed()
    assert server.cells[BYTES_OUT] == len(message)


@KINDS
def test_a_peer_that_goes_while_it_is_written_to(
    handler: type[EchoHandler], server: Server, pair: Pair
) -> None:
    ours, peer = pair
    connection = server.serve(ours, handler)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    peer.sendall(b"A" * 60_000 + b"\n")
    while connection._outgoing is None:
        server.turn()
    peer.close()
    server.until_closed()
    assert server.contained == []


class ByeAtOnce(EchoHandler):
    def greet(self) -> bytes:
        self.close_after_reply()
        return b"bye"


def test_a_greeting_may_be_all_that_there_is(server: Server, pair: Pair) -> None:
    ours, peer = pair
    connection = server.serve(ours, ByeAtOnce)
    assert receive_all(peer) == b"bye"
    peer.sendall(b"but")
    server.turn()
    connection._discard()  # woken for nothing
    assert not connection.closed  # it reads on until the peer ends
    peer.close()
    server.until_closed()
    assert server.cells[MESSAGES] == 0


def test_a_reset_behind_its_own_end_is_an_end(server: Server, pair: Pair) -> None:
    ours, peer = pair
    server.serve(ours, ByeAtOnce)
    peer.close()  # with the greeting unread
    server.until_closed()
    assert server.contained == []


def test_a_peer_that_resets_before_it_is_left(server: Server, tcp: Pair) -> None:
    ours, peer = tcp

    class Slow(EchoHandler):
        def respond(self, _message: bytes) -> None:
            self.close_after_reply()
            reset(peer)  # meanwhile

    connection = server.serve(ours, Slow)
    peer.sendall(b"hello")
    server.turn()
    assert connection.closed
    assert server.contained == []


def test_what_finish_raises_is_contained(server: Server, pair: Pair) -> None:
    class Faulty(EchoHandler):
        def finish(self) -> None:
            raise ValueError("finish")

    ours, peer = pair
    server.serve(ours, Faulty)
    peer.close()
    server.until_closed()
    assert [str(error) for error in server.contained] == ["finish"]
    assert ours.fileno() == -1


def test_a_handler_that_fails_to_greet_is_closed(server: Server, pair: Pair) -> None:
    class Faulty(EchoHandler):
        def greet(self) -> bytes:
            raise ValueError("greet")

    ours, peer = pair
    assert server.serve(ours, Faulty).closed
    assert [str(error) for error in server.contained] == ["greet"]
    assert peer.recv(1) == b""


def test_a_line_without_end_is_an_error_and_the_rest_is_discarded(
    server: Server, pair: Pair
) -> None:
    class Short(Lines):
        max_message_size = 10

    ours, peer = pair
    server.serve(ours, Short)
    peer.sendall(b"ok\n" + b"x" * 100)
    assert receive_exactly(peer, 0) == b""
    server.turn()
    assert receive_all(peer) == b"OK\n"
    assert server.cells[ERRORS] == 1
    peer.close()
    server.until_closed()


def test_a_silent_peer_is_left_in_time(server: Server, pair: Pair) -> None:
    server.idle_timeout = 0.05
    ours, peer = pair
    server.serve(ours, EchoHandler)
    server.until_closed()
    assert peer.recv(1) == b""
