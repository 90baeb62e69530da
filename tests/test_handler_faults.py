"""Handlers and what goes wrong: errors, limits, timeouts, and what the log says of it."""

import errno
import logging
import os
import select
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import echoservers
from echoservers import (
    EchoHandler,
    FramingError,
    LengthPrefixedFraming,
    LineFraming,
    RawFraming,
)
from plain import DATAGRAM_CLASSES, STREAM_CLASSES, client_of, running
from support import DATAGRAM_NAMES, PATIENCE, connect, receive_all, serving, wait_until

BOTH = [*STREAM_CLASSES, *DATAGRAM_CLASSES]


def stream_then_end(server: Any, data: bytes) -> bytes:
    """What comes back for *data* until the server ends the connection."""
    with client_of(server) as client:
        client.sendall(data)
        return receive_all(client)


# --- errors of a handler ----------------------------------------------------------------


class Lines(EchoHandler):
    framing_class = LineFraming
    reply: Any = None

    def respond(self, message: bytes) -> Any:
        return self.reply if message == b"wrong" else message


@pytest.mark.parametrize("framing", [RawFraming, LineFraming, LengthPrefixedFraming])
@pytest.mark.parametrize("reply", ["text", 7, 0, "", ["a"], [], object(), 1.5, False])
@pytest.mark.parametrize("server_class", STREAM_CLASSES)
def test_a_reply_that_is_no_bytes_ends_that_connection_only(
    server_class: type, reply: object, framing: type
) -> None:
    class Wrong(EchoHandler):
        framing_class = framing

        def respond(self, message: bytes) -> Any:
            return reply if message.startswith(b"wrong") else message

    prefix = b"\0\0\0\5" if framing is LengthPrefixedFraming else b""
    with running(server_class, Wrong) as server:
        assert stream_then_end(server, prefix + b"wrong\n") == b""
        assert [type(error) for error in server.errors] == [TypeError]
        with client_of(server) as client:
            client.sendall(prefix + b"right\n")
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client).startswith(prefix + b"right")


@pytest.mark.parametrize("server_class", STREAM_CLASSES)
def test_what_was_answered_before_a_wrong_reply_arrives(server_class: type) -> None:
    class Wrong(Lines):
        reply = "text"

    with running(server_class, Wrong) as server:
        assert stream_then_end(server, b"one\ntwo\nwrong\nthree\n") == b"one\ntwo\n"


@pytest.mark.parametrize("reply", ["text", 7, [], object()])
@pytest.mark.parametrize("server_class", DATAGRAM_CLASSES)
def test_a_datagram_reply_that_is_no_bytes_is_an_error_of_that_datagram_only(
    server_class: type, reply: object
) -> None:
    class Wrong(EchoHandler):
        def respond(self, message: bytes) -> Any:
            return reply if message == b"wrong" else message

    with running(server_class, Wrong) as server, client_of(server) as client:
        client.send(b"wrong")
        client.send(b"right")
        assert client.recv(100) == b"right"
        assert [type(error) for error in server.errors] == [TypeError]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("v"),
        KeyError("k"),
        OSError(errno.ENOSPC, "disk full"),
        TimeoutError("the database does not answer"),
        ConnectionRefusedError(errno.ECONNREFUSED, "the database is not there"),
        ConnectionResetError("the database has gone"),
        BlockingIOError(errno.EAGAIN, "a pipe of the handler's own"),
        FramingError("of a stream that the handler reads"),
        SystemExit(3),
        GeneratorExit(),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("server_class", BOTH)
def test_whatever_a_handler_raises_goes_to_handle_error(
    server_class: type, error: BaseException
) -> None:
    class Raising(EchoHandler):
        def respond(self, message: bytes) -> bytes:
            if message == b"raise":
                raise error
            return message

    with running(server_class, Raising) as server:
        with client_of(server) as client:
            client.sendall(b"raise")
            if client.type == socket.SOCK_STREAM:
                assert receive_all(client) == b""
        with client_of(server) as client:
            client.sendall(b"next")
            assert client.recv(100) == b"next"
        assert server.errors == [error]
        if isinstance(server, echoservers.ServingMixIn):
            assert server.stats()["errors"] == 1


