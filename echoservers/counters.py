"""The numbers a server keeps, and the cells that its workers count in.

A worker counts without a lock, in cells that no other worker writes: a list in
the loop or a thread, a slice of shared memory in a forked child.  The server
adds the cells up when they are asked for and when the worker ends.
"""

from collections.abc import Iterable
from typing import TypeAlias, TypedDict

__all__ = ["CELLS", "DROP_REASONS", "Stats", "new_cells"]

MESSAGES, BYTES_IN, BYTES_OUT, ERRORS = range(4)

DROP_REASONS = (
    "too_long",  # longer than the limit: a datagram is answered whole or not at all
    "unsafe_source",  # a reply could start a loop or reach more than one host
    "repeated",  # the same again and again, beyond ``max_repeats``: a loop, perhaps
    "amplification",  # the reply is longer than the datagram, the source not this machine
    "no_address",  # an unbound Unix datagram peer: nowhere to send to
    "peer_full",  # the peer does not read its replies
    "peer_gone",  # the peer has closed its socket
)
"""Why a datagram or its reply was dropped."""

INPUT_ENDED = ERRORS + 1
"""Not a count: 1 when we have ended the input of the request, not its peer."""

HANDSHAKE_FAILED = INPUT_ENDED + 1
"""Not a count: 1 when the request ends before it began, its TLS handshake having failed."""

_FIRST_DROP = HANDSHAKE_FAILED + 1
CELLS = _FIRST_DROP + len(DROP_REASONS)
"""How many numbers one worker counts."""

DROP_CELL = {reason: _FIRST_DROP + n for n, reason in enumerate(DROP_REASONS)}

Cells: TypeAlias = "list[int] | memoryview[int]"

ZEROS: "memoryview[int]" = memoryview(bytes(8 * CELLS)).cast("Q")
"""For cells in shared memory that are to be used again."""


class Stats(TypedDict):
    """What ``server.stats()`` returns: totals since the server was made.

    For a datagram server a datagram that is served counts as a connection.
    """

    accepted: int
    """Connections taken from the operating system, refused ones included."""
    active: int
    """Connections being served now."""
    closed: int
    """Connections that were served and have ended."""
    refused: dict[str, int]
    """Connections closed unserved, by reason."""
    messages: int
    """Messages handed to ``respond()``."""
    bytes_in: int
    """Bytes received by handlers."""
    bytes_out: int
    """Bytes sent by handlers: a blocking model counts a reply when the system has taken all of it,
    a reactor what the system has taken, asyncio and uvloop what was handed to the transport of the
    event loop, which may still hold it."""
    errors: int
    """Connections that ended by a fault of the handler or of the peer's framing."""
    dropped: dict[str, int]
    """Datagrams and replies dropped, by reason."""


def new_cells() -> list[int]:
    """Fresh cells for a worker of this process."""
    return [0] * CELLS


def add_up(all_cells: Iterable[Cells]) -> list[int]:
    """The sum of *all_cells*, cell by cell."""
    return [sum(column) for column in zip(*all_cells, strict=True)]
