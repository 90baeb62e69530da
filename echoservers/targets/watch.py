"""Watch: what the processes of a running target use, and which of their threads did work.

A look takes a `Snapshot` of every process below the supervisor, which is not part of the
target; two of them tell what went on between.  psutil (extra ``lab``) finds the processes;
what Linux counts more finely than psutil tells is read where it stands (proc(5)).
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..errors import EchoServersError
from .usage import descendants

__all__ = ["CannotWatch", "Memory", "Process", "Snapshot", "Thread", "Watch"]
__all__ += ["need_psutil", "newest_task"]


LOOK_AGAIN = 0.005
"""Seconds between two looks at what gives no event."""


_LISTS_CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")
"""Whether the system says who the children of a process are (proc(5), CONFIG_PROC_CHILDREN)."""


class CannotWatch(EchoServersError):
    """The processes cannot be looked at; the message says what is missing."""


class Thread(NamedTuple):
    """What one thread has done since it began."""

    runs: int
    """How often it was put on a processor; grows as soon as it begins to do something."""
    cpu: float
    """Seconds on a processor, to the nanosecond where the system counts so."""
    voluntary: int
    """How often it has left the processor to wait."""
    involuntary: int
    """How often it was made to leave."""


class Memory(NamedTuple):
    """Bytes of memory; of several processes the sum."""

    uss: int
    """That only this process has: freed if it ended."""
    pss: int
    """Its share of all that it uses, what several use being divided among them."""
    anonymous: int
    """The part of ``pss`` that is in no file, swapped out or not: what was allocated."""


class Process(NamedTuple):
    """One process of a target."""

    pid: int
    parent: int
    zombie: bool
    cpu: float
    """Seconds of its own and of its children that have ended, in steps of 10 ms."""
    descriptors: int
    memory: Memory
    """All 0 where it was not asked for."""
    threads: dict[int, Thread]
    """By their ids; empty where they were not asked for."""
    thread_count: int


class Snapshot(NamedTuple):
    """The processes of a target at one moment."""

    when: float
    """On `time.monotonic`'s clock."""
    everybody: dict[int, Process]
    """Every process by its id, zombies included."""
    orphans_cpu: float
    """Seconds of processes that have ended after their parents."""
    took: float = 0.0
    """Seconds until all was seen; what is seen last of a process is what its threads did."""

    @property
    def alive(self) -> list[Process]:
        """The processes that are no zombies."""
        return [process for process in self.everybody.values() if not process.zombie]

    @property
    def processes(self) -> int:
        """How many processes there are; zombies are not counted."""
        return len(self.alive)

    @property
    def zombies(self) -> int:
        """Children that have ended and that their parent, one of these, has not waited for."""
        return len(self.everybody) - self.processes

    @property
    def threads(self) -> int:
        """Threads of all processes, the first of each included."""
        return sum(process.thread_count for process in self.alive)

    @property
    def descriptors(self) -> int:
        """Open descriptors of all processes."""
        return sum(process.descriptors for process in self.alive)

    @property
    def memory(self) -> Memory:
        """The sums."""
        sums = [sum(process.memory[part] for process in self.alive) for part in range(3)]
        return Memory(*sums)

    @property
    def cpu(self) -> float:
        """CPU seconds of all processes, those that have ended included, in steps of 10 ms.

        What a process leaves behind that is never waited for is lost (wait(2), SIGCHLD ignored).
        """
        return self.orphans_cpu + sum(process.cpu for process in self.everybody.values())

    @property
    def switches(self) -> tuple[int, int]:
        """Context switches of all threads there are: voluntary, involuntary."""
        threads = self._threads().values()
        return sum(t.voluntary for t in threads), sum(t.involuntary for t in threads)

    @property
    def tasks(self) -> set[tuple[int, int]]:
        """The threads there are, as ``(process id, thread id)``."""
        return set(self._threads())

    def worked_since(self, before: "Snapshot") -> set[tuple[int, int]]:
        """Which threads did anything since *before*, as ``(process id, thread id)``."""
        then = before._threads()
        return {
            place
            for place, thread in self._threads().items()
            if place not in then or thread.runs != then[place].runs
        }

    def runs_since(self, before: "Snapshot") -> int:
        """How often a thread was put on a processor since *before*."""
        then = before._threads()
        return sum(
            thread.runs - (then[place].runs if place in then else 0)
            for place, thread in self._threads().items()
        )

    def cpu_since(self, before: "Snapshot") -> float:
        """CPU seconds since *before*, of the threads there are; finer than `cpu`."""
        then = before._threads()
        return sum(
            thread.cpu - (then[place].cpu if place in then else 0.0)
            for place, thread in self._threads().items()
        )

    def _threads(self) -> dict[tuple[int, int], Thread]:
        return {
            (process.pid, tid): thread
            for process in self.alive
            for tid, thread in process.threads.items()
        }


