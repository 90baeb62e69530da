"""What a master does for its workers, whatever the model that they serve with."""

import os
import signal
import socket
from pathlib import Path

import pytest

from echoservers import create_server
from prefork_support import all_gone, ended_well, ready, served_by, workers
from support import PATIENCE, Program, children_of, connect, echo, receive_all, wait_until

MODES = [
    f"prefork-{model}-tcp"
    for model in (
        "asyncio",
        "uvloop",
        "gevent",
        "epoll",
        "threading",
        "thread-pool",
        "prethreading",
    )
]


def needs_extra(mode: str) -> None:
    for extra in ("uvloop", "gevent"):
        if extra in mode:
            pytest.importorskip(extra)


def connect_to_each(server: Program, pids: list[int]) -> list[socket.socket]:
    """Clients, so many that each worker has one."""
    clients: list[socket.socket] = []
    served: set[int] = set()
    while served != set(pids):
        client, pid = served_by(server, pids)
        clients.append(client)
        served.add(pid)
    return clients


def assert_it_goes_on(client: socket.socket) -> None:
    client.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.recv(1)  # nothing ends it
    client.settimeout(PATIENCE)
    echo(client)


@pytest.mark.parametrize("mode", MODES)
def test_killed_replaced_removed_and_a_connection_goes_on(mode: str, folder: Path) -> None:
    needs_extra(mode)
    with workers(mode, folder) as (server, listed):
        for _ in range(2):
            old = listed()
            os.kill(old[0], signal.SIGKILL)
            wait_until(lambda old=old: len(listed()) == 2 and old[0] not in listed(), "replaced")
            wait_until(lambda: ready(listed()), "it serves")
        clients = connect_to_each(server, listed())
        old = set(listed())
        server.process.send_signal(signal.SIGHUP)  # reload(): the second when the first has left
        wait_until(lambda: len(listed()) == 3 and ready(listed()), "one has a successor")
        for client in clients:
            assert_it_goes_on(client)
        for client in clients:
            client.close()
        wait_until(lambda: not old & set(listed()) and len(listed()) == 2, "replaced")
        clients = connect_to_each(server, listed())
        server.process.send_signal(signal.SIGTTOU)  # remove_worker()
        for client in clients:
            assert_it_goes_on(client)
        for client in clients:
            client.close()
        wait_until(lambda: len(listed()) == 1, "one less")
        with server.connect() as client:
            echo(client)
        code, log = server.stop()
    assert code == 0
    assert log.count("another takes its place") == 2
    assert "Traceback" not in log
    assert "aborted 0" in log


@pytest.mark.parametrize("mode", MODES)
def test_the_master_handles_single_requests_in_the_loop_of_the_model(
    mode: str, folder: Path
) -> None:
    needs_extra(mode)
    with create_server(mode, ("127.0.0.1", 0), workers=1) as server:
        for _ in range(2):
            with connect(server) as client:
                client.sendall(b"hello")
                client.shutdown(socket.SHUT_WR)
                server.handle_request()
                assert receive_all(client) == b"hello"
        server.drain(0.5)  # threads of a pool may be behind
        assert server.stats()["closed"] == 2


@pytest.mark.parametrize("end", ["killed worker", "killed master", "stopped server"])
def test_the_children_of_a_forking_worker_do_not_outlive_it(end: str, folder: Path) -> None:
    with workers("prefork-forking-tcp", folder, number=1) as (server, listed):
        (worker,) = listed()
        with server.connect() as client:
            echo(client)
            children = children_of(worker)
            assert len(children) == 1
            if end == "killed worker":
                os.kill(worker, signal.SIGKILL)
            elif end == "killed master":
                os.kill(server.pid, signal.SIGKILL)
            else:
                server.process.send_signal(signal.SIGTERM)
            assert receive_all(client) == b""
        wait_until(lambda: all_gone([worker, *children]), "they have ended with it")


def test_with_a_timeout_threads_that_all_have_clients_are_left_alone(folder: Path) -> None:
    options = ["--max-workers", "2", "--worker-timeout", "0.3"]
    with workers("prefork-prethreading-tcp", folder, *options, number=1) as (server, listed):
        old = listed()
        with server.connect() as first, server.connect() as second:
            echo(first)
            echo(second)
            first.settimeout(0.8)
            with pytest.raises(TimeoutError):
                first.recv(1)  # nothing ends it meanwhile
            first.settimeout(5)
            echo(first)
            echo(second)
        assert listed() == old
        assert ended_well(*server.stop())


def test_a_timeout_heals_a_mutex_whose_holder_stands_still(folder: Path) -> None:
    options = ["--accept", "mutex", "--worker-timeout", "0.4"]
    with workers("prefork-threading-tcp", folder, *options) as (server, listed):
        for pid in listed():  # one of them has the token
            os.kill(pid, signal.SIGSTOP)
            with server.connect() as client:
                echo(client)
            wait_until(lambda pid=pid: pid not in listed(), "killed")


def test_workers_killed_again_and_again_are_replaced_at_once(folder: Path) -> None:
    with workers("prefork-epoll-tcp", folder) as (server, listed):
        for _ in range(8):  # delays would grow to 25 s
            old = listed()[0]
            os.kill(old, signal.SIGKILL)
            wait_until(
                lambda old=old: len(listed()) == 2 and old not in listed() and ready(listed()),
                "replaced",
                1,
            )
        _, log = server.stop()
    assert "die at their start" not in log
