"""The models on an event loop: awaited answers, back-pressure, and living beside other loops."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import echoservers
from echoservers import EchoHandler, LengthPrefixedFraming, LineFraming, create_server
from support import (
    ASYNC_NAMES,
    DATAGRAM_NAMES,
    PATIENCE,
    STREAM_NAMES,
    Program,
    connect,
    echo,
    echo_once,
    free_address,
    program,
    receive_all,
    receive_exactly,
    serve_arguments,
    serving,
    threads_of,
    wait_until,
)

ASYNC_STREAM = [name for name in ASYNC_NAMES if name in STREAM_NAMES]
ASYNC_DATAGRAM = [name for name in ASYNC_NAMES if name in DATAGRAM_NAMES]
ASYNC_TCP = ["asyncio-tcp", "uvloop-tcp"]
HERE = {"PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{Path(__file__).parent.parent}"}


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


# --- back-pressure ----------------------------------------------------------------------


def memory_of(pid: int) -> int:
    """Bytes of private memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def send_until_stuck(client: socket.socket) -> int:
    """Send without reading until nothing is taken any more."""
    client.settimeout(0.3)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 100 << 20:
            sent += client.send(bytes(65536))
    return sent


@pytest.mark.parametrize("handler", ["echo", "test_coroutines:Awaited"])
@pytest.mark.parametrize("mode", ASYNC_STREAM)
def test_a_peer_that_never_reads_holds_little_memory(mode: str, handler: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder), "--handler", handler, env=HERE) as server:
        with contextlib.ExitStack() as clients:
            first = clients.enter_context(server.connect())
            send_until_stuck(first)  # the allocator warms up
            before = memory_of(server.pid)
            for _ in range(8):
                assert send_until_stuck(clients.enter_context(server.connect())) < 100 << 20
            assert memory_of(server.pid) - before <= 8 * (128 << 10) + (256 << 10)
            with server.connect(timeout=1) as client:
                echo(client)
        server.stop()


@pytest.mark.parametrize("mode", ASYNC_STREAM)
def test_a_peer_that_never_reads_is_cut_at_the_idle_limit(mode: str, folder: Path) -> None:
    with serving(mode, folder, idle_timeout=0.4) as server, connect(server) as client:
        with contextlib.suppress(ConnectionError):
            send_until_stuck(client)
        wait_until(lambda: server.stats()["active"] == 0, "it is cut", 5)
        assert server.stats()["errors"] == 0


@pytest.mark.parametrize("mode", ASYNC_STREAM)
def test_a_chat_that_turns_into_bulk_and_back_loses_nothing(mode: str, folder: Path) -> None:
    data = os.urandom(1 << 20)
    with serving(mode, folder) as server, connect(server) as client:
        for _ in range(2):
            for number in range(20):
                echo(client, b"%d" % number)
            sender = threading.Thread(target=client.sendall, args=(data,))
            sender.start()
            assert receive_exactly(client, len(data)) == data
            sender.join()


class LongGreeting(EchoHandler):
    def greet(self) -> bytes:
        return bytes(8 << 20)


@pytest.mark.parametrize("mode", ASYNC_STREAM)
def test_what_comes_while_the_greeting_is_not_taken_is_answered_behind_it(
    mode: str, folder: Path
) -> None:
    with serving(mode, folder, LongGreeting) as server, connect(server) as client:
        client.sendall(b"hello")
        wait_until(lambda: server.stats()["bytes_out"] == 8 << 20, "it greets")
        client.sendall(b", again")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == bytes(8 << 20) + b"hello, again"


# --- the loop ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ASYNC_TCP)
def test_a_server_is_closed_inside_somebody_elses_coroutine(mode: str, folder: Path) -> None:
    async def use() -> None:
        with serving(mode, folder) as server:
            reader, writer = await asyncio.open_connection(*server.server_address)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            server.drain(5)
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
        assert asyncio.get_running_loop() is asyncio.get_event_loop()

    asyncio.run(use())


