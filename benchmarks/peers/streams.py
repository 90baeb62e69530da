"""The plainest `asyncio` streams server, as the standard library's documentation shows it.

    python streams.py

It takes a free port of 127.0.0.1, prints ``listening on 127.0.0.1:PORT`` and serves until SIGTERM.
"""

from __future__ import annotations

import asyncio

BUFFER_SIZE = 65536  # bytes a read
BACKLOG = 1024  # as echoservers and the other peers have it; the default is 100


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo a connection until the client closes it."""
    try:
        while data := await reader.read(BUFFER_SIZE):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def main() -> None:
    """Serve for ever."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=BACKLOG)
    print("listening on {}:{}".format(*server.sockets[0].getsockname()[:2]), flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
