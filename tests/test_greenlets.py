"""The greenlet model: handlers that block, on one thread, in a process that stays as it was."""

import contextlib
import os
import socket
import socketserver
import threading
import time
from pathlib import Path
from typing import Any

import pytest

gevent = pytest.importorskip("gevent")

from echoservers import EchoHandler, GeventMixIn, create_server  # noqa: E402
from support import (  # noqa: E402
    PATIENCE,
    connect,
    descriptors_of,
    echo,
    echo_once,
    free_address,
    receive_all,
    receive_exactly,
    serving,
    wait_until,
)

STREAM = ["gevent-tcp", "gevent-unix-stream"]


def test_nothing_is_monkey_patched(folder: Path) -> None:
    with serving("gevent-tcp", folder) as server:
        echo_once(server)
        import gevent.monkey

        assert not gevent.monkey.is_anything_patched()
        assert socket.socket.__module__ == "socket"
        assert threading.Thread.__module__ == "threading"


class Long(socketserver.BaseRequestHandler):
    """Answers once, and is not done for a while, whatever its client does."""

    def handle(self) -> None:
        self.request.sendall(self.request.recv(5))
        gevent.sleep(1)


def test_shutdown_waits_for_no_greenlet_and_server_close_does() -> None:
    with create_server("gevent-tcp", ("127.0.0.1", 0), Long) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with connect(server) as client:
            echo(client)
            began = time.monotonic()
            server.shutdown()
            assert time.monotonic() - began < 0.5
            server.server_close()
            assert time.monotonic() - began > 0.5
        thread.join()
        assert server.stats()["closed"] == 1


class Lines(socketserver.StreamRequestHandler):
    """Blocks as if it were alone."""

    def handle(self) -> None:
        for line in self.rfile:
            if line == b"sleep\n":
                gevent.sleep(3600)
            if line == b"fail\n":
                raise ValueError("on purpose")
            self.wfile.write(line.upper())


@pytest.mark.parametrize("mode", STREAM)
def test_handlers_that_block_do_not_block_each_other(mode: str, folder: Path) -> None:
    with serving(mode, folder, Lines) as server:
        clients = [connect(server) for _ in range(20)]
        for client in clients:
            client.sendall(b"half a ")
        for client in reversed(clients):
            client.sendall(b"line\n")
            assert receive_exactly(client, 12) == b"HALF A LINE\n"
        for client in clients:
            client.close()
        with connect(server) as client:
            client.sendall(b"fail\n")
            assert receive_all(client) == b""
        wait_until(lambda: server.stats()["errors"] == 1, "the error is counted")


@pytest.mark.parametrize("mode", STREAM)
def test_a_greenlet_that_sleeps_is_ended_at_the_drain_limit(mode: str, folder: Path) -> None:
    with serving(mode, folder, Lines) as server, connect(server) as client:
        client.sendall(b"sleep\n")
        echo_once(server, b"UP\n")
        wait_until(lambda: server.stats()["active"] == 1, "one is left")
        began = time.monotonic()
        assert tuple(server.drain(0.2)) == (0, 1)
        assert time.monotonic() - began < 5
        assert server.stats()["active"] == 0


class TimedLines(Lines):
    timeout = 0.2


@pytest.mark.parametrize("mode", STREAM)
def test_a_time_limit_of_socketserver_holds(mode: str, folder: Path) -> None:
    with serving(mode, folder, TimedLines) as server, connect(server) as client:
        assert receive_all(client) == b""


class TwoMinds(EchoHandler):
    """Gives way inside ``respond()``, which others need not notice."""

    def respond(self, message: bytes) -> bytes:
        gevent.sleep(0.001)
        return message


@pytest.mark.parametrize("mode", [*STREAM, "gevent-udp", "gevent-unix-datagram"])
def test_respond_may_give_way(mode: str, folder: Path) -> None:
    with serving(mode, folder, TwoMinds) as server:
        clients = [connect(server) for _ in range(10)]
        for number, client in enumerate(clients):
            client.sendall(b"%d" % number)
        for number, client in enumerate(clients):
            assert client.recv(10) == b"%d" % number
            client.close()


@pytest.mark.parametrize("mode", STREAM)
def test_shutdown_answers_what_was_received_and_ends_the_greenlets(mode: str, folder: Path) -> None:
    with create_server(mode, free_address(mode, folder)) as server:
        before = descriptors_of(os.getpid())
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with connect(server) as client:
            echo(client)
            client.sendall(b"the last words")
            server.shutdown()
            thread.join(PATIENCE)
            assert receive_all(client) == b"the last words"
        assert server.stats()["active"] == 0
        assert descriptors_of(os.getpid()) <= before  # the hub went with its thread
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        echo_once(server)  # with a hub of its own
        server.shutdown()
        thread.join(PATIENCE)


@pytest.mark.parametrize("mode", STREAM)
def test_a_peer_that_never_reads_is_cut_at_the_idle_limit(mode: str, folder: Path) -> None:
    with serving(mode, folder, idle_timeout=0.3) as server, connect(server) as client:
        client.settimeout(0.1)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while True:
                client.sendall(bytes(1 << 20))
        wait_until(lambda: server.stats()["active"] == 0, "it is cut", 5)
        assert server.stats()["errors"] == 0


def test_a_program_of_greenlets_serves_on_its_own_hub() -> None:
    done: list[Any] = []

    def main() -> None:
        hub = gevent.get_hub()
        with create_server("gevent-tcp", ("127.0.0.1", 0)) as server:
            serving = gevent.spawn(server.serve_forever)
            with gevent.socket.create_connection(server.server_address, PATIENCE) as client:
                client.sendall(b"hello")
                done.append(client.recv(10))
            server.shutdown()
            serving.join(PATIENCE)
            done.append(serving.successful())
        done.append(gevent.get_hub() is hub)
        hub.destroy(destroy_loop=True)

    thread = threading.Thread(target=main)  # whose hub the test can destroy
    thread.start()
    thread.join(PATIENCE)
    assert done == [b"hello", True, True]


def test_the_mixin_goes_over_a_server_of_somebody_elses(folder: Path) -> None:
    class Server(GeventMixIn, socketserver.TCPServer):
        """Without a transport of ours."""

    with Server(("127.0.0.1", 0), Lines) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with socket.create_connection(server.server_address, PATIENCE) as client:
            client.sendall(b"hello\n")
            assert receive_exactly(client, 6) == b"HELLO\n"
        server.shutdown()
        thread.join(PATIENCE)


@pytest.mark.parametrize("mode", [*STREAM, "gevent-udp"])
def test_a_single_request_is_served_to_its_end(mode: str, folder: Path) -> None:
    with create_server(mode, free_address(mode, folder)) as server, connect(server) as client:
        client.sendall(b"hello")
        if mode in STREAM:
            client.shutdown(socket.SHUT_WR)
        server.handle_request()
        assert client.recv(100) == b"hello"
