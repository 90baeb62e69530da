"""Datagrams: some are lost, some come late or twice, and none of that is an error.

In the closed loop each socket has one on its way, and gives it up after `LOSS_TIME`.  At an
offered rate each is told from the others by the key that it holds (`messages`), and what has
no reply `LOSS_TIME` after the last of the run was sent is lost.
"""

import errno
from array import array
from itertools import cycle
from math import nan
from typing import Any

from .closed import join
from .loop import READ, WRITE, Loop, RunEnded, Steps, WrongReply, clock, reason_of
from .messages import KEY_SIZE, Rings, difference
from .plan import MAX_SAMPLES, LoadPlan
from .schedule import Schedule
from .sockets import Dialler

__all__ = ["ClosedDatagrams", "OpenDatagrams"]

LOSS_TIME = 0.5
"""Seconds without a reply after which a datagram is lost; over loopback one takes microseconds,
and no queue of a server's holds half a second of them."""

LONGEST = 65536
"""Bytes: no datagram is longer, so that of each all is seen."""

RING = 4096
"""Messages of a ring: as many of a socket can be on their way, and be told apart."""

_HOPELESS = {errno.ECONNREFUSED: "nobody listens", errno.EMSGSIZE: "the datagram is too long"}


class _Socket:
    """What both kinds have in common."""

    def __init__(self, loop: Loop, dialler: Dialler, rings: Rings, number: int) -> None:
        self.loop = loop
        self.number = number
        self.ring = list(dict.fromkeys(rings.of(number)))  # of a short message there are few
        self._dialler = dialler
        self._socket: Any = None

    def dial(self) -> None:
        """Make the socket.

        :raises RunEnded: it cannot be made, or nobody is there.
        """
        try:
            self._socket = self._dialler.dial()
        except OSError as error:
            raise RunEnded(reason_of(error)) from error
        self.loop.settled += 1

    def attach(self, steps: Steps) -> None:
        """Let *steps* go on when the socket is ready."""
        fd = self._socket.fileno()
        self.loop.add(fd, self, steps.__next__, READ)
        self.loop.step(fd)

    def failed(self, error: OSError) -> None:
        """There is no connection to lose: what fails, fails for all."""
        self.loop.errors[reason_of(error)] += 1
        raise RunEnded(_HOPELESS.get(error.errno or 0, reason_of(error)))

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self.loop.remove(self._socket.fileno())
            self._socket.close()
            self._socket = None


class _Asking(_Socket):
    """One datagram at a time."""

    def __init__(self, loop: Loop, dialler: Dialler, rings: Rings, number: int) -> None:
        super().__init__(loop, dialler, rings, number)
        self.starts, self.ends = array("d"), array("d")
        self.losses = array("d")
        """When each that is lost was given up."""
        self.sent_at = 0.0
        """When the one that it waits for was sent, or could not be yet; 0: it has not begun."""

    def begin(self) -> None:
        """Send the first."""
        self.attach(self._ask())

    def look(self, now: float) -> None:
        """Give up what is lost."""
        if now - self.sent_at >= LOSS_TIME:
            self.loop.step(self._socket.fileno())

    def _ask(self) -> Steps:
        send, recv, known = self._socket.send, self._socket.recv, frozenset(self.ring)
        fd, epoll, size = self._socket.fileno(), self.loop.epoll, len(self.ring[0])
        for message in cycle(self.ring):
            while True:
                self.sent_at = sent_at = clock()
                try:
                    send(message)
                    break
                except BlockingIOError:  # the queue of a Unix server is full
                    epoll.modify(fd, WRITE)
                    yield
                    epoll.modify(fd, READ)
            yield
            while True:
                try:
                    data = recv(LONGEST)
                except BlockingIOError:
                    if (now := clock()) - sent_at >= LOSS_TIME:
                        self.losses.append(now)
                        break
                    yield
                    continue
                if data == message:
                    self.ends.append(clock())
                    self.starts.append(sent_at)
                    break
                if size <= KEY_SIZE or data not in known:
                    raise WrongReply(
                        difference(self.number, len(self.ends) * size, size, message, data)
                    )
                # One that was given up, or came twice: not what we wait for.


