"""Preforked workers over every model: who accepts, and what is one number over all of them."""

import os
import select
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

import echoservers
from chosen_modes import SHARE
from echoservers import EchoHandler, OptionError, create_server
from support import (
    AVAILABLE,
    PATIENCE,
    STREAM_NAMES,
    children_of,
    connect,
    descriptors_of,
    echo,
    echo_once,
    free_address,
    program,
    receive_all,
    receive_exactly,
    serve_arguments,
    serving,
    wait_until,
)

VARIANTS = {
    "tcp": ("shared", "flock", "mutex", "handoff", "reuseport"),
    "udp": ("shared", "flock", "mutex", "reuseport"),
    "unix-stream": ("shared", "flock", "mutex", "handoff"),
    "unix-datagram": ("shared", "flock", "mutex"),
}
ALL = [
    (f"{model}-{transport}", accept)
    for model in ("prefork", "prefork-threading")
    for transport, variants in VARIANTS.items()
    for accept in variants
]
STREAMS = [pair for pair in ALL if pair[0].endswith(("-tcp", "-stream"))]
OF_CHILDREN = [
    ("prefork-forking-tcp", "mutex"),
    ("prefork-forking-udp", "shared"),
    ("prefork-forking-unix-stream", "handoff"),
    ("prefork-forking-unix-datagram", "flock"),
]
"""Workers that fork: each transport once, and each variant that does something to a worker."""
OVER_OTHERS = [
    (f"prefork-{model}-{transport}", accept)
    for model in (
        *("thread-pool", "prethreading", "select", "poll", "epoll"),
        *("asyncio", "uvloop", "gevent"),
    )
    for transport, accept in (
        ("tcp", "shared"),
        ("tcp", "handoff"),
        ("unix-stream", "mutex"),
        ("udp", "reuseport"),
        ("tcp", "flock"),
    )
    if f"prefork-{model}-{transport}" in AVAILABLE
]
"""Every other model, each with every variant."""
COUNTED = [pair for pair in ALL + OF_CHILDREN + OVER_OTHERS if pair[0] in SHARE]


class WhichWorker(EchoHandler):
    def respond(self, message: bytes) -> bytes:
        return b"%d" % os.getpid()


def worker_of(client: socket.socket) -> int:
    """The process that serves *client*."""
    client.sendall(b"?" * 10)
    return int(client.recv(100))


# --- who accepts ------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "accept"), COUNTED)
def test_every_variant_serves_counts_and_ends(mode: str, accept: str, folder: Path) -> None:
    with serving(mode, folder, accept=accept) as server:
        for number in range(10):
            echo_once(server, b"client %d" % number)
        wait_until(lambda: server.stats()["closed"] == 10, "all are over")
        stats = server.stats()
        assert stats["accepted"] == stats["messages"] == 10
        assert (stats["active"], stats["errors"], stats["refused"]) == (0, 0, {})
        assert stats["bytes_in"] == stats["bytes_out"] == 10 * len("client 0")


@pytest.mark.parametrize(
    ("mode", "accept"), [s for s in STREAMS if "threading" not in s[0] or s[1] == "handoff"]
)
def test_every_worker_serves(mode: str, accept: str, folder: Path) -> None:
    """Two clients at a time keep two iterative workers busy; handed over, any two do."""
    with serving(mode, folder, WhichWorker, accept=accept) as server:

        def served_by_both() -> bool:
            with connect(server, timeout=1) as first, connect(server, timeout=1) as second:
                try:
                    workers = {worker_of(first), worker_of(second)}
                except TimeoutError:  # a second listener's queue, and its worker is busy
                    return False
                return workers == set(children_of(server.pid))

        wait_until(served_by_both, "both serve")


