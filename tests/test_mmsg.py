"""Where a system has no calls for many datagrams, that is known; what they answer is minded."""

import ctypes
import errno
from collections.abc import Callable
from typing import Any

import pytest

from echoservers import mmsg, native


def library(answer: Callable[..., int]) -> Any:
    """Stands for libc; its two calls answer so."""

    class Calls:
        def __init__(self) -> None:
            self.argtypes: Any = None

        def __call__(self, *arguments: Any) -> int:
            return answer(*arguments)

    class Library:
        recvmmsg, sendmmsg = Calls(), Calls()

    return Library()


def fails_with(code: int) -> Callable[..., int]:
    def answer(*_: Any) -> int:
        ctypes.set_errno(code)
        return -1

    return answer


def no_library(*_: Any, **__: Any) -> Any:
    raise OSError("no dynamic loading here")


@pytest.mark.parametrize(
    ("opened", "there"),
    [
        (no_library, False),
        (lambda *_, **__: object(), False),
        (lambda *_, **__: library(fails_with(errno.ENOSYS)), False),
        (lambda *_, **__: library(fails_with(errno.EPERM)), False),
        (lambda *_, **__: library(fails_with(errno.EBADF)), True),
    ],
    ids=["no library", "no symbol", "no system call", "not permitted", "all there"],
)
def test_a_system_that_cannot_is_known(
    opened: Any, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("sys.byteorder", "little")
    monkeypatch.setattr(ctypes, "CDLL", opened)
    assert (mmsg._calls.__wrapped__() is not None) == there


@pytest.mark.parametrize(("name", "value"), [("platform", "freebsd14"), ("byteorder", "big")])
def test_other_structures_are_left_alone(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"sys.{name}", value)
    assert mmsg._calls.__wrapped__() is None


def test_a_call_that_a_signal_has_ended_is_made_again() -> None:
    answers = iter([errno.EINTR, errno.EINTR, 0])

    def call(*arguments: Any) -> int:
        code = next(answers)
        ctypes.set_errno(code)
        return -1 if code else len(arguments)

    assert native.retried(call, "one", "two") == 2
