"""Writes without waiting for what is written to go: it keeps all that is not read."""

import asyncio
import sys

FAILS = "streams.back-pressure"


async def serve(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
        writer.write_eof()
    except ConnectionError:
        pass  # the client has gone
    writer.close()


async def main():
    _server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=512)
    await asyncio.Event().wait()  # serve_forever would wait for the clients at its end


asyncio.run(main())
