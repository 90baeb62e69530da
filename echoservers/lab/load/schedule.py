"""When messages are due, and the loop that sends them then, whatever the server does.

The times are made before the clock runs.  A message that could not leave when it was due
leaves as soon as it can, and its latency still runs from when it was due: a server that
stands still is charged for all the messages that it made wait, not for one a connection.

epoll_wait(2) counts in milliseconds, so the wait is select(2) on the epoll descriptor, which
counts in microseconds; since a sleeper wakes up late, the last `SPIN` are spent looking.
How much later than due each message left is measured and handed back.
"""

import random
import select
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import inf

from .loop import TICK, Loop, clock
from .plan import LoadPlan

__all__ = ["Schedule"]

SPIN = 0.0002
"""Seconds before a message is due from which the loop looks without sleeping: a sleeper is
woken up to 0.1 ms late (50 us of timer slack, prctl(2), and the switch)."""

CATCH_UP = 0.5
"""Seconds after the end in which what was due before it still leaves: a generator that had no
processor then is given one within a few of the system's time slices; one that cannot keep up
with its plan is not to run for ever."""

BURST = 4
"""Messages sent, and clients resumed, before the other of the two has its turn: each takes
some 5 us, so that a message which falls due in between leaves 20 us late."""


class Schedule:
    """Calls the senders in turn, each when its message is due.

    :param spin: whether to look without sleeping; where server and generator share the one
        processor that would keep the server from running.
    """

    def __init__(self, loop: Loop, plan: LoadPlan, spin: bool) -> None:
        self._loop = loop
        self._spin = SPIN if spin else 0.0
        self._offsets = _offsets(plan)
        self.due: array[float] = array("d")
        """When each message is due; `begin` fills it in."""
        self.left = array("d", bytes(8 * len(self._offsets)))
        """When each message left."""
        self._until = 0.0
        self.gone = 0
        """Messages that have left, or had to."""
        self._senders: Sequence[Callable[[int], None]] = ()

    def begin(self, at: float, senders: Sequence[Callable[[int], None]]) -> None:
        """The first message is due at the time *at*; *senders* are called in turn."""
        self._senders = senders
        self.due = array("d", [at + offset for offset in self._offsets])
        self.due.append(inf)

    def run(self, until: float) -> None:
        """Send what is due before *until*, and resume the clients that are ready.

        :raises RunEnded: it makes no sense to go on.
        """
        self._until = until
        loop, poll, steps = self._loop, self._loop.epoll.poll, self._loop.steps
        descriptor = [loop.epoll.fileno()]
        alarm = 0.0
        while True:
            now = self._send(clock())
            if now >= alarm:
                if now >= until:
                    return
                loop.tick(now)
                alarm = min(until, now + TICK)
            pause = min(self.due[self.gone], alarm) - now - self._spin
            if pause > 0:
                select.select(descriptor, (), (), pause)
            ready = poll(0, BURST)
            if pause > 0 or not ready:
                passed = clock() - now
                loop.waited += passed
                loop.spun += passed if pause <= 0 else 0.0
            fd = -1
            try:
                for fd, _ in ready:
                    steps[fd]()
            except OSError as error:
                loop.ended(fd, error)

    def catch_up(self) -> None:
        """Send what was due before the end and could not leave.

        :raises RunEnded: it makes no sense to go on.
        """
        end = clock() + CATCH_UP
        while self.due[self.gone] < self._until and clock() < end:
            self._send(clock())
            for fd, _ in self._loop.epoll.poll(0, BURST):
                self._loop.step(fd)

    def times(self) -> "dict[str, array[float]]":
        """When each message was due and left; what never left, not before the end."""
        if not self.due:
            return {"due": array("d"), "left": array("d")}
        end = min(self._until, clock())
        for number in range(self.gone, len(self.left)):
            self.left[number] = max(self.due[number], end)
        return {"due": self.due[:-1], "left": self.left}

    def _send(self, now: float) -> float:
        """Send some of what is due; the time."""
        due, left, senders = self.due, self.left, self._senders
        number = self.gone
        last, clients = number + BURST, len(senders)
        while due[number] <= now and number < last:
            left[number] = now
            self.gone = number + 1
            senders[number % clients](number)
            number += 1
            now = clock()
        return now


def _offsets(plan: LoadPlan) -> list[float]:
    """Seconds from the first message to each."""
    assert plan.rate is not None
    count = max(1, round(plan.rate * (plan.warmup + plan.duration)))
    if plan.arrivals == "fixed":
        return [number / plan.rate for number in range(count)]
    gap, rate = random.Random(plan.seed).expovariate, plan.rate
    return list(accumulate(gap(rate) for _ in range(count)))
