"""Limits: what a target may use before it is killed, with all that it has started.

They hold back mistakes, not attacks: a program can still read and write what the user can.
For submissions of strangers run the whole in a container or on a machine of its own.
"""

import contextlib
import resource
from collections.abc import Iterator
from typing import NamedTuple

__all__ = [
    "MIB",
    "Limits",
    "descriptors_for_others",
    "descriptors_raised",
    "raise_own_descriptors",
]

MIB = 2**20


class Limits(NamedTuple):
    """Of one program and its descendants together, unless it says otherwise."""

    cpu: float = 60.0
    """Seconds of processor time: every check of a right server takes under ten."""
    memory: int = 1024 * MIB
    """Bytes that are resident, shared ones counted once: 300 processes of an interpreter take
    half of it.  Not address space, of which virtual machines reserve gigabytes."""
    descriptors: int = 1024
    """For each process: what a login gets; the checks open 300 connections at a time."""
    processes: int = 1024
    """Processes and threads together: the checks connect 300 clients at a time, and each may
    have one of either, and some helpers."""
    file_size: int = 256 * MIB
    """Bytes of each file: a log with every byte of the checks, spelled out, is smaller."""
    output: int = 256 * MIB
    """Bytes printed, for the same reason."""
    time: float = 300.0
    """Seconds for the build and all checks: ten times what a right server takes."""

    def arguments(self) -> list[str]:
        """What `supervisor` is told."""
        return [
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in self._asdict().items()
        ]


_for_others: int | None = None


def raise_own_descriptors() -> None:
    """Let this process open as many descriptors as it may; what it starts, as many as before.

    A client more costs a descriptor here, too, and a check that lacks one says nothing of
    the server.  A server is to have what it gets from a login: some close every descriptor
    that there could be, others use select(2), which knows 1,024.
    """
    global _for_others
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # no more than before then (macOS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        _for_others = soft


@contextlib.contextmanager
def descriptors_raised(least: int) -> Iterator[None]:
    """Let this process open as many descriptors as it may for a while.

    :param least: how many each program gets that is started meanwhile, if the system allows
        so many; where it would have had more, it has those.
    """
    global _for_others
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before, others = _for_others, descriptors_for_others()
    raise_own_descriptors()
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard:
        allowed = least if hard == resource.RLIM_INFINITY else min(least, hard)
        _for_others = others if others == resource.RLIM_INFINITY else max(others, allowed)
    try:
        yield
    finally:
        _for_others = before
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def descriptors_for_others() -> int:
    """How many descriptors a program gets that is started here."""
    if _for_others is not None:
        return _for_others
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
