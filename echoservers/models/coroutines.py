"""All clients in one thread, on an event loop: asyncio's own, or uvloop's.

The descriptors of the server are watched by the event loop, so that one thread accepts,
moves the bytes of every connection and runs the coroutines.  ``respond()`` may be
``async def``: its connection waits for it, the others do not.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..activity import ActiveRequest
from ..counters import BYTES_IN, BYTES_OUT, MESSAGES, new_cells
from ..event_loop import EventLoop
from ..exchange import RECEIVE_SIZE
from ..framed_protocols import AsyncConnection, FramedConnection
from ..framing import RawFraming
from ..handlers import EchoHandler
from ..protocols import Buffer, Connection
from ..raw_protocols import ChattyPeer, EchoConnection, EchoingPeer, RawConnection
from ..serving import ServingMixIn
from ..transports import TCPServer, UDPServer, UnixDatagramServer, UnixStreamServer

if TYPE_CHECKING:
    from ..tls_channel import TLSChannel

__all__ = [
    "AsyncioMixIn",
    "AsyncioTCPServer",
    "AsyncioUDPServer",
    "AsyncioUnixDatagramServer",
    "AsyncioUnixStreamServer",
    "UvloopMixIn",
    "UvloopTCPServer",
    "UvloopUDPServer",
    "UvloopUnixDatagramServer",
    "UvloopUnixStreamServer",
]

_CO_COROUTINE = 0x80  # inspect.CO_COROUTINE, without importing inspect


class AsyncioMixIn(ServingMixIn):
    """Serve all requests in one thread, on asyncio's event loop.

    Handlers are subclasses of `EchoHandler` that leave ``handle()`` alone; ``respond()``
    may be ``async def``.  What it calls must not block, or everybody waits.
    """

    runs_handle = False
    runs_async = True

    _loop: EventLoop
    _connection_class: type[Connection] = RawConnection

    #: What stands for a `RawConnection` where small reads cost less without a buffer of ours;
    #: not so on asyncio, which allocates a quarter of a mebibyte for each.
    _peer_class: type[ChattyPeer] | None = None

    #: Takes a handler that is set up; None: the handler answers its datagram at once.
    drive_handler: Callable[[EchoHandler], None] | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._connections: dict[int, Connection | TLSChannel] = {}
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._reads_into: Buffer | None = None
        self._ciphers_into: Buffer | None = None
        super().__init__(*args, **kwargs)
        self._choose()

    def _prepare_admission(self) -> None:
        super()._prepare_admission()
        if hasattr(self, "RequestHandlerClass"):  # again, in a forked worker
            self._choose()

    def make_event_loop(self) -> asyncio.AbstractEventLoop:
        """A new event loop; called once, in the process that serves."""
        return asyncio.new_event_loop()

    def _make_loop(self) -> EventLoop:
        loop = EventLoop(self.make_event_loop)
        loop.holds_interrupts = True
        return loop

    def _choose(self) -> None:
        """What serves a request, by the kind of socket and the kind of ``respond()``."""
        handler = self.RequestHandlerClass
        code = getattr(getattr(handler, "respond", None), "__code__", None)
        awaits = code is not None and bool(code.co_flags & _CO_COROUTINE)
        if not self.is_stream:
            self.drive_handler = self._drive_datagram if awaits else None
            self._serves_in_loop = self._serves_at_once = not awaits
            return
        self.drive_handler = self._drive_connection
        if awaits:
            self._connection_class = AsyncConnection
        elif getattr(handler, "framing_class", None) is not RawFraming:
            self._connection_class = FramedConnection
        elif self._only_echoes() and not hasattr(self, "ssl_context"):
            self._connection_class = EchoConnection

    def _only_echoes(self) -> bool:
        """Whether nobody wants to see the messages."""
        respond = getattr(self.RequestHandlerClass, "respond", None)
        return respond is EchoHandler.respond and not self.logs_connections

    # --- one request ----------------------------------------------------------------

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand *request* to the event loop; a datagram is answered at once, if it can be."""
        if self._serves_in_loop:
            super().process_request(request, client_address)
            return
        record = self._activity.find(request)
        if record is not None:
            self._activity.count_in(record, new_cells())
        if hasattr(request, "channel"):
            self._shake_hands(record or ActiveRequest(request, client_address, None))
        else:
            self.finish_request(request, client_address)

    def _record_of(self, handler: EchoHandler) -> ActiveRequest:
        request = handler.request
        found = self._activity.find(request)
        return found or ActiveRequest(request, handler.client_address, None)

    def _drive_connection(self, handler: EchoHandler) -> None:
        events = self._loop.events
        channel: TLSChannel | None = getattr(handler.request, "channel", None)
        record = self._record_of(handler) if channel is None else channel.record
        kind, peer = self._connection_class, self._peer_class
        if "respond" in vars(handler):  # setup() has chosen another
            kind = RawConnection if kind is EchoConnection else kind
            peer = ChattyPeer if peer is EchoingPeer else peer
        connection = kind(self, handler, record, events, self._reading_buffer())
        self._connections[id(record)] = connection
        if channel is not None:
            channel.carry(connection)
        elif peer is not None and isinstance(connection, RawConnection):
            self._open(peer(connection), connection)
        else:
            self._open(connection, connection)

    def _reading_buffer(self) -> Buffer:
        if self._reads_into is None:
            handler: type[EchoHandler] = self.RequestHandlerClass  # type: ignore[assignment]
            longest = self.max_message_size or handler.max_message_size
            raw = handler.framing_class is RawFraming
            self._reads_into = Buffer(min(RECEIVE_SIZE, longest) if raw else RECEIVE_SIZE)
        return self._reads_into

    def _open(self, protocol: asyncio.BaseProtocol, served: "Connection | TLSChannel") -> None:
        """Give the request of *served* to the event loop, and what it brings to *protocol*."""

        async def opened() -> None:
            try:
                await served.events.connect_accepted_socket(lambda: protocol, served.record.request)
                if served.record.aborted:
                    served.transport.abort()
            except BaseException as error:  # it was cut meanwhile
                if not served.was_made:
                    served.not_opened(error)
            finally:
                self._tasks.pop(id(served.record), None)

        self._tasks[id(served.record)] = served.events.create_task(opened())

    # --- TLS ------------------------------------------------------------------------

    def wrap_connection(self, connection: socket.socket) -> socket.socket:
        """For TLS: the plain socket, since the event loop waits on no other."""
        from ..tls_channel import TLSRequest  # imported late: it needs ssl

        return TLSRequest(fileno=connection.detach())

    def _shake_hands(self, record: ActiveRequest) -> None:
        from ..tls_channel import CIPHER_SIZE, TLSChannel

        server: Any = self  # a TLSServer, too
        if self._ciphers_into is None:
            self._ciphers_into = Buffer(CIPHER_SIZE)
        events, buffer = self._loop.events, self._ciphers_into
        limit = server.handshake_timeout
        channel = TLSChannel(self, record, server.ssl_context, limit, events, buffer)
        self._connections[id(record)] = channel
        self._open(channel, channel)

    def hands_shaken(self, channel: "TLSChannel") -> None:
        """See `echoservers.tls_channel.ChannelOwner`."""
        record = channel.record
        try:
            self.finish_request(record.request, record.client_address)
        except BaseException:
            self._handler_failed(record)

    def not_shaken(self, channel: "TLSChannel", error: OSError) -> None:
        """See `echoservers.tls_channel.ChannelOwner`."""
        record = channel.record
        self.handshake_failed(record.request, record.client_address, error)  # type: ignore[attr-defined]

    def channel_over(self, channel: "TLSChannel") -> None:
        """See `echoservers.tls_channel.ChannelOwner`."""
        self._over(channel.record)

    # --- what connections tell ------------------------------------------------------

    def connection_failed(self, connection: Connection) -> None:
        """See `echoservers.protocols.Owner`."""
        self._handler_failed(connection.record)

    def connection_over(self, connection: Connection) -> None:
        """See `echoservers.protocols.Owner`."""
        self._finish(connection.handler, connection.record)

    # --- datagrams that are awaited -------------------------------------------------

    def _drive_datagram(self, handler: EchoHandler) -> None:
        record = self._record_of(handler)
        task = self._loop.events.create_task(self._answer_datagram(handler, record))
        self._tasks[id(record)] = task

    async def _answer_datagram(self, handler: EchoHandler, record: ActiveRequest) -> None:
        try:
            cells = handler.begin()
            message = handler.request[0]
            cells[MESSAGES] += 1
            cells[BYTES_IN] += len(message)
            if handler.shows_messages:
                handler.show(message)
            reply = await handler.respond(message)  # type: ignore[misc]
            if reply is not None:
                cells[BYTES_OUT] += self.send_datagram(  # type: ignore[attr-defined]
                    reply, handler.request, handler.client_address
                )
        except BaseException:
            if not record.aborted:
                self._handler_failed(record)
        finally:
            self._tasks.pop(id(record), None)
            self._finish(handler, record)

    # --- the end --------------------------------------------------------------------

    def _handler_failed(self, record: ActiveRequest) -> None:
        """Report what is being handled now."""
        import sys

        error = sys.exc_info()[1]
        if error is not None and not self._contains_in_loop(error):
            self._loop.fail(error)
        else:
            self.handle_error(record.request, record.client_address)

    def _finish(self, handler: EchoHandler, record: ActiveRequest) -> None:
        try:
            handler.finish()
        except BaseException:
            self._handler_failed(record)
        finally:
            self._over(record)

    def _over(self, record: ActiveRequest) -> None:
        self._connections.pop(id(record), None)
        self.shutdown_request(record.request)
        self._end(record)

    def abort_request(self, record: ActiveRequest) -> None:
        """Cut the connection, and cancel what is awaited for it."""
        super().abort_request(record)
        self._loop.ask(lambda: self._cut(record))

    def _cut(self, record: ActiveRequest) -> None:
        connection = self._connections.get(id(record))
        task = self._tasks.get(id(record))
        if connection is not None:
            # One that is being opened is left to `opened`: cancelled in between, uvloop closes
            # it and tells nobody that it is lost.
            if connection.was_made:
                connection.transport.abort()
        elif task is not None:
            task.cancel()

    # --- the loop -------------------------------------------------------------------

    def _end(self, record: ActiveRequest) -> None:
        super()._end(record)
        if self._serving_thread is None:
            self._loop.wake()

    def _pause(self, until: float) -> None:
        super()._pause(until)
        self._loop.wake()  # the turn goes on otherwise, and knows no time to resume

    def _handle_request_noblock(self) -> None:
        super()._handle_request_noblock()
        # Nothing else runs the loop, and nothing ends the turn but the request's end.
        while len(self._activity):
            self._turn(None)


