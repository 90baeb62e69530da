"""The standard library's HTTP server, over a pool of threads.

Shows: the mixins go over other people's servers, and their handlers run as they are.  Twenty
threads serve; who comes when all are taken waits, where `http.server` would start a
thread for everybody.

    $ python examples/pooled_http.py
    $ curl http://127.0.0.1:8007/
    hello from PooledHTTPServer worker 1
"""

import http.server
import sys
import threading
from contextlib import suppress

from echoservers import ThreadPoolMixIn


class PooledHTTPServer(ThreadPoolMixIn, http.server.HTTPServer):
    """HTTP, served by twenty threads."""

    max_workers = 20


class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5  # seconds: a connection that is kept alive keeps its thread

    def do_GET(self) -> None:
        body = f"hello from {threading.current_thread().name}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    port = int((*sys.argv[1:], "8007")[0])
    server = PooledHTTPServer(("127.0.0.1", port), Hello)
    with server, suppress(KeyboardInterrupt):
        print(f"http listening on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
