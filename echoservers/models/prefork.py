"""Worker processes that are forked before anybody connects (UNP vol. 1, 30.6 to 30.9).

The master binds, forks, watches, and serves nobody.  Each worker is the whole server of
the model below, with its loop and all, so `PreforkMixIn` goes over any model::

    class PreforkThreadingTCPServer(PreforkMixIn, ThreadingMixIn, TCPServer): ...

What is one over all workers, the limits and the counters, is in memory that they share.
`echoservers.workers` has the parts.
"""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Annotated, Any, NoReturn

from ..admission import AdmissionMixIn
from ..log import logger
from ..loop import Loop
from ..options import Option, choice, count, count_or_none, seconds_or_none
from ..serving import DrainResult
from ..system import usable_processors
from ..transports import TCPServer, UDPServer, UnixDatagramServer, UnixStreamServer
from ..workers.board import MASTER, Board, SharedActivity
from ..workers.gates import ACCEPT, HandedOver, check_accept, make_gate
from ..workers.link import Link, Word
from ..workers.listening import Listening
from ..workers.places import Places
from ..workers.process import Worker
from ..workers.team import DEATH_TIME, KILL_TIME, Team

__all__ = [
    "PreforkMixIn",
    "PreforkTCPServer",
    "PreforkUDPServer",
    "PreforkUnixDatagramServer",
    "PreforkUnixStreamServer",
]

SPARE_SLOTS = 64
"""Processes beyond ``workers`` that the shared memory has room for: those added by
`add_worker`, and old ones that end."""

MOST_WORKERS = 1000
"""Far more than any machine of today has CPUs, and a slip does not fill it with processes."""


def _worker_count(value: Any) -> int:
    """A whole number from 1 to `MOST_WORKERS`."""
    try:
        number = count(value)
    except ValueError:
        number = 0  # refused below, with the message
    if not 0 < number <= MOST_WORKERS:
        raise ValueError(f"expected a whole number from 1 to {MOST_WORKERS}")
    return number


