"""The wait of a server: poll(2) over a few descriptors, and one that ends it.

The wake-up is the self-pipe trick (UNP vol. 1, 20.5 and D. J. Bernstein): another
thread, a signal handler or a forked child writes a byte, and the poll returns.
"""

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Loop"]


class Loop:
    """Descriptors to wait for, each with what to call when it is readable.

    The thread that serves owns it; only `wake` and `ask_owner_to_stop` are for others.
    """

    _WAKE = b"w"
    _STOP = b"s"

    def __init__(self) -> None:
        self._poll = select.poll()
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._owner = os.getpid()
        self.on_stop: Callable[[], object] | None = None
        """Called in the turn in which a forked child has asked for it."""
        self.watch(self._read, self._woken)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._read < 0

    @property
    def in_owner(self) -> bool:
        """Whether this is the process that made it, not a fork of it."""
        return os.getpid() == self._owner

    def watch(self, descriptor: int, callback: Callable[[], object]) -> None:
        """Call *callback* in every turn in which *descriptor* is readable."""
        self._callbacks[descriptor] = callback
        self._poll.register(descriptor, select.POLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Forget *descriptor*; harmless when it is not watched."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def turn(self, longest: float | None) -> None:
        """Wait until something is readable, at most *longest* seconds, and call for it."""
        timeout = None if longest is None else max(0.0, longest) * 1000
        for descriptor, _ in self._poll.poll(timeout):
            callback = self._callbacks.get(descriptor)
            if callback is not None:  # an earlier one in this turn may have removed it
                callback()

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
            yield
        finally:
            if before < 0:
                signal.set_wakeup_fd(-1)

    def ask_owner_to_stop(self) -> None:
        """From a forked child: have `on_stop` called in the parent process."""
        self._put(self._STOP)

    def close(self) -> None:
        """Release the pipe; harmless when done twice."""
        if not self.closed:
            self.unwatch(self._read)
            read, write, self._read, self._write = self._read, self._write, -1, -1
            os.close(read)
            os.close(write)

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
