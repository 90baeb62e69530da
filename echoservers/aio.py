"""Many streams a system call: reads or writes of many sockets by io_submit(2), Linux's own AIO.

For a socket that does not block there is nothing asynchronous in it: io_submit(2) makes one read or
write after the other, and when it returns the result of each stands in a ring that the kernel
shares with us, in their order.  What is saved is the way into the kernel and back, for each, and
Python's part of it.  What was read stays where the kernel has put it, and is written from there.
Linux only, and only where `ctypes` is; see `many_streams`.
"""

import ctypes
import errno
import mmap
import os
import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from .native import column, retried, where

__all__ = ["ManyStreams", "many_streams"]

_NUMBERS = {  # io_setup, io_destroy, io_submit: libc has no functions for them (syscall(2))
    "x86_64": (206, 207, 209),
    "aarch64": (0, 1, 2),
    "riscv64": (0, 1, 2),
}

_READ, _WRITE = 0, 1  # IOCB_CMD_PREAD, IOCB_CMD_PWRITE, <linux/aio_abi.h>
_REQUEST = struct.Struct("=QIIHhIQQqQII")  # struct iocb, <linux/aio_abi.h>
_DESCRIPTOR_AT, _SIZE_AT = 20, 32  # aio_fildes, aio_nbytes

# struct aio_ring (fs/aio.c), which the kernel maps at the number of the context; as libaio has it.
_RING_HEADER = struct.Struct("=8I")  # id, nr, head, tail, magic, two sets of features, length
_MAGIC = 0xA10A10A1
_HEAD, _TAIL = 2, 3
_EVENT_SIZE, _RESULT_AT = 32, 16  # struct io_event: data, obj, res, res2


def many_streams(count: int, room: int) -> "ManyStreams | None":
    """Room for *count* reads of up to *room* bytes; None: this system cannot do it.

    :raises OSError: no more contexts are to be had (``/proc/sys/fs/aio-max-nr``), or no memory.
    """
    numbers = _NUMBERS.get(os.uname().machine)
    if sys.platform != "linux" or numbers is None or sys.maxsize < 1 << 32:
        return None  # a 32-bit Python has other numbers under the same kernel
    call: Callable[..., int] = ctypes.CDLL(None, use_errno=True).syscall
    _declare(call)
    set_up, destroy, submit = numbers
    context = ctypes.c_ulong(0)
    try:
        retried(call, set_up, count, ctypes.addressof(context), 0)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):  # built without, or a filter (seccomp(2))
            return None
        raise
    header = _RING_HEADER.unpack(ctypes.string_at(context.value, _RING_HEADER.size))
    _, places, _, _, magic, _, features_we_must_know, size = header
    if magic != _MAGIC or features_we_must_know or size % 8:
        call(destroy, context.value, 0, 0)
        return None
    try:
        return ManyStreams(call, (destroy, submit), context.value, (places, size), count, room)
    except BaseException:  # no memory
        call(destroy, context.value, 0, 0)
        raise


def _declare(call: Any) -> None:
    call.argtypes = (ctypes.c_long,) * 4
    call.restype = ctypes.c_long


class ManyStreams:
    """Messages received together, each to be sent back to where it came from.

    For one thread, and for the process that made it: a fork has no part in it.

    :param call: syscall(2).
    :param numbers: of io_destroy and io_submit.
    :param context: what io_setup gave.
    :param ring: how many places its ring has, and how many bytes stand before the first.
    :param count: most sockets at a time.
    :param room: bytes for each; memory that nothing reaches is never touched.
    """

    def __init__(
        self,
        call: Callable[..., int],
        numbers: tuple[int, int],
        context: int,
        ring: tuple[int, int],
        count: int,
        room: int,
    ) -> None:
        self._call, self._context = call, context
        self._destroy, self._submit = numbers
        self._places, header_size = ring
        self.count, self.room = count, room
        self._data = mmap.mmap(-1, count * room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._view = memoryview(self._data)
        self._reads, self._read_at = self._requests(_READ)
        self._writes, self._write_at = self._requests(_WRITE)
        self._chosen = array("Q", bytes(8 * count))
        # Of each request one number: views into what the kernel reads.
        size = _REQUEST.size
        self._read_from = column(self._reads, "i", _DESCRIPTOR_AT, size)
        self._write_to = column(self._writes, "i", _DESCRIPTOR_AT, size)
        self._sizes = column(self._writes, "q", _SIZE_AT, size)
        length = header_size + self._places * _EVENT_SIZE
        memory = (ctypes.c_char * length).from_address(context)
        self._ring = memoryview(memory).cast("B")[:header_size].cast("I")
        events = memoryview(memory).cast("B")[header_size:]
        self._results = column(events, "q", _RESULT_AT, _EVENT_SIZE)

    def _requests(self, kind: int) -> tuple[bytearray, "array[int]"]:
        """A request for each place of the data, and where each of them stands in memory."""
        data, room = where(self._data), self.room
        requests = bytearray(self.count * _REQUEST.size)
        for n in range(self.count):
            _REQUEST.pack_into(
                requests, n * _REQUEST.size,
                n, 0, 0, kind, 0, 0, data + n * room, room, 0, 0, 0, 0,
            )  # fmt: skip
        at = where(requests)
        return requests, array("Q", range(at, at + len(requests), _REQUEST.size))

    def receive(self, descriptors: "array[int]") -> list[int]:
        """Read once from each of *descriptors*: sockets that do not block, `count` at most.

        :returns: how many bytes came from each, in their order; 0 at the end of its stream, below
            it the negative number of an error.  The system may not come to the last ones, from
            one on that is no descriptor, or to any: for those there is nothing.
        """
        count = len(descriptors)
        self._read_from[:count] = self._write_to[:count] = memoryview(descriptors)
        sizes = self._made(self._read_at, count)
        self._sizes[: len(sizes)] = memoryview(array("q", sizes))
        return sizes

    def send_back(self, places: Sequence[int]) -> list[int]:
        """Write what was received at each of *places* to where it came from.

        :returns: how many bytes went at each, in their order, or the negative number of an error;
            shorter as in `receive`.
        """
        if len(places) == places[-1] + 1:  # all, from the first on
            return self._made(self._write_at, len(places))
        for n, place in enumerate(places):
            self._chosen[n] = self._write_at[place]
        return self._made(self._chosen, len(places))

    def message(self, place: int, size: int) -> memoryview:
        """What was received there, as long as nothing else is."""
        begin = place * self.room
        return self._view[begin : begin + size]

    def taken(self, place: int, size: int) -> bytes:
        """A copy of what was received there."""
        begin = place * self.room
        return self._data[begin : begin + size]

    def put(self, place: int, message: bytes) -> None:
        """Let *message* go out there, which is as long as what was received."""
        begin = place * self.room
        self._data[begin : begin + len(message)] = message

    def _made(self, requests: "array[int]", count: int) -> list[int]:
        """Have the first *count* of *requests* made; the result of each."""
        at = requests.buffer_info()[0]
        ring = self._ring
        # Before the call: behind it a signal handler may raise, and leave the results there.
        head = ring[_HEAD] = ring[_TAIL]
        end = head + max(0, self._call(self._submit, self._context, count, at))
        results = self._results[head:end].tolist()
        if end > self._places:
            end -= self._places
            results += self._results[:end].tolist()
        return results

    def close(self) -> None:
        """Give the context back; takes the system some 30 ms, in which it has nothing to do."""
        context, self._context = self._context, 0
        self._call(self._destroy, context, 0, 0)
