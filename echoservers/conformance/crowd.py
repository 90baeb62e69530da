"""Crowd: many clients that ask at once, none of which waits for another.

A server that serves few at a time leaves the others waiting, in its backlog or in their TLS
handshake; here that keeps nobody, and who has been served is seen when nothing more happens.
"""

import contextlib
import select
import socket
import ssl
import time
from types import TracebackType
from typing import Any, Self

from ..addresses import parse_endpoint
from ..tls_contexts import unverifying_context
from .open_socket import open_raw_socket, open_socket

__all__ = ["Crowd"]

QUESTION = b"is this one served?\n"

LEFT_OVER = 16
"""Reads of 64 KiB of what is there before a client asks; a server may send for ever."""


class Crowd:
    """Clients of one server; a context manager that closes them.

    :param endpoint: of the server.
    """

    def __init__(self, endpoint: str) -> None:
        self._transport, self._address = parse_endpoint(endpoint)
        self._clients: list[_Client] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for client in self._clients:
            client.close()

    @property
    def answered(self) -> int:
        """How many clients have had an answer, whatever has become of them since."""
        return sum(client.answers > 0 for client in self._clients)

    @property
    def served(self) -> list[int]:
        """The numbers of the clients that have had an answer, and are still connected."""
        return [
            number
            for number, client in enumerate(self._clients)
            if client.answers and not client.is_let_go()
        ]

    def grow(self, size: int, quiet: float, most: float) -> int:
        """Have *size* clients, each of which has asked; how many are served.

        :param quiet: seconds without one after which no more are waited for.
        :param most: seconds to wait at most.
        """
        while len(self._clients) < size:
            self._clients.append(_Client(self._transport, self._address))
        self._advance(self._clients, quiet, most)
        return len(self.served)

    def ask(self, number: int, patience: float) -> bool:
        """Let client *number*, who has been served, ask again; whether an answer comes."""
        client = self._clients[number]
        before = client.answers
        client.ask()
        self._advance([client], patience, patience)
        return client.answers > before

    def say(self, number: int) -> None:
        """Let client *number* ask, and go on."""
        client = self._clients[number]
        client.ask()
        client.advance()

    def has_answer(self, number: int) -> bool:
        """Whether what client *number* has asked is answered by now."""
        client = self._clients[number]
        client.advance()
        return not client.waits_for

    def _advance(self, clients: list["_Client"], quiet: float, most: float) -> None:
        """Move *clients* on until none expects an answer, or none comes any more."""
        poll = select.poll()
        waiting = {}
        for client in clients:
            if client.waits_for and (events := client.advance()):
                waiting[client.fileno()] = client
                poll.register(client, events)
        end = time.monotonic() + most
        news = time.monotonic()
        while waiting:
            now = time.monotonic()
            left = min(end, news + quiet) - now
            if left <= 0:
                return
            for descriptor, _ in poll.poll(left * 1000 + 1):
                client = waiting[descriptor]
                events = client.advance()
                if client.waits_for and events:
                    poll.modify(descriptor, events)
                else:
                    del waiting[descriptor]
                    poll.unregister(descriptor)
                    news = time.monotonic()


class _Client:
    """One client, moved on as far as it goes without waiting."""

    def __init__(self, transport: str, address: Any) -> None:
        self.answers = 0
        self._is_stream = transport not in ("udp", "unix-datagram", "raw")
        self._target: Any = None
        """Whom it is still to be connected to."""
        self._shaken = transport != "tls"
        self._asked = False
        self.waits_for = True
        """Whether it expects an answer."""
        self._let_go = False
        self._socket: Any
        if not self._is_stream:
            raw = transport == "raw"
            self._socket = open_raw_socket(address[0]) if raw else open_socket(address)
            return
        family: int = socket.AF_UNIX
        self._target = address
        if not isinstance(address, str):
            host, port = address
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            family, _, _, _, self._target = found[0]
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """The socket's descriptor."""
        descriptor: int = self._socket.fileno()
        return descriptor

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def ask(self) -> None:
        """Let it ask when it is moved on."""
        self._asked, self.waits_for = False, True

    def is_let_go(self) -> bool:
        """Whether the server has closed the connection of a client that had an answer."""
        if self._is_stream and not self._let_go:
            try:
                self._take_what_is_there()
            except (BlockingIOError, ssl.SSLWantReadError):
                return False
            except OSError:
                self._let_go = True
        return self._let_go

    def advance(self) -> int:
        """Do what can be done; which events to wait for, 0 when it is done, or cannot be."""
        try:
            return self._advance()
        except (BlockingIOError, ssl.SSLWantReadError):
            return select.POLLIN
        except ssl.SSLWantWriteError:
            return select.POLLOUT
        except OSError:  # refused, reset: it is not served
            self.waits_for = False
            return 0

    def _advance(self) -> int:
        if self._target is not None and not self._connect():
            return select.POLLOUT
        if not self._shaken:
            if not isinstance(self._socket, ssl.SSLSocket):
                self._socket = unverifying_context().wrap_socket(
                    self._socket, do_handshake_on_connect=False
                )
            self._socket.do_handshake()
            self._shaken = True
        if not self._asked:
            self._forget_unasked()
            self._socket.send(QUESTION)
            self._asked = True
        self._read()
        return 0

    def _connect(self) -> bool:
        """Whether it is connected; a full backlog of a Unix socket gives no event."""
        with contextlib.suppress(BlockingIOError):
            self._socket.connect(self._target)
            self._target = None
            return True
        if self._socket.family == socket.AF_UNIX:
            self.waits_for = False
        return False

    def _forget_unasked(self) -> None:
        """What is there already, such as the rest of the last answer, is not the next."""
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            if self.answers:
                self._take_what_is_there()

    def _take_what_is_there(self) -> None:
        """Read until there is no more, which is an error, or has been enough."""
        for _ in range(LEFT_OVER):
            if not self._socket.recv(65536) and self._is_stream:
                self._let_go = True
                return

    def _read(self) -> None:
        if self._is_stream:
            data = self._socket.recv(65536)
            if not data:
                self._let_go = True
                raise ConnectionResetError
        else:
            self._socket.recv(65536)
        self.answers += 1
        self.waits_for = False
