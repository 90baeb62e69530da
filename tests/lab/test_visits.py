"""Visits end in their time whatever a server answers, and what is no answer is told."""

import math
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import load_peers
from echoservers.lab.handlers import WorkHandler
from echoservers.lab.visits import Visit, VisitError, understands, visit
from support import PATIENCE, serving

NO_ANSWERS = [
    b"told 1 2\n",
    b"told\n",
    b"\n",
    b"told 1 1 nan nan\n",
    b"told 1 1 0 inf\n",
    b"told 1 1 -1 2\n",
    b"told 1 1 3 2\n",
    b"told 1 1 1e308 1e308\n",
    b"told one 1 1 2\n",
    b"told 1 1 1 2 3\n",
    b"told " + b"9" * 5000 + b" 1 1 2\n",
    b"told 1 1 1 2\nand more",
    b"\xff\x00\n",
]


def answering(answer: bytes, peer: socket.socket) -> None:
    """The same *answer* to all that comes."""
    while peer.recv(65536):
        peer.sendall(answer)


def streams_zeros(peer: socket.socket) -> None:
    """Sends for as long as anybody takes it."""
    peer.recv(65536)
    while True:
        peer.sendall(bytes(65536))


def trickles(peer: socket.socket) -> None:
    """Answers a byte, and another whenever the client could have lost its patience."""
    peer.recv(65536)
    peer.settimeout(0.05)
    while True:
        peer.sendall(b"t")
        try:
            if not peer.recv(1):
                return
        except TimeoutError:
            continue


def some_visits(endpoint: str, *, order: bytes = b"tell wait 0\n", **changes: Any) -> list[Visit]:
    usual = {"clients": 2, "visits": 1, "requests": 2, "timeout": PATIENCE, "seconds": PATIENCE}
    return visit(endpoint, order, **{**usual, **changes})


@pytest.mark.parametrize("answer", NO_ANSWERS, ids=lambda answer: repr(answer[:24]))
def test_what_is_no_answer_is_told(answer: bytes) -> None:
    with load_peers.serving_one(partial(answering, answer)) as endpoint:
        assert not understands(endpoint, PATIENCE)
        with pytest.raises(VisitError, match="was answered with b'"):
            some_visits(endpoint)


@pytest.mark.parametrize("serve", [streams_zeros, trickles])
def test_an_answer_without_end_is_given_up(serve: Callable[[socket.socket], None]) -> None:
    with load_peers.serving_one(serve) as endpoint:
        assert not understands(endpoint, 0.5)
        with pytest.raises(VisitError, match=r"was answered with b'|within 0\.5 s|no reply"):
            some_visits(endpoint, timeout=0.5)


def test_visits_that_are_each_in_time_end_together(folder: Path) -> None:
    with serving("tcp", folder, WorkHandler) as server:
        with pytest.raises(VisitError, match=r"not all visits were over within 0\.3 s"):
            some_visits(server.endpoint(), seconds=0.3, visits=10**9)
        assert some_visits(server.endpoint())


def test_where_one_fails_the_others_ask_no_more() -> None:
    came: list[socket.socket] = []

    def answers_the_first(peer: socket.socket) -> None:
        came.append(peer)
        answering(b"told 1 1 1 2\n" if peer is came[0] else b"no\n", peer)

    with (
        load_peers.serving_one(answers_the_first) as endpoint,
        pytest.raises(VisitError, match="was answered with b'no"),
    ):
        some_visits(endpoint, seconds=math.inf, requests=10**9)


def test_a_server_of_one_client_at_a_time_is_visited_over_tls(folder: Path) -> None:
    with serving("tls", folder, WorkHandler) as server:
        found = some_visits(server.endpoint(), order=b"tell wait 200\n")
    first, last = found[:2], found[2:]
    assert {one.client for one in first}.isdisjoint(one.client for one in last)
    # Who waits for the handshake waits to be served.
    assert last[0].sent < first[1].received <= last[0].received


def test_a_handshake_that_nobody_answers_is_given_up() -> None:
    with load_peers.serving_one(load_peers.says_nothing) as endpoint:
        secure = endpoint.replace("tcp", "tls")
        assert not understands(secure, 0.3)
        with pytest.raises(VisitError):
            some_visits(secure, timeout=0.3)