@pytest.mark.parametrize("server_class", STREAM_CLASSES)
def test_a_greeting_that_fails_goes_to_handle_error(server_class: type) -> None:
    class Failing(EchoHandler):
        def greet(self) -> bytes:
            raise ValueError("no greeting")

    with running(server_class, Failing) as server:
        assert stream_then_end(server, b"") == b""
        assert [str(error) for error in server.errors] == ["no greeting"]


def test_a_failure_of_a_handler_is_one_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(EchoHandler):
        def respond(self, message: bytes) -> bytes:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "the database is not there")

    with running(echoservers.TCPServer, Failing) as server:
        assert stream_then_end(server, b"hello") == b""
    failures = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(failures) == 1
    assert "the database is not there" in failures[0]


# --- errors of a peer -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framing", "sent", "answered"),
    [
        (LineFraming, b"one\ntwo\r\n" + b"x" * 100 + b"\nthree\n", b"one\ntwo\r\n"),
        (LineFraming, b"one\n" + b"x" * 100_000, b"one\n"),
        (
            LengthPrefixedFraming,
            b"\0\0\0\3one\0\0\0\x11" + b"x" * 17 + b"\0\0\0\3two",
            b"\0\0\0\3one",
        ),
        (LengthPrefixedFraming, b"\0\0\0\3one\xff\xff\xff\xff", b"\0\0\0\3one"),
    ],
)
@pytest.mark.parametrize("server_class", STREAM_CLASSES)
def test_a_broken_framing_ends_the_connection_behind_the_answers(
    server_class: type,
    framing: type,
    sent: bytes,
    answered: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Small(EchoHandler):
        framing_class = framing
        max_message_size = 16

    with running(server_class, Small) as server:
        assert stream_then_end(server, sent) == answered
        wait_until(lambda: stream_then_end(server, sent) == answered, "the next is served")
        assert server.errors == []  # a fault of the peer, not of the handler
        if isinstance(server, echoservers.ServingMixIn):
            assert server.stats()["errors"] == 2
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("server_class", STREAM_CLASSES)
def test_a_stream_that_ends_inside_a_message_ends_without_an_answer(server_class: type) -> None:
    class Prefixed(EchoHandler):
        framing_class = LengthPrefixedFraming

    with running(server_class, Prefixed) as server, client_of(server) as client:
        client.sendall(b"\0\0\0\1a\0\0\0\5he")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b"\0\0\0\1a"
        assert server.errors == []


# --- limits -----------------------------------------------------------------------------


class SmallLines(Lines):
    max_message_size = 16


@pytest.mark.parametrize(
    ("options", "limit"),
    [({}, 16), ({"max_message_size": 8}, 8), ({"max_message_size": 100_000}, 100_000)],
)
def test_the_servers_limit_goes_before_the_handlers(options: dict[str, int], limit: int) -> None:
    with running(echoservers.TCPServer, SmallLines, **options) as server:
        longest = b"x" * limit + b"\n"
        assert stream_then_end(server, longest + b"x" + longest) == longest


@pytest.mark.parametrize("server_class", STREAM_CLASSES)
def test_a_raw_message_is_never_longer_than_the_limit(server_class: type) -> None:
    sizes: list[int] = []

    class Small(EchoHandler):
        max_message_size = 16

        def respond(self, message: bytes) -> bytes:
            sizes.append(len(message))
            return message

    with running(server_class, Small) as server, client_of(server) as client:
        client.sendall(b"x" * 1000)
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b"x" * 1000
    assert max(sizes) == 16
    assert sum(sizes) == 1000


class Small(EchoHandler):
    max_message_size = 16


@pytest.mark.parametrize("mode", DATAGRAM_NAMES)
@pytest.mark.parametrize(
    ("options", "limit"),
    [({}, 16), ({"max_message_size": 8}, 8), ({"max_message_size": 4000}, 4000)],
)
def test_a_datagram_over_the_limit_is_dropped_and_counted(
    mode: str, options: dict[str, int], limit: int, folder: Path
) -> None:
    with serving(mode, folder, Small, **options) as server, connect(server) as client:
        client.send(b"x" * (limit + 1))
        client.send(b"x" * limit)
        assert client.recv(65536) == b"x" * limit
        wait_until(lambda: server.stats()["dropped"]["too_long"] == 1, "the drop is counted")


# --- time -------------------------------------------------------------------------------


class Impatient(EchoHandler):
    timeout = 0.2


@pytest.mark.parametrize("server_class", STREAM_CLASSES)
def test_a_silent_connection_is_closed_after_the_handlers_timeout(server_class: type) -> None:
    with running(server_class, Impatient) as server, client_of(server) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        began = time.monotonic()
        assert client.recv(100) == b""
        assert 0.1 < time.monotonic() - began < PATIENCE
        assert server.errors == []


@pytest.mark.parametrize(
    ("timeout", "options", "closed"),
    [
        (None, {"idle_timeout": 0.2}, True),
        (0.2, {"idle_timeout": 300}, True),
        (0.2, {"idle_timeout": None}, True),
        (300, {"idle_timeout": 0.2}, False),
        (None, {"idle_timeout": None}, False),
    ],
)
def test_the_handlers_timeout_goes_before_the_servers(
    timeout: float | None, options: dict[str, Any], closed: bool
) -> None:
    class Timed(EchoHandler):
        pass

    Timed.timeout = timeout
    with (
        running(echoservers.TCPServer, Timed, drain_timeout=1, **options) as server,
        client_of(server) as client,
    ):
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        waiting = select.poll()
        waiting.register(client, select.POLLIN)
        if closed:
            assert waiting.poll(PATIENCE * 1000)
            assert client.recv(100) == b""
        else:
            assert waiting.poll(500) == []
            client.sendall(b"still there")
            assert client.recv(100) == b"still there"


def test_a_connection_from_before_the_loop_began_has_the_timeout_too() -> None:
    with (
        echoservers.TCPServer(("127.0.0.1", 0), EchoHandler, idle_timeout=0.2) as server,
        client_of(server) as client,  # the system accepts for a server that listens
    ):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            client.settimeout(5)
            assert client.recv(100) == b""
        finally:
            server.shutdown()
            thread.join()


# --- what the log says ------------------------------------------------------------------


def test_a_conversation_is_logged_only_when_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "echoservers")
    with running(echoservers.TCPServer, EchoHandler) as server, client_of(server) as client:
        client.sendall(b"secret")
        assert client.recv(100) == b"secret"
    assert "secret" not in caplog.text
    assert caplog.records == []


