"""EchoHandler: one class for every transport and model; and the ready-made handlers.

A subclass says what a message is (``framing_class``) and what is answered
(``greet``, ``respond``); reading and writing are the model's.  In the blocking models
that is `EchoHandler.handle`, the loop below, which ``socketserver`` calls as it calls
any handler.  It also runs under a plain ``socketserver`` server.
"""

import socket
import time
from collections.abc import Callable
from socketserver import BaseRequestHandler
from typing import Any

from .addresses import peer_name
from .closing import linger, wait_until_taken
from .counters import BYTES_IN, BYTES_OUT, ERRORS, INPUT_ENDED, MESSAGES, Cells, new_cells
from .exchange import RECEIVE_SIZE, BrokenFraming, Exchange, PeerEnded
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
    "echo_stream",
]


def echo_stream(
    connection: socket.socket,
    cells: Cells,
    size: int,
    then: Callable[[], object] | None = None,
) -> None:
    """Send back what comes: nobody wants to see it, and nobody ends *connection* but its peer.

    :param cells: where that is counted.
    :param size: bytes asked for in one read.
    :param then: called behind the first reply.
    :raises OSError: the peer has gone, or makes no progress.
    """
    receive, send = connection.recv, connection.sendall
    while message := receive(size):
        length = len(message)
        cells[MESSAGES] += 1
        cells[BYTES_IN] += length
        send(message)
        cells[BYTES_OUT] += length
        if then is not None:
            then()
            then = None


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

    #: ``handle()`` is the one below: it ends by itself once the input is shut down and all
    #: is answered, minds the time limits, and tells a peer that has gone from a fault.
    ends_with_input = True

    #: Whether the connection ends behind the reply; set by `close_after_reply`.
    closing = False

    def __init__(self, request: Any, client_address: Any, server: Any) -> None:
        drive = getattr(server, "drive_handler", None)
        if drive is None:
            super().__init__(request, client_address, server)
            return
        # A model with a loop: the bytes come to the loop, which ends with finish().
        self.request = request
        self.client_address = client_address
        self.server = server
        self.setup()
        drive(self)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.ends_with_input = cls.handle is EchoHandler.handle

    def greet(self) -> bytes | None:
        """Bytes to send when the connection begins, or None; nothing for datagrams."""
        return None

    def respond(self, message: bytes) -> bytes | None:
        """The reply to *message*, or None for no reply."""
        return message

    def close_after_reply(self) -> None:
        """End the connection once the reply of the current message is sent."""
        self.closing = True

    @classmethod
    def inheritable_timeout(cls, server: Any) -> float | None:
        """What the listening socket of *server* may hand on to its connections."""
        if not cls.ends_with_input:
            return None
        return server.idle_timeout if cls.timeout is None else cls.timeout

    # --- for whoever moves the bytes ------------------------------------------------

    def begin(self) -> Cells:
        """Before the first byte: the server's limit, and where to count."""
        server = self.server
        limit = getattr(server, "max_message_size", None)
        if limit is not None:
            self.max_message_size = limit
        cells_of = getattr(server, "cells_of", None)
        cells: Cells = new_cells() if cells_of is None else cells_of(self.request)
        self.shows_messages = getattr(server, "logs_connections", False)
        if self.shows_messages:
            logger.debug(
                "connected from %s",
                peer_name(self.client_address),
                extra={"event": "connected", "peer": peer_name(self.client_address)},
            )
        return cells

    def time_limit(self) -> float | None:
        """Seconds that the connection may go without progress."""
        if self.timeout is not None:
            return self.timeout
        limit: float | None = getattr(self.server, "idle_timeout", None)
        return limit

    def only_echoes(self) -> bool:
        """Whether nobody has put anything in the place of a step, or wants to see the messages."""
        return (
            getattr(self.respond, "__func__", None) is EchoHandler.respond  # setup() may set one
            and type(self)._send is EchoHandler._send
            and not (self.shows_messages or self.closing)
        )

    def show(self, message: bytes) -> None:
        """Log *message*, as ``--verbose`` asks for."""
        peer = peer_name(self.client_address)
        logger.debug(
            "[from %s] %s",
            peer,
            escape(message.rstrip(b"\r\n")),
            extra={"event": "message", "peer": peer, "bytes": len(message)},
        )

    def say_ended(self, reason: str | None) -> None:
        """Log why the connection ends, where that is its peer's doing."""
        if self.shows_messages:
            peer = peer_name(self.client_address)
            logger.debug("closing %s: %s", peer, reason, extra={"event": "closing", "peer": peer})

    # What follows is the driver for blocking sockets; models with a loop have their own.

    _then: Callable[[], object] | None = None  # called behind a reply

    def handle(self) -> None:
        self._cells = self.begin()
        self._then = getattr(self.server, "while_peer_reads", None)
        try:
            if isinstance(self.request, tuple):
                self._handle_datagram(*self.request)
            else:
                self._handle_stream(self.request)
        except PeerEnded as ended:
            self.say_ended(str(ended))
        except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
            if is_users_interrupt(error):
                raise
            self.server.handle_error(self.request, self.client_address)

    def _handle_datagram(self, message: bytes, sock: socket.socket) -> None:
        cells = self._cells
        cells[MESSAGES] += 1
        cells[BYTES_IN] += len(message)
        if self.shows_messages:
            self.show(message)
        reply = self.respond(message)
        if reply is not None:
            send = getattr(self.server, "send_datagram", None)
            if send is None:
                cells[BYTES_OUT] += sock.sendto(reply, self.client_address)
            else:
                cells[BYTES_OUT] += send(reply, self.request, self.client_address)

    def _handle_stream(self, connection: socket.socket) -> None:
        timeout = self.time_limit()
        if timeout != getattr(self.server, "inherited_timeout", None):
            limit_waits(connection, timeout)
        if self.framing_class is RawFraming:
            self._converse_raw(connection, self.greet())
        else:
            self._converse(connection, Exchange(self, self._cells))
        if self.closing:
            linger(connection)
        elif self._cells[INPUT_ENDED]:
            wait_until_taken(connection)

    def _converse_raw(self, connection: socket.socket, greeting: bytes | None) -> None:
        """Without framing each piece that arrives is a message: nothing to cut or to keep."""
        if greeting is not None:
            self._send(connection, greeting)
        cells, respond = self._cells, self.respond
        size = min(RECEIVE_SIZE, self.max_message_size)
        if self.only_echoes():
            self._echo(connection, size)
            return
        while not self.closing:
            try:
                message = connection.recv(size)
            except OSError as error:
                raise PeerEnded(error) from error
            if not message:
                return
            cells[MESSAGES] += 1
            cells[BYTES_IN] += len(message)
            if self.shows_messages:
                self.show(message)
            reply = respond(message)
            if reply is not None:
                self._send(connection, reply)

    def _echo(self, connection: socket.socket, size: int) -> None:
        try:
            echo_stream(connection, self._cells, size, self._then)
        except OSError as error:
            raise PeerEnded(error) from error

    def _converse(self, connection: socket.socket, exchange: Exchange) -> None:
        greeting = exchange.greeting()
        if greeting is not None:
            self._send(connection, greeting)
        try:
            while not self.closing:
                try:
                    data = connection.recv(RECEIVE_SIZE)
                except OSError as error:
                    raise PeerEnded(error) from error
                exchange.receive(data)
                while (batch := exchange.next_batch()) is not None:
                    self._send(connection, batch)
                if not data:
                    return
        except BrokenFraming as broken:
            self._cells[ERRORS] += 1
            self.say_ended(str(broken))
            linger(connection)

    def _send(self, connection: socket.socket, data: bytes) -> None:
        try:
            connection.sendall(data)
        except OSError as error:
            raise PeerEnded(error) from error
        self._cells[BYTES_OUT] += len(data)
        if self._then is not None:
            self._then()


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
