"""ServingMixIn: the life of a server, under every model.

The standard library's path of a request stays as it is, seam by seam::

    get_request -> verify_request -> process_request -> finish_request -> shutdown_request

Around it stand a wait that a descriptor ends, limits, a pause when the system has nothing
left, a drain, and counters.  A model overrides ``process_request``.  A server that is no
longer needed goes ``shutdown`` (the loop ends) -> ``drain`` (nobody is cut off) ->
``server_close`` (nothing is left); the last alone does all three.

One thread runs the loop.  Workers, other threads and signal handlers only set a flag,
touch `Activity`, and wake the loop.
"""

import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from .activity import ActiveRequest
from .addresses import endpoint_url
from .admission import ACCEPT_BATCH, AdmissionMixIn, ignoring_gone
from .errors import HandlerNotSupported
from .log import DEBUG, logger
from .options import options_of, read_options

__all__ = ["DrainResult", "ServingMixIn"]

ABORT_TIME = 1.0
"""Seconds that workers get to end once their connections are cut."""

LEFT_IN_LOOP = "left a busy handler behind, in the loop itself"

_STDLIB_INIT = socketserver.TCPServer.__init__
_STDLIB_WORDS = {"server_address", "RequestHandlerClass", "bind_and_activate"}

_CO_COROUTINE = 0x80  # inspect.CO_COROUTINE, without importing inspect


class DrainResult(NamedTuple):
    """How a drain ended."""

    drained: int
    """Connections that ended by themselves, all they had sent being answered."""
    aborted: int
    """Connections that were cut when the time was over."""


