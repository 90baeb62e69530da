"""What connections leave behind: rounds of them, and a look at the processes after each.

Memory grows for many good reasons: pools that fill, a heap that its collector has not swept.
What grows for such a reason has a round in which it does not; a leak grows in every round.
One quiet round therefore ends the search, and a right server is mostly seen to be one in the
first (psutil's own leak tests came to the same rule: growth has to keep up with the calls).
So it is not the size of a leak that tells it from a heap in use, but that it never pauses.

Two heaps take longer to pause.  With hundreds of threads, each with pools of its own (glibc's
arenas and caches), there is always one that meets something larger than it ever did; but that
becomes rarer, which a leak does not: growth that slows down is waited for.  And a heap of young
objects grows evenly until its first collection, by megabytes: growth as fast as that has to go on
beyond them.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import NamedTuple

from ..targets import Level, RunningTarget
from ..targets.limits import MIB
from ..targets.watch import CannotWatch, Snapshot, Watch
from .peer import CheckFailed, CheckSkipped, Peer
from .subject import Subject

__all__ = ["CONNECTIONS", "DESCRIPTORS", "MEMORY", "PROCESSES", "THREADS", "Growth", "Leak"]
__all__ += ["count_leaks", "settle", "visit", "visit_end", "watch_over"]

WARM_UP = 100
"""Connections before the first look: what is made once, or for the first ones, is there."""

CONNECTIONS = 100
"""In a round: with 128 bytes each they fill three pages, which is how memory is counted."""

AGAIN = 30
"""Rounds to go on for, where it is too early to say."""

STEADY = 0.85
"""What the last third of the rounds has of the growth of the one before, at least, if nothing
slows down.  Pools that fill have 0.6, as growth by chance of a largest yet is 1/n in round n."""

FAST = 1024
"""Bytes a connection: objects that wait for a collector; a leak may be as fast."""

YOUNG = 32 * MIB
"""Bytes that such a heap may grow by before it is collected: twice what Node's has (its option
--max-semi-space-size)."""

SETTLE_TIME = 1.0
"""Seconds for threads and processes of closed connections to end: they take milliseconds."""

REPLY_TIME = 0.25
"""Seconds for a reply, whose content is a matter of other checks."""


MESSAGE = b"anything\n"

TOGETHER = {Level.ITERATIVE: 1, Level.POOL: 2, Level.CONCURRENT: 4}
"""Clients at a time, by level: while one waits for its process, another's is at work.  There is
room for them in the smallest backlog in use, of 5."""


class Growth(NamedTuple):
    """What was found out."""

    rounds: dict[str, list[int]]
    """By name of a leak: how much it grew in each round, until it did not."""
    unknown: dict[str, CheckSkipped]
    """By name of a leak: why it was not searched to the end."""


class Leak(NamedTuple):
    """A resource, and when it counts as leaked."""

    name: str
    of: Callable[[Snapshot], int]
    least: float
    """How many a connection, on the average of a round, make it grow."""
    rounds: int
    """In how many it must grow."""
    most: int = 0
    """What it may grow by without being one, where it grows by `FAST` for each."""

    def grows(self, growth: list[int]) -> bool:
        """Whether it grew in the last round."""
        return bool(growth) and growth[-1] >= self.least * CONNECTIONS

    def is_found(self, growth: list[int]) -> bool:
        """Whether it grew in as many rounds as it takes, and evenly."""
        if len(growth) < self.rounds or not self.grows(growth):
            return False
        if self.rounds < AGAIN:
            return True  # there are no pools of them that fill for so long
        third = len(growth) // 3
        return sum(growth[-third:]) >= STEADY * sum(growth[-2 * third : -third])

    def is_certain(self, growth: list[int]) -> bool:
        """Whether it is found, and there is no reason to go on."""
        if (len(growth) - self.rounds) % AGAIN or not self.is_found(growth):
            return False
        return sum(growth) < FAST * CONNECTIONS * len(growth) or sum(growth) >= self.most


DESCRIPTORS = Leak("descriptors", lambda seen: seen.descriptors, 0.05, 4)
THREADS = Leak("threads", lambda seen: seen.threads, 0.05, 4)
PROCESSES = Leak("processes", lambda seen: seen.processes, 0.05, 4)
# Half of the 128 bytes that are promised to be found, for growth comes in pages.  Programs of
# Python, C and C++ mostly pause in the first thousand connections, but for what leaks; a heap
# that is swept only now and then grows for longer: asyncio with TLS for 2,200, Node for 1,800,
# Java for 3,000.  There the promise does not hold: what is swept of other things can hide a
# small leak.
MEMORY = Leak("bytes of memory", lambda seen: seen.memory.anonymous, 64, 60, YOUNG)

LEAKS = (PROCESSES, THREADS, DESCRIPTORS, MEMORY)
"""In this order: a process that stays has threads, descriptors and memory."""


def watch_over(running: RunningTarget) -> Watch:
    """Somebody to look at the processes of *running*, which was started here.

    :raises CheckSkipped: nobody can.
    """
    assert running.supervisor_pid is not None
    try:
        return Watch(running.supervisor_pid)
    except CannotWatch as why:
        raise CheckSkipped(str(why)) from None


def count_leaks(subject: Subject) -> Growth:
    """How much each of `LEAKS` grew in the rounds until it did not; short lists are right.

    They are counted on a server of their own: one that has had a crowd before has memory left
    over from it, in which a small leak would not show.

    :raises CheckSkipped: its processes cannot be seen, or it does not live to the first round.
    :raises CheckFailed: it cannot be started a second time.
    """
    return _count_leaks(subject, subject.renewed())


def _count_leaks(subject: Subject, running: RunningTarget) -> Growth:
    watch = watch_over(running)
    _connections(subject, running, WARM_UP)
    before = settle(subject, watch)
    growth: dict[str, list[int]] = {leak.name: [] for leak in LEAKS}
    searched = list(LEAKS)
    while searched:
        try:
            _connections(subject, running, CONNECTIONS)
        except CheckSkipped as why:  # what is known holds
            return Growth(
                growth,
                {leak.name: why for leak in searched if not leak.is_found(growth[leak.name])},
            )
        after = settle(subject, watch, before)
        for leak in list(searched):
            grown = leak.of(after) - leak.of(before)
            growth[leak.name].append(grown)
            if not leak.grows(growth[leak.name]):
                searched.remove(leak)
            elif leak.is_certain(growth[leak.name]):
                searched.clear()  # what else grows may be a part of it
                break
        before = after
    return Growth(growth, {})


def settle(subject: Subject, watch: Watch, before: Snapshot | None = None) -> Snapshot:
    """A look with memory, when there is no more than *before*, or `SETTLE_TIME` has passed.

    :param before: by default when two looks in a row show the same.
    """
    last = None if before is None else _counts(before)

    def done(seen: Snapshot) -> bool:
        nonlocal last
        now = _counts(seen)
        if before is not None:
            return all(a <= b for a, b in zip(now, _counts(before), strict=True))
        same, last = now == last, now
        return same

    return watch.look_until(done, SETTLE_TIME * subject.scale, memory=True)


def visit(subject: Subject, peer: Peer, patience: float) -> bool:
    """Say something; whether an answer came within *patience* seconds, whatever it is."""
    peer.say(MESSAGE)
    return _is_answered(subject, peer, patience)


def _is_answered(subject: Subject, peer: Peer, patience: float) -> bool:
    kept, peer.patience = peer.patience, patience * subject.scale
    try:
        return bool(peer.receive()) or not peer.is_stream
    except OSError:  # none within the time, or the connection is gone
        return False
    finally:
        peer.patience = kept


def visit_end(peer: Peer) -> bool:
    """Whether anything comes after the end of input."""
    try:
        return bool(peer.receive())
    except OSError:
        return False


def _connect(subject: Subject, running: RunningTarget) -> Peer:
    try:
        return subject.peer_of(running)
    except CheckFailed as failure:
        raise CheckSkipped(
            f"the server does not live through so many connections: {failure.got};"
            " see clients.churn"
        ) from None


def _connections(subject: Subject, running: RunningTarget, count: int) -> None:
    """*count* clients, a few at a time; a server that does not answer is not waited for."""
    patience, together = REPLY_TIME, TOGETHER[subject.level]
    for _ in range(0, count, together):
        if time.monotonic() > subject.deadline:
            raise CheckSkipped("so many connections take more than the time for this check")
        with ExitStack() as stack:
            peers = [stack.enter_context(_connect(subject, running)) for _ in range(together)]
            with suppress(CheckFailed):  # it reads nothing: other checks say so
                for peer in peers:
                    peer.say(MESSAGE)
            for peer in peers:
                if patience and not _is_answered(subject, peer, patience):
                    patience = 0.0


def _counts(seen: Snapshot) -> tuple[int, int, int]:
    return seen.processes, seen.threads, seen.descriptors
