"""Cut a byte stream into messages and wrap replies.  Knows no socket.

A framing object belongs to one connection and is fed by whoever reads the
socket, in whatever pieces the network delivers::

    framing.receive_data(data)                       # as bytes come in
    while (message := framing.next_message()) is not None:
        reply = framing.wrap(respond(message))       # in the order of the messages
    framing.receive_end()                            # at the end of the stream;
                                                     # then next_message() again

How the input was split never changes the messages of `LineFraming` and
`LengthPrefixedFraming`; `RawFraming` hands on what came, as it came.
"""

from .errors import IncompleteMessage, MessageTooLong

__all__ = [
    "FRAMINGS",
    "Framing",
    "LengthPrefixedFraming",
    "LineFraming",
    "RawFraming",
]

DEFAULT_MAX_MESSAGE_SIZE = 65536
"""Bytes: the size of one read, and what fits any datagram.  Line protocols that
are held up as careful allow 64 KiB a line as well (asyncio's stream limit)."""


class Framing:
    """What every framing does; a subclass gives ``next_message`` and ``wrap``.

    :param max_message_size: bytes; a longer message raises `MessageTooLong`.
    """

    def __init__(self, max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE) -> None:
        self.max_message_size = max_message_size
        self._buffer = bytearray()
        self._ended = False

    def receive_data(self, data: bytes) -> None:
        """Take the next bytes of the stream; take every message out before the next call."""
        self._buffer += data

    def receive_end(self) -> None:
        """The stream has ended: what is left is the last message, or an error."""
        self._ended = True

    def next_message(self) -> bytes | None:
        """The next whole message, or None when more bytes are needed.

        :raises FramingError: the peer broke the framing; the connection must end.
        """
        raise NotImplementedError

    def wrap(self, reply: bytes) -> bytes:
        """*reply* as it goes on the wire, after the message that was taken last."""
        raise NotImplementedError

    def _too_long(self, what: str) -> MessageTooLong:
        return MessageTooLong(
            f"{what} is longer than max_message_size, {self.max_message_size} bytes"
        )


class RawFraming(Framing):
    """No framing: every piece that arrives is a message (RFC 862, RFC 863).

    A piece longer than ``max_message_size`` becomes several messages.
    """

    def __init__(self, max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE) -> None:
        super().__init__(max_message_size)
        self._piece = b""  # the object that was received: the usual piece is never copied
        self._taken = 0  # bytes of it handed out: what is left is not moved for each message

    def receive_data(self, data: bytes) -> None:
        self._piece = self._piece[self._taken :] + data if self._piece else data
        self._taken = 0

    def next_message(self) -> bytes | None:
        piece, start = self._piece, self._taken
        end = start + self.max_message_size
        if end >= len(piece):
            self._piece, self._taken = b"", 0
            return piece[start:] or None
        self._taken = end
        return piece[start:end]

    def wrap(self, reply: bytes) -> bytes:
        return reply


class LineFraming(Framing):
    r"""One message a line, without its end; the reply gets the end its message had.

    Lines end with ``\n`` or ``\r\n``.  A last line that has no end is a message
    too, and its reply gets none, so an echo stays byte for byte.
    ``max_message_size`` counts the line without its end.
    """

    def __init__(self, max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE) -> None:
        super().__init__(max_message_size)
        self._searched = 0  # bytes of the buffer known to hold no \n: no byte is searched twice
        self._line_end = b"\n"  # for a greeting, which answers no line

    def next_message(self) -> bytes | None:
        buffer = self._buffer
        newline = buffer.find(b"\n", self._searched)
        if newline >= 0:
            self._line_end = b"\r\n" if newline and buffer[newline - 1] == 13 else b"\n"
            end = newline + 1 - len(self._line_end)
        elif self._ended and buffer:
            self._line_end = b""
            newline = end = len(buffer)
        else:
            self._searched = len(buffer)
            # One byte more may be the \r of an end whose \n is still to come.
            if len(buffer) > self.max_message_size + 1:
                raise self._too_long("the line")
            return None
        if end > self.max_message_size:
            raise self._too_long("the line")
        message = bytes(buffer[:end])
        del buffer[: newline + 1]
        self._searched = 0
        return message

    def wrap(self, reply: bytes) -> bytes:
        return reply + self._line_end


class LengthPrefixedFraming(Framing):
    """Each message and reply behind its length: 4 bytes, unsigned, big-endian."""

    PREFIX_SIZE = 4

    def next_message(self) -> bytes | None:
        buffer = self._buffer
        if len(buffer) >= self.PREFIX_SIZE:
            size = int.from_bytes(buffer[: self.PREFIX_SIZE], "big")
            # Refused on the prefix alone: nobody makes us hold what we will not take.
            if size > self.max_message_size:
                raise self._too_long(f"the message announced with {size} bytes")
            end = self.PREFIX_SIZE + size
            if len(buffer) >= end:
                message = bytes(buffer[self.PREFIX_SIZE : end])
                del buffer[:end]
                return message
        if self._ended and buffer:
            raise IncompleteMessage(
                f"the stream ended inside a message, after {len(buffer)} bytes of it"
            )
        return None

    def wrap(self, reply: bytes) -> bytes:
        return len(reply).to_bytes(self.PREFIX_SIZE, "big") + reply


FRAMINGS: dict[str, type[Framing]] = {
    "raw": RawFraming,
    "lines": LineFraming,
    "length": LengthPrefixedFraming,
}
"""The framings by the name that ``--framing`` takes."""