class ServingMixIn(AdmissionMixIn):
    """The serving core: below a model's mixin, before a `socketserver` class.

    Methods for the caller, beside those of `socketserver.BaseServer`:

    - drain(timeout) -> DrainResult
    - start_drain(), abort()  # from a signal handler
    - stats() -> Stats
    - endpoint() -> str

    Methods that a model may override:

    - process_request(request, client_address)  # what makes it a model
    - capacity() -> int
    - check_handler(handler)
    - half_close(record), abort_request(record)  # where a worker is not in this process
    - close_listener()

    A model that waits in a loop of its own has `_turn` run it: beside all else that is what tells
    the master of a preforked server that a worker does not stand still (``worker_timeout``).

    Options (see `ServingOptions`) are keyword arguments, class or instance attributes.
    """

    #: Whether server_close() waits for workers, ``drain_timeout`` at most.
    block_on_close = True

    #: Seconds that workers get to end once their connections are cut.
    _abort_time = ABORT_TIME

    #: Whether the model runs handlers that have a ``handle()`` of their own.
    runs_handle = True

    #: Whether the model runs handlers whose ``respond()`` is ``async def``.
    runs_async = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        options = self._take_options(kwargs)
        for name, value in read_options(type(self), options, self.mode).items():
            setattr(self, name, value)
        self._prepare_admission()
        self._prepare_life()
        try:
            handler = kwargs.get("RequestHandlerClass", args[1] if len(args) > 1 else None)
            try:
                self.check_handler(handler, self.mode or type(self).__name__)
            except HandlerNotSupported as error:
                from .registry import name_takers  # here: it is above us, and seldom needed

                raise name_takers(error, type(self), handler) from None
            super().__init__(*args, **kwargs)
        except BaseException:
            self.server_close()
            raise

    def _prepare_life(self) -> None:
        """Set what `serve_forever` and the stops keep; in a forked worker once more."""
        self._serving_thread = None
        self._serving_ended = threading.Lock()
        self._draining_thread: threading.Thread | None = None
        self._drain_lock = threading.Lock()
        self._aborting = False
        self._aborted = 0
        self._closed_before_drain = 0
        self._closed = False
        self._close_behind = False
        self._close_loop_behind = False

    def _take_options(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Move the options out of *kwargs*; the rest is for the class behind the mixins."""
        names = set(options_of(type(self)))
        if getattr(super().__init__, "__func__", None) is _STDLIB_INIT:
            # It takes these three only, so whatever else was given is meant as an option.
            names = set(kwargs) - _STDLIB_WORDS
        return {name: kwargs.pop(name) for name in list(kwargs) if name in names}

    # --- serve and stop -------------------------------------------------------------

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until `shutdown`.

        :param poll_interval: seconds between calls of an overridden ``service_actions``;
            nothing else happens periodically.
        :raises RuntimeError: another thread is serving already, or the server is closed.
        """
        periodic = type(self).service_actions is not socketserver.BaseServer.service_actions
        with self._serving():
            while not self._stop_requested:
                self._turn(poll_interval if periodic else None)
                if periodic:
                    self.service_actions()
            if self._draining:
                self._take_backlog()
            elif self._ahead is not None:
                self._accept_one()

    def shutdown(self) -> None:
        """Let the loop end, and wait until it has; before it began, let it end at once.

        May be called from any thread, from a handler, from a signal handler, and twice.
        In the loop's own thread it returns at once, and the loop ends behind the current
        request; in a forked child it stops the parent's loop.  Connections that other
        threads or processes serve go on: see `drain`.
        """
        if not self._stop_loop():
            return
        for record in self._activity.snapshot():
            if self._loop_would_wait_for(record):
                self.half_close(record)
        self._wait_for_loop(None)

    def _stop_loop(self) -> bool:
        """Let the loop end; False where nobody may wait for it: in it, or in a forked child."""
        if not self._loop.in_owner:
            self._loop.ask_owner_to_stop()
            return False
        self._stop_requested = True
        self._loop.wake()
        return self._serving_thread is not threading.current_thread()

    def start_drain(self) -> None:
        """Begin a `drain` and return at once; for signal handlers.

        Connections get end-of-input behind what has arrived already, so that their
        handlers answer that and end.
        """
        if not self._draining:
            self._closed_before_drain = self._activity.closed
            self._draining = True
        self._stop_requested = True
        for record in self._activity.snapshot():
            self.half_close(record)
        self._loop.wake()

    def drain(self, timeout: float | None = None) -> DrainResult:
        """Stop accepting, let every byte already received be answered, close.

        :param timeout: seconds until the connections that are left are cut; None: the
            option ``drain_timeout``.
        :returns: how many connections ended by themselves and how many were cut, since
            the drain began.

        Call it from outside the handlers.  In the loop's own thread (a signal handler) it
        only starts the drain, as `start_drain` does.
        """
        deadline = time.monotonic() + (self.drain_timeout if timeout is None else timeout)
        if self._loop.in_owner:
            self.start_drain()
        if self._stop_loop() and self._draining_thread is not threading.current_thread():
            left = max(0.0, deadline - time.monotonic())
            if self._drain_lock.acquire(timeout=left):  # one thread at a time runs the wait
                self._draining_thread = threading.current_thread()
                try:
                    self._finish_drain(deadline)
                finally:
                    self._draining_thread = None
                    self._drain_lock.release()
        ended = self._activity.closed - self._closed_before_drain
        return DrainResult(max(0, ended - self._aborted), self._aborted)

    def _finish_drain(self, deadline: float) -> None:
        if not self._wait_for_loop(deadline):
            self.abort()
            if not self._wait_for_loop(time.monotonic() + self._abort_time):
                logger.warning(LEFT_IN_LOOP)
                return
        if self.is_stream:
            self.close_listener()  # a datagram socket stays, for replies still to come
        if not self._wait_until_idle(deadline):
            self.abort()
            if not self._wait_until_idle(time.monotonic() + self._abort_time):
                logger.warning("left %d busy workers behind", len(self._activity))

    def abort(self) -> None:
        """Cut every connection now, unanswered.  For signal handlers too."""
        self._aborting = True
        for record in self._activity.snapshot():
            if not record.aborted:
                record.aborted = True
                self._aborted += 1
            self.abort_request(record)
        self._loop.wake()

    def server_close(self) -> None:
        """Release everything: stop the loop, drain for ``drain_timeout`` at most, close.

        Safe at any moment: after a failed start, twice, and while another thread serves.  In
        the loop's own thread it lets the loop end, which then does the rest.
        """
        if self._closed:
            return
        if not self._stop_loop():
            self._close_behind = self._loop.in_owner  # the loop does it when it ends
            return
        self._closed = True
        try:
            if hasattr(self, "socket"):
                if self.block_on_close and (self._serving_thread or len(self._activity)):
                    self.drain()
                elif not self._wait_for_loop(time.monotonic() + self.drain_timeout):
                    logger.warning(LEFT_IN_LOOP)
                self.close_listener()
        finally:
            if self._serving_thread is None:
                self._loop.close()
            else:
                self._close_loop_behind = True

    def close_listener(self) -> None:
        """Close the socket that requests come from; harmless when done twice."""
        super().server_close()

    def endpoint(self) -> str:
        """Where clients reach this server, such as ``tcp://127.0.0.1:8007``."""
        return endpoint_url(self.socket_type, self.server_address)

    def announcement(self) -> list[str]:
        """What whoever starts this server should know, a line each; mostly nothing."""
        return []

    # --- for models -----------------------------------------------------------------

    @classmethod
    def check_handler(cls, handler: Any, mode: str) -> None:
        """Refuse a handler class that this model cannot run.

        :param mode: what the message calls the server.
        :raises HandlerNotSupported: it is for models of another kind.
        """
        name = getattr(handler, "__name__", handler)
        if not cls.runs_handle and not getattr(handler, "ends_with_input", False):
            raise HandlerNotSupported(
                f"{name} has a handle() of its own, which would hold up every other connection"
                f" of {mode}; a model with a worker for each connection takes it"
            )
        for method in ("greet",) if cls.runs_async else ("respond", "greet"):
            code = getattr(getattr(handler, method, None), "__code__", None)
            if code is not None and code.co_flags & _CO_COROUTINE:
                raise HandlerNotSupported(
                    f"{name}.{method} is `async def`, but {mode} calls it as a plain function:"
                    f" make it `def {method}`"
                )

    def abort_request(self, record: ActiveRequest) -> None:
        """Cut a request: its worker's next read or write fails, its peer sees a reset."""
        if hasattr(record.request, "shutdown"):  # not a datagram
            no_linger = struct.pack("ii", 1, 0)
            connection = record.request
            ignoring_gone(connection.setsockopt, socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
            ignoring_gone(connection.shutdown, socket.SHUT_RDWR)

    # --- inside ---------------------------------------------------------------------

    @contextmanager
    def _serving(self) -> Iterator[None]:
        """What holds while the loop runs, and what is put back behind it."""
        if self._serving_thread is not None:
            raise RuntimeError("another thread is serving this server already")
        if self._closed or self.socket.fileno() < 0:
            raise RuntimeError("this server is closed")
        # A fresh lock for each run, held while it lasts: waiting for it is safe where
        # threading.Event is not, in a signal handler that interrupts such a wait.
        ended = self._serving_ended = threading.Lock()
        ended.acquire()
        self._serving_thread = threading.current_thread()
        timeout = self.socket.gettimeout()
        try:
            if self.is_stream:
                # A connection can be gone between poll() and accept() (UNP vol. 1, 16.6).
                self.socket.setblocking(False)
            elif timeout:
                # Python would wait for its time limit first, whatever the flags of a call.
                self.socket.setblocking(True)
            self.logs_connections = logger.shows(DEBUG)
            self._prepare_to_serve()
            self._listen(True)
            with self._loop.woken_by_signals():
                yield
        finally:
            self._listen(False)
            if self._ahead is not None:  # nobody is to be served any more
                self.shutdown_request(self._take_request()[0])
            if self.socket.fileno() >= 0:
                self.socket.settimeout(timeout)
            self._paused = False
            self._stop_requested = False
            self._serving_thread = None
            ended.release()
            if self._close_loop_behind:
                self._loop.close()
        if self._close_behind:
            self._close_behind = False
            self.server_close()

    def _takes_steps_of(self, base: type, steps: Iterable[str]) -> bool:
        """Whether nobody has put anything in the place of the *steps* that *base* takes.

        A step that neither has counts as taken alike.
        """
        return not vars(self).keys() & {*steps} and all(
            getattr(type(self), step, None) is getattr(base, step, None) for step in steps
        )

    def _prepare_to_serve(self) -> None:
        """For models that look something up once before they serve."""

    def _take_backlog(self) -> None:
        """Serve what the system had accepted for us when the drain began."""
        for _ in range(self._longest_backlog()):
            if not self._take_from_backlog():
                return

    def _longest_backlog(self) -> int:
        return max(ACCEPT_BATCH, getattr(self, "request_queue_size", 0))

    def _take_from_backlog(self) -> bool:
        """Take one request, when there is room for it; False when none is left."""
        while (wait := self._time_to_resume()) != 0 and not self._aborting:
            self._turn(wait)
        return not self._aborting and (self._accept_one() or self._paused)

    def _wait_for_loop(self, deadline: float | None) -> bool:
        """Wait until the loop has ended; False when the *deadline* came first."""
        ended = self._serving_ended
        if self._serving_thread is None:
            return True
        left = -1.0 if deadline is None else max(0.0, deadline - time.monotonic())
        if not ended.acquire(timeout=left):
            return False
        ended.release()
        return True

    def _wait_until_idle(self, deadline: float) -> bool:
        """Wait, as the loop does, until nothing is in progress."""
        if self._loop.closed:
            return not len(self._activity)
        with self._loop.woken_by_signals():
            while len(self._activity):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._turn(left)
        return True
