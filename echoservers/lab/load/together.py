"""Many clients a system call: what has come for all that are ready, and then what they send next.

Each of them would make the same two calls by itself; how it is resumed is all that differs.
"""

import errno
import os
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .loop import BATCH, Loop

if TYPE_CHECKING:
    from ...aio import ManyStreams

__all__ = ["ROOM", "Together", "together"]

ROOM = 16384
"""Bytes of the longest message: what is longer is a matter of copying."""

MANY = 4
"""Clients that must be ready for it to pay."""

_AGAIN = (-errno.EAGAIN, -errno.EINTR)


def together(loop: Loop) -> "Together | None":
    """For clients of *loop*; None: this system cannot do it."""
    try:
        from ...aio import many_streams  # imported late: it needs ctypes

        many = many_streams(BATCH, ROOM)
    except (ImportError, OSError, MemoryError):  # no ctypes, or others hold all that there is
        return None
    return None if many is None else Together(loop, many)


class Together:
    """Reads for the takers of *loop*, and sends what they give in return.

    A taker is resumed with what has come, or with how much of what it gave could be sent, where
    that was not all of it.  It returns its next message, as long as the last; or None, when it
    sees to itself.
    """

    def __init__(self, loop: Loop, many: "ManyStreams") -> None:
        self._loop = loop
        self._many = many

    def serve(self, ready: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
        """Resume those of *ready* that take; the others are returned."""
        if len(ready) < MANY:
            return ready
        takers = self._loop.takers
        takes = [(event[0], take) for event in ready if (take := takers[event[0]]) is not None]
        if len(takes) < MANY:
            return ready
        others = [event for event in ready if takers[event[0]] is None]
        sizes = self._many.receive(array("i", [fd for fd, _ in takes]))
        places = []
        for place, size in enumerate(sizes):
            fd, take = takes[place]
            if size > 0:
                message = self._resume(fd, take, self._many.taken(place, size))
                if message is not None:
                    self._many.put(place, message)
                    places.append(place)
            elif size == 0:  # by itself: its own read tells the end again
                others.append((fd, 0))
            elif size not in _AGAIN:
                self._loop.ended(fd, OSError(-size, os.strerror(-size)))
        others += [(fd, 0) for fd, _ in takes[len(sizes) :]]
        if places:
            self._send(places, [takes[place] for place in places], [sizes[p] for p in places])
        return others

    def close(self) -> None:
        """Release what the system gave."""
        self._many.close()

    def _send(self, places: list[int], takes: list[tuple[int, Any]], sizes: list[int]) -> None:
        sent = self._many.send_back(places)
        if sent == sizes:
            return
        sent += [-errno.EAGAIN] * (len(sizes) - len(sent))
        for (fd, take), went, size in zip(takes, sent, sizes, strict=True):
            if went < 0 and went not in _AGAIN:
                self._loop.ended(fd, OSError(-went, os.strerror(-went)))
            elif went < size:
                self._resume(fd, take, max(0, went))

    def _resume(self, fd: int, take: Any, given: bytes | int) -> bytes | None:
        try:
            message: bytes | None = take(given)
        except OSError as error:
            self._loop.ended(fd, error)
            return None
        return message
