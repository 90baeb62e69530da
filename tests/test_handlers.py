"""Handlers: what they are given, what goes back, and how a connection ends well."""

import contextlib
import random
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest

import echoservers
from echoservers import (
    DiscardHandler,
    EchoHandler,
    LengthPrefixedFraming,
    LineFraming,
    RawFraming,
    TimestampHandler,
    UpperHandler,
)
from plain import DATAGRAM_CLASSES, STREAM_CLASSES, client_of, exchange, running
from support import (
    receive_all,
    receive_exactly,
    wait_until,
)

EVERY_BYTE = bytes(range(256))
FRAMINGS = [RawFraming, LineFraming, LengthPrefixedFraming]
BOTH = [*STREAM_CLASSES, *DATAGRAM_CLASSES]


# --- the ready-made handlers ------------------------------------------------------------


@pytest.mark.parametrize("server_class", BOTH)
@pytest.mark.parametrize(
    "message",
    [EVERY_BYTE, b"\0", b"\xc3\x28\xff\xfe", b"a\r\nb\nc", "grüße".encode("utf-16"), b"x" * 8000],
)
def test_echo_gives_back_every_byte(server_class: type, message: bytes) -> None:
    with running(server_class, EchoHandler) as server:
        assert exchange(server, message) == message


@pytest.mark.parametrize("server_class", BOTH)
def test_upper_changes_a_to_z_and_nothing_else(server_class: type) -> None:
    capitals = bytes(b - 32 if ord("a") <= b <= ord("z") else b for b in EVERY_BYTE)
    with running(server_class, UpperHandler) as server:
        assert exchange(server, EVERY_BYTE) == capitals


@pytest.mark.parametrize("server_class", STREAM_CLASSES)
def test_discard_takes_everything_and_answers_nothing(server_class: type) -> None:
    with running(server_class, DiscardHandler) as server:
        assert exchange(server, random.Random(1).randbytes(4 * 1024 * 1024)) == b""


def test_discard_answers_no_datagram() -> None:
    with running(echoservers.UDPServer, DiscardHandler) as server, client_of(server) as client:
        client.send(EVERY_BYTE)
        wait_until(lambda: server.stats()["closed"] == 1, "the datagram is handled")
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(100)
        stats = server.stats()
        assert (stats["messages"], stats["bytes_in"], stats["bytes_out"]) == (1, 256, 0)


@pytest.mark.parametrize("server_class", BOTH)
def test_timestamp_has_the_form_of_the_tutorial_and_the_time_of_now(server_class: type) -> None:
    form = re.compile(
        rb"\[((?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ 123]\d \d\d:\d\d:\d\d \d{4})\] (.*)",
        re.DOTALL,
    )
    with running(server_class, TimestampHandler) as server:
        before = int(time.time()) - 1  # ctime() reads a clock that ticks some milliseconds later
        found = form.fullmatch(exchange(server, EVERY_BYTE))
        after = time.time()
    assert found is not None
    assert found[2] == EVERY_BYTE
    assert before <= time.mktime(time.strptime(found[1].decode())) <= after


def test_the_tutorials_own_example_is_of_that_form(monkeypatch: pytest.MonkeyPatch) -> None:
    then = time.strptime("Sat Dec  2 15:17:57 2017")
    monkeypatch.setattr(time, "ctime", lambda: time.asctime(then))
    assert TimestampHandler.respond(None, b"message") == (  # type: ignore[arg-type]
        b"[Sat Dec  2 15:17:57 2017] message"
    )


def test_a_stamped_line_keeps_its_end() -> None:
    class Stamped(TimestampHandler):
        framing_class = LineFraming

    with running(echoservers.TCPServer, Stamped) as server:
        assert re.fullmatch(
            rb"\[[^]]{24}\] one\r\n\[[^]]{24}\] two\n", exchange(server, b"one\r\ntwo\n")
        )


# --- what respond() is given and may return ---------------------------------------------


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("server_class", BOTH)
def test_a_message_is_plain_bytes(server_class: type, framing: type) -> None:
    seen: list[type] = []

    class Seeing(EchoHandler):
        framing_class = framing

        def respond(self, message: bytes) -> bytes:
            seen.append(type(message))
            return message

    with running(server_class, Seeing) as server:
        message = b"\0\0\0\5hello" if framing is LengthPrefixedFraming else b"hello\n"
        assert exchange(server, message) == message
    assert set(seen) == {bytes}


@pytest.mark.parametrize("server_class", STREAM_CLASSES)
def test_none_is_no_reply_and_an_empty_reply_is_one(server_class: type) -> None:
    class Choosy(EchoHandler):
        framing_class = LineFraming

        def respond(self, message: bytes) -> bytes | None:
            return {b"none": None, b"empty": b""}.get(message, message)

    with running(server_class, Choosy) as server:
        assert exchange(server, b"a\nnone\nempty\nb\r\nnone") == b"a\n\nb\r\n"


