"""What time is it?  A datagram in, the time out.

Shows: a handler over datagrams is the same class; one object a datagram, no connection.  The
answer is never longer than the question, unless that comes from this machine: else
anybody could have us send more to a victim than he sends himself.

    $ python examples/time_service.py
    $ echo 'what time is it, please?' | python -m echoservers client udp://127.0.0.1:8007
    2026-01-31T12:34:56Z
"""

import datetime
import sys
from contextlib import suppress

from echoservers import EchoHandler, create_server


class TimeHandler(EchoHandler):
    def respond(self, message: bytes) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        return now.strftime("%Y-%m-%dT%H:%M:%SZ\n").encode()


if __name__ == "__main__":
    port = int((*sys.argv[1:], "8007")[0])
    server = create_server("udp", ("127.0.0.1", port), TimeHandler)
    with server, suppress(KeyboardInterrupt):
        print(f"time listening on {server.endpoint()}", flush=True)
        server.serve_forever()
