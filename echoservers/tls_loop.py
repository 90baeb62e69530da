"""TLS in a reactor: a handshake that never blocks, and connections over what it made."""

import ssl
from typing import TYPE_CHECKING, Any, cast

from .activity import ActiveRequest
from .closing import DISCARD_SIZE
from .connection import Connection

if TYPE_CHECKING:
    from .models.reactors import ReactorMixIn

__all__ = ["Handshake", "TLSLoopConnection"]


class TLSLoopConnection(Connection):
    """A `Connection` over TLS: what OpenSSL has decrypted already is no event of the socket."""

    __slots__ = ()

    blocked = (
        BlockingIOError,
        InterruptedError,
        ssl.SSLWantReadError,
        ssl.SSLWantWriteError,
    )

    def _read_on(self) -> None:
        self._loop.watch(self.descriptor, self._read_all)
        if self._handler.request.pending():
            self._loop.call_at(self._loop.now, self._read_all)

    def _read_all(self) -> None:
        request = self._handler.request
        read = self._reader()
        while self._reads():
            read()
            if not request.pending():
                return

    def _reads(self) -> bool:
        """Whether it still waits for input: it may write, linger or be closed since."""
        return self._loop.reader(self.descriptor) == self._read_all

    def _discard(self) -> None:
        """As it comes, encrypted: OpenSSL fails for good if data come behind our close_notify."""
        try:
            if self._handler.request.discard(DISCARD_SIZE):
                return
        except self.blocked:
            return
        except OSError:
            pass  # gone: there is nothing left to wait for
        self.close()


class Handshake:
    """The first bytes of a TLS connection, under a deadline for all of them.

    :param record: of the connection, which is in progress from now on.
    """

    def __init__(self, server: "ReactorMixIn", record: ActiveRequest) -> None:
        self._server = cast(Any, server)  # a TLSServer, too
        self._record = record
        self._loop = server._loop
        self._descriptor = record.request.fileno()
        record.worker = self
        self._timer = self._loop.call_at(
            self._loop.now + self._server.handshake_timeout, self._too_late
        )
        self._step()

    def _step(self) -> None:
        try:
            self._record.request.do_handshake()
        except ssl.SSLWantReadError:
            self._loop.watch(self._descriptor, self._step)
        except ssl.SSLWantWriteError:
            self._loop.watch_writing(self._descriptor, self._step)
        except OSError as error:
            self._failed(error)
        else:
            self._end()
            self._server.serve_shaken(self._record)

    def _too_late(self) -> None:
        self._failed(TimeoutError())

    def _failed(self, error: OSError) -> None:
        record = self._record
        self._server.handshake_failed(record.request, record.client_address, error)
        self.close()

    def _end(self) -> None:
        self._loop.unwatch(self._descriptor)
        self._loop.cancel(self._timer)
        self._record.worker = None

    def close(self) -> None:
        """Give up."""
        self._end()
        self._server.shutdown_request(self._record.request)
