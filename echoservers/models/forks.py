"""A process for each connection (UNP vol. 1, design 1; CS:APP's ``echoserverp``).

The parent watches a process descriptor (pidfd_open(2), Linux 5.3) of each child in the
same wait as the listening socket, so a child is reaped the moment it ends, only our own
children are waited for, and nothing ever blocks in ``waitpid``.  Where there are no
process descriptors the children are asked after every `SWEEP_INTERVAL`.

Behind a fork, parent and child each copy the pages that they write to, and to use an object
is to write to its count of uses: about three microseconds a page, and each function called
for the first time since the fork means one or two pages.  So a request takes few functions.
"""

import mmap
import os
import signal
import socket
import threading
import time
from functools import partial
from typing import Annotated, Any, NoReturn

from ..activity import ActiveRequest
from ..admission import WorkerUnavailable, ignoring_gone
from ..closing import wait_until_taken
from ..counters import BYTES_IN, BYTES_OUT, CELLS, ERRORS, INPUT_ENDED, MESSAGES, ZEROS
from ..exchange import RECEIVE_SIZE
from ..handlers import EchoHandler, echo_stream
from ..lifeline import WRITING_ENDS, Lifeline
from ..log import logger
from ..options import Option, count
from ..serving import ServingMixIn
from ..timeouts import limit_waits
from ..transports import TCPServer, UDPServer, UnixDatagramServer, UnixStreamServer

__all__ = [
    "ForkingMixIn",
    "ForkingTCPServer",
    "ForkingUDPServer",
    "ForkingUnixDatagramServer",
    "ForkingUnixStreamServer",
]

STEPS_OF_CHILD = (
    "finish_request",
    "shutdown_request",
    "close_request",
    "handle_error",
    "send_datagram",
    "cells_of",
)
"""What may be another's, so that the handler has to run as everywhere."""

SWEEP_INTERVAL = 0.2
"""Seconds between looks at children that cannot be watched."""


