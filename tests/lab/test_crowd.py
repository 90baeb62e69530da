"""Crowds and bursts against servers that refuse, hang up, or answer as they should."""

import contextlib
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import load_peers
from echoservers.lab import crowd
from echoservers.lab.experiments import EXPERIMENTS, Sample, connections, neighbours, workers
from echoservers.lab.visits import Visit, VisitError
from support import PATIENCE, serving
from test_client import needs_ipv6


def echoes(peer: socket.socket) -> None:
    """As it should be."""
    while data := peer.recv(65536):
        peer.sendall(data)


def hangs_up(peer: socket.socket) -> None:
    """Reads a message, and goes."""
    peer.recv(65536)


def answers_no(peer: socket.socket) -> None:
    """Says no, and goes."""
    peer.recv(65536)
    peer.sendall(b"no\n")


def answers_byte_by_byte(peer: socket.socket) -> None:
    """As it should be, though in pieces."""
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := peer.recv(65536):
        for place in range(len(data)):
            peer.sendall(data[place : place + 1])


class LetsGo:
    """Echoes, and lets its first clients go when the last one comes.

    :param last: how many clients there are.
    """

    def __init__(self, last: int, unasked: bytes = b"") -> None:
        self._last = last
        self._unasked = unasked
        self._peers: list[socket.socket] = []

    def __call__(self, peer: socket.socket) -> None:
        self._peers.append(peer)
        if len(self._peers) == self._last:
            for other in self._peers[:2]:
                other.sendall(self._unasked)
                other.shutdown(socket.SHUT_RDWR)
        echoes(peer)


