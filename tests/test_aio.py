"""Where a system has no call for many streams, that is known."""

import ctypes
import errno
import os
import socket
import sys
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
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


@pytest.fixture
def many() -> Iterator[aio.ManyStreams]:
    made = aio.many_streams(4, 64)
    if made is None:
        pytest.skip("one system call a message here")
    yield made
    made.close()


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    made = [socket.socketpair() for _ in range(3)]
    for ours, _ in made:
        ours.setblocking(False)
    yield made
    for pair in made:
        for end in pair:
            end.close()


Pairs = list[tuple[socket.socket, socket.socket]]


def test_each_has_its_own_result(many: aio.ManyStreams, pairs: Pairs) -> None:
    pairs[0][1].send(b"first")
    pairs[2][1].close()
    sizes = many.receive(array("i", [ours.fileno() for ours, _ in pairs]))
    assert sizes == [5, -errno.EAGAIN, 0]
    assert bytes(many.message(0, 5)) == many.taken(0, 5) == b"first"
    many.put(0, b"FIRST")
    assert many.send_back([0]) == [5]
    assert pairs[0][1].recv(9) == b"FIRST"


def test_from_a_descriptor_on_that_is_none_nothing_is_done(
    many: aio.ManyStreams, pairs: Pairs
) -> None:
    for _, theirs in pairs:
        theirs.send(b"hello")
    assert many.receive(array("i", [-1, pairs[0][0].fileno()])) == []
    assert many.receive(array("i", [pairs[0][0].fileno(), -1, pairs[1][0].fileno()])) == [5]
    assert pairs[1][0].recv(9) == b"hello"


def test_results_that_nobody_took_are_not_those_of_the_next(
    many: aio.ManyStreams, pairs: Pairs
) -> None:
    """A signal handler raises when the call has been made."""
    call = many._call
    for _, theirs in pairs:
        theirs.send(b"a long message")

    def interrupted(*arguments: int) -> int:
        call(*arguments)
        raise TimeoutError("of somebody's signal handler")

    many._call = interrupted
    with pytest.raises(TimeoutError):
        many.receive(array("i", [ours.fileno() for ours, _ in pairs]))
    many._call = call
    pairs[1][1].send(b"short")
    assert many.receive(array("i", [pairs[1][0].fileno()])) == [5]
    assert many.taken(0, 5) == b"short"


def test_where_there_is_no_memory_nothing_is_kept(
    many: aio.ManyStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: Any, **__: Any) -> Any:
        raise MemoryError

    before = contexts_of_this_process()
    monkeypatch.setattr(aio, "ManyStreams", no_memory)
    with pytest.raises(MemoryError):
        aio.many_streams(4, 64)
    assert contexts_of_this_process() == before >= 1


def contexts_of_this_process() -> int:
    return Path("/proc/self/maps").read_text().count("[aio]")
