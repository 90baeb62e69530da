"""Connections on an asyncio event loop over an `Exchange`: answered at once, or awaited."""

import asyncio
from typing import Any

from .exchange import BrokenFraming, Exchange
from .protocols import Connection

__all__ = ["AsyncConnection", "FramedConnection"]


class FramedConnection(Connection):
    """Messages are cut from what arrives, and the replies to several sent at once."""

    __slots__ = ("_exchange",)

    def __init__(self, *of_all: Any) -> None:
        super().__init__(*of_all)
        self._exchange = Exchange(self.handler, self.cells)

    def _greeting(self) -> bytes | None:
        return self._exchange.greeting()

    def buffer_updated(self, nbytes: int) -> None:
        if self.closing:
            return
        self._exchange.receive(self._view[:nbytes].tobytes())
        if self.full:  # this transport has had one more for us
            self.transport.pause_reading()
            return
        self._answer()
        self.end_if_wanted()

    def eof_received(self) -> bool:
        if not self.closing:
            self._exchange.receive(b"")
        return super().eof_received()

    def _answer(self) -> None:
        try:
            while not self.full and (batch := self._exchange.next_batch()) is not None:
                self.send(batch)
        except BrokenFraming as broken:
            self._broken(broken)
        except BaseException:
            self.failed()


class AsyncConnection(Connection):
    """The answers are awaited, one after the other, in a task of the connection's own.

    While it is busy at most one piece is read ahead.
    """

    __slots__ = ("_exchange", "_gone", "_pieces", "_something", "_task")

    _task: asyncio.Task[None]

    def __init__(self, *of_all: Any) -> None:
        super().__init__(*of_all)
        self._exchange = Exchange(self.handler, self.cells)
        self._pieces: list[bytes] = []
        self._something: asyncio.Future[None] | None = None
        self._gone = False

    # --- the task -------------------------------------------------------------------

    def _begin(self) -> None:
        self._task = self.events.create_task(self._converse())
        self._task.add_done_callback(self._conversed)

    async def _converse(self) -> None:
        try:
            await self._greet_and_answer()
        except BrokenFraming as broken:
            self._broken(broken)
        except asyncio.CancelledError:
            if not self._gone:  # else nobody is left to answer
                self.failed()
            return
        except BaseException:
            self.failed()
            return
        if self.closing or self.handler.closing:
            self._linger()
        else:
            self._finish()

    async def _greet_and_answer(self) -> None:
        exchange, handler = self._exchange, self.handler
        greeting = exchange.greeting()
        if greeting is not None:
            await self._send_all(greeting)
        while not handler.closing:
            piece = await self._next_piece()
            exchange.receive(piece)
            while (batch := await exchange.next_batch_async()) is not None:
                await self._send_all(batch)
            if not piece:
                return

    async def _next_piece(self) -> bytes:
        while not self._pieces:
            self.transport.resume_reading()
            await self._wait()
        return self._pieces.pop(0)

    async def _send_all(self, data: bytes) -> None:
        self.send(data)
        while self.full:
            await self._wait()

    async def _wait(self) -> None:
        self._something = self.events.create_future()
        try:
            await self._something
        finally:
            self._something = None

    def _waits_for_peer(self) -> bool:
        return self._something is not None

    def _conversed(self, _task: object) -> None:
        if self._gone:
            self.owner.connection_over(self)

    # --- called by the transport ----------------------------------------------------

    def buffer_updated(self, nbytes: int) -> None:
        if self.closing or self._task.done():
            return
        if self.full or self._something is None or self._something.done():
            self.transport.pause_reading()
        self._take(self._view[:nbytes].tobytes())

    def eof_received(self) -> bool:
        self._input_ended = True
        if self._task.done():
            self.transport.close()  # the peer has followed us
        else:
            self._take(b"")
        return True

    def _take(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._notify()

    def resume_writing(self) -> None:
        self.full = False
        self._notify()

    def _notify(self) -> None:
        if self._something is not None and not self._something.done():
            self._something.set_result(None)

    def _lost(self) -> None:
        self._gone = True
        if self._task.done():
            self.owner.connection_over(self)
        else:
            self._task.cancel()
