"""Resolve host names, a line each, without holding anybody up.

Shows: in the coroutine models `respond` may be ``async def``.  While one client waits for an
answer from elsewhere, the one thread serves the others.

    $ python examples/async_lookup.py
    $ echo localhost | python -m echoservers client tcp://127.0.0.1:8007
    127.0.0.1
"""

import asyncio
import socket
import sys
from contextlib import suppress

from echoservers import EchoHandler, LineFraming, create_server

PATIENCE = 5.0  # seconds: what resolvers take for two tries


class Lookup(EchoHandler):
    framing_class = LineFraming
    max_message_size = 253  # bytes: the longest name (RFC 1035, 2.3.4)

    async def respond(self, message: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            question = loop.getaddrinfo(message, None, type=socket.SOCK_STREAM)
            found = await asyncio.wait_for(question, PATIENCE)
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            return f"error: {error}".encode()
        return " ".join(sorted({address[0] for *_, address in found})).encode()


if __name__ == "__main__":
    port = int((*sys.argv[1:], "8007")[0])
    server = create_server("asyncio-tcp", ("127.0.0.1", port), Lookup)
    with server, suppress(KeyboardInterrupt):
        print(f"lookup listening on {server.endpoint()}", flush=True)
        server.serve_forever()
