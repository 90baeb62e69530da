"""From the listening socket to the model: accept, check the limits, admit, keep count.

The first half of a request's path; `echoservers.serving` has the life of the server.
"""

import errno
import socket
import socketserver
import sys
import threading
import time
from typing import Any

from .activity import ActiveRequest, Activity
from .addresses import normalise, peer_name
from .counters import ERRORS, INPUT_ENDED, Cells, Stats
from .interrupts import is_users_interrupt
from .log import DEBUG, Throttle, logger
from .loop import Loop
from .settings import ServingOptions

__all__ = ["AdmissionMixIn", "RequestDropped", "WorkerUnavailable"]

_Socket = socket.socket  # the class below has a `socket` of its own

ACCEPT_BATCH = 64
"""Connections taken in one go before the loop looks at anything else: a burst is taken
quickly, and starves neither the reaping of children nor a shutdown."""

ACCEPT_PAUSE = 0.1
"""Seconds without accepting after the system had no descriptor or memory for it: ten
tries a second cost no CPU worth naming, and serving resumes well within a second."""

# accept(2): nothing can be accepted now, whoever comes.
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class RequestDropped(OSError):
    """Raised by ``get_request``: what was received is not a request, look for the next."""


class WorkerUnavailable(OSError):
    """Raised by ``process_request``: no thread or process can be started just now."""


