"""What is particular to the models with a fixed number of threads."""

import contextlib
import shutil
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

import echoservers
from echoservers import EchoHandler, create_server
from support import (
    NAMES,
    PATIENCE,
    connect,
    echo,
    echo_once,
    free_address,
    has_pool,
    program,
    receive_all,
    receive_exactly,
    serve_arguments,
    serving,
    threads_of,
    wait_until,
    workers_of,
)

POOLS = [name for name in NAMES if has_pool(name)]
STREAM_POOLS = [name for name in POOLS if name.endswith(("tcp", "stream"))]
TCP_POOLS = [name for name in POOLS if name.endswith("tcp")]

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def silent_clients(server: Any, number: int) -> list[socket.socket]:
    """Clients that hold a thread each."""
    clients = [connect(server) for _ in range(number)]
    for client in clients:
        echo(client)
    return clients


# --- the threads ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", POOLS)
def test_there_are_as_many_threads_as_asked_for_before_and_after_the_clients(
    mode: str, folder: Path
) -> None:
    with serving(mode, folder, max_workers=7) as server:
        wait_until(lambda: len(workers_of(server)) == 7, "the threads are there")
        assert all(thread.daemon for thread in workers_of(server))
        before = workers_of(server)
        for _ in range(30):
            echo_once(server)
        assert workers_of(server) == before
    wait_until(lambda: workers_of(server) == [], "the threads have ended", 5)


@pytest.mark.parametrize("mode", POOLS)
def test_closing_joins_the_threads(mode: str, folder: Path) -> None:
    server = create_server(mode, free_address(mode, folder), max_workers=5)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    echo_once(server)
    server.server_close()
    assert workers_of(server) == []
    thread.join(PATIENCE)


@pytest.mark.parametrize("mode", POOLS)
def test_serving_a_second_time_starts_no_thread_too_many(mode: str, folder: Path) -> None:
    with create_server(mode, free_address(mode, folder), max_workers=4) as server:
        for _ in range(5):
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            echo_once(server)
            wait_until(lambda: len(workers_of(server)) == 4, "the threads are there")
            server.shutdown()
            thread.join(PATIENCE)


# --- all are taken ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", STREAM_POOLS)
def test_one_client_more_than_threads_is_served_when_one_ends(mode: str, folder: Path) -> None:
    with serving(mode, folder, max_workers=3) as server:
        silent = silent_clients(server, 3)
        with connect(server) as waiting:
            waiting.sendall(b"patience")
            silent.pop().close()
            assert receive_exactly(waiting, 8) == b"patience"
        for client in silent:
            client.close()
        wait_until(lambda: server.stats()["active"] == 0, "all are over")
        assert server.stats()["refused"] == {}


@pytest.mark.parametrize("mode", STREAM_POOLS)
def test_silent_clients_make_room_at_the_idle_limit(mode: str, folder: Path) -> None:
    with serving(mode, folder, max_workers=2, idle_timeout=0.3) as server:
        silent = silent_clients(server, 2)
        echo_once(server)
        for client in silent:
            client.close()


def test_with_queue_the_loop_stops_accepting(folder: Path) -> None:
    with serving("thread-pool-tcp", folder, max_workers=2, queue_size=3) as server:
        silent = silent_clients(server, 2)
        waiting = [connect(server) for _ in range(10)]
        for client in waiting:
            client.sendall(b"patience")
        wait_until(lambda: server.stats()["active"] == 5, "the queue is full")
        assert server.stats()["accepted"] == 5
        assert server.capacity() == 5
        for client in silent:
            client.close()
        for client in waiting:
            assert receive_exactly(client, 8) == b"patience"
            client.close()
        wait_until(lambda: server.stats()["closed"] == 12, "all are served")
        assert server.stats()["refused"] == {}


def test_with_refuse_who_finds_the_queue_full_is_closed(folder: Path) -> None:
    options: dict[str, Any] = {"max_workers": 2, "queue_size": 3, "overflow": "refuse"}
    with serving("thread-pool-tcp", folder, **options) as server:
        silent = silent_clients(server, 2)
        queued = [connect(server) for _ in range(3)]
        wait_until(lambda: server.stats()["active"] == 5, "the queue is full")
        for _ in range(4):
            with connect(server) as refused:
                assert receive_all(refused) == b""
        assert server.stats()["refused"] == {"max_connections": 4}
        for client in silent:
            client.close()
        for client in queued:
            echo(client)
            client.close()


def test_prethreading_refuses_while_all_threads_serve(folder: Path) -> None:
    with serving("prethreading-tcp", folder, max_workers=2, overflow="refuse") as server:
        served = silent_clients(server, 2)
        for _ in range(3):
            with connect(server) as refused:
                assert receive_all(refused) == b""
        assert server.stats()["refused"] == {"max_connections": 3}
        assert len(workers_of(server)) == 3  # one is there to refuse
        for client in served:
            echo(client)
            client.close()


# --- drain and abort --------------------------------------------------------------------


@pytest.mark.parametrize("mode", STREAM_POOLS)
def test_a_drain_serves_what_waits_for_a_thread(mode: str, folder: Path) -> None:
    with serving(mode, folder, max_workers=1) as server:
        silent = silent_clients(server, 1)
        waiting = [connect(server) for _ in range(5)]
        for client in waiting:
            client.sendall(b"had arrived")
        assert tuple(server.drain(PATIENCE)) == (6, 0)
        for client in waiting:
            assert receive_all(client) == b"had arrived"
            client.close()
        silent[0].close()


class Stuck(EchoHandler):
    gate = threading.Event()

    def respond(self, message: bytes) -> bytes:
        if message == b"stay":
            self.gate.wait(PATIENCE)
        return message


