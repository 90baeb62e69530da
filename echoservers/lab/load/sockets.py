"""Sockets of the generator: non-blocking, for every transport, and TLS that looks like them."""

import errno
import os
import socket
from typing import Any

from ...addresses import Endpoint, parse_endpoint

__all__ = ["Dialler", "finish_connect"]

SOURCES = 200
"""Loopback addresses, 127.0.1.1 and following, that a client of many short connections takes in
turn.  The side that closes first keeps its port in TIME_WAIT; one address has 28,000 ports, and
Linux gives each again on loopback when a second has passed (tcp_tw_reuse)."""

IP_BIND_ADDRESS_NO_PORT = 24
"""linux/in.h; that connect() chooses the port, when it knows both ends."""


class Dialler:
    """Makes sockets that begin to connect to one endpoint."""

    def __init__(self, endpoint: str) -> None:
        transport, address = parse_endpoint(endpoint)
        self.transport = transport
        self._is_stream = transport not in ("udp", "unix-datagram")
        self._address, self._family = _resolve(Endpoint(transport, address))
        self._made = 0
        self._many = False
        self._context: Any = None
        if transport == "tls":
            from ...tls_contexts import client_context

            self._context = client_context(None, True, None, None)

    def use_many_sources(self) -> None:
        """Leave from many loopback addresses, where the server is at one."""
        self._many = self._family == socket.AF_INET and self._address[0].startswith("127.")

    def dial(self) -> socket.socket:
        """A socket that connects, or has connected.

        :raises OSError: it cannot.
        """
        kind = socket.SOCK_STREAM if self._is_stream else socket.SOCK_DGRAM
        sock = socket.socket(self._family, kind)
        try:
            sock.setblocking(False)
            self._prepare(sock)
            status = sock.connect_ex(self._address)
            if status not in (0, errno.EINPROGRESS):
                raise OSError(status, os.strerror(status))
        except BaseException:
            sock.close()
            raise
        return sock

    def secure(self, sock: socket.socket) -> Any:
        """*sock*, connected, as what messages go through; for TLS before its handshake."""
        if self._context is None:
            return sock
        from .tls import TLSChannel

        return TLSChannel(sock, self._context)

    def _prepare(self, sock: socket.socket) -> None:
        if self._family == socket.AF_UNIX:
            if not self._is_stream:
                sock.bind("")  # unix(7), autobind: without an address there is no reply
            return
        if not self._is_stream:
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_CONGESTION"):
            # Every kernel has Reno; the default may be BBR, whose pacing timers cost us time.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        if self._many:
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((f"127.0.1.{1 + self._made % SOURCES}", 0))
            self._made += 1


def finish_connect(sock: socket.socket) -> None:
    """The end of a connect that had to be waited for.

    :raises OSError: it failed.
    """
    status = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if status:
        raise OSError(status, os.strerror(status))


def _resolve(endpoint: Endpoint) -> tuple[Any, int]:
    transport, address = endpoint
    if isinstance(address, str):
        return address, socket.AF_UNIX
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    found = socket.getaddrinfo(*address, type=kind)
    # IPv4 first, as a server does.
    family, _, _, _, target = min(found, key=lambda f: f[0] != socket.AF_INET)
    return target, family
