"""EchoHandler: one class for every transport and model; and the ready-made handlers.

A subclass says what a message is (``framing_class``) and what is answered
(``greet``, ``respond``); reading and writing are the model's.  In the blocking models
that is `EchoHandler.handle`, the loop below, which ``socketserver`` calls as it calls
any handler.  It also runs under a plain ``socketserver`` server.
"""

import socket
import time
from socketserver import BaseRequestHandler
from typing import Any

from .addresses import peer_name
from .counters import BYTES_IN, BYTES_OUT, ERRORS, MESSAGES, Cells, new_cells
from .errors import FramingError
from .framing import DEFAULT_MAX_MESSAGE_SIZE, Framing, RawFraming
from .interrupts import is_users_interrupt
from .log import escape, logger
from .timeouts import limit_waits

__all__ = [
    "HANDLERS",
    "DiscardHandler",
    "EchoHandler",
    "TimestampHandler",
    "UpperHandler",
]

RECEIVE_SIZE = 65536
"""Bytes asked for in one read: with the reply it stays within 128 KiB a connection,
and larger reads no longer save time beside the copy that they cost."""

SEND_SIZE = 65536
"""Bytes of replies gathered before they are sent, when many messages came at once."""

LINGER_TIME = 1.0
"""Seconds: how long a connection that we close first is read on.  Data that arrives
after a close makes the kernel send a reset, which can destroy a reply in flight."""


