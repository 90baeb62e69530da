"""One logger, and the rules for what may stand in a line of it.

The package logs to ``logging.getLogger("echoservers")`` and configures nothing:
DEBUG tells of single connections and messages, INFO of the server's life,
WARNING of limits that were reached, ERROR of handlers that failed.
"""

import logging
import time

__all__ = ["Throttle", "escape", "logger"]

logger = logging.getLogger("echoservers")

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
