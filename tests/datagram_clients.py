"""A datagram server that a test turns by hand, its clients, and a peer at a reserved port."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import echoservers
from echoservers import EchoHandler
from support import connect, free_address


class Clients(ExitStack):
    """A server that a test turns, and its clients."""

    def __init__(self, where: str, folder: Path, handler: Any = EchoHandler) -> None:
        super().__init__()
        mode = "unix-datagram" if where == "unix" else "udp"
        address = free_address(mode, folder) if where == "unix" else (where, 0)
        server: Any = echoservers.create_server(mode, address, handler)
        self.server = self.enter_context(server)
        self.server._prepare_to_serve()
        self.path = self.server._plain_path
        self.path._load()

    def client(self) -> Any:
        return self.enter_context(connect(self.server))

    def turn(self) -> None:
        """Answer what is there, as in a loop that has found it at once."""
        self.server._loop.is_busy = True
        self.server._accept_batch()

    def check(self, messages: int, size: int, **dropped: int) -> None:
        """Compare the counters with how many were answered, how many bytes, and the drops."""
        stats = self.server.stats()
        assert (stats["accepted"], stats["closed"], stats["messages"]) == (messages,) * 3
        assert (stats["bytes_in"], stats["errors"]) == (size, 0)
        assert {k: n for k, n in stats["dropped"].items() if n} == dropped


@contextmanager
def at_reserved_port(host: str) -> Iterator[socket.socket]:
    """A socket of a service, bound to a port below 1024."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as service:
        for port in range(1023, 1, -1):
            try:
                service.bind((host, port))
                break
            except PermissionError:
                pytest.skip("binding a reserved port needs a privilege")
            except OSError:
                continue  # another test has it
        yield service
