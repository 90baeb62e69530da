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
        many = self._many
        if many is None and (self._tried or (many := self._load()) is None):
            return ready
        others, echoing = self._sorted(ready)
        if len(echoing) < MANY:
            self._rest = REST
            return ready
        for begin in range(0, len(echoing), PLACES):
            self._echo(many, echoing[begin : begin + PLACES])
        return others

    def close(self) -> None:
        """Release what the system gave."""
        many, self._many = self._many, None
        if many is not None:
            many.close()

    def _load(self) -> "ManyStreams | None":
        """If this system can."""
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
        try:
            sizes = many.receive(array("i", [c.descriptor for c in connections]))
        except OSError as error:  # of the call itself, so that it would come again
            logger.debug("connections are echoed one by one: %s", error)
            self.close()
            return  # nothing was read: the next turn tells of them again
        places: Sequence[int] = range(len(sizes))
        takers, taken = connections, sizes
        if len(sizes) < len(connections) or min(sizes) <= 0:
            places = [place for place in places if sizes[place] > 0]
            takers = [connections[place] for place in places]
            taken = [sizes[place] for place in places]
        if takers:
            self._send_back(many, places, takers, taken)
        if len(takers) < len(connections):
            self._see_to_others(connections, sizes)

    def _send_back(
        self,
        many: "ManyStreams",
        places: Sequence[int],
        connections: list[Connection],
        sizes: list[int],
    ) -> None:
        """What came, to those from whom it came."""
        cells, now = self._server.cells_of(None), self._loop.now
        sent: list[int] | None = None
        try:
            cells[MESSAGES] += len(sizes)
            cells[BYTES_IN] += sum(sizes)
            for connection in connections:
                connection.active_at = now
            sent = many.send_back(places)
        finally:
            if sent is None:  # a signal handler raises, and what was read is lost
                for connection in connections:
                    connection.close()
        if sent == sizes:
            cells[BYTES_OUT] += sum(sizes)
        else:
            for n, connection in enumerate(connections):
                message = many.message(places[n], sizes[n])
                self._sent(connection, message, sent[n] if n < len(sent) else -errno.EAGAIN)
        if max(sizes) == ROOM:
            self._go_on(connections, sizes)

    def _sent(self, connection: Connection, message: memoryview, result: int) -> None:
        if result < 0 and result not in _AGAIN:
            connection.lost(_error(result))
            return
        went = max(0, result)
        self._server.cells_of(None)[BYTES_OUT] += went
        if went < len(message):
            connection.keep(message[went:])

    def _see_to_others(self, connections: list[Connection], sizes: list[int]) -> None:
        """Those from whom nothing came."""
        for connection, size in zip(connections, sizes, strict=False):
            if size == 0:
                connection.end_of_input()
            elif size < 0 and size not in _AGAIN:
                connection.lost(_error(size))
        if len(sizes) < len(connections):  # the first of the rest cannot even be tried
            connections[len(sizes)].echo()  # which tells why; the next turn tells of the others

    def _go_on(self, connections: list[Connection], sizes: list[int]) -> None:
        """Those whose piece may have been cut go on at once, by themselves."""
        large = [c for c, size in zip(connections, sizes, strict=True) if size == ROOM]
        if 2 * len(large) > len(sizes):
            self._rest = REST
        for connection in large:
            if self._loop.reader(connection.descriptor) == connection.echo:
                connection.echo()


def _error(result: int) -> PeerEnded:
    return PeerEnded(OSError(-result, os.strerror(-result)))
