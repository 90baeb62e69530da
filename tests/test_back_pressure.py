"""Peers that do not read, in the models on event loops: little is held, nothing is lost."""

import asyncio
import contextlib
import os
import select
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoservers import EchoHandler
from support import (
    ASYNC_NAMES,
    STREAM_NAMES,
    Program,
    connect,
    connect_tls,
    echo,
    program,
    receive_all,
    receive_exactly,
    serve_arguments,
    serving,
    wait_until,
)

ASYNC_STREAM = [name for name in ASYNC_NAMES if name in STREAM_NAMES]
ASYNC_TCP = ["asyncio-tcp", "uvloop-tcp"]
HERE = {"PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{Path(__file__).parent.parent}"}


class Awaited(EchoHandler):
    async def respond(self, message: bytes) -> bytes:  # type: ignore[override]
        await asyncio.sleep(0)
        return message


def memory_of(pid: int) -> int:
    """Bytes of private memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def send_until_stuck(*clients: Any) -> None:
    """Send without reading until none of *clients* takes any more."""
    most = 100 << 20
    waiting = select.poll()
    by_number = {client.fileno(): client for client in clients}
    sent = dict.fromkeys(by_number, 0)
    for number, client in by_number.items():
        client.setblocking(False)
        waiting.register(number, select.POLLOUT)
    while ready := waiting.poll(300):
        for number, _ in ready:
            with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError):
                sent[number] += by_number[number].send(bytes(65536))
            assert sent[number] < most


@pytest.mark.parametrize("handler", ["echo", "test_back_pressure:Awaited"])
@pytest.mark.parametrize("mode", ASYNC_STREAM)
def test_a_peer_that_never_reads_holds_little_memory(mode: str, handler: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder), "--handler", handler, env=HERE) as server:
        # For what is awaited two pieces may come before the task is on its way.
        check_memory(server, server.connect, (128 if handler == "echo" else 192) << 10)


@pytest.mark.parametrize("mode", ["asyncio-tls", "uvloop-tls", "gevent-tls"])
def test_a_peer_that_never_reads_holds_little_more_for_tls(mode: str, own: dict[str, str]) -> None:
    arguments = ["--mode", mode, "--port", "0", "--certfile", own["certfile"]]
    with program(*arguments, "--handler", "upper") as server:
        # OpenSSL's state and buffers come to what is held of the replies.
        check_memory(server, lambda: connect_tls(server.address), 192 << 10)


def check_memory(server: Program, connected: Callable[[], Any], each: int) -> None:
    count = 8
    with contextlib.ExitStack() as clients:
        send_until_stuck(clients.enter_context(connected()))  # the allocator warms up
        before = memory_of(server.pid)
        send_until_stuck(*[clients.enter_context(connected()) for _ in range(count)])
        assert memory_of(server.pid) - before <= count * each + (256 << 10)
        with connected() as client:
            echo(client, b"HELLO")
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


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("mode", [*ASYNC_TCP, "gevent-tcp"])
def test_a_second_signal_aborts_a_peer_that_never_reads(
    mode: str, signum: signal.Signals, folder: Path
) -> None:
    with program(*serve_arguments(mode, folder)) as server, server.connect() as client:
        send_until_stuck(client)
        server.process.send_signal(signum)
        looks = 0

        def drains() -> bool:
            nonlocal looks
            looks += 1
            return not listens(server)

        wait_until(drains, "the drain has begun")
        assert server.process.poll() is None
        began = time.monotonic()
        code, log = server.stop(signum)
        assert code == 0
        # Those that had a look may be among them.
        assert 1 <= int(log.rpartition(", aborted ")[2]) <= looks
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("mode", ASYNC_TCP)
def test_abort_ends_connections_that_are_just_being_opened(
    mode: str, turns: int, folder: Path
) -> None:
    class Aborts(EchoHandler):
        def setup(self) -> None:
            super().setup()
            self.abort_after(turns)

        def abort_after(self, turns: int) -> None:
            """When the event loop has yet to open the connection, opens it, or has just done so."""
            if turns:
                asyncio.get_running_loop().call_soon(self.abort_after, turns - 1)
            else:
                self.server.abort()

    with serving(mode, folder, Aborts) as server:
        with contextlib.suppress(ConnectionError), connect(server) as client:
            assert client.recv(1) == b""
        wait_until(lambda: server.stats()["closed"] == 1, "it is over")


def listens(server: Program) -> bool:
    try:
        server.connect().close()
    except ConnectionError:
        return False
    return True
