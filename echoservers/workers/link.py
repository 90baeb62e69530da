"""A worker's tie to its master: single bytes over a socket pair, and a thread that reads them.

The thread is there because the loop may be inside a handler for as long as a client
likes: what the master says, and that it is gone, must be heard all the same.  It waits in
poll(2) and costs nothing else.  That the master is gone shows in its process descriptor
(pidfd_open(2)), which the worker has inherited, and in the end of the socket pair, which
the master alone holds on the other side.
"""

import os
import select
import socket
import threading
from collections.abc import Callable, Mapping

from ..log import logger

__all__ = ["Link", "Word"]

ORPHANS_TIME = 1.0
"""Seconds that a worker whose master is gone gives its connections: its port is free again
at once where it listens, and within 3 seconds whatever its handlers do."""


class Word:
    """What master and workers say to each other: a byte each."""

    # to a worker
    LEAVE = b"l"  # accept no more, and end when nobody is being served any more
    LEAVE_LAST = b"L"  # the same, and nobody comes after it: leave nothing at a listener of its own
    DRAIN = b"d"  # the same, with an end to the input of all connections
    ABORT = b"a"  # cut all connections
    WAKE = b"w"  # there is room for a connection again
    PING = b"p"  # say PONG from the loop
    # to the master
    READY = b"R"  # it accepts
    PONG = b"P"  # its loop turns
    TIRED = b"Q"  # it was told to end, or has served enough: put another in its place
    STOP = b"S"  # a handler has called shutdown()
    ROOM = b"F"  # a connection has ended, and somebody waits for a place


class Link:
    """The worker's end.

    :param control: its socket.
    :param master: a process descriptor of the master; -1 where there are none.
    """

    def __init__(self, control: socket.socket, master: int) -> None:
        self._control = control
        self._master = master

    def tell(self, word: bytes) -> None:
        """Say *word* to the master.  Safe anywhere, a signal handler included."""
        say(self._control, word)

    def listen(
        self, words: Mapping[bytes, Callable[[], object]], orphaned: Callable[[], object]
    ) -> None:
        """In a thread: call for each word that comes, and *orphaned* when the master is gone.

        The process ends `ORPHANS_TIME` later, whatever it does.
        """

        def run() -> None:
            try:
                self._obey(words)
                orphaned()
                threading.Event().wait(ORPHANS_TIME)
            except BaseException as error:  # nobody would hear the master any more
                logger.error("worker failed: %s: %s", type(error).__name__, error, error=error)
            finally:
                os._exit(1)

        threading.Thread(target=run, name="master's words", daemon=True).start()

    def _obey(self, words: Mapping[bytes, Callable[[], object]]) -> None:
        while self._wait():
            heard = hear(self._control)
            if not heard:
                return
            for word in heard:
                try:
                    words[word]()
                except Exception as error:  # the next word may be the one that ends it
                    logger.error("at %r of the master: %s", word, error, error=error)

    def _wait(self) -> bool:
        """Wait for a word; False when the master is gone."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        if self._master >= 0:
            poll.register(self._master, select.POLLIN)
        return all(descriptor != self._master for descriptor, _ in poll.poll())


def say(control: socket.socket, word: bytes) -> None:
    """Send *word*; whoever should hear it may be gone, or have plenty to read."""
    try:
        control.send(word, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return  # its end is noticed elsewhere


def hear(control: socket.socket) -> list[bytes]:
    """The words that have come; none when the other side is gone."""
    try:
        heard = control.recv(4096, socket.MSG_DONTWAIT)
    except OSError:
        return []
    return [heard[n : n + 1] for n in range(len(heard))]
