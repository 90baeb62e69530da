"""Peers of an EchoClient that do what the test says, and nothing by themselves."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from echoservers import EchoClient
from support import PATIENCE


@contextlib.contextmanager
def client_and_peer(
    framing: str = "raw", timeout: float | None = PATIENCE
) -> Iterator[tuple[EchoClient, socket.socket]]:
    """A client of a TCP peer that does what the test says, and nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with EchoClient(endpoint, framing=framing, timeout=timeout) as client:
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(PATIENCE)
                yield client, peer


@contextlib.contextmanager
def client_and_datagram_peer(
    folder: Path | None = None, timeout: float | None = PATIENCE
) -> Iterator[tuple[EchoClient, socket.socket]]:
    """A client of a UDP peer, or in *folder* a Unix datagram peer, that does nothing by itself."""
    family = socket.AF_INET if folder is None else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.settimeout(PATIENCE)
        peer.bind(("127.0.0.1", 0) if folder is None else str(folder / "peer.sock"))
        where = peer.getsockname()
        endpoint = f"unix-datagram://{where}" if folder else f"udp://127.0.0.1:{where[1]}"
        with EchoClient(endpoint, timeout=timeout) as client:
            yield client, peer
