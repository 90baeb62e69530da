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


class StuckPeer:
    """Sends, and reads nothing."""

    def __init__(self, server: Any, size: int, *, connected: bool = False) -> None:
        self.server = server
        self.message = b"never read".ljust(size, b".")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("")
        self.socket.setblocking(False)
        if connected:
            self.socket.connect(server.server_address)

    def wait_for_drops(self) -> None:
        """Send until one more reply to it is dropped: whatever waits, the loop goes on."""
        before = dropped(self.server, "peer_full")

        def is_counted() -> bool:
            with contextlib.suppress(BlockingIOError):  # the server's own queue is full for now
                self.socket.sendto(self.message, self.server.server_address)
            return dropped(self.server, "peer_full") > before

        wait_until(is_counted, "replies are dropped, and counted")

    def check(self) -> None:
        """What found room came whole, and nothing of it is an error."""
        self.wait_for_drops()
        assert self.socket.recv(65536) == self.message
        assert self.server.stats()["errors"] == 0


@pytest.mark.parametrize("mode", DATAGRAM)
def test_a_peer_that_reads_no_small_reply_harms_nobody(mode: str, folder: Path) -> None:
    with serving(mode, folder) as server:
        peer = StuckPeer(server, 10)
        with peer.socket:
            peer.wait_for_drops()
            echo_quickly(server)
            peer.check()
            echo_quickly(server)


@pytest.mark.parametrize(
    ("size", "connected"), [(60000, False), (10, True)], ids=["large", "connected"]
)
@pytest.mark.parametrize("mode", DATAGRAM)
def test_a_peer_that_fills_our_send_buffer_never_blocks_us_and_frees_it_when_it_goes(
    mode: str, size: int, connected: bool, folder: Path
) -> None:
    # Unread replies are charged to the socket that sent them, which is ours; and the limit on
    # their number, which spares others, does not hold for a peer that is connected.
    with serving(mode, folder) as server:
        peer = StuckPeer(server, size, connected=connected)
        with peer.socket:
            peer.wait_for_drops()
            peer.check()
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
