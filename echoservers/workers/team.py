"""The master's workers: started, watched, replaced one by one, ended.  It serves nobody.

An old worker is told to leave when its successor is ready, and the next one has its turn
then: how long the clients of one stay delays no other.  There are never fewer ready than
are wanted, nor, by being replaced, more than twice as many.

A worker is watched through its process descriptor (pidfd_open(2)), in the loop of the
master, so it is replaced the moment it ends, and only our own children are waited for.
What is to be done later is a time that `next_event` tells; nothing here waits or polls.
"""

import errno
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from ..log import Throttle, logger
from ..loop import Loop
from .board import MASTER, Board
from .link import Word, hear
from .process import NEVER, Worker, was_killed
from .pulse import Pulse

__all__ = ["DEATH_TIME", "KILL_TIME", "Team"]

STABLE_TIME = 1.0
"""Seconds after which a worker that ends has not died at its start."""

FIRST_DELAY, LONGEST_DELAY = 0.1, 30.0
"""Seconds until a worker is replaced when as many have died at start as there are places: twice
as long each time, which costs little, and whoever mends the fault does not wait for long."""

HOPELESS = 5
"""Delays, 3 s, until one that never had a ready worker gives up: who starts it is to learn it."""

FORK_PAUSE = 0.5
"""Seconds until the next try when the system had no process: whole a second after relief."""

CUT_TIME = 1.0
"""Seconds from the end of the input to the cut, for a worker that leaves late."""

KILL_TIME = 0.5
"""Seconds from the cut to SIGKILL."""

DEATH_TIME = 5.0
"""Seconds for the system to end what was killed: milliseconds, but on a busy machine."""

SWEEP_INTERVAL = 0.2
"""Seconds between looks at workers that cannot be watched (no process descriptors)."""

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU}
"""Held back around a fork: until it has its own handlers a child must not run its master's."""


