"""Peer: a client that knows what must come back, and says what came instead.

Everything that a server can do wrong to a client ends in `CheckFailed`, with what was
expected and what came; no wait is without a limit.
"""

import contextlib
import select
import socket
import struct
import time
from collections.abc import Iterable
from typing import Any

from ..client import EchoClient
from .failures import CheckFailed, CheckSkipped, difference, lack_of, missing, reason_of, shown
from .open_socket import open_raw_socket, open_socket

__all__ = ["CheckFailed", "CheckSkipped", "Peer", "shown"]

CHATTER = 1024 * 1024
"""Bytes beside what is waited for that are put up with; a server may print for ever."""

KNOCK_AGAIN = 1.5
"""Seconds that a connection may take: one that found the queue full tries again after 1 s
(RFC 6298, 2.1), which is no fault of a server that is only asked too fast."""

LITTLE = 65536
"""Bytes that a client's kernel takes for it: enough to read fast later, and no more."""

BREATH = 0.01
"""Seconds in which a server that waits for input has read what there is, and nearly always much
less: one that has not gets two pieces as one, and is asked less than was meant."""

HASTE = 4
"""By which part of `patience` a server that has something to say has said it: after that, it
is told that the input has ended, or what has come is taken for all there is."""


class Habits:
    """What is known of a server while one check is made, by all its clients."""

    answers_at_end = False
    """Whether it has let one wait for an answer until the input ended."""


class TimeOver(TimeoutError):
    """The time for the check as a whole is over, whatever the server does."""

    def __init__(self) -> None:
        super().__init__("the time for the whole check is over")


