"""TLS on an asyncio event loop: a protocol to the transport, a transport to the connection.

An event loop's own TLS closes at the peer's close_notify, and cannot end one side only.
So TLS runs here, over two memory buffers, between the event loop's plain transport and a
`echoservers.protocols.Connection`, which notices no difference::

    transport -> ciphertext -> TLSChannel -> plaintext -> Connection
    transport <- ciphertext <- TLSChannel <- plaintext <- Connection

For a peer that does not read, about 128 KiB are held: what one read has brought, in
OpenSSL's buffers, and the replies to it, in the transport's.  With framing, or where
answers are awaited, more is gathered or read ahead, and it is 256 KiB at most.
"""

import asyncio
import socket
import ssl
from typing import Any, Protocol

from .activity import ActiveRequest
from .protocols import Buffer, Connection

__all__ = ["CIPHER_SIZE", "ChannelOwner", "TLSChannel", "TLSRequest"]

CIPHER_SIZE = 32768
"""Bytes read, or encrypted, at once: two full records.  OpenSSL's memory buffers never shrink
again, and grow to four thirds of the most that they had to hold."""


class TLSRequest(socket.socket):
    """The socket below a `TLSChannel`, for its handler; and what TLS knows of the peer.

    As on a plain socket, ``shutdown()`` ends a side of the TCP connection, without a word of TLS.
    """

    channel: "TLSChannel | None" = None

    def version(self) -> str | None:
        """As `ssl.SSLSocket.version`."""
        return None if self.channel is None else self.channel.tls.version()

    def cipher(self) -> tuple[str, str, int] | None:
        """As `ssl.SSLSocket.cipher`."""
        return None if self.channel is None else self.channel.tls.cipher()

    def getpeercert(self, binary_form: bool = False) -> Any:
        """As `ssl.SSLSocket.getpeercert`."""
        return None if self.channel is None else self.channel.tls.getpeercert(binary_form)


class ChannelOwner(Protocol):
    """Whom a channel tells what happens: the server."""

    def hands_shaken(self, channel: "TLSChannel") -> None:
        """It is a TLS connection now: somebody has to be given to `TLSChannel.carry`."""

    def not_shaken(self, channel: "TLSChannel", error: OSError) -> None:
        """It did not become a TLS connection."""

    def channel_over(self, channel: "TLSChannel") -> None:
        """It is closed, and carried nobody."""


