r"""Messages to be sent, made before the clock runs, no two alike.

Each is ASCII text that ends with its only newline, so that servers which echo bytes and
servers which echo lines both take it::

    PREFIX  NUMBER  CONNECTION  FILLER  \n

NUMBER and CONNECTION are written to the base 64, the lower digits first, so that a reply
that another connection should have had, or that comes too late, differs in its first bytes.
What a size does not hold is cut off: of one byte all messages are a newline.

A connection goes round a few messages, its ring.  Formatting each anew would cost more than
to send it.
"""

import random
from collections.abc import Sequence

__all__ = ["KEY_SIZE", "Rings", "difference"]

DIGITS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-"

FILLER = 4001
"""Bytes until the filler repeats: a prime, so that no page or buffer is as long."""

KEY_SIZE = 6
"""Bytes of NUMBER and CONNECTION: 64**3 of each."""

RING = 64
"""Messages of a ring: a reply that comes 64 messages late passes for the right one; that no
server keeps a reply back for so long is what the order within a connection makes sure."""

RINGS_SIZE, RINGS_MESSAGES = 64 << 20, 1 << 16
"""Bytes and messages of all rings, what is made within a tenth of a second; where they would be
more, rings are shorter, at least of two messages, and connections share them."""


def _key(number: int, connection: int) -> bytes:
    return bytes(
        DIGITS[part >> shift & 63] for part in (number, connection) for shift in (0, 6, 12)
    )


class Rings:
    """The messages of every connection.

    :param connections: how many there are.
    :param size: bytes of a message.
    :param prefix: what each begins with, shorter than *size*.
    :param length: messages of a ring, where there is room for so many.
    """

    def __init__(self, connections: int, size: int, prefix: bytes, length: int = RING) -> None:
        self.size = size
        room = min(RINGS_MESSAGES, RINGS_SIZE // size)
        self.length = max(2, min(length, room // connections))
        self.rings = max(1, min(connections, room // self.length))
        """How many are different; connection *n* has the ring ``n % rings``."""
        self._prefix = prefix
        shuffled = random.Random(size)
        self._filler = bytes(shuffled.choices(DIGITS, k=FILLER + 64))
        self._made: dict[int, list[bytes]] = {}

    def of(self, connection: int) -> Sequence[bytes]:
        """The ring of *connection*."""
        ring = connection % self.rings
        if ring not in self._made:
            self._made[ring] = [self._message(number, ring) for number in range(self.length)]
        return self._made[ring]

    def stream(self, connection: int) -> bytes:
        """The ring of *connection* as the bytes of a stream."""
        return b"".join(self.of(connection))

    def _message(self, number: int, ring: int) -> bytes:
        head = self._prefix + _key(number, ring)
        left = self.size - 1 - len(head)
        start = (number + 7 * ring) % 64  # a prime step: rings do not look alike
        body = self._filler[start : start + FILLER] * (left // FILLER + 1)
        return (head + body)[: self.size - 1] + b"\n"


def difference(connection: int, position: int, size: int, expected: bytes, received: bytes) -> str:
    """Where *received* is not what was *expected*, in words.

    :param position: bytes that the connection has received before.
    :param size: bytes of a message.
    """
    at = next(
        (n for n, (one, other) in enumerate(zip(expected, received, strict=False)) if one != other),
        min(len(expected), len(received)),
    )
    number, byte = divmod(position + at, size)
    return (
        f"connection {connection}, message {number}, byte {byte}:"
        f" expected {_shown(expected, at)}, received {_shown(received, at)}"
    )


def _shown(data: bytes, at: int) -> str:
    piece = data[at : at + 16]
    return repr(piece)[1:] + ("..." if len(data) > at + 16 else "") if piece else "nothing"
