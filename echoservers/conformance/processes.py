"""Checks: what the server's processes use, leave and end like."""

import re
import signal
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple, TypeVar

from ..targets import Level, RunningTarget, TargetError
from ..targets.watch import CannotWatch
from .endings import END_TIME, Endings, idle_clients, observe_endings
from .engine import BOTH, check
from .leaks import (
    CONNECTIONS,
    DESCRIPTORS,
    LEAKS,
    MEMORY,
    PROCESSES,
    THREADS,
    Leak,
    count_leaks,
    settle,
    visit,
    visit_end,
    watch_over,
)
from .peer import CheckFailed, CheckSkipped
from .subject import Subject

WINDOW = 0.3
"""Seconds for which a server is watched at rest."""

FAIL_TIME = 5.0
"""Seconds for a second instance to see that its address is taken: some take one to start."""

WINDOWS = 3
"""How often at most: what is swept or reaped after work ends, what polls does not."""

MOST_CPU = 0.03
"""Of one processor; a server that waits uses nothing, one that spins all of it."""

MOST_WAKES = 100
"""A second; the virtual machines' own clocks tick 20 times (Java), the shortest poll that
people write, of 10 ms, is as much as this."""

ZOMBIE_TIME = 1.0
"""Seconds until ended children are waited for; some servers look every half a second."""

CROWD = {Level.ITERATIVE: 1, Level.POOL: 2, Level.CONCURRENT: 16}
"""Clients that leave at the same time, by level: signals of children that end so come as one."""

LONG = 60.0
"""Seconds for a check of many connections: for one whose memory grows in every round these are
six thousand or more, which at a rate of a hundred a second are as many as can be made."""

ENDS = 40.0
"""Seconds for a check of ends: of two or three servers, each of which may take `END_TIME`."""

_T = TypeVar("_T")


@check("UNP 5.13: a server closes what it has accepted", BOTH, process=True, seconds=LONG)
def descriptors(subject: Subject) -> None:
    """No descriptor stays open of a connection that has ended."""
    _does_not_grow(subject, DESCRIPTORS)


@check("UNP 26.2: threads that are detached, or joined", BOTH, process=True, seconds=LONG)
def threads(subject: Subject) -> None:
    """No thread stays of a connection that has ended."""
    _does_not_grow(subject, THREADS)


@check("UNP 5.9: a child that has served ends", BOTH, process=True, seconds=LONG)
def children(subject: Subject) -> None:
    """No process stays of a connection that has ended."""
    _does_not_grow(subject, PROCESSES)


@check(
    "CS:APP 12.3.6: what is allocated for a connection is freed", BOTH, process=True, seconds=LONG
)
def memory(subject: Subject) -> None:
    """No memory stays of a connection that has ended; where it is freed at once, no 128 bytes."""
    _does_not_grow(subject, MEMORY)


@check("UNP 5.10; wait(2)", BOTH, process=True)
def zombies(subject: Subject) -> None:
    """Of processes that have ended none stays as a zombie, when many end at once either."""
    watch = watch_over(subject.started())
    with ExitStack() as stack:
        for _ in range(CROWD[subject.level]):
            visit(subject, stack.enter_context(subject.connect()), WINDOW)
    patience = ZOMBIE_TIME * subject.scale
    seen = watch.look_until(lambda seen: not seen.zombies, patience)
    if seen.zombies:
        raise CheckFailed(f"no zombie after {patience:g} s", f"{seen.zombies}")


@check("UNP 6.2: a server sleeps until there is something to do", BOTH, process=True)
def idle(subject: Subject) -> None:
    """It uses no CPU time while it has no clients."""
    _rests(subject, clients=False)


@check("UNP 6.2: a server sleeps until there is something to do", BOTH, process=True)
def idle_with_clients(subject: Subject) -> None:
    """It uses no CPU time while its clients are connected and say nothing."""
    _rests(subject, clients=True)


@check("UNP 16.1: to look again and again wastes CPU time", BOTH, process=True)
def waits(subject: Subject) -> None:
    """While nobody speaks it waits for what comes, and does not look for it again and again."""
    wakes = max(_rest(subject, clients).wakes for clients in (False, True))
    if wakes > MOST_WAKES:
        raise CheckFailed(f"fewer than {MOST_WAKES} wake-ups a second", f"{wakes:.0f}")


@check("bind(2): EADDRINUSE", BOTH, process=True)
def second_instance(subject: Subject) -> None:
    """A second instance at the same address ends, with a status that tells of a failure."""
    second = _second(subject)
    if second.status is None:
        more = f" and said: {second.said}" if second.said else ""
        raise CheckFailed(f"its end within {FAIL_TIME * subject.scale:g} s", f"it goes on{more}")
    if second.status == 0:
        raise CheckFailed("a status other than 0", "0")


@check("bind(2): EADDRINUSE", BOTH, process=True)
def second_instance_says(subject: Subject) -> None:
    """A second instance at the same address says why it ends."""
    second = _second(subject)
    if second.status is None:
        raise CheckSkipped("it goes on; see processes.second-instance")
    if not second.says_why:
        said = f" but what the first instance says, too: {second.said}" if second.said else ""
        raise CheckFailed(
            "a message that the address is in use", f"status {second.status} and no message{said}"
        )


@check("bind(2): EADDRINUSE", BOTH, process=True)
def first_instance(subject: Subject) -> None:
    """The server goes on as before when a second instance at its address was started."""
    if not _second(subject).first_serves:
        raise CheckFailed("an answer from the first instance", "none")


