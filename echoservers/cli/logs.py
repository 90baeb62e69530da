"""The log on standard error: text or JSON, one line a record, never waiting for its reader.

Standard error may be a pipe that nobody reads or a disk that is full.  Echo goes on: what
cannot be written at once is dropped and counted, and the count is told when it is possible
again.  No thread does the writing, so that forked children log in the same way.
"""

import json
import logging
import os
import select
import socket
import stat
import sys
import time
import traceback
from typing import Any

from ..log import escape, logger

__all__ = ["set_up_logging"]

MAX_LINE = 4096
"""Bytes a line: what a pipe takes whole or not at all (PIPE_BUF, pipe(7))."""


def set_up_logging(verbose: bool, log_format: str) -> None:
    """Send this package's log to standard error.

    :param verbose: connections and messages too, and the traceback of a handler's error.
    :param log_format: ``text`` or ``json``.
    """
    handler = _StderrHandler()
    handler.setFormatter(_Json() if log_format == "json" else _Text(verbose))
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.raiseExceptions = False


class _StderrHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._write = _unblocking_writer(sys.stderr.fileno() if sys.stderr else 2)
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record).encode("utf-8", "backslashreplace")
        if self._dropped:
            line += f"\n{self._dropped} log lines were dropped: nobody read them".encode()
        if len(line) >= MAX_LINE and "\n" not in record.getMessage():
            line = line[: MAX_LINE - 5] + b" ..."
        try:
            self._write(line + b"\n")
            self._dropped = 0
        except OSError:
            self._dropped += 1


def _unblocking_writer(descriptor: int) -> Any:
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


class _Text(logging.Formatter):
    def __init__(self, with_traceback: bool) -> None:
        super().__init__()
        self._with_traceback = with_traceback

    def format(self, record: logging.LogRecord) -> str:
        line = escape(record.getMessage())
        if record.exc_info and record.exc_info[1] is not None:
            line += f" ({_place(record.exc_info[1])})"
            if self._with_traceback:
                shown = "".join(traceback.format_exception(record.exc_info[1]))
                line += "".join(f"\n    {escape(part)}" for part in shown.splitlines())
        return line


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "server"),
            "message": record.getMessage(),
        }
        for name in ("peer", "bytes", "drained", "aborted"):
            if hasattr(record, name):
                fields[name] = getattr(record, name)
        if record.exc_info and record.exc_info[1] is not None:
            fields["place"] = _place(record.exc_info[1])
        return json.dumps(fields)


def _place(error: BaseException) -> str:
    """Where *error* was raised, as file and line."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "no place known"
