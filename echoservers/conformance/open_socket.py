"""OpenSocket: a datagram socket that hears everybody, and tells from whom a reply came.

A connected socket throws away what comes from elsewhere: a server that replies from another
port would look as if it were silent.  Raw sockets have no ports: there, clients that are to be
told from each other need an address each.
"""

import contextlib
import random
import socket
import sys
from typing import Any

from ..raw import RawClientSocket, connect_raw
from ..system import EXPERIMENTAL_PROTOCOL

__all__ = ["OpenSocket", "loopback_address", "open_raw_socket", "open_socket"]

IP_RECVERR = 11
"""linux/in.h: an unconnected socket is told, too, that nobody is at the port (ip(7))."""


class OpenSocket(socket.socket):
    """An unconnected datagram socket with one target; `send` and `recv` as if connected."""

    target: Any = None
    """Whom it asks."""
    source: Any = None
    """From whom the last datagram came."""

    def send(self, data: Any, flags: int = 0) -> int:
        """Send a datagram to the target."""
        return self.sendto(data, flags, self.target)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """The next datagram, whoever has sent it."""
        data, self.source = self.recvfrom(size, flags)
        return data

    def has_reply(self) -> bool:
        """Whether the next datagram, which is there, is for this socket: always."""
        return True

    def take_errors(self) -> None:
        """Take the errors that there are, so that it is told of the next thing that comes."""
        with contextlib.suppress(OSError):
            while sys.platform == "linux":
                self.recvmsg(1, 1024, socket.MSG_ERRQUEUE)  # ip(7), IP_RECVERR
        self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def open_socket(address: tuple[str, int] | str) -> OpenSocket:
    """A socket that does not block, for the server at *address*.

    :raises OSError: there is no such host.
    """
    if isinstance(address, str):
        sock = OpenSocket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind("")  # unix(7), autobind: without an address there is no reply
        sock.target = address
    else:
        found = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)
        family, _, _, _, target = min(found, key=lambda f: f[0] != socket.AF_INET)
        sock = OpenSocket(family, socket.SOCK_DGRAM)
        sock.target = target
        if family == socket.AF_INET and sys.platform == "linux":
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    sock.setblocking(False)
    return sock


def open_raw_socket(host: str) -> RawClientSocket:
    """A raw socket, connected to *host* from an address that it alone has, where there are more.

    :raises OSError: *host* cannot be reached, or this user may not have raw sockets.
    """
    source = loopback_address() if host.startswith("127.") else None
    sock = connect_raw(host, EXPERIMENTAL_PROTOCOL, source)
    sock.setblocking(False)
    return sock


def loopback_address() -> str:
    """One of the millions of addresses of this machine, for one client; no server is there."""
    # Servers are below 127.251: a client of ours must not take the address of one.
    parts = (random.randint(251, 254), random.randint(0, 255), random.randint(1, 254))
    return "127.{}.{}.{}".format(*parts)
