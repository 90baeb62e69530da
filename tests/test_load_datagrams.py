"""Datagrams of a load that are lost, late, doubled or in nobody's room."""

import json
import os
import socket
from array import array
from collections.abc import Iterator
from typing import Any

import pytest

from echoservers.lab.load import LoadPlan, LoadResult, datagrams, run_load
from echoservers.lab.load.datagrams import ClosedDatagrams, OpenDatagrams
from echoservers.lab.load.loop import Loop, RunEnded, WrongReply, clock
from echoservers.lab.load.result import read_result
from load_pairs import Pairs, a_loop, goes_on, turns
from support import PATIENCE


@pytest.fixture
def loop() -> Iterator[Loop]:
    with a_loop() as made:
        yield made


@pytest.fixture
def messages() -> Iterator[Pairs]:
    with Pairs(socket.SOCK_DGRAM) as pairs:
        yield pairs


def test_a_datagram_that_finds_no_room_waits_for_it(loop: Loop, messages: Pairs) -> None:
    load = ClosedDatagrams(loop, messages, LoadPlan("unix-datagram:///x", size=10))  # type: ignore[arg-type]
    load.dial()
    (client,) = load._clients
    for _ in range(1000):  # as if others had filled the server's queue
        try:
            client._socket.send(b"other")
        except BlockingIOError:
            break
    load.start(clock())
    turns(loop)
    (peer,) = messages.peers
    while (data := peer.recv(100)) == b"other":
        loop.epoll.poll(0) and turns(loop, 0.001)
    turns(loop)
    peer.send(data if data != b"other" else peer.recv(100))
    goes_on(loop, lambda: load._loop.answered() == 1)
    load.close()


def test_a_datagram_that_was_given_up_is_not_taken_for_another(
    loop: Loop, messages: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "LOSS_TIME", 0.01)
    load = ClosedDatagrams(loop, messages, LoadPlan("unix-datagram:///x", size=10))  # type: ignore[arg-type]
    load.dial()
    load.start(clock())
    (peer,) = messages.peers
    first = peer.recv(100)
    monkeypatch.setattr(datagrams, "LOSS_TIME", 0.2)
    (client,) = load._clients
    loop.step(client._socket.fileno())  # for nothing: it waits on
    assert not client.losses
    monkeypatch.setattr(datagrams, "LOSS_TIME", 0.0)
    client.look(clock())
    second = peer.recv(100)
    assert (len(client.losses), len(client.ends)) == (1, 0)
    monkeypatch.setattr(datagrams, "LOSS_TIME", PATIENCE)
    peer.send(first)  # late
    turns(loop)
    assert len(client.ends) == 0
    peer.send(second)
    goes_on(loop, lambda: len(client.ends) == 1)
    peer.recv(100)
    peer.send(b"something")
    with pytest.raises(WrongReply, match="connection 0, message 1, byte 0"):
        turns(loop)
    load.close()


@pytest.fixture
def offered(loop: Loop, messages: Pairs) -> Iterator[OpenDatagrams]:
    """Datagrams at a rate of which none leaves by itself."""
    plan = LoadPlan("unix-datagram:///x", shape="datagram", rate=1.0, duration=60, size=10)
    load = OpenDatagrams(loop, messages, plan, spin=False)  # type: ignore[arg-type]
    load.dial()
    load.start(clock() + 3600)
    yield load
    load.close()


def test_a_datagram_that_comes_twice_counts_once(
    loop: Loop, messages: Pairs, offered: OpenDatagrams
) -> None:
    (client,), (peer,) = offered._clients, messages.peers
    client.send_message(0)
    loop.step(client._socket.fileno())  # for nothing
    data = peer.recv(100)
    peer.send(data)
    peer.send(data)
    goes_on(loop, lambda: bool(loop.errors))
    assert loop.errors == {"reply came twice": 1}
    assert offered.count == 1


