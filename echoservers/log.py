"""One logger, and the rules for what may stand in a line of it.

The package logs to ``logging.getLogger("echoservers")`` and configures nothing:
DEBUG tells of single connections and messages, INFO of the server's life,
WARNING of limits that were reached, ERROR of handlers that failed.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = [
    "DEBUG",
    "INFO",
    "LEVEL_NAMES",
    "NAME",
    "WARNING",
    "Entry",
    "Log",
    "Throttle",
    "escape",
    "logger",
]

NAME = "echoservers"

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40  # the numbers of `logging`
LEVEL_NAMES = {DEBUG: "debug", INFO: "info", WARNING: "warning", ERROR: "error", 50: "critical"}


class Entry(NamedTuple):
    """What is logged, before anybody has made a line of it."""

    level: int
    message: str
    """With a ``%`` for each of *arguments*."""
    arguments: Any
    """A tuple, or a mapping for names in *message*; empty: *message* is shown as it is."""
    error: BaseException | None = None
    extra: Mapping[str, Any] | None = None

    def text(self) -> str:
        """The message with its arguments; without them where they cannot be shown."""
        try:
            return self.message % self.arguments if self.arguments else self.message
        except Exception:  # whatever is shown may be somebody else's, and fail at that
            return f"{self.message} (with what cannot be shown)"


class Log:
    """``logging.getLogger("echoservers")``, for which `logging` need not be there.

    A server starts without `logging` sooner by what ten modules take to import, and forks
    faster, for `logging` has hooks in every fork.  Where nobody has imported it, nobody has
    configured it: then warnings and errors go to standard error, as `logging.lastResort` has
    it, and importing nothing for that they do so with no descriptor left, too.
    """

    def __init__(self) -> None:
        self._write: Callable[[Entry], None] = _last_resort
        self._level = WARNING
        self._lock = threading.RLock()  # a signal handler may log while a line is written
        self._lock_of = os.getpid()

    def divert(self, level: int, write: Callable[[Entry], None]) -> None:
        """Hand what is logged at *level* or above to *write*, and nothing to `logging`."""
        self._level, self._write = level, write

    def shows(self, level: int) -> bool:
        """Whether somebody would see what is logged at *level*."""
        if self._is_for_logging():
            import logging

            return logging.getLogger(NAME).isEnabledFor(level)
        return level >= self._level

    def debug(
        self,
        message: str,
        *arguments: object,
        error: BaseException | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell of a single connection or message."""
        self._log(Entry(DEBUG, message, arguments, error, extra))

    def info(
        self,
        message: str,
        *arguments: object,
        error: BaseException | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell of the server's life."""
        self._log(Entry(INFO, message, arguments, error, extra))

    def warning(
        self,
        message: str,
        *arguments: object,
        error: BaseException | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell of a limit that was reached."""
        self._log(Entry(WARNING, message, arguments, error, extra))

    def error(
        self,
        message: str,
        *arguments: object,
        error: BaseException | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell of a handler that failed."""
        self._log(Entry(ERROR, message, arguments, error, extra))

    def _is_for_logging(self) -> bool:
        return self._write is _last_resort and "logging" in sys.modules

    def _log(self, entry: Entry) -> None:
        if not self.shows(entry.level):
            return
        if self._is_for_logging():
            import logging

            logging.getLogger(NAME).log(
                entry.level,
                entry.message,
                *entry.arguments,
                exc_info=entry.error,
                extra=entry.extra,
                stacklevel=3,
            )
            return
        with self._one_at_a_time():
            self._write(entry)

    def _one_at_a_time(self) -> threading.RLock:
        """A lock, so that no other thread's lines come between those of an entry.

        A forked child makes one of its own: nobody there would let go of what another thread held.
        """
        if self._lock_of != os.getpid():
            self._lock, self._lock_of = threading.RLock(), os.getpid()
        return self._lock


def _last_resort(entry: Entry) -> None:
    """Show *entry* on standard error as it is where nobody has configured anything."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"{entry.text()}\n")
        sys.stderr.flush()
    except Exception:  # gone, full, closed or somebody else's: nowhere is left to tell it
        return
    if entry.error is not None:
        sys.__excepthook__(type(entry.error), entry.error, entry.error.__traceback__)


logger = Log()

MAX_PAYLOAD_SHOWN = 1000
"""Bytes of one message that a log line shows: a line then stays under 4096 bytes
(PIPE_BUF, written whole or not at all) even when every byte needs four characters."""


def escape(data: bytes | str, longest: int | None = MAX_PAYLOAD_SHOWN) -> str:
    r"""*data* as one line that cannot forge another: ``\n``, ``\x1b`` and the like spelled out.

    Bytes that are not UTF-8 appear as ``\xNN``.

    :param longest: bytes or characters after which *data* is cut, and the cut marked;
        None: what is shown whole.
    """
    cut = data[:longest]
    text = cut.decode("utf-8", "backslashreplace") if isinstance(cut, bytes) else cut
    if not text.isprintable():
        text = "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
        )
    left_out = len(data) - len(cut)
    return f"{text}... ({left_out} more)" if left_out else text


class Throttle:
    """Lets *burst* events a second through and counts the others.

    One line a second can be read, and cannot fill a disk in a day.
    """

    INTERVAL = 1.0

    def __init__(self, burst: int = 1) -> None:
        self._burst = burst
        self._left = burst
        self._next = 0.0
        self._held_back = 0

    def allow(self) -> int | None:
        """How many events were held back since the last one; None: hold this one back too."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self.INTERVAL
            self._left = self._burst
        if not self._left:
            self._held_back += 1
            return None
        self._left -= 1
        held_back, self._held_back = self._held_back, 0
        return held_back

    def warning(self, message: str, *args: object) -> None:
        """Log *message* as a warning, or hold it back."""
        held_back = self.allow()
        if held_back is None:
            return
        if held_back:
            message = f"{message} ({held_back} more like it)"
        logger.warning(message, *args)
