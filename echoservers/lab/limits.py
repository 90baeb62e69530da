"""What set the pace of a cell: the server, the generator, or neither; and who ran out of memory."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .load import LoadResult
    from .results import Cell

__all__ = ["oom_kills", "rankable", "what_limits"]

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
    server_cpus: int,
    processes: int,
    generator: str | None,
) -> str | None:
    """``server``, ``generator``, ``time`` (nobody was answered), or None: neither was busy.

    A server that has used up what it may use cannot do more, however busy the generator is.

    :param server_share: processors that the server used, on average; None: it is not known.
    :param server_cpus: how many it may use.
    :param processes: how many it has; one alone uses about one processor, for Python's lock.
    :param generator: why the generator may have set the pace, as `generator_limit` tells.
    """
    if not result.received:
        return "time"
    usable = server_cpus if processes > 1 else 1
    if server_share is not None and server_share >= FULL * usable:
        return "server"
    return None if generator is None else "generator"
