"""The numbers that all workers share: counters that outlive whoever counted.

One anonymous mapping, made before the fork, so parent and children see the same memory.
It has columns of one number a slot; a slot belongs to one process, which alone writes
there, so that no lock is needed.  Who looks while another process writes may see the numbers
of a request that ends at that moment twice, or not yet; the next look has them right.
Slot 0 is the master's: there it puts what a worker had counted when that has ended, however it
ended.
"""

import mmap
import os
import threading
from collections.abc import Callable, Iterator, MutableMapping

from ..activity import ActiveRequest, Activity
from ..counters import (
    CELLS,
    DROP_CELL,
    DROP_REASONS,
    ERRORS,
    ZEROS,
    Cells,
    Stats,
    add_up,
    new_cells,
)

__all__ = ["MASTER", "Board", "SharedActivity"]

MASTER = 0
"""The slot of the master, and of all that have ended."""

_COLUMNS = (
    "accepted",
    "closed",
    "at_once",
    "refused",
    "aborted",
    "places",  # held of `max_connections`, see `places`
    "waiting",  # 1 while it waits for one
    "gate",  # what it has of the mutex, see `gates`
    "borrowed",  # how many lists of cells it has ever had out at a time
)

REASONS = 16
"""Reasons of refusal that one process can count apart; there are four of ours."""

_NAME = 56  # bytes; with the count one reason takes 64, a line of the processor's cache
_REASON = 8 + _NAME

BORROWED_CELLS = 1024
"""Connections at a time of one worker whose counts others see at once; beyond it they are
seen when the connection ends.  90 KB a worker, which cost nothing until they are used."""


class Board:
    """The shared memory of one server.

    :param slots: processes at a time, the master included.
    :param connections: the most that one worker serves at a time.
    """

    def __init__(self, slots: int, connections: int) -> None:
        self.slots = slots
        self.borrowable = min(connections, BORROWED_CELLS)
        columns = len(_COLUMNS) * slots
        numbers = columns + slots * (2 + self.borrowable) * CELLS
        whole = memoryview(mmap.mmap(-1, 8 * numbers + slots * REASONS * _REASON))
        self._numbers = whole[: 8 * numbers].cast("Q")
        self._reasons = whole[8 * numbers :]
        self._cells_from = columns
        self._lock = threading.RLock()  # stats() may come from a signal handler

    def renew_lock(self) -> None:
        """In a forked child: whoever held the lock is not here."""
        self._lock = threading.RLock()

    def column(self, name: str) -> "memoryview[int]":
        """One number for each slot."""
        start = _COLUMNS.index(name) * self.slots
        return self._numbers[start : start + self.slots]

    def cells(self, slot: int, number: int) -> "memoryview[int]":
        """Counter cells: 0 the loop's, 1 those of ended requests, from 2 on borrowed ones."""
        start = self._cells_from + (slot * (2 + self.borrowable) + number) * CELLS
        return self._numbers[start : start + CELLS]

    def reasons(self, slot: int) -> "Reasons":
        """Why connections were refused, and how often."""
        size = REASONS * _REASON
        return Reasons(self._reasons[slot * size : (slot + 1) * size])

    def active(self, slot: int) -> int:
        """How many connections the process serves now."""
        accepted, closed = self.column("accepted")[slot], self.column("closed")[slot]
        return max(0, accepted - closed - self.column("refused")[slot])

    def closed(self) -> int:
        """How many requests were served and have ended, over all."""
        return sum(self.column("closed")) + sum(self.column("at_once"))

    def stats(self) -> Stats:
        """All counters at this moment."""
        with self._lock:
            refused: dict[str, int] = {}
            for slot in range(self.slots):
                if self.column("refused")[slot]:
                    for reason, number in self.reasons(slot).items():
                        refused[reason] = refused.get(reason, 0) + number
            cells = add_up(self._all_cells(slot) for slot in range(self.slots))
            return Stats(
                accepted=sum(self.column("accepted")) + sum(self.column("at_once")),
                active=sum(map(self.active, range(self.slots))),
                closed=self.closed(),
                refused=refused,
                messages=cells[0],
                bytes_in=cells[1],
                bytes_out=cells[2],
                errors=cells[ERRORS],
                dropped={reason: cells[DROP_CELL[reason]] for reason in DROP_REASONS},
            )

    def _all_cells(self, slot: int) -> Cells:
        used = 2 + self.column("borrowed")[slot]
        return add_up(self.cells(slot, number) for number in range(used))

    def retire(self, slot: int, aborted: bool) -> int:
        """The process has ended: its numbers go to the master's slot, its own are zero again.

        What it was still serving is over: cut by us if *aborted*, else by an error.

        :returns: how many connections that were.
        """
        with self._lock:
            left = self.active(slot)
            self.column("closed")[slot] += left
            if aborted:  # unless the worker has counted them itself, before it was killed
                self.column("aborted")[slot] = max(self.column("aborted")[slot], left)
            else:
                self.cells(slot, 1)[ERRORS] += left
            ended = self.cells(MASTER, 1)
            for number, counted in enumerate(self._all_cells(slot)):
                ended[number] += counted
            totals = self.reasons(MASTER)
            for reason, number in self.reasons(slot).items():
                totals[reason] = totals.get(reason, 0) + number
            for name in ("accepted", "closed", "at_once", "refused", "aborted"):
                self.column(name)[MASTER] += self.column(name)[slot]
            self._clear(slot)
        return left

    def _clear(self, slot: int) -> None:
        for number in range(2 + self.column("borrowed")[slot]):
            self.cells(slot, number)[:] = ZEROS
        for name in _COLUMNS:
            self.column(name)[slot] = 0
        self.reasons(slot).clear()


