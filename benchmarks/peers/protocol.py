"""The plainest `asyncio` protocols: what event loops echo with when nothing is added.

    python protocol.py LOOP TRANSPORT

LOOP is ``asyncio`` or ``uvloop``, TRANSPORT ``tcp`` or ``udp``. The server takes a free port of
127.0.0.1, prints ``listening on 127.0.0.1:PORT`` and serves until SIGTERM. Both loops set
TCP_NODELAY themselves, and log what a protocol raises to standard error.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

# asyncio asks for 256 KiB a read; libc maps and unmaps a block of that size each time, which more
# than halves the rate of small messages. uvloop reads into one buffer of its own, of 250 KiB.
BUFFER_SIZE = 65536  # bytes a read, as echoservers and the other peers have it
BACKLOG = 1024  # as echoservers and the other peers have it; the default is 100


class Echo(asyncio.Protocol):
    """Echo a connection until the client closes it."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass
        if hasattr(transport, "max_size"):
            transport.max_size = BUFFER_SIZE

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class DatagramEcho(asyncio.DatagramProtocol):
    """Echo datagrams."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


async def serve(transport: str) -> None:
    """Serve for ever."""
    loop = asyncio.get_running_loop()
    if transport == "udp":
        listener, _ = await loop.create_datagram_endpoint(DatagramEcho, local_addr=("127.0.0.1", 0))
        address = listener.get_extra_info("sockname")
    else:
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=BACKLOG)
        address = server.sockets[0].getsockname()
    print("listening on {}:{}".format(*address[:2]), flush=True)
    await loop.create_future()  # until the process ends


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the event loop called `name`."""
    if name == "asyncio":
        return asyncio.new_event_loop
    import uvloop  # only where it is wanted: it need not be installed

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def main() -> None:
    """Serve what the command line names."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("asyncio", "uvloop"):
        sys.exit("usage: protocol.py asyncio|uvloop tcp|udp")
    with asyncio.Runner(loop_factory=loop_factory(sys.argv[1])) as runner:
        runner.run(serve(sys.argv[2]))


if __name__ == "__main__":
    main()
