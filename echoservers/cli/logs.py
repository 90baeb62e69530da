"""The log on standard error: text or JSON, one line a record, never waiting for its reader.

Standard error may be a pipe that nobody reads or a disk that is full.  Echo goes on: what
cannot be written at once is dropped and counted, and the count is told when it is possible
again.  No thread does the writing, so that forked children log in the same way.
"""

import logging
import os
import select
import socket
import stat
import sys
import time
import traceback
from collections.abc import Callable, Iterator

from ..log import escape, logger

__all__ = ["place_of", "set_up_logging"]

MAX_LINE = 4096
"""Bytes a line: what a pipe takes whole or not at all (PIPE_BUF, pipe(7))."""

CUT = " ..."
"""Behind a line that was cut."""


def set_up_logging(verbose: bool, log_format: str) -> None:
    """Send this package's log to standard error.

    :param verbose: connections and messages too, and the traceback of a handler's error.
    :param log_format: ``text`` or ``json``.
    """
    logger.handlers[:] = [_StderrHandler(_json if log_format == "json" else _text, verbose)]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.raiseExceptions = False


class _StderrHandler(logging.Handler):
    """Writes the lines that *lines_of* makes of a record, or drops and counts the record."""

    def __init__(
        self, lines_of: Callable[[logging.LogRecord, bool], Iterator[str]], verbose: bool
    ) -> None:
        super().__init__()
        self._lines_of = lines_of
        self._verbose = verbose
        self._write = _unblocking_writer(sys.stderr.fileno())
        self._dropped = 0
        self._counted_in = os.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._dropped:
                if self._counted_in == os.getpid():  # a forked child leaves it to its parent
                    self._put(_notice(self._dropped))
                self._dropped = 0
            self._put(record)
        except OSError:
            self._dropped += 1
            self._counted_in = os.getpid()
        except Exception:
            self.handleError(record)  # a record that cannot be shown ends no connection

    def _put(self, record: logging.LogRecord) -> None:
        """Write the lines of *record*, together as far as a pipe takes them whole."""
        batch = b""
        for line in self._lines_of(record, self._verbose):
            data = line.encode("utf-8", "backslashreplace") + b"\n"
            if len(batch) + len(data) > MAX_LINE:
                self._write(batch)
                batch = b""
            batch += data
        self._write(batch)


def _notice(dropped: int) -> logging.LogRecord:
    lines = "1 log line was" if dropped == 1 else f"{dropped} log lines were"
    message = f"{lines} dropped: standard error took no more"
    return logger.makeRecord(
        logger.name, logging.WARNING, __file__, 0, message, (), None, extra={"event": "dropped"}
    )


def _unblocking_writer(descriptor: int) -> Callable[[bytes], object]:
    """A function that writes to *descriptor* at once or raises OSError."""
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(kind):
        peer = socket.socket(fileno=os.dup(descriptor))
        return lambda data: peer.send(data, socket.MSG_DONTWAIT)
    if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
        try:
            # A description of our own: O_NONBLOCK on the shared one would reach the shell.
            own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            return lambda data: os.write(own, data)
        except OSError:
            return lambda data: _write_when_ready(descriptor, data)
    return lambda data: os.write(descriptor, data)


def _write_when_ready(descriptor: int, data: bytes) -> None:
    ready = select.poll()
    ready.register(descriptor, select.POLLOUT)
    if not ready.poll(0):
        raise BlockingIOError
    os.write(descriptor, data)


def _text(record: logging.LogRecord, verbose: bool) -> Iterator[str]:
    error = record.exc_info[1] if record.exc_info else None
    place = "" if error is None else f" ({place_of(error)})"
    yield _short(escape(record.getMessage(), None) + place)
    if error is not None and verbose:
        for part in traceback.format_exception(error):
            for line in part.splitlines():
                yield _short(f"    {escape(line, None)}")


def _short(line: str) -> str:
    """*line*, cut where it is longer than `MAX_LINE` with its newline."""
    data = line.encode("utf-8", "backslashreplace")
    if len(data) < MAX_LINE:
        return line
    return data[: MAX_LINE - 1 - len(CUT)].decode("utf-8", "ignore") + CUT


def _json(record: logging.LogRecord, verbose: bool) -> Iterator[str]:
    import json  # imported late: a server without it forks faster

    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    error = record.exc_info[1] if record.exc_info else None
    fields = {
        "time": f"{stamp}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
        "event": getattr(record, "event", "server"),
        "message": record.getMessage(),
    }
    for name in ("peer", "bytes", "drained", "aborted"):
        if hasattr(record, name):
            fields[name] = getattr(record, name)
    if error is not None:
        fields["place"] = place_of(error)
        if verbose:
            # Its end tells most; half a line leaves room for the rest.
            fields["traceback"] = "".join(traceback.format_exception(error))[-MAX_LINE // 2 :]
    while len(line := json.dumps(fields)) >= MAX_LINE:
        longest = max(fields, key=lambda name: len(str(fields[name])))
        shown = str(fields[longest]).removesuffix(CUT)
        fields[longest] = shown[: len(shown) * 3 // 4] + CUT
    yield line


def place_of(error: BaseException) -> str:
    """Where *error* was raised, as file and line."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "no place known"