class EchoHandler(BaseRequestHandler):
    """Answers messages; by default with themselves, byte for byte (RFC 862).

    Override, all optional:

    - ``greet() -> bytes | None``: to send when a connection begins
    - ``respond(message: bytes) -> bytes | None``: the reply to a message

    Neither does I/O: they are called from loops, threads, processes and coroutines
    alike.  Call ``close_after_reply()`` in one to end the connection behind its reply.
    What they raise ends this connection only and goes to ``server.handle_error``.

    Class variables that may be overridden:

    - ``framing_class``: `RawFraming`, `LineFraming`, `LengthPrefixedFraming`, your own
    - ``max_message_size``: bytes; a longer message is a `FramingError`
    - ``timeout``: seconds without progress; None: the server's ``idle_timeout``

    Instance variables: ``request``, ``client_address``, ``server``, as under
    `socketserver`.

    A subclass that overrides ``handle()`` runs in the blocking models only, and does
    its own I/O there.
    """

    framing_class: type[Framing] = RawFraming
    max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE
    timeout: float | None = None

    #: ``handle()`` ends by itself once the reading side is shut down and all is answered.
    ends_with_input = True

    _closing = False

    def greet(self) -> bytes | None:
        """Bytes to send when the connection begins, or None; nothing for datagrams."""
        return None

    def respond(self, message: bytes) -> bytes | None:
        """The reply to *message*, or None for no reply."""
        return message

    def close_after_reply(self) -> None:
        """End the connection once the reply of the current message is sent."""
        self._closing = True

    @classmethod
    def inheritable_timeout(cls, server: Any) -> float | None:
        """What the listening socket of *server* may hand on to its connections."""
        if cls.handle is not EchoHandler.handle:
            return None
        return server.idle_timeout if cls.timeout is None else cls.timeout

    # What follows is the driver for blocking sockets; models with a loop have their own.

    def setup(self) -> None:
        server = self.server
        limit = getattr(server, "max_message_size", None)
        if limit is not None:
            self.max_message_size = limit
        cells_of = getattr(server, "cells_of", None)
        self._cells: Cells = new_cells() if cells_of is None else cells_of(self.request)
        self._verbose = getattr(server, "verbose", False)

    def handle(self) -> None:
        if self._verbose:
            logger.debug(
                "connected from %s",
                peer_name(self.client_address),
                extra={"event": "connected", "peer": peer_name(self.client_address)},
            )
        try:
            if isinstance(self.request, tuple):
                self._handle_datagram(*self.request)
            else:
                self._handle_stream(self.request)
        except (ConnectionError, BlockingIOError) as error:
            # The peer has gone, or made no progress in time: its business, not a fault.
            self._say_ended(
                "idle for too long" if isinstance(error, BlockingIOError) else error.strerror
            )
        except FramingError as error:
            self._cells[ERRORS] += 1
            self._say_ended(str(error))
            self._linger(self.request)
        except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
            if is_users_interrupt(error):
                raise
            self.server.handle_error(self.request, self.client_address)

    def _handle_datagram(self, message: bytes, sock: socket.socket) -> None:
        cells = self._cells
        cells[MESSAGES] += 1
        cells[BYTES_IN] += len(message)
        if self._verbose:
            self._show(message)
        reply = self.respond(message)
        if reply is not None:
            send = getattr(self.server, "send_datagram", None)
            if send is None:
                cells[BYTES_OUT] += sock.sendto(reply, self.client_address)
            else:
                cells[BYTES_OUT] += send(reply, self.request, self.client_address)

    def _handle_stream(self, connection: socket.socket) -> None:
        timeout = self.timeout
        if timeout is None:
            timeout = getattr(self.server, "idle_timeout", None)
        if timeout is not None and timeout != getattr(self.server, "inherited_timeout", None):
            limit_waits(connection, timeout)
        greeting = self.greet()
        if self.framing_class is RawFraming:
            self._converse_raw(connection, greeting)
        else:
            self._converse(connection, greeting)
        if self._closing:
            self._linger(connection)

    def _converse_raw(self, connection: socket.socket, greeting: bytes | None) -> None:
        """Without framing each piece that arrives is a message: nothing to cut or to keep."""
        if greeting is not None:
            self._send(connection, greeting)
        cells, receive, respond = self._cells, connection.recv, self.respond
        size = min(RECEIVE_SIZE, self.max_message_size)
        while not self._closing and (message := receive(size)):
            cells[MESSAGES] += 1
            cells[BYTES_IN] += len(message)
            if self._verbose:
                self._show(message)
            reply = respond(message)
            if reply is not None:
                connection.sendall(reply)
                cells[BYTES_OUT] += len(reply)

    def _converse(self, connection: socket.socket, greeting: bytes | None) -> None:
        framing = self.framing_class(self.max_message_size)
        if greeting is not None:
            self._send(connection, framing.wrap(greeting))
        while not self._closing and (data := connection.recv(RECEIVE_SIZE)):
            self._cells[BYTES_IN] += len(data)
            framing.receive_data(data)
            self._answer(connection, framing)
        if not self._closing:
            framing.receive_end()
            self._answer(connection, framing)

    def _answer(self, connection: socket.socket, framing: Framing) -> None:
        """Answer every whole message that *framing* holds, in as few sends as may be."""
        replies: list[bytes] = []
        gathered = 0
        try:
            while not self._closing and (message := framing.next_message()) is not None:
                self._cells[MESSAGES] += 1
                if self._verbose:
                    self._show(message)
                reply = self.respond(message)
                if reply is not None:
                    replies.append(framing.wrap(reply))
                    gathered += len(reply)
                    if gathered >= SEND_SIZE:
                        batch, replies, gathered = b"".join(replies), [], 0
                        self._send(connection, batch)
        finally:  # what was answered before an error is sent all the same
            if replies:
                self._send(connection, replies[0] if len(replies) == 1 else b"".join(replies))

    def _send(self, connection: socket.socket, data: bytes) -> None:
        connection.sendall(data)
        self._cells[BYTES_OUT] += len(data)

    def _linger(self, connection: socket.socket) -> None:
        """Close our side, then read on for `LINGER_TIME`, so that no reset overtakes the reply."""
        deadline = time.monotonic() + LINGER_TIME
        try:
            connection.shutdown(socket.SHUT_WR)
            limit_waits(connection, LINGER_TIME)
            while connection.recv(RECEIVE_SIZE) and time.monotonic() < deadline:
                continue
        except OSError:
            return  # gone, or silent: either way there is nothing left to wait for

    def _show(self, message: bytes) -> None:
        peer = peer_name(self.client_address)
        logger.debug(
            "[from %s] %s",
            peer,
            escape(message.rstrip(b"\r\n")),
            extra={"event": "message", "peer": peer, "bytes": len(message)},
        )

    def _say_ended(self, reason: str | None) -> None:
        if self._verbose:
            peer = peer_name(self.client_address)
            logger.debug("closing %s: %s", peer, reason, extra={"event": "closing", "peer": peer})


class TimestampHandler(EchoHandler):
    """The tutorial's server: ``[Sat Dec  2 15:17:57 2017] message``."""

    def respond(self, message: bytes) -> bytes:
        return b"[" + time.ctime().encode("ascii") + b"] " + message


class UpperHandler(EchoHandler):
    """Answers in capitals: a to z become A to Z, every other byte stays."""

    def respond(self, message: bytes) -> bytes:
        return message.upper()


class DiscardHandler(EchoHandler):
    """Throws everything away and answers nothing (RFC 863)."""

    def respond(self, message: bytes) -> None:
        return None


HANDLERS: dict[str, type[EchoHandler]] = {
    "echo": EchoHandler,
    "timestamp": TimestampHandler,
    "upper": UpperHandler,
    "discard": DiscardHandler,
}
"""The ready-made handlers by the name that ``--handler`` takes."""
