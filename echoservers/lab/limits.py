"""What set the pace of a cell: the server, the generator, or neither."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .load import LoadResult

__all__ = ["what_limits"]

FULL = 0.9
"""Share of a processor from which on it is said to be used up: the rest is the waiting between
two messages, and the time that the kernel bills to neither side."""

CEILING = 0.9
"""Share of what the generator can do at most from which on the server's pace is not known."""


def what_limits(
    result: "LoadResult",
    *,
    server_share: float | None,
    server_cpus: int,
    processes: int,
    ceiling: float | None,
) -> str | None:
    """``server``, ``generator``, ``time`` (nobody was answered), or None: neither was busy.

    :param server_share: processors that the server used, on average; None: it is not known.
    :param server_cpus: how many it may use.
    :param processes: how many it has; one alone uses about one processor, for Python's lock.
    :param ceiling: messages a second of which the generator is known to be capable.
    """
    if not result.received:
        return "time"
    usable = server_cpus if processes > 1 else 1
    server_full = server_share is not None and server_share >= FULL * usable
    at_ceiling = ceiling is not None and result.throughput >= CEILING * ceiling
    if at_ceiling or (result.busy >= FULL and not server_full):
        return "generator"
    if server_full:
        return "server"
    return None
