"""One thread, one wait, all connections: the reactor (CS:APP 12.2, UNP vol. 1, 6.8; SPED).

Nothing here blocks but the wait itself, which is all that select, poll, epoll and kqueue
differ in.  A connection is either read from or written to, never both: while anything is
still to go out nothing more is taken in, so a peer that does not read makes us hold one
read and one batch of replies, and holds nobody else up.
"""

from typing import Any

from ..activity import ActiveRequest
from ..admission import WorkerUnavailable
from ..connection import Connection
from ..handlers import EchoHandler
from ..loop import Loop
from ..serving import ServingMixIn
from ..stream_batches import StreamBatches
from ..waits import EpollWait, KqueueWait, PollWait, SelectWait, Wait

__all__ = ["EpollMixIn", "KqueueMixIn", "PollMixIn", "ReactorMixIn", "SelectMixIn"]


ECHO_SIZE = 124 * 1024
"""Bytes read at once for handlers that only echo: all connections share the buffer, and
what a peer does not take of it stays, as an object of its own, below 128 KiB."""


class ReactorMixIn(ServingMixIn):
    """Serve every connection in the loop, as its bytes come; a subclass says how to wait.

    Takes handlers that leave ``handle()`` as it is: one that does its own I/O would hold up
    all connections.
    """

    wait_class: type[Wait]
    runs_handle = False

    def _make_loop(self) -> Loop:
        self.read_buffer = memoryview(bytearray(ECHO_SIZE))
        loop = Loop(self.wait_class())
        loop.holds_interrupts = True
        if self.is_stream:
            loop.gatherer = StreamBatches(self, loop)
        return loop

    def _ends_with_process_request(self) -> bool:
        return not self.is_stream

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give *request* to the loop; a datagram is answered at once.

        :raises WorkerUnavailable: select(2) cannot watch a descriptor as high as this.
        """
        if not self.is_stream:
            super().process_request(request, client_address)
            return
        highest = self._loop.waiter.highest
        if highest is not None and request.fileno() > highest:
            raise WorkerUnavailable(
                f"{self.mode or type(self).__name__} can watch descriptors up to {highest}"
                f" only, and this is {request.fileno()}; use poll or epoll for more clients"
            )
        request.setblocking(False)
        if hasattr(request, "do_handshake"):
            from ..tls_loop import Handshake  # imported late: it needs ssl

            Handshake(self, self._record_of(request, client_address))
        else:
            self.finish_request(request, client_address)

    def serve_shaken(self, record: ActiveRequest) -> None:
        """Serve a TLS connection whose handshake is done."""
        try:
            self.finish_request(record.request, record.client_address)
        except BaseException as error:
            if not self._contains_in_loop(error):
                raise
            self.handle_error(record.request, record.client_address)
            self.shutdown_request(record.request)

    def _record_of(self, request: Any, client_address: Any) -> ActiveRequest:
        # None is in progress when process_request() was called by hand, past the limits.
        return self._activity.find(request) or ActiveRequest(request, client_address, None)

    @property
    def drive_handler(self) -> Any:
        """What a handler gives itself to; None for datagrams, which it handles itself."""
        return self._drive if self.is_stream else None

    def _drive(self, handler: EchoHandler) -> None:
        kind = Connection
        if hasattr(handler.request, "do_handshake"):
            from ..tls_loop import TLSLoopConnection

            kind = TLSLoopConnection
        record = self._record_of(handler.request, handler.client_address)
        kind(self, handler, record).begin()

    def _turn(self, longest: float | None) -> None:
        super()._turn(longest)
        if self._aborting:  # not every wait tells that a socket was cut (select(2), writing)
            for record in self._activity.snapshot():
                if record.aborted and record.worker is not None:
                    record.worker.close()

    def contain(self, error: BaseException, handler: EchoHandler) -> None:
        """End what *error* is about, and no more; Ctrl-C at the program is raised."""
        if not self._contains_in_loop(error):
            raise error
        self.handle_error(handler.request, handler.client_address)

    def _handle_request_noblock(self) -> None:
        # handle_request() serves one request, so the loop has to turn until that is over.
        super()._handle_request_noblock()
        while len(self._activity):
            self._turn(None)


class SelectMixIn(ReactorMixIn):
    """A reactor on select(2): every system has it, and none for more than 1 024 descriptors."""

    wait_class = SelectWait


class PollMixIn(ReactorMixIn):
    """A reactor on poll(2): any number of descriptors, all handed to the kernel each time."""

    wait_class = PollWait


class EpollMixIn(ReactorMixIn):
    """A reactor on epoll(7): a wait costs by the connections that are busy."""

    wait_class = EpollWait


class KqueueMixIn(ReactorMixIn):
    """A reactor on kqueue(2), the epoll of the BSDs and macOS."""

    wait_class = KqueueWait
