"""WorkerSide: what a server does otherwise once it is a worker.

It overrides the steps before the model's: take a place, accept, refuse, end.  So it works
under any model that goes through them, and what the model does stays as it is.
"""

import os
import select
import signal
from collections.abc import Callable
from typing import Any

from ..activity import ActiveRequest
from ..serving import DrainResult, ServingMixIn
from .board import Board, SharedActivity
from .gates import FlockGate, HandedOver, MutexGate
from .link import Link, Word
from .orphans import end_with_parent
from .places import Places

__all__ = ["WorkerSide"]

JITTER = 0.1
"""Of ``max_requests``, drawn for each worker: so they are not all replaced at one time."""

FOR_EVER = 1e6
"""Seconds until a worker that serves its last connections stops waiting: its master ends
it long before, and poll(2) takes no more than 24 days."""

_MASTERS_SIGNALS = (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)


def _has_waiting(listener: Any) -> bool:
    look = select.poll()
    look.register(listener, select.POLLIN)
    return bool(look.poll(0))


class WorkerSide(ServingMixIn):
    """The steps of a worker; in the master they are those of any server."""

    accept: str
    max_requests: int | None
    _link: Link | None = None
    """The tie to the master; None in the master."""
    _slot = 0
    _places: Places | None = None
    _gate: FlockGate | MutexGate | None = None
    _gate_held = False
    _ends_with_loop = False  # a model's connections: until the master says otherwise
    _shares_backlog = True  # the master's is its workers'
    _may_look_ahead = False  # who is free shall have the next connection
    _takes_places = False
    _takes_place_first = False
    _leaving = False
    _own_listener = False
    _emptying = False
    _pinged = False
    _told: frozenset[bytes] = frozenset()
    _tired_after: int | None = None

    # --- becoming one ---------------------------------------------------------------

    def _become(self, link: Link, board: Board, slot: int, listener: Any) -> None:
        """In a new process: have a loop, locks and numbers of its own."""
        self._link = link
        self._slot = slot
        self._loop.close()  # the copy of the master's
        board.renew_lock()
        self._prepare_admission()
        self._prepare_life()
        self._activity = activity = SharedActivity(board, slot)
        activity.on_end = self._give_place_back
        if hasattr(self, "_shared_cells"):  # where the children of a forking worker count
            self._shared_cells = activity.cells_to_lend
            activity.end_with = end_with_parent()
        if isinstance(self._gate, MutexGate):
            self._gate.slot = slot
        handed = isinstance(listener, HandedOver)
        if isinstance(listener, HandedOver):
            listener.on_lost = activity.refuse
        if handed or listener is not self.socket:
            self.socket.close()
            self.socket = listener
            self._own_listener = not handed
        self._shares_listener = listener is self.socket and self._gate is None
        self._shares_backlog = not handed and self.accept != "reuseport"
        # A worker that serves one at a time, in its loop, has one place by itself.
        can_bind = not self._serves_in_loop or self.max_connections < board.slots
        by_master = handed and self.overflow == "queue"
        self._takes_places = can_bind and not self._serves_at_once and not by_master
        self._takes_place_first = self._takes_places and self.overflow == "queue"
        if self.max_requests is not None:
            # Not from `random`: its import would cost every server three milliseconds.
            drawn = int.from_bytes(os.urandom(4), "big") / 2**32
            self._tired_after = self.max_requests + int(self.max_requests * JITTER * drawn)

    def _take_signals(self, mask: set[int]) -> None:
        """SIGTERM ends this worker when another is in its place; the rest is the master's."""
        link = self._link
        assert link is not None
        signal.set_wakeup_fd(-1)  # the master's
        signal.signal(signal.SIGTERM, lambda *_: link.tell(Word.TIRED))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group
        for signum in _MASTERS_SIGNALS:
            if callable(signal.getsignal(signum)):
                signal.signal(signum, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _words(self) -> dict[bytes, Callable[[], object]]:
        """What to do at a word of the master; in the thread that hears it."""
        return {
            Word.LEAVE: self._leave,
            Word.LEAVE_LAST: self._leave_last,
            Word.DRAIN: self.start_drain,
            Word.ABORT: self.abort,
            Word.WAKE: self._loop.wake,
            Word.PING: self._take_ping,
        }

    def _leave(self) -> None:
        self._leaving = True
        if not isinstance(self.socket, HandedOver):  # that ends behind what is on its way
            self._stop_requested = True
        self._loop.wake()

    def _leave_last(self) -> None:
        if self._own_listener:
            self._emptying = True  # and then it leaves
            self._loop.wake()
        else:
            self._leave()

    def _take_ping(self) -> None:
        self._pinged = True
        if self._all_serve():  # nothing stands still, and nobody would notice the wake-up
            self._answer_ping()
        else:
            self._loop.wake()

    def _answer_ping(self) -> None:
        if self._pinged and self._link is not None:
            self._pinged = False
            self._link.tell(Word.PONG)

    def _tell_once(self, word: bytes) -> None:
        if self._link is not None and word not in self._told:
            self._told |= {word}
            self._link.tell(word)

    # --- accept ---------------------------------------------------------------------

    def _accept_batch(self) -> None:
        super()._accept_batch()
        if self._tired_after is not None and isinstance(self._activity, SharedActivity):
            accepted, _, at_once, _ = self._activity.counters()
            if accepted + at_once >= self._tired_after:
                self._tell_once(Word.TIRED)

    def _takes_freely(self) -> bool:
        return self._gate is None and not self._takes_place_first

    def _take_request(self) -> tuple[Any, Any]:
        """Accept, when there is a place and it is this worker's turn.

        :raises BlockingIOError: not now.
        """
        if not self._takes_place_first:
            return self._accept_in_turn()
        assert self._places is not None
        if not self._places.take(self._slot):
            self._pause(0.0)
            raise BlockingIOError
        try:
            return self._accept_in_turn()
        except BaseException:
            self._leave_place()
            raise

    def _accept_in_turn(self) -> tuple[Any, Any]:
        gate = self._gate
        if gate is None or self._link is None:
            return super()._take_request()
        if not self._gate_held and not gate.take():
            raise BlockingIOError
        try:
            return super()._take_request()
        finally:
            if self._gate_held:
                self._pass_gate_on()
            else:
                gate.release()

    def _time_to_resume(self) -> float | None:
        wait = super()._time_to_resume()
        if wait is None and self._takes_place_first and self._places is not None:
            # Have those tell us who leave a place; one may have been left just before.
            self._places.wait(self._slot)
            wait = super()._time_to_resume()
        return wait

    def _listen(self, wanted: bool) -> None:
        gate = None if self._link is None else self._gate
        if gate is None or gate.descriptor is None:
            super()._listen(wanted)
        elif wanted:
            if not self._gate_held:
                self._loop.watch(gate.descriptor, self._gate_opens)
        else:
            self._loop.unwatch(gate.descriptor)
            super()._listen(False)
            if self._gate_held:
                self._gate_held = False
                gate.release()
        if wanted:
            self._tell_once(Word.READY)

    def _gate_opens(self) -> None:
        """The mutex is free: who gets it waits at the listener."""
        gate = self._gate
        if gate is not None and gate.descriptor is not None and gate.take():
            self._gate_held = True
            self._loop.unwatch(gate.descriptor)
            super()._listen(True)

    def _pass_gate_on(self) -> None:
        self._listen(False)
        if not (self._paused or self._stop_requested):
            self._listen(True)

    def _turn(self, longest: float | None) -> None:
        if self._link is None:
            super()._turn(longest)
            return
        if self._draining and self._paused:
            # Not by listening: another worker may have taken what was there.
            self._paused = False
            wait = self._time_to_resume()
            if wait == 0:
                return
            longest = min((t for t in (wait, longest) if t is not None), default=None)
        waited_with_it = self._gate_held
        super()._turn(longest)
        if (
            waited_with_it and self._gate_held
        ):  # something else has ended the wait: others come first now
            self._pass_gate_on()
        emptying = self._emptying and not (self._leaving or self._paused)
        if emptying and not _has_waiting(self.socket):
            self._leave()
        self._answer_ping()

    # --- admit ----------------------------------------------------------------------

    def capacity(self) -> int:
        """How many requests may be in progress here: what the others have left."""
        capacity = super().capacity()
        if self._takes_places and self._places is not None:
            return min(capacity, self._places.left(self._slot))
        return capacity

    def _refusal(self, source: str | None) -> str | None:
        refusal = super()._refusal(source)
        if self._link is None or self._places is None:
            return refusal
        has_place = self._takes_place_first
        if refusal is None and self._takes_places and not has_place:
            has_place = self._places.take(self._slot)
            refusal = None if has_place else "max_connections"
        if refusal is None and source is not None and not self._places.enter(self._slot, source):
            refusal = "max_connections_per_source"
        if refusal is not None and has_place:
            self._leave_place()
        return refusal

    def _refuse(self, request: Any, client_address: Any, reason: str) -> None:
        super()._refuse(request, client_address, reason)
        if self._link is not None and self._places is not None and self._places.waiting():
            self._link.tell(Word.ROOM)

    def _leave_place(self) -> None:
        if self._places is not None and self._places.leave(self._slot) and self._link is not None:
            self._link.tell(Word.ROOM)

    def _give_place_back(self, record: ActiveRequest) -> None:
        if record.source is not None and self._places is not None:
            self._places.exit(self._slot, record.source)
        self._leave_place()

    def _loop_would_wait_for(self, record: ActiveRequest) -> bool:
        # A worker that leaves is in no hurry: another serves already.
        return not self._leaving and super()._loop_would_wait_for(record)

    # --- end ------------------------------------------------------------------------

    def _end(self, record: ActiveRequest) -> None:
        super()._end(record)
        if self._leaving:
            self._loop.wake()

    def shutdown(self) -> None:
        """As for every server; in a worker it stops the whole server, and returns at once."""
        if self._link is None:
            super().shutdown()
        else:
            self._link.tell(Word.STOP)

    def drain(self, timeout: float | None = None) -> DrainResult:
        """As for every server; in a worker as `shutdown`, and the master does the rest."""
        if self._link is None:
            return super().drain(timeout)
        self._link.tell(Word.STOP)
        return DrainResult(0, 0)

    def abort(self) -> None:
        """As for every server; in a worker the connections of this one are cut."""
        if self._link is not None and isinstance(self._activity, SharedActivity):
            # Told before it is done: when the last has ended, the process ends.
            cut = sum(not record.aborted for record in self._activity.snapshot())
            self._activity.board.column("aborted")[self._slot] = self._aborted + cut
        super().abort()

    def _finish_work(self, until_idle: Callable[[float], bool]) -> None:
        """The loop has ended: let those who are being served finish."""
        if self.is_stream:
            self.close_listener()
        until_idle(FOR_EVER)
