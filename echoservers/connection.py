"""One connection of a reactor: what to do when it can be read from or written to."""

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .activity import ActiveRequest
from .closing import CHECK_INTERVAL, DISCARD_SIZE, LINGER_TIME, discard_unread, discarding, untaken
from .counters import BYTES_IN, BYTES_OUT, ERRORS, MESSAGES
from .exchange import RECEIVE_SIZE, BrokenFraming, Exchange, PeerEnded
from .framing import RawFraming
from .handlers import EchoHandler
from .loop import Timer

if TYPE_CHECKING:
    from .models.reactors import ReactorMixIn

__all__ = ["Connection"]

IDLE = "idle for too long"


class Connection:
    """Moves bytes between a non-blocking socket and its handler.

    At any time the loop has one callback for the descriptor: read, read a framed stream,
    write what is left over, or throw away what comes behind our own end.
    """

    #: What a read or write raises that has to wait.
    blocked: tuple[type[OSError], ...] = (BlockingIOError, InterruptedError)

    __slots__ = (
        "_deadline",
        "_echoes",
        "_exchange",
        "_handler",
        "_input_is_over",
        "_limit",
        "_loop",
        "_outgoing",
        "_receive",
        "_record",
        "_send_some",
        "_server",
        "_size",
        "_timer",
        "_view",
        "active_at",
        "cells",
        "closed",
        "descriptor",
        "request",
    )

    def __init__(self, server: "ReactorMixIn", handler: EchoHandler, record: ActiveRequest) -> None:
        self.request = request = handler.request
        self._server = server
        self._handler = handler
        self._record = record
        record.worker = self
        self._loop = server._loop
        self.descriptor = request.fileno()
        # Bound once, as they are called for every message; no more, as memory is for thousands.
        self._receive: Any = request.recv
        self._send_some = request.send
        self._view = server.read_buffer
        self._exchange: Exchange | None = None
        self._outgoing: memoryview | None = None
        self._input_is_over = False
        self.closed = False
        self._echoes = False
        self._timer: Timer | None = None

    def begin(self) -> None:
        """Greet, and wait for the first bytes."""
        try:
            self._begin()
        except BaseException as error:  # the peer has gone already, or greet() fails
            self._failed(error)

    def _begin(self) -> None:
        handler = self._handler
        self.cells = handler.begin()
        self.active_at = time.monotonic()
        self._limit = handler.time_limit()
        if self._limit is not None:
            self._set_timer(self.active_at + self._limit, self._look_at_the_time)
        if handler.framing_class is RawFraming:
            self._size = min(RECEIVE_SIZE, handler.max_message_size)
            self._echoes = handler.only_echoes()
            if self._echoes:
                self._receive = self.request.recv_into
            greeting = handler.greet()
        else:
            self._size = RECEIVE_SIZE
            self._exchange = Exchange(handler, self.cells)
            greeting = self._exchange.greeting()
        self._read_on()
        if greeting:
            self._send(greeting)
        if handler.closing and self._outgoing is None:
            self._linger()

    # --- read -----------------------------------------------------------------------

    def _read_on(self) -> None:
        self._loop.watch(self.descriptor, self._reader())

    def _reader(self) -> Callable[[], None]:
        if self._exchange is not None:
            return self._read_framed
        if not self._echoes:
            return self._read
        return self.echo if type(self.request) is socket.socket else self._echo_alone

    def _echo_alone(self) -> None:
        """As `echo`, where nobody may read and write past the request's own methods."""
        self.echo()

    def echo(self) -> None:
        """Send back what comes, without making an object of it: nobody wants to see it.

        `StreamBatches` does the same for many of those that would be called for this.
        """
        view = self._view
        try:
            size = self._receive(view)
        except self.blocked:
            return
        except OSError as error:
            self.lost(PeerEnded(error))
            return
        if not size:
            self.end_of_input()
            return
        cells = self.cells
        cells[MESSAGES] += 1
        cells[BYTES_IN] += size
        self.active_at = self._loop.now
        try:
            sent = self._send_some(view[:size])
        except self.blocked:
            sent = 0
        except OSError as error:
            self.lost(PeerEnded(error))
            return
        cells[BYTES_OUT] += sent
        if sent != size:
            self.keep(view[sent:size])

    def _read(self) -> None:
        """Without framing each piece that arrives is a message."""
        try:
            message = self._receive(self._size)
        except self.blocked:
            return
        except OSError as error:
            self.lost(PeerEnded(error))
            return
        if not message:
            self.end_of_input()
            return
        cells = self.cells
        cells[MESSAGES] += 1
        cells[BYTES_IN] += len(message)
        self.active_at = self._loop.now
        handler = self._handler
        try:
            if handler.shows_messages:
                handler.show(message)
            reply = handler.respond(message)
            if reply is not None:
                self._send(reply)
            if handler.closing and self._outgoing is None:
                self._linger()
        except BaseException as error:
            self._failed(error)

    def _read_framed(self) -> None:
        assert self._exchange is not None
        try:
            data = self._receive(self._size)
        except self.blocked:
            return
        except OSError as error:
            self.lost(PeerEnded(error))
            return
        self.active_at = self._loop.now
        self._input_is_over = not data
        self._exchange.receive(data)
        self._go_on()

    def _go_on(self) -> None:
        """Answer what was received, as far as the peer takes it; then see what comes next."""
        try:
            exchange = self._exchange
            while exchange is not None and self._outgoing is None:
                batch = exchange.next_batch()
                if batch is None:
                    break
                self._send(batch)
            if self._outgoing is not None:
                return
            if self._handler.closing:
                self._linger()
            elif self._input_is_over:
                self.end_of_input()
        except BaseException as error:
            self._failed(error)

    # --- write ----------------------------------------------------------------------

    def keep(self, view: memoryview) -> None:
        """Send a copy of *view* when there is room; until then read nothing."""
        self._outgoing = memoryview(bytes(view))
        self._loop.watch_writing(self.descriptor, self._write)

    def _send(self, data: bytes) -> None:
        try:
            sent = self._send_some(data)
        except self.blocked:
            sent = 0
        except OSError as error:
            raise PeerEnded(error) from error
        self.cells[BYTES_OUT] += sent
        if sent != len(data):
            self._outgoing = memoryview(data)[sent:]
            self._loop.watch_writing(self.descriptor, self._write)

    def _write(self) -> None:
        """Send what was left over; when it is out, take more in."""
        assert self._outgoing is not None
        try:
            sent = self._send_some(self._outgoing)
        except self.blocked:
            return
        except OSError as error:
            self.lost(PeerEnded(error))
            return
        self.cells[BYTES_OUT] += sent
        self.active_at = self._loop.now
        if sent == len(self._outgoing):
            self._outgoing = None
            self._read_on()
            self._go_on()
        else:
            self._outgoing = self._outgoing[sent:]

    # --- end ------------------------------------------------------------------------

    def _look_at_the_time(self) -> None:
        """The time limit may be over; looked at once a limit, not set anew for each message."""
        assert self._limit is not None
        due = self.active_at + self._limit
        if due > self._loop.now:
            self._timer = self._loop.call_at(due, self._look_at_the_time)
        else:
            self._timer = None
            self._handler.say_ended(IDLE)
            self.close()

    def lost(self, ended: PeerEnded) -> None:
        """The peer has gone."""
        self._handler.say_ended(str(ended))
        self.close()

    def _failed(self, error: BaseException) -> None:
        """End this connection for *error*; but Ctrl-C at the program is not its business."""
        if isinstance(error, PeerEnded):
            self.lost(error)
        elif isinstance(error, BrokenFraming):
            self.cells[ERRORS] += 1
            self._handler.say_ended(str(error))
            self._linger()
        else:
            try:
                self._server.contain(error, self._handler)
            finally:
                self.close()

    def _linger(self) -> None:
        """We end the conversation; see `echoservers.closing`."""
        try:
            self.request.shutdown(socket.SHUT_WR)
        except OSError:  # gone: nothing to wait for
            self.close()
            return
        self._loop.watch(self.descriptor, self._discard)
        self._set_timer(self._loop.now + LINGER_TIME, self.close)

    def _discard(self) -> None:
        try:
            if discarding(self.request)(DISCARD_SIZE):
                return
        except self.blocked:
            return
        except OSError:
            pass  # gone: there is nothing left to wait for
        self.close()

    def end_of_input(self) -> None:
        """The input is over and answered."""
        if self._record.input_ended:
            self._loop.unwatch(self.descriptor)
            self._deadline = self._loop.now + LINGER_TIME
            self._settle()
        else:
            self.close()

    def _settle(self) -> None:
        """We have ended the input: the peer's system must take the replies before we close."""
        request = self.request
        if untaken(request) and self._loop.now < self._deadline:
            self._set_timer(self._loop.now + CHECK_INTERVAL, self._settle)
        else:
            discard_unread(request)
            self.close()

    def _set_timer(self, when: float, callback: Callable[[], object]) -> None:
        if self._timer is not None and self._timer.callback is not None:
            self._loop.cancel(self._timer)
        self._timer = self._loop.call_at(when, callback)

    def close(self) -> None:
        """End it now, whatever it was about; harmless when done twice."""
        if self.closed:  # its descriptor may be somebody else's by now
            return
        self.closed = True
        self._loop.unwatch(self.descriptor)
        if self._timer is not None and self._timer.callback is not None:
            self._loop.cancel(self._timer)
        self._timer = None
        server, handler = self._server, self._handler
        try:
            handler.finish()
        except BaseException as error:
            server.contain(error, handler)
        finally:
            server.shutdown_request(self.request)
