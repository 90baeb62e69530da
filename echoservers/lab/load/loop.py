"""The event loop of the generator: epoll, and a generator function for each client.

A client is a Python generator that reads like the dialogue it holds: send, ``yield`` until
its socket is ready, receive.  The loop resumes it through a list indexed by the descriptor.
What a message costs beside the two system calls is that index and one resumption, whose
locals are the client's state; an object with attributes costs more.

The loop knows how long it waited, and so how busy it was.  Once in `TICK` it looks whether
anybody is answered at all, so that a server that hangs does not hang the run.
"""

import contextlib
import os
import select
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

__all__ = [
    "READ",
    "WRITE",
    "Client",
    "Done",
    "Loop",
    "RunEnded",
    "Steps",
    "WrongReply",
    "run_delay",
]

READ, WRITE = select.EPOLLIN, select.EPOLLOUT

Steps = Generator[Any, Any, None]
"""What a client does: resumed when its socket is ready, or for nothing; with others, `Gatherer`."""

TICK = 0.05
"""Seconds between two looks at what gives no event: lost datagrams, a server that hangs."""

BATCH = 64
"""Events of one wait: enough that a wait costs each little, few enough that the last of them
is not long in coming to its turn."""

clock = time.monotonic


class RunEnded(Exception):
    """The run cannot go on; the message says why."""


class Done(RunEnded):
    """All that was asked for has been done."""


class WrongReply(RunEnded):
    """A byte came back that was not sent."""


class Client(Protocol):
    """Whoever owns a descriptor of the loop."""

    def failed(self, error: OSError) -> None:
        """Its steps ended with *error*: count it, and close what is open."""


class Gatherer(Protocol):
    """Resumes clients that are ready together."""

    def serve(self, ready: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
        """Resume some of *ready*, and return the others."""

    def close(self) -> None:
        """Release what the system gave."""


class Loop:
    """Resumes clients, and counts.

    :param timeout: seconds without an answer to anybody after which the server hangs.
    """

    def __init__(self, timeout: float) -> None:
        self.epoll = select.epoll()
        self.steps: list[Callable[[], None]] = []
        self.takers: list[Callable[[Any], Any] | None] = []
        """For the `gatherer`: what resumes the client of a descriptor with what has come for it."""
        self.gatherer: Gatherer | None = None
        self.errors: Counter[str] = Counter()
        self.settled = 0
        """Clients that are where they should be before the measuring, or will never be."""
        self.waited = 0.0
        """Seconds in which there was nothing to do."""
        self.spun = 0.0
        """Those of them that were spent looking, and not asleep."""
        self.on_tick: list[Callable[[float], None]] = []
        self.answered: Callable[[], int] = int
        """How many messages have been answered so far."""
        self._clients: dict[int, Client] = {}
        self._timeout = timeout
        self._seen, self._seen_at = 0, clock()
        self._watch_parent()

    def close(self) -> None:
        """Close the epoll descriptor; the sockets are their clients'."""
        if self.gatherer is not None:
            self.gatherer.close()
        self.epoll.close()

    # --- clients --------------------------------------------------------------------

    def add(self, fd: int, client: Client, resume: Callable[[], None], events: int) -> None:
        """Call *resume* whenever *fd* is ready."""
        self.steps.extend([_nobody] * (fd + 1 - len(self.steps)))
        self.takers.extend([None] * (fd + 1 - len(self.takers)))
        self.steps[fd] = resume
        self._clients[fd] = client
        self.epoll.register(fd, events)

    def follow(self, fd: int, steps: Steps) -> None:
        """Let *steps* be what goes on at *fd*, from now."""
        self.steps[fd] = steps.__next__
        self.step(fd)

    def remove(self, fd: int) -> None:
        """Forget *fd*, which is still open."""
        self.steps[fd] = _nobody
        self.takers[fd] = None
        if self._clients.pop(fd, None) is not None:
            with contextlib.suppress(OSError):
                self.epoll.unregister(fd)

    def step(self, fd: int) -> None:
        """Resume the client of *fd*; an error of its connection is its own.

        :raises RunEnded: the run is over.
        """
        try:
            self.steps[fd]()
        except OSError as error:
            self.ended(fd, error)

    def ended(self, fd: int, error: OSError) -> None:
        """The steps of *fd* are over: no client's end otherwise."""
        client = self._clients.get(fd)
        if client is not None:
            client.failed(error)

    # --- running --------------------------------------------------------------------

    def run(self, until: float) -> None:
        """Resume the clients until the time *until*.

        :raises RunEnded: it makes no sense to go on.
        """
        poll, steps, gatherer = self.epoll.poll, self.steps, self.gatherer
        waited, alarm = 0.0, 0.0
        try:
            while True:
                before = clock()
                if before >= alarm:
                    if before >= until:
                        return
                    self.tick(before)
                    alarm = min(until, before + TICK)
                ready: Sequence[tuple[int, int]] = poll(alarm - before, BATCH)
                waited += clock() - before
                if gatherer is not None:
                    ready = gatherer.serve(ready)
                fd = -1
                try:
                    for fd, _ in ready:
                        steps[fd]()
                except OSError as error:
                    self.ended(fd, error)  # epoll tells of the others of the batch again
        finally:
            self.waited += waited

    def run_until(self, condition: Callable[[], bool], until: float) -> bool:
        """As `run`, but only until *condition* holds: for what is not measured.

        :returns: whether it held in time.
        """
        while clock() < until:
            if condition():
                return True
            for fd, _ in self.epoll.poll(TICK, BATCH):
                self.step(fd)
        return condition()

    def tick(self, now: float) -> None:
        """Look at what gives no event.

        :raises RunEnded: nobody has been answered for too long.
        """
        for look in self.on_tick:
            look(now)
        seen = self.answered()
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        elif now - self._seen_at >= self._timeout:
            raise RunEnded(f"the server answered nobody for {self._timeout:g} s")

    def start_watch(self) -> None:
        """From now on answers are expected."""
        self._seen_at = clock()

    def _watch_parent(self) -> None:
        """Standard input ends with the process that started us, however that came."""
        with contextlib.suppress(OSError):  # a file is no input to wait for
            self.epoll.register(0, READ)
        self.steps.append(_leave)
        self.takers.append(None)


def _nobody() -> None:
    """An event of a client that has gone in the same batch."""


def _leave() -> None:
    if not os.read(0, 4096):
        os._exit(1)  # whom should we tell?


def reason_of(error: OSError) -> str:
    """What *error* says, without numbers and names."""
    return (error.strerror or str(error) or type(error).__name__).lower()


def run_delay() -> float:
    """Seconds for which this process was ready to run and had no processor (proc(5), schedstat).

    0 where the system does not say.
    """
    try:
        with open("/proc/self/schedstat") as fields:
            return int(fields.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
