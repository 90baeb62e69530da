"""Peer: a client that knows what must come back, and says what came instead.

Everything that a server can do wrong to a client ends in `CheckFailed`, with what was
expected and what came; no wait is without a limit.
"""

import contextlib
import functools
import socket
import struct
import time
from typing import Any, NoReturn

from ..client import EchoClient
from .open_socket import open_raw_socket, open_socket

__all__ = ["CheckFailed", "CheckSkipped", "Peer", "shown", "tls_context"]

SHOWN = 16
"""Bytes that are shown on each side of the first difference: a line of a hex dump."""


class CheckFailed(Exception):
    """The server does not do what it should.

    :param expected: what it should do, in words or bytes.
    :param got: what it did.
    """

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}; got {got}")
        self.expected = expected
        self.got = got


class CheckSkipped(Exception):
    """The check cannot be made here; the message says why."""


class Peer(EchoClient):
    """A client's connection, or its socket for datagrams.

    :param endpoint: of the server.
    :param patience: seconds for the server to do the next thing.
    :param deadline: on `time.monotonic`'s clock, for everything together.
    :raises CheckFailed: the server takes no connection.
    """

    def __init__(self, endpoint: str, patience: float, deadline: float) -> None:
        self._deadline = deadline
        self.patience = patience
        options: dict[str, Any] = {"insecure": True} if endpoint.startswith("tls:") else {}
        try:
            super().__init__(endpoint, timeout=patience, **options)
        except TimeoutError:
            raise CheckFailed(f"a connection within {patience:g} s", "none") from None
        except OSError as error:
            raise CheckFailed("a connection", _reason(error)) from None

    # --- what a check says -------------------------------------------------------------

    def echo(self, message: bytes, pieces: int | None = None) -> bytes:
        """Send *message* while reading, and see it come back, byte for byte.

        :param pieces: bytes to send at a time; by default as many as go.
        :raises CheckFailed: it does not.
        """
        if not self.is_stream:
            self._send_datagram(message)
            return self.expect(message)
        sent = received = 0
        while received < len(message):
            end = len(message) if pieces is None else min(sent + pieces, len(message))
            if not self._outgoing and sent < end:
                self._put(message[sent:end])
                sent = end
            self._write_part(message, received)
            received += self._read_part(message, received)
        return message

    def say(self, data: bytes) -> None:
        """Send *data*, or a datagram, whole.

        :raises CheckFailed: the server takes no more, or has closed.
        """
        if not self.is_stream:
            self._send_datagram(data)
            return
        try:
            self.send(data)
        except TimeoutError:
            raise CheckFailed(f"the server to read {len(data)} bytes", "it does not") from None
        except OSError as error:
            raise CheckFailed(f"the server to read {len(data)} bytes", _reason(error)) from None

    def expect(self, expected: bytes) -> bytes:
        """See *expected* come, and nothing else before it; or exactly this datagram.

        :raises CheckFailed: something else comes, or nothing.
        """
        if not self.is_stream:
            got = self._read_datagram(expected)
            if got != expected:
                _differ(expected, got, 0)
            return expected
        received = 0
        while received < len(expected):
            received += self._read_part(expected, received)
        return expected

    def expect_end(self) -> None:
        """See the stream end, with nothing before.

        :raises CheckFailed: something comes, the connection is reset, or nothing happens.
        """
        try:
            data = self.receive()
        except TimeoutError:
            raise CheckFailed("end of stream", f"nothing within {self.patience:g} s") from None
        except OSError as error:
            raise CheckFailed("end of stream", _reason(error)) from None
        if data:
            raise CheckFailed("end of stream", f"{len(data)} bytes more: {shown(data)}")

    def expect_silence(self, seconds: float) -> None:
        """See nothing come for *seconds*.

        :raises CheckFailed: something does.
        """
        kept, self.patience = self.patience, seconds
        self.timeout = seconds
        try:
            data = self.receive()
        except TimeoutError:
            return
        except OSError as error:
            raise CheckFailed("nothing", _reason(error)) from None
        finally:
            self.timeout = self.patience = kept
        if not data and self.is_stream:
            raise CheckFailed("nothing", "end of stream")
        raise CheckFailed("nothing", f"{len(data)} bytes: {shown(data)}")

    def offer(self, data: bytes) -> bool:
        """Send a datagram if the server's queue has room for it; whether it had.

        :raises CheckFailed: it cannot be sent.
        """
        try:
            return self._write_datagram(data)
        except OSError as error:
            raise CheckFailed(f"a datagram of {len(data)} bytes to go", _reason(error)) from None

    def sides(self) -> tuple[Any, Any]:
        """The address that is asked, and the one from which the last datagram came."""
        return self._socket.target, self._socket.source

    def finish(self) -> None:
        """Half-close: end what is sent.

        :raises CheckFailed: the server has closed or reset the connection.
        """
        try:
            self.end()
        except OSError as error:
            raise CheckFailed("an open connection", _reason(error)) from None

    def reset(self) -> None:
        """Close with a reset (RST), where the transport has one."""
        sock = self._socket
        with contextlib.suppress(OSError):  # Unix sockets take it, and do without
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def stuff(self, most: int) -> int:
        """Send without reading until the server takes no more for `patience`; how many bytes.

        :param most: bytes after which to stop.
        """
        piece = (b"%062d\n" % 7) * 1024
        sent = 0
        while sent < most:
            self._put(piece)
            try:
                self._send(b"")
            except OSError:  # a time-out, or closed
                return sent
            sent += len(piece)
        return sent

    # --- inside ------------------------------------------------------------------------

    def _connect(self) -> Any:
        if self.transport in ("udp", "unix-datagram"):
            return open_socket(self._address)
        if self.transport == "raw":
            return open_raw_socket(str(self._address[0]))
        return super()._connect()

    def _connected_tls(self) -> Any:
        from ..tls_client import TLSStream

        return TLSStream(self._connected(), tls_context(), str(self._address[0]), self.timeout)

    def _wait(self, events: int) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for the whole check is over")
        self.timeout = min(self.patience, left)
        super()._wait(events)

    def _write_part(self, message: bytes, received: int) -> None:
        try:
            self._write_some()
        except OSError as error:
            expected, got = _missing(message, received)
            raise CheckFailed(expected, f"{got}, then {_reason(error)}") from None

    def _read_part(self, expected: bytes, offset: int) -> int:
        """Read what is there and compare it; how many bytes."""
        try:
            data = self._read_some(min(65536, len(expected) - offset))
            if data is None:
                self._wait(self._both())
                return 0
        except TimeoutError:
            wanted, got = _missing(expected, offset)
            raise CheckFailed(wanted, f"{got} within {self.timeout or 0:.3g} s") from None
        except OSError as error:
            wanted, got = _missing(expected, offset)
            raise CheckFailed(wanted, f"{got}, then {_reason(error)}") from None
        if not data:
            wanted, got = _missing(expected, offset)
            raise CheckFailed(wanted, f"{got}, then end of stream")
        if not expected.startswith(data, offset):
            _differ(expected, data, offset)
        return len(data)

    def _send_datagram(self, data: bytes) -> None:
        try:
            self._send(data)
        except OSError as error:
            raise CheckFailed(f"a datagram of {len(data)} bytes to go", _reason(error)) from None

    def _read_datagram(self, expected: bytes) -> bytes:
        try:
            return self.receive()
        except TimeoutError:
            wanted = f"a datagram of {len(expected)} bytes: {shown(expected)}"
            raise CheckFailed(wanted, f"none within {self.timeout or 0:.3g} s") from None
        except OSError as error:
            raise CheckFailed("a datagram", _reason(error)) from None


