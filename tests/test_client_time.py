"""EchoClient and time: when it gives up, and what becomes of a reply that comes too late."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import echoservers
from echoservers import EchoClient
from echoservers.framing import FRAMINGS
from peers import client_and_datagram_peer, client_and_peer
from support import PATIENCE

SHORT = 0.1
"""Seconds until a client gives up where a test wants it to."""


# --- when it gives up -------------------------------------------------------------------


def test_a_lost_datagram_is_given_up_after_the_timeout_and_says_so() -> None:
    with client_and_datagram_peer(timeout=SHORT) as (client, peer):
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=rf"no reply from {client.endpoint} .* was lost"):
            client.echo(b"hello")
        assert SHORT * 0.9 <= time.monotonic() - began < SHORT + 5
        assert peer.recv(100) == b"hello"


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("call", [lambda c: c.echo(b"hello"), EchoClient.receive])
def test_a_silent_server_is_given_up_after_the_timeout(
    framing: str, call: Callable[[EchoClient], bytes]
) -> None:
    with (
        client_and_peer(framing, SHORT) as (client, _),
        pytest.raises(TimeoutError, match="no reply"),
    ):
        call(client)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_server_that_takes_nothing_is_given_up_after_the_timeout(framing: str) -> None:
    with client_and_peer(framing, SHORT) as (client, _), pytest.raises(TimeoutError):
        client.send(b"x" * 64 * 1024 * 1024)


def test_the_timeout_counts_from_the_last_progress() -> None:
    pause = threading.Event()

    def answer_slowly(peer: socket.socket) -> None:
        for byte in peer.recv(100):
            pause.wait(0.12)
            peer.sendall(bytes([byte]))

    with client_and_peer(timeout=1) as (client, peer), ThreadPoolExecutor(1) as pool:
        answering = pool.submit(answer_slowly, peer)
        assert client.echo(b"twelve bytes") == b"twelve bytes"  # in more than one timeout
        answering.result()


@pytest.mark.parametrize("timeout", [None, 1e7])
@pytest.mark.parametrize("mode", ["tcp", "udp"])
def test_a_client_may_wait_for_ever_or_nearly(mode: str, timeout: float | None) -> None:
    with (
        echoservers.start_server(mode, ("127.0.0.1", 0)) as server,
        EchoClient(server.endpoint(), timeout=timeout) as client,
    ):
        assert client.echo(b"hello") == b"hello"


def test_a_full_queue_of_a_unix_server_is_waited_for(folder: Path) -> None:
    sent: list[bytes] = []

    def fill(client: EchoClient) -> None:
        while len(sent) < 100_000:
            client.send(b"%d" % len(sent))
            sent.append(b"%d" % len(sent))

    with client_and_datagram_peer(folder, SHORT) as (client, peer):
        with pytest.raises(TimeoutError):
            fill(client)
        client.timeout = PATIENCE
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(client.send, b"last")
            received = [peer.recv(100) for _ in range(len(sent) + 1)]
            sending.result()
    assert received == [*sent, b"last"]


# --- replies that come too late ---------------------------------------------------------


@pytest.mark.parametrize("unix", [False, True], ids=["udp", "unix-datagram"])
def test_a_late_datagram_is_not_taken_for_the_next_reply(unix: bool, folder: Path) -> None:
    def answer_both(peer: socket.socket, first: Any) -> None:
        second = peer.recvfrom(100)
        for message, address in (first, second):  # the late one comes while the next is awaited
            with contextlib.suppress(ConnectionRefusedError):
                peer.sendto(message, address)

    with client_and_datagram_peer(folder if unix else None, SHORT) as (client, peer):
        with pytest.raises(TimeoutError):
            client.echo(b"one")
        client.timeout = PATIENCE
        with ThreadPoolExecutor(1) as pool:
            answering = pool.submit(answer_both, peer, peer.recvfrom(100))
            assert client.echo(b"two") == b"two"
            answering.result()


def test_a_datagram_that_came_unasked_is_not_taken_for_a_reply(folder: Path) -> None:
    with client_and_datagram_peer() as (client, peer):
        client.send(b"one")
        _, address = peer.recvfrom(100)
        for number in range(10):
            peer.sendto(b"unasked %d" % number, address)
        with ThreadPoolExecutor(1) as pool:
            answering = pool.submit(lambda: peer.sendto(*peer.recvfrom(100)))
            assert client.echo(b"two") == b"two"
            answering.result()


def test_the_refusal_of_an_earlier_datagram_is_not_told_for_the_next() -> None:
    with client_and_datagram_peer() as (client, peer):
        where = peer.getsockname()
        peer.close()
        client.send(b"to nobody")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reborn:
            reborn.settimeout(PATIENCE)
            reborn.bind(where)
            with ThreadPoolExecutor(1) as pool:
                answering = pool.submit(lambda: reborn.sendto(*reborn.recvfrom(100)))
                assert client.echo(b"hello") == b"hello"
                answering.result()


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_late_reply_of_a_stream_is_not_taken_for_the_next(framing: str) -> None:
    wrap = FRAMINGS[framing]().wrap
    with client_and_peer(framing, SHORT) as (client, peer):
        for _ in range(2):
            with pytest.raises(TimeoutError):
                client.echo(b"one")
        peer.sendall(wrap(b"one") + wrap(b"one") + wrap(b"second"))
        assert client.echo(b"second") == b"second"
        with pytest.raises(TimeoutError):
            client.echo(b"three")
        peer.sendall(wrap(b"three") + wrap(b"fourth"))
        assert client.receive(5) == b"three"  # whoever wants it can have it
        assert client.echo(b"fourth") == b"fourth"


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_message_that_was_sent_in_part_is_completed_before_the_next(framing: str) -> None:
    def echo_all(peer: socket.socket) -> None:
        while data := peer.recv(65536):
            peer.sendall(data)

    with client_and_peer(framing, SHORT) as (client, peer):
        with pytest.raises(TimeoutError):
            client.echo(b"x" * 16 * 1024 * 1024)  # more than the system takes for a peer
        client.timeout = PATIENCE
        with ThreadPoolExecutor(1) as pool:
            answering = pool.submit(echo_all, peer)
            assert client.echo(b"next") == b"next"
            client.end()
            answering.result()
