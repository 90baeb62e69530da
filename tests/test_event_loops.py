"""The models on an event loop beside other loops and threads: one request, a stop, Ctrl-C."""

import asyncio
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import echoservers
from echoservers import EchoHandler, create_server, server_class
from support import (
    ASYNC_NAMES,
    PATIENCE,
    STREAM_NAMES,
    connect,
    echo,
    echo_once,
    free_address,
    receive_all,
    serving,
)

ASYNC_STREAM = [name for name in ASYNC_NAMES if name in STREAM_NAMES]
ASYNC_TCP = ["asyncio-tcp", "uvloop-tcp"]


class Awaited(EchoHandler):
    async def respond(self, message: bytes) -> bytes:  # type: ignore[override]
        await asyncio.sleep(0)
        return message


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


class InterruptedAtTheEnd:
    """A server upon which Ctrl-C comes while a connection ends."""

    def shutdown_request(self, request: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        super().shutdown_request(request)  # type: ignore[misc]


@pytest.mark.parametrize("mode", [*ASYNC_TCP, "gevent-tcp", "epoll-tcp"])
def test_ctrl_c_leaves_no_connection_behind_in_the_middle_of_its_end(mode: str) -> None:
    cls = type("Server", (InterruptedAtTheEnd, server_class(mode)), {})
    with cls(("127.0.0.1", 0), EchoHandler, drain_timeout=1) as server:
        connect(server).close()
        with pytest.raises(KeyboardInterrupt):
            server.serve_forever()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert server.stats()["active"] == 0
        assert server.stats()["closed"] == 1


class Stuck(EchoHandler):
    went_on = False

    def respond(self, message: bytes) -> bytes:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        Stuck.went_on = True
        return message


@pytest.mark.parametrize("mode", [*ASYNC_TCP, "gevent-tcp", "epoll-tcp"])
def test_a_second_ctrl_c_interrupts_the_handler(mode: str) -> None:
    with create_server(mode, ("127.0.0.1", 0), Stuck, drain_timeout=1) as server:
        with connect(server) as client:
            client.sendall(b"?")
            with pytest.raises(KeyboardInterrupt):
                server.serve_forever()
        assert not Stuck.went_on
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_threads_and_processes_need_no_event_loop() -> None:
    import subprocess

    code = "import echoservers, sys; echoservers.server_class('threading-tcp'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert not {b"asyncio", b"ssl", b"gevent"} & set(loaded.stdout.split())
    assert echoservers.AsyncioMixIn.runs_async
