"""A connection a request: connect, exchange, close, again; as the client of UNP, chapter 30.

The client shuts its side down and waits for the server's end, so that the server's tidying
up is part of what is measured, and a server that forks has no more children than there are
clients.  A reset (SO_LINGER 0) would leave no TIME_WAIT, but makes the server's recv() fail,
and its error path would be measured.
"""

import socket
from array import array
from typing import Any

from .loop import READ, WRITE, Done, Loop, RunEnded, Steps, WrongReply, clock, reason_of
from .messages import Rings
from .plan import LoadPlan
from .sockets import Dialler, finish_connect
from .streams import StreamClient

__all__ = ["ChurnLoad"]

REFUSED_TIME = 1.0
"""Seconds of nothing but errors after which nobody is there any more."""


class _Visitor(StreamClient):
    """One client, from connection to connection."""

    def __init__(
        self, loop: Loop, dialler: Dialler, rings: Rings, number: int, load: "ChurnLoad"
    ) -> None:
        super().__init__(loop, dialler, rings, number)
        self.starts, self.connects = array("d"), array("d")
        self.visiting = self.connecting = 0.0
        """Since when it waits to be served, and to be connected; 0: it does not."""
        self._load = load
        self.resume = self._visits().__next__

    def failed(self, error: OSError) -> None:
        """Never called: a visit that fails is over, and another follows."""

    def _visits(self) -> Steps:
        while self._load.may_go_on():
            try:
                yield from self._visit()
            except OSError as error:
                self.visiting = self.connecting = 0.0
                self.loop.errors[reason_of(error)] += 1
                self._load.paused.append(self)
                self.close()
                yield
            else:
                self.close()
        yield  # it has gone: nobody resumes it

    def _visit(self) -> Steps:
        self.visiting = self.connecting = start = clock()
        self._channel = sock = self.dialler.dial()
        self._fd, self._events = sock.fileno(), WRITE
        self.loop.add(self._fd, self, self.resume, WRITE)
        yield
        finish_connect(sock)
        self._channel = self.dialler.secure(sock)
        yield from self.shake_hands()
        connected = clock()
        self.connecting = 0.0
        for _ in range(self._load.messages):
            yield from self.exchange(next(self.messages), 0, None)
        self.starts.append(start)
        self.connects.append(connected - start)
        self.ends.append(clock())
        counted = self._load.counting
        self.visiting = 0.0
        self._channel.shutdown(socket.SHUT_WR)
        self.wait_for(READ)
        while (data := self.receive_some(1)) is None:
            yield
        if data:
            raise WrongReply(f"connection {self.number}: more came than was sent")
        if counted:
            self._load.finished()


class ChurnLoad:
    """Clients that connect anew for each request."""

    def __init__(self, loop: Loop, dialler: Dialler, plan: LoadPlan) -> None:
        self._loop = loop
        self.messages = plan.messages_per_connection
        self.paused: list[_Visitor] = []
        """Those that failed, and try again at the next tick."""
        self._left = plan.requests if plan.requests is not None else -1
        self._open = self._left
        self.counting = not plan.warmup
        """Whether the window has begun: requests before it are none of those asked for."""
        self._warm_until = 0.0
        self._warmup = plan.warmup
        self._quiet_since, self._seen = 0.0, 0
        dialler.use_many_sources()
        rings = Rings(plan.connections, plan.size, plan.message)
        self._clients = [
            _Visitor(loop, dialler, rings, number, self) for number in range(plan.connections)
        ]
        loop.answered = self._answered
        loop.on_tick.append(self._look)

    def dial(self) -> int:
        """Nothing before the run: to connect is what is measured."""
        return 0

    def start(self, at: float) -> None:
        """All of them begin at once."""
        self._quiet_since = at
        self._warm_until = at + self._warmup
        for client in self._clients:
            client.resume()

    def run(self, until: float) -> None:
        """Go on until the time *until*."""
        if until > self._warm_until and not self.counting:
            self.counting = True
            under_way = sum(client.visiting > 0 for client in self._clients)
            self._left = max(0, self._left - under_way) if self._left > 0 else self._left
        self._loop.run(until)

    def finish(self) -> None:
        """Nothing is waited for."""

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()

    def outcome(self) -> tuple[dict[str, Any], dict[str, "array[Any]"]]:
        """What is to be said of it, and the samples."""
        parts: dict[str, array[Any]] = {name: array("d") for name in ("starts", "ends", "connects")}
        for client in self._clients:
            for name, part in parts.items():
                part.extend(getattr(client, name))
        counts = array("q", [len(client.ends) for client in self._clients])
        connected = sum(count > 0 for count in counts)
        for name in ("visiting", "connecting"):
            since = [getattr(client, name) for client in self._clients]
            parts[name] = array("d", [when for when in since if when])
        return {"connected": connected}, parts | {"counts": counts}

    def may_go_on(self) -> bool:
        """Whether another request is to be made; it is counted."""
        if not self.counting:
            return True
        if self._left == 0:
            return False
        self._left -= 1  # from -1 downwards where there is no limit
        return True

    def finished(self) -> None:
        """A request is over.

        :raises RunEnded: it was the last.
        """
        self._open -= 1
        if self._open == 0:
            raise Done

    def _answered(self) -> int:
        return sum(len(client.ends) for client in self._clients)

    def _look(self, now: float) -> None:
        answered = self._answered()
        if answered != self._seen or not self.paused:
            self._seen, self._quiet_since = answered, now
        elif now - self._quiet_since >= REFUSED_TIME:
            reasons = ", ".join(self._loop.errors)
            raise RunEnded(f"nobody is served any more: {reasons}")
        paused, self.paused = self.paused, []
        for client in paused:
            client.resume()