def test_a_conversation_is_logged_in_the_tutorials_words(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "echoservers")
    with running(echoservers.TCPServer, EchoHandler) as server, client_of(server) as client:
        peer = "{}:{}".format(*client.getsockname())
        client.sendall(b"hello\r\n")
        assert client.recv(100) == b"hello\r\n"
    messages = [record.getMessage() for record in caplog.records]
    assert messages[:2] == [f"connected from {peer}", f"[from {peer}] hello"]


@pytest.mark.parametrize("mode", ["unix-datagram", "threading-unix-datagram"])
def test_a_peer_cannot_forge_a_line_of_the_log(
    mode: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "echoservers")
    name = "forged\n\x1b[2J\x9b\u2028[from 10.0.0.1:1] pay"
    before = os.getcwd()
    os.chdir(folder)  # for a name that is the peer's own whole path
    try:
        with serving(mode, folder) as server, connect(server) as client:
            client.close()
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as forger:
                forger.settimeout(PATIENCE)
                forger.bind(name)
                forger.sendto(b"a\nb\x1b[31m\xff\x9b", server.server_address)
                assert forger.recv(100) == b"a\nb\x1b[31m\xff\x9b"
    finally:
        os.chdir(before)
    shown = [record.getMessage() for record in caplog.records if "forged" in record.getMessage()]
    assert shown
    assert all(line.isprintable() for line in shown), shown
    assert any(r"a\nb\x1b[31m\xff\x9b" in line for line in shown)