class Reasons(MutableMapping[str, int]):
    """How often each reason was given: a mapping in shared memory, for one writer.

    A reason that is not there has been given 0 times, as with `collections.Counter`.
    """

    def __init__(self, memory: "memoryview[int]") -> None:
        self._names = memory
        self._counts = memory.cast("Q")

    def _name(self, row: int) -> str:
        start = row * _REASON + 8
        return bytes(self._names[start : start + _NAME]).rstrip(b"\0").decode("utf-8", "replace")

    def _row(self, reason: str) -> int | None:
        for row in range(REASONS):
            name = self._name(row)
            if not name:
                return None
            if name == reason:
                return row
        return None

    def __getitem__(self, reason: str) -> int:
        row = self._row(reason)
        return 0 if row is None else self._counts[row * (_REASON // 8)]

    def __setitem__(self, reason: str, number: int) -> None:
        row = self._row(reason)
        if row is None:
            row = len(self)
            if row == REASONS:
                row -= 1  # full: told under the last one
            else:
                start = row * _REASON + 8
                name = reason.encode()[:_NAME]
                self._names[start : start + len(name)] = name
        self._counts[row * (_REASON // 8)] = number

    def __delitem__(self, reason: str) -> None:
        self[reason] = 0

    def __iter__(self) -> Iterator[str]:
        for row in range(REASONS):
            name = self._name(row)
            if not name:
                return
            yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def clear(self) -> None:
        """Forget all."""
        self._names[:] = bytes(len(self._names))


class SharedActivity(Activity):
    """The bookkeeping of one process, in its slot of the board.

    ``stats()`` and ``closed`` tell of all processes together; the requests in progress are
    those of this process.
    """

    def __init__(self, board: Board, slot: int) -> None:
        self.board = board
        self.slot = slot
        self._accepted_of = board.column("accepted")
        self._closed_of = board.column("closed")
        self._at_once_of = board.column("at_once")
        self._refused_of = board.column("refused")
        self._total_cells = board.cells(slot, 1)
        counted = self.counters()
        super().__init__()  # begins at zero
        self._accepted, self._closed, self.at_once, self._totals = counted
        self._refused = board.reasons(slot)
        self.loop_cells = board.cells(slot, 0)
        self.cells_to_lend = CellsToLend(board, slot)
        self.on_end: Callable[[ActiveRequest], object] | None = None
        """Called when a request is over, for what else it has to give back."""
        self._lent: dict[int, memoryview[int]] = {}  # by the id of the record
        self._worker = os.getpid()
        self.end_with: Callable[[int], object] | None = None
        """Called in a forked child with the number of the worker: see `end_with_parent`."""

    def restart_in_child(self, record: ActiveRequest) -> None:
        """As in a server without workers; and a child of a worker ends with it."""
        super().restart_in_child(record)
        if self.end_with is not None:
            self.end_with(self._worker)

    def counters(self) -> tuple[int, int, int, list[int]]:
        """What this process has counted."""
        return self._accepted, self._closed, self.at_once, list(self._total_cells)

    # What `Activity` counts in attributes of its own is in shared memory here.

    @property
    def _accepted(self) -> int:
        return self._accepted_of[self.slot]

    @_accepted.setter
    def _accepted(self, number: int) -> None:
        self._accepted_of[self.slot] = number

    @property
    def _closed(self) -> int:
        return self._closed_of[self.slot]

    @_closed.setter
    def _closed(self, number: int) -> None:
        self._closed_of[self.slot] = number

    @property
    def at_once(self) -> int:
        """Requests without a record, of this process."""
        return self._at_once_of[self.slot]

    @at_once.setter
    def at_once(self, number: int) -> None:
        self._at_once_of[self.slot] = number

    @property
    def _totals(self) -> Cells:
        return self._total_cells

    @_totals.setter
    def _totals(self, cells: Cells) -> None:
        for number, counted in enumerate(cells):
            self._total_cells[number] = counted

    @property
    def closed(self) -> int:
        """How many requests were served and have ended, over all processes."""
        return self.board.closed()

    def stats(self) -> Stats:
        """The counters of all processes together."""
        return self.board.stats()

    def count_in(self, record: ActiveRequest, cells: Cells) -> None:
        """Let the worker of *record* count where the other processes see it."""
        if isinstance(cells, list):
            with self._lock:
                shared = self.cells_to_lend.take()
            if shared is not None:
                self._lent[id(record)] = cells = shared
        super().count_in(record, cells)

    def end(self, record: ActiveRequest, refusal: str | None = None) -> bool:
        with self._lock:
            if not super().end(record, refusal):
                return False
            cells = self._lent.pop(id(record), None)
            if cells is not None:
                record.cells = new_cells()  # for a worker that has not noticed yet
                self.cells_to_lend.give_back(cells)
            if self.on_end is not None:
                self.on_end(record)
            return True

    def _count_refusal(self, reason: str) -> None:
        super()._count_refusal(reason)
        self._refused_of[self.slot] += 1


class CellsToLend:
    """Cells of one process's slot for those of its requests that count on their own.

    Has the methods of the forking model's store, and takes its place in a worker: what the
    children of a worker count is seen by all.
    """

    def __init__(self, board: Board, slot: int) -> None:
        self._board = board
        self._slot = slot
        self._used = board.column("borrowed")
        self._free: list[memoryview[int]] = []

    def take(self) -> "memoryview[int] | None":
        """Cells of zeros, or None when all are lent."""
        if self._free:
            return self._free.pop()
        number = self._used[self._slot]
        if number == self._board.borrowable:
            return None
        self._used[self._slot] = number + 1
        return self._board.cells(self._slot, 2 + number)

    def give_back(self, cells: "memoryview[int] | None") -> None:
        """The request has ended, and its numbers are counted; None: it had none."""
        if cells is not None:
            cells[:] = ZEROS  # for a request that was never begun; else they are already
            self._free.append(cells)