class ClosedDatagrams:
    """Sockets that each send when they have been answered, or have waited for long enough."""

    def __init__(self, loop: Loop, dialler: Dialler, plan: LoadPlan) -> None:
        self._loop = loop
        rings = Rings(plan.connections, plan.size, plan.message)
        self._clients = [
            _Asking(loop, dialler, rings, number) for number in range(plan.connections)
        ]
        loop.answered = lambda: sum(len(client.ends) for client in self._clients)
        loop.on_tick.append(self._look)

    def dial(self) -> int:
        """Make the sockets; how many there are to settle."""
        for client in self._clients:
            client.dial()
        return len(self._clients)

    def start(self, at: float) -> None:
        """Each sends its first."""
        for client in self._clients:
            client.begin()

    def run(self, until: float) -> None:
        """Go on until the time *until*."""
        self._loop.run(until)

    def finish(self) -> None:
        """Nothing is waited for."""

    def close(self) -> None:
        """Close the sockets."""
        for client in self._clients:
            client.close()

    def outcome(self) -> tuple[dict[str, Any], dict[str, "array[Any]"]]:
        """What is to be said of it, and the samples."""
        clients = self._clients
        return {"samples": "timed", "connected": len(clients)}, {
            "losses": join([client.losses for client in clients]),
            "visiting": array("d", [c.sent_at for c in clients if c.sent_at]),
            "starts": join([client.starts for client in clients]),
            "ends": join([client.ends for client in clients]),
            "counts": array("q", [len(client.ends) for client in clients]),
        }

    def _look(self, now: float) -> None:
        for client in self._clients:
            client.look(now)
        if self._loop.answered() > MAX_SAMPLES:
            raise RunEnded(f"more than {MAX_SAMPLES:,} messages: shorten the run")


class _Offering(_Socket):
    """Datagrams as scheduled, and whatever comes back."""

    def __init__(
        self, loop: Loop, dialler: Dialler, rings: Rings, number: int, load: "OpenDatagrams"
    ) -> None:
        super().__init__(loop, dialler, rings, number)
        self._load = load
        self._on_their_way = [-1] * len(self.ring)
        self._turn = 0

    def begin(self) -> None:
        """Take what comes."""
        self.attach(self._listen())

    def send_message(self, index: int) -> None:
        """Send the next datagram, the message *index* of the schedule."""
        turn = self._turn
        self._on_their_way[turn] = index
        self._turn = (turn + 1) % len(self.ring)
        try:
            self._socket.send(self.ring[turn])
        except BlockingIOError:  # a Unix server's queue, or our buffer, is full: not sent
            self.loop.errors["no room to send"] += 1
        except OSError as error:
            self.failed(error)

    def _listen(self) -> Steps:
        recv, ring, ways = self._socket.recv, self.ring, self._on_their_way
        load, ends, start = self._load, self._load.ends, self._load.key_at
        stop = start + KEY_SIZE
        places = {message[start:stop]: place for place, message in enumerate(ring)}
        while True:
            yield
            try:
                data = recv(LONGEST)
            except BlockingIOError:
                continue
            place = places.get(data[start:stop])
            if place is None or data != ring[place]:
                raise WrongReply(difference(self.number, 0, len(data) or 1, ring[place or 0], data))
            index, ways[place] = ways[place], -1
            if index >= 0:
                ends[index] = clock()
                load.count += 1
            else:
                self.loop.errors["reply came twice"] += 1


class OpenDatagrams:
    """Datagrams at an offered rate, over the sockets in turn."""

    def __init__(self, loop: Loop, dialler: Dialler, plan: LoadPlan, spin: bool) -> None:
        self._loop = loop
        self.count = 0
        """Replies so far."""
        self.key_at = len(plan.message)
        """Bytes that every message begins with, before its key."""
        self._schedule = Schedule(loop, plan, spin)
        self.ends = array("d", [nan]) * len(self._schedule.left)
        """When the reply to each message of the schedule came."""
        rings = Rings(plan.connections, plan.size, plan.message, RING)
        self._clients = [
            _Offering(loop, dialler, rings, number, self) for number in range(plan.connections)
        ]
        loop.answered = lambda: self.count

    def dial(self) -> int:
        """Make the sockets; how many there are to settle."""
        for client in self._clients:
            client.dial()
        return len(self._clients)

    def start(self, at: float) -> None:
        """The first datagram is due at the time *at*."""
        for client in self._clients:
            client.begin()
        self._schedule.begin(at, [client.send_message for client in self._clients])

    def run(self, until: float) -> None:
        """Go on until the time *until*."""
        self._schedule.run(until)

    def finish(self) -> None:
        """Send what is overdue, and wait for the replies that are still to come."""
        self._schedule.catch_up()
        gone = self._schedule.gone
        self._loop.run_until(lambda: self.count >= gone, clock() + LOSS_TIME)

    def close(self) -> None:
        """Close the sockets."""
        for client in self._clients:
            client.close()

    def outcome(self) -> tuple[dict[str, Any], dict[str, "array[Any]"]]:
        """What is to be said of it, and the samples."""
        times = self._schedule.times()
        return {"samples": "datagram", "connected": len(self._clients)}, times | {
            "ends": self.ends[: len(times["due"])]
        }
