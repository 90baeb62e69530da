"""What may stand in a line of the log, and how many lines there may be."""

import logging
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoservers.log import MAX_PAYLOAD_SHOWN, Throttle, escape, logger
from support import ROOT

LINE_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""What str.splitlines, and so most viewers, take for the end of a line."""


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", ""),
        (b"hello, world", "hello, world"),
        (b"a\nb\r\nc", r"a\nb\r\nc"),
        (b"\t\0\x07\x08\x7f", r"\t\x00\x07\x08\x7f"),
        (b"\x1b[31mred\x1b[0m\x1b]0;title\x07", r"\x1b[31mred\x1b[0m\x1b]0;title\x07"),
        ("\x9b31m\x85\x90".encode(), r"\x9b31m\x85\x90"),  # C1: ESC [ and others in one
        (b"\x9b31m\x85\x90", r"\x9b31m\x85\x90"),
        ("\u2028\u2029".encode(), r"\u2028\u2029"),
        (
            "\u202egpj.exe\u200b\ufeff".encode(),
            r"\u202egpj.exe\u200b\ufeff",
        ),  # turned round, unseen
        ("\U000e0041".encode(), r"\U000e0041"),
        ("grüße 你好 🙂".encode(), "grüße 你好 🙂"),
        (b"\xc3\x28 \xff\xfe", r"\xc3( \xff\xfe"),
        (b"\xed\xb2\x80", r"\xed\xb2\x80"),  # a surrogate, which UTF-8 has not
        ("plain text", "plain text"),
        ("a\nb\x1b\u2028", r"a\nb\x1b\u2028"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_could_forge_a_line_or_move_a_terminal_is_spelled_out(
    data: bytes | str, shown: str
) -> None:
    assert escape(data) == shown


@given(st.binary(max_size=2000) | st.text(max_size=2000) | st.text(LINE_BREAKS + "\x1b\x9b"))
def test_whatever_comes_is_shown_as_one_line_that_can_be_written(data: bytes | str) -> None:
    shown = escape(data)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")


@pytest.mark.parametrize(
    "unit", [b"x", b"\0", b"\xff", b"\n", "é".encode(), "\u2028".encode(), "\U000e0041".encode()]
)
@pytest.mark.parametrize("size", [MAX_PAYLOAD_SHOWN + 1, 65_536, 16 * 1024 * 1024])
def test_a_long_message_stays_under_a_pipes_line_and_says_what_is_left_out(
    unit: bytes, size: int
) -> None:
    data = (unit * (size // len(unit) + 1))[:size]
    shown = escape(data)
    assert shown.endswith(f"... ({size - MAX_PAYLOAD_SHOWN} more)")
    assert len(shown.encode()) < 4096


@pytest.mark.parametrize("data", [b"x" * MAX_PAYLOAD_SHOWN, "x" * MAX_PAYLOAD_SHOWN])
def test_what_just_fits_is_shown_whole(data: bytes | str) -> None:
    assert escape(data) == "x" * MAX_PAYLOAD_SHOWN


def test_a_caller_may_ask_for_another_length_or_for_all() -> None:
    assert escape(b"0123456789", 4) == "0123... (6 more)"
    assert escape("\n" * 5000, None) == r"\n" * 5000


# --- how many lines ---------------------------------------------------------------------


class Clock:
    """The monotonic clock, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_one_event_a_second_passes_and_the_others_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    throttle = Throttle()
    assert throttle.allow() == 0
    assert [throttle.allow() for _ in range(5)] == [None] * 5
    clock.now += 0.999
    assert throttle.allow() is None
    clock.now += 0.001
    assert throttle.allow() == 6
    clock.now += 3600
    assert throttle.allow() == 0


def test_the_first_event_passes_right_after_the_machine_has_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Clock(monkeypatch).now = 0.0
    assert Throttle().allow() == 0


def test_a_clock_set_back_or_forth_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    throttle = Throttle()
    throttle.allow()
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert throttle.allow() is None