class TLSChannel(asyncio.BufferedProtocol):
    """TLS between a transport and a connection.

    :param owner: the server.
    :param record: of the request, which is a `TLSRequest`.
    :param context: for a server.
    :param time_limit: seconds, for all of the handshake.
    :param events: the event loop.
    :param buffer: what to read into; what was read is copied at once.
    """

    transport: asyncio.Transport

    def __init__(
        self,
        owner: ChannelOwner,
        record: ActiveRequest,
        context: ssl.SSLContext,
        time_limit: float,
        events: asyncio.AbstractEventLoop,
        buffer: Buffer,
    ) -> None:
        self.owner = owner
        self.record = record
        record.request.channel = self
        self.events = events
        self._time_limit = time_limit
        self._timer: asyncio.TimerHandle | None = None
        self.get_buffer = buffer.__getitem__  # type: ignore[method-assign, assignment]
        self._view = buffer.view
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._connection: Connection | None = None
        self._error: Exception | None = None
        self._full = False  # the transport holds what could not be sent yet
        self._paused = False  # the connection wants nothing more for now
        self._transport_ended = False  # nothing will come any more
        self._input_ended = False  # by the peer, in a way that TLS knows
        self._end_told = False
        self._notified = False
        self._output_ended = False
        self._handshake_over = False
        self.was_made = False

    # --- called by the transport ----------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.was_made = True
        transport.set_write_buffer_limits(high=0)
        self._timer = self.events.call_later(self._time_limit, self._too_late)

    def buffer_updated(self, nbytes: int) -> None:
        if self._input_ended or self._output_ended:
            return  # nobody need decrypt what is thrown away
        self._incoming.write(self._view[:nbytes])
        if self._connection is None:
            self._shake_hands()
        else:
            self._deliver()

    def eof_received(self) -> bool:
        self._transport_ended = True
        self._incoming.write_eof()
        if self._connection is None:
            self._shake_hands()
        else:
            self._deliver()
        return True  # the connection closes, once all is answered

    def pause_writing(self) -> None:
        self._full = True
        if self._connection is not None:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._full = False
        if self._connection is not None:
            self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:  # what `resume_reading` has put off finds nobody any more
            connection.connection_lost(exc or self._error)
            return
        if not self._handshake_over:
            error = exc if isinstance(exc, OSError) else ConnectionAbortedError("it was cut")
            self._end_handshake()
            self.owner.not_shaken(self, error)
        self.owner.channel_over(self)

    def not_opened(self, _error: BaseException) -> None:
        """There has never been a transport."""
        self.owner.channel_over(self)

    # --- the handshake --------------------------------------------------------------

    def _shake_hands(self) -> None:
        if self._handshake_over:  # it has failed, and the transport is closing
            return
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except OSError as error:
            self._flush()  # an alert that says why
            self._end_handshake()
            self.owner.not_shaken(self, error)
            self.transport.close()
        else:
            self._flush()
            self._end_handshake()
            self.owner.hands_shaken(self)
            if self._connection is None:
                self.close()
            else:
                self._deliver()  # what came along

    def _too_late(self) -> None:
        self._end_handshake()
        self.owner.not_shaken(self, TimeoutError())
        self.transport.abort()

    def _end_handshake(self) -> None:
        self._handshake_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def carry(self, connection: Connection) -> None:
        """From now on the plaintext is *connection*'s."""
        self._connection = connection
        connection.connection_made(self)
        if self._full and not connection.full:
            connection.pause_writing()

    # --- decrypt --------------------------------------------------------------------

    def _deliver(self) -> None:
        """Give the connection what can be decrypted, as far as it takes it."""
        connection = self._connection
        while connection is not None and not self._paused and self._error is None:
            if self._output_ended:
                self._input_ended |= self._transport_ended
            elif size := self._decrypt(connection.get_buffer(-1)):
                connection.buffer_updated(size)
                continue
            if self._input_ended and not self._end_told:
                self._end_told = True
                connection.eof_received()
            return

    def _decrypt(self, view: Any) -> int:
        """Fill *view* as far as there is something; bytes."""
        size = 0
        try:
            while size < len(view) and not self._input_ended:
                got = self.tls.read(len(view) - size, view[size:])
                self._input_ended = not got  # a close_notify
                size += int(got)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLEOFError:
            self._input_ended = True  # by TCP alone
        except ssl.SSLError as error:
            self._break(error)
        return size

    def _break(self, error: ssl.SSLError) -> None:
        """The peer has broken TLS, or something on the way has."""
        self._error = error
        self._notified = True  # it would be no end, but a lie
        self._flush()  # an alert that says why
        self.transport.close()

    # --- called by the connection: a transport --------------------------------------

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        view = memoryview(data)
        for start in range(0, len(data), CIPHER_SIZE):
            try:
                self.tls.write(view[start : start + CIPHER_SIZE])
            except ssl.SSLError as error:
                self._break(error)
                return
            self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.transport.write(self._outgoing.read())

    def notify_close(self) -> None:
        """Send close_notify (RFC 8446, 6.1): the peer can tell that it has everything."""
        if self._notified or self.transport.is_closing():
            return
        self._notified = True
        try:
            self.tls.unwrap()
        except (ssl.SSLError, ValueError):
            pass  # it is in the buffer; to wait for the peer's is not our business
        self._flush()

    def write_eof(self) -> None:
        """End our side of TLS and of TCP; what still comes is thrown away."""
        self.notify_close()
        self._output_ended = True
        self.transport.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        """Close behind what is still to be sent, and a close_notify."""
        self.notify_close()
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()

    def is_closing(self) -> bool:
        return self.transport.is_closing()

    def get_write_buffer_size(self) -> int:
        return self.transport.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int) -> None:
        """Nothing to set: the transport has them."""

    def pause_reading(self) -> None:
        self._paused = True
        if not (self._transport_ended or self.transport.is_closing()):
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._paused:
            return
        self._paused = False
        if not (self._transport_ended or self.transport.is_closing()):
            self.transport.resume_reading()
        self.events.call_soon(self._deliver)  # what we have already is no event
