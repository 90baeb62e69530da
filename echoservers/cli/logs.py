"""The log on standard error: text or JSON, one line a record, never waiting for its reader.

Standard error may be a pipe that nobody reads or a disk that is full.  Echo goes on: what
cannot be written at once is dropped and counted, and the count is told when it is possible
again.  No thread does the writing, so that forked children log in the same way.
"""

import os
import select
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module

from ..log import DEBUG, INFO, LEVEL_NAMES, NAME, WARNING, Entry, escape, logger

__all__ = ["place_of", "set_up_logging"]

MAX_LINE = 4096
"""Bytes a line: what a pipe takes whole or not at all (PIPE_BUF, pipe(7))."""

CUT = " ..."
"""Behind a line that was cut."""

EXTRA_FIELDS = ("event", "peer", "bytes", "drained", "aborted")
"""Of what an entry says beside its message, these are shown as JSON."""


def set_up_logging(verbose: bool, log_format: str, others: bool) -> None:
    """Send this package's log to standard error.

    :param verbose: connections and messages too, and the traceback of a handler's error.
    :param log_format: ``text`` or ``json``.
    :param others: whether there is code of others that may log to our logger by `logging`.
    """
    # Now: for the first that need them, there may be no descriptor left.
    for wanted, name in ((verbose, "traceback"), (log_format == "json", "json")):
        if wanted:
            import_module(name)
    level = DEBUG if verbose else INFO
    lines = _StderrLines(_json if log_format == "json" else _text, verbose)
    if others or "logging" in sys.modules:
        _take_over_logging(level, lines.write)  # ours go there too, for whoever hooks into it
    else:
        logger.divert(level, lines.write)


def _take_over_logging(level: int, write: Callable[[Entry], None]) -> None:
    """Hand to *write* what others log to our logger by `logging`."""
    import logging

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            try:
                text = record.getMessage()
            except Exception:  # a record that cannot be shown ends no connection
                said = record.msg if isinstance(record.msg, str) else "a record"
                text = f"{said} (with what cannot be shown)"
            write(Entry(record.levelno, text, (), error, vars(record)))

    theirs = logging.getLogger(NAME)
    theirs.handlers[:] = [Handler()]
    theirs.propagate = False
    theirs.setLevel(level)


class _StderrLines:
    """Writes the lines that *lines_of* makes of an entry, or drops and counts the entry."""

    def __init__(self, lines_of: Callable[[Entry, bool], Iterator[str]], verbose: bool) -> None:
        self._lines_of = lines_of
        self._verbose = verbose
        self._write = _unblocking_writer(sys.stderr.fileno())
        self._dropped = 0
        self._counted_in = os.getpid()

    def write(self, entry: Entry) -> None:
        """Write *entry* at once, or count it."""
        try:
            if self._dropped:
                if self._counted_in == os.getpid():  # a forked child leaves it to its parent
                    self._put(_notice(self._dropped))
                self._dropped = 0
            self._put(entry)
        except OSError:
            self._dropped += 1
            self._counted_in = os.getpid()

    def _put(self, entry: Entry) -> None:
        """Write the lines of *entry*, together as far as a pipe takes them whole."""
        batch = b""
        for line in self._lines_of(entry, self._verbose):
            data = line.encode("utf-8", "backslashreplace") + b"\n"
            if len(batch) + len(data) > MAX_LINE:
                self._write(batch)
                batch = b""
            batch += data
        self._write(batch)


def _notice(dropped: int) -> Entry:
    lines = "1 log line was" if dropped == 1 else f"{dropped} log lines were"
    message = f"{lines} dropped: standard error took no more"
    return Entry(WARNING, message, (), None, {"event": "dropped"})


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


def _text(entry: Entry, verbose: bool) -> Iterator[str]:
    place = "" if entry.error is None else f" ({place_of(entry.error)})"
    yield _short(escape(entry.text(), None) + place)
    if entry.error is not None and verbose:
        for line in _traceback_of(entry.error).splitlines():
            yield _short(f"    {escape(line, None)}")


def _short(line: str) -> str:
    """*line*, cut where it is longer than `MAX_LINE` with its newline."""
    data = line.encode("utf-8", "backslashreplace")
    if len(data) < MAX_LINE:
        return line
    return data[: MAX_LINE - 1 - len(CUT)].decode("utf-8", "ignore") + CUT


def _json(entry: Entry, verbose: bool) -> Iterator[str]:
    import json  # imported late: a server without it forks faster

    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    fields: dict[str, object] = {
        "time": f"{stamp}.{int(now % 1 * 1000):03d}Z",
        "level": LEVEL_NAMES.get(entry.level, str(entry.level)),
        "event": "server",
        "message": entry.text(),
    }
    extra = entry.extra or {}
    fields.update((name, extra[name]) for name in EXTRA_FIELDS if name in extra)
    if entry.error is not None:
        fields["place"] = place_of(entry.error)
        if verbose:
            # Its end tells most; half a line leaves room for the rest.
            fields["traceback"] = _traceback_of(entry.error)[-MAX_LINE // 2 :]
    while len(line := json.dumps(fields, default=repr)) >= MAX_LINE:
        longest = max(fields, key=lambda name: len(str(fields[name])))
        shown = str(fields[longest]).removesuffix(CUT)
        fields[longest] = shown[: len(shown) * 3 // 4] + CUT
    yield line


def place_of(error: BaseException) -> str:
    """Where *error* was raised, as file and line."""
    place = "no place known"
    frame = error.__traceback__
    while frame is not None:
        place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
        frame = frame.tb_next
    return place


def _traceback_of(error: BaseException) -> str:
    import traceback  # which takes a while, and which a log without tracebacks does not need

    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # it opens source files and imports, for which no descriptor may be left
        frames = (
            f'  File "{frame.f_code.co_filename}", line {line}, in {frame.f_code.co_name}\n'
            for frame, line in traceback.walk_tb(error.__traceback__)
        )
        last = traceback.format_exception_only(error)
        return "".join(["Traceback (most recent call last):\n", *frames, *last])
