"""The files of Unix sockets: one server at a time looks at them, and stale ones go."""

import errno
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["folder_locked", "remove_stale"]

LOCK_TIME = 2.0
"""Seconds that a lock is waited for: a server of ours has it for less than a millisecond, but
whoever may read the folder can have it for ever."""

LOCK_INTERVAL = 0.01
"""Seconds between tries: there is no event for a lock, and no end to a wait in flock(2)."""


@contextmanager
def folder_locked(path: str) -> Iterator[None]:
    """Let no other server of ours look at *path* until it can tell that we have it.

    Between bind() and listen() a connect() is refused, as by a stale file.

    :raises OSError: somebody else has the lock, and keeps it.
    """
    try:
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # bind() tells what is wrong with it, or it may be written but not read
        yield
        return
    from fcntl import LOCK_UN, flock  # imported late: only Unix servers need it

    try:
        _lock(folder, path)
        try:
            yield
        finally:
            flock(folder, LOCK_UN)  # a process that was forked meanwhile has it open, too
    finally:
        os.close(folder)


def _lock(folder: int, path: str) -> None:
    from fcntl import LOCK_EX, LOCK_NB, flock

    deadline = time.monotonic() + LOCK_TIME
    while True:
        try:
            flock(folder, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OSError(
                    errno.EBUSY, "another program keeps its folder locked; choose another", path
                ) from None
            threading.Event().wait(LOCK_INTERVAL)
        else:
            return


def remove_stale(path: str, kind: int) -> None:
    """Remove the socket file at *path* if no server has it.

    :param kind: SOCK_STREAM or SOCK_DGRAM, of the server that is to be there.
    :raises FileExistsError: something is there that must not be replaced.
    :raises OSError: a live server has the path, or it cannot be looked at.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(errno.EEXIST, "exists and is no socket; choose another path", path)
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            now = os.lstat(path)
            if (now.st_dev, now.st_ino) == (found.st_dev, found.st_ino):
                os.unlink(path)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            # A full backlog, the other kind of socket, no permission: somebody is there.
            raise OSError(
                errno.EADDRINUSE, "a server is using it already; choose another path", path
            ) from error
    raise OSError(errno.EADDRINUSE, "a server is using it already; choose another path", path)