class UvloopMixIn(AsyncioMixIn):
    """Serve all requests in one thread, on uvloop's event loop (libuv).

    As `AsyncioMixIn`; needs the extra ``uvloop``.
    """

    def _choose(self) -> None:
        super()._choose()
        if self._connection_class is EchoConnection:
            self._connection_class = RawConnection  # libuv knows what it holds, and nobody else
        # In the queue of a Unix socket, unlike that of a TCP connection which has only seen
        # small messages, more may wait than we want to hold.
        if self.address_family != socket.AF_UNIX:
            self._peer_class = EchoingPeer if self._only_echoes() else ChattyPeer

    def make_event_loop(self) -> asyncio.AbstractEventLoop:
        """A new event loop of uvloop's."""
        import uvloop

        made: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return made


class AsyncioTCPServer(AsyncioMixIn, TCPServer):
    """TCP on asyncio."""


class AsyncioUDPServer(AsyncioMixIn, UDPServer):
    """UDP on asyncio."""


class AsyncioUnixStreamServer(AsyncioMixIn, UnixStreamServer):
    """Unix stream on asyncio."""


class AsyncioUnixDatagramServer(AsyncioMixIn, UnixDatagramServer):
    """Unix datagram on asyncio."""


class UvloopTCPServer(UvloopMixIn, TCPServer):
    """TCP on uvloop."""


class UvloopUDPServer(UvloopMixIn, UDPServer):
    """UDP on uvloop."""


class UvloopUnixStreamServer(UvloopMixIn, UnixStreamServer):
    """Unix stream on uvloop."""


class UvloopUnixDatagramServer(UvloopMixIn, UnixDatagramServer):
    """Unix datagram on uvloop."""
