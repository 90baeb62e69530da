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

__all__ = ["Meter", "Usage", "came_or_went", "cpu_between"]


class Usage(NamedTuple):
    """What was used between two moments."""

    seconds: float
    server_cpu: float | None
    machine_cpu: float | None
    switches: int | None
    came_or_went: bool = False
    """Whether threads or processes began or ended meanwhile, so that no switches are known."""


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
        usage = Usage(self._ended - self.began, None, machine if machine > 0 else None, None)
        if self._before is None or self.after is None:
            return usage
        usage = usage._replace(server_cpu=cpu_between(self._before, self.after))
        if came_or_went(self._before, self.after):
            return usage._replace(came_or_went=True)
        if not any(self.after.switches):  # no server has none: this system does not tell them
            return usage
        return usage._replace(switches=sum(self.after.switches) - sum(self._before.switches))

    def _look(self) -> Snapshot | None:
        if self._watch is None:
            return None
        with contextlib.suppress(CannotWatch):
            return self._watch.look()
        return None


def cpu_between(before: Snapshot, after: Snapshot) -> float:
    """CPU seconds of all processes: finely where no thread has ended, else in steps of 10 ms."""
    # What has ended is in the coarse figure only.
    return after.cpu - before.cpu if _some_is_missing(before, after) else after.cpu_since(before)


def came_or_went(before: Snapshot, after: Snapshot) -> bool:
    """Whether threads began or ended meanwhile, those of processes included.

    The context switches of one that has ended are counted nowhere that others may look.  One
    that was there at neither moment shows in its CPU time, once such are beyond its steps.
    """
    return before.tasks != after.tasks or _some_is_missing(before, after)


def _some_is_missing(before: Snapshot, after: Snapshot) -> bool:
    """Whether more was worked than by the threads there are.

    Rounding is a step a process; and what these threads worked during the first look may be in
    the one figure alone.
    """
    unsure = 0.01 * (1 + after.processes)
    if before.tasks == after.tasks:
        unsure += before.took * min(len(before.tasks), os.cpu_count() or 1)
    return after.cpu - before.cpu - after.cpu_since(before) > unsure


def _machine_cpu() -> float:
    """CPU seconds that all processors have worked since the start of the system (proc(5))."""
    try:
        with open("/proc/stat") as file:
            fields = [int(field) for field in file.readline().split()[1:]]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
