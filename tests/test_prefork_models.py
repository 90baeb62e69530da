"""What a master does for its workers, whatever the model that they serve with."""

import os
import resource
import select
import signal
import socket
from pathlib import Path

import pytest

from chosen_modes import SHARE
from echoservers import OptionError, create_server
from prefork_support import (
    all_gone,
    ended_well,
    line_of,
    peers_of,
    script,
    served_by,
    wait_until_ready,
    workers,
)
from support import (
    PATIENCE,
    Program,
    children_of,
    connect,
    echo,
    receive_all,
    receive_exactly,
    serving,
    wait_until,
)

MODELS = ("asyncio", "uvloop", "gevent", "epoll", "threading", "thread-pool", "prethreading")
MODES = [mode for mode in (f"prefork-{model}-tcp" for model in MODELS) if mode in SHARE]


MUCH = bytes(100_000)


def connect_to_each(server: Program, pids: list[int]) -> list[socket.socket]:
    """Clients, so many that each worker has one."""
    clients: list[socket.socket] = []
    served: set[int] = set()
    while served != set(pids):
        for client in clients:  # the kernel wakes the same worker first, unless that is busy
            client.sendall(MUCH)
        new, pid = served_by(server, pids)
        for client in clients:
            assert receive_exactly(client, len(MUCH)) == MUCH
        clients.append(new)
        served.add(pid)
    return clients


def assert_they_go_on(*clients: socket.socket) -> None:
    assert select.select(clients, [], [], 0.05)[0] == []  # nothing ends them
    for client in clients:
        echo(client)


@pytest.mark.parametrize("mode", MODES)
def test_killed_replaced_removed_and_a_connection_goes_on(mode: str, folder: Path) -> None:
    with workers(mode, folder) as (server, listed):
        for _ in range(2):
            old = listed()
            os.kill(old[0], signal.SIGKILL)
            pids = wait_until_ready(listed, without=old[:1])
        clients = connect_to_each(server, pids)
        old = pids
        server.process.send_signal(signal.SIGHUP)  # reload()
        wait_until_ready(listed, 4)  # both have successors
        assert_they_go_on(*clients)
        for client in clients:
            client.close()
        clients = connect_to_each(server, wait_until_ready(listed, without=old))
        server.process.send_signal(signal.SIGTTOU)  # remove_worker()
        assert_they_go_on(*clients)
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


@pytest.mark.parametrize("accept", ["shared", "handoff", "reuseport"])
def test_clients_that_stay_hold_no_reload_up_and_twice_as_many_serve_at_most(
    accept: str, folder: Path
) -> None:
    with workers("prefork-threading-tcp", folder, "--accept", accept) as (server, listed):
        first = set(listed())
        clients = connect_to_each(server, listed())
        server.process.send_signal(signal.SIGHUP)
        second = set(wait_until_ready(listed, 4)) - first  # each has a successor
        server.process.send_signal(signal.SIGHUP)
        assert_they_go_on(*clients)
        assert set(listed()) == first | second  # the next come when the first have left
        for client in clients:
            client.close()
        wait_until(lambda: len(listed()) == 2 and not (first | second) & set(listed()), "all new")
        assert ended_well(*server.stop())


@pytest.mark.parametrize("accept", ["shared", "flock", "mutex", "handoff"])
@pytest.mark.parametrize("model", ["thread-pool", "prethreading"])
def test_nobody_waits_for_a_thread_of_one_worker_while_another_has_one(
    model: str, accept: str, folder: Path
) -> None:
    options = ["--accept", accept, "--max-workers", "1"]
    with workers(f"prefork-{model}-tcp", folder, *options) as (server, _):
        for _ in range(10):
            with server.connect(timeout=5) as first, server.connect(timeout=5) as second:
                echo(first)
                echo(second)


