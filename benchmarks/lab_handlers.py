"""The handlers with a little work that the self-tests measure; servers import them."""

from __future__ import annotations

from echoservers import EchoHandler


class Spins(EchoHandler):
    """Echo, after as many turns of an empty loop as the number says that a message begins with.

    Turns, and not a time: what is added is work, which a slow machine is longer about.
    """

    def respond(self, message: bytes) -> bytes:
        for _ in range(int(message[:8])):
            pass
        return message


def order(turns: int) -> bytes:
    """The begin of a message that asks for so many."""
    return b"%8d" % turns


class Works(EchoHandler):
    """Echo, after some tens of microseconds of work."""

    TURNS = 1500

    def respond(self, message: bytes) -> bytes:
        for _ in range(self.TURNS):
            pass
        return message
