"""Runs one program and leaves nothing of it behind: started as a program by `running`.

    python -I -S supervisor.py OUTPUT DESCRIPTORS [LIMIT=NUMBER ...] -- COMMAND ...

What the command starts may fork, leave its process group, or forget its children; here
they are all descendants, since orphans come back to this process (prctl(2),
PR_SET_CHILD_SUBREAPER).  Lines on standard input say what to do (``signal 15``); its
end means that whoever asked has gone, however that came, so all is killed.  Lines on
standard output say what happened: ``started PID``, ``failed WHY``, ``limit WHY`` (the
limit that it has exceeded, for which all is killed), ``ended STATUS``.

What a limit of the system cannot hold (setrlimit(2) counts memory as address space, and
processes for each user, of which root has no limit) is watched: `usage` looks at all
descendants.

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
from collections.abc import Callable

if __name__ == "__main__":  # isolated: its own folder is not looked through
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    from usage import Watch, come_first, descendants, in_turn  # type: ignore[import-not-found]
else:
    from .usage import Watch, come_first, descendants, in_turn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h; elsewhere a child that leaves its process group is not found."""

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
        self._limits = limits
        self._watch: Watch | None = None
        self._ended = False
        os.close(output)

    def run(self) -> None:
        """Until the orders end.

        :raises RuntimeError: there can be no thread for the watch.
        """
        if self._limits:
            self._watch = Watch(self._limits)  # has a thread: so after the fork
        say(f"started {self._pid}")
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
        left: float = self._watch.next - time.monotonic()
        return max(0.0, left) * 1000

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
                if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    return True
                with in_turn():
                    pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
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
    except RuntimeError as error:  # before it has told of the start
        say(f"failed {error}")
    finally:
        supervisor.kill()


if __name__ == "__main__":
    main()