def test_a_connection_handed_over_that_has_no_descriptor_is_lost_with_a_word(folder: Path) -> None:
    options = ["--accept", "handoff"]
    with workers("prefork-threading-tcp", folder, *options, number=1) as (server, listed):
        (worker,) = listed()
        with server.connect() as client:
            echo(client)
        wait_until(lambda: not peers_of(worker), "it has closed it")
        used = {int(number) for number in os.listdir(f"/proc/{worker}/fd")}
        limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        free = min(set(range(limits[0])) - used)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (free, limits[1]))
        with server.connect() as client:
            assert client.recv(1) == b""
        resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
        with server.connect() as client:
            echo(client)
        code, log = server.stop()
    assert code == 0
    assert "cannot accept: no descriptor left for a connection that was handed over" in log


def test_a_queue_that_workers_would_not_use_is_refused() -> None:
    mode = "prefork-thread-pool-tcp:queue_size=3"
    for accept in ("shared", "flock", "mutex", "handoff"):
        with pytest.raises(OptionError, match=r"queue_size=3: .* accept=reuseport or overflow="):
            create_server(mode, ("127.0.0.1", 0), accept=accept)
        create_server(mode, ("127.0.0.1", 0), accept=accept, overflow="refuse").server_close()
    create_server(mode, ("127.0.0.1", 0), accept="reuseport").server_close()


def test_workers_with_a_listener_each_queue_as_many_as_asked_for(folder: Path) -> None:
    options = {"accept": "reuseport", "workers": 1, "max_workers": 1, "queue_size": 2}
    with serving("prefork-thread-pool-tcp", folder, **options) as server:
        clients = [connect(server) for _ in range(5)]
        wait_until(lambda: server.stats()["active"] == 3, "one is served and two are queued")
        for client in clients:
            client.sendall(b"hello")
        for client in clients:
            with client:
                assert receive_exactly(client, 5) == b"hello"
        wait_until(lambda: server.stats()["closed"] == 5, "all are over")


@pytest.mark.parametrize("mode", MODES)
def test_the_master_handles_single_requests_in_the_loop_of_the_model(
    mode: str, folder: Path
) -> None:
    with create_server(mode, ("127.0.0.1", 0), workers=1) as server:
        for _ in range(2):
            with connect(server) as client:
                client.sendall(b"hello")
                client.shutdown(socket.SHUT_WR)
                server.handle_request()
                assert receive_all(client) == b"hello"
        server.drain(0.5)  # threads of a pool may be behind
        assert server.stats()["closed"] == 2


HANDLES_ONE_AND_SERVES = """
import sys
from echoservers import create_server

with create_server(sys.argv[1], ("127.0.0.1", 0), workers=2, accept=sys.argv[2]) as server:
    print(server.server_address[1], flush=True)
    server.handle_request()
    server.serve_forever()
"""


@pytest.mark.parametrize("accept", ["shared", "reuseport"])
@pytest.mark.parametrize("mode", MODES)
def test_what_the_master_has_handled_itself_is_not_its_workers(mode: str, accept: str) -> None:
    with script(HANDLES_ONE_AND_SERVES, mode, accept) as process:
        address = ("127.0.0.1", int(line_of(process)))
        with socket.create_connection(address, PATIENCE) as first:
            first.sendall(b"hello")
            first.shutdown(socket.SHUT_WR)
            assert receive_all(first) == b"hello"
        for _ in range(10):
            with socket.create_connection(address, PATIENCE) as client:
                echo(client)


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


