"""Peers that are slow or greedy on purpose: they hold neither memory nor anybody else up."""

import contextlib
import socket
from pathlib import Path

import pytest

from support import (
    AVAILABLE,
    CONCURRENT_STREAM_NAMES,
    PATIENCE,
    connect,
    echo,
    receive_all,
    serving,
    wait_until,
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


GREEDY_MODES = ("threading-tcp", "epoll-tcp", "prefork-threading-tcp")
CAP, AT_ONCE, TRIES = 20, 100, 1000


def is_served(client: socket.socket) -> bool:
    try:
        client.sendall(b"x")
        return client.recv(1) == b"x"
    except ConnectionError:
        return False


@pytest.mark.parametrize("mode", [name for name in GREEDY_MODES if name in AVAILABLE])
def test_of_a_thousand_connections_of_one_source_the_cap_is_served(mode: str, folder: Path) -> None:
    with (
        serving(mode, folder, max_connections_per_source=CAP) as server,
        contextlib.ExitStack() as held,
    ):
        served = 0
        for _ in range(TRIES // AT_ONCE):
            clients = [connect(server) for _ in range(AT_ONCE)]  # workers race for them
            for client in clients:
                if is_served(client):
                    held.enter_context(client)
                    served += 1
                else:
                    client.close()
            assert server.stats()["active"] == served == CAP
        assert server.stats()["refused"] == {"max_connections_per_source": TRIES - CAP}
        with socket.create_connection(server.server_address, PATIENCE, ("127.0.0.2", 0)) as other:
            echo(other)
        held.close()
        wait_until(lambda: server.stats()["active"] == 0, "all are over")
        assert server.stats()["accepted"] == TRIES + 1
        with connect(server) as again:
            echo(again)
