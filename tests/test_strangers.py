"""Other people's servers and handlers under our mixins, with the standard library's clients."""

import contextlib
import functools
import http.client
import http.server
import threading
import urllib.error
import urllib.request
import xmlrpc.client
import xmlrpc.server
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from echoservers import PrethreadingMixIn, ThreadingMixIn, ThreadPoolMixIn
from support import PATIENCE, wait_until

MIXINS = [ThreadingMixIn, ThreadPoolMixIn, PrethreadingMixIn]
"""A model is tested by being named here: what its server does is all asked over the network."""

each_mixin = pytest.mark.parametrize("mixin", MIXINS, ids=lambda mixin: mixin.__name__)

CLIENTS = 4


@contextlib.contextmanager
def running(mixin: type, base: type, *arguments: Any, **keywords: Any) -> Iterator[Any]:
    """A server of *base* under *mixin*, serving in a thread."""
    cls = type(f"Mixed{base.__name__}", (mixin, base), {"max_connections": 50})
    with cls(("127.0.0.1", 0), *arguments, **keywords) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(PATIENCE)


def at_the_same_time(work: Any) -> None:
    """Do *work* in several threads; what one of them raises is raised here."""
    failures: list[BaseException] = []

    def attempt() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    if failures:
        raise failures[0]


class Files(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@each_mixin
def test_an_http_server_serves_files(mixin: type, folder: Path) -> None:
    content = bytes(range(256)) * 1000
    (folder / "page").write_bytes(content)
    handler = functools.partial(Files, directory=str(folder))
    with running(mixin, http.server.HTTPServer, handler) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/"

        def fetch() -> None:
            for _ in range(5):
                with urllib.request.urlopen(url + "page", timeout=PATIENCE) as reply:
                    assert reply.read() == content
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(url + "nothing", timeout=PATIENCE)

        at_the_same_time(fetch)
        wait_until(lambda: server.stats()["active"] == 0, "all are over")
        assert server.stats()["accepted"] == server.stats()["closed"] == CLIENTS * 6


@each_mixin
def test_an_http_connection_carries_many_requests(mixin: type, folder: Path) -> None:
    (folder / "page").write_bytes(b"content")
    handler = functools.partial(Files, directory=str(folder))
    with running(mixin, http.server.HTTPServer, handler) as server:
        connection = http.client.HTTPConnection(*server.server_address[:2], timeout=PATIENCE)
        for _ in range(20):
            connection.request("GET", "/page")
            assert connection.getresponse().read() == b"content"
        assert server.stats()["accepted"] == 1
        connection.close()


@each_mixin
def test_a_drain_ends_idle_http_connections(mixin: type, folder: Path) -> None:
    handler = functools.partial(Files, directory=str(folder))
    with running(mixin, http.server.HTTPServer, handler) as server:
        connection = http.client.HTTPConnection(*server.server_address[:2], timeout=PATIENCE)
        connection.request("GET", "/")
        assert connection.getresponse().read()
        assert tuple(server.drain(PATIENCE)) == (1, 0)
        connection.close()


@each_mixin
def test_an_xmlrpc_server_answers_calls(mixin: type) -> None:
    with running(
        mixin, xmlrpc.server.SimpleXMLRPCServer, logRequests=False, allow_none=True
    ) as server:
        server.register_function(pow)
        server.register_introspection_functions()
        url = f"http://127.0.0.1:{server.server_address[1]}"

        def call() -> None:
            with xmlrpc.client.ServerProxy(url, allow_none=True) as proxy:
                assert [proxy.pow(2, n) for n in range(10)] == [2**n for n in range(10)]
                assert "pow" in proxy.system.listMethods()  # type: ignore[operator,attr-defined]
                with pytest.raises(xmlrpc.client.Fault, match="ZeroDivisionError"):
                    proxy.pow(0, -1)

        at_the_same_time(call)
