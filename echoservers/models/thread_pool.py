"""Prethreaded: the main thread accepts and hands over (UNP vol. 1, design 8).

The bounded buffer between them (CS:APP 12.5.5, ``echoservert-pre``) is a `SimpleQueue`,
which is C and takes one lock; the bound is kept before it, by accepting no more than the
threads and the queue have room for.
"""

from queue import Empty, SimpleQueue
from typing import Annotated, Any

from ..activity import ActiveRequest
from ..errors import OptionError
from ..options import Option, count
from ..transports import TCPServer, UDPServer, UnixDatagramServer, UnixStreamServer
from ..worker_threads import WorkerThreadsMixIn

__all__ = [
    "ThreadPoolMixIn",
    "ThreadPoolTCPServer",
    "ThreadPoolUDPServer",
    "ThreadPoolUnixDatagramServer",
    "ThreadPoolUnixStreamServer",
]


class ThreadPoolMixIn(WorkerThreadsMixIn):
    """Serve in ``max_workers`` threads that are there before the first client comes.

    A thread stays with its client until the connection ends.  When all are taken, up to
    ``queue_size`` accepted requests wait for one.  When the queue is full too, ``overflow``
    decides: with ``queue`` the loop stops accepting, and clients wait in the listen backlog;
    with ``refuse`` they are closed at once, and counted.  Preforked workers queue nothing with
    ``queue``, but for those with a listener each: what waits in the backlog is for whichever of
    them has a thread free.  To ask for a ``queue_size`` is an error there.

    The threads are started by ``serve_forever()``, or by the first ``process_request()``
    without it, and ended by ``server_close()``.  A drain serves what waits in the queue;
    `abort` cuts it.
    """

    queue_size: Annotated[
        int, Option(count, "requests", "let at most this many wait for a free thread")
    ] = 64  # as many as the loop accepts in one go; more wait as well in the listen backlog

    def _prepare_life(self) -> None:
        super()._prepare_life()
        self._queue: SimpleQueue[ActiveRequest | None] = SimpleQueue()

    def _prepare_admission(self) -> None:
        if "queue_size" in vars(self) and self._queues_nothing():
            raise OptionError(
                f"queue_size={self.queue_size}: preforked workers leave in the backlog what another"
                " may have a thread for; expected accept=reuseport or overflow=refuse with it"
            )
        super()._prepare_admission()

    def _queues_nothing(self) -> bool:
        # In our queue it would wait for our threads, though another process may have one free.
        return self._shares_backlog and self.overflow == "queue"

    def _prepare_to_serve(self) -> None:
        super()._prepare_to_serve()
        self._start_workers()

    def capacity(self) -> int:
        """How many requests may be in progress: one a thread, and those in the queue."""
        queued = 0 if self._queues_nothing() else self.queue_size
        return min(self.max_connections, self.max_workers + queued)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand *request* to the next thread that is free.

        :raises WorkerUnavailable: there is no thread, and the system gives us none now.
        """
        if len(self._workers) < self.max_workers:
            self._replenish()
        self._queue.put(self._assign(request, client_address))

    def _run_worker(self) -> None:
        while True:
            record = self._queue.get()
            if record is None:
                return
            self._serve_record(record)
            del record  # a datagram's bytes are not kept while there is nothing to do

    def _cut_queued(self) -> None:
        """Close what still waits, since all threads are stuck."""
        try:
            while (record := self._queue.get_nowait()) is not None:
                record.aborted = True
                self._serve_record(record)
        except Empty:
            return

    def server_close(self) -> None:
        """As for every server; then let the threads end, behind what is in the queue."""
        super().server_close()
        if not self._closed:  # called in the loop, which does it when it ends
            return
        if self._aborting and self.block_on_close:
            self._cut_queued()
        workers, self._workers = self._workers, set()
        for _ in workers:
            self._queue.put(None)
        if self.block_on_close:
            self._join_workers(workers)


class ThreadPoolTCPServer(ThreadPoolMixIn, TCPServer):
    """TCP, served by a fixed number of threads."""


class ThreadPoolUDPServer(ThreadPoolMixIn, UDPServer):
    """UDP, served by a fixed number of threads."""


class ThreadPoolUnixStreamServer(ThreadPoolMixIn, UnixStreamServer):
    """Unix stream, served by a fixed number of threads."""


class ThreadPoolUnixDatagramServer(ThreadPoolMixIn, UnixDatagramServer):
    """Unix datagram, served by a fixed number of threads."""
