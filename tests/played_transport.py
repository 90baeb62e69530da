"""A transport and a server as a test plays them: there is room for what is written, or none."""

import asyncio
import socket
import sys
from typing import Any

from echoservers import EchoHandler
from echoservers.activity import ActiveRequest
from echoservers.counters import new_cells
from echoservers.protocols import Buffer, Connection


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


class Owner:
    """The server."""

    idle_timeout: float | None = None
    max_message_size = None
    logs_connections = False

    def __init__(self) -> None:
        self.events = asyncio.new_event_loop()
        self.cells = new_cells()
        self.failures: list[str] = []
        self.over = 0
        self.buffer = Buffer(1024)
        self.handler: Any = None
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)

    def cells_of(self, _request: object) -> list[int]:
        return self.cells

    def drive_handler(self, handler: EchoHandler) -> None:
        self.handler = handler

    def connection_failed(self, _connection: Connection) -> None:
        self.failures.append(repr(sys.exc_info()[1]))

    def connection_over(self, _connection: Connection) -> None:
        self.over += 1

    def make(self, kind: type[Connection], handler: type[EchoHandler]) -> Any:
        handler(self.ours, ("test", 1), self)
        record = ActiveRequest(self.ours, ("test", 1), None)
        return kind(self, self.handler, record, self.events, self.buffer)

    def turn(self) -> None:
        """Let what is ready run."""
        for _ in range(5):
            self.events.run_until_complete(asyncio.sleep(0))


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
