"""The waits and the loop over them: one body for poll, select and epoll."""

import os
import select
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from echoservers.loop import Loop
from echoservers.waits import READABLE, EpollWait, KqueueWait, PollWait, SelectWait, Wait

WAITS: list[Callable[[], Wait]] = [PollWait, SelectWait]
WAITS += [EpollWait] if hasattr(select, "epoll") else []
WAITS += [KqueueWait] if hasattr(select, "kqueue") else []


@pytest.fixture(params=WAITS, ids=lambda wait: wait.__name__)
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    made = Loop(request.param())
    yield made
    made.close()
    made.close()  # twice is harmless


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        yield here, there


Pair = tuple[socket.socket, socket.socket]


def test_what_is_readable_is_called_in_every_turn(loop: Loop, pair: Pair) -> None:
    called: list[str] = []
    loop.watch(pair[0].fileno(), lambda: called.append("read"))
    loop.turn(0)
    assert called == []
    pair[1].send(b"x")
    loop.turn(5)
    loop.turn(5)  # it has not been read: it is readable still
    assert called == ["read", "read"]
    loop.unwatch(pair[0].fileno())
    loop.turn(0)
    assert called == ["read", "read"]


def test_a_descriptor_is_watched_for_one_thing_at_a_time(loop: Loop, pair: Pair) -> None:
    called: list[str] = []
    descriptor = pair[0].fileno()
    loop.watch(descriptor, lambda: called.append("read"))
    loop.watch_writing(descriptor, lambda: called.append("write"))
    pair[1].send(b"x")
    loop.turn(5)
    assert called == ["write"]
    loop.watch(descriptor, lambda: called.append("read"))
    loop.turn(5)
    assert called == ["write", "read"]
    loop.unwatch(descriptor)
    loop.unwatch(descriptor)  # harmless


def test_a_hang_up_wakes_whoever_waits(loop: Loop, pair: Pair) -> None:
    called: list[str] = []
    loop.watch(pair[0].fileno(), lambda: called.append("read"))
    pair[1].close()
    loop.turn(5)
    assert called == ["read"]


def test_who_was_unwatched_in_the_same_turn_is_not_called(loop: Loop) -> None:
    called: list[int] = []
    pairs = [socket.socketpair() for _ in range(3)]
    try:

        def first_of_all(number: int) -> None:
            called.append(number)
            for here, _ in pairs:
                loop.unwatch(here.fileno())

        for number, (here, there) in enumerate(pairs):
            loop.watch(here.fileno(), lambda number=number: first_of_all(number))
            there.send(b"x")
        loop.turn(5)
        assert len(called) == 1
    finally:
        for here, there in pairs:
            here.close()
            there.close()


def test_a_wake_up_ends_the_wait_or_the_next(loop: Loop) -> None:
    loop.wake()
    loop.wake()
    before = time.monotonic()
    loop.turn(10)
    assert time.monotonic() - before < 5
    loop.turn(0)  # both were taken


def test_timers_are_called_in_order_and_not_when_cancelled(loop: Loop) -> None:
    called: list[str] = []
    now = time.monotonic()
    loop.call_at(now + 0.02, lambda: called.append("second"))
    loop.call_at(now, lambda: called.append("first"))
    gone = loop.call_at(now, lambda: called.append("never"))
    loop.cancel(gone)
    while len(called) < 2:
        loop.turn(5)
    assert called == ["first", "second"]


def test_cancelled_timers_are_not_kept(loop: Loop) -> None:
    later = time.monotonic() + 1000
    kept = [loop.call_at(later, lambda: None) for _ in range(10)]
    for _ in range(10_000):
        loop.cancel(loop.call_at(later, lambda: None))
    assert len(loop._timers) < 500
    for timer in kept:
        loop.cancel(timer)


def test_a_closed_descriptor_can_be_unwatched(loop: Loop) -> None:
    here, there = socket.socketpair()
    loop.watch(here.fileno(), lambda: None)
    descriptor = here.fileno()
    here.close()
    there.close()
    loop.unwatch(descriptor)
    loop.turn(0)


def test_a_shared_socket_is_watched_and_unwatched(loop: Loop, pair: Pair) -> None:
    called: list[str] = []
    loop.watch(pair[0].fileno(), lambda: called.append("read"), shared=True)
    pair[1].send(b"x")
    loop.turn(5)
    assert called == ["read"]
    loop.unwatch(pair[0].fileno())
    loop.turn(0)
    assert called == ["read"]


def test_the_system_gets_back_what_a_wait_has_taken() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for kind in WAITS:
        loop = Loop(kind())
        loop.turn(0)
        loop.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_select_says_up_to_where_it_goes() -> None:
    assert SelectWait().highest == 1023
    assert PollWait().highest is None
    wait = PollWait()
    wait.watch(0, READABLE)
    wait.watch(0, 0)
    wait.watch(0, 0)  # harmless