def need_psutil() -> Any:
    """The module psutil.

    :raises CannotWatch: it is missing.
    """
    try:
        import psutil
    except ImportError:
        raise CannotWatch(
            "to look at processes needs psutil: pip install 'echoservers[lab]'"
        ) from None
    return psutil


class Watch:
    """Looks at all that a supervisor has started.

    :param supervisor_pid: of a `RunningTarget`.
    :raises CannotWatch: psutil is missing, or the processes are gone.
    """

    def __init__(self, supervisor_pid: int) -> None:
        psutil = self._psutil = need_psutil()
        try:
            self._supervisor: Any = psutil.Process(supervisor_pid)
        except psutil.Error as error:
            raise CannotWatch(f"the server's processes cannot be seen: {error}") from None

    def look(self, *, threads: bool = True, memory: bool = False) -> Snapshot:
        """Take a snapshot; a process that ends meanwhile may be in it or not.

        :param threads: whether to see what each thread did (30 microseconds each).
        :param memory: whether to measure memory (up to a millisecond for each process).
        :raises CannotWatch: the system does not let this user look.
        """
        when = time.monotonic()
        found: dict[int, Process] = {}
        try:
            spent = self._supervisor.cpu_times()
            for process in self._below():
                with contextlib.suppress(self._psutil.NoSuchProcess, ProcessLookupError):
                    seen = self._look_at(process, threads, memory)
                    if not (seen.zombie and seen.parent == self._supervisor.pid):
                        found[seen.pid] = seen
        except self._psutil.NoSuchProcess:
            return Snapshot(when, {}, 0.0)  # the supervisor itself has ended
        except (self._psutil.AccessDenied, PermissionError) as error:
            raise CannotWatch(f"this user may not look at the processes: {error}") from error
        orphans = getattr(spent, "children_user", 0.0) + getattr(spent, "children_system", 0.0)
        return Snapshot(when, found, orphans, time.monotonic() - when)

    def look_again(self, seen: Snapshot) -> Snapshot:
        """How often the threads of the processes in *seen* have run by now, and for how long."""
        everybody = dict(seen.everybody)
        for process in seen.alive:
            with contextlib.suppress(self._psutil.NoSuchProcess):
                threads = self._threads_of(process.pid, switches=False)
                everybody[process.pid] = process._replace(threads=threads)
        return Snapshot(time.monotonic(), everybody, seen.orphans_cpu)

    def newcomers(self, seen: Snapshot) -> set[tuple[int, int]]:
        """Processes and threads that are not in *seen*, as ``(process id, thread id)``.

        Quick enough to meet what lives for a fraction of a millisecond only.
        """
        found = set()
        for pid, process in seen.everybody.items():
            for name in _names(f"/proc/{pid}/task"):
                if int(name) not in process.threads:
                    found.add((pid, int(name)))
                for child in _words(f"/proc/{pid}/task/{name}/children"):
                    if int(child) not in seen.everybody:
                        found.add((int(child), int(child)))
        return found

    def look_until(
        self, done: Callable[[Snapshot], bool], seconds: float, *, memory: bool = False
    ) -> Snapshot:
        """Look again and again until *done* says so of a snapshot, or *seconds* have passed.

        The last snapshot, without what each thread did, is returned.
        """
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while True:
            seen = self.look(threads=False)
            if done(seen) or time.monotonic() > deadline:
                return self.look(threads=False, memory=True) if memory else seen
            pause.wait(LOOK_AGAIN)

    def words_of(self, pid: int) -> tuple[str, ...]:
        """The command line of process *pid*; empty when it has gone."""
        with contextlib.suppress(self._psutil.Error):
            return tuple(self._psutil.Process(pid).cmdline())
        return ()

    def _below(self) -> Iterator[Any]:
        """Every process that the supervisor is an ancestor of.

        psutil finds them among all processes of the system, which may be thousands.
        """
        if not _LISTS_CHILDREN:
            yield from self._supervisor.children(recursive=True)
            return
        for pid in descendants(self._supervisor.pid):
            with contextlib.suppress(self._psutil.NoSuchProcess):
                yield self._psutil.Process(pid)

    def _look_at(self, process: Any, threads: bool, memory: bool) -> Process:
        pid = process.pid
        with process.oneshot():
            parent, status, spent = process.ppid(), process.status(), process.cpu_times()
            cpu = sum(spent[:4])  # its own and its children's, user and system
            if status in (self._psutil.STATUS_ZOMBIE, self._psutil.STATUS_DEAD):
                return Process(pid, parent, True, cpu, 0, _NOTHING, {}, 0)
            return Process(
                pid,
                parent,
                False,
                cpu,
                process.num_fds(),
                self._memory_of(process) if memory else _NOTHING,
                self._threads_of(pid) if threads else {},
                process.num_threads(),
            )

    def _memory_of(self, process: Any) -> Memory:
        try:
            parts = dict(_smaps_rollup(process.pid))
        except FileNotFoundError:
            full = process.memory_full_info()
            return Memory(full.uss, getattr(full, "pss", full.uss), full.uss)
        anonymous = parts.get("Pss_Anon", parts["Private_Dirty"])
        return Memory(
            parts["Private_Clean"] + parts["Private_Dirty"],
            parts["Pss"],
            anonymous + parts.get("SwapPss", 0),
        )

    def _threads_of(self, pid: int, switches: bool = True) -> dict[int, Thread]:
        try:
            ids = os.listdir(f"/proc/{pid}/task")
        except FileNotFoundError:
            if os.path.exists("/proc/self/task"):
                return {}  # it has ended
            return self._threads_elsewhere(pid)
        found = {}
        for name in ids:
            # A thread may end meanwhile.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found[int(name)] = _thread(f"/proc/{pid}/task/{name}", switches)
        return found

    def _threads_elsewhere(self, pid: int) -> dict[int, Thread]:
        """What psutil tells on every system: their CPU time alone, in coarse steps."""
        return {
            thread.id: Thread(
                int((thread.user_time + thread.system_time) * 1000),
                thread.user_time + thread.system_time,
                0,
                0,
            )
            for thread in self._psutil.Process(pid).threads()
        }


