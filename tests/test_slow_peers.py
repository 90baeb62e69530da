"""Peers that are slow on purpose: they hold neither memory nor anybody else up."""

import contextlib
import socket
from pathlib import Path

import pytest

from support import (
    CONCURRENT_STREAM_NAMES,
    PATIENCE,
    connect,
    echo,
    receive_all,
    serving,
)


@pytest.mark.parametrize("mode", CONCURRENT_STREAM_NAMES)
def test_nothing_is_taken_in_for_a_peer_that_does_not_read(mode: str, folder: Path) -> None:
    """What is held for it stays below 128 KiB, whatever it sends, and others are served."""
    with serving(mode, folder) as server, socket.socket(server.address_family) as greedy:
        greedy.connect(server.server_address)
        greedy.setblocking(False)
        sent = 0
        try:
            while sent < 100 * 2**20:
                sent += greedy.send(bytes(65536))
        except BlockingIOError:
            pass  # its data waits in the kernel, where it stays
        assert sent < 100 * 2**20
        with socket.socket(server.address_family) as other:
            other.settimeout(PATIENCE)
            other.connect(server.server_address)
            echo(other)
        stats = server.stats()
        assert stats["bytes_in"] - stats["bytes_out"] <= 128 * 1024
        greedy.settimeout(PATIENCE)
        greedy.shutdown(socket.SHUT_WR)  # it reads after all: nothing is lost
        assert len(receive_all(greedy)) == sent


@pytest.mark.parametrize("mode", [n for n in CONCURRENT_STREAM_NAMES if n.endswith("tcp")])
def test_one_source_that_dribbles_into_all_it_may_open_delays_no_other(
    mode: str, folder: Path
) -> None:
    with (
        serving(mode, folder, max_connections_per_source=20) as server,
        contextlib.ExitStack() as clients,
    ):
        slow = [clients.enter_context(connect(server)) for _ in range(20)]
        for client in slow:
            client.sendall(b"x")  # a byte each, and no more for as long as it likes
        for client in slow:
            assert client.recv(1) == b"x"
        other = clients.enter_context(
            socket.create_connection(server.server_address, PATIENCE, ("127.0.0.2", 0))
        )
        for number in range(50):
            slow[number % 20].sendall(b"x")
            echo(other, b"prompt %d" % number)