class PreforkMixIn(Listening):
    """Serve in ``workers`` processes, each with the model below; the master supervises.

    ``accept`` says who accepts next: see `echoservers.workers.gates`.  ``max_connections``,
    ``max_connections_per_source`` and ``stats()`` are one number over all workers.  With
    ``accept=mutex`` nobody accepts while the worker that has the token is stopped (SIGSTOP, a
    debugger); ``worker_timeout`` ends that.  It watches the loop of each worker, and not the
    threads that have a client: one that waits for its client and one that hangs look alike.
    The time runs from a question of the master, which comes up to half of it later.  Without it
    a worker that is stopped or hangs is not replaced.

    A worker that ends, however it does, is replaced at once.  When they die at their start
    again and again they come ever later, up to 30 s.  `serve_forever` raises
    ChildProcessError only if no worker has ever been ready: who starts such a server must
    learn of it, and one that has served goes on trying, as its fault may pass.

    Workers end when their master is gone, whatever they are doing.

    Methods beside those of every server; signal handlers may call them:

    - reload()  # put a new worker in the place of each, one after the other
    - add_worker(), remove_worker()

    In a worker SIGTERM lets that one be replaced and end; SIGINT is ignored, since the
    terminal sends it to all, and the master passes on what it is told.  ``shutdown()`` and
    ``server_close()`` in a handler stop the whole server.  What handlers change in memory
    is their worker's alone.
    """

    workers: Annotated[
        int, Option(_worker_count, "workers", "serve in this many processes; default: one a CPU")
    ] = usable_processors()  # more would only take turns, unless their handlers wait

    accept: Annotated[
        str,
        Option(choice(*ACCEPT), "|".join(ACCEPT), "who accepts next: see the documentation"),
    ] = "shared"  # for every transport, and the shortest path; the kernel picks who waits

    max_requests: Annotated[
        int | None,
        Option(count_or_none, "requests", "replace a worker after so many, and up to a tenth more"),
    ] = None  # for handlers that leak

    worker_timeout: Annotated[
        float | None,
        Option(
            seconds_or_none,
            "seconds",
            "kill and replace a worker whose loop stands still for so long; in a model that"
            " serves in its loop that is a slow client, too; a thread that serves is not watched;"
            " default: never, and one that is stopped stays",
        ),
    ] = None  # in the iterative model a client that thinks would end its worker

    _abort_time = KILL_TIME + DEATH_TIME

    def _prepare_admission(self) -> None:
        check_accept(self.accept, self.address_family, self.socket_type)
        self._shares_backlog = self.accept != "reuseport"
        super()._prepare_admission()
        if self._link is not None:
            return
        slots = MASTER + 1 + self.workers + SPARE_SLOTS
        self._board = board = Board(slots, 1 if self._serves_in_loop else self.max_connections)
        self._masters_loop = self._loop
        self._team = Team(
            self._loop, slots, self._listener_of, self._work, self._worker_ended, self._heard
        )
        self._activity = _MastersActivity(board, MASTER, self._team)
        self._asked: deque[str] = deque()  # by `reload` and the like
        self._started = threading.Event()
        self._listeners: dict[int, Any] = {}  # by position, with accept=reuseport
        self._own_descriptor = -1

    # --- for the caller -------------------------------------------------------------

    def reload(self) -> None:
        """Replace all workers, one after the other, with no connection lost.

        The new one is ready before the old one stops accepting; the old ones serve those they
        have for ``drain_timeout``, then end their input.  Meanwhile there are up to twice as
        many processes.
        """
        self._ask("reload")

    def add_worker(self) -> None:
        """Have one worker more."""
        self._ask("add")

    def remove_worker(self) -> None:
        """Have one worker less; one stays."""
        self._ask("remove")

    def _ask(self, what: str) -> None:
        if self._link is None:
            self._asked.append(what)
            self._loop.wake()

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Start the workers and watch over them until `shutdown`.

        :param poll_interval: for the workers: see `ServingMixIn.serve_forever`; an overridden
            ``service_actions`` is called there.
        :raises ChildProcessError: no worker was ever ready, and all have died.
        """
        if self._link is not None:
            super().serve_forever(poll_interval)
            return
        self._poll_interval = poll_interval
        if self.is_stream and self.socket.fileno() >= 0:
            # For good: the flag is on the socket, which old workers may still accept from.
            self.socket.setblocking(False)
        try:
            with self._serving():
                self._prepare_team()
                self._supervise()
        finally:
            self._started.set()  # who waits for it must learn of a failure, too
        if self._draining:  # since then
            self._team.tell(Word.DRAIN)

    def _supervise(self) -> None:
        try:
            if not self._stop_requested or self._draining:
                self._start_team()
            self._started.set()
            while not self._stop_requested:
                self._turn(None)
            if self._draining and self.accept == "handoff":
                self._hand_backlog_over()
        finally:
            self._team.stop(Word.DRAIN if self._draining else Word.LEAVE)

    def wait_until_started(self, timeout: float | None = None) -> bool:
        """While another thread is in `serve_forever`: wait until it has forked the workers.

        What this process opens from then on the first workers do not have: a connection that
        it makes to its own server ends for that when it is closed here.

        :param timeout: seconds; None: for as long as it takes.
        :returns: whether they are there.
        """
        return self._started.wait(timeout)

    def start_drain(self) -> None:
        """As for every server: the workers are told, and begin to drain."""
        super().start_drain()
        if self._link is None and self._serving_thread is None:
            self._team.tell(Word.DRAIN)  # else the loop does it at its end

    def abort(self) -> None:
        """As for every server: the workers cut their connections, and are killed if they stay."""
        super().abort()
        if self._link is None:
            self._team.tell(Word.ABORT)
            self._team.kill_later()

    def drain(self, timeout: float | None = None) -> DrainResult:
        """As for every server; what it returns is of all workers together."""
        result = super().drain(timeout)
        if self._link is not None or self._board is None:
            return result
        aborted = self._aborted + sum(self._board.column("aborted"))
        ended = self._activity.closed - self._closed_before_drain
        return DrainResult(max(0, ended - aborted), aborted)

    def server_close(self) -> None:
        """As for every server: no worker is left; in a worker it stops the whole server."""
        if self._link is not None:
            self._link.tell(Word.STOP)
            return
        super().server_close()
        if self._closed and self._serving_thread is None:
            self._team.tell(Word.DRAIN)  # those that block_on_close=False leaves behind
            self._release_shared()

    # --- the master -----------------------------------------------------------------

    def _make_loop(self) -> Loop:
        # What a model waits with may be one with its copies in forked processes (epoll(7)),
        # and does not end its turn for the team: the master waits with none of it.
        return Loop() if self._link is None else super()._make_loop()

    @contextlib.contextmanager
    def _in_models_loop(self) -> Iterator[None]:
        """For ``handle_request()``: have the loop of the model, where it is a special one."""
        if getattr(super()._make_loop, "__func__", None) is AdmissionMixIn._make_loop:
            yield
            return
        assert isinstance(self._activity, _MastersActivity)
        self._loop = super()._make_loop()
        self._loop.on_stop = self._stop_soon
        self._activity.alone = True  # no worker's end is noticed here
        try:
            yield
        finally:
            self._activity.alone = False
            models, self._loop = self._loop, self._masters_loop
            if models.closed:  # by server_close() in a handler
                self._loop.close()
            models.close()

    def _handle_request_noblock(self) -> None:
        with self._in_models_loop():
            super()._handle_request_noblock()

    def _prepare_to_serve(self) -> None:
        if self._link is not None:  # what a model prepares is for the workers
            super()._prepare_to_serve()

    def _prepare_team(self) -> None:
        assert self._board is not None
        if self._places is None:
            self._places = Places(
                self._board, self.max_connections, self.max_connections_per_source
            )
            self._gate = make_gate(self.accept, self._board)
            with contextlib.suppress(AttributeError, OSError):  # not on this system
                self._own_descriptor = os.pidfd_open(os.getpid())
        self._team.drain_timeout = self.drain_timeout
        self._team.pulse.timeout = self.worker_timeout
        self._team.hands_over = self.accept == "handoff"

    def _release_shared(self) -> None:
        for shared in (self._places, self._gate):
            if shared is not None:
                shared.close()
        self._places = self._gate = None
        descriptor, self._own_descriptor = self._own_descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _turn(self, longest: float | None) -> None:
        if self._link is not None or self._loop is not self._masters_loop:
            super()._turn(longest)
            return
        wait = self._team.next_event()
        if wait is not None:
            longest = wait if longest is None else min(wait, longest)
        AdmissionMixIn._turn(self, longest)  # whatever the model waits for, it is not here
        while self._asked:
            what = self._asked.popleft()
            if what == "reload":
                self._team.replace_all()
            else:
                self._change_number(1 if what == "add" else -1)
        self._team.see_to_it()

    def _worker_ended(self, worker: Worker) -> int:
        """A worker has ended: whatever it had is for the others again."""
        assert self._board is not None
        if self._gate is not None:
            self._gate.holder_died(worker.slot)
        if self._places is not None:
            self._places.evict(worker.slot)
        lost = self._board.retire(worker.slot, self._aborting or (worker.killed and worker.leaving))
        self._close_unused()
        self._room()
        return lost

    def _heard(self, worker: Worker, word: bytes) -> None:
        if word == Word.STOP:
            self._stop_soon()
        elif word in (Word.ROOM, Word.READY):
            self._room()

    def _room(self) -> None:
        """Somebody has left a place: tell those who wait for one."""
        if self._places is None:
            return
        for slot in self._places.waiting():
            if slot == MASTER:
                self._resume_handing_over()
            elif slot in self._team.all:
                self._team.all[slot].tell(Word.WAKE)

    # --- in a new worker ------------------------------------------------------------

    def _work(self, worker: Worker) -> NoReturn:
        """Serve until the master says otherwise; the whole life of a worker."""
        status = 1
        try:
            assert self._board is not None
            listener = worker.listener
            if worker.others_channel is not None:
                listener = HandedOver(worker.others_channel)
            self._team.forget_in_worker(worker)
            link = Link(worker.others_control, self._own_descriptor)
            self._become(link, self._board, worker.slot, listener)
            for other in self._listeners.values():
                if other is not listener:
                    other.close()
            self._take_signals(worker.signal_mask)
            link.listen(self._words(), self._orphaned)
            super().serve_forever(self._poll_interval)
            self._finish_work(lambda longest: self._wait_until_idle(time.monotonic() + longest))
            status = 0
        except BaseException as error:
            logger.error("worker failed: %s: %s", type(error).__name__, error, error=error)
        finally:
            os._exit(status)

    def _orphaned(self) -> None:
        self.start_drain()


class _MastersActivity(SharedActivity):
    """In the master what is in progress are its workers, beside what it serves itself."""

    def __init__(self, board: Board, slot: int, team: Team) -> None:
        super().__init__(board, slot)
        self._team = team
        self.alone = False
        """Whether the workers do not count for now."""

    def __len__(self) -> int:
        return len(self.in_progress) + (0 if self.alone else len(self._team))


class PreforkTCPServer(PreforkMixIn, TCPServer):
    """TCP, one client after the other in each of several processes."""


class PreforkUDPServer(PreforkMixIn, UDPServer):
    """UDP, one datagram after the other in each of several processes."""


class PreforkUnixStreamServer(PreforkMixIn, UnixStreamServer):
    """Unix stream, one client after the other in each of several processes."""


class PreforkUnixDatagramServer(PreforkMixIn, UnixDatagramServer):
    """Unix datagram, one datagram after the other in each of several processes."""
