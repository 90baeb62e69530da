"""The daytime protocol (RFC 867): who connects is told the time, and that is all.

Shows: `greet` speaks first, and `close_after_reply` ends the connection behind what it says; the
client need not send a byte.  It runs in every stream mode alike.

    $ python examples/daytime.py
    $ python -m echoservers client tcp://127.0.0.1:8007 < /dev/null
    Sat Jan 31 12:34:56 2026
"""

import sys
import time
from contextlib import suppress

from echoservers import EchoHandler, create_server


class Daytime(EchoHandler):
    def greet(self) -> bytes:
        self.close_after_reply()
        return time.ctime().encode("ascii") + b"\r\n"


if __name__ == "__main__":
    mode, port = (*sys.argv[1:], "tcp", "8007")[:2]
    server = create_server(mode, ("127.0.0.1", int(port)), Daytime)
    with server, suppress(KeyboardInterrupt):
        print(f"daytime listening on {server.endpoint()}", flush=True)
        server.serve_forever()
