"""Answer datagrams in the loop, many in a row, where nobody has overridden a step.

The path of a request is the standard library's, seam by seam, and costs as much again as
the two system calls of a datagram.  Where all seams are as they were made, what they do is
done here in one place: receive, check, ask the handler, reply.

Under load, what is only echoed takes two system calls a batch (`echoservers.mmsg`).  Other
handlers are asked one by one, and each reply is sent before the next is asked: together they
would be quicker, too, but the first client would wait until the last had been thought about.
"""

import socket
from typing import TYPE_CHECKING, Any

from .counters import BYTES_IN, BYTES_OUT, DROP_CELL, MESSAGES
from .handlers import EchoHandler
from .log import logger
from .replies import RESERVED_PORTS

if TYPE_CHECKING:
    from .mmsg import ManyDatagrams
    from .transports import UDPServer

__all__ = ["PlainPath", "has_plain_path"]

BATCH = 64
"""Datagrams answered before the loop looks at anything else, as for connections."""

MANY = 4
"""Datagrams that must be there for it to pay to take them together: that is a tenth quicker
then, and a quarter with eight.  A single one takes a tenth longer than by itself."""

REST = 8
"""Turns that go one by one after there were fewer: with a handful of clients, each of which waits
for its answer, a batch would end before they can have sent again, and we would wait for them."""

DONT_WAIT = int(socket.MSG_DONTWAIT)

_SERVER_STEPS = (
    "verify_request",
    "finish_request",
    "shutdown_request",
    "close_request",
    "get_request",
    "send_datagram",
    "cells_of",
)
_HANDLER_STEPS = ("__new__", "__init__", "setup", "begin", "handle", "finish")


def has_plain_path(server: "UDPServer", base: type["UDPServer"]) -> bool:
    """Whether *server* and its handler take every step as *base* and `EchoHandler` do."""
    handler = server.RequestHandlerClass
    return (
        not server.logs_connections
        and server.max_message_size is None  # else begin() tells the handler
        and server.max_repeats is None
        and server._takes_steps_of(base, _SERVER_STEPS)
        and "process_request" not in vars(server)  # that of the class is the model's
        and isinstance(handler, type)
        and issubclass(handler, EchoHandler)
        and all(getattr(handler, step) is getattr(EchoHandler, step) for step in _HANDLER_STEPS)
    )


