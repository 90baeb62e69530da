"""The plainest `socketserver` echo programs: what the benchmarks compare against.

    python bare_socketserver.py MODE

MODE is MODEL-TRANSPORT (`threading-tcp`); a bare transport (`tcp`) is its iterative mode. The
server takes a free port of 127.0.0.1, prints ``listening on 127.0.0.1:PORT`` and serves until
SIGTERM.

Written as the standard library's documentation shows it, with its defaults; only the backlog and
the buffers have the sizes that `echoservers` gives them, so that the programs are compared.
"""

from __future__ import annotations

import socketserver
import sys
from socketserver import ForkingMixIn, TCPServer, ThreadingMixIn, UDPServer

BUFFER_SIZE = 65536  # bytes a read
BACKLOG = 1024  # the default of 5 drops connections in a burst
MAX_DATAGRAM = 65535  # the default of 8192 cuts longer ones


class TCPEchoHandler(socketserver.BaseRequestHandler):
    """Echo a connection until the client closes it."""

    def handle(self) -> None:
        while data := self.request.recv(BUFFER_SIZE):
            self.request.sendall(data)


class UDPEchoHandler(socketserver.BaseRequestHandler):
    """Echo one datagram."""

    def handle(self) -> None:
        self.request[1].sendto(self.request[0], self.client_address)


class BareTCPServer(TCPServer):
    """One client at a time."""

    request_queue_size = BACKLOG
    allow_reuse_address = True


class BareUDPServer(UDPServer):
    """One datagram at a time."""

    max_packet_size = MAX_DATAGRAM


class BareForkingMixIn(ForkingMixIn):
    """A process per connection or datagram."""

    # The default of 40 makes the accept loop wait for an old child to end before it forks the 41st:
    # of 50 connections that stay open, ten would never be served. This is far out of the way.
    max_children = 1000


class BareThreadingTCPServer(ThreadingMixIn, BareTCPServer):
    """A thread per connection."""


class BareThreadingUDPServer(ThreadingMixIn, BareUDPServer):
    """A thread per datagram."""


class BareForkingTCPServer(BareForkingMixIn, BareTCPServer):
    """A process per connection."""


class BareForkingUDPServer(BareForkingMixIn, BareUDPServer):
    """A process per datagram."""


SERVERS: dict[str, type[TCPServer]] = {
    "tcp": BareTCPServer,
    "udp": BareUDPServer,
    "threading-tcp": BareThreadingTCPServer,
    "threading-udp": BareThreadingUDPServer,
    "forking-tcp": BareForkingTCPServer,
    "forking-udp": BareForkingUDPServer,
}


def create_server(mode: str) -> TCPServer:
    """Return the server of `mode`, bound to a free loopback port and not yet serving."""
    server_class = SERVERS[mode.removeprefix("iterative-")]
    handler = UDPEchoHandler if issubclass(server_class, UDPServer) else TCPEchoHandler
    return server_class(("127.0.0.1", 0), handler)


def main() -> None:
    """Serve the mode named on the command line."""
    if len(sys.argv) != 2 or sys.argv[1].removeprefix("iterative-") not in SERVERS:
        sys.exit(f"usage: bare_socketserver.py MODE, one of {', '.join(SERVERS)}")
    with create_server(sys.argv[1]) as server:
        print("listening on {}:{}".format(*server.server_address[:2]), flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
