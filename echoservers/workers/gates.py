"""Who accepts next: the variants of UNP vol. 1, 30.6 to 30.9, as objects of one shape.

- ``shared``: no gate.  All workers wait at one listener, and whoever is first accepts.
- ``flock``: a record lock (fcntl(2)) around each accept.  A record lock cannot be waited for
  with poll(2), so nobody holds it while waiting: a worker stays open to all other events.
- ``mutex``: one token, an eventfd(2).  Who has it waits at the listener, the others for it.
- ``handoff``: the master accepts and passes descriptors (unix(7), SCM_RIGHTS).
- ``reuseport``: a listener for each worker (socket(7), SO_REUSEPORT).

The last two need no gate: `HandedOver` takes the place of the listener in a worker, or
the worker's own listener does.
"""

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from ..bpf import attach_program
from ..errors import OptionError
from .board import Board
from .places import private_file

__all__ = [
    "ACCEPT",
    "FlockGate",
    "HandedOver",
    "MutexGate",
    "check_accept",
    "hand_over",
    "make_gate",
    "share_out",
]

_ATTACH = 51  # SO_ATTACH_REUSEPORT_CBPF, asm-generic/socket.h

ACCEPT = ("shared", "flock", "mutex", "handoff", "reuseport")


def check_accept(accept: str, family: int, kind: int) -> None:
    """Refuse a variant that the transport or the system does not have.

    :raises OptionError: with those that it has.
    """
    fit = {
        "shared": True,
        "flock": True,
        "mutex": hasattr(os, "eventfd"),
        "handoff": kind == socket.SOCK_STREAM,
        "reuseport": (
            family in (socket.AF_INET, socket.AF_INET6)
            and kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
            and hasattr(socket, "SO_REUSEPORT")
        ),
    }
    if accept not in fit:  # an attribute of a class, which nobody has read
        names = ", ".join(ACCEPT[:-1])
        raise OptionError(f"accept={accept!r}: expected {names} or {ACCEPT[-1]}")
    if not fit[accept]:
        reason = {
            "mutex": "this system has no eventfd",
            "handoff": "only connections can be handed over",
            "reuseport": "only TCP and UDP ports can be shared",
        }[accept]
        fitting = ", ".join(name for name, fits in fit.items() if fits)
        raise OptionError(f"accept={accept!r}: {reason}; this server can have {fitting}")


class FlockGate:
    """A record lock, held around accept(2); the kernel releases it when its holder dies."""

    descriptor: int | None = None  # nothing to wait for

    def __init__(self) -> None:
        from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf

        self._lockf, self._try, self._unlock = lockf, LOCK_EX | LOCK_NB, LOCK_UN
        self._file = private_file()

    def take(self) -> bool:
        """Whether nobody else has it."""
        try:
            self._lockf(self._file, self._try)
        except OSError:  # EAGAIN or EACCES, fcntl(2): another process has it
            return False
        return True

    def release(self) -> None:
        """Let another have it."""
        self._lockf(self._file, self._unlock)

    def holder_died(self, slot: int) -> None:
        """The kernel has released it already."""

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)


class MutexGate:
    """One token between processes, which can be waited for with poll(2).

    Each process says on the board that it is about to take the token, and that it has it;
    so the master can put back the token of a worker that was killed.  A token too many
    does no harm: tokens that lie there together are taken as one.
    """

    _TRIES, _HOLDS = 1, 2

    def __init__(self, board: Board) -> None:
        self._state = board.column("gate")
        self.slot = 0
        self.descriptor: int | None = os.eventfd(1, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def take(self) -> bool:
        """Whether the token was there; it is ours then."""
        assert self.descriptor is not None
        self._state[self.slot] = self._TRIES
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            self._state[self.slot] = 0
            return False
        self._state[self.slot] = self._HOLDS
        return True

    def release(self) -> None:
        """Put the token back."""
        assert self.descriptor is not None
        os.eventfd_write(self.descriptor, 1)
        self._state[self.slot] = 0

    def holder_died(self, slot: int) -> None:
        """Put back what the process *slot* had, or may have had; call it before its slot is
        cleared.
        """
        assert self.descriptor is not None
        state, self._state[slot] = self._state[slot], 0
        if state == self._HOLDS or (state and self._HOLDS not in self._state):
            os.eventfd_write(self.descriptor, 1)

    def close(self) -> None:
        """Release the descriptor."""
        if self.descriptor is not None:
            os.close(self.descriptor)


def make_gate(accept: str, board: Board) -> FlockGate | MutexGate | None:
    """The gate of a variant; None for those that need none."""
    if accept == "flock":
        return FlockGate()
    return MutexGate(board) if accept == "mutex" else None


class HandedOver:
    """Stands in a worker where the listener was: its connections come from the master."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        channel.setblocking(False)
        self.on_lost: Callable[[str], object] | None = None
        """Called with the reason when what was handed over cannot be served."""

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection, as from a listening socket.

        :raises BlockingIOError: there is none.
        :raises ConnectionAbortedError: its peer has gone, or the master has; then this is closed.
        :raises OSError: EMFILE, it has come without its descriptor, and is lost.
        """
        data, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
        if not data:
            self._channel.close()
            raise _aborted("nobody hands anything over any more")
        if not descriptors:  # recvmsg(2): this process may have no more of them
            self._lose("no_descriptor")
            raise OSError(
                errno.EMFILE, "no descriptor left for a connection that was handed over; it is lost"
            )
        os.set_inheritable(descriptors[0], False)  # recv_fds() passes no flags on
        connection = socket.socket(fileno=descriptors[0])
        try:
            connection.setblocking(True)
            return connection, connection.getpeername()
        except OSError:
            connection.close()
            self._lose("peer_gone")
            raise _aborted("a connection was handed over whose peer has gone") from None

    def _lose(self, reason: str) -> None:
        if self.on_lost is not None:
            self.on_lost(reason)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)  # fileno, close, settimeout, ...


def _aborted(why: str) -> OSError:
    return ConnectionAbortedError(errno.ECONNABORTED, why)


def share_out(listener: socket.socket, number: int) -> bool:
    """Let the kernel give what comes to the first *number* of the listeners of a port.

    It counts them in the order in which they began to listen; when one is closed the last one
    takes its place.  False: it does not know how.

    So one that is to be closed gets nothing more, and can be emptied before: what waits at a
    listener is lost with it.  A program of three instructions does it: a random number,
    modulo *number* (socket(7), SO_ATTACH_REUSEPORT_CBPF, Linux 4.5).  Where there is no
    such option all goes on as before.
    """
    load, modulo, give = 0x20, 0x94, 0x16  # linux/bpf_common.h
    random = 2**32 - 0x1000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM, linux/filter.h
    program = ((load, 0, 0, random), (modulo, 0, 0, number), (give, 0, 0, 0))
    return attach_program(listener, _ATTACH, program)


def hand_over(channel: socket.socket, connection: socket.socket) -> bool:
    """Pass *connection* on; False when the worker's queue is full, or it has gone."""
    try:
        socket.send_fds(channel, [b"c"], [connection.fileno()])
    except OSError:
        return False
    return True
