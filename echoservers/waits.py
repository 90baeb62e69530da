"""What a loop can wait with: poll, select, epoll, kqueue.  One interface, four calls.

Events have the numbers of poll(2), which are those of epoll(7) too.
"""

import errno
import select
from collections.abc import Sequence
from typing import Any, Protocol

__all__ = ["READABLE", "WRITABLE", "EpollWait", "KqueueWait", "PollWait", "SelectWait", "Wait"]

READABLE = 1  # POLLIN, EPOLLIN
WRITABLE = 4  # POLLOUT, EPOLLOUT

_bsd: Any = select  # its names that this system need not have


class Wait(Protocol):
    """Descriptors with the events that they are watched for."""

    highest: int | None
    """The highest descriptor that can be watched; None: every one."""

    def watch(self, descriptor: int, events: int) -> None:
        """Watch *descriptor* for *events* and no others; 0: not at all."""

    def watch_shared(self, descriptor: int) -> None:
        """Watch a socket for reading that other processes watch too."""

    def wait(self, longest: float | None) -> Sequence[tuple[int, int]]:
        """What is ready, waited for *longest* seconds at most; None: for ever."""

    def close(self) -> None:
        """Release what the system gave."""


class PollWait:
    """poll(2): no limit to descriptors, all are handed to the kernel each time."""

    highest: int | None = None

    def __init__(self) -> None:
        self._poll = select.poll()

    def watch(self, descriptor: int, events: int) -> None:
        """See `Wait`."""
        if events:
            self._poll.register(descriptor, events)
            return
        try:
            self._poll.unregister(descriptor)
        except KeyError:
            return  # it was not watched

    def watch_shared(self, descriptor: int) -> None:
        """As `watch` for reading: poll(2) wakes every process."""
        self.watch(descriptor, READABLE)

    def wait(self, longest: float | None) -> Sequence[tuple[int, int]]:
        """See `Wait`."""
        return self._poll.poll(None if longest is None else longest * 1000)

    def close(self) -> None:
        """Nothing to release."""


class SelectWait:
    """select(2): three sets of descriptors, each below 1 024."""

    HIGHEST = 1023  # FD_SETSIZE - 1: beyond, select(2) writes over other memory
    highest: int | None = HIGHEST

    def __init__(self) -> None:
        self._reading: set[int] = set()
        self._writing: set[int] = set()

    def watch(self, descriptor: int, events: int) -> None:
        """See `Wait`.

        :raises OSError: *descriptor* is beyond what select(2) can watch.
        """
        if events and descriptor > self.HIGHEST:
            raise OSError(
                errno.EMFILE,
                f"select can watch descriptors up to {self.HIGHEST} only, and this is"
                f" {descriptor}; use poll or epoll",
            )
        (self._reading.add if events & READABLE else self._reading.discard)(descriptor)
        (self._writing.add if events & WRITABLE else self._writing.discard)(descriptor)

    def watch_shared(self, descriptor: int) -> None:
        """As `watch` for reading: select(2) wakes every process."""
        self.watch(descriptor, READABLE)

    def wait(self, longest: float | None) -> Sequence[tuple[int, int]]:
        """See `Wait`."""
        reading, writing, _ = select.select(self._reading, self._writing, (), longest)
        ready = [(descriptor, READABLE) for descriptor in reading]
        ready += [(descriptor, WRITABLE) for descriptor in writing]
        return ready

    def close(self) -> None:
        """Nothing to release."""


class EpollWait:
    """epoll(7): the kernel keeps the descriptors, a wait costs by those that are ready."""

    highest: int | None = None

    MOST_EVENTS = 512
    """Taken by one wait: each is served before the next wait, so a new connection and a
    wake-up wait for this many at most."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: set[int] = set()

    def watch(self, descriptor: int, events: int) -> None:
        """See `Wait`."""
        if not events:
            if descriptor in self._watched:
                self._watched.remove(descriptor)
                self._forget(descriptor)
        elif descriptor in self._watched:
            self._modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
            self._watched.add(descriptor)

    def _modify(self, descriptor: int, events: int) -> None:
        try:
            self._epoll.modify(descriptor, events)
        except FileNotFoundError:  # closed meanwhile, and this is another by the same number
            self._epoll.register(descriptor, events)

    def _forget(self, descriptor: int) -> None:
        try:
            self._epoll.unregister(descriptor)
        except OSError as error:
            # Closed: then the kernel has forgotten it already, whoever has the number now.
            if error.errno not in (errno.EBADF, errno.ENOENT):
                raise

    def watch_shared(self, descriptor: int) -> None:
        """Watch for reading; of the processes that wait one is woken, not all (EPOLLEXCLUSIVE)."""
        self._epoll.register(descriptor, READABLE | select.EPOLLEXCLUSIVE)
        self._watched.add(descriptor)

    def wait(self, longest: float | None) -> Sequence[tuple[int, int]]:
        """See `Wait`."""
        return self._epoll.poll(longest, self.MOST_EVENTS)

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()


class KqueueWait:  # pragma: no cover - the BSDs and macOS have it, where coverage is not measured
    """kqueue(2) of the BSDs and macOS."""

    highest: int | None = None

    MOST_EVENTS = EpollWait.MOST_EVENTS

    def __init__(self) -> None:
        self._kqueue = _bsd.kqueue()
        self._watched: dict[int, int] = {}

    def watch(self, descriptor: int, events: int) -> None:
        """See `Wait`."""
        before = self._watched.pop(descriptor, 0)
        if events:
            self._watched[descriptor] = events
        filters = ((READABLE, _bsd.KQ_FILTER_READ), (WRITABLE, _bsd.KQ_FILTER_WRITE))
        changes = [
            _bsd.kevent(descriptor, kind, _bsd.KQ_EV_ADD if events & event else _bsd.KQ_EV_DELETE)
            for event, kind in filters
            if (events ^ before) & event
        ]
        if changes:
            self._kqueue.control(changes, 0)

    def watch_shared(self, descriptor: int) -> None:
        """As `watch` for reading: kqueue(2) wakes every process."""
        self.watch(descriptor, READABLE)

    def wait(self, longest: float | None) -> Sequence[tuple[int, int]]:
        """See `Wait`."""
        return [
            (int(event.ident), READABLE if event.filter == _bsd.KQ_FILTER_READ else WRITABLE)
            for event in self._kqueue.control(None, self.MOST_EVENTS, longest)
        ]

    def close(self) -> None:
        """Close the kqueue's descriptor."""
        self._kqueue.close()
