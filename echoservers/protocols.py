"""Connections on an asyncio event loop: between a transport and an `Exchange`.

Three kinds, one for each way to answer: piece by piece without framing, framed messages,
and messages whose answers are awaited.  All share one life::

    made -> greeted -> (received -> answered)* -> ended or closing -> lost -> over

The transport reports every byte that it cannot send at once (its high-water mark is 0),
and reading stops until it is gone: what is held for a peer that does not read is the
replies to one read.
"""

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Any, Protocol

from .activity import ActiveRequest
from .closing import CHECK_INTERVAL, DISCARD_SIZE, LINGER_TIME, untaken
from .counters import BYTES_IN, BYTES_OUT, ERRORS, MESSAGES, Cells
from .exchange import BrokenFraming, Exchange

if TYPE_CHECKING:
    from .handlers import EchoHandler

__all__ = ["AsyncConnection", "Connection", "FramedConnection", "Owner", "RawConnection"]

LOOKS = 4
"""How often within its time limit a connection is looked at for progress, so that no read
or write has to note the time: it is closed after the limit and a quarter at most."""

CHATTY_READ = 16384
"""Bytes: a longer read shows a peer that sends in bulk."""


class Owner(Protocol):
    """Whom a connection tells what happens: the server."""

    def connection_failed(self, connection: "Connection") -> None:
        """Its handler has raised what is being handled now."""

    def connection_over(self, connection: "Connection") -> None:
        """It is closed, and nothing of it runs any more."""


class Buffer(dict[int, memoryview]):
    """The buffer that all connections of one event loop read into, one after the other.

    Its item for any number is the buffer, so that a lookup can stand for the method
    ``get_buffer(size_hint)``: a Python call less for each read.
    """

    def __init__(self, size: int) -> None:
        self.view = memoryview(bytearray(size))
        super().__init__({-1: self.view, 65536: self.view})  # what asyncio and libuv ask for

    def __missing__(self, _size_hint: int) -> memoryview:
        return self.view