class ForkingMixIn(ServingMixIn):
    """Serve each request in a new process; ``max_children`` bounds the processes.

    ``server_close()`` drains them for ``drain_timeout`` at most, unless ``block_on_close``
    is false.  A child has the listening socket closed and ends by ``os._exit``.

    A child that answers a datagram needs the server's socket.  So it ends with the server's
    process, however that ends, or with ``server_close()`` once the drain is over; unless
    ``block_on_close`` is false or the handler is `EchoHandler` itself, which is quick.
    """

    #: Seconds that ``handle_request()`` waits, as in the standard library.
    timeout = 300

    max_children: Annotated[
        int, Option(count, "processes", "serve in at most this many processes at a time")
    ] = 400  # 2 to 4 MB of private memory each: about 1 GB for a full house

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.active_children: dict[int, ActiveRequest] = {}
        self._descriptors: dict[int, int] = {}
        self._unwatched: set[int] = set()
        self._siblings: dict[int, int] = {}  # the connection of each child
        self._interruptible = False
        self._lifeline: Lifeline | None = None
        self._shared_cells = SharedCells()
        self._only_echoes = False
        super().__init__(*args, **kwargs)

    def _prepare_to_serve(self) -> None:
        super()._prepare_to_serve()
        # Looked up once, here: each child that did it would copy twenty pages of memory.
        in_main_thread = threading.current_thread() is threading.main_thread()
        default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        self._interruptible = default and not in_main_thread
        base = TCPServer if self.is_stream else UDPServer
        self._only_echoes = (
            self.RequestHandlerClass is EchoHandler
            and not self.logs_connections
            and isinstance(self, base)
            and self._takes_steps_of(base, STEPS_OF_CHILD)
        )
        # What a hook of os.fork() raises, such as Ctrl-C in that moment, is shown and lost.
        self._loop.holds_interrupts = True
        keep_the_address = not self.is_stream and self.RequestHandlerClass is not EchoHandler
        if keep_the_address and self.block_on_close and self._lifeline is None:
            self._lifeline = Lifeline()

    def close_listener(self) -> None:
        """As for every server."""
        super().close_listener()
        lifeline, self._lifeline = self._lifeline, None
        if lifeline is not None:
            lifeline.close()

    def capacity(self) -> int:
        """How many requests may be in progress: one a child."""
        return min(self.max_connections, self.max_children)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Fork a child that serves *request*.

        The parent keeps its copy of the connection until the child has ended, so that it
        can end the child's input (`half_close`), or cut it.

        :raises WorkerUnavailable: the system does not give us a process now.
        """
        record = self._activity.in_progress.get(id(request))
        if record is None:
            record = ActiveRequest(request, client_address, None)
        cells: Any = None
        try:
            cells = self._shared_cells.take()  # None: a worker has no more to lend
            record.cells = cells
            if cells is not None and record.input_ended:
                cells[INPUT_ENDED] = 1
            pid = os.fork()
        except OSError as error:
            record.cells = None
            if cells is not None:
                self._shared_cells.give_back(cells)
            raise WorkerUnavailable(f"no process can be started: {error.strerror}") from error
        if pid == 0:
            self._serve_in_child(record)
        self.active_children[pid] = record
        if self.is_stream:
            self._siblings[pid] = request.fileno()
        try:
            descriptor = os.pidfd_open(pid)
        except (AttributeError, OSError):  # no such call here, or no descriptor left
            self._unwatched.add(pid)
        else:
            self._descriptors[pid] = descriptor
            self._loop.watch(descriptor, partial(self._reap, pid))

    def _serve_in_child(self, record: ActiveRequest) -> NoReturn:
        status = 1
        try:
            self._activity.restart_in_child(record)
            if self._interruptible:  # as `Loop.holds_interrupts`, where nobody holds them
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            if self.is_stream:
                self.socket.close()
            # By number, and the objects kept: closed by number too late, they would close others'.
            inherited = (*self._siblings.values(), *self._descriptors.values(), *WRITING_ENDS)
            for descriptor in inherited:
                os.close(descriptor)
            if self._lifeline is not None:
                self._lifeline.end_with_parent()
            self._of_parent = self.active_children
            self.active_children = {}
            if self._only_echoes and record.cells is not None:
                self._echo(record)
            else:
                self.finish_request(record.request, record.client_address)
            status = 0
        except BaseException as error:
            if self._contains(error):
                self.handle_error(record.request, record.client_address)
        finally:
            self._activity.in_progress = {}  # no book is kept of it here
            try:
                self.shutdown_request(record.request)
            finally:
                os._exit(status)

    def _echo(self, record: ActiveRequest) -> NoReturn:
        """What `finish_request` and the end come to for `EchoHandler`, by few functions."""
        server: Any = self  # of ours, or `_only_echoes` were false
        request, cells = record.request, record.cells
        assert cells is not None
        if self.is_stream:
            limit = self.idle_timeout if EchoHandler.timeout is None else EchoHandler.timeout
            if limit != server.inherited_timeout:
                limit_waits(request, limit)
            longest = self.max_message_size or EchoHandler.max_message_size
            try:
                echo_stream(request, cells, min(RECEIVE_SIZE, longest))
                if cells[INPUT_ENDED]:
                    wait_until_taken(request)
            except OSError:
                pass  # the peer has gone, or is idle for too long: its business, not a fault
            # Closing is not enough, the parent has it too.
            ignoring_gone(request.shutdown, socket.SHUT_WR)
        else:
            message = request[0]
            cells[MESSAGES] += 1
            cells[BYTES_IN] += len(message)
            cells[BYTES_OUT] += server.send_datagram(message, request, record.client_address)
        os._exit(0)

    # --- in the parent --------------------------------------------------------------

    def _reap(self, pid: int) -> None:
        """Wait for a child of ours, without blocking, and end its request if it has ended."""
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended, status = pid, 0  # somebody else's waitpid(-1) took it
        if not ended:
            return
        descriptor = self._descriptors.pop(pid, None)
        if descriptor is None:
            self._unwatched.discard(pid)
        else:
            self._loop.unwatch(descriptor)
            os.close(descriptor)
        self._siblings.pop(pid, None)
        record = self.active_children.pop(pid)
        cells: Any = record.cells
        if status and os.WIFSIGNALED(status) and not record.aborted:
            self.cells_of(record.request)[ERRORS] += 1
            logger.warning("a child was killed by signal %d", os.WTERMSIG(status))
        self.close_request(record.request)
        if not record.ended:
            self._end(record)
        self._shared_cells.give_back(cells)

    def collect_children(self, *, blocking: bool = False) -> None:
        """Reap the children that have ended; if *blocking*, wait for all, `drain_timeout` long."""
        for pid in list(self.active_children):
            self._reap(pid)
        if blocking:
            self._wait_until_idle(time.monotonic() + self.drain_timeout)

    def handle_timeout(self) -> None:
        """``handle_request()`` has waited in vain."""
        self.collect_children()

    def _handle_request_noblock(self) -> None:
        self.collect_children()  # no loop is running that would
        super()._handle_request_noblock()

    def _turn(self, longest: float | None) -> None:
        if self._unwatched:
            for pid in list(self._unwatched):
                self._reap(pid)
        if self._unwatched:
            longest = SWEEP_INTERVAL if longest is None else min(longest, SWEEP_INTERVAL)
        super()._turn(longest)

    def abort_request(self, record: ActiveRequest) -> None:
        """Cut the connection and end the child at once."""
        super().abort_request(record)
        for pid, served in list(self.active_children.items()):
            descriptor = self._descriptors.get(pid)
            if served is record and descriptor is not None:
                ignoring_gone(signal.pidfd_send_signal, descriptor, signal.SIGKILL)
            elif served is record:
                ignoring_gone(os.kill, pid, signal.SIGKILL)


class SharedCells:
    """Counter cells in memory that parent and children share."""

    BLOCK = 64  # slots a block: with 8 bytes a cell one page or two

    def __init__(self) -> None:
        self._free: list[memoryview[int]] = []

    def take(self) -> "memoryview[int]":
        """Cells of zeros that a child may count in."""
        if not self._free:
            # The slices keep the memory alive; it goes when the last of them goes.
            numbers = memoryview(mmap.mmap(-1, self.BLOCK * CELLS * 8)).cast("Q")
            for start in range(0, self.BLOCK * CELLS, CELLS):
                self._free.append(numbers[start : start + CELLS])
        return self._free.pop()

    def give_back(self, cells: "memoryview[int]") -> None:
        """The child has ended and its numbers are counted."""
        cells[:] = ZEROS
        self._free.append(cells)


class ForkingTCPServer(ForkingMixIn, TCPServer):
    """TCP, a process for each connection."""


class ForkingUDPServer(ForkingMixIn, UDPServer):
    """UDP, a process for each datagram."""


class ForkingUnixStreamServer(ForkingMixIn, UnixStreamServer):
    """Unix stream, a process for each connection."""


class ForkingUnixDatagramServer(ForkingMixIn, UnixDatagramServer):
    """Unix datagram, a process for each datagram."""
