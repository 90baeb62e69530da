"""The wait on an asyncio event loop, turn by turn."""

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator

import pytest

from echoservers.event_loop import EventLoop
from support import PATIENCE


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    made = EventLoop(asyncio.new_event_loop)
    yield made
    made.close()
    made.close()  # harmless twice


def test_what_was_to_be_watched_before_the_event_loop_was_made_is(loop: EventLoop) -> None:
    ours, theirs = socket.socketpair()
    seen: list[str] = []
    with ours, theirs:
        loop.watch(ours.fileno(), lambda: seen.append("read"), shared=True)
        loop.watch_writing(theirs.fileno(), lambda: (seen.append("write"), loop.wake()))  # type: ignore[func-returns-value]
        loop.turn(PATIENCE)
        assert set(seen) == {"write"}
        loop.unwatch(theirs.fileno())
        theirs.send(b"x")
        loop.turn(0.01)
        assert "read" in seen
        loop.unwatch(ours.fileno())


def test_a_callback_that_fails_ends_the_turn(loop: EventLoop) -> None:
    ours, theirs = socket.socketpair()

    def fail() -> None:
        raise ValueError("callback")

    with ours, theirs:
        loop.watch_writing(ours.fileno(), fail)
        with pytest.raises(ValueError, match="callback"):
            loop.turn(PATIENCE)
        loop.unwatch(ours.fileno())


def test_timers_are_called_unless_they_were_cancelled(loop: EventLoop) -> None:
    called: list[str] = []
    cancelled = loop.call_at(0, lambda: called.append("cancelled"))
    loop.cancel(cancelled)
    loop.call_at(0, lambda: (called.append("called"), loop.wake()))  # type: ignore[func-returns-value]
    loop.turn(PATIENCE)
    assert called == ["called"]


def test_what_nobody_else_could_be_told(loop: EventLoop, caplog: pytest.LogCaptureFixture) -> None:
    events = loop.events

    def report(error: BaseException) -> None:
        events.call_exception_handler({"message": "it failed", "exception": error})

    with caplog.at_level(logging.DEBUG, "echoservers"):
        report(OSError(9, "Bad file descriptor"))
        report(ValueError("unseen"))
    assert [record.levelname for record in caplog.records] == ["DEBUG", "ERROR"]
    events.call_soon(report, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        loop.turn(PATIENCE)


def test_another_thread_may_ask(loop: EventLoop) -> None:
    asked: list[int] = []
    thread = threading.Thread(target=loop.ask, args=(lambda: asked.append(1),))
    thread.start()
    loop.turn(PATIENCE)
    thread.join()
    assert asked == [1]
