"""A thread for each connection (UNP vol. 1, design 6; CS:APP's ``echoservert``)."""

import threading
import time
from typing import Any

from ..admission import WorkerUnavailable
from ..counters import new_cells
from ..serving import ServingMixIn
from ..transports import TCPServer, UDPServer, UnixDatagramServer, UnixStreamServer

__all__ = [
    "ThreadingMixIn",
    "ThreadingTCPServer",
    "ThreadingUDPServer",
    "ThreadingUnixDatagramServer",
    "ThreadingUnixStreamServer",
]


FEW = 4
"""Threads of datagrams that may start at once.  Datagrams come faster than threads can run: with
more than these, to wait until each runs keeps them few."""


class _QuickThread(threading.Thread):
    """A thread whose ``start()`` does not wait until it runs.

    That wait is two switches between threads, a third of what a short connection costs.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A name of CPython's own: where it is another one day, start() waits as ever.
        self._started = _NotAwaited()

    def join(self, timeout: float | None = None) -> None:
        threading.Event.wait(self._started, timeout)
        if self._started.is_set():
            super().join(timeout)


class _NotAwaited(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return True


class ThreadingMixIn(ServingMixIn):
    """Serve each request in a new thread; ``max_connections`` bounds the threads.

    ``server_close()`` drains them for ``drain_timeout`` at most, unless ``block_on_close``
    is false.
    """

    #: A thread whose peer is stuck does not keep the interpreter from exiting.
    daemon_threads = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._threads: set[threading.Thread] = set()
        super().__init__(*args, **kwargs)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread that serves *request*.

        :raises WorkerUnavailable: the system does not give us a thread now.
        """
        record = self._activity.find(request)
        if record is not None:
            self._activity.count_in(record, new_cells())
        quick = self.is_stream or len(self._threads) < FEW
        kind = _QuickThread if quick else threading.Thread
        thread = kind(
            target=self.process_request_thread,
            args=(request, client_address),
            daemon=self.daemon_threads,
        )
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError as error:
            self._threads.discard(thread)
            raise WorkerUnavailable(f"no thread can be started: {error}") from error

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve *request*; the body of its thread."""
        try:
            self.finish_request(request, client_address)
        except BaseException as error:
            if not self._contains(error):
                raise
            self.handle_error(request, client_address)
        finally:
            record = self._activity.find(request)
            self.shutdown_request(request)
            if record is not None:
                self._end(record)
            self._threads.discard(threading.current_thread())

    def server_close(self) -> None:
        """As for every server; then join the threads, which have nothing left to do."""
        super().server_close()
        if self.block_on_close:
            deadline = time.monotonic() + 1.0  # they are past their last request
            for thread in list(self._threads):
                if thread is not threading.current_thread():
                    thread.join(max(0.0, deadline - time.monotonic()))


class ThreadingTCPServer(ThreadingMixIn, TCPServer):
    """TCP, a thread for each connection."""


class ThreadingUDPServer(ThreadingMixIn, UDPServer):
    """UDP, a thread for each datagram."""


class ThreadingUnixStreamServer(ThreadingMixIn, UnixStreamServer):
    """Unix stream, a thread for each connection."""


class ThreadingUnixDatagramServer(ThreadingMixIn, UnixDatagramServer):
    """Unix datagram, a thread for each datagram."""