@pytest.mark.parametrize("server_class", STREAM_CLASSES)
def test_a_handler_object_serves_one_connection_and_knows_it(server_class: type) -> None:
    class Counting(EchoHandler):
        framing_class = LineFraming
        count = 0

        def respond(self, message: bytes) -> bytes:
            self.count += 1
            host, port = self.client_address
            return b"%d %s %d %d" % (
                *(self.count, host.encode(), port),
                self.request.getsockname() == self.server.server_address,
            )

    with running(server_class, Counting) as server:
        for _ in range(2):
            with client_of(server) as client:
                host, port = client.getsockname()
                client.sendall(b"a\nb\n")
                client.shutdown(socket.SHUT_WR)
                expected = [b"%d %s %d 1" % (n, host.encode(), port) for n in (1, 2)]
                assert receive_all(client).splitlines() == expected


@pytest.mark.parametrize("server_class", STREAM_CLASSES)
def test_replies_of_many_pipelined_messages_are_whole_and_in_order(server_class: type) -> None:
    class Long(EchoHandler):
        framing_class = LineFraming

        def respond(self, message: bytes) -> bytes:
            return message * 1000

    lines = [b"%d" % number for number in range(3000)]
    with running(server_class, Long) as server, client_of(server) as client:
        sender = threading.Thread(target=client.sendall, args=(b"\n".join(lines) + b"\n",))
        sender.start()
        expected = b"".join(line * 1000 + b"\n" for line in lines)
        assert receive_exactly(client, len(expected)) == expected
        sender.join()


# --- greet() ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framing", "wire"),
    [
        (RawFraming, b"hi"),
        (LineFraming, b"hi\n"),
        (LengthPrefixedFraming, b"\0\0\0\2hi"),
    ],
)
@pytest.mark.parametrize("server_class", STREAM_CLASSES)
def test_a_greeting_comes_before_anything_is_asked(
    server_class: type, framing: type, wire: bytes
) -> None:
    class Greeting(EchoHandler):
        framing_class = framing

        def greet(self) -> bytes:
            return b"hi"

    with running(server_class, Greeting) as server, client_of(server) as client:
        assert receive_exactly(client, len(wire)) == wire
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""


@pytest.mark.parametrize("server_class", DATAGRAM_CLASSES)
def test_a_datagram_is_not_greeted(server_class: type) -> None:
    class Greeting(EchoHandler):
        def greet(self) -> bytes:
            return b"hi"

    with running(server_class, Greeting) as server, client_of(server) as client:
        for message in (b"one", b"two"):
            client.send(message)
            assert client.recv(100) == message


@pytest.mark.parametrize("server_class", STREAM_CLASSES)
def test_a_greeting_may_be_all_there_is(server_class: type) -> None:
    class Daytime(EchoHandler):  # as RFC 867 has it
        def greet(self) -> bytes:
            self.close_after_reply()
            return b"now\r\n"

    with running(server_class, Daytime) as server, client_of(server) as client:
        assert receive_all(client) == b"now\r\n"


# --- close_after_reply() ----------------------------------------------------------------

REPLY = random.Random(2).randbytes(1024 * 1024)


@contextlib.contextmanager
def sending(client: socket.socket, data: bytes) -> Iterator[None]:
    """Send *data* meanwhile; the server may have closed before it is all gone."""

    def send() -> None:
        with contextlib.suppress(ConnectionError):
            client.sendall(data)

    sender = threading.Thread(target=send)
    sender.start()
    yield
    client.close()
    sender.join()


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("behind", [0, 1, 100_000, 1024 * 1024])
@pytest.mark.parametrize("server_class", STREAM_CLASSES)
def test_a_last_reply_arrives_whole_though_more_input_is_behind(
    server_class: type, behind: int, framing: type
) -> None:
    class Closing(EchoHandler):
        framing_class = framing

        def respond(self, message: bytes) -> bytes:
            self.close_after_reply()
            return REPLY

    asked, wire = {
        RawFraming: (b"quit", REPLY),
        LineFraming: (b"quit\n", REPLY + b"\n"),
        LengthPrefixedFraming: (b"\0\0\0\4quit", len(REPLY).to_bytes(4, "big") + REPLY),
    }[framing]
    with running(server_class, Closing) as server, client_of(server) as client:
        with sending(client, asked + b"x" * behind):
            assert receive_all(client) == wire  # and no reset, which would raise
        wait_until(lambda: exchange(server, asked) == wire, "the next client is served")


@pytest.mark.parametrize("server_class", STREAM_CLASSES)
def test_only_the_current_message_is_answered_before_the_end(server_class: type) -> None:
    class Closing(EchoHandler):
        framing_class = LineFraming

        def respond(self, message: bytes) -> bytes | None:
            if message == b"quit":
                self.close_after_reply()
                return None
            return message

    with running(server_class, Closing) as server, client_of(server) as client:
        client.sendall(b"a\nb\nquit\nc\nd\n")
        assert receive_all(client) == b"a\nb\n"


@pytest.mark.parametrize("server_class", DATAGRAM_CLASSES)
def test_a_datagram_handler_that_closes_is_answered_as_ever(server_class: type) -> None:
    class Closing(EchoHandler):
        def respond(self, message: bytes) -> bytes:
            self.close_after_reply()
            return message

    with running(server_class, Closing) as server, client_of(server) as client:
        for message in (b"one", b"two"):
            client.send(message)
            assert client.recv(100) == message
