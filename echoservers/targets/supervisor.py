"""Runs one program and leaves nothing of it behind: started as a program by `running`.

    python -I -S supervisor.py OUTPUT DESCRIPTORS [LIMIT=NUMBER ...] -- COMMAND ...

What the command starts may fork, leave its process group, or forget its children; here
they are all descendants, since orphans come back to this process (prctl(2),
PR_SET_CHILD_SUBREAPER).  Lines on standard input say what to do (``signal 15``); its
end means that whoever asked has gone, however that came, so all is killed.  Lines on
standard output say what happened: ``started PID``, ``failed WHY``, ``limit WHY`` (the
limit that it has exceeded, for which all is killed), ``ended STATUS``.

What a limit of the system cannot hold (setrlimit(2) counts memory as address space, and
processes for each user, of which root has no limit) is watched: `Watch` looks at all
descendants fifty times a second.  RLIMIT_AS would bite at once, but virtual machines reserve
gigabytes that they never touch; RLIMIT_DATA counts 8 MiB for the stack of every thread; and
neither counts what a tree of processes has together.

It imports little, for it stands between the wish for a server and the server: its start
takes about 15 ms.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h; elsewhere a child that leaves its process group is not found."""

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

GIVE_WAY = 10
"""The nice value of what is limited, where this process cannot come first: then it has nine
times the share of any of them (sched(7))."""

KILL_ROUNDS = 100
"""A process can fork before it is killed, but a round kills a whole group at once."""

ROUND_TIME = 50
"""Milliseconds for the killed to be gone, before the next round."""


def prctl(option: int, value: int) -> None:
    """Set *option* of this process, where the system has it."""
    call = getattr(ctypes.CDLL(None), "prctl", None)
    if call is not None:
        call(option, value, 0, 0, 0)


def say(text: str) -> None:
    """One line to whoever started us; nobody may be there any more."""
    with contextlib.suppress(OSError):
        os.write(1, text.encode("utf-8", "backslashreplace") + b"\n")


