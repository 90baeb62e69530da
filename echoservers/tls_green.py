"""TLS for greenlets: OpenSSL never blocks, and whoever has to wait lets the others run."""

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
from gevent.socket import wait_read, wait_write

from .closing import DISCARD_SIZE
from .tls import TLSConnection

__all__ = ["GreenTLSConnection"]

_Result = TypeVar("_Result")


class GreenTLSConnection(TLSConnection):
    """A `TLSConnection` on which a greenlet waits, and only that one.

    The socket below stays non-blocking; the time limit is kept here, and is for each
    handshake, read and write as a whole, as `ssl` has it.
    """

    _limit: float | None = None

    def settimeout(self, value: float | None) -> None:
        """Limit what is to come to *value* seconds."""
        self._limit = value
        socket.socket.settimeout(self, 0.0)

    def gettimeout(self) -> float | None:
        """The limit."""
        return self._limit

    limit_waits = settimeout  # see `echoservers.timeouts`

    def pause(self, seconds: float) -> None:
        """Let the others run for *seconds*."""
        gevent.sleep(seconds)

    def do_handshake(self, block: bool = False) -> None:
        """As `ssl.SSLSocket.do_handshake`."""
        self._repeated(super().do_handshake)

    def read(self, size: int | None = 1024, buffer: Any = None) -> Any:
        """As `ssl.SSLSocket.read`; ``recv`` and ``recv_into`` are made of it."""
        return self._repeated(super().read, size, buffer)

    def send(self, data: Any, flags: int = 0) -> int:
        """As `ssl.SSLSocket.send`; ``sendall`` is made of it."""
        return self._repeated(super().send, data, flags)

    def discard(self, size: int = DISCARD_SIZE, flags: int = 0) -> bytes:
        """As it comes, encrypted."""
        if flags & socket.MSG_DONTWAIT:
            return socket.socket.recv(self, size, flags)
        return self._repeated(socket.socket.recv, self, size, flags)

    def _wait_for_room(self, seconds: float) -> bool:
        try:
            wait_write(self.fileno(), seconds, TimeoutError())
        except TimeoutError:
            return False
        return True

    def _repeated(self, operation: Callable[..., _Result], *arguments: Any) -> _Result:
        """What *operation* returns, tried until it need not wait."""
        limit = self._limit
        deadline = None if limit is None else time.monotonic() + limit
        while True:
            try:
                return operation(*arguments)
            except (ssl.SSLWantReadError, BlockingIOError):
                wait = wait_read
            except ssl.SSLWantWriteError:
                wait = wait_write
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            wait(self.fileno(), left, TimeoutError("timed out"))
