"""The design of a server, seen from outside, and the check that it is the one asked for.

Processes and threads are counted with 0, 1, 8 and 32 clients that say nothing any more, then
some of the clients speak in turn, and whoever works for them is seen.  Neither is enough by
itself: Node has ten threads of which one serves; a pool of a hundred threads never grows.
"""

import time
from collections import Counter
from typing import NamedTuple

from ..catalogue import MODELS, PREFORK, SPELLED_BY_ALIAS
from ..errors import OptionError
from ..hints import did_you_mean
from ..targets.watch import CannotWatch, Snapshot, Watch, newest_task
from .crowd import Crowd
from .engine import BOTH, check
from .leaks import settle, watch_over
from .peer import CheckFailed, CheckSkipped
from .subject import Subject

__all__ = ["DESIGNS", "Design", "neutral_name", "seen_design"]

ITERATIVE = "iterative"
EVENT_LOOP = "event-loop"
THREAD_EACH = "thread-per-connection"
PROCESS_EACH = "process-per-connection"
THREAD_POOL = "thread-pool"
PREFORKED = "preforked"

DESIGNS = (ITERATIVE, EVENT_LOOP, THREAD_EACH, PROCESS_EACH, THREAD_POOL, PREFORKED)
"""The designs that can be told from each other from outside."""

_BY_MODEL = {
    "threading": THREAD_EACH,
    "forking": PROCESS_EACH,
    "thread-pool": THREAD_POOL,
    "prethreading": THREAD_POOL,
    ITERATIVE: ITERATIVE,
}

SIZES = (1, 8, 32)
"""Clients that are connected; 32 are more than most pools that grow have threads."""

QUIET = 0.2
"""Seconds without one more client being served, after which the others wait for their turn."""

MOST = 3.0
"""Seconds for clients to be served, at most."""

SPEAKERS = 6
"""Clients that are asked to speak, to see who works for them."""

TURNS = 3
"""How often each speaks: a thread that does something else works in one turn, not in all."""

MANY = 80
"""Datagrams, to meet threads that live a tenth of a millisecond."""

OFTEN = 0.25
"""Of datagrams, with a new process or thread; what others on this machine create comes to 0 on
the average, give or take 0.1 with `MANY` of them."""

FEW = 3
"""Threads: a virtual machine starts a helper now and then."""

EACH = 0.8
"""More threads or processes for a client, on the average, so that each has its own."""

LEAVE_TIME = 0.5
"""Seconds for what serves one client only to end with it."""


class Design(NamedTuple):
    """How a server serves, as far as it can be seen."""

    name: str | None
    """One of `DESIGNS`; None: it cannot be told."""
    evidence: str
    """What was seen; or why it cannot be told."""

    def __str__(self) -> str:
        return f"{self.name or 'unknown'}: {self.evidence}"


def neutral_name(name: str) -> str:
    """The design of `DESIGNS` that *name* means, itself one or a model of ours.

    :raises OptionError: there is no such design.
    """
    if name in DESIGNS:
        return name
    prefork, _, model = name.partition("-")
    if name in (PREFORK, *SPELLED_BY_ALIAS) or (prefork == PREFORK and model in MODELS):
        return PREFORKED
    for model, known in MODELS.items():
        if name in (model, *known.aliases):
            return _BY_MODEL.get(model, EVENT_LOOP)
    names = list(dict.fromkeys([*DESIGNS, *MODELS, PREFORK]))
    raise OptionError(f"there is no design {name!r}{did_you_mean(name, names)}: {', '.join(names)}")


