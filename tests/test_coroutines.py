"""The models on an event loop: awaited answers, back-pressure, and living beside other loops."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from echoservers import EchoHandler, LengthPrefixedFraming, LineFraming
from support import (
    ASYNC_NAMES,
    DATAGRAM_NAMES,
    PATIENCE,
    STREAM_NAMES,
    connect,
    echo,
    echo_once,
    receive_all,
    receive_exactly,
    serving,
    wait_until,
)

ASYNC_STREAM = [name for name in ASYNC_NAMES if name in STREAM_NAMES]
ASYNC_DATAGRAM = [name for name in ASYNC_NAMES if name in DATAGRAM_NAMES]


class Gated(EchoHandler):
    """Answers ``wait`` only once the gate is open; the first message behind the last."""

    framing_class = LineFraming
    opened = threading.Event()

    async def respond(self, message: bytes) -> bytes:  # type: ignore[override]
        if message == b"wait":
            await asyncio.get_running_loop().run_in_executor(None, self.opened.wait, PATIENCE)
        if message == b"quit":
            self.close_after_reply()
        if message == b"fail":
            raise ValueError("on purpose")
        await asyncio.sleep(0)
        return message


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    Gated.opened.clear()
    yield Gated.opened
    Gated.opened.set()


# --- answers that are awaited -----------------------------------------------------------


@pytest.mark.parametrize("mode", ASYNC_STREAM)
def test_pipelined_messages_are_answered_in_order(mode: str, folder: Path, gate: Any) -> None:
    lines = b"".join(b"line %d\n" % number for number in range(2000))
    with serving(mode, folder, Gated) as server, connect(server) as client:
        client.sendall(b"first\nwait\n" + lines)
        assert receive_exactly(client, 6) == b"first\n"
        gate.set()
        assert receive_exactly(client, 5 + len(lines)) == b"wait\n" + lines
        client.sendall(b"one\nquit\nnever\n")
        assert receive_all(client) == b"one\nquit\n"


@pytest.mark.parametrize("mode", ASYNC_STREAM)
def test_one_slow_answer_delays_nobody_else(mode: str, folder: Path, gate: Any) -> None:
    with serving(mode, folder, Gated) as server, connect(server) as slow:
        slow.sendall(b"wait\n")
        wait_until(lambda: server.stats()["messages"] == 1, "it waits")
        for _ in range(3):
            echo_once(server, b"at once\n", timeout=5)
        gate.set()
        assert receive_exactly(slow, 5) == b"wait\n"


@pytest.mark.parametrize("mode", ASYNC_STREAM)
def test_an_error_ends_that_connection_behind_what_was_answered(mode: str, folder: Path) -> None:
    with serving(mode, folder, Gated) as server, connect(server) as other:
        with connect(server) as client:
            client.sendall(b"one\nfail\ntwo\n")
            assert receive_all(client) == b"one\n"
        wait_until(lambda: server.stats()["errors"] == 1, "it is counted")
        echo(other, b"still here\n")


class Raising(EchoHandler):
    async def respond(self, message: bytes) -> bytes:  # type: ignore[override]
        await asyncio.sleep(0)
        if message == b"bye":
            return message
        errors: dict[bytes, type[BaseException]] = {
            b"s": SystemExit,
            b"m": MemoryError,
            b"k": KeyboardInterrupt,
            b"c": asyncio.CancelledError,
        }
        raise errors[message]("on purpose")


@pytest.mark.parametrize("what", [b"s", b"m", b"k", b"c"])
@pytest.mark.parametrize("mode", ASYNC_NAMES)
def test_whatever_is_raised_ends_that_request_only(mode: str, what: bytes, folder: Path) -> None:
    with serving(mode, folder, Raising) as server, connect(server) as client:
        client.sendall(what)
        if mode in ASYNC_STREAM:
            assert receive_all(client) == b""
        wait_until(lambda: server.stats()["errors"] == 1, "the error is counted")
        echo_once(server, b"bye")


@pytest.mark.parametrize("mode", ASYNC_STREAM)
def test_a_half_closed_stream_gets_every_awaited_answer(mode: str, folder: Path) -> None:
    data = bytes(range(256)) * 16384
    with serving(mode, folder, Awaited) as server, connect(server) as client:

        def send() -> None:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        assert receive_all(client) == data
        sender.join()


class Awaited(EchoHandler):
    async def respond(self, message: bytes) -> bytes:  # type: ignore[override]
        await asyncio.sleep(0)
        return message


class GreetingAndFramed(EchoHandler):
    framing_class = LengthPrefixedFraming

    def greet(self) -> bytes:
        return b"hi"

    async def respond(self, message: bytes) -> bytes | None:  # type: ignore[override]
        return None if message == b"quiet" else message[::-1]


@pytest.mark.parametrize("mode", ASYNC_STREAM)
def test_greeting_framing_and_no_reply_are_as_elsewhere(mode: str, folder: Path) -> None:
    with serving(mode, folder, GreetingAndFramed, max_message_size=100) as server:
        with connect(server) as client:
            assert receive_exactly(client, 6) == b"\0\0\0\2hi"
            client.sendall(b"\0\0\0\5quiet\0\0\0\3abc\0\0\0\xff")
            assert receive_all(client) == b"\0\0\0\3cba"  # and then a message that is too long
        assert server.stats()["errors"] == 1


@pytest.mark.parametrize("mode", ASYNC_STREAM)
def test_the_time_limit_is_for_the_peer_not_for_the_answer(
    mode: str, folder: Path, gate: Any
) -> None:
    with serving(mode, folder, Gated, idle_timeout=0.2) as server, connect(server) as client:
        client.sendall(b"wait\n")
        client.settimeout(0.6)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(PATIENCE)
        gate.set()
        assert receive_all(client) == b"wait\n"  # and then it is the peer's turn


@pytest.mark.parametrize("mode", ASYNC_STREAM)
def test_a_peer_that_goes_cancels_what_is_awaited_for_it(mode: str, folder: Path) -> None:
    Forever.cancelled.clear()
    with serving(mode, folder, Forever) as server:
        with connect(server) as client:
            client.sendall(b"?")
            wait_until(lambda: server.stats()["messages"] == 1, "it is asked")
            assert tuple(server.drain(0.1)) == (0, 1)
        assert Forever.cancelled.wait(PATIENCE)
        assert server.stats()["errors"] == 0


class Forever(EchoHandler):
    cancelled = threading.Event()

    async def respond(self, message: bytes) -> bytes:  # type: ignore[override]
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return message


# --- datagrams --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ASYNC_DATAGRAM)
def test_a_slow_answer_to_one_datagram_delays_no_other(mode: str, folder: Path, gate: Any) -> None:
    with serving(mode, folder, Gated) as server, connect(server) as slow, connect(server) as other:
        slow.send(b"wait")
        wait_until(lambda: server.stats()["active"] == 1, "it waits")
        echo(other, b"at once")
        gate.set()
        assert slow.recv(100) == b"wait"
        wait_until(lambda: server.stats()["closed"] == 2, "both are over")
        assert server.stats()["messages"] == 2


@pytest.mark.parametrize("mode", ASYNC_DATAGRAM)
def test_awaited_datagrams_stay_under_the_cap_and_are_cut_at_the_end(
    mode: str, folder: Path
) -> None:
    with serving(mode, folder, Forever, max_connections=3) as server, connect(server) as client:
        for _ in range(6):
            client.send(b"?")
        wait_until(lambda: server.stats()["active"] == 3, "three wait")
        assert server.drain(0.1).aborted >= 3
