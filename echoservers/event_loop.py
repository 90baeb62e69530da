"""The wait of a server on an asyncio event loop, which runs protocols and tasks meanwhile.

A turn runs the event loop until something ends it: a wake-up, or the longest time.  What
is ready in between, connections to accept included, is served within the turn.

The event loop is made when it is first needed: by then the process has forked what it
forks, and the thread that serves is known.  Another thread may take the next turn, as
the one that closes the server does; never two at a time.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .log import logger
from .loop import Loop, Timer

__all__ = ["EventLoop"]

_Callback = Callable[[], object]

CANCEL_TIME = 1.0
"""Seconds that tasks get, when the loop is closed, to see to their being cancelled."""


class _Watcher:
    """Stands for the `echoservers.waits.Wait` of a `Loop`: the event loop does the waiting."""

    highest: int | None = None

    def __init__(self, update: Callable[[int], None]) -> None:
        self._update = update

    def watch(self, descriptor: int, _events: int) -> None:
        self._update(descriptor)

    def watch_shared(self, descriptor: int) -> None:
        """An event loop cannot tell the kernel that one process is enough."""
        self._update(descriptor)

    def wait(self, longest: float | None) -> Sequence[tuple[int, int]]:
        raise NotImplementedError("the event loop waits: see EventLoop.turn")

    def close(self) -> None:
        """Nothing to release: the event loop is closed with its `EventLoop`."""


class EventLoop(Loop):
    """A `Loop` over an asyncio event loop.

    :param make: makes the event loop.
    """

    def __init__(self, make: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._make = make
        self._made: asyncio.AbstractEventLoop | None = None
        self._asked: deque[_Callback] = deque()
        self._raised: BaseException | None = None
        super().__init__(_Watcher(self._update))

    @property
    def events(self) -> asyncio.AbstractEventLoop:
        """The event loop; for the thread whose turn it is."""
        if self._made is None:
            self._made = self._make()
            self._made.set_exception_handler(self._report)
            for descriptor in {*self._readers, *self._writers}:
                self._update(descriptor)
        return self._made

    # --- what to wait for -----------------------------------------------------------

    def _update(self, descriptor: int) -> None:
        events = self._made
        if events is None:
            return
        if descriptor in self._readers:
            events.add_reader(descriptor, self._call, self._readers, descriptor)
        else:
            events.remove_reader(descriptor)
        if descriptor in self._writers:
            events.add_writer(descriptor, self._call, self._writers, descriptor)
        else:
            events.remove_writer(descriptor)

    def call_at(self, when: float, callback: _Callback) -> Timer:
        """See `Loop`."""
        timer = Timer(when, callback)
        self.events.call_later(max(0.0, when - time.monotonic()), self._call_timer, timer)
        return timer

    def ask(self, callback: _Callback) -> None:
        """Have *callback* called in the loop.  Safe anywhere, a signal handler included."""
        self._asked.append(callback)
        self.wake()

    # --- wait -----------------------------------------------------------------------

    def turn(self, longest: float | None) -> None:
        """Run the event loop until it is woken, at most *longest* seconds.

        :raises BaseException: what was given to `fail`.
        """
        events = self.events
        end = None if longest is None else events.call_later(max(0.0, longest), events.stop)
        try:
            with _apart():
                events.run_forever()
        finally:
            self.now = time.monotonic()
            if end is not None:
                end.cancel()
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised

    def fail(self, error: BaseException) -> None:
        """End the turn with *error*, which its caller is to see."""
        self._raised = error
        self.events.stop()

    def close(self) -> None:
        """Cancel what still runs, and release everything; harmless when done twice."""
        if self.closed:
            return
        super().close()
        events, self._made = self._made, None
        if events is not None:
            with _apart():
                tasks = asyncio.all_tasks(events)
                for task in tasks:
                    task.cancel()
                if tasks:
                    tasks_end = events.create_task(_cancelled(tasks))
                    tasks_end.add_done_callback(lambda _: events.stop())
                    while not tasks_end.done():  # a stop() of before may still be due
                        events.run_forever()
                events.close()

    # --- inside ---------------------------------------------------------------------

    def _call(self, callbacks: dict[int, _Callback], descriptor: int) -> None:
        callback = callbacks.get(descriptor)
        if callback is not None:
            try:
                callback()
            except BaseException as error:
                self.fail(error)

    def _call_timer(self, timer: Timer) -> None:
        if timer.callback is not None:
            timer.callback()

    def _woken(self) -> None:
        super()._woken()
        while self._asked:
            self._asked.popleft()()
        self.events.stop()

    def _report(self, _events: object, context: dict[str, Any]) -> None:
        """What the event loop could tell nobody else: a task that failed unseen, and the like."""
        error = context.get("exception")
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            self.fail(error)
        elif isinstance(error, OSError):
            logger.debug("in the event loop: %s: %s", context["message"], error)
        else:
            logger.error("in the event loop: %s", context["message"], error=error)


@contextmanager
def _apart() -> Iterator[None]:
    """Run an event loop, though this thread may be inside another, as in a program's coroutine."""
    outer = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(outer)


async def _cancelled(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks, timeout=CANCEL_TIME)
