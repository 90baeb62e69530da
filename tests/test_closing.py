"""Closing at awkward moments: it always ends in time, and cuts nobody who need not be cut."""

import os
import signal
import socketserver
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import echoservers
import echoservers.options
from echoservers import EchoHandler
from support import (
    PATIENCE,
    ControlledServer,
    children_of,
    connect,
    echo,
    echo_once,
    free_address,
    receive_all,
    serving,
    wait_until,
)


def serve_in_thread(server: socketserver.BaseServer) -> threading.Thread:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    return thread


class Deaf(socketserver.BaseRequestHandler):
    """A stranger's handler that waits for its client, whatever happens."""

    started = threading.Event()

    def handle(self) -> None:
        self.started.set()
        self.request.recv(1)


@pytest.mark.parametrize("mode", ["tcp", "threading-tcp", "thread-pool-tcp", "prethreading-tcp"])
def test_server_close_ends_in_time_with_a_strangers_handler_that_waits(mode: str) -> None:
    Deaf.started.clear()
    server = echoservers.create_server(mode, ("127.0.0.1", 0), Deaf, drain_timeout=0.2)
    thread = serve_in_thread(server)
    with connect(server):
        assert Deaf.started.wait(PATIENCE)
        began = time.monotonic()
        server.server_close()
        assert time.monotonic() - began < 5
    thread.join(PATIENCE)
    assert not thread.is_alive()


class Stops(EchoHandler):
    def respond(self, message: bytes) -> bytes:
        self.server.server_close()
        return message


@pytest.mark.parametrize("mode", ["tcp", "udp", "unix-stream"])
def test_server_close_from_a_handler_in_the_loop_is_done_by_the_loop(
    mode: str, folder: Path
) -> None:
    address: Any = str(folder / "s") if mode == "unix-stream" else ("127.0.0.1", 0)
    server = echoservers.create_server(mode, address, Stops)
    thread = serve_in_thread(server)
    with connect(server) as client:
        echo(client)
    thread.join(PATIENCE)  # behind the current request, which is over now
    assert not thread.is_alive()
    assert server.socket.fileno() == -1


class Busy(EchoHandler):
    begun: threading.Event
    release: threading.Event

    def respond(self, message: bytes) -> bytes:
        self.begun.set()
        self.release.wait(PATIENCE)
        return message


