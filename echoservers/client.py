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

from .addresses import parse_endpoint
from .errors import IncompleteMessage, OptionError
from .framing import FRAMINGS, Framing

__all__ = ["EchoClient"]

RECEIVE_SIZE = 65536


class EchoClient:
    """A connection to an echo server; a context manager that closes it.

    ::

        with EchoClient("tcp://127.0.0.1:8007") as client:
            assert client.echo(b"hello") == b"hello"

    :param endpoint: ``tcp://HOST:PORT``, ``udp://HOST:PORT``, ``unix:///PATH`` or
        ``unix-datagram:///PATH``.
    :param timeout: seconds without progress before `TimeoutError`; None waits for ever.
    :param framing: ``raw``, ``lines`` or ``length``, as the server's handler has it.
    :raises EndpointError: the endpoint cannot be understood.
    :raises OptionError: there is no such framing.
    :raises OSError: the server cannot be reached.
    """

    def __init__(self, endpoint: str, *, timeout: float | None = 5.0, framing: str = "raw") -> None:
        if framing not in FRAMINGS:
            raise OptionError(f"framing={framing!r}: expected {', '.join(FRAMINGS)}")
        self.endpoint = endpoint
        self.timeout = timeout
        self.transport, address = parse_endpoint(endpoint)
        self.is_stream = self.transport in ("tcp", "unix-stream")
        self._raw = framing == "raw"
        # What a server sends is bounded by what we sent, so no limit of our own is needed.
        self._framing: Framing = FRAMINGS[framing](sys.maxsize)
        self._socket = self._connect(address)
        self._socket.setblocking(False)

    def _connect(self, address: tuple[str, int] | str) -> socket.socket:
        kind = socket.SOCK_STREAM if self.is_stream else socket.SOCK_DGRAM
        if self.transport == "tcp":
            sock = socket.create_connection(address, self.timeout)  # type: ignore[arg-type]
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        family: int = socket.AF_UNIX
        target: Any = address
        if isinstance(address, tuple):
            found = socket.getaddrinfo(*address, type=kind)
            family, target = found[0][0], found[0][4]
        sock = socket.socket(family, kind)
        try:
            sock.settimeout(self.timeout)
            if family == socket.AF_UNIX and not self.is_stream:
                sock.bind("")  # unix(7), autobind: without an address there is no reply
            sock.connect(target)
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
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection; harmless when done twice."""
        self._socket.close()

    def echo(self, message: bytes) -> bytes:
        """Send *message* and return the reply to it.

        Without framing the reply of a stream is as many bytes as the message had (RFC 862);
        with framing it is the server's next message, and of datagrams the next one.

        :raises TimeoutError: no progress for ``timeout`` seconds; a datagram may be lost.
        :raises ConnectionError: the server closed the connection before the reply was whole.
        """
        if not self.is_stream:
            self._discard_late_replies()
            self._send(message)
            return self.receive()
        if not self._raw:
            return self._exchange_framed(message)
        received = bytearray()
        rest = memoryview(message)
        while rest or len(received) < len(message):
            rest = self._write_some(rest)
            if len(received) < len(message):
                data = self._read_some(len(message) - len(received))
                if data == b"":
                    raise ConnectionError(
                        f"the server closed the connection after {len(received)}"
                        f" of {len(message)} bytes"
                    )
                received += data or b""
            if rest or len(received) < len(message):
                self._wait(select.POLLIN | (select.POLLOUT if rest else 0))
        return bytes(received)

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
            return self._exchange_framed(None)
        while (data := self._read_some(size)) is None:
            self._wait(select.POLLIN)
        return data

    def end(self) -> None:
        """Half-close: the server sees the end of the input, its replies still come."""
        if self.is_stream:
            self._socket.shutdown(socket.SHUT_WR)

    # --- inside ---------------------------------------------------------------------

    def _exchange_framed(self, message: bytes | None) -> bytes:
        rest = memoryview(b"" if message is None else self._framing.wrap(message))
        while rest or (reply := self._framing.next_message()) is None:
            rest = self._write_some(rest)
            data = self._read_some(RECEIVE_SIZE)
            if data:
                self._framing.receive_data(data)
            elif data == b"":
                self._framing.receive_end()
                last = self._last_message()
                if last is None and message is not None:
                    raise ConnectionError("the server closed the connection without a reply")
                return last or b""
            else:
                self._wait(select.POLLIN | (select.POLLOUT if rest else 0))
        return reply

    def _last_message(self) -> bytes | None:
        try:
            return self._framing.next_message()
        except IncompleteMessage as error:
            raise ConnectionError(f"the server closed the connection early: {error}") from error

    def _send(self, data: bytes) -> None:
        if not self.is_stream:
            self._socket.send(data)
            return
        rest = memoryview(data)
        while rest := self._write_some(rest):
            self._wait(select.POLLOUT)

    def _write_some(self, rest: memoryview) -> memoryview:
        if not rest:
            return rest
        try:
            return rest[self._socket.send(rest) :]
        except BlockingIOError:
            return rest

    def _read_some(self, size: int) -> bytes | None:
        """What is there; None: nothing yet."""
        try:
            return self._socket.recv(size)
        except BlockingIOError:
            return None

    def _discard_late_replies(self) -> None:
        """Replies that came after their time must not pass for the reply to come."""
        while self._read_some(RECEIVE_SIZE) is not None:
            continue

    def _wait(self, events: int) -> None:
        poll = select.poll()
        poll.register(self._socket, events)
        started = time.monotonic()
        if not poll.poll(None if self.timeout is None else self.timeout * 1000):
            waited = time.monotonic() - started
            lost = "" if self.is_stream else "; the datagram or its reply was lost"
            raise TimeoutError(f"no reply from {self.endpoint} for {waited:.3g} s{lost}")
