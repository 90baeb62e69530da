"""Connections on an asyncio event loop, step by step, over a transport that the test plays.

The transports of asyncio, uvloop and others differ in when they say that there is no room,
whether one more read follows `pause_reading`, and in which order the ends come.  Here the
test does all of it.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from echoservers import EchoHandler, LineFraming
from echoservers.counters import BYTES_OUT, ERRORS, MESSAGES
from echoservers.framed_protocols import AsyncConnection, FramedConnection
from echoservers.protocols import Connection
from echoservers.raw_protocols import ChattyPeer, EchoConnection, EchoingPeer, RawConnection
from played_transport import Owner, Transport, bring, connect
from support import PATIENCE


@pytest.fixture
def owner() -> Iterator[Owner]:
    made = Owner()
    yield made
    for task in asyncio.all_tasks(made.events):
        task.cancel()
    made.turn()
    made.events.close()
    made.ours.close()
    made.theirs.close()


class Lines(EchoHandler):
    framing_class = LineFraming
    max_message_size = 20

    def respond(self, message: bytes) -> bytes | None:
        if message == b"bye":
            self.close_after_reply()
        if message == b"fail":
            raise ValueError("fail")
        return message.upper()


class Awaited(Lines):
    async def respond(self, message: bytes) -> bytes | None:  # type: ignore[override]
        if message == b"wait":
            await asyncio.Event().wait()
        if message == b"cancel":
            raise asyncio.CancelledError
        return Lines.respond(self, message)


FRAMED = pytest.mark.parametrize(
    ("kind", "handler"), [(FramedConnection, Lines), (AsyncConnection, Awaited)]
)


# --- framed -----------------------------------------------------------------------------


@FRAMED
def test_messages_wait_for_room(owner: Owner, kind: type[Connection], handler: Any) -> None:
    transport = connect(owner.make(kind, handler))
    owner.turn()
    transport.has_room = False
    bring(transport, b"one\n")
    owner.turn()
    assert not transport.reading
    bring(transport, b"two\nthree\n")  # one more than was asked for
    owner.turn()
    assert transport.written == b"ONE\n"
    assert not transport.reading
    transport.there_is_room()
    owner.turn()
    assert transport.written == b"ONE\nTWO\nTHREE\n"
    assert transport.reading


@FRAMED
@pytest.mark.parametrize("wrong", [b"x" * 100, b"ok\n" + b"x" * 100])
def test_a_broken_framing_ends_it_behind_what_was_answered(
    owner: Owner, kind: type[Connection], handler: Any, wrong: bytes
) -> None:
    transport = connect(owner.make(kind, handler))
    owner.turn()
    bring(transport, wrong)
    owner.turn()
    assert transport.written in (b"", b"OK\n")
    assert transport.done == ["eof"]
    assert (owner.cells[ERRORS], owner.failures) == (1, [])
    bring(transport, b"more\n")  # which nobody answers any more
    transport.protocol.eof_received()
    owner.turn()
    assert "close" in transport.done
    assert transport.written in (b"", b"OK\n")


@FRAMED
def test_a_handler_that_fails_ends_it(owner: Owner, kind: type[Connection], handler: Any) -> None:
    transport = connect(owner.make(kind, handler))
    owner.turn()
    bring(transport, b"one\nfail\ntwo\n")
    owner.turn()
    assert transport.written == b"ONE\n"
    assert owner.failures == ["ValueError('fail')"]
    assert transport.done == ["close"]
    transport.protocol.connection_lost(None)
    owner.turn()
    assert owner.over == 1


@FRAMED
def test_a_handler_may_end_it(owner: Owner, kind: type[Connection], handler: Any) -> None:
    transport = connect(owner.make(kind, handler))
    owner.turn()
    bring(transport, b"bye\nand more\n")
    owner.turn()
    assert (bytes(transport.written), transport.done) == (b"BYE\n", ["eof"])
    transport.protocol.eof_received()
    owner.turn()
    assert transport.done == ["eof", "close"]


@FRAMED
def test_the_last_line_needs_no_end(owner: Owner, kind: type[Connection], handler: Any) -> None:
    transport = connect(owner.make(kind, handler))
    owner.turn()
    bring(transport, b"one\ntwo")
    assert transport.protocol.eof_received()  # it is we who close
    owner.turn()
    assert transport.written == b"ONE\nTWO"
    assert transport.done == ["close"]


@FRAMED
def test_a_greeting_comes_first(owner: Owner, kind: type[Connection], handler: Any) -> None:
    class Greeting(handler):  # type: ignore[misc]
        def greet(self) -> bytes:
            return b"welcome"

    connection = owner.make(kind, Greeting)
    transport = Transport()
    transport.protocol, transport.has_room = connection, False
    connection.connection_made(transport)
    owner.turn()
    assert transport.written == b"welcome\n"
    transport.there_is_room()
    owner.turn()
    bring(transport, b"one\n")
    owner.turn()
    assert transport.written == b"welcome\nONE\n"


def test_an_answer_that_is_cancelled_by_itself_is_a_fault(owner: Owner) -> None:
    transport = connect(owner.make(AsyncConnection, Awaited))
    owner.turn()
    bring(transport, b"cancel\n")
    owner.turn()
    assert owner.failures == ["CancelledError()"]
    assert transport.done == ["close"]


def test_an_answer_is_cancelled_when_its_peer_has_gone(owner: Owner) -> None:
    transport = connect(owner.make(AsyncConnection, Awaited))
    owner.turn()
    bring(transport, b"wait\n")
    bring(transport, b"one\n")  # one piece is read ahead, and no more
    owner.turn()
    assert not transport.reading
    transport.protocol.connection_lost(ConnectionResetError(104, "Connection reset by peer"))
    assert owner.over == 0
    owner.turn()
    assert (owner.over, owner.failures) == (1, [])


# --- without framing --------------------------------------------------------------------


class Talker(EchoHandler):
    """Answers with whatever kind of bytes is asked for."""

    def respond(self, message: bytes) -> Any:
        if message == b"bye":
            self.close_after_reply()
        if message == b"fail":
            raise ValueError("fail")
        if message == b"nothing":
            return None
        if message == b"array":
            return bytearray(b"ARRAY")
        return message.upper()


def chatty(connection: Any) -> ChattyPeer:
    return ChattyPeer(connection)


def itself(connection: Any) -> Any:
    return connection


RAW = pytest.mark.parametrize("peer", [itself, chatty])
MakePeer = Callable[[Any], Any]


@RAW
def test_every_kind_of_answer(owner: Owner, peer: MakePeer) -> None:
    transport = connect(peer(owner.make(RawConnection, Talker)))
    for message in (b"one", b"nothing", b"array"):
        bring(transport, message)
    assert transport.written == b"ONEARRAY"
    assert owner.cells[MESSAGES] == 3
    assert owner.cells[BYTES_OUT] == 8


@RAW
def test_a_raw_handler_that_fails_ends_it(owner: Owner, peer: MakePeer) -> None:
    transport = connect(peer(owner.make(RawConnection, Talker)))
    bring(transport, b"one")
    bring(transport, b"fail")
    bring(transport, b"two")
    assert transport.written == b"ONE"
    assert owner.failures == ["ValueError('fail')"]
    assert transport.done[0] == "close"


@RAW
def test_a_raw_handler_may_end_it(owner: Owner, peer: MakePeer) -> None:
    transport = connect(peer(owner.make(RawConnection, Talker)))
    bring(transport, b"bye")
    bring(transport, b"and more")
    assert (bytes(transport.written), transport.done) == (b"BYE", ["eof"])
    transport.protocol.eof_received()
    assert transport.done == ["eof", "close"]


def test_pieces_wait_for_room(owner: Owner) -> None:
    transport = connect(owner.make(RawConnection, Talker))
    transport.has_room = False
    bring(transport, b"one")
    bring(transport, b"two")  # one more than was asked for
    assert (bytes(transport.written), transport.reading) == (b"ONE", False)
    transport.protocol.eof_received()
    assert transport.done == []
    transport.there_is_room()
    assert transport.written == b"ONETWO"
    assert transport.done == ["close"]


def test_a_long_read_is_cut_into_messages(owner: Owner) -> None:
    transport = connect(chatty(owner.make(RawConnection, Talker)))
    bring(transport, b"a" * 3000)
    assert transport.written == b"A" * 3000
    assert owner.cells[MESSAGES] == 3  # of 1,024 bytes at most
    assert isinstance(transport.protocol, RawConnection)


def test_an_echoing_peer_hands_over_for_what_is_long(owner: Owner) -> None:
    transport = connect(EchoingPeer(owner.make(RawConnection, EchoHandler)))
    bring(transport, b"short")
    bring(transport, b"a" * 2000)
    assert transport.written == b"short" + b"a" * 2000
    assert isinstance(transport.protocol, RawConnection)


def test_a_chatty_peer_whose_greeting_finds_no_room_hands_over(owner: Owner) -> None:
    class Greeting(Talker):
        def greet(self) -> bytes:
            return b"welcome"

    connection = owner.make(RawConnection, Greeting)
    transport = Transport()
    transport.protocol, transport.has_room = connection, False
    ChattyPeer(connection).connection_made(transport)
    assert transport.protocol is connection
    transport.there_is_room()
    bring(transport, b"one")
    assert transport.written == b"welcomeONE"


def test_a_greeting_that_fails_ends_it(owner: Owner) -> None:
    class Faulty(Talker):
        def greet(self) -> bytes:
            raise ValueError("greet")

    transport = connect(owner.make(RawConnection, Faulty))
    assert (owner.failures, transport.done) == (["ValueError('greet')"], ["close"])


def test_messages_are_shown_where_that_is_wanted(
    owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    owner.logs_connections = True
    transport = connect(owner.make(RawConnection, Talker))
    with caplog.at_level(logging.DEBUG, "echoservers"):
        bring(transport, b"one\n")
    assert "[from test:1] one" in caplog.text


def test_an_echo_goes_past_the_transport_as_far_as_there_is_room(owner: Owner) -> None:
    owner.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    transport = connect(owner.make(EchoConnection, EchoHandler))
    bring(transport, b"hello")
    assert owner.theirs.recv(100) == b"hello"
    for _ in range(1000):
        bring(transport, b"x" * 1000)
        if transport.written:
            break
    assert len(transport.written) % 1000 == 0  # a Unix socket takes such a piece, or does not
    transport.protocol.pause_writing()
    bring(transport, b"later")
    assert not transport.written.endswith(b"later")
    transport.protocol.resume_writing()
    assert transport.written.endswith(b"later")


def test_an_echo_to_a_peer_that_has_gone_ends_it(owner: Owner) -> None:
    transport = connect(owner.make(EchoConnection, EchoHandler))
    owner.theirs.close()
    bring(transport, b"hello")
    assert transport.done == ["abort"]
    assert owner.cells[BYTES_OUT] == 0


# --- time and the end -------------------------------------------------------------------


@pytest.mark.parametrize(("unsent", "how"), [(0, "close"), (10, "abort")])
def test_who_does_nothing_is_left_in_time(owner: Owner, unsent: int, how: str) -> None:
    owner.idle_timeout = 0.02
    connection = owner.make(RawConnection, Talker)
    transport = Transport()
    transport.unsent = unsent
    connection.connection_made(transport)
    deadline = time.monotonic() + PATIENCE
    while not transport.done and time.monotonic() < deadline:
        owner.events.run_until_complete(asyncio.sleep(0.005))
    assert transport.done == [how]
    connection._look()  # a look more would say the same


def test_a_connection_that_was_never_opened_is_over(owner: Owner) -> None:
    owner.make(RawConnection, Talker).not_opened(OSError(9, "Bad file descriptor"))
    assert owner.over == 1


def test_input_that_we_have_ended_is_thrown_away_before_the_close(owner: Owner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname(), PATIENCE)
        ours, _ = listener.accept()
    with ours, theirs:
        ours.setblocking(False)
        owner.ours.close()
        owner.ours = ours
        connection = owner.make(RawConnection, Talker)
        connection.record.input_ended = True
        transport = connect(connection)
        theirs.sendall(b"late")
        transport.protocol.eof_received()
        deadline = time.monotonic() + PATIENCE
        while not transport.done and time.monotonic() < deadline:
            owner.events.run_until_complete(asyncio.sleep(0.005))
        assert transport.done == ["close"]
        with pytest.raises(BlockingIOError):
            ours.recv(1)
