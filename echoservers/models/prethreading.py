"""Prethreaded: every thread accepts, under a lock (UNP vol. 1, design 7).

The thread that has the lock leads: it runs the wait of the server until it has accepted one
request, gives up the lock, and serves that request itself, while the next thread leads
(leader/followers; Schmidt et al., *POSA* vol. 2).  Nothing is handed over.

The thread that called ``serve_forever()`` rests in a wait of its own, where signals reach
it.  It takes part where the others cannot: to refuse clients while there is no thread,
and to help with the backlog when a drain begins.
"""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..activity import ActiveRequest
from ..loop import Loop
from ..transports import TCPServer, UDPServer, UnixDatagramServer, UnixStreamServer
from ..worker_threads import WorkerThreadsMixIn

__all__ = [
    "PrethreadingMixIn",
    "PrethreadingTCPServer",
    "PrethreadingUDPServer",
    "PrethreadingUnixDatagramServer",
    "PrethreadingUnixStreamServer",
]


class SharedLoop(Loop):
    """What the leader waits in, and beside it the wait of the thread that called."""

    def __init__(self) -> None:
        super().__init__()
        self.caller = Loop()

    def wake(self) -> None:
        """End both waits, or the next ones."""
        super().wake()
        self.caller.wake()

    def close(self) -> None:
        """Release both; harmless when done twice."""
        super().close()
        self.caller.close()


class PrethreadingMixIn(WorkerThreadsMixIn):
    """Serve in ``max_workers`` threads, each of which accepts for itself.

    A thread stays with its client until the connection ends.  When all are taken, nobody
    accepts, and clients wait in the listen backlog; with ``overflow=refuse`` there is one
    thread more, which closes them at once.

    The threads are started by ``serve_forever()`` and end with it, each behind the request
    that it serves.  ``handle_request()`` serves in the thread that calls it.
    """

    _loop: SharedLoop

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._lead = threading.Lock()
        self._leader = 0  # the thread that has the lock
        self._taken: ActiveRequest | None = None  # what it has accepted
        self._accepting = False
        self._backlog_left = 0
        self._ending: set[threading.Thread] = set()
        self._failure: BaseException | None = None
        super().__init__(*args, **kwargs)

    def _make_loop(self) -> SharedLoop:
        return SharedLoop()

    def capacity(self) -> int:
        """How many requests may be in progress: one a thread."""
        return min(self.max_connections, self.max_workers)

    def _workers_wanted(self) -> int:
        return self.max_workers + (self.overflow == "refuse")

    def process_request(self, request: Any, client_address: Any) -> None:
        """Keep *request* for the thread that has accepted it, once it has given up the lead.

        :raises WorkerUnavailable: there is no thread, and the system gives us none now.
        """
        if not self._workers and self._accepting and not self._stop_requested:
            self._replenish()
        record = self._assign(request, client_address)
        if self._leader == threading.get_ident():
            self._taken = record
        else:  # no loop runs here: it is handle_request() that has accepted
            super().process_request(request, client_address)
            self._end(record)

    def _accept_batch(self) -> None:
        self._accept_one()  # the next one is for the next leader

    def _all_serve(self) -> bool:
        return not self._leader

    # --- the threads ----------------------------------------------------------------

    def _run_worker(self) -> None:
        while (record := self._next_request()) is not None:
            self._serve_record(record)
            del record  # a datagram's bytes are not kept while there is nothing to do

    def _next_request(self) -> ActiveRequest | None:
        """Lead until there is a request to serve; None: nothing is to come."""
        with self._lead:
            self._leader = threading.get_ident()
            try:
                while self._taken is None and self._lead_on():
                    continue
            except BaseException as error:
                self._failure = error  # serve_forever() raises it, as every model's does
                self._stop_requested = True
            finally:
                self._leader = 0
                self._answer_ping()  # nobody may lead for as long as the clients like
            record, self._taken = self._taken, None
            if record is None:
                self._end_thread()
        return record

    def _end_thread(self) -> None:
        thread = threading.current_thread()
        if thread in self._workers:  # it is not the one that called serve_forever()
            self._workers.remove(thread)
            self._ending.add(thread)
            self._loop.caller.wake()  # it may be the leader that has seen the reason first

    def _lead_on(self) -> bool:
        """Wait once; False when there is nothing more to wait for."""
        if not self._accepting:
            return False
        if self._stop_requested:
            return self._draining and self._take_from_backlog()
        if len(self._workers) < self._workers_wanted():
            self._start_workers()
        self._turn(None)
        return True

    def _take_from_backlog(self) -> bool:
        # A step at a time: a request that the wait for room has brought is served first, or
        # there would be no room ever.
        wait = self._time_to_resume()
        if self._aborting or self._backlog_left <= 0:
            return False
        if wait != 0:
            self._turn(wait)
            return True
        # Whoever finds it empty tells the others; who comes then must not prolong the drain.
        found = self._accept_one() or self._paused
        self._backlog_left = self._backlog_left - 1 if found else 0
        return found

    # --- the thread that calls ------------------------------------------------------

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """As for every server; the calling thread waits for the end, and for signals."""
        periodic = type(self).service_actions is not socketserver.BaseServer.service_actions
        # The outer wait gets the signals: the leader's may be nobody's when all are busy.
        with self._loop.caller.woken_by_signals(), self._serving(), self._threads_serving():
            while not self._stop_requested:
                self._rest(poll_interval if periodic else None)
                if periodic:
                    self.service_actions()
            if self._draining:
                self._run_worker()  # beside the others, until the backlog is empty
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    @contextmanager
    def _threads_serving(self) -> Iterator[None]:
        try:
            with self._lead:
                self._ending = {thread for thread in self._ending if thread.is_alive()}
                self._backlog_left = self._longest_backlog()
                self._accepting = True
                if not self._stop_requested:
                    self._start_workers()
            yield
        finally:
            self._accepting = False
            self._loop.wake()
            with self._lead:
                pass  # from here on nobody else waits in the loop

    def _rest(self, longest: float | None) -> None:
        if self._workers:
            self._loop.caller.turn(longest)
            return
        with self._lead:  # there is no thread: somebody has to tell the clients
            self._leader = threading.get_ident()
            try:
                self._turn(longest)
            finally:
                self._leader = 0

    def _stop_loop(self) -> bool:
        # The leader is in the loop too: verify_request() may call shutdown().
        return super()._stop_loop() and self._leader != threading.get_ident()

    def server_close(self) -> None:
        """As for every server; then join the threads, which have nothing left to do."""
        super().server_close()
        if self._closed and self.block_on_close:
            self._join_workers(self._workers | self._ending)


class PrethreadingTCPServer(PrethreadingMixIn, TCPServer):
    """TCP, served by a fixed number of threads that accept."""


class PrethreadingUDPServer(PrethreadingMixIn, UDPServer):
    """UDP, served by a fixed number of threads that receive."""


class PrethreadingUnixStreamServer(PrethreadingMixIn, UnixStreamServer):
    """Unix stream, served by a fixed number of threads that accept."""


class PrethreadingUnixDatagramServer(PrethreadingMixIn, UnixDatagramServer):
    """Unix datagram, served by a fixed number of threads that receive."""
