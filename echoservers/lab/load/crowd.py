"""Clients beside those that are measured: idle, silent, slow, or stuck in half a message."""

from collections.abc import Iterator

from .loop import WRITE, Loop, Steps, WrongReply, clock
from .messages import Rings
from .plan import LoadPlan
from .sockets import Dialler
from .streams import ClosedByServer, StreamClient

__all__ = ["Crowd"]

AT_ONCE = 32
"""Connections of a crowd that are begun together: more would overflow a short backlog, and
then wait a second for the next attempt of TCP."""

PATIENCE = 1.0
"""Seconds for those to be where they should be; a server that serves one client at a time
never answers the others, which is what is to be seen."""

SLOW_PIECE = 65536
"""Bytes that it sends at a time, so that it is done soon and costs us nothing from then on."""

SLOW_LIMIT = 64 << 20
"""Bytes that a client which never reads sends at most: beyond that the server keeps them."""


class _Beside(StreamClient):
    """Connects, and never sends."""

    kind = "silent client: "

    def talk(self) -> Steps:
        yield from self.stay()

    def stay(self) -> Steps:
        """Do nothing; nothing should happen."""
        while True:
            yield
            data = self.receive_some(1)
            if data is not None:
                if data:
                    raise WrongReply(f"{self.kind}received what it did not ask for: {data!r}")
                raise ClosedByServer


class _Idle(_Beside):
    """Is answered once: then the server has it for certain."""

    kind = "idle client: "
    settles_at_once = False

    def talk(self) -> Steps:
        message = next(self.messages)
        yield from self.exchange(message, 0, None)
        self.settle()
        self.ends.append(clock())
        yield from self.stay()


class _Half(_Beside):
    """Sends the first half of a message."""

    kind = "half client: "

    def talk(self) -> Steps:
        message = next(self.messages)
        sent = 0
        while sent < len(message) // 2:
            sent += self.send_some(memoryview(message)[sent : len(message) // 2])
            self.wait_for(WRITE)
            yield
        self.wait_for(0)  # a server that echoes bytes answers it: that is not read
        yield
        raise ClosedByServer  # epoll tells of an end whether it is asked or not


class _Slow(_Beside):
    """Sends as much as it can, and reads nothing."""

    kind = "slow client: "

    def talk(self) -> Steps:
        ring = self.rings.stream(self.number)
        view, sent = memoryview(ring * (SLOW_PIECE // len(ring) + 1)), 0
        self.wait_for(WRITE)
        while sent < SLOW_LIMIT:
            sent += self.send_some(view[sent % len(view) :])
            yield
        self.wait_for(0)
        yield
        raise ClosedByServer


class Crowd:
    """All of them."""

    def __init__(self, loop: Loop, dialler: Dialler, plan: LoadPlan) -> None:
        self._loop = loop
        rings = Rings(1, plan.size, plan.message)
        self._clients = [
            kind(loop, dialler, rings, number)
            for kind, count in (
                (_Idle, plan.idle),
                (_Beside, plan.silent),
                (_Half, plan.half),
                (_Slow, plan.slow),
            )
            for number in range(count)
        ]

    def gather(self) -> None:
        """Let them come, a few at a time as long as the server keeps up."""
        keeps_up = True
        for few in self._few():
            for client in few:
                client.dial()
            wanted = self._loop.settled + sum(not client.has_settled for client in few)
            if keeps_up:
                keeps_up = self._loop.run_until(
                    lambda wanted=wanted: self._loop.settled >= wanted,  # type: ignore[misc]
                    clock() + PATIENCE,
                )

    def counts(self) -> dict[str, int]:
        """How many there are of each sort, and how many of the idle were answered."""
        counts = {"answered": sum(bool(client.ends) for client in self._clients)}
        for client in self._clients:
            sort = client.kind.split()[0]
            counts[sort] = counts.get(sort, 0) + client.is_open
        return counts

    def close(self) -> None:
        """Let them go."""
        for client in self._clients:
            client.close()

    def _few(self) -> Iterator[list[_Beside]]:
        for start in range(0, len(self._clients), AT_ONCE):
            yield self._clients[start : start + AT_ONCE]
