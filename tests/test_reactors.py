"""What is particular to the reactors: one thread, back-pressure, the limit of select."""

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import echoservers
from echoservers.handlers import EchoHandler
from support import (
    MODES,
    PATIENCE,
    ROOT,
    program,
    receive_exactly,
    serve_arguments,
    serving,
    threads_of,
    wait_until,
)

REACTORS = [m.name for m in MODES if m.model in ("select", "poll", "epoll", "kqueue")]
STREAMS = [m.name for m in MODES if m.name in REACTORS and m.transport in ("tcp", "unix-stream")]


@pytest.mark.parametrize("mode", STREAMS)
def test_all_clients_are_served_by_one_thread(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder)) as server:
        clients = [server.connect() for _ in range(50)]
        for number, client in enumerate(clients):
            client.sendall(b"first %d;" % number)
        for number, client in enumerate(reversed(clients)):
            client.sendall(b"second %d;" % (49 - number))
        for number, client in enumerate(clients):
            expected = b"first %d;second %d;" % (number, number)
            assert receive_exactly(client, len(expected)) == expected
        assert threads_of(server.pid) == 1
        for client in clients:
            client.close()
        assert server.stop()[0] == 0


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