@pytest.mark.parametrize(("mode", "accept"), STREAMS)
def test_a_drain_serves_the_backlog_in_every_variant(mode: str, accept: str, folder: Path) -> None:
    with (
        serving(mode, folder, accept=accept, max_connections=1) as server,
        connect(server) as first,
    ):
        echo(first)
        waiting = [connect(server) for _ in range(4)]
        for client in waiting:
            client.sendall(b"in the backlog")
        assert tuple(server.drain(10)) == (5, 0)
        for client in waiting:
            assert receive_all(client) == b"in the backlog"
            client.close()


@pytest.mark.parametrize(
    ("mode", "accept", "fitting"),
    [
        ("prefork-udp", "handoff", "shared, flock, mutex, reuseport"),
        ("prefork-unix-stream", "reuseport", "shared, flock, mutex, handoff"),
        ("prefork-unix-datagram", "handoff", "shared, flock, mutex"),
        ("prefork-threading-unix-datagram", "reuseport", "shared, flock, mutex"),
    ],
)
def test_a_variant_that_the_transport_has_not_is_refused(
    mode: str, accept: str, fitting: str, folder: Path
) -> None:
    before = descriptors_of(os.getpid())
    with pytest.raises(OptionError, match=f"accept='{accept}': .*can have {fitting}$"):
        create_server(mode, free_address(mode, folder), accept=accept)
    assert descriptors_of(os.getpid()) == before
    assert not (folder / "server.sock").exists()


def test_with_reuseport_a_taken_port_is_an_error_all_the_same() -> None:
    with (
        create_server("prefork-tcp:accept=reuseport", ("127.0.0.1", 0)) as first,
        pytest.raises(OSError, match="in use"),
    ):
        create_server("prefork-tcp:accept=reuseport", first.server_address)


@pytest.mark.parametrize("accept", ["flock", "mutex"])
def test_a_worker_killed_while_it_may_hold_the_lock_keeps_nobody_out(
    accept: str, folder: Path
) -> None:
    with serving("prefork-tcp", folder, accept=accept) as server:
        for _ in range(10):
            wait_until(lambda: len(children_of(server.pid)) == 2, "both are there")
            echo_once(server)
            os.kill(killed := children_of(server.pid)[0], 9)
            wait_until(lambda pid=killed: pid not in children_of(server.pid), "it is reaped")
        for _ in range(10):
            echo_once(server)


# --- composed by name -------------------------------------------------------------------


@pytest.mark.parametrize(
    "inner",
    [m for m in echoservers.modes() if f"prefork-{m.name}" in AVAILABLE],
    ids=lambda mode: mode.name,
)
def test_prefork_goes_over_every_mode(inner: Any) -> None:
    mode = echoservers.registry.find_mode(f"prefork-{inner.name}")
    cls = echoservers.server_class(mode.name)
    assert cls is echoservers.server_class(mode.name)
    assert cls.__name__ == f"Prefork{echoservers.server_class(inner.name).__name__}"
    assert issubclass(cls, echoservers.PreforkMixIn)
    assert issubclass(cls, echoservers.server_class(inner.name))
    assert mode.transport == inner.transport
    assert mode.serves
    assert mode.good_for
    assert mode in echoservers.modes()


@pytest.mark.parametrize(
    ("alias", "accept"),
    [("unp2", "shared"), ("unp3", "flock"), ("unp4", "mutex"), ("unp5", "handoff")],
)
def test_the_designs_of_the_textbook_have_their_names(alias: str, accept: str) -> None:
    with create_server(alias, ("127.0.0.1", 0)) as server:
        assert server.mode == "prefork-tcp"
        assert server.accept == accept  # type: ignore[attr-defined]
    with create_server(f"{alias}:workers=3", ("127.0.0.1", 0), accept="shared") as server:
        assert (server.accept, server.workers) == ("shared", 3)  # type: ignore[attr-defined]


