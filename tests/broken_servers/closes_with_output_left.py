"""Closes at the end of the input, with answers left that the client has not read yet."""

import asyncio
import sys

FAILS = "streams.end-after-much"


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(high=12 << 20)

    def data_received(self, data):
        self.transport.write(data)

    def pause_writing(self):  # the client does not read: no more is read from it
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()

    def eof_received(self):
        if self.transport.get_write_buffer_size():
            self.transport.abort()


async def main():
    loop = asyncio.get_running_loop()
    _server = await loop.create_server(Echo, "127.0.0.1", int(sys.argv[1]), backlog=512)
    await asyncio.Event().wait()  # serve_forever would wait for the clients at its end


asyncio.run(main())
