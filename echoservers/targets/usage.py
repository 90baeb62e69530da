"""What the descendants of this process use together: a part of the program `supervisor`.

RLIMIT_AS would bite at once, but virtual machines reserve gigabytes that they never touch;
RLIMIT_DATA counts 8 MiB for the stack of every thread; and neither counts what a tree of
processes has together.  So all are looked at fifty times a second.
"""

import contextlib
import os
import time
from collections.abc import Iterator

LOOK_AGAIN = 0.02
"""Seconds between two looks at what the descendants use.  In that time a program that does
nothing but fork makes some tens of processes, one that does nothing but take memory some tens
of megabytes, since the kernel has to clear them; and a look at a few takes 0.1 ms."""

MOST_OF_THE_TIME = 5
"""Times as long as the last look took, a pause is at least: thousands of processes take tens
of milliseconds to look at, and the processor belongs to whom they serve."""

MOST_ZOMBIES = 10_000
"""What a forking server that forgets its children leaves after every check is a third of it;
more could take all process ids of a system, of which there may be 32 768."""


def children_of(pid: int) -> list[int]:
    """The children of *pid* (proc(5))."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            # Of a thread that ends meanwhile another has the children.
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as file:
                found += map(int, file.read().split())
    return found


def descendants(pid: int) -> Iterator[int]:
    """The children of *pid*, theirs, and so on; each before its own children are looked up."""
    waiting = children_of(pid)
    while waiting:
        child = waiting.pop()
        yield child
        waiting += children_of(child)


def come_first() -> bool:
    """Let this process, and none that it starts, run before all others, if that is permitted.

    Among hundreds of processes that fork without end it would get a hundredth of a
    processor, and never be done with killing them.  It runs for a moment at a time.
    """
    if not hasattr(os, "SCHED_RESET_ON_FORK"):  # sched(7)
        return False
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        return True
    with contextlib.suppress(OSError):  # in a control group without real-time tasks
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        return True
    return False


@contextlib.contextmanager
def in_turn() -> Iterator[None]:
    """Let this process, where it comes first, run in its turn for as long as the block takes.

    To wait for a process that had threads, Linux takes down what /proc has of each, in a loop
    that goes on until others have let go of it.  Those cannot, on the same processor, before
    real-time processes have used up the 0.95 s that they may have of each second.
    """
    policy = os.sched_getscheduler(0) if hasattr(os, "SCHED_RESET_ON_FORK") else 0
    if not policy:
        yield
        return
    reset = policy & os.SCHED_RESET_ON_FORK
    os.sched_setscheduler(0, os.SCHED_OTHER | reset, os.sched_param(0))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # what was permitted is no more
            os.sched_setscheduler(0, policy, os.sched_param(1))


class Watch:
    """Looks at what all descendants use together."""

    def __init__(self, limits: dict[str, float]) -> None:
        self._limits = limits
        self._tick: int = os.sysconf("SC_CLK_TCK")
        self._page: int = os.sysconf("SC_PAGE_SIZE")
        self._memory = Memory()
        self.next = time.monotonic() + LOOK_AGAIN

    def look(self) -> str | None:
        """The limit that is exceeded, in words; None: they keep to them."""
        began = time.monotonic()
        exceeded = self._exceeded(list(descendants(os.getpid())))
        now = time.monotonic()
        self.next = now + max(LOOK_AGAIN, MOST_OF_THE_TIME * (now - began))
        return exceeded

    def _exceeded(self, pids: list[int]) -> str | None:
        times = os.times()
        cpu = times.children_user + times.children_system
        tasks = zombies = resident = largest = 0
        for pid in pids:
            fields = stat_of(pid)
            if fields is None:
                continue
            cpu += sum(map(int, fields[11:15])) / self._tick
            if fields[0] == "Z":
                zombies += 1
                continue
            tasks += int(fields[17])
            own = int(fields[21]) * self._page
            resident, largest = resident + own, max(largest, own)
        if tasks > self._limits["processes"] or zombies > MOST_ZOMBIES:
            kind = "processes and threads" if zombies <= MOST_ZOMBIES else "zombies"
            most = self._limits["processes"] if zombies <= MOST_ZOMBIES else MOST_ZOMBIES
            return f"more than {most:g} {kind}"
        if cpu > self._limits["cpu"]:
            return f"more than {self._limits['cpu']:g} s of processor time"
        most = self._limits["memory"]
        if resident > most and largest <= most:  # with pages that several share counted for each
            self._memory.measure(pids)
        if largest > most or self._memory.found > most:
            return f"more than {most / 2**20:g} MiB of memory"
        return None


class Memory:
    """Finds out what processes have together, with shared pages counted once.

    In a thread: the kernel locks a process to count its pages, and one that forks without end
    has that lock while it waits for a processor, which takes seconds.  The thread is there
    from the beginning, and comes first as well: one that waited for a processor with the
    interpreter lock would keep everything else waiting, too.
    """

    def __init__(self) -> None:
        import threading  # takes time that only limits make necessary

        self.found = 0
        """Bytes, at the last time."""
        self._again = 0.0
        self._pids: list[int] = []
        self._asked = threading.Event()
        self._ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        self._ready.wait()

    def measure(self, pids: list[int]) -> None:
        """Let *pids* be measured, for a later look, unless that has just been done."""
        if not self._asked.is_set() and time.monotonic() >= self._again:
            self._pids = pids
            self._asked.set()

    def _run(self) -> None:
        come_first()
        self._ready.set()
        while self._asked.wait():
            began = time.monotonic()
            self.found = sum(map(proportional_memory, self._pids))
            now = time.monotonic()
            self._again = now + MOST_OF_THE_TIME * (now - began)
            self._asked.clear()


def stat_of(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on (proc(5) counts it as the third)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()
    except OSError:
        return None  # it has ended


def proportional_memory(pid: int) -> int:
    """Bytes of *pid*, of shared pages its part (proc(5), Pss)."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as rollup:
        for line in rollup:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
