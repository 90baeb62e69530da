"""Listening: what the master does with listeners, where it does anything.

With ``accept=reuseport`` it keeps one for each worker, so that what waits at it outlives the
worker; with ``handoff`` it accepts, and passes each connection to the worker with the least
to do (UNP vol. 1, 30.9).  Otherwise the listener is the workers' alone.
"""

import socket
import time
from typing import Any

from ..admission import ACCEPT_BATCH, AdmissionMixIn
from ..log import logger
from .board import MASTER, Board
from .gates import hand_over, share_out
from .process import Worker
from .side import WorkerSide
from .team import Team

__all__ = ["Listening"]


class Listening(WorkerSide):
    """The listeners of a master; in a worker the steps are those of `WorkerSide`."""

    _board: Board | None = None
    _team: Team
    workers: int
    _listeners: dict[int, Any]
    _shares_out = False  # the kernel was told how many of the listeners get something

    # --- a listener for each --------------------------------------------------------

    def server_bind(self) -> None:
        """As for every server; with ``accept=reuseport`` so that its workers can bind it, too."""
        super().server_bind()  # type: ignore[misc] # of the class behind the mixins
        if self.accept == "reuseport":
            # Only now: another program that has the port is an error, as ever.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

    def close_listener(self) -> None:
        """Close it, and those of the workers that the master keeps."""
        super().close_listener()
        while self._listeners:
            _, listener = self._listeners.popitem()
            listener.close()

    def _change_number(self, by: int) -> None:
        before = self._team.wanted
        self._team.change(by)
        if self.accept == "reuseport":
            try:
                for position in range(self._team.wanted):
                    self._listener_of(position)
            except OSError as error:
                logger.warning("no listener for one worker more: %s", error.strerror)
                self._team.wanted = before
            self._share_out(self._team.wanted)

    def _start_team(self) -> None:
        if self._shares_out:  # when it served before
            self._share_out(self.workers)
        self._team.start(self.workers)
        self._close_unused()

    def _share_out(self, number: int) -> None:
        self._shares_out = share_out(self.socket, number)

    def _close_unused(self) -> None:
        """Close the listeners beyond those wanted that no worker has any more.

        The last one first: the kernel puts its last one in the place of one that is closed, and
        then the first so many, of which `share_out` tells it, are others.
        """
        used = {worker.position for worker in self._team.all.values()}
        for position in sorted(self._listeners, reverse=True):
            if position < self._team.wanted or (self._shares_out and position in used):
                return
            if position not in used:
                self._listeners.pop(position).close()

    def _listener_of(self, position: int) -> Any:
        """The listener at *position*; the master keeps it, so that what waits there stays."""
        if position == 0 or self.accept != "reuseport":
            return self.socket
        if position not in self._listeners:
            self._listeners[position] = self._another_listener()
        return self._listeners[position]

    def _another_listener(self) -> Any:
        first, address = self.socket, self.server_address
        self.socket = socket.socket(self.address_family, self.socket_type)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self.server_bind()
            self.server_activate()
            if self.is_stream:
                self.socket.setblocking(False)
        except BaseException:
            self.socket.close()
            raise
        else:
            return self.socket
        finally:
            self.socket, self.server_address = first, address

    # --- handing over ---------------------------------------------------------------

    def _listen(self, wanted: bool) -> None:
        if self._link is not None:
            super()._listen(wanted)
        elif self.accept == "handoff":
            AdmissionMixIn._listen(self, wanted)

    def _accept_batch(self) -> None:
        if self._link is not None:
            super()._accept_batch()
            return
        for _ in range(ACCEPT_BATCH):
            takers = self._takers()
            if not takers:
                self._listen(False)
                return
            if not self._pass_one(takers) or self._stop_requested:
                return

    def _takers(self) -> list[Worker]:
        """Who can take the next connection, the best first.

        When nobody can, we are told as soon as somebody can.
        """
        assert self._board is not None
        waiting = self._board.column("waiting")
        takers: list[Worker] = []
        for said in (0, 1):  # once more after it was said: it may have been just then
            waiting[MASTER] = said
            in_all = sum(worker.load(self._board) for worker in self._team.all.values())
            if self.overflow == "refuse" or in_all < self.max_connections:
                takers = self._team.by_load(self._board, self._most_each())
            if takers:
                waiting[MASTER] = 0
                break
        return takers

    def _most_each(self) -> int | None:
        """How many connections one worker serves at a time, where more would wait for it."""
        if self._serves_in_loop:
            return 1
        return self.capacity() if self.overflow == "queue" else None

    def _pass_one(self, takers: list[Worker]) -> bool:
        try:
            connection, _ = self.socket.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            return self._accept_failed(error)
        self._failed_accepts = 0
        with connection:
            for worker in takers:  # one may have died just now, or have a full queue
                if worker.channel is not None and hand_over(worker.channel, connection):
                    worker.handed += 1
                    break
            else:
                self._activity.refuse("no_worker")
        return True

    def _resume_handing_over(self) -> None:
        assert self._board is not None
        self._board.column("waiting")[MASTER] = 0
        if self._serving_thread is not None and not (self._paused or self._stop_requested):
            self._listen(True)

    def _time_to_resume(self) -> float | None:
        if self._link is not None:
            return super()._time_to_resume()
        return max(0.0, self._resume_at - time.monotonic())

    def _hand_backlog_over(self) -> None:
        assert self._board is not None
        for _ in range(max(ACCEPT_BATCH, getattr(self, "request_queue_size", 0))):
            takers = self._team.by_load(self._board, None)
            if not takers or not self._pass_one(takers):
                return