def seen_design(subject: Subject) -> Design:
    """Watch the server while clients come and speak.

    :raises CheckSkipped: its processes cannot be seen.
    """
    if "design" not in subject.memo:
        watch = watch_over(subject.started())
        settle(subject, watch)
        look = _look_at_stream if subject.target.is_stream else _look_at_datagrams
        with Crowd(subject.running.endpoint) as crowd:
            seen = look(subject, watch, crowd)
        if isinstance(seen, _Seen):
            left = watch.look_until(seen.is_over, LEAVE_TIME * subject.scale)
            again = _newcomers_of_one_more(subject, watch) if seen.stays(left) else 0
            seen = _judge(seen._replace(stay=seen.stays(left), again=again))
        subject.memo["design"] = seen
    found: Design = subject.memo["design"]
    return found


@check("UNP 30; CS:APP 12: the designs of servers", BOTH, process=True)
def expected(subject: Subject) -> None:
    """Its processes and threads show the design that was asked for."""
    wanted = subject.expected_design
    if wanted is None:
        raise CheckSkipped("no design was asked for")
    wanted = neutral_name(wanted)
    try:
        seen = seen_design(subject)
    except (CheckSkipped, CannotWatch) as why:  # who asks for it is not to take it for granted
        seen = Design(None, str(why))
    alike = {EVENT_LOOP, ITERATIVE} if not subject.target.is_stream else set()
    if seen.name != wanted and not {seen.name, wanted} <= alike:
        raise CheckFailed(wanted, str(seen))


# --- connections --------------------------------------------------------------------------


class _Seen(NamedTuple):
    """What there was to be seen of a server with connections."""

    counts: list[tuple[int, int]]
    """Processes and threads, with no client and with each of `SIZES`."""
    served: int
    """Clients that were served at the same time, of the most that were connected."""
    workers: list[set[tuple[int, int]]]
    """For each client that spoke, the threads that did something at each turn."""
    forks: set[int]
    """Of the processes that served: those that run what their parent runs."""
    stay: bool = False
    """Whether what had come with the clients has stayed when they went."""
    again: int = 0
    """How many threads more there were with the next client after that."""

    @property
    def more_processes(self) -> int:
        return self.counts[-1][0] - self.counts[0][0]

    @property
    def more_threads(self) -> int:
        """Beside the first one of each process."""
        (processes, threads), (all_processes, all_threads) = self.counts[0], self.counts[-1]
        return all_threads - all_processes - (threads - processes)

    def is_over(self, left: Snapshot) -> bool:
        """Whether what had come with the clients has gone."""
        processes, threads = self.counts[0]
        return left.processes <= processes and left.threads <= threads

    def stays(self, left: Snapshot) -> bool:
        """Whether at least half of what had come with the clients is there."""
        more = sum(self.counts[-1]) - sum(self.counts[0])
        return more > 1 and left.processes + left.threads - sum(self.counts[0]) > more / 2

    def words(self) -> str:
        clients = (0, *SIZES)
        parts = ", ".join(
            f"{processes}/{threads} with {n}"
            for n, (processes, threads) in zip(clients, self.counts, strict=True)
        )
        return f"processes/threads {parts} clients; {self.served} of {SIZES[-1]} served at once"


def _look_at_stream(subject: Subject, watch: Watch, crowd: Crowd) -> _Seen | Design:
    seen = watch.look()
    counts = [(seen.processes, seen.threads)]
    served, asked = 0, 0
    for size in SIZES:
        quiet = QUIET if served == asked else 0.02  # some wait for their turn already
        served = crowd.grow(size, subject.lengthened(quiet), MOST * subject.scale)
        asked = size
        seen = watch.look()
        counts.append((seen.processes, seen.threads))
    if not served:
        why = "every client was let go when it had been answered"
        return Design(None, why if crowd.answered else "no client was answered")
    workers = _who_works(subject, watch, crowd, seen)
    serving = {pid for who in workers for pid, _ in who}
    forks = {pid for pid in serving if _is_fork(watch, seen, pid)}
    return _Seen(counts, served, workers, forks)


