"""Who is being served, and what has been counted: the bookkeeping of one server.

Knows no socket and makes no decision.  Workers end their request from any thread;
`snapshot`, `find` and ``len()`` take no lock, so a signal handler may use them.
"""

import threading
from collections import Counter
from collections.abc import MutableMapping
from operator import add
from typing import Any

from .counters import (
    DROP_CELL,
    DROP_REASONS,
    ERRORS,
    HANDSHAKE_FAILED,
    INPUT_ENDED,
    ZEROS,
    Cells,
    Stats,
    add_up,
    new_cells,
)

__all__ = ["ActiveRequest", "Activity"]


class ActiveRequest:
    """One request from the moment it is admitted until it is over."""

    __slots__ = (
        "aborted",
        "cells",
        "client_address",
        "ended",
        "input_ended",
        "request",
        "source",
        "worker",
    )

    def __init__(self, request: Any, client_address: Any, source: str | None) -> None:
        self.request = request
        self.client_address = client_address
        self.source = source
        """The host it came from, where a limit by source applies."""
        self.cells: Cells | None = None
        """Where its worker counts; None: in the cells of the loop."""
        self.aborted = False
        self.ended = False
        self.input_ended = False
        """By us, not by the peer; told to the handler in its cells."""
        self.worker: Any = None
        """What serves it, where the model has to find that by its request."""


class Activity:
    """The requests in progress and the counters of a server."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # stats() may come from a signal handler
        self._lock_for_child = threading.RLock()  # made here: a child would copy memory for it
        self.in_progress: dict[int, ActiveRequest] = {}
        """By the id of the request, which lives as long as its record does."""
        self.at_once = 0
        """Requests without a record: the loop serves each before it takes the next."""
        self._sources: Counter[str] = Counter()
        self._refused: MutableMapping[str, int] = Counter()
        self._totals: Cells = new_cells()
        self._accepted = 0
        self._closed = 0
        self.loop_cells: Cells = new_cells()
        """For what the serving loop itself counts; no other thread writes here."""
        self._ends_requests = True

    @property
    def closed(self) -> int:
        """How many requests were served and have ended."""
        return self._closed + self.at_once

    def __len__(self) -> int:
        return len(self.in_progress)

    def snapshot(self) -> list[ActiveRequest]:
        """The requests in progress at this moment."""
        return list(self.in_progress.values())

    def count_in(self, record: ActiveRequest, cells: Cells) -> None:
        """Let the worker of *record* count in *cells*."""
        record.cells = cells
        if record.input_ended:
            cells[INPUT_ENDED] = 1

    def begin(self, request: Any, client_address: Any, source: str | None) -> ActiveRequest:
        """A request has been accepted and will be served."""
        record = ActiveRequest(request, client_address, source)
        with self._lock:
            self._accepted += 1
            if source is not None:
                self._sources[source] += 1
            self.in_progress[id(request)] = record
        return record

    def find(self, request: Any) -> ActiveRequest | None:
        """The record of *request*, if it is in progress."""
        return self.in_progress.get(id(request))

    def from_source(self, source: str) -> int:
        """How many requests of *source* are in progress."""
        return self._sources[source]

    def end(self, record: ActiveRequest, refusal: str | None = None) -> bool:
        """The request is over; False if it was already, or if that is for the parent to say.

        :param refusal: why nobody has served it.
        """
        if not self._ends_requests:
            return False
        with self._lock:
            if self.in_progress.pop(id(record.request), None) is None:
                return False
            record.ended = True
            cells = self.loop_cells if record.cells is None else record.cells
            if cells[HANDSHAKE_FAILED]:
                cells[HANDSHAKE_FAILED] = 0
                if not record.aborted:  # else it was cut by us, and is counted as that
                    refusal = refusal or "handshake"
            if record.cells is not None:
                self._add_to_totals(record.cells)
            # Now, so that who sees it over sees its numbers, and in this process not twice.
            if refusal is None:
                self._closed += 1
            else:
                self._count_refusal(refusal)
            if record.source is not None:
                self._sources[record.source] -= 1
                if not self._sources[record.source]:
                    del self._sources[record.source]
            return True

    def _add_to_totals(self, cells: Cells) -> None:
        self._totals = list(map(add, self._totals, cells))
        if not isinstance(cells, list):  # it is shared memory, of which `stats` reads all
            cells[:] = ZEROS

    def refuse(self, reason: str) -> None:
        """A connection was accepted and closed unserved."""
        with self._lock:
            self._accepted += 1
            self._count_refusal(reason)

    def give_up(self, record: ActiveRequest | None, reason: str) -> None:
        """A request was admitted, but nobody serves it; None: one without a record."""
        if record is None:
            self.refuse(reason)
        else:
            self.end(record, reason)

    def _count_refusal(self, reason: str) -> None:
        """Every refusal is counted here, under the lock."""
        self._refused[reason] += 1

    def restart_in_child(self, record: ActiveRequest) -> None:
        """In a forked child: only *record* is ours, and nobody here holds the lock.

        The request ends in the parent, when the child has: its numbers are read once, there.
        """
        self._ends_requests = False
        self._lock = self._lock_for_child
        self.in_progress = {id(record.request): record}

    def stats(self) -> Stats:
        """All counters at this moment, those of running workers included."""
        with self._lock:
            running = [r.cells for r in self.in_progress.values() if r.cells is not None]
            cells = add_up((self._totals, self.loop_cells, *running))
            return Stats(
                accepted=self._accepted + self.at_once,
                active=len(self.in_progress),
                closed=self.closed,
                refused=dict(self._refused),
                messages=cells[0],
                bytes_in=cells[1],
                bytes_out=cells[2],
                errors=cells[ERRORS],
                dropped={reason: cells[DROP_CELL[reason]] for reason in DROP_REASONS},
            )