class AdmissionMixIn(ServingOptions, socketserver.BaseServer):
    """Takes requests and hands them to ``process_request`` within the limits."""

    #: The name the server was asked for by, for messages; set by the registry.
    mode: str | None = None

    _serving_thread: threading.Thread | None = None
    _shares_listener = False  # with other processes, which accept from it too
    _shares_backlog = False  # what we leave there another process may take
    _may_look_ahead = True
    _ahead: tuple[Any, Any] | None = None  # the request whose turn comes next

    is_stream: bool
    """Whether requests are connections, not datagrams."""

    server_address: Any
    socket: _Socket
    socket_type: int
    address_family: int

    def fileno(self) -> int:
        """The listening socket's descriptor."""
        return self.socket.fileno()

    def _prepare_admission(self) -> None:
        self.is_stream = self.socket_type == socket.SOCK_STREAM
        self._activity = Activity()
        self._loop = self._make_loop()
        self._loop.on_stop = self._stop_soon
        self._serves_in_loop = self._ends_with_process_request()
        self._serves_at_once = self._serves_in_loop and not self.is_stream
        self._failed_accepts = 0
        self._error_lines = Throttle(burst=10)
        # Asked here, once: in a forked child logging would work it out anew.
        self.logs_connections = logger.shows(DEBUG)
        self._stop_requested = False
        self._draining = False
        self._paused = False
        self._resume_at = 0.0
        self._listening_descriptor = -1
        self._trouble = Throttle()

    def _make_loop(self) -> Loop:
        """The wait of this server; a forked worker makes one of its own."""
        return Loop()

    def _ends_with_process_request(self) -> bool:
        """Whether a request is over when ``process_request`` returns."""
        return type(self).process_request is socketserver.BaseServer.process_request

    def capacity(self) -> int:
        """How many requests may be in progress at the same time."""
        return self.max_connections

    def stats(self) -> Stats:
        """The counters at this moment, one total over all workers."""
        return self._activity.stats()

    def cells_of(self, request: Any) -> Cells:
        """Where the handler of *request* counts; `echoservers.counters` names the cells."""
        activity = self._activity
        record = activity.in_progress.get(id(request))
        return activity.loop_cells if record is None or record.cells is None else record.cells

    # --- accept ---------------------------------------------------------------------

    def _listen(self, wanted: bool) -> None:
        if wanted and self._listening_descriptor < 0:
            self._listening_descriptor = self.fileno()
            self._loop.watch(
                self._listening_descriptor, self._accept_batch, shared=self._shares_listener
            )
        elif not wanted and self._listening_descriptor >= 0:
            self._loop.unwatch(self._listening_descriptor)
            self._listening_descriptor = -1

    def _accept_batch(self) -> None:
        """Take what is there; one only, when the loop had to wait for it: that was all then."""
        if self._loop.is_busy:
            for _ in range(ACCEPT_BATCH):
                if not self._accept_one() or self._stop_requested:
                    return
        else:
            self._accept_one()

    def _accept_one(self) -> bool:
        """Take one request; False when there is none or none can be taken now."""
        in_progress = self._activity.in_progress
        if in_progress and len(in_progress) >= self.capacity() and self.overflow == "queue":
            self._pause(0.0)
            return False
        try:
            request, client_address = self._take_request()
        except BlockingIOError:
            return False
        except RequestDropped:
            return True
        except OSError as error:
            return self._accept_failed(error)
        self._failed_accepts = 0
        self._admit(request, client_address, contain=True)
        return True

    def _take_request(self) -> tuple[Any, Any]:
        """The next request; a worker overrides it where others have a say in whose it is."""
        if self._ahead is None:
            return self.get_request()
        request, self._ahead = self._ahead, None
        return request

    def while_peer_reads(self) -> None:
        """To be called by a handler that has replied and is about to wait for its peer.

        A server that serves one connection at a time accepts the next one meanwhile, where the
        loop has found one there at once.  That is served when this one is over, as ever; but
        what accepting costs is out of the way.
        """
        if (
            self._serves_in_loop
            and self._loop.is_busy
            and self._may_look_ahead
            and self._serving_thread is not None
            and not self._stop_requested
            and self._ahead is None
            # At a stop it still gets its turn: its handler must end by itself then.
            and getattr(self.RequestHandlerClass, "ends_with_input", False)
        ):
            try:
                self._ahead = self.get_request()
            except OSError:
                # Nobody is there, or it was about that one connection, as in `_accept_failed`;
                # what lasts, such as no descriptor left, `_accept_one` meets too, and tells it.
                return

    def _takes_freely(self) -> bool:
        """Whether that asks nobody."""
        return True

    def _accept_failed(self, error: OSError) -> bool:
        if self.socket.fileno() < 0:  # somebody closed it: there is nothing left to serve
            self._stop_requested = True
            return False
        self._failed_accepts += 1
        if error.errno not in _OUT_OF_RESOURCES and self._failed_accepts < ACCEPT_BATCH:
            return True  # it was about that one connection (accept(2), ssl): on to the next
        self._trouble.warning(
            "cannot accept: %s; trying again every %g s", error.strerror or error, ACCEPT_PAUSE
        )
        self._pause(time.monotonic() + ACCEPT_PAUSE)
        return False

    def _pause(self, until: float) -> None:
        """Accept nothing before the time *until*, nor before there is room."""
        self._resume_at = until
        self._paused = True
        self._listen(False)

    def _time_to_resume(self) -> float | None:
        """Seconds until a request may be taken; None: not before one has ended."""
        wait = self._resume_at - time.monotonic()
        if wait > 0:
            return wait
        full = self.overflow == "queue" and len(self._activity) >= self.capacity()
        return None if full else 0.0

    def _turn(self, longest: float | None) -> None:
        """Wait for something to happen, at most *longest* seconds, and see to it."""
        if self._paused:
            wait = self._time_to_resume()
            if wait == 0:
                self._paused = False
                self._listen(True)
            elif wait is not None:
                longest = wait if longest is None else min(wait, longest)
        self._loop.turn(longest if self._ahead is None else 0.0)
        if self._ahead is not None and not self._stop_requested:
            self._accept_one()
        if self._loop.interrupted:
            self._loop.raise_interrupt()

    def _answer_ping(self) -> None:
        """For a worker whose master asks whether it stands still; see `_all_serve`."""

    def _all_serve(self) -> bool:
        """Whether nobody is in the loop, nor will be before a request has ended.

        A model of which this may be says so, and calls `_answer_ping` when it becomes so.
        """
        return False

    def _stop_soon(self) -> None:
        self._stop_requested = True

    def _handle_request_noblock(self) -> None:
        # handle_request() of the standard library calls this once something is there.
        if self.overflow == "queue" and len(self._activity) >= self.capacity():
            return  # it stays in the backlog
        try:
            request, client_address = self._take_request()
        except OSError:
            return  # as there: a single call tells nothing of a failed accept
        self._admit(request, client_address, contain=False)

    # --- admit ----------------------------------------------------------------------

    def _admit(self, request: Any, client_address: Any, contain: bool) -> None:
        """Check the limits, then let the model decide who serves *request*.

        :param contain: SystemExit and the like end this connection only; otherwise they
            are the caller's, as under `socketserver`.
        """
        record = None
        if not self._serves_at_once:
            limited = self.max_connections_per_source is not None
            source = self._source(client_address) if limited else None
            refusal = self._refusal(source)
            if refusal:
                self._refuse(request, client_address, refusal)
                return
            self._activity.loop_cells[INPUT_ENDED] = 0
            record = self._activity.begin(request, client_address, source)
            if self._draining or (self._stop_requested and self._loop_would_wait_for(record)):
                self.half_close(record)
        self._serve(request, client_address, record, contain)

    def _serve(
        self, request: Any, client_address: Any, record: ActiveRequest | None, contain: bool
    ) -> None:
        try:
            if self.verify_request(request, client_address):
                self.process_request(request, client_address)
                if record is None:
                    self._activity.at_once += 1
                elif self._serves_in_loop and not record.ended:
                    self._end(record)
                return
            self._activity.give_up(record, "verify_request")
        except WorkerUnavailable as error:
            self._activity.give_up(record, "no_worker")
            self._trouble.warning("closing %s: %s", peer_name(client_address), error)
        except Exception:
            self._failed(request, client_address, record)
        except BaseException as error:
            if not contain or not self._contains(error):
                self.shutdown_request(request)
                raise
            self._failed(request, client_address, record)
        self.shutdown_request(request)
        if record is not None:
            self._end(record)

    def _loop_would_wait_for(self, record: ActiveRequest) -> bool:
        """Whether the loop itself serves it, by a handler that ends when its input does."""
        return self._serves_in_loop and getattr(self.RequestHandlerClass, "ends_with_input", False)

    def _contains(self, error: BaseException) -> bool:
        """Whether *error*, from a handler, ends its connection only.

        In `serve_forever` all do, but Ctrl-C; what ``handle_request()`` calls may raise
        SystemExit and the like, as in the standard library.
        """
        served_in_loop = self._serving_thread is not None
        return isinstance(error, Exception) or (served_in_loop and not is_users_interrupt(error))

    def _contains_in_loop(self, error: BaseException) -> bool:
        """As `_contains`, for what the loop runs: it goes on in a drain, whoever turns it."""
        return self._contains(error) or (self._draining and not is_users_interrupt(error))

    def _failed(self, request: Any, client_address: Any, record: ActiveRequest | None) -> None:
        if record is None:
            self._activity.at_once += 1
        self.handle_error(request, client_address)

    def _source(self, client_address: Any) -> str | None:
        if not isinstance(client_address, tuple):
            return None
        return str(normalise(client_address)[0])

    def _refusal(self, source: str | None) -> str | None:
        in_progress = self._activity.in_progress
        if in_progress and len(in_progress) >= self.capacity():
            return "max_connections"
        if source is not None:
            limit = self.max_connections_per_source
            if limit is not None and self._activity.from_source(source) >= limit:
                return "max_connections_per_source"
        return None

    def _refuse(self, request: Any, client_address: Any, reason: str) -> None:
        self._activity.refuse(reason)
        self._trouble.warning("refusing %s: %s is reached", peer_name(client_address), reason)
        self.shutdown_request(request)

    # --- end ------------------------------------------------------------------------

    def close_request(self, request: Any) -> None:
        """Close *request*; it is over then.  To be called once its worker has ended."""
        super().close_request(request)
        record = self._activity.in_progress.get(id(request))
        if record is not None:
            self._end(record)

    def _end(self, record: ActiveRequest) -> None:
        if self._activity.end(record) and (self._paused or self._draining):
            self._loop.wake()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Count and log what a handler raised.  May be extended.

        A peer that is gone is told at DEBUG level, anything else at ERROR level with its
        traceback.  A server class behind the mixins that has its own ``handle_error`` is
        asked instead.
        """
        error = sys.exc_info()[1]
        peer = peer_name(client_address)
        inherited = super().handle_error
        gone = isinstance(error, (ConnectionError, TimeoutError)) and not getattr(
            self.RequestHandlerClass, "ends_with_input", False
        )
        if not gone:
            self.cells_of(request)[ERRORS] += 1
        if getattr(inherited, "__func__", None) is not socketserver.BaseServer.handle_error:
            inherited(request, client_address)
        elif gone:
            logger.debug("%s has gone: %s", peer, error, extra={"event": "gone", "peer": peer})
        elif (held_back := self._error_lines.allow()) is not None:
            logger.error(
                "handler failed, closing %s: %s: %s%s",
                peer,
                type(error).__name__,
                error,
                f" ({held_back} more failures were not logged)" if held_back else "",
                error=error,
                extra={"event": "error", "peer": peer},
            )

    def half_close(self, record: ActiveRequest) -> None:
        """End the input of a request behind what has arrived already."""
        record.input_ended = True
        self.cells_of(record.request)[INPUT_ENDED] = 1
        if hasattr(record.request, "shutdown"):  # not a datagram
            ignoring_gone(record.request.shutdown, socket.SHUT_RD)


def ignoring_gone(call: Any, *args: object) -> None:
    """Do to a socket what no longer matters when its peer, or it, has gone."""
    try:
        call(*args)
    except OSError:
        return  # closed already, or its peer is: what the call was for has happened
