"""EchoClient: talk to an echo server over any transport, from a program.

A stream is read and written at the same time, so that a large message cannot leave both
sides waiting for the other to read.
"""

import select
import socket
import sys
import time
from types import TracebackType
from typing import Any, Self

from .addresses import STREAMS, parse_endpoint
from .errors import IncompleteMessage, OptionError
from .framing import FRAMINGS, Framing, LineFraming
from .timeouts import limit_waits

__all__ = ["EchoClient"]

RECEIVE_SIZE = 65536

INT_MAX = 2**31 - 1  # milliseconds: the longest that poll(2) waits for, 24 days


def _read_options(transport: str, given: dict[str, Any]) -> dict[str, Any]:
    """The options of *transport*: those *given*, and the defaults of the others."""
    known = _OPTIONS.get(transport, {})
    accepted = ("timeout", "framing", *known)
    for name in given:
        if name not in known:
            owners = ", ".join(f"{t}://" for t, names in _OPTIONS.items() if name in names)
            raise OptionError(
                f"{transport}:// has no option {name!r}; "
                + (f"it is for {owners}" if owners else f"it has: {', '.join(accepted)}")
            )
    values = {**known, **given}
    if transport == "raw":
        from .raw import ip_protocol

        try:
            values["protocol"] = ip_protocol(values["protocol"])
        except ValueError as error:
            raise OptionError(f"protocol={values['protocol']!r}: {error}") from None
    return values


_OPTIONS: dict[str, dict[str, Any]] = {
    "tls": {"cafile": None, "insecure": False, "certfile": None, "keyfile": None},
    "raw": {"protocol": 253},
}


