"""What is particular to the reactors: one thread, back-pressure, the limit of select."""

import os
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import echoservers
from echoservers.handlers import EchoHandler
from support import (
    MODES,
    PATIENCE,
    ROOT,
    connect,
    echo,
    receive_all,
    receive_exactly,
    serve_arguments,
    serving,
    wait_until,
)

REACTORS = [m.name for m in MODES if m.model in ("select", "poll", "epoll", "kqueue")]
STREAMS = [m.name for m in MODES if m.name in REACTORS and m.transport in ("tcp", "unix-stream")]


class Wordy(EchoHandler):
    """Answers each line with 64 KiB."""

    framing_class = echoservers.LineFraming

    def respond(self, message: bytes) -> bytes:
        return message * 65536


@pytest.mark.parametrize("mode", STREAMS)
def test_replies_are_made_as_they_are_taken(mode: str, folder: Path) -> None:
    """A thousand lines that came in one piece are not all answered into memory."""
    with serving(mode, folder, Wordy) as server, socket.socket(server.address_family) as client:
        client.settimeout(PATIENCE)
        client.connect(server.server_address)
        client.sendall(b"x\n" * 1000)
        # The kernel's buffers take a few megabytes; the handler is not asked beyond them.
        wait_until(lambda: server.stats()["messages"] > 0, "it answers")
        assert server.stats()["messages"] < 1000
        for _ in range(1000):
            assert receive_exactly(client, 65537) == b"x" * 65536 + b"\n"
        assert server.stats()["messages"] == 1000


@pytest.mark.parametrize("mode", ["select-tcp", "select-unix-stream"])
def test_select_refuses_what_it_cannot_watch(mode: str, folder: Path) -> None:
    """Beyond descriptor 1 023 select(2) would write over other memory."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 1100:
        pytest.skip("fewer than 1100 descriptors are allowed here")
    code = (
        "import os, resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({most}, {most}))\n"
        "from echoservers.cli import main\n"
        "held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1015)]\n"
        "sys.exit(main())\n"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code, *serve_arguments(mode, folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert server.stdout is not None
    url = server.stdout.readline().decode().split()[-1]
    clients = [echoservers.EchoClient(url, timeout=PATIENCE) for _ in range(20)]
    try:
        served = 0
        for client in clients:
            try:
                served += client.echo(b"hello") == b"hello"
            except OSError:
                break
        assert 0 < served < 20
        assert clients[0].echo(b"again") == b"again"
    finally:
        for client in clients:
            client.close()
        server.terminate()
        _, log = server.communicate(timeout=PATIENCE)
    assert server.returncode == 0
    assert b"Traceback" not in log
    assert b"can watch descriptors up to 1023 only" in log
    assert b"use poll or epoll" in log


@pytest.mark.parametrize("mode", STREAMS)
def test_handle_request_serves_one_connection_to_its_end(mode: str, folder: Path) -> None:
    address = str(folder / "s") if "unix" in mode else ("127.0.0.1", 0)
    with echoservers.create_server(mode, address) as server:
        with socket.socket(server.address_family) as client:
            client.settimeout(PATIENCE)
            client.connect(server.server_address)
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            server.handle_request()
            assert receive_exactly(client, 6) == b"hello"
        assert server.stats()["closed"] == 1


class Greeter(EchoHandler):
    """Greets, or fails to."""

    def greet(self) -> bytes:
        if self.client_address[0] == "127.0.0.2":
            raise ZeroDivisionError
        return b"welcome"


@pytest.mark.parametrize("mode", [name for name in STREAMS if name.endswith("tcp")])
def test_a_peer_that_has_gone_before_its_greeting_harms_nobody(
    mode: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with echoservers.create_server(mode, ("127.0.0.1", 0), Greeter, idle_timeout=0.5) as server:
        for _ in range(5):
            with socket.create_connection(server.server_address, PATIENCE) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with socket.create_connection(server.server_address, PATIENCE, ("127.0.0.2", 0)) as bad:
                assert bad.recv(100) == b""
            with socket.create_connection(server.server_address, PATIENCE) as client:
                assert receive_exactly(client, 7) == b"welcome"
                until = time.monotonic() + 1.0  # beyond the limits of those before
                while time.monotonic() < until:
                    echo(client)
        finally:
            server.shutdown()
            thread.join(PATIENCE)
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [ZeroDivisionError]


class Exits(EchoHandler):
    def respond(self, message: bytes) -> bytes:
        if message == b"bad":
            raise SystemExit
        return message


@pytest.mark.parametrize("mode", STREAMS)
def test_what_a_handler_raises_during_the_drain_ends_its_connection_only(
    mode: str, folder: Path
) -> None:
    with (
        serving(mode, folder, Exits) as server,
        connect(server) as bad,
        connect(server) as good,
    ):
        echo(bad)
        echo(good)
        server.shutdown()
        bad.sendall(b"bad")
        good.sendall(b"good")
        assert server.drain(PATIENCE) == (2, 0)
        assert receive_all(good) == b"good"


def test_select_says_at_once_that_it_cannot_watch_so_many() -> None:
    held = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while held[-1] < 1100:
            held.append(os.dup(held[0]))
        with pytest.raises(OSError, match="up to 1023 only"):
            echoservers.create_server("select-tcp", ("127.0.0.1", 0))
    finally:
        for descriptor in held:
            os.close(descriptor)
