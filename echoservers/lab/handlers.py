"""WorkHandler: echo that works before it answers, as a message asks for.

The experiments `work`, `gil`, `fairness` and `timeline` need a server that does something
for a client.  Ours get this handler; a server of somebody else can take part when it
understands the same few words, at the begin of a message::

    work cpu MS ...       compute for MS milliseconds of CPU time, then echo the message
    work wait MS ...      block for MS milliseconds, then echo the message
    tell cpu MS ...       the same work, but answer one line that says who did it:
    tell wait MS ...          told PID THREAD BEGIN END
    anything else         echo it

MS is a decimal number.  BEGIN and END are seconds on the system's monotonic clock
(clock_gettime(2), CLOCK_MONOTONIC), in which the clients measure as well.  A message is at
most a few hundred bytes, is sent whole, and the next one follows its reply.

Servers import this, so it needs no extra.
"""

import os
import threading
import time

from ..handlers import EchoHandler

__all__ = ["WORDS", "WORK_HANDLER", "WorkHandler"]

WORK_HANDLER = f"{__name__}:WorkHandler"
"""What ``--handler`` takes."""

WORDS = (b"work ", b"tell ")

LONGEST = 60.0
"""Seconds of work for a message: nobody can order a server to be busy for ever."""


class WorkHandler(EchoHandler):
    """Does the work that a message asks for, where it is called: in the worker's own thread.

    It blocks, on purpose: under a model with one loop everybody waits meanwhile.
    """

    def respond(self, message: bytes) -> bytes:
        if not message.startswith(WORDS):
            return message
        begin = time.monotonic()
        verb, kind, amount = _order(message)
        if kind == b"cpu":
            _compute(amount)
        else:
            time.sleep(amount)  # noqa: TID251 - a call that blocks is what it stands for
        if verb == b"work":
            return message
        thread = threading.get_native_id()
        return b"told %d %d %.6f %.6f\n" % (os.getpid(), thread, begin, time.monotonic())


def _order(message: bytes) -> tuple[bytes, bytes, float]:
    """The verb, the kind of work and its seconds.

    :raises ValueError: it is no order; that ends the connection.
    """
    words = message.split(maxsplit=3)
    if len(words) < 3 or words[1] not in (b"cpu", b"wait"):
        raise ValueError(f"{message[:40]!r} is no order; expected work|tell cpu|wait MS")
    seconds = float(words[2]) / 1000
    if not 0 <= seconds <= LONGEST:
        raise ValueError(f"{words[2]!r} is no time; expected up to {LONGEST * 1000:g} ms")
    return words[0], words[1], seconds


def _compute(seconds: float) -> None:
    """Use *seconds* of this thread's CPU time, holding the interpreter lock."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for _ in range(100):  # 2 microseconds: what it may last too long
            pass
