"""Peer: a client that knows what must come back, and says what came instead.

Everything that a server can do wrong to a client ends in `CheckFailed`, with what was
expected and what came.
"""

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

from .failures import CheckFailed, CheckSkipped, difference, missing, reason_of, shown
from .manners import Client, TimeOver
from .messages import MIB

__all__ = ["CheckFailed", "CheckSkipped", "Peer", "shown"]

CHATTER = MIB
"""Bytes beside what is waited for that are put up with; a server may print for ever."""

HASTE = 4
"""By which part of `patience` a server that has something to say has said it: after that, it
is told that the input has ended, or what has come is taken for all there is."""


class Peer(Client):
    """A client's connection, or its socket for datagrams; see `Client` for the arguments."""

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
        until = time.monotonic() + self.patience
        self.timeout = self.patience
        try:
            data = self.receive()
        except TimeoutError:
            if self._deadline < until:  # less than that was waited for
                wanted = f"nothing for {seconds * self._slowness:g} s"
                raise CheckFailed(wanted, "the time for the whole check is over") from None
            return
        except OSError as error:
            self._habits.ended_early = True
            if or_end:
                return
            raise CheckFailed("nothing", reason_of(error)) from None
        finally:
            self.timeout = self.patience = kept
        if not data and self.is_stream:
            self._habits.ended_early = True
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

    def leave(self) -> None:
        """End the input and read the rest: a close with answers unread would be a reset."""
        for _ in self.rest():
            pass

    def rest(self) -> Iterator[bytes]:
        """End the input, and give what comes, piece by piece, until nothing more does."""
        self._outgoing = memoryview(b"")
        self.has_ended = True
        with contextlib.suppress(OSError):
            with contextlib.suppress(BlockingIOError):  # TLS: its end goes out while we read
                self._socket.shutdown(socket.SHUT_WR)
            while data := self.receive():
                yield data

    # --- inside ------------------------------------------------------------------------

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
        except TimeOver as over:
            why, cut = str(over), False
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
