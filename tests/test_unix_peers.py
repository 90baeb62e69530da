"""Unix datagram peers that cannot be answered: dropped, counted, and nobody else is harmed."""

import contextlib
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from support import PATIENCE, UNIX_NAMES, connect, echo_once, serving, wait_until

DATAGRAM = [name for name in UNIX_NAMES if name.endswith("datagram")]


def dropped(server: Any, reason: str) -> int:
    return int(server.stats()["dropped"][reason])


def echo_quickly(server: Any) -> None:
    began = time.monotonic()
    echo_once(server, timeout=1)
    assert time.monotonic() - began < 1


# A queue of unread replies is charged to the socket that sent them, which is the server's;
# and the limit on the number of them does not hold for a peer that is connected.
STUCK = {
    "with small messages": (False, 10),
    "with large messages": (False, 60000),
    "connected": (True, 10),
}


@pytest.mark.parametrize("stuck", STUCK)
@pytest.mark.parametrize("mode", DATAGRAM)
def test_a_peer_that_never_reads_harms_nobody(mode: str, stuck: str, folder: Path) -> None:
    connected, size = STUCK[stuck]
    message = b"never read".ljust(size, b".")

    def is_counted(more_than: int = 0) -> bool:
        with contextlib.suppress(BlockingIOError):  # the server's own queue is full for now
            peer.sendto(message, server.server_address)
        return dropped(server, "peer_full") > more_than

    with serving(mode, folder) as server, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        peer.bind("")
        peer.setblocking(False)
        if connected:
            peer.connect(server.server_address)
        wait_until(is_counted, "its queue is full, and replies are dropped")
        if stuck == "with small messages":
            echo_quickly(server)
        before = dropped(server, "peer_full")
        wait_until(lambda: is_counted(before), "the loop goes on and counts every further one")
        assert peer.recv(65536) == message  # what found room came whole
        assert server.stats()["errors"] == 0
        peer.close()
        wait_until(lambda: served_again(server), "the buffer is free again")
        echo_quickly(server)


def served_again(server: Any) -> bool:
    with connect(server, timeout=0.2) as client, contextlib.suppress(TimeoutError, BlockingIOError):
        client.send(b"again?")
        return client.recv(100) == b"again?"
    return False


@pytest.mark.parametrize("mode", DATAGRAM)
def test_a_peer_without_an_address_is_dropped_and_counted(mode: str, folder: Path) -> None:
    with serving(mode, folder) as server:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
            nameless.settimeout(PATIENCE)
            for _ in range(5):
                nameless.sendto(b"who am I", server.server_address)
            wait_until(lambda: dropped(server, "no_address") == 5, "five replies are dropped")
            echo_quickly(server)
        assert server.stats()["errors"] == 0


@pytest.mark.parametrize("how", ["closed", "unlinked"])
@pytest.mark.parametrize("mode", DATAGRAM)
def test_a_peer_that_has_gone_is_dropped_and_counted(mode: str, how: str, folder: Path) -> None:
    gone = folder / "gone.sock"

    def send_and_go() -> None:
        # The reply may be quicker than the peer is gone; then the next one is.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.bind(str(gone))
            peer.settimeout(PATIENCE)
            peer.sendto(b"good bye", server.server_address)
            if how == "unlinked":
                gone.unlink()
        gone.unlink(missing_ok=True)

    def is_counted() -> bool:
        send_and_go()
        return dropped(server, "peer_gone") > 0

    with serving(mode, folder) as server:
        wait_until(is_counted, "a reply is dropped")
        echo_quickly(server)
        assert server.stats()["errors"] == 0
