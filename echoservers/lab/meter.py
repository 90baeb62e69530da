"""Meter: what the server and the whole machine used while a load was put on it.

CPU time is that of all processes of the target, those that have ended included; and of the
machine, since over loopback a part of the receiver's work is done, and billed, in the
sender's system call.
"""

import contextlib
import os
import time
from typing import NamedTuple

from ..targets.watch import CannotWatch, Snapshot, Watch

__all__ = ["Meter", "Usage", "cpu_between"]


class Usage(NamedTuple):
    """What was used between two moments."""

    seconds: float
    server_cpu: float | None
    machine_cpu: float | None
    switches: int | None


class Meter:
    """Looks at the processes when the window of a load begins, and when it ends."""

    def __init__(self, watch: Watch | None) -> None:
        self._watch = watch
        self._before: Snapshot | None = None
        self._machine = 0.0, 0.0
        self.after: Snapshot | None = None
        self.standing: Snapshot | None = None
        self.began: float | None = None
        self._ended = 0.0

    def phase(self, name: str) -> None:
        """What `run_load` says of how far it is."""
        if name == "measuring":
            self._before = self._look()
            self._machine = _machine_cpu(), 0.0
            self.began = time.monotonic()
        elif name == "measured":
            self._ended = time.monotonic()
            self._machine = self._machine[0], _machine_cpu()
            self.after = self._look()
        elif self._watch is not None:  # when it disturbs nobody, as memory takes longest
            with contextlib.suppress(CannotWatch):
                self.standing = self._watch.look(threads=False, memory=True)

    def usage(self) -> Usage | None:
        """What was used in the window; None: there was none."""
        if self.began is None or not self._ended:
            return None
        machine = self._machine[1] - self._machine[0]
        cpu, switches = None, None
        if self._before is not None and self.after is not None:
            cpu = cpu_between(self._before, self.after)
            switches = sum(self.after.switches) - sum(self._before.switches)
        seconds = self._ended - self.began
        return Usage(seconds, cpu, machine if machine > 0 else None, switches)

    def _look(self) -> Snapshot | None:
        if self._watch is None:
            return None
        with contextlib.suppress(CannotWatch):
            return self._watch.look()
        return None


def cpu_between(before: Snapshot, after: Snapshot) -> float:
    """CPU seconds of all processes: finely where no thread has ended, else in steps of 10 ms."""
    fine, coarse = after.cpu_since(before), after.cpu - before.cpu
    # What has ended is in the coarse figure only; rounding moves that by a step a process.
    step = 0.01 * (1 + after.processes)
    return coarse if coarse - fine > step else fine


def _machine_cpu() -> float:
    """CPU seconds that all processors have worked since the start of the system (proc(5))."""
    try:
        with open("/proc/stat") as file:
            fields = [int(field) for field in file.readline().split()[1:]]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
