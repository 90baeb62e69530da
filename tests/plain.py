"""The same handler under our servers and under the standard library's, without a model."""

import contextlib
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import echoservers
from support import PATIENCE, receive_all

STREAM_CLASSES = [
    pytest.param(echoservers.TCPServer, id="ours"),
    pytest.param(socketserver.TCPServer, id="plain"),
]
DATAGRAM_CLASSES = [
    pytest.param(echoservers.UDPServer, id="ours-udp"),
    pytest.param(socketserver.UDPServer, id="plain-udp"),
]


@contextlib.contextmanager
def running(server_class: type, handler: type, **options: Any) -> Iterator[Any]:
    """A server of *server_class* that serves in a thread, and keeps its errors."""
    errors: list[BaseException | None] = []

    class Recording(server_class):  # type: ignore[misc]
        def handle_error(self, request: Any, client_address: Any) -> None:
            errors.append(sys.exc_info()[1])
            if issubclass(server_class, echoservers.ServingMixIn):
                super().handle_error(request, client_address)  # which counts it

    with Recording(("127.0.0.1", 0), handler, **options) as server:
        server.errors = errors
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def client_of(server: Any) -> socket.socket:
    """A socket connected to *server*."""
    client = socket.socket(server.address_family, server.socket_type)
    client.settimeout(PATIENCE)
    client.connect(server.server_address)
    return client


def exchange(server: Any, message: bytes) -> bytes:
    """Everything that answers *message* on a stream, or the one datagram that does."""
    with client_of(server) as client:
        client.sendall(message)
        if client.type == socket.SOCK_DGRAM:
            return client.recv(65536)
        client.shutdown(socket.SHUT_WR)
        return receive_all(client)
