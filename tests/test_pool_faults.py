"""Faults that the models with a fixed number of threads survive, and their threads too."""

import contextlib
import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import echoservers
from echoservers import EchoHandler, create_server
from support import (
    NAMES,
    PATIENCE,
    children_of,
    connect,
    echo,
    echo_once,
    free_address,
    has_pool,
    program,
    receive_all,
    serve_arguments,
    serving,
    wait_until,
    workers_of,
)

POOLS = [name for name in NAMES if has_pool(name)]
TCP_POOLS = [name for name in POOLS if name.endswith("tcp")]

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@contextlib.contextmanager
def no_thread_starts(monkeypatch: pytest.MonkeyPatch, after: int = 0) -> Iterator[None]:
    """From now on, or from the time *after* so many more, the system gives no threads."""
    start = threading.Thread.start
    left = after

    def limited(thread: threading.Thread) -> None:
        nonlocal left
        if " worker " in thread.name:
            left -= 1
            if left < 0:
                raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", limited)
        yield


# --- what a handler raises --------------------------------------------------------------


class Exiting(EchoHandler):
    def respond(self, message: bytes) -> bytes:
        if message == b"exit":
            raise SystemExit(3)
        return message


class Broken(EchoHandler):
    """As a handler that is not ours: what it raises is not caught before the thread."""

    def finish(self) -> None:
        raise SystemExit(3)


@pytest.mark.parametrize("handler", [Exiting, Broken])
@pytest.mark.parametrize("mode", TCP_POOLS)
def test_a_thread_survives_system_exit(mode: str, handler: type, folder: Path) -> None:
    with serving(mode, folder, handler, max_workers=1) as server:
        echo_once(server)
        before = workers_of(server)
        for _ in range(3):
            with connect(server) as client:
                client.sendall(b"exit")
                client.shutdown(socket.SHUT_WR)
                receive_all(client)
        echo_once(server)
        assert workers_of(server) == before


@pytest.mark.parametrize("mode", TCP_POOLS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_survives_a_failing_handle_error(mode: str) -> None:
    class Careless(echoservers.server_class(mode)):  # type: ignore[misc]
        def handle_error(self, request: Any, client_address: Any) -> None:
            raise ValueError("handle_error failed")

        def close_request(self, request: Any) -> None:
            super().close_request(request)
            raise ValueError("close_request failed")

    with Careless(("127.0.0.1", 0), Broken, max_workers=1) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        for _ in range(3):
            echo_once(server)
        wait_until(lambda: server.stats()["active"] == 0, "all are over")
        assert len(workers_of(server)) == 1
        server.shutdown()
        thread.join(PATIENCE)


# --- no thread to be had ----------------------------------------------------------------


@pytest.mark.parametrize("mode", POOLS)
def test_without_threads_each_client_is_refused_until_there_is_one(
    mode: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with create_server(mode, free_address(mode, folder), max_workers=3) as server:
        with no_thread_starts(monkeypatch):
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            for number in range(1, 4):
                with connect(server) as client:
                    if not server.is_stream:
                        client.send(b"nobody will answer")
                    refused = {"no_worker": number}
                    wait_until(lambda r=refused: server.stats()["refused"] == r, "refused")  # type: ignore[misc]
        echo_once(server)
        assert len(workers_of(server)) == 3
        server.shutdown()
        thread.join(PATIENCE)


@pytest.mark.parametrize("mode", POOLS)
def test_with_fewer_threads_those_that_there_are_serve_and_more_are_tried(
    mode: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(echoservers.workers, "RETRY_INTERVAL", 0.0)
    with create_server(mode, free_address(mode, folder), max_workers=4) as server:
        with no_thread_starts(monkeypatch, after=2):
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            for _ in range(5):
                echo_once(server)
            assert len(workers_of(server)) == 2
        for _ in range(3):
            echo_once(server)
        assert len(workers_of(server)) == 4
        assert server.stats()["refused"] == {}
        server.shutdown()
        thread.join(PATIENCE)


@needs_strace
@pytest.mark.parametrize("mode", TCP_POOLS)
def test_a_system_without_threads_refuses_and_the_server_goes_on(mode: str, folder: Path) -> None:
    calls = ("strace", "-qq", "-f", "-o", "/dev/null", "-e", "trace=clone3")
    inject = (*calls, "--inject=clone3:error=EAGAIN:when=1..3")
    with program(*serve_arguments(mode, folder), wrapper=inject) as server:
        for _ in range(2):  # the first try was made before there was a client
            with server.connect() as refused:
                assert receive_all(refused) == b""
        with server.connect() as client:
            echo(client)
        os.kill(children_of(server.pid)[0], signal.SIGTERM)
        code, log = server.ended()
    assert code == 0
    assert "can be started" in log
    assert "Traceback" not in log