def test_warnings_are_held_back_and_the_next_one_says_how_many(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch)
    throttle = Throttle()
    for _ in range(100):
        throttle.warning("cannot accept: %s", "100% full")
    clock.now += 1
    throttle.warning("cannot accept: %s", "100% full")
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "cannot accept: 100% full"),
        (logging.WARNING, "cannot accept: 100% full (99 more like it)"),
    ]


def test_two_kinds_of_event_do_not_hold_each_other_back(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    assert (Throttle().allow(), Throttle().allow()) == (0, 0)


def test_the_package_configures_no_logging() -> None:
    code = (
        "import logging, echoservers.registry as registry\n"
        "with registry.start_server('tcp', ('127.0.0.1', 0)): pass\n"
        "ours = logging.getLogger('echoservers')\n"
        "assert ours.propagate\n"
        "assert (ours.handlers, ours.level) == ([], logging.NOTSET)\n"
        "assert logging.getLogger().handlers == []\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=20, check=True)


def test_a_record_names_the_place_that_logged_it(caplog: pytest.LogCaptureFixture) -> None:
    logger.warning("here")
    (record,) = caplog.records
    assert (record.name, record.filename) == ("echoservers", Path(__file__).name)
    assert record.funcName == "test_a_record_names_the_place_that_logged_it"


TELL = """
import sys
from echoservers.log import DEBUG, INFO, WARNING, logger
assert [logger.shows(level) for level in (DEBUG, INFO, WARNING)] == [False, False, True]
logger.info("not %s", "shown")
logger.warning("100 % full")
try:
    [][0]
except IndexError as error:
    logger.error("failed: %s", error, error=error)
"""


def test_where_nobody_has_imported_logging_warnings_look_as_if_somebody_had() -> None:
    def told(*lines: str) -> str:
        code = "\n".join(lines)
        ran = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, timeout=20, check=True, capture_output=True
        )
        return ran.stderr.decode()

    alone = told("import sys", TELL, "assert 'logging' not in sys.modules")
    assert alone == told("import logging", TELL)
    assert alone.startswith("100 % full\nfailed: list index out of range\nTraceback ")


@pytest.mark.parametrize("state", ["sys.stderr = None", "sys.stderr.close()", "os.close(2)"])
def test_without_a_standard_error_nothing_fails(state: str) -> None:
    code = f"import os, sys\n{state}\n{TELL}\nos._exit(0)"  # the end flushes it, and may fail
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=20, check=True)


def test_a_warning_is_shown_with_no_descriptor_left() -> None:
    code = (
        "import os, resource\n"
        "from echoservers.log import logger\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "logger.warning('cannot accept: %s', 'no descriptor left')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, timeout=20, check=True, capture_output=True
    )
    assert ran.stderr == b"cannot accept: no descriptor left\n"


def test_no_thread_writes_between_the_lines_of_another() -> None:
    code = (
        "import sys, threading, time\n"
        "from echoservers.log import logger\n"
        "class Slow:\n"
        "    def write(self, text):\n"
        "        sys.__stderr__.write(text)\n"
        "        time.sleep(0.001)\n"  # others would have their turn
        "    def flush(self):\n"
        "        sys.__stderr__.flush()\n"
        "def fail(name):\n"
        "    try:\n"
        "        raise ValueError(name)\n"
        "    except ValueError as error:\n"
        "        logger.error('failed: %s', name, error=error)\n"
        "sys.stderr = Slow()\n"
        "threads = [threading.Thread(target=fail, args=(n,)) for n in range(8)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, timeout=20, check=True, capture_output=True
    )
    entries = re.split(r"^failed: (\d)$", ran.stderr.decode(), flags=re.MULTILINE)[1:]
    assert sorted(entries[::2]) == [str(n) for n in range(8)]
    for name, traceback in zip(entries[::2], entries[1::2], strict=True):
        assert traceback.startswith("\nTraceback (most recent call last):\n")
        assert traceback.endswith(f"\nValueError: {name}\n")