STUCK_IN_THE_LEAD = """
import threading
from echoservers import EchoHandler, server_class

class Sticking(server_class("prefork-prethreading-tcp")):
    def verify_request(self, request, client_address):
        if request.recv(1) == b"!":
            threading.Event().wait()
        return True

options = {"workers": 1, "max_workers": 2, "worker_timeout": 0.3}
with Sticking(("127.0.0.1", 0), EchoHandler, **options) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""


def test_with_a_timeout_a_thread_that_sticks_in_the_lead_ends_its_worker() -> None:
    with script(STUCK_IN_THE_LEAD) as process:
        address = ("127.0.0.1", int(line_of(process)))
        with socket.create_connection(address, PATIENCE) as client:
            client.sendall(b"!")
            assert client.recv(1) == b""
        with socket.create_connection(address, PATIENCE) as client:
            client.sendall(b"?")
            echo(client)


def test_a_timeout_heals_a_mutex_whose_holder_stands_still(folder: Path) -> None:
    options = ["--accept", "mutex", "--worker-timeout", "0.4"]
    with workers("prefork-threading-tcp", folder, *options) as (server, listed):
        for pid in listed():  # one of them has the token
            os.kill(pid, signal.SIGSTOP)
            with server.connect() as client:
                echo(client)
            wait_until(lambda pid=pid: pid not in listed(), "killed")


def test_workers_killed_again_and_again_are_replaced_at_once(folder: Path) -> None:
    killed = []
    with workers("prefork-epoll-tcp", folder) as (server, listed):
        pids = listed()
        for _ in range(8):  # delays would grow to 25 s
            client, pid = served_by(server, pids)  # so it has not died at its start
            with client:
                os.kill(pid, signal.SIGKILL)
                pids = wait_until_ready(listed, without=[pid])
            killed.append(pid)
        code, log = server.stop()
    ends = "was killed by signal 9 (connections lost: 1); another takes its place"
    assert log.splitlines() == [
        *(f"worker {pid} {ends}" for pid in killed),
        "drained 0 connections, aborted 0",
    ]
    assert code == 0


# --- what a worker inherits, and what fails ---------------------------------------------

WITH_A_HUB = """
import signal
import gevent
from echoservers import EchoHandler, server_class

gevent.sleep(0)  # the hub of this thread, and its event loop
with server_class("prefork-gevent-tcp")(("127.0.0.1", 0), EchoHandler, workers=2) as server:
    signal.signal(signal.SIGTERM, lambda *_: server.start_drain())
    signal.signal(signal.SIGHUP, lambda *_: server.reload())
    print(server.server_address[1], flush=True)
    server.serve_forever()
gevent.sleep(0)  # it is as it was
print("ended", flush=True)
"""


def test_workers_do_not_share_the_hub_of_a_program_that_uses_gevent() -> None:
    pytest.importorskip("gevent")
    with script(WITH_A_HUB) as process:
        address = ("127.0.0.1", int(line_of(process)))
        old: list[int] = []
        for _ in range(2):
            old = wait_until_ready(lambda: children_of(process.pid), without=old)
            with socket.create_connection(address, PATIENCE) as client:
                echo(client)
                process.send_signal(signal.SIGHUP)
                assert_they_go_on(client)
        wait_until_ready(lambda: children_of(process.pid), without=old)
        process.send_signal(signal.SIGTERM)
        assert line_of(process) == "ended"
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


LISTENS = """
import socket, threading
from echoservers.workers.link import Link

master, worker = socket.socketpair()
words = {b"b": lambda: 1 / 0, b"h": lambda: print("heard", flush=True)}
Link(worker, -1).listen(words, lambda: print("orphaned", flush=True))
master.send(b"b?h")
master.close()
threading.Event().wait()
"""


def test_a_word_that_fails_leaves_the_worker_with_ears() -> None:
    with script(LISTENS) as process:
        assert line_of(process) == "heard"
        assert line_of(process) == "orphaned"
        assert process.wait(PATIENCE) == 1


def test_who_waits_for_the_start_learns_at_once_that_it_has_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with create_server("prefork-tcp", ("127.0.0.1", 0), workers=1) as server:

        def fail() -> None:
            raise OSError("no room")

        monkeypatch.setattr(server, "_prepare_team", fail)
        with pytest.raises(OSError, match="no room"):
            server.serve_forever()
        assert server.wait_until_started(0)
