"""Other people's servers in preforked workers, with the standard library's clients."""

import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support import PATIENCE, ROOT, children_of, wait_until

BEGINNING = """
import http.server, os, socketserver, sys, xmlrpc.server
from echoservers import PreforkMixIn, ThreadingMixIn

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/fail":
            raise ValueError("on purpose")
        body = b"%d" % os.getpid()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

def serve(server):
    print(server.server_address[1], flush=True)
    import threading
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    sys.stdin.read()
    server.shutdown()
    print(dict(server.stats())["accepted"], flush=True)
    server.server_close()
    thread.join()
"""

HTTP = """
class Server(PreforkMixIn, http.server.HTTPServer):
    workers = 2
    accept = sys.argv[1]
serve(Server(("127.0.0.1", 0), Handler))
"""

THREADED_HTTP = """
class Server(PreforkMixIn, ThreadingMixIn, http.server.HTTPServer):
    workers = 2
    accept = sys.argv[1]
    max_connections = 50
serve(Server(("127.0.0.1", 0), Handler))
"""

XML_RPC = """
class Server(PreforkMixIn, xmlrpc.server.SimpleXMLRPCServer):
    workers = 2
    accept = sys.argv[1]
server = Server(("127.0.0.1", 0), logRequests=False, allow_none=True)
server.register_function(pow)
server.register_function(os.getpid, "pid")
serve(server)
"""


@contextmanager
def running(text: str, accept: str) -> Iterator[tuple[int, int]]:
    """A program with such a server: its pid and its port; it has to end well."""
    with subprocess.Popen(
        [sys.executable, "-c", BEGINNING + text, accept],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            wait_until(lambda: len(children_of(process.pid)) == 2, "its workers are there")
            yield process.pid, port
            rest, _ = process.communicate("", timeout=PATIENCE)
            assert int(rest) > 0
            assert process.returncode == 0
        finally:
            process.kill()


def fetch(port: int, path: str = "/") -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as reply:
        body: bytes = reply.read()
        return body


@pytest.mark.parametrize("accept", ["shared", "flock", "mutex", "handoff", "reuseport"])
@pytest.mark.parametrize("text", [HTTP, THREADED_HTTP], ids=["iterative", "threading"])
def test_http_server(text: str, accept: str) -> None:
    with running(text, accept) as (pid, port):
        assert {int(fetch(port)) for _ in range(20)} <= set(children_of(pid))
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            fetch(port, "/fail")
        assert int(fetch(port)) in children_of(pid)


def test_http_server_loses_only_what_a_killed_worker_served() -> None:
    with running(THREADED_HTTP, "shared") as (pid, port):
        for _ in range(3):
            os.kill(int(fetch(port)), 9)
            wait_until(lambda: len(children_of(pid)) == 2, "replaced", 1)
            fetch(port)


@pytest.mark.parametrize("accept", ["shared", "handoff"])
def test_xml_rpc_server(accept: str) -> None:
    with running(XML_RPC, accept) as (pid, port):
        answers: list[object] = []

        def ask(number: int) -> None:
            with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}", allow_none=True) as proxy:
                answers.append(proxy.pow(2, number))
                answers.append(proxy.pid() in children_of(pid))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert sorted(answers) == sorted([True] * 10 + [2**number for number in range(10)])


def test_a_mistake_is_told_before_anything_is_opened() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + HTTP, "hand-off"],
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=PATIENCE,
    )
    assert "accept='hand-off': expected shared, flock, mutex, handoff or reuseport" in done.stderr