class Team:
    """The workers of one server.

    :param loop: the master's.
    :param slots: how many processes the board has room for.
    :param listener_of: the listener for a position; the master keeps it.
    :param work: called in a new worker; does not return.
    :param ended: called with a worker that has ended, before its slot is used again.
    :param heard: called when a worker is ready, and with what is not the team's business.
    """

    def __init__(
        self,
        loop: Loop,
        slots: int,
        listener_of: Callable[[int], Any],
        work: Callable[[Worker], NoReturn],
        ended: Callable[[Worker], int],
        heard: Callable[[Worker, bytes], None],
    ) -> None:
        self._loop = loop
        self._listener_of = listener_of
        self._work = work
        self._tell_ended = ended
        self._tell_heard = heard
        self._free = set(range(MASTER + 1, slots))
        self._most = len(self._free) - 1  # one is for the successor of another
        self.drain_timeout = 0.0
        self.pulse = Pulse()
        self.hands_over = False
        self.wanted = 0
        self.all: dict[int, Worker] = {}
        """Those that live, by slot."""
        self.current: dict[int, Worker] = {}
        """By position: who serves there, or is to; not those that only end."""
        self._to_replace: deque[Worker] = deque()
        self._replacement: tuple[Worker, Worker] | None = None
        self._ever_ready = False
        self._early_deaths = 0
        self._start_at = 0.0
        self._stopping = True
        self._trouble = Throttle(burst=10)

    def __len__(self) -> int:
        return len(self.all)

    def start(self, wanted: int) -> None:
        """Have *wanted* workers from now on."""
        self.wanted = wanted
        self._stopping = False
        self.current.clear()
        self._to_replace.clear()
        self._replacement = None
        self.see_to_it()

    def stop(self, word: bytes) -> None:
        """Start no more workers, and say *word* to all."""
        self._stopping = True
        self._replacement = None
        self.tell(word)
        for worker in self.all.values():
            worker.leaving = True
            worker.steps.clear()
            worker.next_step = NEVER
            worker.end_channel()

    def tell(self, word: bytes) -> None:
        """Say *word* to all workers."""
        for worker in list(self.all.values()):
            worker.tell(word)

    def kill_later(self) -> None:
        """Kill those that are still there `KILL_TIME` from now."""
        now = time.monotonic()
        for worker in list(self.all.values()):
            worker.steps.clear()
            worker.steps.append((0.0, Worker.kill))
            worker.next_step = now + KILL_TIME

    # --- changes --------------------------------------------------------------------

    def change(self, by: int) -> None:
        """Have one worker more, or one less; one stays."""
        self.wanted = min(max(1, self.wanted + by), self._most)

    def replace_all(self) -> None:
        """Put a new worker in the place of each, one after the other, each ready first."""
        for worker in self.current.values():
            self._replace(worker)
        if self._replacement is not None:
            self._replace(self._replacement[1])  # it is from before this was asked for

    def _replace(self, worker: Worker) -> None:
        replacing = self._replacement is not None and worker is self._replacement[0]
        if not (worker.leaving or replacing or worker in self._to_replace):
            self._to_replace.append(worker)

    def _leave(self, worker: Worker, word: bytes = Word.LEAVE) -> None:
        """Let *worker* end: nobody is cut off for ``drain_timeout``."""
        worker.leaving = True
        if self.current.get(worker.position) is worker:
            del self.current[worker.position]
        worker.tell(word)
        worker.end_channel()
        worker.steps.extend(
            (
                (CUT_TIME, lambda w: w.tell(Word.DRAIN)),
                (KILL_TIME, lambda w: w.tell(Word.ABORT)),
                (0.0, Worker.kill),
            )
        )
        worker.next_step = time.monotonic() + self.drain_timeout

    # --- from turn to turn ----------------------------------------------------------

    def next_event(self) -> float | None:
        """Seconds until `see_to_it` has something to do; None: not before a descriptor says."""
        now = time.monotonic()
        at = min((worker.next_step for worker in self.all.values()), default=NEVER)
        at = min(at, self.pulse.next_look(self.all.values()))
        if not self._stopping and ((self._free and self._missing()) or self._can_replace()):
            at = min(at, self._start_at)
        if any(worker.descriptor < 0 for worker in self.all.values()):
            at = min(at, now + SWEEP_INTERVAL)
        return None if at == NEVER else max(0.0, at - now)

    def see_to_it(self) -> None:
        """Do what is due.

        :raises ChildProcessError: no worker has ever been ready, and none will be.
        """
        now = time.monotonic()
        for worker in list(self.all.values()):
            if worker.descriptor < 0:
                self._reap(worker)
            if worker.next_step <= now:
                self._next_step(worker, now)
        self.pulse.look(self.all.values(), now)
        if self._stopping:
            return
        for position in [p for p in self.current if p >= self.wanted]:
            self._vacate(position)
        for position in self._missing():
            if now < self._start_at or not self._spawn(position):
                break
        if self._can_replace() and now >= self._start_at:
            self._replace_next()

    def _vacate(self, position: int) -> None:
        """Let who serves at *position* leave, and who was to come after it, too."""
        leaving = self.current[position]
        if self._replacement is not None and self._replacement[0] is leaving:
            _, successor = self._replacement
            self._replacement = None
            self._leave(successor, Word.LEAVE_LAST)
        self._leave(leaving, Word.LEAVE_LAST)

    def _missing(self) -> list[int]:
        return [position for position in range(self.wanted) if position not in self.current]

    def _can_replace(self) -> bool:
        while self._to_replace and self._to_replace[0].leaving:
            self._to_replace.popleft()
        room = bool(self._free) and len(self.all) < 2 * self.wanted
        return self._replacement is None and bool(self._to_replace) and room

    def _replace_next(self) -> None:
        old = self._to_replace.popleft()
        new = self._spawn(old.position)
        if new is None:
            self._to_replace.appendleft(old)
        else:
            self.current[old.position] = old  # until the new one is ready
            self._replacement = (old, new)

    def _next_step(self, worker: Worker, now: float) -> None:
        then, step = worker.steps.popleft()
        worker.next_step = now + then if worker.steps else NEVER
        step(worker)

    # --- beginning and end of a worker ----------------------------------------------

    def _spawn(self, position: int) -> Worker | None:
        """Fork a worker; None when the system does not give us one now."""
        if not self._free:
            return None
        worker = None
        try:
            worker = Worker(min(self._free), position)
            worker.listener = self._listener_of(position)
            if self.hands_over:
                worker.channel, worker.others_channel = socket.socketpair()
                worker.channel.setblocking(False)
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            try:
                worker.signal_mask = before
                worker.pid = os.fork()
                if worker.pid == 0:
                    self._work(worker)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except OSError as error:
            if worker is not None:
                worker.release()
            self._trouble.warning("no worker can be started: %s", error.strerror)
            self._start_at = time.monotonic() + FORK_PAUSE
            return None
        worker.others_control.close()
        if worker.others_channel is not None:
            worker.others_channel.close()
        self.pulse.began(worker)
        self._free.remove(worker.slot)
        self.all[worker.slot] = worker
        self.current[position] = worker
        self._watch(worker)
        return worker

    def _watch(self, worker: Worker) -> None:
        self._loop.watch(worker.control.fileno(), lambda: self._hear(worker))
        try:
            worker.descriptor = os.pidfd_open(worker.pid)
        except (AttributeError, OSError):
            return  # asked after at every `SWEEP_INTERVAL`
        self._loop.watch(worker.descriptor, lambda: self._reap(worker))

    def forget_in_worker(self, own: Worker) -> None:
        """In a new worker: close what only the master should have."""
        for worker in self.all.values():
            worker.release()
        own.control.close()
        if own.channel is not None:
            own.channel.close()

    def _hear(self, worker: Worker) -> None:
        words = hear(worker.control)
        if not words:
            self._loop.unwatch(worker.control.fileno())  # its end is noticed by its descriptor
        for word in words:
            if word == Word.READY:
                self._is_ready(worker)
                self._tell_heard(worker, word)
            elif word == Word.PONG:
                self.pulse.answered(worker, time.monotonic())
            elif word == Word.TIRED:
                self._replace(worker)
            else:
                self._tell_heard(worker, word)

    def _is_ready(self, worker: Worker) -> None:
        worker.ready = self._ever_ready = True
        worker.began = time.monotonic()
        self.pulse.answered(worker, worker.began)
        if self._replacement is not None and self._replacement[1] is worker:
            old, _ = self._replacement
            self._replacement = None
            self._leave(old)
            self.current[worker.position] = worker

    def _reap(self, worker: Worker) -> None:
        """Wait for *worker* without blocking, and clear up behind it if it has ended."""
        try:
            ended, status = os.waitpid(worker.pid, os.WNOHANG)
        except ChildProcessError:
            ended, status = worker.pid, 0  # somebody else's waitpid(-1) took it
        if not ended:
            return
        self._hear(worker)  # its last words
        self._loop.unwatch(worker.control.fileno())
        if worker.descriptor >= 0:
            self._loop.unwatch(worker.descriptor)
        worker.release()
        del self.all[worker.slot]
        lost = self._tell_ended(worker)
        self._free.add(worker.slot)
        replacing, expected = self._end_replacement(worker), worker.leaving
        if self.current.get(worker.position) is worker:
            del self.current[worker.position]
            if replacing is not None:
                self.current[worker.position] = replacing
        worker.leaving = True
        if not expected:
            self._ended_unasked(worker, status, lost)

    def _end_replacement(self, worker: Worker) -> Worker | None:
        """Who takes the position of *worker*, if it was being replaced."""
        if self._replacement is None or worker not in self._replacement:
            return None
        old, new = self._replacement
        self._replacement = None
        if worker is old:
            return new
        self._to_replace.appendleft(old)  # the new one died at start: the old one still serves
        return None

    def _ended_unasked(self, worker: Worker, status: int, lost: int) -> None:
        if not worker.killed and not self._stopping:
            code = os.waitstatus_to_exitcode(status)
            how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
            self._trouble.warning(
                "worker %d %s%s; another takes its place",
                worker.pid,
                how,
                f" (connections lost: {lost})" if lost else "",
            )
        now = time.monotonic()
        self._start_at = min(self._start_at, now)
        if worker.ready and (now - worker.began >= STABLE_TIME or was_killed(status)):
            self._early_deaths = 0
            return
        self._early_deaths += 1
        beyond = self._early_deaths - self.wanted
        if beyond <= 0:
            return
        if not self._ever_ready and beyond > HOPELESS and not self._stopping:
            raise ChildProcessError(
                errno.ECHILD,
                f"{self._early_deaths} workers have died at their start and none was ever ready;"
                " the log says what they raised",
            )
        delay = min(FIRST_DELAY * 2 ** min(beyond - 1, 20), LONGEST_DELAY)
        self._start_at = now + delay
        if beyond == 1:
            logger.error(
                "workers die at their start: the next come after %g s, then ever later, up to %g s",
                delay,
                LONGEST_DELAY,
            )

    # --- handing over ---------------------------------------------------------------

    def by_load(self, board: Board, most: int | None) -> list[Worker]:
        """Who serves, and fewer than *most* connections; the one with the least to do first."""
        loads = [(w.load(board), w.handed, w.slot) for w in self.current.values() if w.ready]
        return [self.all[slot] for load, _, slot in sorted(loads) if most is None or load < most]
