"""The wait of a server: one wait over a few descriptors, and one that ends it.

The wake-up is the self-pipe trick (UNP vol. 1, 20.5 and D. J. Bernstein): another
thread, a signal handler or a forked child writes a byte, and the wait returns.
What waits (poll, select, epoll, kqueue) is one of `echoservers.waits`.
"""

import heapq
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from .waits import READABLE, WRITABLE, PollWait, Wait

__all__ = ["MANY", "Event", "Gatherer", "Loop", "Timer"]

AT_ONCE = 20e-6
"""Seconds: a wait that was shorter did not sleep.  A system call takes one or two
microseconds, falling asleep and waking up some tens."""

MANY = 8
"""Events of a turn that may be gathered.  With fewer it does not pay: the clients would be idle
while they wait for each other."""

_Callback = Callable[[], object]

Event = tuple[int, int]
"""A descriptor and what it is ready for."""


class Gatherer(Protocol):
    """Serves ready descriptors together."""

    def serve(self, ready: Sequence[Event]) -> Sequence[Event]:
        """Serve some of *ready*, and return the others, for which their callbacks are called."""

    def close(self) -> None:
        """Release what the system gave."""


class Timer:
    """A call to come; `Loop.cancel` forgets it."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: _Callback) -> None:
        self.when = when
        self.callback: _Callback | None = callback

    def __lt__(self, other: "Timer") -> bool:
        return self.when < other.when


class Loop:
    """Descriptors to wait for, each with what to call when it is ready, and timers.

    The thread that serves owns it; only `wake` and `ask_owner_to_stop` are for others.
    """

    _WAKE = b"w"
    _STOP = b"s"

    def __init__(self, wait: Wait | None = None) -> None:
        self.waiter = PollWait() if wait is None else wait
        self._readers: dict[int, _Callback] = {}
        self._writers: dict[int, _Callback] = {}
        self._timers: list[Timer] = []
        self._cancelled = 0
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._owner = os.getpid()
        self.now = time.monotonic()
        """When the last wait returned: good enough for limits of seconds."""
        self.is_busy = False
        """Whether the last wait found something there at once: more may be waiting."""
        self.holds_interrupts = False
        """Whether Ctrl-C ends the turn behind the callbacks that it comes upon: a connection
        that it cuts in the middle of its end would be in progress for ever."""
        self.interrupted = False
        """Whether one has come; `raise_interrupt` is due."""
        self.gatherer: Gatherer | None = None
        """Asked first, where `MANY` are ready."""
        self.on_stop: _Callback | None = None
        """Called in the turn in which a forked child has asked for it."""
        try:
            self.watch(self._read, self._woken)
        except OSError:  # select(2) goes only so far
            os.close(self._read)
            os.close(self._write)
            raise

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._read < 0

    @property
    def in_owner(self) -> bool:
        """Whether this is the process that made it, not a fork of it."""
        return os.getpid() == self._owner

    # --- what to wait for -----------------------------------------------------------

    def watch(self, descriptor: int, callback: _Callback, *, shared: bool = False) -> None:
        """Call *callback* in every turn in which *descriptor* is readable, and nothing else.

        :param shared: other processes wait for it too; one of them is enough.
        """
        self._readers[descriptor] = callback
        if self._writers:
            self._writers.pop(descriptor, None)
        if shared:
            self.waiter.watch_shared(descriptor)
        else:
            self.waiter.watch(descriptor, READABLE)

    def watch_writing(self, descriptor: int, callback: _Callback) -> None:
        """Call *callback* in every turn in which *descriptor* is writable, and nothing else."""
        self._writers[descriptor] = callback
        self._readers.pop(descriptor, None)
        self.waiter.watch(descriptor, WRITABLE)

    def reader(self, descriptor: int) -> _Callback | None:
        """What is called when *descriptor* is readable."""
        return self._readers.get(descriptor)

    def unwatch(self, descriptor: int) -> None:
        """Forget *descriptor*; harmless when it is not watched."""
        watched = self._readers.pop(descriptor, None)
        if watched is None:
            watched = self._writers.pop(descriptor, None)
        if watched is not None:
            self.waiter.watch(descriptor, 0)

    def call_at(self, when: float, callback: _Callback) -> Timer:
        """Call *callback* in the first turn after the time *when* (``time.monotonic()``)."""
        timer = Timer(when, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def cancel(self, timer: Timer) -> None:
        """Forget *timer*, once."""
        timer.callback = None
        self._cancelled += 1
        if self._cancelled > 100 and self._cancelled > len(self._timers) // 2:
            # Else those of connections that came and went would be kept until they are due.
            self._timers[:] = [t for t in self._timers if t.callback is not None]
            heapq.heapify(self._timers)
            self._cancelled = 0

    # --- wait -----------------------------------------------------------------------

    def turn(self, longest: float | None) -> None:
        """Wait until something is ready, at most *longest* seconds, and call for it."""
        timers = self._timers
        before = time.monotonic()
        if timers:
            left = timers[0].when - before
            longest = left if longest is None or left < longest else longest
        ready = self.waiter.wait(None if longest is None else max(0.0, longest))
        self.now = now = time.monotonic()
        self.is_busy = now - before < AT_ONCE
        if self.gatherer is not None and len(ready) >= MANY:
            ready = self.gatherer.serve(ready)
        readers = self._readers
        for descriptor, _ in ready:
            callback = readers.get(descriptor)
            if callback is None:  # it waits for writing, or one before it has removed it
                callback = self._writers.get(descriptor)
            if callback is not None:  # a hang-up too is for it: its read or write tells
                callback()
        while timers and timers[0].when <= now:
            due = heapq.heappop(timers).callback
            if due is None:
                self._cancelled -= 1
            else:
                due()

    def wake(self) -> None:
        """End the wait, or the next one.  Safe anywhere, a signal handler included."""
        self._put(self._WAKE)

    @contextmanager
    def woken_by_signals(self) -> Iterator[None]:
        """Let signals end the wait of the main thread, whichever thread they reach.

        The kernel may hand a signal to any thread; Python runs its handler in the main
        one, but only once that is awake.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        if before >= 0:  # somebody else's, an asyncio loop's perhaps: it stays theirs
            signal.set_wakeup_fd(before)
        try:
            with self._interrupts_held():
                yield
        finally:
            if before < 0:
                signal.set_wakeup_fd(-1)

    @contextmanager
    def _interrupts_held(self) -> Iterator[None]:
        """Let `raise_interrupt` raise what Ctrl-C would raise anywhere; the second one does."""
        default = signal.default_int_handler
        if not self.holds_interrupts or signal.getsignal(signal.SIGINT) is not default:
            yield
            return

        def hold(_signum: int, _frame: object) -> None:
            if not self.in_owner:  # Ctrl-C reaches the whole group; the parent ends its children
                return
            if self.interrupted:  # a handler that does not return
                signal.signal(signal.SIGINT, default)
                raise KeyboardInterrupt
            self.interrupted = True
            self.wake()

        signal.signal(signal.SIGINT, hold)
        try:
            yield
            self.raise_interrupt()
        finally:
            self.interrupted = False
            if signal.getsignal(signal.SIGINT) is hold:
                signal.signal(signal.SIGINT, default)

    def raise_interrupt(self) -> None:
        """Behind a turn.

        :raises KeyboardInterrupt: Ctrl-C has come meanwhile.
        """
        if self.interrupted:
            self.interrupted = False
            raise KeyboardInterrupt

    def ask_owner_to_stop(self) -> None:
        """From a forked child: have `on_stop` called in the parent process."""
        self._put(self._STOP)

    def close(self) -> None:
        """Release the pipe and the wait; harmless when done twice."""
        if not self.closed:
            if self.in_owner:  # a fork shares what an epoll descriptor watches with its parent
                self.unwatch(self._read)
                if self.gatherer is not None:
                    self.gatherer.close()
            read, write, self._read, self._write = self._read, self._write, -1, -1
            os.close(read)
            os.close(write)
            self.waiter.close()

    def _woken(self) -> None:
        try:
            taken = os.read(self._read, 4096)
        except BlockingIOError:
            taken = b""
        if self._STOP in taken and self.on_stop is not None:
            self.on_stop()

    def _put(self, byte: bytes) -> None:
        try:
            os.write(self._write, byte)
        except BlockingIOError:
            return  # full of bytes: the loop wakes in any case
        except OSError:
            if not self.closed:
                raise
