"""Connections on an asyncio event loop: the life that all kinds share.

There are three kinds, one for each way to answer: piece by piece without framing
(`echoservers.raw_protocols`), framed messages, and messages whose answers are awaited
(`echoservers.framed_protocols`).  All share one life::

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
from .counters import BYTES_IN, BYTES_OUT, ERRORS, Cells
from .exchange import BrokenFraming

if TYPE_CHECKING:
    from .handlers import EchoHandler

__all__ = ["Buffer", "Connection", "Owner"]

LOOKS = 4
"""How often within its time limit a connection is looked at for progress, so that no read
or write has to note the time: it is closed after the limit and a quarter at most."""


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
        self.closing = True
        self._lost()

    def not_opened(self, error: BaseException) -> None:
        """There has never been a transport."""
        self.handler.say_ended(str(error))
        self.owner.connection_over(self)

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
        if self._input_ended:
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
            notify_close = getattr(self.transport, "notify_close", None)
            if notify_close is not None:
                notify_close()  # the end of the replies, where they have one of their own (TLS)
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
