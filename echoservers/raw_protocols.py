"""Connections on an asyncio event loop whose handler has no framing: each piece is a message."""

import asyncio
from typing import Any

from .counters import BYTES_IN, BYTES_OUT, MESSAGES
from .protocols import Connection

__all__ = ["ChattyPeer", "EchoConnection", "EchoingPeer", "RawConnection"]

CHATTY_READ = 16384
"""Bytes: a longer read shows a peer that sends in bulk."""


class RawConnection(Connection):
    """Without framing: each piece that arrives is a message."""

    __slots__ = ("_held", "respond")

    def __init__(self, *of_all: Any) -> None:
        super().__init__(*of_all)
        self.respond = self._show_and_respond if self._shows else self.handler.respond
        self._held: list[bytes] = []

    def _greeting(self) -> bytes | None:
        return self.handler.greet()

    def buffer_updated(self, nbytes: int) -> None:
        message = self._view[:nbytes].tobytes()
        if self.full or self.closing:
            self.take(message)
        else:
            self.answer_one(message)

    def take(self, data: bytes) -> None:
        """Answer *data*, a message or longer, when its turn comes."""
        if not self.closing:
            longest = len(self._view)
            self._held += (data[n : n + longest] for n in range(0, len(data), longest))
            self._answer()
            if self.full:
                self.transport.pause_reading()  # this transport has had one more for us

    def answer_one(self, message: bytes) -> None:
        """Answer *message*.  Each microsecond here is one of every message."""
        cells = self.cells
        cells[MESSAGES] += 1
        cells[BYTES_IN] += len(message)
        try:
            reply = self.respond(message)
            if type(reply) is bytes:
                self.transport.write(reply)
                cells[BYTES_OUT] += len(reply)
            elif reply is not None:
                self.send(reply)
        except BaseException:
            self.failed()
        if self.handler.closing:
            self.end_if_wanted()

    def _answer(self) -> None:
        while self._held and not (self.full or self.closing or self.handler.closing):
            self.answer_one(self._held.pop(0))

    def _show_and_respond(self, message: bytes) -> bytes | None:
        self.handler.show(message)
        return self.handler.respond(message)


class EchoConnection(RawConnection):
    """For handlers that only echo: what comes is sent back without an object made of it.

    Past the transport, on its socket, while the transport holds nothing; so it is for a plain
    socket of asyncio's only, whose transport does the same.
    """

    __slots__ = ("_send_some",)

    def connection_made(self, transport: Any) -> None:
        self._send_some = self.handler.request.send
        super().connection_made(transport)

    def buffer_updated(self, nbytes: int) -> None:
        if self.full or self.closing:
            super().buffer_updated(nbytes)
            return
        view = self._view[:nbytes]
        cells = self.cells
        cells[MESSAGES] += 1
        cells[BYTES_IN] += nbytes
        try:
            sent = self._send_some(view)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.closing = True
            self.handler.say_ended(error.strerror)
            self.transport.abort()
            return
        cells[BYTES_OUT] += nbytes
        if sent != nbytes:
            self.transport.write(view[sent:].tobytes())


class ChattyPeer(asyncio.Protocol):
    """Stands for a `RawConnection` while its peer sends little at a time.

    For event loops that hand over bytes (libuv) for less than what it costs to lend them a
    buffer; but they read a quarter of a mebibyte at once where that much has come.  At the
    first longer read the connection takes its transport over.
    """

    __slots__ = (
        "_cells",
        "_connection",
        "_handler",
        "_longest",
        "_respond",
        "_write",
        "connection_lost",
        "eof_received",
        "pause_writing",
        "resume_writing",
    )

    def __init__(self, connection: RawConnection) -> None:
        self._connection = connection
        self._cells = connection.cells
        self._handler = connection.handler
        self._longest = min(CHATTY_READ, len(connection._view))
        # Theirs, not our class's: what is forwarded costs no call of its own.
        self.pause_writing = connection.pause_writing  # type: ignore[method-assign]
        self.resume_writing = connection.resume_writing  # type: ignore[method-assign]
        self.eof_received = connection.eof_received  # type: ignore[method-assign]
        self.connection_lost = connection.connection_lost  # type: ignore[method-assign]

    def connection_made(self, transport: Any) -> None:
        connection = self._connection
        self._write = transport.write
        self._respond = connection.respond
        connection.connection_made(transport)
        if connection.full or connection.closing:  # by its greeting
            transport.set_protocol(connection)

    def data_received(self, data: bytes) -> None:
        """As `RawConnection.answer_one`; each microsecond here is one of every message."""
        size = len(data)
        if size > self._longest:
            self._hand_over(data)
            return
        cells = self._cells
        cells[MESSAGES] += 1
        cells[BYTES_IN] += size
        try:
            reply = self._respond(data)
            if type(reply) is bytes:
                self._write(reply)
                cells[BYTES_OUT] += len(reply)
            elif reply is not None:
                self._connection.send(reply)
        except BaseException:
            self._connection.failed()
            self._hand_over(b"")
        if self._handler.closing:
            self._hand_over(b"")

    def _hand_over(self, data: bytes) -> None:
        connection = self._connection
        connection.transport.set_protocol(connection)
        connection.take(data)
        connection.end_if_wanted()


class EchoingPeer(ChattyPeer):
    """A `ChattyPeer` for handlers that only echo: nobody need be asked.

    It says again what that does, since a step that both call would cost as much as it saves.
    """

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        size = len(data)
        if size > self._longest:
            self._hand_over(data)
            return
        cells = self._cells
        cells[MESSAGES] += 1
        cells[BYTES_IN] += size
        self._write(data)
        cells[BYTES_OUT] += size