class EchoClient:
    """A connection to an echo server; a context manager that closes it.

    ::

        with EchoClient("tcp://127.0.0.1:8007") as client:
            assert client.echo(b"hello") == b"hello"

    :param endpoint: ``tcp://HOST:PORT``, ``udp://HOST:PORT``, ``tls://HOST:PORT``,
        ``raw://HOST``, ``unix:///PATH`` or ``unix-datagram:///PATH``.
    :param timeout: seconds without progress before `TimeoutError`; None waits for ever.
    :param framing: ``raw``, ``lines`` or ``length``, as the server's handler has it.
    :param options: for ``tls``: ``cafile``, the CA certificates to trust, by default the
        system's; ``insecure=True``, verify nothing; ``certfile`` and ``keyfile``, to show to
        a server that asks.  For ``raw``: ``protocol``, a number, 253 by default.
    :raises EndpointError: the endpoint cannot be understood.
    :raises OptionError: there is no such framing or option, or a file cannot be read.
    :raises OSError: the server cannot be reached, or is not whom its certificate should name.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        timeout: float | None = 5.0,
        framing: str = "raw",
        **options: Any,
    ) -> None:
        if framing not in FRAMINGS:
            raise OptionError(f"framing={framing!r}: expected {', '.join(FRAMINGS)}")
        self.endpoint = endpoint
        self.timeout = timeout
        self.transport, address = parse_endpoint(endpoint)
        self.is_stream = self.transport in STREAMS
        self._options = _read_options(self.transport, options)
        self._raw = framing == "raw"
        # What a server sends is bounded by what we sent, so no limit of our own is needed.
        self._framing: Framing = FRAMINGS[framing](sys.maxsize)
        self._address = address
        self._outgoing = memoryview(b"")  # what is still to be sent
        self._late = 0  # replies that echo() gave up on: bytes without framing, else messages
        self._socket: Any = self._connect()

    def _connect(self) -> Any:
        if self.transport == "tls":
            return self._connected_tls()
        sock = self._connected()
        sock.setblocking(False)
        return sock

    def _connected_tls(self) -> Any:
        from .tls_client import TLSStream  # imported late: it loads ssl

        context = self._tls_context()  # first: its files may be at fault
        return TLSStream(self._connected(), context, str(self._address[0]), self.timeout)

    def _tls_context(self) -> Any:
        from .tls_contexts import client_context

        return client_context(**self._options)

    def _connected(self) -> socket.socket:
        address = self._address
        kind = socket.SOCK_STREAM if self.is_stream else socket.SOCK_DGRAM
        if self.transport in ("tcp", "tls"):
            sock = socket.create_connection(address, self.timeout)  # type: ignore[arg-type]
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        if self.transport == "raw":
            from .raw import connect_raw

            return connect_raw(str(address[0]), **self._options)
        family: int = socket.AF_UNIX
        target: Any = address
        if isinstance(address, tuple):
            found = socket.getaddrinfo(*address, type=kind)
            # IPv4 first, as a server does: a datagram shows nobody which one is served.
            family, _, _, _, target = min(found, key=lambda f: f[0] != socket.AF_INET)
        sock = socket.socket(family, kind)
        try:
            if family == socket.AF_UNIX and self.is_stream and self.timeout is not None:
                # With a time limit of Python's a full backlog would be an error at once.
                limit_waits(sock, self.timeout)
            else:
                sock.settimeout(self.timeout)
            if family == socket.AF_UNIX and not self.is_stream:
                sock.bind("")  # unix(7), autobind: without an address there is no reply
            sock.connect(target)
        except BlockingIOError as error:
            sock.close()
            raise TimeoutError(
                f"{self.endpoint} takes no connection: its backlog is full"
            ) from error
        except BaseException:
            sock.close()
            raise
        return sock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """The socket's descriptor, for a wait of your own."""
        descriptor: int = self._socket.fileno()
        return descriptor

    def close(self) -> None:
        """Close the connection; harmless when done twice."""
        self._socket.close()

    def echo(self, message: bytes) -> bytes:
        """Send *message* and return the reply to it.

        Without framing the reply of a stream is as many bytes as the message had (RFC 862);
        with framing it is the server's next message, and of datagrams the next one.
        The reply to a message that was given up after ``timeout`` is never taken for it.

        A server that greets is to be asked for its greeting first, with `receive`.

        :raises TimeoutError: no progress for ``timeout`` seconds; a datagram may be lost.
        :raises ConnectionError: the server closed the connection before the reply was whole.
        :raises ValueError: *message* is not one line, and the framing is ``lines``.
        """
        if not self.is_stream:
            return self._exchange_datagram(message)
        if self._raw:
            return self._exchange_raw(message)
        if isinstance(self._framing, LineFraming) and (b"\n" in message or message.endswith(b"\r")):
            raise ValueError("a message of the framing lines cannot hold the end of a line")
        return self._exchange_framed(message)

    def send(self, data: bytes) -> None:
        """Send *data*, framed where there is a framing; a whole datagram where there are those.

        :raises TimeoutError: the server takes nothing for ``timeout`` seconds.
        """
        self._send(self._framing.wrap(data) if self.is_stream else data)

    def receive(self, size: int = RECEIVE_SIZE) -> bytes:
        """What comes next: at most *size* bytes, a datagram, or with framing a message.

        Empty at the end of a stream (or for an empty message).

        :raises TimeoutError: nothing comes for ``timeout`` seconds.
        """
        if self.is_stream and not self._raw:
            message = self._next_message(sending=False)
            self._late = max(0, self._late - 1)
            return message or b""
        while (data := self._read_some(size)) is None:
            self._wait(select.POLLIN)
        self._late = max(0, self._late - len(data)) if self.is_stream else 0
        return data

    def end(self) -> None:
        """Half-close: the server sees the end of the input, its replies still come."""
        while self.is_stream:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except BlockingIOError:  # TLS: there is no room for its end
                self._wait(select.POLLOUT)
            else:
                return

    # --- inside ---------------------------------------------------------------------

    def _exchange_datagram(self, message: bytes) -> bytes:
        if self._late:
            # A reply may still come at any time: to a socket that is no longer there.
            late, self._socket = self._socket, self._connect()
            late.close()
        self._late = 1
        self._discard_unasked()
        self._send(message)
        return self.receive()

    def _exchange_raw(self, message: bytes) -> bytes:
        self._put(message)
        self._late += len(message)
        received = bytearray()
        while self._outgoing or self._late:
            self._write_some()
            data = self._read_some(self._late) if self._late else None
            if data:
                self._late -= len(data)
                received += data
            elif data is None:
                self._wait(self._both())
            else:
                raise ConnectionError(
                    f"the server closed the connection after {len(received)}"
                    f" of {len(received) + self._late} bytes"
                )
        return bytes(received[len(received) - len(message) :])

    def _exchange_framed(self, message: bytes) -> bytes:
        self._put(self._framing.wrap(message))
        self._late += 1
        reply = None
        while self._late:
            reply = self._next_message(sending=True)
            if reply is None:
                raise ConnectionError("the server closed the connection without a reply")
            self._late -= 1
        return reply or b""

    def _next_message(self, sending: bool) -> bytes | None:
        """The server's next message; None at the end of the stream."""
        while True:
            if not sending or not self._write_some():
                message = self._framing.next_message()
                if message is not None:
                    return message
            data = self._read_some(RECEIVE_SIZE)
            if data:
                self._framing.receive_data(data)
            elif data is None:
                self._wait(self._both() if sending else select.POLLIN)
            else:
                self._framing.receive_end()
                return self._last_message()

    def _last_message(self) -> bytes | None:
        try:
            return self._framing.next_message()
        except IncompleteMessage as error:
            raise ConnectionError(f"the server closed the connection early: {error}") from error

    def _send(self, data: bytes) -> None:
        if self.is_stream:
            self._put(data)
            while self._write_some():
                self._wait(select.POLLOUT)
        else:
            while not self._write_datagram(data):
                self._wait(select.POLLOUT)

    def _put(self, data: bytes) -> None:
        """Let *data* go out behind what an earlier call could not send in its time."""
        self._outgoing = memoryview(bytes(self._outgoing) + data if self._outgoing else data)

    def _write_datagram(self, data: bytes) -> bool:
        try:
            self._socket.send(data)
        except BlockingIOError:  # the queue of a Unix server is full
            return False
        return True

    def _write_some(self) -> memoryview:
        """Send what can be sent now; what is left of it."""
        if self._outgoing:
            try:
                self._outgoing = self._outgoing[self._socket.send(self._outgoing) :]
            except BlockingIOError:
                pass
        return self._outgoing

    def _read_some(self, size: int) -> bytes | None:
        """What is there; None: nothing yet."""
        try:
            data: bytes = self._socket.recv(size)
        except BlockingIOError:
            return None
        return data

    def _discard_unasked(self) -> None:
        """What came without a question must not pass for the reply to come."""
        while True:
            try:
                if self._read_some(RECEIVE_SIZE) is None:
                    return
            except ConnectionError:
                continue  # the fate of an earlier datagram, told once

    def _both(self) -> int:
        return select.POLLIN | (select.POLLOUT if self._outgoing else 0)

    def _wait(self, events: int) -> None:
        if getattr(self._socket, "unsent", False):  # TLS: encrypted, and still to go out
            events |= select.POLLOUT
        poll = select.poll()
        poll.register(self._socket, events)
        started = time.monotonic()
        if not poll.poll(None if self.timeout is None else min(self.timeout * 1000, INT_MAX)):
            waited = time.monotonic() - started
            lost = "" if self.is_stream else "; the datagram or its reply was lost"
            raise TimeoutError(f"no reply from {self.endpoint} for {waited:.3g} s{lost}")