@pytest.mark.parametrize("reply", [b"", b"nothing of ours", b"000000other"])
def test_a_datagram_of_others_is_wrong(
    loop: Loop, messages: Pairs, offered: OpenDatagrams, reply: bytes
) -> None:
    offered._clients[0].send_message(0)
    messages.peers[0].send(reply)
    with pytest.raises(WrongReply, match="connection 0"):
        turns(loop)


def test_offered_datagrams_that_cannot_leave(messages: Pairs, offered: OpenDatagrams) -> None:
    (client,), (peer,) = offered._clients, messages.peers
    loop = client.loop
    for number in range(1000):
        client.send_message(number)
        if loop.errors:
            break
    assert loop.errors == {"no room to send": 1}
    peer.close()
    with pytest.raises(RunEnded, match="nobody listens"):
        client.send_message(0)


def test_a_socket_for_datagrams_that_cannot_be_made_ends_the_run(loop: Loop) -> None:
    class Nowhere(Pairs):
        def dial(self) -> socket.socket:
            raise FileNotFoundError(2, os.strerror(2))

    load = ClosedDatagrams(loop, Nowhere(socket.SOCK_DGRAM), LoadPlan("unix-datagram:///x"))  # type: ignore[arg-type]
    with pytest.raises(RunEnded, match="no such file or directory"):
        load.dial()
    load.close()


def test_what_never_began_has_no_times(loop: Loop, messages: Pairs) -> None:
    plan = LoadPlan("unix-datagram:///x", shape="datagram", rate=100.0)
    told, arrays = OpenDatagrams(loop, messages, plan, spin=False).outcome()  # type: ignore[arg-type]
    assert told == {"samples": "datagram", "connected": 1}
    assert arrays == {"due": array("d"), "left": array("d"), "ends": array("d")}


def read(shape: str, told: dict[str, Any], **arrays: list[float]) -> LoadResult:
    """What is made of that which a generator wrote, of a window from 10 to 12."""
    plan = LoadPlan("udp://127.0.0.1:9", shape=shape, connections=2, rate=told.pop("rate", None))
    told |= {"seconds": 2.0, "begin": 10.0, "ended": None, "wrong": None, "errors": {}, "crowd": {}}
    told |= dict.fromkeys(("wall", "waited", "delayed", "cpu_seconds", "spun_seconds"), 0.0)
    parts = {n: array("q" if n == "counts" else "d", values) for n, values in arrays.items()}  # type: ignore[arg-type]
    told["arrays"] = [[name, part.typecode, len(part)] for name, part in parts.items()]
    return read_result(plan, json.dumps(told).encode() + b"\n" + b"".join(parts.values()))


def test_who_waits_at_the_end_is_unfinished_and_what_was_lost_before_the_window_is_not() -> None:
    result = read(
        "closed",
        {"samples": "timed", "connected": 2},
        starts=[9.0, 10.0, 11.9],
        ends=[9.5, 10.25, 12.01],
        counts=[2, 1],
        losses=[9.75, 11.0, 12.5],
        visiting=[11.5, 12.02],
    )
    assert (result.received, result.lost, result.sent) == (1, 1, 4)
    assert result.unfinished.tolist() == pytest.approx([0.1, 0.5])


def test_replies_of_the_window_count_whenever_they_were_due() -> None:
    result = read(
        "datagram",
        {"samples": "datagram", "connected": 2, "rate": 4.0},
        due=[9.0, 9.5, 10.0, 11.0, 11.5],
        left=[9.0, 9.5, 10.0, 11.0, 11.5],
        ends=[9.25, 10.5, 10.75, 11.25, 12.5],
    )
    assert result.received == 3
    assert result.overdue == 1
    assert result.throughput == 3 / 2  # of 10.5, 10.75 and 11.25


def test_a_closed_loop_of_datagrams_tells_who_waits() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        endpoint = f"udp://127.0.0.1:{deaf.getsockname()[1]}"
        result = run_load(LoadPlan(endpoint, connections=3, duration=0.2, warmup=0.4))
    assert (result.lost, result.received) == (3, 0)  # sent before it, and given up in it
    assert len(result.unfinished) == 3
    assert 0 < result.unfinished.max() < 0.2