def test_a_model_may_say_that_it_cannot_be_preforked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Alone(echoservers.ThreadingMixIn):
        prefork = False

    class Social(echoservers.ThreadingMixIn):
        """Among others."""

    monkeypatch.setattr(echoservers.registry, "_registered", {})
    monkeypatch.setattr(echoservers.registry, "_classes", {})
    echoservers.register("alone", Alone)
    echoservers.register("social", Social)
    names = {mode.name for mode in echoservers.modes()}
    assert {"alone-tcp", "social-tcp", "prefork-social-tcp"} <= names
    assert "prefork-alone-tcp" not in names
    assert echoservers.server_class("prefork-social-udp").__name__ == "PreforkSocialUDPServer"
    with pytest.raises(echoservers.UnknownMode):
        echoservers.server_class("prefork-alone-tcp")


@pytest.mark.parametrize("workers", ["0", "1001", "many", "none"])
def test_a_bad_number_of_workers_is_refused(workers: str) -> None:
    with pytest.raises(OptionError, match="from 1 to 1000"):
        create_server(f"prefork-tcp:workers={workers}", ("127.0.0.1", 0))


def test_a_handler_that_shuts_down_stops_the_whole_server(folder: Path) -> None:
    (folder / "stops.py").write_text(
        "from echoservers import EchoHandler\n"
        "class Stops(EchoHandler):\n"
        "    def respond(self, message):\n"
        "        self.server.shutdown()\n"
        "        return message\n"
    )
    for mode in ("prefork-tcp", "prefork-threading-tcp", "prefork-forking-tcp"):
        arguments = [*serve_arguments(mode, folder), "--handler", "stops:Stops"]
        with program(*arguments, cwd=folder) as server, server.connect() as client:
            echo(client)
            code, log = server.ended()
        assert (code, log.count("\n")) == (0, 1)


# --- one number over all workers --------------------------------------------------------


@pytest.mark.parametrize("accept", VARIANTS["tcp"])
@pytest.mark.parametrize("mode", ["prefork-threading-tcp", "prefork-forking-tcp"])
def test_max_connections_is_exact_over_all_workers(mode: str, accept: str, folder: Path) -> None:
    with serving(
        mode, folder, accept=accept, workers=3, max_connections=7, overflow="refuse"
    ) as server:
        clients = [connect(server) for _ in range(40)]
        replies = []
        for client in clients:
            try:
                client.sendall(b"hello")
                replies.append(client.recv(5))
            except ConnectionError:
                replies.append(b"")
        assert replies.count(b"hello") == 7
        wait_until(lambda: server.stats()["refused"] == {"max_connections": 33}, "refused")
        assert server.stats()["active"] == 7
        for client in clients:
            client.close()
        wait_until(lambda: server.stats()["active"] == 0, "all are over")
        echo_once(server)


@pytest.mark.parametrize("accept", VARIANTS["tcp"])
@pytest.mark.parametrize("mode", ["prefork-tcp", "prefork-threading-tcp"])
def test_beyond_the_limit_clients_wait_and_are_served_in_the_end(
    mode: str, accept: str, folder: Path
) -> None:
    with serving(mode, folder, accept=accept, workers=3, max_connections=2) as server:
        clients = [connect(server) for _ in range(20)]
        for number, client in enumerate(clients):
            client.sendall(b"client %02d" % number)
        waiting = {client: b"client %02d" % number for number, client in enumerate(clients)}
        while waiting:
            for client in select.select(waiting, [], [], PATIENCE)[0]:
                assert server.stats()["active"] <= 2
                assert receive_exactly(client, 9) == waiting.pop(client)
                client.close()
        wait_until(lambda: server.stats()["closed"] == 20, "all are over")
        assert server.stats()["refused"] == {}