class Connection(asyncio.BufferedProtocol):
    """What all kinds share: the beginning, the limits, the end.

    :param owner: the server.
    :param handler: set up, not yet begun.
    :param record: of its request.
    :param events: the event loop.
    :param buffer: what to read into.
    """

    __slots__ = (
        "_input_ended",
        "_limit",
        "_looks",
        "_seen",
        "_shows",
        "_timer",
        "_view",
        "cells",
        "closing",
        "events",
        "full",
        "get_buffer",
        "handler",
        "owner",
        "record",
        "transport",
        "was_made",
    )

    transport: asyncio.Transport

    def __init__(
        self,
        owner: Owner,
        handler: "EchoHandler",
        record: ActiveRequest,
        events: asyncio.AbstractEventLoop,
        buffer: Buffer,
    ) -> None:
        self.owner = owner
        self.handler = handler
        self.record = record
        self.events = events
        self.cells: Cells = handler.begin()
        self.get_buffer = buffer.__getitem__  # type: ignore[method-assign, assignment]
        self._view = buffer.view
        handler.closing = handler.closing  # its own: found sooner than its class's
        self._shows = handler.shows_messages
        self._limit = handler.time_limit()
        self._timer: asyncio.TimerHandle | None = None
        self._seen: object = None  # what stays the same while nothing moves
        self._looks = 0
        self.full = False  # the transport holds what could not be sent yet
        self._input_ended = False
        self.closing = False  # nothing is to be answered any more
        self.was_made = False

    # --- called by the transport ----------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.was_made = True
        transport.set_write_buffer_limits(high=0)
        if self._limit is not None:
            self._look()
        self._begin()

    def pause_writing(self) -> None:
        self.full = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.full = False
        self._go_on()

    def eof_received(self) -> bool:
        self._input_ended = True
        if not self.full:
            self._go_on()
        return True  # we close, once all is answered

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.handler.say_ended(getattr(exc, "strerror", None) or str(exc))
        self._stop_timer()
        self._lost()

    # --- for a kind -----------------------------------------------------------------

    def _greeting(self) -> bytes | None:
        """What to send first."""
        raise NotImplementedError

    def _answer(self) -> None:
        """Answer what has been received, as far as what is sent is taken."""
        raise NotImplementedError

    def _waits_for_peer(self) -> bool:
        """Whether it is the peer's turn, to send or to read."""
        return True

    def _lost(self) -> None:
        self.owner.connection_over(self)

    # --- inside ---------------------------------------------------------------------

    def _begin(self) -> None:
        try:
            greeting = self._greeting()
            if greeting is not None:
                self.send(greeting)
        except BaseException:
            self.failed()
        else:
            self.end_if_wanted()

    def end_if_wanted(self) -> None:
        if (self.closing or self.handler.closing) and not self.full:
            self._linger()

    def send(self, data: bytes) -> None:
        if type(data) is not bytes:
            data = bytes(memoryview(data))  # a TypeError for what is no bytes, were it empty
        self.transport.write(data)
        self.cells[BYTES_OUT] += len(data)

    def _go_on(self) -> None:
        """Everything is sent: answer more, read more, or end."""
        if not self.closing:
            self._answer()
            if self.full:
                return
        if self.closing or self.handler.closing:
            self._linger()
        elif self._input_ended:
            self._finish()
        else:
            self.transport.resume_reading()

    def failed(self) -> None:
        """The handler has raised what is being handled now: send what is answered, and close."""
        self.closing = True
        self.owner.connection_failed(self)
        self.transport.close()  # behind what is still to be sent

    def _broken(self, broken: BrokenFraming) -> None:
        self.cells[ERRORS] += 1
        self.handler.say_ended(str(broken))
        self.closing = True

    def _linger(self) -> None:
        """Behind the last reply: close our side, and read on until the peer closes its own.

        See `echoservers.closing`.
        """
        transport = self.transport
        if self._input_ended or not transport.can_write_eof():  # TLS says goodbye by itself
            transport.close()
        elif not transport.is_closing():
            self.closing = True
            transport.write_eof()
            transport.resume_reading()
            self._limit = None
            self._set_timer(LINGER_TIME, transport.close)

    def _finish(self) -> None:
        """The input has ended and all is answered: close."""
        if self.record.input_ended and self.handler.request.family != socket.AF_UNIX:
            # Not before the peer has all replies: see wait_until_taken().
            self._limit = None
            self._wait_until_taken(time.monotonic() + LINGER_TIME)
        else:
            self.transport.close()

    def _wait_until_taken(self, deadline: float) -> None:
        connection = self.handler.request
        now = time.monotonic()
        try:
            # What is unread would make close() send a reset.
            if now < deadline and untaken(connection):
                self._set_timer(CHECK_INTERVAL, self._wait_until_taken, deadline)
                return
            if connection.recv(DISCARD_SIZE, socket.MSG_DONTWAIT) and now < deadline + LINGER_TIME:
                self._set_timer(0.0, self._wait_until_taken, deadline)
                return
        except OSError:
            pass  # gone: nobody is left to get them
        self.transport.close()

    # --- limits ---------------------------------------------------------------------

    def _set_timer(self, seconds: float, *callback: Any) -> None:
        self._stop_timer()
        self._timer = self.events.call_later(seconds, *callback)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Has anything moved since the last look?"""
        if self._limit is None:
            return
        unsent = self.transport.get_write_buffer_size()
        seen = (self.cells[BYTES_IN], self.cells[BYTES_OUT], unsent)
        if seen != self._seen or not self._waits_for_peer():
            self._seen = seen
            self._looks = 0
        self._looks += 1
        if self._looks <= LOOKS:
            self._set_timer(self._limit / LOOKS, self._look)
            return
        self.handler.say_ended("idle for too long")
        self.closing = True
        if unsent:  # which close() would wait for
            self.transport.abort()
        else:
            self.transport.close()


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
        if size > CHATTY_READ:
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


class FramedConnection(Connection):
    """Messages are cut from what arrives, and the replies to several sent at once."""

    __slots__ = ("_exchange",)

    def __init__(self, *of_all: Any) -> None:
        super().__init__(*of_all)
        self._exchange = Exchange(self.handler, self.cells)

    def _greeting(self) -> bytes | None:
        return self._exchange.greeting()

    def buffer_updated(self, nbytes: int) -> None:
        if self.closing:
            return
        self._exchange.receive(self._view[:nbytes].tobytes())
        if self.full:  # this transport has had one more for us
            self.transport.pause_reading()
            return
        self._answer()
        self.end_if_wanted()

    def eof_received(self) -> bool:
        if not self.closing:
            self._exchange.receive(b"")
        return super().eof_received()

    def _answer(self) -> None:
        try:
            while not self.full and (batch := self._exchange.next_batch()) is not None:
                self.send(batch)
        except BrokenFraming as broken:
            self._broken(broken)
        except BaseException:
            self.failed()


class AsyncConnection(Connection):
    """The answers are awaited, one after the other, in a task of the connection's own.

    While it is busy at most one piece is read ahead.
    """

    __slots__ = ("_exchange", "_gone", "_pieces", "_something", "_task")

    _task: asyncio.Task[None]

    def __init__(self, *of_all: Any) -> None:
        super().__init__(*of_all)
        self._exchange = Exchange(self.handler, self.cells)
        self._pieces: list[bytes] = []
        self._something: asyncio.Future[None] | None = None
        self._gone = False

    # --- the task -------------------------------------------------------------------

    def _begin(self) -> None:
        self._task = self.events.create_task(self._converse())
        self._task.add_done_callback(self._conversed)

    async def _converse(self) -> None:
        try:
            await self._greet_and_answer()
        except BrokenFraming as broken:
            self._broken(broken)
        except asyncio.CancelledError:
            if not self._gone:  # else nobody is left to answer
                self.failed()
            return
        except BaseException:
            self.failed()
            return
        if self.closing or self.handler.closing:
            self._linger()
        else:
            self._finish()

    async def _greet_and_answer(self) -> None:
        exchange, handler = self._exchange, self.handler
        greeting = exchange.greeting()
        if greeting is not None:
            await self._send_all(greeting)
        while not handler.closing:
            piece = await self._next_piece()
            exchange.receive(piece)
            while (batch := await exchange.next_batch_async()) is not None:
                await self._send_all(batch)
            if not piece:
                return

    async def _next_piece(self) -> bytes:
        while not self._pieces:
            self.transport.resume_reading()
            await self._wait()
        return self._pieces.pop(0)

    async def _send_all(self, data: bytes) -> None:
        self.send(data)
        while self.full:
            await self._wait()

    async def _wait(self) -> None:
        self._something = self.events.create_future()
        try:
            await self._something
        finally:
            self._something = None

    def _waits_for_peer(self) -> bool:
        return self._something is not None

    def _conversed(self, _task: object) -> None:
        if self._gone:
            self.owner.connection_over(self)

    # --- called by the transport ----------------------------------------------------

    def buffer_updated(self, nbytes: int) -> None:
        if self.closing or self._task.done():
            return
        if self.full or self._something is None or self._something.done():
            self.transport.pause_reading()
        self._take(self._view[:nbytes].tobytes())

    def eof_received(self) -> bool:
        self._input_ended = True
        if self._task.done():
            self.transport.close()  # the peer has followed us
        else:
            self._take(b"")
        return True

    def _take(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._notify()

    def resume_writing(self) -> None:
        self.full = False
        self._notify()

    def _notify(self) -> None:
        if self._something is not None and not self._something.done():
            self._something.set_result(None)

    def _lost(self) -> None:
        self._gone = True
        if self._task.done():
            self.owner.connection_over(self)
        else:
            self._task.cancel()
