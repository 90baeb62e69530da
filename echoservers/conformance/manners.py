"""Client: how the peers of checks behave, well and badly, and how long they wait.

No wait is without a limit: one for the next thing, one for the check as a whole.
"""

import contextlib
import select
import socket
import struct
import time
from collections.abc import Iterable
from typing import Any

from ..client import EchoClient
from .failures import CheckFailed, lack_of, reason_of
from .open_socket import open_raw_socket, open_socket

__all__ = ["KNOCK_AGAIN", "Client", "Habits", "TimeOver"]

KNOCK_AGAIN = 1.5
"""Seconds that a connection may take: one that found the queue full tries again after 1 s
(RFC 6298, 2.1), which is no fault of a server that is only asked too fast."""

LITTLE = 65536
"""Bytes that a client's kernel takes for it: enough to read fast later, and no more."""

BREATH = 0.01
"""Seconds in which a server that waits for input has read what there is, and nearly always much
less: one that has not gets two pieces as one, and is asked less than was meant."""


class Habits:
    """What is known of a server while one check is made, by all its clients."""

    answers_at_end = False
    """Whether it has let one wait for an answer until the input ended."""

    ended_early = False
    """Whether it has ended a connection, unasked: it may be ending itself."""


class TimeOver(TimeoutError):
    """The time for the check as a whole is over, whatever the server does."""

    def __init__(self) -> None:
        super().__init__("the time for the whole check is over")


class Client(EchoClient):
    """A client's connection, or its socket for datagrams.

    :param endpoint: of the server.
    :param patience: seconds for the server to do the next thing.
    :param deadline: on `time.monotonic`'s clock, for everything together.
    :param habits: what is known of the server, shared with its other clients.
    :param slowness: by what the waits of checks are multiplied, which leave the server time to do
        what it should not: at least 1.
    :raises CheckFailed: the server takes no connection.
    """

    def __init__(
        self,
        endpoint: str,
        patience: float,
        deadline: float,
        habits: Habits | None = None,
        slowness: float = 1.0,
    ) -> None:
        self._deadline = deadline
        self._habits = habits or Habits()
        self._slowness = slowness
        self.patience = patience
        self._plain: socket.socket | None = None  # under TLS, too
        self.has_ended = False  # our half
        self._unread = b""  # received, and not yet looked at
        self._line_end = b""  # what may come behind the words of an answer
        try:
            super().__init__(endpoint, timeout=max(patience, KNOCK_AGAIN))
        except TimeoutError:
            raise CheckFailed(f"a connection within {self.patience:g} s", "none") from None
        except OSError as error:
            raise lack_of(error) or CheckFailed(
                "a connection", reason_of(error), cut=True
            ) from None

    def overhear(self, seconds: float) -> bytes:
        """Whatever comes within *seconds*, if anything does."""
        kept, heard = self.patience, bytearray()
        until = time.monotonic() + seconds * self._slowness
        while (left := until - time.monotonic()) > 0:
            self.patience = left
            try:
                data = self.receive()
            except OSError:  # time is over, or who asks next meets it again
                break
            if not data:
                break
            heard += data
        self.patience = kept
        return bytes(heard)

    def hold(self, seconds: float) -> None:
        """Read nothing for *seconds*, whatever comes."""
        broken = select.poll()
        broken.register(self._socket, 0)  # no more than what is always told: an error
        broken.poll(seconds * self._slowness * 1000)

    def pause(self, seconds: float) -> None:
        """Leave the server *seconds*, or less if it says something."""
        kept, self.patience = self.patience, seconds * self._slowness
        with contextlib.suppress(TimeoutError):
            self._wait(select.POLLIN)
        self.patience = kept

    def finish(self) -> None:
        """Half-close: end what is sent.

        :raises CheckFailed: the server has closed or reset the connection.
        """
        self.has_ended = True
        try:
            self.end()
        except OSError as error:
            raise CheckFailed("an open connection", reason_of(error), cut=True) from None

    def reset(self) -> None:
        """Close with a reset (RST), where the transport has one."""
        assert self._plain is not None
        with contextlib.suppress(OSError):  # Unix sockets take it, and do without
            self._plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._plain.close()  # first: TLS would say goodbye
        self.close()

    def offer(self, data: bytes, stall: float) -> int:
        """Send *data* without reading; how many bytes have gone before the server took no more.

        What is left goes out with the next `expect` or `hear`.

        :param stall: seconds without progress to wait for, or more on a slow machine.
        """
        kept, self.patience = self.patience, stall * self._slowness
        self._put(data)
        with contextlib.suppress(OSError):  # a time-out, or closed
            self._send(b"")
        self.patience = kept
        return len(data) - len(self._outgoing)

    @property
    def wants(self) -> int:
        """The events that let `swap` go on, for a wait of your own."""
        return self._both() | (select.POLLOUT if getattr(self._socket, "unsent", False) else 0)

    def swap(self, size: int) -> bytes | None:
        """Send what can be sent now of what was offered, and read at most *size* bytes of what
        is there; None: nothing yet.
        """
        self._write_some()
        return self._read_some(size)

    def trickle(self, pieces: Iterable[bytes]) -> None:
        """Send *pieces* one by one, with time to answer each; what is answered is kept."""
        kept, answers = self.patience, b""
        for piece in pieces:
            data: bytes | None = None
            try:
                self.send(piece)
                self.patience = BREATH * self._slowness
                self._wait(select.POLLIN)
                data = self._read_some(65536)
            except TimeoutError:
                continue
            except OSError:
                break  # whoever looks for the answer meets it again
            finally:
                self.patience = kept
            if data == b"":
                break
            answers += data or b""
        self._unread = answers

    def take_little(self) -> None:
        """Have the system take little for us, so that what we do not read is the server's."""
        assert self._plain is not None
        self._plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)

    def stuff(self, most: int, stall: float) -> int:
        """Send without reading until the server takes no more; how many bytes.

        :param most: bytes after which to stop.
        :param stall: as for `offer`.
        """
        self.take_little()
        piece = (b"%063d\n" % 7) * 1024
        sent = 0
        while sent < most:
            part = self.offer(piece, stall)
            sent += part
            if part < len(piece):
                break
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
        from ..tls_contexts import unverifying_context

        context = unverifying_context()  # who a server is, is not what is checked
        return TLSStream(self._connected(), context, str(self._address[0]), self.timeout)

    def _connected(self) -> socket.socket:
        self._plain = super()._connected()
        return self._plain

    def _wait(self, events: int, part: int = 1) -> None:
        self.timeout = min(self.patience / part, self._time_left())
        super()._wait(events)

    def _time_left(self) -> float:
        """Seconds for everything together.

        :raises TimeOver: there are none.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeOver
        return left

    def _read_some(self, size: int) -> bytes | None:
        self._time_left()  # of a server that sends for ever, nobody waits
        data: bytes | None
        if self._unread:
            data, self._unread = self._unread[:size], self._unread[size:]
        else:
            data = super()._read_some(size)
        if data and self._line_end:
            end, self._line_end = self._line_end, b""
            if data.startswith(end):
                return data[len(end) :] or None
        return data
