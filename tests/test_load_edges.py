"""Loads at the edges: nobody there, long messages, a reflector that fails, half an order."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import load_peers
from echoservers.errors import OptionError
from echoservers.lab.load import LoadError, LoadPlan, calibrate, calibration, run, run_load
from echoservers.lab.load import loop as loops
from support import PATIENCE, ROOT


@pytest.mark.parametrize(
    ("transport", "ended"),
    [
        ("unix-stream", "no connection is left: no such file or directory"),
        ("unix-datagram", "no such file or directory"),
    ],
)
def test_there_is_no_such_socket(transport: str, ended: str, folder: Path) -> None:
    result = run_load(LoadPlan(f"{transport}://{folder}/none", connections=2, duration=20))
    assert (result.ended, result.received) == (ended, 0)


def test_the_ceiling_of_messages_longer_than_a_buffer() -> None:
    """The reflector keeps what does not go, and neither loses nor changes any of it."""
    plan = LoadPlan("unix-stream:///x", size=500_000, pipeline=4)
    assert calibrate(plan, seconds=0.8).rate > 1


def test_the_ceiling_over_tls() -> None:
    ceiling = calibrate(LoadPlan("tls://127.0.0.1:1", connections=2), seconds=0.1)
    assert ceiling.transport == "tls"
    assert ceiling.rate > 100


def test_a_reflector_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "__package__", "echoservers.nowhere")
    with pytest.raises(LoadError, match="the reflector could not be started"):
        calibrate(LoadPlan("tcp://127.0.0.1:1"), seconds=0.1)


def test_a_reflector_that_hangs_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def bad(*_: object) -> Iterator[str]:
        with load_peers.serving_one(load_peers.hangs_up) as endpoint:
            yield endpoint

    monkeypatch.setattr(calibration, "_reflector", bad)
    with pytest.raises(LoadError, match="gave no answer: no connection is left"):
        calibrate(LoadPlan("tcp://127.0.0.1:1"), seconds=5)


def test_half_an_order_is_none() -> None:
    done = subprocess.run(
        [sys.executable, "-m", run.PROGRAM],
        input=b'{"plan": ',
        capture_output=True,
        cwd=ROOT,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"JSONDecodeError" in done.stderr


def test_a_plan_in_json_that_cannot_be_says_what_is_wrong() -> None:
    with pytest.raises(OptionError, match=r"^size=0: expected 1 to"):
        LoadPlan.from_json('{"endpoint": "tcp://127.0.0.1:1", "size": 0}')


def test_what_a_system_does_not_say_of_the_wait_for_a_processor_is_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(_path: str) -> object:
        raise FileNotFoundError(2, os.strerror(2))

    monkeypatch.setattr(loops, "open", missing, raising=False)
    assert loops.run_delay() == 0.0