def test_closing_cuts_what_waits_for_threads_that_are_stuck(folder: Path) -> None:
    Stuck.gate.clear()
    with serving("thread-pool-tcp", folder, Stuck, max_workers=1, drain_timeout=0.2) as server:
        with connect(server) as first, connect(server) as queued:
            first.sendall(b"stay")
            wait_until(lambda: server.stats()["messages"] == 1, "it is stuck")
            queued.sendall(b"?")
            wait_until(lambda: server.stats()["active"] == 2, "it waits")
            server.server_close()
            assert server.stats()["active"] == 1
            with contextlib.suppress(ConnectionResetError):
                assert receive_all(queued) == b""
        Stuck.gate.set()
        wait_until(lambda: server.stats()["active"] == 0, "the thread is free")


@pytest.mark.parametrize("mode", TCP_POOLS)
def test_a_signal_ends_serving_while_all_threads_are_busy(mode: str, folder: Path) -> None:
    arguments = [*serve_arguments(mode, folder), "--max-workers", "2"]
    with program(*arguments) as server, server.connect() as one, server.connect() as other:
        echo(one)
        echo(other)
        assert threads_of(server.pid) == 3
        code, log = server.stop(signal.SIGTERM)
    assert (code, log) == (0, "drained 2 connections, aborted 0\n")


def test_shutdown_from_verify_request_ends_the_leaders_loop() -> None:
    class Once(echoservers.PrethreadingTCPServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            self.shutdown()
            return True

    with Once(("127.0.0.1", 0), EchoHandler, max_workers=3) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with connect(server) as client:
            echo(client)
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_what_fails_in_the_leaders_wait_comes_out_of_serve_forever() -> None:
    class Failing(echoservers.PrethreadingTCPServer):
        def get_request(self) -> Any:
            raise ValueError("get_request failed")

    raised: list[BaseException] = []

    def serve() -> None:
        try:
            server.serve_forever()
        except ValueError as error:
            raised.append(error)

    with Failing(("127.0.0.1", 0), EchoHandler, max_workers=3) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        connect(server).close()
        thread.join(PATIENCE)
    assert [str(error) for error in raised] == ["get_request failed"]


# --- as under socketserver, without serve_forever ---------------------------------------


@pytest.mark.parametrize("mode", POOLS)
def test_handle_request_serves_one(mode: str, folder: Path) -> None:
    with create_server(mode, free_address(mode, folder), max_workers=2) as server:
        for number in range(3):
            with connect(server) as client:
                client.sendall(b"%d" % number)
                if server.is_stream:
                    client.shutdown(socket.SHUT_WR)
                server.handle_request()
                assert client.recv(10) == b"%d" % number
        wait_until(lambda: server.stats()["closed"] == 3, "all are over")


@pytest.mark.parametrize("mode", POOLS)
def test_process_request_serves_what_somebody_else_has_accepted(mode: str, folder: Path) -> None:
    with (
        create_server(mode, free_address(mode, folder), max_workers=2) as server,
        connect(server) as client,
    ):
        client.sendall(b"hello")
        if server.is_stream:
            client.shutdown(socket.SHUT_WR)
        server.process_request(*server.get_request())
        assert client.recv(10) == b"hello"


@pytest.mark.parametrize("mode", TCP_POOLS)
def test_after_an_abort_new_clients_are_served(mode: str, folder: Path) -> None:
    with serving(mode, folder, max_workers=2) as server:
        silent = silent_clients(server, 2)
        server.abort()
        for client in silent:
            with contextlib.suppress(ConnectionResetError):
                assert receive_all(client) == b""
            client.close()
        echo_once(server)


@pytest.mark.parametrize("mode", TCP_POOLS)
def test_a_socket_closed_by_somebody_else_ends_serving(mode: str, folder: Path) -> None:
    with create_server(mode, free_address(mode, folder), max_workers=2) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        echo_once(server)
        server.socket.close()
        server._loop.wake()  # poll() does not look at it again by itself
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.mark.parametrize("mode", TCP_POOLS)
def test_drains_among_coming_clients_never_wait_for_room_that_cannot_come(
    mode: str, folder: Path
) -> None:
    def come(address: Any) -> None:
        with contextlib.suppress(ConnectionError):
            for _ in range(6):
                with socket.create_connection(address, PATIENCE) as client:
                    client.sendall(b"x")
                    client.recv(1)

    for _ in range(30):
        with serving(mode, folder, max_workers=1) as server:
            clients = [
                threading.Thread(target=come, args=(server.server_address,)) for _ in range(4)
            ]
            for client in clients:
                client.start()
            wait_until(lambda s=server: s.stats()["closed"] > 3, "they are being served")  # type: ignore[misc]
            assert server.drain(5).aborted == 0
        for client in clients:
            client.join(PATIENCE)


@pytest.mark.timeout(5)
def test_a_leader_that_waits_for_room_serves_what_comes_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with echoservers.PrethreadingTCPServer(("127.0.0.1", 0), EchoHandler, max_workers=1) as server:
        server._accepting = server._draining = server._stop_requested = server._paused = True
        server._backlog_left = 10
        look = server._time_to_resume
        looks = iter([None, 0.0])  # full, and a moment later, in the wait, not any more
        monkeypatch.setattr(server, "_time_to_resume", lambda: next(looks, look()))
        with connect(server) as client:
            client.sendall(b"hello")
            record = server._next_request()
            assert server._failure is None  # what ends a wait in vain would be kept there
            assert record is not None
            server._serve_record(record)
            assert receive_all(client) == b"hello"
        server._listen(False)