@pytest.mark.parametrize(
    ("name", "waits"),
    [
        *((name, True) for name in ("tcp", "udp", "unix-stream", "epoll-tcp", "asyncio-tcp")),
        ("tcp", False),
    ],
)
def test_a_block_does_not_outlast_its_drain_for_a_busy_loop(
    name: str, waits: bool, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Busy.begun, Busy.release = threading.Event(), threading.Event()
    address = free_address(name, folder)
    with echoservers.start_server(name, address, Busy, drain_timeout=0.2) as server:
        server.block_on_close = waits
        with connect(server) as client:
            client.sendall(b"hello")
            assert Busy.begun.wait(PATIENCE)
            thread: Any = server._serving_thread
    left_behind = thread.is_alive()
    Busy.release.set()
    thread.join(PATIENCE)
    assert left_behind
    assert not thread.is_alive()
    assert caplog.messages.count("left a busy handler behind, in the loop itself") == 1


def test_a_connection_that_comes_while_the_loop_is_told_to_stop_does_not_hold_it() -> None:
    server = echoservers.create_server("tcp", ("127.0.0.1", 0), idle_timeout=None)
    accept = server.get_request
    stopper = threading.Thread(target=server.shutdown)

    def get_request() -> tuple[Any, Any]:
        taken = accept()
        stopper.start()  # between accept and admit
        wait_until(lambda: server._stop_requested, "the loop is told to stop")
        return taken

    server.get_request = get_request
    thread = serve_in_thread(server)
    with connect(server):
        wait_until(lambda: stopper.ident is not None, "it is told to stop")
        stopper.join(PATIENCE)
        thread.join(PATIENCE)
        assert not thread.is_alive()
    server.server_close()


def test_a_signal_that_interrupts_a_wake_up_cannot_lose_its_own() -> None:
    with echoservers.create_server("tcp", ("127.0.0.1", 0)) as server:
        put = server._loop._put

        def interrupted(byte: bytes) -> None:
            server._loop._put = put
            server.shutdown()  # as a signal handler that comes just before the write
            put(byte)

        thread = serve_in_thread(server)
        server._loop._put = interrupted
        server._loop.wake()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_drain_inside_a_drain_only_begins_it() -> None:
    with echoservers.create_server("threading-tcp", ("127.0.0.1", 0)) as server:
        thread = serve_in_thread(server)
        with connect(server) as client:
            echo(client)
            inner: list[Any] = []
            turn = server._loop.turn

            def turn_and_drain(longest: float | None) -> None:
                if not inner and server._draining:
                    inner.append(server.drain(1))
                turn(longest)

            server._loop.turn = turn_and_drain
            drained, aborted = server.drain(5)
            assert (drained, aborted) == (1, 0)
            assert receive_all(client) == b""
        thread.join(PATIENCE)


class OwnClosing(echoservers.ThreadingTCPServer):
    def shutdown_request(self, request: Any) -> None:
        request.close()  # the seam of socketserver, without super()


def test_a_server_with_its_own_shutdown_request_does_not_lose_places() -> None:
    with OwnClosing(("127.0.0.1", 0), EchoHandler, max_connections=2) as server:
        thread = serve_in_thread(server)
        for _ in range(6):
            echo_once(server, timeout=5)
        wait_until(lambda: server.stats()["active"] == 0, "all are over")
        server.shutdown()
        thread.join(PATIENCE)


class FailingAccept(echoservers.ThreadingTCPServer):
    """As TLS in get_request(): a client may make it fail."""

    failures = 20

    def get_request(self) -> Any:
        connection, address = super().get_request()
        if self.failures:
            self.failures -= 1
            connection.close()
            raise OSError(8, "EOF occurred in violation of protocol")
        return connection, address


def test_an_error_about_one_connection_does_not_pause_accepting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with FailingAccept(("127.0.0.1", 0), EchoHandler) as server:
        thread = serve_in_thread(server)
        for _ in range(20):
            with connect(server) as client:
                assert receive_all(client) == b""
        echo_once(server)
        server.shutdown()
        thread.join(PATIENCE)
    assert "cannot accept" not in caplog.text


def test_a_child_has_only_its_own_connection() -> None:
    with ControlledServer("forking-tcp", ("127.0.0.1", 0), None, {}) as server:
        clients = [connect(server) for _ in range(4)]
        for client in clients:
            echo(client)
        for child in children_of(server.pid):
            links = [os.readlink(f"/proc/{child}/fd/{n}") for n in os.listdir(f"/proc/{child}/fd")]
            assert sum(link.startswith("socket:") for link in links) == 1
        os.kill(children_of(server.pid)[0], signal.SIGKILL)
        clients[0].settimeout(5)
        assert clients[0].recv(10) == b""  # though the others' children live on
        for client in clients:
            client.close()


@pytest.mark.parametrize("times", range(5))
def test_of_two_servers_that_start_on_one_path_one_is_refused(times: int, folder: Path) -> None:
    path = str(folder / "server.sock")
    made: list[Any] = []
    refused: list[OSError] = []
    together = threading.Barrier(2)

    def start() -> None:
        together.wait()
        try:
            made.append(echoservers.create_server("unix-stream", path))
        except OSError as error:
            refused.append(error)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    for server in made:
        server.server_close()
    assert (len(made), len(refused)) == (1, 1)


def test_options_of_a_class_whose_annotations_are_text() -> None:
    source = (
        "from __future__ import annotations\n"
        "from typing import Annotated\n"
        "from echoservers.options import Option, count\n"
        "from echoservers import ThreadingMixIn\n"
        "class Model(ThreadingMixIn):\n"
        "    lanes: Annotated[int, Option(count, 'lanes', 'how many')] = 3\n"
    )
    import sys
    import types

    module = types.ModuleType("text_annotations")
    sys.modules["text_annotations"] = module
    try:
        exec(compile(source, "text_annotations.py", "exec"), vars(module))
        assert "lanes" in echoservers.options.options_of(module.Model)
    finally:
        del sys.modules["text_annotations"]


def test_error_lines_are_bounded(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving("threading-tcp", folder, Failing) as server:
        for _ in range(60):
            with connect(server) as client:
                client.sendall(b"x")
                assert receive_all(client) == b""
        wait_until(lambda: server.stats()["errors"] == 60, "all are counted")
    assert 10 <= len([r for r in caplog.records if r.levelname == "ERROR"]) <= 40


class Failing(EchoHandler):
    def respond(self, message: bytes) -> bytes:
        raise ValueError("on purpose")
