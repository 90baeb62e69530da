"""Echo many connections of a reactor in two system calls: all are read, then all are written to.

A message that is only echoed costs two system calls and little else, and most of a call is the
way there and back.  With one client or a few there is nothing to gather, and the way round is
what counts; so a batch is taken when many connections are ready in one turn, and only of those
that do nothing but echo (`Connection.echo`), over a plain socket.  The first client of a batch
waits until the last has been read: some tens of microseconds, as it would for its turn.
"""

import errno
import os
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .connection import Connection
from .counters import BYTES_IN, BYTES_OUT, MESSAGES
from .exchange import PeerEnded
from .log import logger
from .loop import MANY, Event, Loop

if TYPE_CHECKING:
    from .aio import ManyStreams
    from .models.reactors import ReactorMixIn

__all__ = ["StreamBatches"]

PLACES = 64
"""Connections of one batch: a call costs each little then, and the data stay in the cache."""

ROOM = 16384
"""Bytes read of each: larger pieces are a matter of copying, and gain nothing."""

REST = 64
"""Turns that go one by one after one that had nothing to gather or whose pieces were large: to
look for a batch in vain costs a few per cent."""

_AGAIN = (-errno.EAGAIN, -errno.EINTR)


class StreamBatches:
    """Serves those of the ready connections of *server* that can be served together."""

    def __init__(self, server: "ReactorMixIn", loop: Loop) -> None:
        self._server = server
        self._loop = loop
        self._many: ManyStreams | None = None
        self._tried = False
        self._rest = 0

    def serve(self, ready: Sequence[Event]) -> Sequence[Event]:
        """Serve some of *ready*, and return the others."""
        if self._rest:
            self._rest -= 1
            return ready
        others: list[Event] = []
        for begin in range(0, len(ready), PLACES):
            # Looked at only now: the end of one connection may have been that of another.
            events = ready[begin : begin + PLACES]
            left, echoing = self._sorted(events)
            if len(echoing) >= MANY and (many := self._many or self._load()) is not None:
                self._echo(many, echoing)
                others += left
            else:
                others += events
        if len(others) == len(ready):
            self._rest = REST
        return others

    def close(self) -> None:
        """Release what the system gave."""
        many, self._many = self._many, None
        if many is not None:
            many.close()

    def _load(self) -> "ManyStreams | None":
        """If this system can; it is asked once."""
        if self._tried:
            return None
        self._tried = True
        try:
            from .aio import many_streams  # imported late: it needs ctypes

            self._many = many_streams(PLACES, ROOM)
        except (ImportError, OSError, MemoryError) as reason:  # no ctypes, no more contexts
            logger.debug("connections are echoed one by one: %s", reason)
        return self._many

    def _sorted(self, ready: Sequence[Event]) -> tuple[list[Event], list[Connection]]:
        """What is for others, and the connections whose next step is to echo."""
        reader, echo, cells = self._loop.reader, Connection.echo, self._server.cells_of(None)
        others: list[Event] = []
        echoing: list[Connection] = []
        for event in ready:
            step: Any = reader(event[0])
            if getattr(step, "__func__", None) is echo and step.__self__.cells is cells:
                echoing.append(step.__self__)
            else:
                others.append(event)
        return others, echoing

    def _echo(self, many: "ManyStreams", connections: list[Connection]) -> None:
        """What `Connection.echo` does, for all of them."""
        unsure = connections  # of whom something may have been read, and not sent back
        try:
            sizes = many.receive(array("i", [c.request.fileno() for c in connections]))
            places: Sequence[int] = range(len(sizes))
            takers, taken = connections, sizes
            if len(sizes) < len(connections) or min(sizes) <= 0:
                places = [place for place in places if sizes[place] > 0]
                takers = unsure = [connections[place] for place in places]
                taken = [sizes[place] for place in places]
            sent = many.send_back(places) if takers else []
            self._count_in(takers, taken)
            if sent == taken:
                self._server.cells_of(None)[BYTES_OUT] += sum(taken)
            else:
                sent += [-errno.EAGAIN] * (len(taken) - len(sent))
                for n, connection in enumerate(takers):
                    self._count_out(connection, many.message(places[n], taken[n]), sent[n])
                    unsure = takers[n + 1 :]
        except BaseException:  # a signal handler's: a stream that lacks a piece is none
            for connection in unsure:
                connection.close()
            raise
        if len(takers) < len(connections):
            self._see_to_others(connections, sizes)
        if takers and max(taken) == ROOM:
            self._go_on(takers, taken)

    def _count_in(self, connections: list[Connection], sizes: list[int]) -> None:
        cells, now = self._server.cells_of(None), self._loop.now
        cells[MESSAGES] += len(sizes)
        cells[BYTES_IN] += sum(sizes)
        for connection in connections:
            connection.active_at = now

    def _count_out(self, connection: Connection, message: memoryview, result: int) -> None:
        """Of *message* *result* bytes went; what is left is kept."""
        if connection.closed:  # by the end of another
            return
        if result < 0 and result not in _AGAIN:
            connection.lost(_error(result))
            return
        went = max(0, result)
        self._server.cells_of(None)[BYTES_OUT] += went
        if went < len(message):
            connection.keep(message[went:])

    def _see_to_others(self, connections: list[Connection], sizes: list[int]) -> None:
        """Those from whom nothing came, and those that the system did not come to."""
        for connection, size in zip(connections, sizes, strict=False):
            if connection.closed:
                continue
            if size == 0:
                connection.end_of_input()
            elif size < 0 and size not in _AGAIN:
                connection.lost(_error(size))
        if not sizes:
            self._rest = REST
        for connection in connections[len(sizes) :]:
            if not connection.closed:
                connection.echo()

    def _go_on(self, connections: list[Connection], sizes: list[int]) -> None:
        """Those whose piece may have been cut go on at once, by themselves."""
        large = [c for c, size in zip(connections, sizes, strict=True) if size == ROOM]
        if 2 * len(large) > len(sizes):
            self._rest = REST
        for connection in large:
            if self._loop.reader(connection.descriptor) == connection.echo:  # and not closed
                connection.echo()


def _error(result: int) -> PeerEnded:
    return PeerEnded(OSError(-result, os.strerror(-result)))