def nobody() -> str:
    """An endpoint at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


# --- a burst ----------------------------------------------------------------------------


def test_a_burst_that_is_answered() -> None:
    with load_peers.serving_one(echoes) as endpoint:
        arrivals = crowd.burst(endpoint, 20, PATIENCE)
    times = list(crowd.answered(arrivals))
    assert len(times) == 20
    assert all(arrival.connected and not arrival.refused for arrival in arrivals)


@pytest.mark.parametrize(
    "mode", [pytest.param("threading-tcp", marks=needs_ipv6), "threading-unix-stream"]
)
def test_a_burst_at_each_family(mode: str, folder: Path) -> None:
    options: dict[str, Any] = {"host": "::1"} if mode.endswith("tcp") else {}
    with serving(mode, folder, **options) as server:
        arrivals = crowd.burst(server.endpoint(), 3, PATIENCE)
    assert len(list(crowd.answered(arrivals))) == 3


def test_a_burst_that_is_refused() -> None:
    arrivals = crowd.burst(nobody(), 3, PATIENCE)
    assert arrivals == [crowd.Arrival(None, None, True)] * 3


def test_a_burst_at_a_socket_that_is_not_there(folder: Path) -> None:
    arrivals = crowd.burst(f"unix-stream://{folder}/none", 2, PATIENCE)
    assert arrivals == [crowd.Arrival(None, None, True)] * 2


def test_a_burst_at_a_server_that_hangs_up() -> None:
    with load_peers.serving_one(hangs_up) as endpoint:
        arrivals = crowd.burst(endpoint, 3, PATIENCE)
    assert all(arrival.refused and arrival.connected for arrival in arrivals)
    assert list(crowd.answered(arrivals)) == []


def test_a_burst_whose_replies_come_in_pieces() -> None:
    with load_peers.serving_one(answers_byte_by_byte) as endpoint:
        arrivals = crowd.burst(endpoint, 3, PATIENCE)
    assert len(list(crowd.answered(arrivals))) == 3


def test_a_burst_that_is_not_answered_is_given_up() -> None:
    with load_peers.serving_one(load_peers.says_nothing) as endpoint:
        arrivals = crowd.burst(endpoint, 3, 0.05)
    assert not any(arrival.refused or arrival.answered for arrival in arrivals)


# --- a crowd ----------------------------------------------------------------------------


def test_a_crowd_grows_until_the_server_takes_no_more(folder: Path) -> None:
    with (
        serving("threading-tcp", folder, max_connections=3, overflow="refuse") as server,
        contextlib.closing(crowd.Crowd(server.endpoint())) as idle,
    ):
        assert idle.grow(2, time.monotonic() + PATIENCE)
        assert (len(idle), idle.is_full) == (2, False)
        assert idle.grow(10, time.monotonic() + PATIENCE)
        assert (len(idle), idle.is_full) == (3, True)


def test_a_crowd_that_has_no_time_left_stays_as_it_is() -> None:
    with load_peers.serving_one(echoes) as endpoint:
        idle = crowd.Crowd(endpoint)
        assert not idle.grow(3, time.monotonic() - 1)
        assert len(idle) == 0


def test_a_crowd_where_nobody_listens_is_full() -> None:
    idle = crowd.Crowd(nobody())
    assert idle.grow(3, time.monotonic() + PATIENCE)
    assert (len(idle), idle.is_full) == (0, True)


# --- the experiments that use them ------------------------------------------------------


class Bench:
    """A server that runs already, of which nothing more is known."""

    timeout = PATIENCE

    def __init__(self, endpoint: str, standing: int | None = 100) -> None:
        self.endpoint = endpoint
        self.standing = standing
        self.kept_by_name: dict[str, Any] = {}

    def once(self, name: str, make: Any) -> Any:
        return self.kept_by_name.setdefault(name, make())

    def kept(self, name: str) -> Any:
        return self.kept_by_name.get(name)

    def keep(self, what: Any) -> Any:
        return what

    def look(self) -> None:
        return None

    def now(self) -> float:
        return time.monotonic()

    def explained(self, what: str) -> str:
        return f"the server: {what}"

    def worker_of(self, pid: int, thread: int) -> tuple[int, int]:
        return pid, thread

    def workers(self) -> int | None:
        return self.standing


def measure(name: str, bench: Bench, **parameters: Any) -> Sample:
    cell = {**EXPERIMENTS[name].cells()[0], **parameters}
    sample = EXPERIMENTS[name].measure(bench, cell)  # type: ignore[arg-type]
    idle = bench.kept("crowd")
    if idle is not None:
        idle.close()
    return sample


def test_idle_clients_of_a_server_that_cannot_be_looked_at() -> None:
    with load_peers.serving_one(echoes) as endpoint:
        sample = measure("idle", Bench(endpoint), connections=3)
    assert set(sample.figures) == {"answered_share", "p50"}
    assert sample.figures["answered_share"] == 1


def test_idle_clients_of_which_some_are_not_taken(folder: Path) -> None:
    with serving("threading-tcp", folder, max_connections=2, overflow="refuse") as server:
        sample = measure("idle", Bench(server.endpoint()), connections=5)
        assert sample.limited_by == "time"
        assert sample.notes == ["2 of 5 idle clients were taken"]
    with serving("threading-tcp", folder, max_connections=2, overflow="refuse") as server:
        sample = measure("idle", Bench(server.endpoint()), connections=2)
    (note,) = sample.notes
    assert note.startswith("one more client was not served: ")


@pytest.mark.parametrize(("name", "what"), [("idle", "connections"), ("backlog", "burst")])
def test_who_answers_something_else_has_no_figures(name: str, what: str) -> None:
    with load_peers.serving_one(answers_no) as endpoint:
        sample = measure(name, Bench(endpoint), **{what: 3})
    assert sample.error == "the server: a reply differs: expected b'i\\n', received b'no'"
    assert not sample.figures


def test_idle_clients_that_are_let_go_are_not_counted() -> None:
    with load_peers.serving_one(LetsGo(5)) as endpoint:
        sample = measure("idle", Bench(endpoint), connections=5)
    assert sample.figures == {"answered_share": 3 / 5}
    assert sample.limited_by == "time"
    assert sample.notes == [
        "5 of 5 idle clients were taken; 2 of them were let go before all had come"
    ]


def test_idle_clients_that_are_told_something_are_told_of() -> None:
    with load_peers.serving_one(LetsGo(3, b"bye\n")) as endpoint:
        sample = measure("idle", Bench(endpoint), connections=3)
    assert sample.error == "the server: it sends b'bye\\n', which nobody has asked for"


def test_idle_clients_over_tls_stand(folder: Path) -> None:
    with serving("threading-tls", folder) as server:
        sample = measure("idle", Bench(server.endpoint()), connections=3)
    assert sample.figures["answered_share"] == 1


def test_a_burst_is_measured() -> None:
    with load_peers.serving_one(echoes) as endpoint:
        sample = measure("backlog", Bench(endpoint), burst=5)
        assert sample.figures["answered_share"] == 1
        assert {"connect_max", "max"} <= set(sample.figures)
        assert {"connect_p50", "connect_p99", "p50"} <= set(sample.withheld)  # five carry none
    sample = measure("backlog", Bench(nobody()), burst=5)
    assert sample.figures == {"refused": 5, "answered_share": 0}


def test_a_burst_that_is_late_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "RETRANSMITTED", 0.05)
    with load_peers.serving_one(load_peers.says_nothing) as endpoint:
        sample = measure("backlog", Bench(endpoint), burst=4)
    assert sample.notes == ["4 of 4 were not answered within 0.05 s"]


@pytest.mark.parametrize(("name", "what"), [("idle", "connections"), ("backlog", "burst")])
def test_more_clients_than_descriptors_are_not_tried(
    name: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowd, "descriptor_limit", lambda: 256)
    sample = measure(name, Bench(nobody()), **{what: 500})
    assert sample.limited_by == "descriptors"
    assert "256" in sample.notes[0]


def test_the_backlog_is_an_option_where_one_is_asked_for() -> None:
    assert connections._backlog_options({"backlog": connections.AS_IT_IS}) == {}
    assert connections._backlog_options({"backlog": "5"}) == {"request_queue_size": 5}


def test_what_process_control_costs_needs_both_figures() -> None:
    name = "server_cpu_per_connection"
    assert connections._process_control({name: 3.0}, {name: 1.0}) == {"process_control_cpu": 2.0}
    assert connections._process_control({name: 3.0}, {}) == {}


@pytest.mark.parametrize("name", ["fairness", "timeline"])
def test_visits_that_fail_are_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise VisitError("it closed the connection")

    monkeypatch.setattr(workers, "visit", fail)
    sample = measure(name, Bench("tcp://127.0.0.1:1"))
    assert sample.error == "the server: it closed the connection"


@pytest.mark.parametrize(("name", "requests"), [("fairness", 1), ("timeline", 3)])
def test_there_is_time_for_all_the_work_that_is_ordered(
    name: str, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def remember(_endpoint: str, _order: bytes, **how: Any) -> list[Visit]:
        asked.update(how)
        raise VisitError("enough")

    monkeypatch.setattr(workers, "visit", remember)
    parameters = {"clients": 4, "connections": 8, "milliseconds": 2000.0}
    sample = measure(name, Bench("tcp://127.0.0.1:1"), requests=requests, **parameters)
    assert sample.error == "the server: enough"
    work = 4 * 2.0 * asked["visits"] * asked["requests"]
    assert asked["timeout"] > work
    assert asked["seconds"] > work


def visits_of_two_workers(*_: object, **__: object) -> list[Visit]:
    return [
        Visit(**{**dict.fromkeys(Visit._fields, 0), "pid": 1, "thread": n % 2,
                 "sent": float(n), "received": n + 0.5})
        for n in range(10)
    ]  # fmt: skip


def test_of_a_server_whose_workers_are_not_known_there_is_no_index(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "visit", visits_of_two_workers)
    sample = measure("fairness", Bench("tcp://127.0.0.1:1", standing=None))
    assert "jain_index" not in sample.figures
    assert sample.figures["workers"] == 2
    assert sample.withheld == {"jain_index": workers.UNKNOWN}


def test_workers_that_served_nobody_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "visit", visits_of_two_workers)
    sample = measure("fairness", Bench("tcp://127.0.0.1:1"))
    assert sample.figures["workers"] == 2
    assert "98 of 100 workers served nobody" in sample.notes
    assert f"the picture has {workers.MOST_SHOWN} of 100 workers" in sample.notes
    assert len(sample.series["served_by_worker"]["y"]) == workers.MOST_SHOWN


def test_what_is_kept_beside_heavy_clients_is_of_the_time_after_they_came() -> None:
    sample = Sample({"throughput": 100.0, "p99": 0.1, "server_cpu_per_message": 1e-5})
    done = np.array([*np.arange(0, 1, 0.01), *np.arange(1, 2, 0.02)])
    neighbours._split(sample, done, 0.0, 1.0, 2.0)
    assert sample.figures == {"throughput": pytest.approx(50), "kept_share": pytest.approx(0.5)}
    sample = Sample({"throughput": 100.0})
    neighbours._split(sample, done, 2.0, 2.0, 1.0)  # nothing before
    assert sample.figures == {"throughput": 0.0}
