"""A program at a terminal of its own, and the person who types there."""

import codecs
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from types import TracebackType
from typing import IO

from support import PATIENCE, ROOT


class Terminal:
    """``python -m echoservers ...`` with a pseudo-terminal for its standard streams.

    :param stdout: a file for its standard output, instead.
    :param term: the kind of terminal; of a dumb one escape sequences are none of the line
        editor's.
    """

    def __init__(
        self, *arguments: str, stdout: IO[bytes] | None = None, term: str = "dumb", **env: str
    ) -> None:
        self._ours, its = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-m", "echoservers", *arguments],
            stdin=its,
            stdout=its if stdout is None else stdout,
            stderr=its,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "INPUTRC": os.devnull,
                "TERM": term,
                **env,
            },
        )
        os.close(its)
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self.shown = ""
        """Everything that was shown so far."""
        self._seen = 0

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def type(self, keys: str) -> None:
        """Press *keys*."""
        os.write(self._ours, keys.encode("utf-8", "surrogateescape"))

    def wait_for(self, text: str) -> str:
        """Wait until *text* is shown behind what was seen before; all that was new."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.shown.find(text, self._seen)) < 0:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} is not shown; {self.shown[self._seen :]!r} is"
            assert self._read(left), f"ended without {text!r}: {self.shown[self._seen :]!r}"
        end = found + len(text)
        new, self._seen = self.shown[self._seen : end], end
        return new

    def wait_for_end(self) -> int:
        """Wait until the program has ended; its exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline - time.monotonic()):
            assert time.monotonic() < deadline, f"does not end: {self.shown!r}"
        return self.process.wait(PATIENCE)

    def _read(self, longest: float) -> bool:
        """Take what is shown next; False at the end of the program."""
        if not select.select([self._ours], [], [], max(0, longest))[0]:
            return True
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        self.shown += self._decoder.decode(data)
        return bool(data)


def why_no_terminal() -> str | None:
    """Why tests cannot have a terminal here, or None."""
    if shutil.which("setsid") is None:
        return "there is no setsid to give a program a controlling terminal"
    return None