@pytest.mark.parametrize("accept", ["shared", "reuseport", "handoff"])
def test_the_limit_by_source_holds_over_all_workers_together(accept: str, folder: Path) -> None:
    options = {"accept": accept, "workers": 3, "max_connections_per_source": 5}
    with serving("prefork-threading-tcp", folder, **options) as server:
        clients = []
        for number in range(60):
            source = f"127.0.0.{2 + number % 2}"
            clients.append(socket.create_connection(server.server_address, PATIENCE, (source, 0)))
        served: dict[str, list[socket.socket]] = {"127.0.0.2": [], "127.0.0.3": []}
        for client in clients:
            try:
                client.sendall(b"hello")
                if client.recv(5):
                    served[client.getsockname()[0]].append(client)
            except ConnectionError:
                continue
        assert {len(clients) for clients in served.values()} == {5}
        assert server.stats()["refused"] == {"max_connections_per_source": 50}
        for client in clients:
            client.close()
        wait_until(lambda: server.stats()["active"] == 0, "all are over")
        echo_once(server)


def test_a_killed_worker_gives_back_its_places_and_keeps_its_counts(folder: Path) -> None:
    options = {"max_connections": 4, "max_connections_per_source": 4, "overflow": "refuse"}
    with serving("prefork-threading-tcp", folder, WhichWorker, **options) as server:
        for _ in range(3):
            served = [connect(server) for _ in range(4)]
            workers = {worker_of(client) for client in served}
            with connect(server) as refused:
                assert receive_all(refused) == b""
            before = server.stats()
            for pid in workers:
                os.kill(pid, 9)
            for client in served:
                assert receive_all(client) == b""
                client.close()
            wait_until(lambda: server.stats()["active"] == 0, "the master has seen it")
            wait_until(lambda: len(children_of(server.pid)) == 2, "others are there")
        stats = server.stats()
        assert stats["accepted"] == 15
        assert stats["refused"] == {"max_connections": 3}
        assert stats["closed"] == stats["errors"] == stats["messages"] == 12
        assert stats["messages"] >= before["messages"]


def test_stats_are_those_of_all_in_a_handler_too(folder: Path) -> None:
    with serving("prefork-tcp", folder, Counts) as server, connect(server) as first:
        first.sendall(b"?")
        assert first.recv(100) == b"1"
        with connect(server) as second:
            second.sendall(b"?")
            assert second.recv(100) == b"2"


class Counts(EchoHandler):
    def respond(self, message: bytes) -> bytes:
        return b"%d" % self.server.stats()["accepted"]


# --- the life of the master -------------------------------------------------------------


@pytest.mark.parametrize("mode", [name for name in STREAM_NAMES if name.startswith("prefork")])
def test_serve_shut_down_and_serve_again(mode: str, folder: Path) -> None:
    with create_server(mode, free_address(mode, folder), workers=2) as server:
        for _ in range(5):
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            with connect(server) as client:
                echo(client)
                client.shutdown(socket.SHUT_RDWR)
            server.shutdown()
            thread.join(PATIENCE)
            assert not thread.is_alive()
    assert server.stats()["accepted"] == 5


def test_requests_handled_one_by_one_are_counted_with_the_others() -> None:
    with create_server("prefork-tcp", ("127.0.0.1", 0)) as server:
        with connect(server) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            server.handle_request()
            assert receive_all(client) == b"hello"
        assert server.stats()["closed"] == server.stats()["messages"] == 1


def test_idle_workers_and_their_master_use_no_cpu(folder: Path) -> None:
    with program(*serve_arguments("prefork-tcp", folder)) as server:
        wait_until(lambda: len(children_of(server.pid)) == 2, "both are there")
        with server.connect() as client:
            echo(client)
        threading.Event().wait(0.1)  # the start is over
        pids = [server.pid, *children_of(server.pid)]
        before = [switches(pid) for pid in pids]
        threading.Event().wait(0.5)  # a while in which nothing must happen
        assert [switches(pid) for pid in pids] == before


def switches(pid: int) -> list[str]:
    """How often each thread of a process has waited or was made to."""
    return [
        line
        for task in sorted(Path(f"/proc/{pid}/task").iterdir())
        for line in (task / "status").read_text().splitlines()
        if "voluntary_ctxt_switches" in line
    ]