@functools.cache
def tls_context() -> Any:
    """One for all: to make one takes 50 ms, a handshake 2."""
    from ..tls_contexts import client_context

    return client_context(cafile=None, insecure=True, certfile=None, keyfile=None)


def shown(data: bytes) -> str:
    """The first bytes of *data*, in hexadecimal and as text."""
    part = data[:SHOWN]
    text = "".join(chr(b) if 32 <= b < 127 else "." for b in part)
    return f"{part.hex(' ')} |{text}|" + (" ..." if len(data) > SHOWN else "")


def _missing(expected: bytes, offset: int) -> tuple[str, str]:
    size = len(expected)
    return f"{size} bytes: {shown(expected)}", f"{offset} of {size}" if offset else "nothing"


def _differ(expected: bytes, data: bytes, offset: int) -> NoReturn:
    """Fail at the first byte of *data* that is not that of *expected* at *offset*."""
    wanted = expected[offset : offset + len(data)]
    same = next((i for i, (a, b) in enumerate(zip(wanted, data, strict=False)) if a != b), None)
    if same is None:  # one is the beginning of the other: datagrams
        raise CheckFailed(
            f"{len(expected)} bytes: {shown(expected)}", f"{len(data)} bytes: {shown(data)}"
        )
    begin = max(0, same - SHOWN // 2)
    raise CheckFailed(
        f"at byte {offset + same}: {shown(expected[offset + begin :])}",
        shown(data[begin:]),
    )


def _reason(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
