"""What the modules that call the system through `ctypes` share: addresses, columns, errors."""

import ctypes
import errno
import os
from collections.abc import Callable
from typing import Any, Literal

__all__ = ["Call", "column", "retried", "where"]

Call = Callable[..., int]


def where(memory: Any) -> int:
    """The address of *memory*, a writable buffer, which must be kept alive."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def column(
    structures: Any, kind: Literal["H", "I", "i", "q"], offset: int, stride: int
) -> "memoryview[int]":
    """One number of each of *structures*: a view into what the kernel reads and writes.

    :param kind: of number, as in `struct`.
    :param offset: bytes before the first.
    :param stride: bytes from one to the next.
    """
    numbers: memoryview[int] = memoryview(structures).cast("B").cast(kind)
    return numbers[offset // numbers.itemsize :: stride // numbers.itemsize]


def retried(call: Call, *arguments: Any) -> int:
    """Call as Python's own calls do: again after a signal (PEP 475), errors raised."""
    while (done := call(*arguments)) < 0:
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return done