def _who_works(
    subject: Subject, watch: Watch, crowd: Crowd, seen: Snapshot
) -> list[set[tuple[int, int]]]:
    served = crowd.served
    step = max(1, len(served) // SPEAKERS)
    found = []
    for number in served[::step][:SPEAKERS]:
        turns = []
        for _ in range(TURNS):
            before = watch.look_again(seen)
            if crowd.ask(number, subject.lengthened(QUIET)):
                turns.append(watch.look_again(seen).worked_since(before))
        if turns:
            found.append(set.intersection(*turns))
    return found


def _is_fork(watch: Watch, seen: Snapshot, pid: int) -> bool:
    """Whether a process runs what its parent, one of the server's too, runs."""
    parent = seen.everybody[pid].parent
    return parent in seen.everybody and watch.words_of(pid) == watch.words_of(parent)


def _newcomers_of_one_more(subject: Subject, watch: Watch) -> int:
    """How many threads come with four clients more, though there are some to spare."""
    before = watch.look(threads=False)
    with Crowd(subject.running.endpoint) as crowd:
        crowd.grow(4, subject.lengthened(QUIET), MOST * subject.scale)
        return watch.look(threads=False).threads - before.threads


def _judge(seen: _Seen) -> Design:
    served, words = seen.served, seen.words()
    serving = {pid for who in seen.workers for pid, _ in who}
    if seen.more_processes >= EACH * served and served > 1:
        if seen.stay and seen.again < 2:
            return Design(PREFORKED, f"{words}; the processes stay when the clients have gone")
        return Design(PROCESS_EACH, f"{words}; the processes end with their clients")
    if (len(serving) > 1 or seen.forks) and seen.counts[0][0] > 1:
        return _judge_preforked(seen, len(serving))
    if seen.more_threads >= EACH * served and served > 1:
        if seen.stay and seen.again < 2:
            return Design(THREAD_POOL, f"{words}; the threads stay when the clients have gone")
        end = "stay, and the next clients get more" if seen.stay else "end with their clients"
        return Design(THREAD_EACH, f"{words}; the threads {end}")
    if served == 1:
        return Design(ITERATIVE, f"{words}; the others wait")
    return _judge_constant(seen)


def _judge_preforked(seen: _Seen, processes: int) -> Design:
    each = "one client at a time"
    if seen.more_threads >= EACH * seen.served:
        each = "a thread for each client"
    elif seen.served > seen.counts[0][1]:
        each = "an event loop"
    elif seen.served > seen.counts[0][0]:
        each = "several clients at a time"
    return Design(
        PREFORKED,
        f"{seen.words()}; {_number(processes, 'process')} of those there were before served"
        f" them, each with {each}",
    )


def _judge_constant(seen: _Seen) -> Design:
    """Several are served at a time by the threads there were."""
    words, speakers = seen.words(), len(seen.workers)
    if not speakers:
        return Design(None, f"{words}; no client was answered a second time")
    threads = set().union(*seen.workers) if seen.workers else set()
    if seen.served > max(count for _, count in seen.counts):
        return Design(EVENT_LOOP, f"{words}, which is more than there are threads")
    own = Counter(place for who in seen.workers for place in who)
    distinct = sum(1 for who in seen.workers if any(own[place] == 1 for place in who))
    if distinct > speakers / 2:
        return Design(
            THREAD_POOL, f"{words}; {speakers} clients were answered by {distinct} threads"
        )
    return Design(
        EVENT_LOOP,
        f"{words}; {speakers} clients were answered by {_number(len(threads), 'thread')}",
    )


def _number(count: int, what: str) -> str:
    plural = "es" if what.endswith("s") else "s"
    return f"{count} {what}{'' if count == 1 else plural}"


# --- datagrams ----------------------------------------------------------------------------


def _look_at_datagrams(subject: Subject, watch: Watch, crowd: Crowd) -> Design:
    size = SIZES[1]
    crowd.grow(size, subject.lengthened(QUIET), MOST * subject.scale)
    if not crowd.served:
        return Design(None, "no datagram was answered")
    settle(subject, watch)
    rest = watch.look()
    counted = f"{_number(rest.processes, 'process')} and {_number(rest.threads, 'thread')}"
    new = _fleeting(subject, watch, crowd, rest)
    if new.processes:
        return Design(PROCESS_EACH, f"{counted}, and more come and go as datagrams are answered")
    if new.threads:
        stay = settle(subject, watch).threads - rest.threads > len(new.seen) / 2
        if not stay:
            return Design(THREAD_EACH, f"{counted}, and more come and go as datagrams are answered")
        return Design(THREAD_POOL, f"{counted}, and more that stay")
    return _judge_datagrams(watch, rest, _turns(subject, watch, crowd, rest), counted)


class _Fleeting(NamedTuple):
    """What came while datagrams were answered."""

    seen: set[tuple[int, int]]
    """Met in many quick looks; some are too quick for that."""
    created: float
    """At how many of the datagrams somebody on this machine created a process or thread, and
    at how many not more than in a pause as long, of 1."""

    @property
    def processes(self) -> bool:
        met = len({pid for pid, tid in self.seen if pid == tid})
        return met >= FEW or (met > 0 and self.created > OFTEN)

    @property
    def threads(self) -> bool:
        return len(self.seen) >= FEW or self.created > OFTEN

    def is_clear(self, asked: int) -> bool:
        """Whether no more than *asked* datagrams are needed."""
        return asked >= MANY / 4 and not OFTEN / 2 < self.created < 2 * OFTEN


def _fleeting(subject: Subject, watch: Watch, crowd: Crowd, rest: Snapshot) -> _Fleeting:
    seen: set[tuple[int, int]] = set()
    created = 0
    found = _Fleeting(seen, 0.0)
    end = time.monotonic() + MOST * subject.scale
    for asked, number in enumerate(crowd.served * (MANY // len(crowd.served)), 1):
        began, last = time.monotonic(), newest_task()
        crowd.say(number)
        while not crowd.has_answer(number) and time.monotonic() < began + subject.lengthened(QUIET):
            seen |= watch.newcomers(rest)
        then, answered = newest_task(), time.monotonic()
        while time.monotonic() < 2 * answered - began:  # a pause as long
            seen |= watch.newcomers(rest)
        created += (then != last) - (newest_task() != then)
        found = _Fleeting(seen, created / asked)
        if found.is_clear(asked) or answered > end:
            break
    return found


def _turns(
    subject: Subject, watch: Watch, crowd: Crowd, rest: Snapshot
) -> list[set[tuple[int, int]]]:
    turns = []
    for _ in range(TURNS):
        for number in crowd.served:
            before = watch.look_again(rest)
            if crowd.ask(number, subject.lengthened(QUIET)):
                turns.append(watch.look_again(rest).worked_since(before))
    return turns


def _judge_datagrams(
    watch: Watch, rest: Snapshot, turns: list[set[tuple[int, int]]], counted: str
) -> Design:
    worked = Counter(place for turn in turns for place in turn)
    # A thread that does something else now and then is in few of the turns.
    serving = {place for place, often in worked.items() if often > len(turns) / 10}
    processes = {pid for pid, _ in serving}
    answered = f"answered {len(turns)} datagrams"
    if any(_is_fork(watch, rest, pid) for pid in processes) or len(processes) > 1:
        return Design(PREFORKED, f"{counted}; {_number(len(processes), 'process')} {answered}")
    handed_over = sum(1 for turn in turns if len(turn) > 1)  # from who receives to who replies
    if len(serving) > 2 or handed_over > len(turns) / 2:
        how = "one thread received and others" if handed_over else f"{len(serving)} threads"
        return Design(THREAD_POOL, f"{counted}; {how} {answered}")
    return Design(
        ITERATIVE,
        f"{counted}; one thread answered all {len(turns)} datagrams, as an event loop would, too",
    )
