"""The messages and replies of one connection, without I/O.

Between whoever moves the bytes (a blocking loop, a reactor, a coroutine) and the handler::

    to_send = exchange.greeting()
    exchange.receive(data)                               # b"" at the end of the input
    while (batch := exchange.next_batch()) is not None:  # what to send, in order
        ...

A batch that cannot be sent at once is the time to stop asking for more: what is held for
a peer that does not read stays within one batch and one read.
"""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from .counters import BYTES_IN, MESSAGES, Cells
from .errors import FramingError
from .framing import Framing

if TYPE_CHECKING:
    from .handlers import EchoHandler

__all__ = ["RECEIVE_SIZE", "SEND_SIZE", "BrokenFraming", "Exchange", "PeerEnded"]

RECEIVE_SIZE = 65536
"""Bytes asked for in one read: with the reply it stays within 128 KiB a connection,
and larger reads no longer save time beside the copy that they cost."""

SEND_SIZE = 65536
"""Bytes of replies gathered before they are sent, when many messages came at once."""


class PeerEnded(Exception):
    """The peer has gone, or made no progress in time: its business, not a fault.

    A class of its own, since ``respond()`` may raise the same errors about another socket.
    """

    def __init__(self, error: OSError) -> None:
        # SO_RCVTIMEO, or Python's own limit, which has no error number; ETIMEDOUT, of a peer
        # that is not reached, has one.
        idle = isinstance(error, BlockingIOError) or (
            isinstance(error, TimeoutError) and error.errno is None
        )
        super().__init__("idle for too long" if idle else error.strerror or str(error))


class BrokenFraming(Exception):
    """The peer has broken the framing; ``respond()`` may raise a FramingError itself."""


class Exchange:
    """Cuts what comes into messages, asks the handler, and gathers the replies.

    :param handler: gives ``respond``, ``greet`` and the framing.
    :param cells: where messages and received bytes are counted.
    """

    __slots__ = ("_cells", "_failure", "_framing", "_handler", "_show")

    def __init__(self, handler: "EchoHandler", cells: Cells) -> None:
        self._handler = handler
        self._cells = cells
        self._framing: Framing = handler.framing_class(handler.max_message_size)
        self._show = handler.shows_messages
        self._failure: BaseException | None = None

    @property
    def closing(self) -> bool:
        """Whether the handler wants the connection closed behind the last batch."""
        return self._handler.closing

    def greeting(self) -> bytes | None:
        """What to send first, if anything."""
        greeting = self._handler.greet()
        return None if greeting is None else self._framing.wrap(greeting)

    def receive(self, data: bytes) -> None:
        """Take what was received; nothing at the end of the input.

        What the framing has against it is raised by `next_batch`.
        """
        try:
            if data:
                self._cells[BYTES_IN] += len(data)
                self._framing.receive_data(data)
            else:
                self._framing.receive_end()
        except FramingError as error:
            self._failure = _broken(error)
        except BaseException as error:
            self._failure = error

    def next_batch(self) -> bytes | None:
        """The replies to the next messages, about `SEND_SIZE` at most; None: all are answered.

        What was answered before a fault is returned first; the fault is raised by the next call.

        :raises BrokenFraming: the peer's fault.
        :raises BaseException: whatever the handler raises.
        """
        replies: list[bytes] = []
        gathered = 0
        while gathered < SEND_SIZE and (message := self._next_message(replies)) is not None:
            try:
                gathered += self._gather(self._handler.respond(message), replies)
            except BaseException as error:
                self._fail(error, replies)
                break
        return _joined(replies)

    async def next_batch_async(self) -> bytes | None:
        """`next_batch` for a handler whose ``respond`` is ``async def``.

        One reply at a time: it must not wait for the next answer, which may take long.
        """
        replies: list[bytes] = []
        while not replies and (message := self._next_message(replies)) is not None:
            try:
                answer: Any = self._handler.respond(message)
                reply = await answer if isinstance(answer, Awaitable) else answer
                self._gather(reply, replies)
            except BaseException as error:
                self._fail(error, replies)
        return _joined(replies)

    def _next_message(self, replies: list[bytes]) -> bytes | None:
        if self._failure is not None:
            raise self._failure
        if self._handler.closing:
            return None
        try:
            message = self._framing.next_message()
        except FramingError as error:
            self._fail(_broken(error), replies)
            return None
        if message is not None:
            self._cells[MESSAGES] += 1
            if self._show:
                self._handler.show(message)
        return message

    def _gather(self, reply: bytes | None, replies: list[bytes]) -> int:
        if reply is None:
            return 0
        wrapped = self._framing.wrap(reply)
        replies.append(wrapped)
        return len(wrapped)

    def _fail(self, error: BaseException, replies: list[bytes]) -> None:
        self._failure = error
        if not replies:
            raise error


def _broken(error: FramingError) -> BrokenFraming:
    broken = BrokenFraming(str(error))
    broken.__cause__ = error
    return broken


def _joined(replies: list[bytes]) -> bytes | None:
    if not replies:
        return None
    return replies[0] if len(replies) == 1 else b"".join(replies)