class PlainPath:
    """Answers what arrives at *server*.

    :param buffer: with room for one byte more than *longest*.
    :param longest: bytes; what is longer is dropped.
    :param own_port: that of *server*; 0: its addresses have no ports.
    """

    def __init__(
        self, server: "UDPServer", buffer: memoryview, longest: int, own_port: int
    ) -> None:
        self._server = server
        self._buffer = buffer
        self._longest = longest
        self._own_port = own_port
        handler_class: Any = server.RequestHandlerClass
        self._handler_class = handler_class
        self._echoes = handler_class.respond is EchoHandler.respond
        self._many: ManyDatagrams | None = None
        self._tried_many = False
        self._rest = 0

    def answer_batch(self) -> None:
        """Answer what has arrived, `BATCH` datagrams at most."""
        server = self._server
        try:
            if not server._loop.is_busy:  # a look for a second one would mostly be in vain
                self._answer(1)
            elif self._many is not None and not self._rest:
                if self._answer_many(self._many) < MANY:
                    self._rest = REST
            elif self._answer(BATCH) >= MANY and not self._tried_many:
                self._load()
            elif self._rest:
                self._rest -= 1
        except OSError as error:
            server._accept_failed(error)

    def _load(self) -> None:
        """Take many at a time, if this system can, and nobody has made the socket another."""
        self._tried_many = True
        if not self._echoes or type(self._server.socket) is not socket.socket:
            return
        try:
            from .mmsg import many_datagrams  # imported late: it needs ctypes

            self._many = many_datagrams(BATCH, len(self._buffer))
        except (ImportError, OSError, MemoryError) as reason:  # no ctypes, a chroot, no memory
            logger.debug("datagrams are answered one by one: %s", reason)

    # --- one by one -----------------------------------------------------------------

    def _answer(self, most: int) -> int:
        """Answer one by one, and return how many came."""
        server, buffer, own_port = self._server, self._buffer, self._own_port
        sock: Any = server.socket
        receive, send = sock.recvfrom_into, sock.sendto
        received = answered = bytes_in = bytes_out = 0
        cells = server.cells_of(None)
        try:
            for received in range(1, most + 1):
                try:
                    size, source = receive(buffer, 0, DONT_WAIT)
                except BlockingIOError:
                    return received - 1
                if size > self._longest:
                    cells[DROP_CELL["too_long"]] += 1
                    continue
                if own_port and (source[1] < RESERVED_PORTS or source[1] == own_port):
                    cells[DROP_CELL["unsafe_source"]] += 1
                    continue
                answered += 1
                bytes_in += size
                message = buffer[:size]
                if self._echoes and source:
                    try:
                        bytes_out += send(message, DONT_WAIT, source)
                    except OSError as error:
                        server.reply_failed((message, sock), error)
                else:
                    bytes_out += self._ask((bytes(message), sock), source)
                if server._stop_requested:
                    break
            return received
        finally:
            cells[MESSAGES] += answered
            cells[BYTES_IN] += bytes_in
            cells[BYTES_OUT] += bytes_out
            # Last: who sees in another process that they are over is to see the rest as well.
            server._activity.at_once += answered

    def _ask(self, request: Any, source: Any) -> int:
        """One datagram for a handler of its own; how many bytes were sent."""
        server, handler_class = self._server, self._handler_class
        handler = handler_class.__new__(handler_class)
        handler.request, handler.client_address, handler.server = request, source, server
        try:
            reply = handler.respond(request[0])
            return 0 if reply is None else server.send_datagram(reply, request, source)
        except BaseException as error:
            if not server._contains(error):
                raise
            server.handle_error(request, source)
            return 0

    # --- many at a time -------------------------------------------------------------

    def _answer_many(self, many: "ManyDatagrams") -> int:
        """Echo what is there, as `_answer` would, and return how many came."""
        sizes = many.receive(self._server.fileno())
        if not sizes:
            return 0
        dropped = self._dropped(many, sizes)
        cells = self._server.cells_of(None)
        for reason in dropped.values():
            cells[DROP_CELL[reason]] += 1
        answered = len(sizes) - len(dropped)
        cells[MESSAGES] += answered
        cells[BYTES_IN] += sum(sizes) - sum(sizes[index] for index in dropped)
        first = 0
        try:
            for end in (*dropped, len(sizes)):
                self._send_back(many, sizes, first, end)
                first = end + 1
        finally:
            self._server._activity.at_once += answered  # last, as above
        return len(sizes)

    def _dropped(self, many: "ManyDatagrams", sizes: list[int]) -> dict[int, str]:
        """Which of the datagrams get no answer, in their order, and why."""
        longest, own_port = self._longest, self._own_port
        ports = many.ports(len(sizes)) if own_port else ()
        all_fit = max(sizes) <= longest
        if all_fit and (not ports or (min(ports) >= RESERVED_PORTS and own_port not in ports)):
            return {}
        dropped = {n: "too_long" for n, size in enumerate(sizes) if size > longest}
        for n, port in enumerate(ports):
            if port < RESERVED_PORTS or port == own_port:
                dropped.setdefault(n, "unsafe_source")
        return dict(sorted(dropped.items()))

    def _send_back(self, many: "ManyDatagrams", sizes: list[int], first: int, end: int) -> None:
        """Send from *first* on, up to *end*, past those that cannot be sent."""
        server = self._server
        cells = server.cells_of(None)
        while first < end:
            try:
                sent = many.send_back(server.fileno(), first, end)
            except OSError as error:
                self._not_sent(many, first, error)
                sent = 1
            else:
                cells[BYTES_OUT] += sum(sizes[first : first + sent])
            first += sent

    def _not_sent(self, many: "ManyDatagrams", index: int, error: OSError) -> None:
        request = (many.message(index), self._server.socket)
        if not many.has_address(index):
            self._server._count_drop(request, "no_address")
            return
        try:
            self._server.reply_failed(request, error)
        except OSError as fault:  # of our own socket; the others of the batch have come already
            self._server._accept_failed(fault)
