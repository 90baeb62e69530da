"""Runs one program and leaves nothing of it behind: started as a program by `running`.

    python -I -S supervisor.py OUTPUT COMMAND ...

What the command starts may fork, leave its process group, or forget its children; here
they are all descendants, since orphans come back to this process (prctl(2),
PR_SET_CHILD_SUBREAPER).  Lines on standard input say what to do (``signal 15``, ``kill``);
its end means that whoever asked has gone, however that came, so all is killed.  Lines on
standard output say what happened: ``started PID``, ``failed WHY``, ``ended STATUS``.

It imports little, for it stands between the wish for a server and the server: its start
takes about 15 ms.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h; elsewhere a child that leaves its process group is not found."""

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


def start(command: list[str], output: int) -> int:
    """Start *command* in a process group of its own; its process id.

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


def descendants(pid: int) -> list[int]:
    """The children of *pid*, theirs, and so on (proc(5))."""
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for task in tasks:
        # Of a thread that ends meanwhile another has the children.
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as children:
            for child in map(int, children.read().split()):
                found += [child, *descendants(child)]
    return found


class Supervisor:
    """Waits for orders and for the end of what it runs."""

    def __init__(self, command: list[str], output: int) -> None:
        self._wake, wakes = os.pipe()
        for end in (self._wake, wakes):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us
        self._pid = start(command, output)
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
            for descriptor, _ in ready.poll():
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
        for _ in range(KILL_ROUNDS):
            if not self._ended:
                self._signal(signal.SIGKILL, os.killpg)
            for pid in descendants(os.getpid()):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            ready.poll(ROUND_TIME)
            if not self._reap():
                return

    def _obey(self, order: str) -> None:
        verb, _, argument = order.partition(" ")
        if verb == "signal" and not self._ended:
            self._signal(int(argument), os.kill)
        elif verb == "kill":
            self.kill()
            say("killed")

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
    """Run ``OUTPUT COMMAND ...``, the descriptor for its output and what to execute."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    output, *command = sys.argv[1:]
    try:
        supervisor = Supervisor(command, int(output))
    except OSError as error:
        say(f"failed {error.strerror}")
        return
    try:
        supervisor.run()
    finally:
        supervisor.kill()


if __name__ == "__main__":
    main()
