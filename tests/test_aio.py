"""Where a system has no call for many streams, that is known."""

import ctypes
import errno
import os
import socket
import sys
from array import array
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from echoservers import aio

HEADER = aio._RING_HEADER


class Library:
    """Stands for libc: its syscall() sets up a context with this ring, or fails."""

    def __init__(self, code: int = 0, magic: int = aio._MAGIC, features: int = 0) -> None:
        self.ring = ctypes.create_string_buffer(HEADER.pack(0, 8, 0, 0, magic, 1, features, 32))
        self.destroyed: list[int] = []
        at = ctypes.addressof(self.ring)

        def call(number: int, first: int, second: int, _third: int) -> int:
            if number == 207:
                self.destroyed.append(first)
                return 0
            ctypes.set_errno(code)
            if code:
                return -1
            ctypes.c_ulong.from_address(second).value = at
            return 0

        self.syscall = call


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="x86_64"))
    return lambda library: monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM])
def test_a_system_without_the_call_is_known(code: int, libc: Callable[[Any], None]) -> None:
    libc(Library(code))
    assert aio.many_streams(8, 64) is None


def test_a_want_of_contexts_is_told(libc: Callable[[Any], None]) -> None:
    libc(Library(errno.EAGAIN))
    with pytest.raises(BlockingIOError):
        aio.many_streams(8, 64)


@pytest.mark.parametrize("ring", [{"magic": 1}, {"features": 1}])
def test_a_ring_of_another_kind_is_given_back(ring: Any, libc: Callable[[Any], None]) -> None:
    library = Library(**ring)
    libc(library)
    assert aio.many_streams(8, 64) is None
    assert library.destroyed == [ctypes.addressof(library.ring)]


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (sys, "platform", "freebsd14"),
        (sys, "maxsize", (1 << 31) - 1),
        (os, "uname", lambda: SimpleNamespace(machine="mips")),
    ],
)
def test_other_systems_are_left_alone(
    module: Any, name: str, value: Any, libc: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    libc(Library())
    monkeypatch.setattr(module, name, value)
    assert aio.many_streams(8, 64) is None


def test_what_waits_is_told_and_nothing_else() -> None:
    """A blocking socket is not waited for either."""
    many = aio.many_streams(4, 64)
    if many is None:
        pytest.skip("one system call a message here")
    pairs = [socket.socketpair() for _ in range(3)]
    try:
        pairs[0][1].send(b"first")
        pairs[2][1].close()
        sizes = many.receive(array("i", [ours.fileno() for ours, _ in pairs]))
        assert sizes == [5, -errno.EAGAIN, 0]
        assert bytes(many.message(0, 5)) == b"first"
        assert many.send_back([0]) == [5]
        assert pairs[0][1].recv(9) == b"first"
    finally:
        many.close()
        for pair in pairs:
            for end in pair:
                end.close()


def test_a_descriptor_that_is_closed_is_not_come_to() -> None:
    many = aio.many_streams(4, 64)
    if many is None:
        pytest.skip("one system call a message here")
    reading, writing = os.pipe()
    os.close(writing)
    os.close(reading)
    try:
        with pytest.raises(OSError, match="descriptor") as caught:
            many.receive(array("i", [reading]))
        assert caught.value.errno == errno.EBADF
    finally:
        many.close()
