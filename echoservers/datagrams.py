"""Answer datagrams in the loop, many in a row, where nobody has overridden a step.

The path of a request is the standard library's, seam by seam, and costs as much again as
the two system calls of a datagram.  Where all seams are as they were made, what they do is
done here in one place: receive, check, ask the handler, reply.
"""

import socket
from typing import TYPE_CHECKING, Any

from .counters import BYTES_IN, BYTES_OUT, DROP_CELL, MESSAGES
from .handlers import EchoHandler
from .replies import RESERVED_PORTS

if TYPE_CHECKING:
    from .transports import UDPServer

__all__ = ["answer_batch", "has_plain_path"]

BATCH = 64
"""Datagrams answered before the loop looks at anything else, as for connections."""

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
        and all(getattr(type(server), step) is getattr(base, step) for step in _SERVER_STEPS)
        and not vars(server).keys() & {*_SERVER_STEPS, "process_request"}
        and isinstance(handler, type)
        and issubclass(handler, EchoHandler)
        and all(getattr(handler, step) is getattr(EchoHandler, step) for step in _HANDLER_STEPS)
    )


def answer_batch(server: "UDPServer", buffer: memoryview, longest: int, own_port: int) -> None:
    """Answer what has arrived, `BATCH` datagrams at most.

    :param buffer: with room for one byte more than *longest*.
    :param own_port: that of *server*; 0: its addresses have no ports.
    """
    handler_class: Any = server.RequestHandlerClass
    echoes = handler_class.respond is EchoHandler.respond
    sock: Any = server.socket
    receive, send = sock.recvfrom_into, sock.sendto
    answered = bytes_in = bytes_out = 0
    cells = server.cells_of(None)
    busy = server._loop.is_busy  # else a look for a second one would mostly be in vain
    try:
        for _ in range(BATCH):
            try:
                size, source = receive(buffer, 0, DONT_WAIT)
            except BlockingIOError:
                return
            if size > longest:
                cells[DROP_CELL["too_long"]] += 1
                continue
            if own_port and (source[1] < RESERVED_PORTS or source[1] == own_port):
                cells[DROP_CELL["unsafe_source"]] += 1
                continue
            answered += 1
            bytes_in += size
            message = buffer[:size]
            if echoes and source:
                try:
                    bytes_out += send(message, DONT_WAIT, source)
                except OSError as error:
                    server.reply_failed((message, sock), error)
            else:
                bytes_out += _ask(server, handler_class, (bytes(message), sock), source)
            if not busy or server._stop_requested:
                return
    except OSError as error:
        server._accept_failed(error)
    finally:
        server._activity.at_once += answered
        cells[MESSAGES] += answered
        cells[BYTES_IN] += bytes_in
        cells[BYTES_OUT] += bytes_out


def _ask(server: "UDPServer", handler_class: Any, request: Any, source: Any) -> int:
    """One datagram for a handler of its own; how many bytes were sent."""
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