@pytest.mark.parametrize("mode", ASYNC_TCP)
def test_connections_outlast_a_shutdown_and_are_drained_by_another_thread(
    mode: str, folder: Path
) -> None:
    with create_server(mode, free_address(mode, folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with connect(server) as client:
            echo(client)
            server.shutdown()
            thread.join(PATIENCE)
            client.sendall(b"before the drain")
            assert tuple(server.drain(5)) == (1, 0)
            assert receive_all(client) == b"before the drain"


@pytest.mark.parametrize("mode", ASYNC_NAMES)
def test_a_single_request_is_served_to_its_end(mode: str, folder: Path) -> None:
    address = free_address(mode, folder)
    with create_server(mode, address, Awaited) as server, connect(server) as client:
        client.sendall(b"hello")
        if mode in ASYNC_STREAM:
            client.shutdown(socket.SHUT_WR)
        server.handle_request()
        assert client.recv(100) == b"hello"


class Spawning(EchoHandler):
    """Leaves a task behind that nobody waits for, and one that fails."""

    kept: list[asyncio.Task[Any]] = []  # noqa: RUF012

    def respond(self, message: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        self.kept.append(loop.create_task(asyncio.sleep(3600)))
        loop.call_soon(self.fail)
        return message

    @staticmethod
    def fail() -> None:
        raise ValueError("in a callback of the handler's own")


@pytest.mark.parametrize("mode", ASYNC_TCP)
def test_what_a_handler_leaves_in_the_loop_is_logged_and_ended(
    mode: str, folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(mode, folder, Spawning) as server:
        echo_once(server)
    assert Spawning.kept.pop().cancelled()
    assert "in the event loop: " in caplog.text
    assert "in a callback of the handler's own" in caplog.text
    assert capfd.readouterr().err == ""


class Interrupted(EchoHandler):
    def respond(self, message: bytes) -> bytes:
        signal.raise_signal(signal.SIGINT)
        return message


@pytest.mark.parametrize("mode", [*ASYNC_TCP, "gevent-tcp"])
def test_ctrl_c_ends_a_program_that_lets_it(mode: str) -> None:
    with create_server(mode, ("127.0.0.1", 0), Interrupted) as server:
        client = connect(server)
        client.sendall(b"?")
        with pytest.raises(KeyboardInterrupt):
            server.serve_forever()
        server.drain(1)
        client.close()
        assert server.stats()["active"] == 0


# --- signals ----------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("mode", [*ASYNC_TCP, "gevent-tcp"])
def test_a_second_signal_aborts_a_peer_that_never_reads(
    mode: str, signum: signal.Signals, folder: Path
) -> None:
    with program(*serve_arguments(mode, folder)) as server, server.connect() as client:
        send_until_stuck(client)
        server.process.send_signal(signum)
        wait_until(lambda: not listens(server), "the drain has begun")
        assert server.process.poll() is None
        began = time.monotonic()
        code, log = server.stop(signum)
        assert code == 0
        # One of those that had a look may be among them.
        assert log.endswith((", aborted 1\n", ", aborted 2\n"))
        assert time.monotonic() - began < 5


def listens(server: Program) -> bool:
    try:
        server.connect().close()
    except ConnectionError:
        return False
    return True


@pytest.mark.parametrize("mode", [*ASYNC_TCP, "gevent-tcp"])
def test_one_thread_serves_hundreds(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder)) as server, contextlib.ExitStack() as clients:
        all_of_them = [clients.enter_context(server.connect()) for _ in range(300)]
        for client in all_of_them:
            client.sendall(b"hello")
        for client in all_of_them:
            assert receive_exactly(client, 5) == b"hello"
        assert threads_of(server.pid) == 1
        assert server.stop()[0] == 0


def test_threads_and_processes_need_no_event_loop() -> None:
    import subprocess

    code = "import echoservers, sys; echoservers.server_class('threading-tcp'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert not {b"asyncio", b"ssl", b"gevent"} & set(loaded.stdout.split())
    assert echoservers.AsyncioMixIn.runs_async
