"""How a server ends, and what is left: the one that is checked, and others in its place.

They are as few as tell all there is to tell: one gets SIGTERM, one SIGINT, each while clients
are connected; the second is started at the address of the first, which the system keeps for
a minute for connections that the server closed first (TIME_WAIT, UNP 2.7) unless it is asked
not to.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..targets import Level, RunningTarget, TargetError
from ..targets.running import START_TIME
from ..targets.watch import Snapshot, Watch
from .leaks import visit, watch_over
from .peer import CheckFailed, Peer
from .subject import Subject

__all__ = ["END_TIME", "Endings", "idle_clients", "observe_endings"]

END_TIME = 10.0
"""Seconds from a signal to the end: some servers look for it once a second, or let work end."""

KILL_TIME = 10.0
"""Seconds for what was killed to be gone, which is the system's affair, not the server's."""

LEAVE_TIME = 1.0
"""Seconds for what is left of a server to end, when its last clients have gone."""

IDLE_CLIENTS = {Level.ITERATIVE: 1, Level.POOL: 2, Level.CONCURRENT: 4}
"""How many clients are connected: those that a server of each level serves at a time."""


ANSWER_TIME = 1.0
"""Seconds for an idle client's first answer, after which the server knows of it."""


@dataclass
class Endings:
    """What was seen."""

    statuses: dict[int, int | None] = field(default_factory=dict)
    """By signal: the exit status; None: it went on."""
    seconds: dict[int, float] = field(default_factory=dict)
    """By signal: how long it took."""
    words: dict[int, str] = field(default_factory=dict)
    """By signal: the last thing it printed."""
    left: list[str] = field(default_factory=list)
    """The processes that stayed after SIGTERM, when the clients had gone."""
    again: str = ""
    """Why the address could not be had again; empty: it could."""


def idle_clients(subject: Subject, running: RunningTarget) -> list[Peer]:
    """Clients that have been answered, and now say nothing."""
    peers = [subject.peer_of(running) for _ in range(IDLE_CLIENTS[subject.level])]
    with contextlib.suppress(CheckFailed):  # a matter of other checks
        for peer in peers:
            if not visit(subject, peer, ANSWER_TIME):
                break  # it does not answer: the others need not wait
    return peers


def observe_endings(subject: Subject) -> Endings:
    """Start servers, and end them.

    :raises CheckFailed: none can be started, or it takes no connection.
    """
    seen = Endings()
    with subject.given_up() as first:
        closed_first = _end(subject, first, signal.SIGTERM, seen)
        with _restarted(subject, first, seen if closed_first else None) as second:
            _end(subject, second, signal.SIGINT, seen)
            if not closed_first and not seen.again:
                # Its processes served on until the clients had gone; these were cut off.
                with _restarted(subject, second, seen):
                    pass
    return seen


def _end(subject: Subject, running: RunningTarget, signum: int, seen: Endings) -> bool:
    """Send the signal, and see what happens; whether the server closed before its clients."""
    watch = watch_over(running)
    peers = idle_clients(subject, running)
    if running.has_ended:
        raise CheckFailed("a server that goes on", f"it {running.how_it_ended()} before the signal")
    began = time.monotonic()
    running.send_signal(signum)
    seen.statuses[signum] = running.wait(END_TIME * subject.scale)
    seen.seconds[signum] = time.monotonic() - began
    seen.words[signum] = running.last_words(1)
    stayed = watch.look(threads=False).processes
    if signum == signal.SIGINT:
        _kill(watch)
    for peer in peers:
        peer.close()
    if signum == signal.SIGTERM:
        if seen.statuses[signum] is not None:
            seen.left = _left(subject, watch)
        _kill(watch)
    return not stayed


def _left(subject: Subject, watch: Watch) -> list[str]:
    """The processes that are still there when the time for them to end is over."""
    seen = watch.look_until(lambda seen: not seen.processes, LEAVE_TIME * subject.scale)
    return [f"{process.pid} ({' '.join(watch.words_of(process.pid))})" for process in seen.alive]


@contextlib.contextmanager
def _restarted(
    subject: Subject, before: RunningTarget, seen: Endings | None
) -> Iterator[RunningTarget]:
    """A server at the address of *before*; where it cannot be had, at another.

    :param seen: where to say why it cannot be had.
    """
    try:
        running = RunningTarget(
            subject.target, beside=before, start_time=START_TIME * subject.scale
        )
    except TargetError as error:
        if seen is not None:
            seen.again = str(error)
        with subject.another() as running:
            yield running
        return
    with running:
        yield running


def _kill(watch: Watch) -> None:
    """Kill what the server has left, so that it does not keep the address."""

    def none_left(seen: Snapshot) -> bool:
        for process in seen.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        return not seen.alive

    watch.look_until(none_left, KILL_TIME)