def start(
    command: list[str], output: int, descriptors: int, limits: dict[str, float], first: bool
) -> int:
    """Start *command* in a process group of its own; its process id.

    :param descriptors: how many it may open, if no limit says less.
    :param first: whether this process comes before it without more ado.
    :raises OSError: it cannot be executed.
    """
    told, tell = os.pipe()  # closed by a successful exec, by PEP 446
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            for descriptor in (1, 2):
                os.dup2(output, descriptor)
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 0)
            signal.set_wakeup_fd(-1)
            # What Python ignores, and what this process handles, is as for any program.
            for signum in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT):
                signal.signal(signum, signal.SIG_DFL)
            set_descriptors(descriptors)
            if limits:
                set_limits(limits)
                if not first:
                    os.nice(GIVE_WAY)
            os.execvp(command[0], command)
        except OSError as error:
            os.write(tell, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(tell)
    with open(told, "rb") as why:
        if number := why.read():
            os.waitpid(pid, 0)
            raise OSError(int(number), os.strerror(int(number)))
    return pid


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


def set_descriptors(most: int) -> None:
    """Let this process open *most* descriptors, where it may have more; it can ask for them."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def set_limits(limits: dict[str, float]) -> None:
    """Give this process, and so what it starts, the limits that the system holds."""
    import resource

    # The watch is to come first, as it says why: hence twice as many, and 2 s more.
    for kind, value in (
        (resource.RLIMIT_CPU, int(limits["cpu"]) + 2),
        (resource.RLIMIT_NPROC, tasks_of_user() + 2 * int(limits["processes"])),  # but for root
        (resource.RLIMIT_NOFILE, int(limits["descriptors"])),
        (resource.RLIMIT_FSIZE, int(limits["file_size"])),
        (resource.RLIMIT_CORE, 0),
    ):
        _, most = resource.getrlimit(kind)
        if most == resource.RLIM_INFINITY or value <= most:
            resource.setrlimit(kind, (value, value))


def tasks_of_user() -> int:
    """How many processes and threads our user has on this machine, which setrlimit(2) counts."""
    own, tasks = os.getuid(), 0
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == own:
                tasks += len(os.listdir(f"/proc/{name}/task"))
    return tasks


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


class Supervisor:
    """Waits for orders and for the end of what it runs."""

    def __init__(
        self, command: list[str], output: int, descriptors: int, limits: dict[str, float]
    ) -> None:
        self._wake, wakes = os.pipe()
        for end in (self._wake, wakes):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us
        self._pid = start(command, output, descriptors, limits, come_first())
        self._watch = Watch(limits) if limits else None  # has a thread: so after the fork
        self._ended = False
        os.close(output)
        say(f"started {self._pid}")

    def run(self) -> None:
        """Until the orders end."""
        orders = b""
        ready = select.poll()
        ready.register(0, select.POLLIN)
        ready.register(self._wake, select.POLLIN)
        while True:
            self._look()
            for descriptor, _ in ready.poll(self._pause()):
                if descriptor == self._wake:
                    self._reap()
                    continue
                data = os.read(0, 4096)
                if not data:
                    return
                *lines, orders = (orders + data).split(b"\n")
                for line in lines:
                    self._obey(line.decode())

    def kill(self) -> None:
        """Kill every descendant, and wait until none is left."""
        ready = select.poll()
        ready.register(self._wake, select.POLLIN)
        self._freeze()
        for _ in range(KILL_ROUNDS):
            if not self._ended:
                self._signal(signal.SIGKILL, os.killpg)
            for pid in descendants(os.getpid()):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            ready.poll(ROUND_TIME)
            if not self._reap():
                return

    def _freeze(self) -> None:
        """Stop what forks faster than it can be killed; what is stopped makes no more."""
        if not self._ended:
            self._signal(signal.SIGSTOP, os.killpg)
        stopped: set[int] = set()
        for _ in range(KILL_ROUNDS):
            before = len(stopped)
            # Parents first: the list of the children of a stopped one is complete.
            for pid in descendants(os.getpid()):
                if pid not in stopped:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGSTOP)
                    stopped.add(pid)
            if len(stopped) == before:
                return

    def _look(self) -> None:
        """Kill all, if a limit is exceeded."""
        if self._watch is not None and time.monotonic() >= self._watch.next:
            exceeded = self._watch.look()
            if exceeded is not None:
                self._exceed(exceeded)

    def _exceed(self, why: str) -> None:
        self._watch = None
        say(f"limit {why}")
        self.kill()

    def _pause(self) -> float | None:
        """Milliseconds until the next look."""
        if self._watch is None:
            return None
        return max(0.0, self._watch.next - time.monotonic()) * 1000

    def _obey(self, order: str) -> None:
        verb, _, argument = order.partition(" ")
        if verb == "signal" and not self._ended:
            self._signal(int(argument), os.kill)
        elif verb == "limit":
            self._exceed(argument)

    def _signal(self, signum: int, send: Callable[[int, int], None]) -> None:
        with contextlib.suppress(OSError):
            send(self._pid, signum)

    def _reap(self) -> bool:
        """Take the exit statuses there are; whether a child is left."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._pid:
                self._ended = True
                say(f"ended {os.waitstatus_to_exitcode(status)}")


def main() -> None:
    """Run ``OUTPUT DESCRIPTORS [LIMIT=NUMBER ...] -- COMMAND ...``.

    OUTPUT is the descriptor for what it prints, DESCRIPTORS how many it may open.
    """
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    _, output, descriptors, *words = sys.argv
    end = words.index("--")
    limits = {name: float(value) for name, _, value in (w.partition("=") for w in words[:end])}
    try:
        supervisor = Supervisor(words[end + 1 :], int(output), int(descriptors), limits)
    except OSError as error:
        say(f"failed {error.strerror}")
        return
    try:
        supervisor.run()
    finally:
        supervisor.kill()


if __name__ == "__main__":
    main()