class Peer(EchoClient):
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

    # --- what a check says -------------------------------------------------------------

    def echo(self, message: bytes, *, last: bool = False) -> bytes:
        """Send *message* while reading, and see it come back, byte for byte.

        :param last: as for `expect`.
        :raises CheckFailed: it does not.
        """
        self._begin(message)
        return self.expect(message, last=last)

    def ask(self, message: bytes) -> bytes:
        """Send *message*, this client's last, and see its words come back; see `hear`.

        :raises CheckFailed: they do not.
        """
        self._begin(message)
        return self.hear(message, last=True)

    def say(self, data: bytes) -> None:
        """Send *data*, or a datagram, whole.

        :raises CheckFailed: the server takes no more, or has closed.
        """
        if not self.is_stream:
            self._send_datagram(data)
            return
        wanted = f"the server to read {len(data)} bytes"
        try:
            self.send(data)
        except TimeoutError:
            raise CheckFailed(wanted, "it does not") from None
        except OSError as error:
            raise CheckFailed(wanted, reason_of(error), cut=True) from None

    def expect(self, expected: bytes, *, last: bool = False, then_end: bool = False) -> bytes:
        """See *expected* come, and nothing else before it; or exactly this datagram.

        What is still to be sent is sent meanwhile.

        :param last: whether a server that answers nothing may be told that the input has
            ended: to find out what it does with bytes, even if it does it too late.
        :param then_end: whether to half-close as soon as all is sent.
        :raises CheckFailed: something else comes, or nothing.
        """
        if not self.is_stream:
            got = self._read_datagram(expected)
            if got != expected:
                raise difference(expected, got, 0)
            return expected
        received = 0
        while received < len(expected):
            self._write_part(expected, received)
            if then_end and not self._outgoing and not self.has_ended:
                self.finish()
            size = min(65536, len(expected) - received)
            data = self._read_part(size, last, expected, received)
            if not expected.startswith(data, received):
                raise difference(expected, data, received)
            received += len(data)
        return expected

    def hear(self, message: bytes, *, last: bool = False) -> bytes:
        """See the words of *message* come, whatever is around them; what came up to their end.

        For checks that are not about the bytes: a server that sends something more, or takes
        the end of the line away, is told so by those that are.

        :param last: as for `expect`.
        :raises CheckFailed: they do not come.
        """
        words = message.rstrip(b"\r\n") or message
        if not self.is_stream:
            got = self._read_datagram(message)
            if words not in got:
                raise difference(message, got, 0)
            return got
        heard = bytearray()
        while (found := heard.find(words)) < 0:
            self._write_part(message, 0)
            data = self._read_part(65536, last, message, heard)
            heard += data
            if len(heard) > len(message) + CHATTER:
                raise difference(message, bytes(heard), 0)
        end = found + len(words)
        self._unread = bytes(heard[end:]) + self._unread
        self._line_end = message[len(words) :]
        return bytes(heard[:end])

    def expect_end(self, *, ignore: bool = False) -> None:
        """See the stream end, with nothing before.

        :param ignore: whether something may come before it.
        :raises CheckFailed: something comes, the connection is reset, or nothing happens.
        """
        came = 0
        try:
            data = self.receive()
            while data and ignore:
                came += len(data)
                data = self.receive()
        except TimeOver:
            raise CheckFailed("end of stream", f"{came} bytes more, and no end") from None
        except TimeoutError:
            raise CheckFailed("end of stream", f"nothing within {self.patience:g} s") from None
        except OSError as error:
            raise CheckFailed("end of stream", reason_of(error), cut=True) from None
        if data:
            raise CheckFailed("end of stream", f"{len(data)} bytes more: {shown(data)}")

    def expect_silence(self, seconds: float, *, or_end: bool = False) -> None:
        """See nothing come for *seconds*, or more of them on a slow machine.

        :param or_end: whether the stream may end.
        :raises CheckFailed: something does.
        """
        kept, self.patience = self.patience, seconds * self._slowness
        self.timeout = self.patience
        try:
            data = self.receive()
        except TimeoutError:
            return
        except OSError as error:
            if or_end:
                return
            raise CheckFailed("nothing", reason_of(error)) from None
        finally:
            self.timeout = self.patience = kept
        if not data and self.is_stream:
            if or_end:
                return
            raise CheckFailed("nothing", "end of stream")
        raise CheckFailed("nothing", f"{len(data)} bytes: {shown(data)}")

    def offer_datagram(self, data: bytes) -> bool:
        """Send a datagram if the server's queue has room for it; whether it had.

        :raises CheckFailed: it cannot be sent.
        """
        try:
            return self._write_datagram(data)
        except OSError as error:
            raise CheckFailed(f"a datagram of {len(data)} bytes to go", reason_of(error)) from None

    def sides(self) -> tuple[Any, Any]:
        """The address that is asked, and the one from which the last datagram came."""
        return self._socket.target, self._socket.source

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

    def leave(self) -> None:
        """End the input and read the rest: a close with answers unread would be a reset."""
        self._outgoing = memoryview(b"")
        with contextlib.suppress(CheckFailed):
            self.finish()
            self.expect_end(ignore=True)

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

    def _write_part(self, message: bytes, received: int) -> None:
        if not self._outgoing:
            return
        try:
            self._write_some()
        except OSError as error:
            expected, got = missing(message, received)
            raise CheckFailed(expected, f"{got}, then {reason_of(error)}", cut=True) from None

    def _read_part(self, size: int, last: bool, message: bytes, before: int | bytearray) -> bytes:
        """What is there; nothing, when there is reason to try again.

        :param before: what has come of *message*: how many of its bytes, or what instead.
        """
        hasty = last and not self.has_ended and not self._outgoing
        if hasty and self._habits.answers_at_end:
            self.finish()
            hasty = False
        enough = not isinstance(before, int) and len(before) >= len(message)
        cut = True
        try:
            data = self._read_some(size)
            if data is None:
                self._wait(self._both(), HASTE if hasty or enough else 1)
                return b""
            if data:
                return data
            why = "end of stream"
        except TimeoutError:
            if hasty:
                self._habits.answers_at_end = True
                self.finish()
                return b""
            why, cut = f"nothing more within {self.timeout or 0:.3g} s", False
        except OSError as error:
            why = reason_of(error)
        if isinstance(before, int):
            wanted, got = missing(message, before)
            raise CheckFailed(wanted, f"{got}, then {why}", cut)
        raise difference(message, bytes(before), 0, f", then {why}", cut)

    def _begin(self, message: bytes) -> None:
        """Send a datagram; what goes on a stream is sent while it is read."""
        if self.is_stream:
            self._put(message)
        else:
            self._send_datagram(message)

    def _send_datagram(self, data: bytes) -> None:
        try:
            self._send(data)
        except OSError as error:
            raise CheckFailed(f"a datagram of {len(data)} bytes to go", reason_of(error)) from None

    def _read_datagram(self, expected: bytes) -> bytes:
        try:
            return self.receive()
        except TimeoutError:
            wanted = f"a datagram of {len(expected)} bytes: {shown(expected)}"
            raise CheckFailed(wanted, f"none within {self.timeout or 0:.3g} s") from None
        except OSError as error:
            raise CheckFailed("a datagram", reason_of(error)) from None
