"""What set the pace of a cell: the server, the generator, or neither."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .load import LoadResult

__all__ = ["what_limits"]

FULL = 0.9
"""Share of a processor from which on it is said to be used up: the rest is the waiting between
two messages, and the time that the kernel bills to neither side."""


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