@check("signal(7), POSIX.1: SIGTERM asks a program to end", BOTH, process=True, seconds=ENDS)
def sigterm(subject: Subject) -> None:
    """SIGTERM ends it, with clients connected too, and its status does not tell of a failure."""
    _ends(subject, signal.SIGTERM)


@check("signal(7), POSIX.1: SIGINT is Ctrl-C", BOTH, process=True, seconds=ENDS)
def sigint(subject: Subject) -> None:
    """SIGINT ends it, with clients connected too, and its status does not tell of a failure."""
    _ends(subject, signal.SIGINT)


@check(
    "kill(2): a signal to a program is not one to its children", BOTH, process=True, seconds=ENDS
)
def nothing_left(subject: Subject) -> None:
    """When SIGTERM has ended it and the clients have gone, no process of its own goes on."""
    left = _endings(subject).left
    if left:
        raise CheckFailed("no process", f"{len(left)}: {', '.join(left)}")


@check("UNP 7.5: SO_REUSEADDR", BOTH, process=True, seconds=ENDS)
def address_again(subject: Subject) -> None:
    """The address can be had again at once after the server has closed its connections first."""
    why = _endings(subject).again
    if why:
        raise CheckFailed("a server that starts again at the same address", why)


# --- inside -------------------------------------------------------------------------------


class _Rest(NamedTuple):
    cpu: float
    """Of one processor."""
    wakes: float
    """A second."""


class _Second(NamedTuple):
    status: int | None
    said: str
    says_why: bool
    """Whether there is a line of it that the first instance has not printed."""
    first_serves: bool


def _remembered(subject: Subject, name: str, find_out: Callable[[], _T]) -> _T:
    """What *find_out* finds out for the first that asks; or why it cannot, for all of them."""
    if name not in subject.memo:
        try:
            subject.memo[name] = find_out()
        except (CheckFailed, CheckSkipped, CannotWatch) as why:
            subject.memo[name] = why
    found: _T | Exception = subject.memo[name]
    if isinstance(found, Exception):
        raise found
    return found


def _does_not_grow(subject: Subject, leak: Leak) -> None:
    growth, unknown = _remembered(subject, "leaks", lambda: count_leaks(subject))
    if leak.name in unknown:
        raise unknown[leak.name]
    grown = growth[leak.name]
    if leak.is_found(grown):
        each = sum(grown) / len(grown) / CONNECTIONS
        raise CheckFailed(
            f"no more {leak.name} after {CONNECTIONS} connections than before",
            f"{each:.3g} more for each, in each of {len(grown)} rounds",
        )
    others = [other.name for other in LEAKS if other.is_found(growth[other.name])]
    if others and leak.grows(grown):
        raise CheckSkipped(f"{others[0]} stay, and {leak.name} with them")


def _rests(subject: Subject, clients: bool) -> None:
    cpu = _rest(subject, clients).cpu
    if cpu > MOST_CPU:
        raise CheckFailed(f"less than {MOST_CPU:.0%} of a CPU", f"{cpu:.0%}")


def _rest(subject: Subject, clients: bool) -> _Rest:
    """How the server rests, with clients or without."""
    return _remembered(subject, f"rest {clients}", lambda: _measure_rest(subject, clients))


def _measure_rest(subject: Subject, clients: bool) -> _Rest:
    running = subject.started()
    watch = watch_over(running)
    if clients:
        idle_clients(subject, running)
    settle(subject, watch)
    rest = _Rest(0.0, 0.0)
    for _ in range(WINDOWS):
        before = watch.look()
        running.wait(WINDOW)
        after = watch.look()
        seconds = after.when - before.when
        cpu = max(after.cpu_since(before), after.cpu - before.cpu - 0.02)  # two ticks of 10 ms
        wakes = after.switches[0] - before.switches[0]
        rest = _Rest(cpu / seconds, wakes / seconds)
        if rest.cpu < MOST_CPU and rest.wakes < MOST_WAKES:
            break
    return rest


def _endings(subject: Subject) -> Endings:
    return _remembered(subject, "endings", lambda: observe_endings(subject))


def _ends(subject: Subject, signum: signal.Signals) -> None:
    seen = _endings(subject)
    status, words = seen.statuses[signum], seen.words[signum]
    if status is None:
        raise CheckFailed(
            f"its end within {END_TIME * subject.scale:g} s of {signum.name}", "it goes on"
        )
    clean = (0, -signum, 128 + signum)
    if status not in clean:
        raise CheckFailed(
            f"status 0, {128 + signum}, or death of {signum.name}",
            f"status {status}" + (f"; it said: {words}" if words else ""),
        )


def _second(subject: Subject) -> _Second:
    return _remembered(subject, "second instance", lambda: _start_second(subject))


def _start_second(subject: Subject) -> _Second:
    first = subject.started()
    if subject.target.transport == "raw":
        raise CheckSkipped("any number of raw sockets may have the same address")
    try:
        second: RunningTarget = RunningTarget(subject.target, beside=first, listens=False)
    except TargetError as error:
        raise CheckFailed("a second instance that starts", str(error)) from None
    with second:
        status = second.wait(FAIL_TIME * subject.scale)
    with subject.connect() as peer:
        answered = visit(subject, peer, subject.patience)
        if not answered and peer.is_stream:  # one that answers when all has been said, does so now
            peer.finish()
            answered = visit_end(peer)
    says_why = bool(_lines(second) - _lines(first))  # without what the first keeps in a buffer
    return _Second(status, second.last_words(), says_why, answered)


def _lines(running: RunningTarget) -> set[str]:
    """What it has printed, whatever the numbers: times and those of processes differ."""
    lines = (line.strip() for line in running.output().splitlines())
    return {re.sub(r"\d+", "0", line) for line in lines if line}
