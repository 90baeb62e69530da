"""Many datagrams a system call: recvmmsg(2) and sendmmsg(2), which `socket` does not have.

What is received stays where the kernel has put it, message and source address alike, and is
sent back from there: no object is made for a datagram.  What the kernel and we tell each
other about the batch, lengths and ports, lies in its structures at equal distances, so each
is one slice of a memoryview.  Linux only, and only where `ctypes` is; see `many_datagrams`.
"""

import ctypes
import errno
import mmap
import socket
import struct
import sys
from functools import cache

from .native import Call, column, retried, where

__all__ = ["ManyDatagrams", "many_datagrams"]

ADDRESS_ROOM = 128
"""Bytes: a ``struct sockaddr_storage`` (socket(7)), which holds any address."""

DONT_WAIT = int(socket.MSG_DONTWAIT)


class _Buffer(ctypes.Structure):  # struct iovec, readv(2)
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):  # struct msghdr, recvmsg(2), and msg_len of struct mmsghdr
    _fields_ = (
        ("address", ctypes.c_void_p),
        ("address_size", ctypes.c_uint32),
        ("buffers", ctypes.c_void_p),
        ("buffer_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):  # struct mmsghdr, recvmmsg(2)
    _fields_ = (("header", _Header), ("size", ctypes.c_uint32))


@cache
def _calls() -> tuple[Call, Call] | None:
    """The two system calls, if this system has them and lets us make them."""
    if sys.platform != "linux" or sys.byteorder != "little":
        return None  # other structures; a size_t that does not begin with its low half
    try:
        library = ctypes.CDLL(None, use_errno=True)
        receive, send = library.recvmmsg, library.sendmmsg
    except (OSError, AttributeError):  # a static build, an old libc
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_uint
    receive.argtypes = (ctypes.c_int, pointer, number, ctypes.c_int, pointer)
    send.argtypes = (ctypes.c_int, pointer, number, ctypes.c_int)
    for call, arguments in ((receive, (-1, None, 0, 0, None)), (send, (-1, None, 0, 0))):
        if call(*arguments) != -1 or ctypes.get_errno() != errno.EBADF:
            return None  # an old kernel, or a filter of system calls (seccomp(2))
    return receive, send


def many_datagrams(count: int, room: int) -> "ManyDatagrams | None":
    """Room for *count* datagrams of up to *room* bytes; None: this system cannot do it."""
    calls = _calls()
    return None if calls is None else ManyDatagrams(*calls, count, room)


class ManyDatagrams:
    """Datagrams received together, each to be sent back to its source.

    :param count: most datagrams at a time.
    :param room: bytes for each; memory that no datagram reaches is never touched.
    """

    def __init__(self, receive: Call, send: Call, count: int, room: int) -> None:
        self._receive, self._send = receive, send
        self._count, self._room = count, room
        # Not a bytearray: that would write zeros, and so take all of it at once.
        self._data = mmap.mmap(-1, count * room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._addresses = bytearray(count * ADDRESS_ROOM)
        self._buffers = (_Buffer * count)()
        self._messages = (_Message * count)()
        data, addresses = where(self._data), where(self._addresses)
        buffers = ctypes.addressof(self._buffers)
        for n in range(count):
            self._buffers[n].base = data + n * room
            header = self._messages[n].header
            header.address = addresses + n * ADDRESS_ROOM
            header.buffers = buffers + n * ctypes.sizeof(_Buffer)
            header.buffer_count = 1
        # Of each structure one number: views into what the kernel reads and writes.
        header_size, buffer_size = ctypes.sizeof(_Message), ctypes.sizeof(_Buffer)
        self._sizes = column(self._messages, "I", _Message.size.offset, header_size)
        address_size = _Header.address_size.offset
        self._address_sizes = column(self._messages, "I", address_size, header_size)
        self._buffer_sizes = column(self._buffers, "I", _Buffer.size.offset, buffer_size)
        self._ports = column(self._addresses, "H", 2, ADDRESS_ROOM)
        self._whole_buffers = memoryview(struct.pack("I", room) * count).cast("I")
        self._whole_addresses = memoryview(struct.pack("I", ADDRESS_ROOM) * count).cast("I")

    def receive(self, descriptor: int) -> list[int]:
        """Receive what is there, and return the size of each datagram; never waits.

        A datagram that is longer than the room is cut, and so exactly as long as that.

        :raises OSError: as `socket.socket.recv`, but that there is nothing.
        """
        self._buffer_sizes[:] = self._whole_buffers
        self._address_sizes[:] = self._whole_addresses
        at = ctypes.addressof(self._messages)
        try:
            received = retried(self._receive, descriptor, at, self._count, DONT_WAIT, None)
        except BlockingIOError:
            return []
        sizes = self._sizes[:received]
        self._buffer_sizes[:received] = sizes  # what is sent is as long as what came
        return sizes.tolist()

    def ports(self, count: int) -> tuple[int, ...]:
        """The source ports of the first *count*, over IPv4 or IPv6 (ip(7), ipv6(7))."""
        return struct.unpack(f"!{count}H", self._ports[:count].tobytes())

    def has_address(self, index: int) -> bool:
        """Whether there is anybody to send that datagram to (unix(7): unnamed sockets)."""
        return self._address_sizes[index] > 0

    def message(self, index: int) -> bytes:
        """A copy of what was received."""
        begin = index * self._room
        return self._data[begin : begin + self._sizes[index]]

    def send_back(self, descriptor: int, first: int, end: int) -> int:
        """Send from *first* on, up to *end*, each to its source; never waits.

        :returns: how many were sent, at least one: then comes the end or one that cannot be.
        :raises OSError: as `socket.socket.sendto`, about *first*.
        """
        at = ctypes.addressof(self._messages) + first * ctypes.sizeof(_Message)
        return retried(self._send, descriptor, at, end - first, DONT_WAIT)
