"""What the checks send: lines that show where they belong."""

import functools

from ..targets.limits import MIB

__all__ = ["LINE", "MIB", "numbered_lines"]

LINE = 64
"""Bytes of a numbered line, its end included."""


@functools.cache
def numbered_lines(size: int) -> bytes:
    """Lines of 64 bytes, each with its number: *size* bytes, of which none can be left out,
    doubled or moved without a difference.
    """
    lines = b"".join(b"%063d\n" % number for number in range(-(-size // LINE)))
    return lines[: size - 1] + b"\n" if size else b""
