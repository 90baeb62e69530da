"""A transport of an event loop as a test plays it: it takes what is written, or has no room."""

import asyncio
from typing import Any


class Transport:
    """Takes what is written; has no room when the test says so."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.done: list[str] = []
        self.reading = True
        self.protocol: Any = None
        self.has_room = True
        self.unsent = 0

    def write(self, data: bytes) -> None:
        self.written += data
        if not self.has_room:
            self.unsent += len(data)
            self.protocol.pause_writing()

    def there_is_room(self) -> None:
        self.has_room, self.unsent = True, 0
        self.protocol.resume_writing()

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == 0

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def write_eof(self) -> None:
        self.done.append("eof")

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")

    def is_closing(self) -> bool:
        return "close" in self.done or "abort" in self.done


def connect(protocol: Any) -> Transport:
    transport = Transport()
    transport.protocol = protocol
    protocol.connection_made(transport)
    return transport


def bring(transport: Transport, data: bytes) -> None:
    """Let *data* arrive, as the protocol of the moment takes it."""
    protocol = transport.protocol
    if isinstance(protocol, asyncio.BufferedProtocol):
        buffer = protocol.get_buffer(-1)
        buffer[: len(data)] = data
        protocol.buffer_updated(len(data))
    else:
        protocol.data_received(data)
