"""A fixed number of threads that serve: what the prethreaded models share.

The threads are made when serving begins, each serves one request after the other, and
none ends before its server is done.  Where the system gives fewer than were asked for,
those that there are serve, and the rest is asked for again.
"""

import itertools
import threading
import time
from typing import Annotated, Any

from .activity import ActiveRequest
from .admission import WorkerUnavailable
from .counters import new_cells
from .interrupts import is_users_interrupt
from .options import Option, count
from .serving import ServingMixIn

__all__ = ["WorkerThreadsMixIn"]

RETRY_INTERVAL = 1.0
"""Seconds before threads that could not be started are tried again: a try for each
connection would slow down those that are served."""

JOIN_TIME = 1.0
"""Seconds that ``server_close()`` waits for threads that have nothing left to do."""


class WorkerThreadsMixIn(ServingMixIn):
    """Below a model's mixin that gives the threads their work (`_run_worker`)."""

    #: A thread whose peer is stuck does not keep the interpreter from exiting.
    daemon_threads = True

    max_workers: Annotated[int, Option(count, "threads", "serve in this many threads")] = (
        100  # clients served at a time; 12 KB each, and all are started in about 15 ms
    )

    def _prepare_life(self) -> None:
        # In a forked worker once more: the threads of its master are not there.
        super()._prepare_life()
        self._workers: set[threading.Thread] = set()
        self._numbers = itertools.count(1)
        self._retry_at = 0.0

    def _run_worker(self) -> None:
        """The body of each thread: serve until there is nothing left to serve."""
        raise NotImplementedError

    def _workers_wanted(self) -> int:
        return self.max_workers

    def _start_workers(self) -> None:
        """Start the threads that are missing, as far as the system lets us."""
        wanted = self._workers_wanted()
        if self._workers and time.monotonic() < self._retry_at:
            return
        while len(self._workers) < wanted:
            name = f"{type(self).__name__} worker {next(self._numbers)}"
            thread = threading.Thread(
                target=self._run_worker, name=name, daemon=self.daemon_threads
            )
            self._workers.add(thread)
            try:
                thread.start()
            except RuntimeError as error:
                self._workers.discard(thread)
                self._retry_at = time.monotonic() + RETRY_INTERVAL
                self._trouble.warning(
                    "%d of %d threads can be started: %s", len(self._workers), wanted, error
                )
                return

    def _replenish(self) -> None:
        """Have every thread that was asked for, or some at least.

        :raises WorkerUnavailable: there is none, and the system does not give us one now.
        """
        if len(self._workers) < self._workers_wanted():
            self._start_workers()
            if not self._workers:
                raise WorkerUnavailable("no thread can be started")

    def _assign(self, request: Any, client_address: Any) -> ActiveRequest:
        """The record of *request*, with cells that its thread may count in."""
        record = self._activity.find(request) or ActiveRequest(request, client_address, None)
        self._activity.count_in(record, new_cells())
        return record

    def _serve_record(self, record: ActiveRequest) -> None:
        """Serve one request; whatever goes wrong, the thread lives on."""
        try:
            if record.aborted:  # while it waited for this thread
                self.shutdown_request(record.request)
            else:
                self.process_request_thread(record.request, record.client_address)
        except BaseException as error:
            if is_users_interrupt(error):
                raise
            # As at the end of a thread: somebody's handle_error or shutdown_request failed.
            threading.excepthook(
                threading.ExceptHookArgs(
                    (type(error), error, error.__traceback__, threading.current_thread())
                )
            )
        finally:
            if self._activity.find(record.request) is record:  # close_request() was not reached
                self._end(record)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve *request* in the thread that is to do it.  May be extended."""
        try:
            self.finish_request(request, client_address)
        except BaseException as error:  # SystemExit, too
            if is_users_interrupt(error):
                raise
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)

    def _join_workers(self, threads: set[threading.Thread]) -> None:
        deadline = time.monotonic() + JOIN_TIME
        for thread in threads - {threading.current_thread()}:
            thread.join(max(0.0, deadline - time.monotonic()))
