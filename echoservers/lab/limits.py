"""What set the pace of a cell: the server, the generator, or neither; and who ran out of memory."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .load import LoadResult
    from .results import Cell

__all__ = ["oom_kills", "rankable", "usable_by", "what_limits"]

OOM_COUNTERS = (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events"))
"""Where Linux counts whom it has killed for want of memory: on the whole machine, and in the
control group that a container is (proc(5); Control Group v2, memory.events)."""

FULL = 0.9
"""Share of a processor from which on it is said to be used up: the rest is the waiting between
two messages, and the time that the kernel bills to neither side."""


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory; 0 where it does not tell."""
    found = 0
    for path in OOM_COUNTERS:
        with contextlib.suppress(OSError):
            words = path.read_text().split()
            if "oom_kill" in words:
                found += int(words[words.index("oom_kill") + 1])
    return found


def rankable(cell: "Cell") -> bool:
    """Whether the server set the figures of *cell*.

    Not where the generator was the slower one, nor where memory, descriptors or time ran
    out: such a server stood under less than the others.
    """
    return not cell.error and cell.limited_by in (None, "server")


def what_limits(
    result: "LoadResult",
    *,
    server_share: float | None,
    usable: int,
    generator: str | None,
) -> str | None:
    """``server``, ``generator``, ``time`` (nobody was answered), or None: neither was busy.

    A server that has used up what it may use cannot do more, however busy the generator is.
    But what is ranked of a load that is offered is its response times: these the generator has
    made where it came late, whatever the server did.

    :param server_share: processors that the server used, on average; None: it is not known.
    :param usable: how many it can use, as `usable_by` has it.
    :param generator: why the generator may have set the pace, as `generator_limit` tells.
    """
    if not result.received:
        return "time"
    full = server_share is not None and server_share >= FULL * usable
    if generator is not None and (result.plan.is_scheduled or not full):
        return "generator"
    return "server" if full else None


def usable_by(cpus: int, processes: int, threads: int, lock: bool) -> int:
    """How many of *cpus* a server of so many processes and threads can use.

    :param lock: whether one process alone uses about one processor, for Python's lock.
    """
    return max(1, min(cpus, processes if lock else threads))
