"""Limits that hold over all workers together, and places that do not die with their holder.

A worker writes what it holds in its own slot of shared memory, so the master can tell,
and give back, what a worker held that was killed.  First a place is taken, then all are
counted: as long as the sum is further below the limit than there are workers, none of them
can have gone beyond it, and no lock is needed.  Nearer to the limit they count one at a
time, under a record lock (fcntl(2)), which the kernel releases when its holder dies.
"""

import mmap
import os
import threading
from types import TracebackType

from .board import Board

__all__ = ["Places", "RecordLock", "SourceTable", "private_file"]


MOST_SOURCES = 65_536
"""Sources at a time that are counted apart, 8 bytes a process each; a further one waits."""


def private_file() -> int:
    """The descriptor of a new file that no path leads to, for record locks."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("echoservers")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class RecordLock:
    """A lock between processes, and between the threads of one (UNP vol. 1, 30.7)."""

    def __init__(self) -> None:
        from fcntl import LOCK_EX, LOCK_UN, lockf  # imported late: only preforking needs it

        self._lockf, self._lock, self._unlock = lockf, LOCK_EX, LOCK_UN
        self._file = private_file()
        self._threads = threading.Lock()  # record locks are the process's: all its threads'

    def __enter__(self) -> None:
        self._threads.acquire()
        self._lockf(self._file, self._lock)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lockf(self._file, self._unlock)
        self._threads.release()

    def close(self) -> None:
        """Release the file."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


class Places:
    """At most *limit* connections over all workers, and *by_source* of one source."""

    def __init__(self, board: Board, limit: int, by_source: int | None) -> None:
        self.limit = limit
        self._board = board
        self._held = board.column("places")
        self._waiting = board.column("waiting")
        self._lock = RecordLock()
        self._own = threading.Lock()  # between the threads of one process
        self._by_source = by_source
        self._sources = None if by_source is None else SourceTable(limit, board.slots)

    def take(self, slot: int) -> bool:
        """Take a place for a connection of the process *slot*; False when there is none."""
        with self._own:
            self._held[slot] += 1
        if self._waiting[slot]:
            self._waiting[slot] = 0
        if sum(self._held) + self._board.slots <= self.limit:
            return True
        with self._lock:
            if sum(self._held) <= self.limit:
                return True
            with self._own:
                self._held[slot] -= 1
            return False

    def wait(self, slot: int) -> None:
        """Have `leave` tell those who leave a place, until the process *slot* has taken one.

        One may have been left before: whoever waits looks at `left` once more.
        """
        self._waiting[slot] = 1

    def leave(self, slot: int) -> bool:
        """Give a place back; whether somebody waits for one."""
        with self._own:
            if self._held[slot]:
                self._held[slot] -= 1
        return any(self._waiting)

    def waiting(self) -> list[int]:
        """The slots of those who wait."""
        return [slot for slot, waits in enumerate(self._waiting) if waits]

    def left(self, slot: int) -> int:
        """How many connections the process *slot* may have, with those that it has."""
        return self._held[slot] + max(0, self.limit - sum(self._held))

    def enter(self, slot: int, source: str) -> bool:
        """A connection of *source* begins; False when it has as many as it may."""
        if self._sources is None or self._by_source is None:
            return True
        with self._lock:
            return self._sources.enter(slot, source, self._by_source)

    def exit(self, slot: int, source: str) -> None:
        """A connection of *source* is over."""
        if self._sources is not None:
            with self._lock:
                self._sources.exit(slot, source)

    def evict(self, slot: int) -> None:
        """The process *slot* has ended: all it had of the sources is free.

        Its places are on the board, and are cleared with that.
        """
        if self._sources is not None:
            with self._lock:
                self._sources.evict(slot)

    def close(self) -> None:
        """Release the file of the lock."""
        self._lock.close()


class SourceTable:
    """How many connections each source has in each process; its caller holds the lock.

    A row a source: a hash of its name, and one number a process.  The hash is Python's own,
    keyed with a secret that forked processes share, so that no peer can aim at another's.
    """

    _FREE = bytes(8)

    def __init__(self, connections: int, slots: int) -> None:
        self._rows = min(connections, MOST_SOURCES) + slots  # each has one connection at least
        self._slots = slots
        self._keys = mmap.mmap(-1, 8 * self._rows)
        self._counts = memoryview(mmap.mmap(-1, 8 * self._rows * slots)).cast("Q")

    def enter(self, slot: int, source: str, limit: int) -> bool:
        """Count one more, unless there are *limit* already."""
        key = self._key(source)
        row = self._find(key)
        if row is None:
            row = self._find(self._FREE)
            if row is None:
                return False
            self._keys[8 * row : 8 * row + 8] = key
        if sum(self._counts[row :: self._rows]) >= limit:
            return False
        self._counts[slot * self._rows + row] += 1
        return True

    def exit(self, slot: int, source: str) -> None:
        """Count one less."""
        row = self._find(self._key(source))
        if row is not None and self._counts[slot * self._rows + row]:
            self._counts[slot * self._rows + row] -= 1
            self._free_if_empty(row)

    def evict(self, slot: int) -> None:
        """Forget what the process *slot* had."""
        start = slot * self._rows
        for row, number in enumerate(self._counts[start : start + self._rows]):
            if number:
                self._counts[start + row] = 0
                self._free_if_empty(row)

    def _free_if_empty(self, row: int) -> None:
        if not any(self._counts[row :: self._rows]):
            self._keys[8 * row : 8 * row + 8] = self._FREE

    def _key(self, source: str) -> bytes:
        return (hash(source) & (2**64 - 1) or 1).to_bytes(8, "big")

    def _find(self, key: bytes) -> int | None:
        position = self._keys.find(key)
        while position % 8:  # inside another's; -1 too is no multiple of 8
            if position < 0:
                return None
            position = self._keys.find(key, position + 1)
        return position // 8