_NOTHING = Memory(0, 0, 0)


def _smaps_rollup(pid: int) -> Iterator[tuple[str, int]]:
    with open(f"/proc/{pid}/smaps_rollup") as file:
        next(file, None)  # the range of addresses
        for line in file:
            name, _, rest = line.partition(":")
            yield name, int(rest.split()[0]) * 1024


def _thread(folder: str, switches: bool) -> Thread:
    """What /proc says of one thread.

    :param switches: whether to look at its context switches, which takes twice as long.
    """
    try:
        nanoseconds, _, runs = map(int, _read(f"{folder}/schedstat").split())
    except FileNotFoundError:  # a kernel without CONFIG_SCHED_INFO
        voluntary, involuntary = _switches(folder)
        return Thread(voluntary + involuntary, _ticks(folder), voluntary, involuntary)
    return Thread(runs, nanoseconds / 1e9, *(_switches(folder) if switches else (0, 0)))


def _switches(folder: str) -> tuple[int, int]:
    """How often a thread has left the processor: by itself, and not (proc(5)); 0: unknown."""
    words = _read(f"{folder}/status").partition(b"\nvoluntary_ctxt_switches:")[2].split()
    return (int(words[0]), int(words[2])) if words else (0, 0)


def _read(path: str) -> bytes:
    """What is in a file of /proc/PID, which is short.

    :raises OSError: it has gone.
    """
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _ticks(folder: str) -> float:
    with open(f"{folder}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def newest_task() -> int:
    """The number of the process or thread that was created last on this machine; 0: unknown."""
    words = _words("/proc/loadavg")
    return int(words[4]) if len(words) == 5 else 0


def _names(folder: str) -> list[str]:
    """What is in *folder*; nothing, when it has gone."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _words(path: str) -> list[str]:
    """The words of a file; none, when it has gone."""
    try:
        with open(path) as file:
            return file.read().split()
    except OSError:
        return []
