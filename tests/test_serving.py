"""The life of a server: serve, shutdown, drain, close; and what every model inherits."""

import os
import signal
import socket
import socketserver
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import echoservers
from echoservers import EchoHandler, OptionError, create_server
from support import (
    CLIENTS_AT_ONCE,
    CONCURRENT_STREAM_NAMES,
    NAMES,
    OF_PROCESSES,
    PATIENCE,
    RAW_NAMES,
    STREAM_NAMES,
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

IN_PROCESS = [name for name in NAMES if not name.startswith(OF_PROCESSES)]
RAW_IN_PROCESS = [name for name in RAW_NAMES if not name.startswith(OF_PROCESSES)]


def serve_in_thread(server: socketserver.BaseServer) -> threading.Thread:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    return thread


def wait_until_serving(server: Any) -> None:
    wait_until(lambda: server._serving_thread is not None, "the loop has begun")


# --- shutdown ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", NAMES)
def test_shutdown_from_another_thread_twice(mode: str, folder: Path) -> None:
    with create_server(mode, free_address(mode, folder)) as server:
        thread = serve_in_thread(server)
        wait_until_serving(server)
        server.shutdown()
        assert server._serving_thread is None  # it has waited for the loop
        thread.join(PATIENCE)
        server.shutdown()


@pytest.mark.parametrize("mode", NAMES)
def test_shutdown_before_start_lets_the_loop_end_at_once(mode: str, folder: Path) -> None:
    with create_server(mode, free_address(mode, folder)) as server:
        server.shutdown()
        server.serve_forever()  # returns
        thread = serve_in_thread(server)  # and the next time it serves
        if "forking" not in mode:
            echo_once(server)
        server.shutdown()
        thread.join(PATIENCE)


class StopsItsServer(EchoHandler):
    def respond(self, message: bytes) -> bytes:
        self.server.shutdown()
        return message


@pytest.mark.parametrize("mode", NAMES)
def test_shutdown_from_a_handler(mode: str, folder: Path) -> None:
    with create_server(mode, free_address(mode, folder), StopsItsServer) as server:
        thread = serve_in_thread(server)
        with connect(server) as client:
            echo(client)  # its own reply still comes
            client.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.mark.parametrize("mode", NAMES)
def test_shutdown_from_a_signal_handler(mode: str, folder: Path) -> None:
    def stop(_signum: int, _frame: object) -> None:
        server.shutdown()
        server.shutdown()

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with create_server(mode, free_address(mode, folder)) as server:
            main = threading.get_ident()

            def interrupt() -> None:
                wait_until_serving(server)
                signal.pthread_kill(main, signal.SIGUSR1)

            thread = threading.Thread(target=interrupt)
            thread.start()
            server.serve_forever()  # in this thread, which takes the signal
            thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("mode", ["tcp", "unix-stream"])
def test_shutdown_of_an_iterative_server_does_not_wait_for_a_silent_client(
    mode: str, folder: Path
) -> None:
    with create_server(mode, free_address(mode, folder)) as server:
        thread = serve_in_thread(server)
        with connect(server) as client:
            echo(client)  # now it is inside the handler
            server.shutdown()
            thread.join(PATIENCE)
            assert receive_all(client) == b""


def test_shutdown_leaves_threads_connections_alone(folder: Path) -> None:
    with create_server("threading-tcp", ("127.0.0.1", 0)) as server:
        thread = serve_in_thread(server)
        with connect(server) as client:
            echo(client)
            server.shutdown()
            thread.join(PATIENCE)
            echo(client)


def test_many_rounds_of_serve_and_shutdown_never_hang() -> None:
    with create_server("tcp", ("127.0.0.1", 0)) as server:
        for _ in range(200):
            thread = serve_in_thread(server)
            server.shutdown()
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_serving_twice_at_once_is_refused() -> None:
    with create_server("tcp", ("127.0.0.1", 0)) as server:
        thread = serve_in_thread(server)
        wait_until_serving(server)
        with pytest.raises(RuntimeError, match="already"):
            server.serve_forever()
        server.shutdown()
        thread.join(PATIENCE)
    with pytest.raises(RuntimeError, match="closed"):
        server.serve_forever()


def test_an_overridden_service_actions_is_called_every_poll_interval() -> None:
    called = threading.Event()

    class Counting(echoservers.TCPServer):
        calls = 0

        def service_actions(self) -> None:
            self.calls += 1
            if self.calls == 3:
                called.set()

    with Counting(("127.0.0.1", 0), EchoHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        assert called.wait(PATIENCE)
        server.shutdown()
        thread.join(PATIENCE)


@pytest.mark.parametrize("mode", [name for name in NAMES if not name.startswith("prefork")])
def test_an_idle_server_uses_no_cpu(mode: str, folder: Path) -> None:
    with create_server(mode, free_address(mode, folder)) as server:
        turns = 0
        turn = server._loop.turn

        def counted(longest: float | None) -> None:
            nonlocal turns
            turns += 1
            assert longest is None  # nothing but an event ends the wait
            turn(longest)

        server._loop.turn = counted
        thread = serve_in_thread(server)
        wait_until_serving(server)
        server.shutdown()
        thread.join(PATIENCE)
        assert turns <= 1


# --- close ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", NAMES)
def test_server_close_while_another_thread_serves(mode: str, folder: Path) -> None:
    server = create_server(mode, free_address(mode, folder))
    thread = serve_in_thread(server)
    wait_until_serving(server)
    server.server_close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert server.socket.fileno() == -1
    server.server_close()


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_server_close_does_not_hang_on_a_silent_client(mode: str, folder: Path) -> None:
    server = create_server(mode, free_address(mode, folder), drain_timeout=PATIENCE)
    thread = serve_in_thread(server)
    with connect(server) as client:
        echo(client)
        began = time.monotonic()
        server.server_close()
        assert time.monotonic() - began < PATIENCE / 2
        assert receive_all(client) == b""
    thread.join(PATIENCE)


@pytest.mark.usefixtures("default_timeout")
@pytest.mark.parametrize("mode", [*IN_PROCESS, *RAW_IN_PROCESS])
def test_the_loop_waits_for_no_default_timeout(mode: str, folder: Path) -> None:
    with serving(mode, folder) as server:
        for _ in range(3):
            echo_once(server)
        server.shutdown()


@pytest.mark.parametrize("mode", NAMES)
def test_a_failed_start_leaves_nothing_open(mode: str, folder: Path) -> None:
    address = free_address(mode, folder)
    before = descriptors_of(os.getpid())
    with create_server(mode, address) as first:
        open_now = descriptors_of(os.getpid())
        for _ in range(10):
            with pytest.raises(OSError, match=r"in use|is using it"):
                create_server(mode, first.server_address)
        assert descriptors_of(os.getpid()) == open_now
    assert descriptors_of(os.getpid()) == before


def test_an_option_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(OptionError, match=r"idle_timout.*did you mean idle_timeout.*overflow"):
        echoservers.ThreadingTCPServer(("127.0.0.1", 0), EchoHandler, idle_timout=3)


def test_options_are_keywords_class_attributes_and_instance_attributes() -> None:
    class Patient(echoservers.TCPServer):
        idle_timeout = 77.0

    with Patient(("127.0.0.1", 0), EchoHandler) as server:
        assert server.idle_timeout == 77.0
        server.idle_timeout = 5
    with Patient(("127.0.0.1", 0), EchoHandler, idle_timeout=3) as server:
        assert server.idle_timeout == 3
    assert Patient.idle_timeout == 77.0


# --- drain ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_drain_answers_what_was_received_and_says_how_many(mode: str, folder: Path) -> None:
    with serving(mode, folder) as server:
        clients = [connect(server) for _ in range(CLIENTS_AT_ONCE.get(mode, 5))]
        for client in clients:
            echo(client)
            client.sendall(b"x" * 50_000)
        assert tuple(server.drain(10)) == (len(clients), 0)
        for client in clients:
            assert receive_all(client) == b"x" * 50_000
            client.close()
        with pytest.raises(OSError, match=r"refused|No such file"):
            connect(server)


class Flooding(EchoHandler):
    def respond(self, message: bytes) -> bytes:
        return bytes(16 * 1024 * 1024)  # more than the buffers of both sides hold


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_drain_cuts_a_peer_that_never_reads(mode: str, folder: Path) -> None:
    with serving(mode, folder, Flooding) as server, connect(server) as client:
        client.sendall(b"?")
        wait_until(lambda: server.stats()["messages"] == 1, "the flood has begun")
        assert tuple(server.drain(0.2)) == (0, 1)


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_drain_serves_what_waits_in_the_backlog(mode: str, folder: Path) -> None:
    with serving(mode, folder, max_connections=1) as server, connect(server) as first:
        echo(first)
        waiting = [connect(server) for _ in range(5)]
        for client in waiting:
            client.sendall(b"in the backlog")
        drained, aborted = server.drain(10)
        assert (drained, aborted) == (6, 0)
        for client in waiting:
            assert receive_all(client) == b"in the backlog"
            client.close()


# --- limits -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", CONCURRENT_STREAM_NAMES)
def test_beyond_max_connections_clients_wait_and_are_served_in_the_end(
    mode: str, folder: Path
) -> None:
    with serving(mode, folder, max_connections=3) as server:
        served = [connect(server) for _ in range(3)]
        for client in served:
            echo(client)
        with connect(server) as waiting:
            waiting.sendall(b"patience")
            assert server.stats()["active"] == 3
            served.pop().close()
            assert receive_exactly(waiting, 8) == b"patience"
        for client in served:
            client.close()
        wait_until(lambda: server.stats()["active"] == 0, "all are over")
        assert server.stats()["refused"] == {}


@pytest.mark.parametrize("mode", CONCURRENT_STREAM_NAMES)
def test_overflow_refuse_closes_at_once(mode: str, folder: Path) -> None:
    with serving(mode, folder, max_connections=2, overflow="refuse") as server:
        served = [connect(server) for _ in range(2)]
        for client in served:
            echo(client)
        for _ in range(3):
            with connect(server) as refused:
                assert receive_all(refused) == b""
        assert server.stats()["refused"] == {"max_connections": 3}
        for client in served:
            echo(client)
            client.close()


@pytest.mark.parametrize("mode", [n for n in CONCURRENT_STREAM_NAMES if n.endswith("tcp")])
def test_the_limit_by_source_holds_for_each_source_alone(mode: str, folder: Path) -> None:
    with serving(mode, folder, max_connections_per_source=2) as server:
        served = [connect(server) for _ in range(2)]
        for client in served:
            echo(client)
        with connect(server) as refused:
            assert receive_all(refused) == b""
        with socket.create_connection(
            server.server_address, PATIENCE, source_address=("127.0.0.2", 0)
        ) as other:
            echo(other)
        assert server.stats()["refused"] == {"max_connections_per_source": 1}
        served.pop().close()
        wait_until(lambda: server.stats()["active"] == 1, "one has gone")
        echo_once(server)
        served.pop().close()


def test_verify_request_refuses() -> None:
    class Picky(echoservers.ThreadingTCPServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            return False

    with Picky(("127.0.0.1", 0), EchoHandler) as server:
        thread = serve_in_thread(server)
        with connect(server) as client:
            assert receive_all(client) == b""
        wait_until(lambda: server.stats()["refused"] == {"verify_request": 1}, "counted")
        assert server.stats()["accepted"] == 1
        assert server.stats()["closed"] == 0
        server.shutdown()
        thread.join(PATIENCE)
