"""TLS: counted in every mode, ends that are told, strangers, and a stop in time.

That it echoes, much and both ways, is checked for every mode in test_conformance_modes.py.
"""

import logging
import os
import select
import shutil
import signal
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path
from termios import TIOCOUTQ
from typing import Any

import pytest

from echoservers import EchoClient
from support import (
    HANDLE_NAMES,
    PATIENCE,
    TLS_NAMES,
    connect_tls,
    echo,
    program,
    receive_all,
    serving,
    wait_until,
)
from tls_peers import Lines, over, trusting

# --- echo, and both ends ----------------------------------------------------------------


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_echoes_one_client_after_the_other(
    mode: str, folder: Path, own: dict[str, str], files: dict[str, str]
) -> None:
    with serving(mode, folder, **own) as server:
        assert server.endpoint().startswith("tls://127.0.0.1:")
        for _ in range(10):
            with EchoClient(server.endpoint(), **trusting(files)) as client:
                assert client.echo(bytes(range(256))) == bytes(range(256))
        wait_until(lambda: server.stats()["closed"] == 10, "all are over")
        stats = server.stats()
    assert stats["messages"] == 10
    assert stats["bytes_in"] == stats["bytes_out"] == 2560
    assert stats["refused"] == {}
    assert stats["errors"] == 0


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_an_end_by_tcp_alone_is_an_end_too(mode: str, folder: Path, own: dict[str, str]) -> None:
    with serving(mode, folder, **own) as server, connect_tls(server.server_address) as client:
        client.sendall(b"x" * 100_000)
        client.shutdown(socket.SHUT_WR)
        client.suppress_ragged_eofs = False  # only a close_notify is an end now
        assert receive_all(client) == b"x" * 100_000


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_close_after_reply_tells_the_end_though_more_input_comes(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    with (
        serving(mode, folder, Lines, **own) as server,
        connect_tls(server.server_address) as client,
    ):
        client.sendall(b"abc\nquit\n" + b"x" * 30_000 + b"\n")
        client.suppress_ragged_eofs = False
        assert receive_all(client) == b"cba\ntiuq\n"


class LastWord(Lines):
    def respond(self, message: bytes) -> bytes:
        self.close_after_reply()
        return b"x" * 149_999


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_the_last_reply_is_whole_though_the_client_goes_on_writing(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    with (
        serving(mode, folder, LastWord, **own) as server,
        connect_tls(server.server_address) as client,
    ):
        for _ in range(2):  # a record each: the second is not read when we end
            client.sendall(b"message\n")
        wait_until(lambda: server.stats()["bytes_out"] == 150_000, "the reply is out")
        client.sendall(b"more\n")
        client.suppress_ragged_eofs = False
        assert len(receive_all(client)) == 150_000
        client.close()
        wait_until(lambda: over(server), "it is over")
        assert server.stats()["errors"] == 0


def stops_sending(client: ssl.SSLSocket) -> None:
    echo(client)
    client.suppress_ragged_eofs = False
    assert receive_all(client) == b""


def never_reads(client: ssl.SSLSocket) -> None:
    client.settimeout(0.2)
    with pytest.raises(OSError):  # noqa: PT011 - a reset, or there is no more room
        client.sendall(b"x" * 50_000_000)


@pytest.mark.parametrize("peer", [stops_sending, never_reads])
@pytest.mark.parametrize("mode", TLS_NAMES)
def test_a_peer_that_makes_no_progress_is_closed_at_the_limit(
    mode: str, peer: Callable[[ssl.SSLSocket], None], folder: Path, own: dict[str, str]
) -> None:
    with (
        serving(mode, folder, idle_timeout=0.3, **own) as server,
        connect_tls(server.server_address) as client,
    ):
        peer(client)
        wait_until(lambda: over(server), "it is over", 5)
        assert server.stats()["errors"] == 0


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_a_reset_is_no_error(
    mode: str, folder: Path, own: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with serving(mode, folder, **own) as server:
        for _ in range(5):
            client = connect_tls(server.server_address)
            client.sendall(b"x" * 100_000)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        wait_until(lambda: over(server), "all are over")
        assert server.stats()["errors"] == 0
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


class Upper(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.readline().upper())


@pytest.mark.parametrize("mode", [n for n in TLS_NAMES if n in HANDLE_NAMES])
def test_a_handler_of_socketserver_serves_it_too(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    with (
        serving(mode, folder, Upper, **own) as server,
        connect_tls(server.server_address) as client,
    ):
        client.sendall(b"hello\n")
        client.suppress_ragged_eofs = False
        assert receive_all(client) == b"HELLO\n"


# --- strangers --------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not installed")
@pytest.mark.parametrize("mode", TLS_NAMES)
def test_socat_gets_a_megabyte_back(mode: str, folder: Path, files: dict[str, str]) -> None:
    data = os.urandom(1_000_000)
    with serving(mode, folder, certfile=files["cert"], keyfile=files["key"]) as server:
        where = f"OPENSSL:127.0.0.1:{server.server_address[1]},cafile={files['ca']}"
        done = subprocess.run(
            ["socat", "-t", "10", "-", where],
            input=data,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.stdout == data, done.stderr


@pytest.mark.skipif(shutil.which("ncat") is None, reason="ncat is not installed")
def test_ncat_gets_its_line_back(folder: Path, own: dict[str, str]) -> None:
    with serving("threading-tls", folder, **own) as server:
        host, port = server.server_address
        with subprocess.Popen(
            ["ncat", "--ssl", host, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(b"good morning\n")
            client.stdin.flush()
            assert client.stdout.readline() == b"good morning\n"
            client.kill()


# --- stopping -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_sigterm_while_a_slow_reader_is_served_loses_no_byte_received(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    arguments = ["--mode", mode, "--port", "0", "--certfile", own["certfile"]]
    with program(*arguments, "--verbose") as server:
        with connect_tls(server.address) as client:
            echo(client)
            client.sendall(b"x" * 100_000)  # fits in the buffers on the way

            def on_the_way() -> int:
                return int.from_bytes(ioctl(client, TIOCOUTQ, bytes(4)), sys.byteorder)

            wait_until(lambda: on_the_way() == 0, "the server's side has it")
            server.process.send_signal(signal.SIGTERM)
            client.suppress_ragged_eofs = False
            received = bytearray()
            while data := client.recv(5000):
                received += data
                select.select([], [], [], 0.005)
            assert received == b"x" * 100_000
        code, log = server.ended()
    assert code == 0
    assert "drained 1 connection, aborted 0" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("stuck", ["handshake", "silent", "unread"])
@pytest.mark.parametrize("mode", TLS_NAMES)
def test_sigterm_ends_in_time_with_a_stuck_peer(
    mode: str, stuck: str, folder: Path, own: dict[str, str]
) -> None:
    arguments = ["--mode", mode, "--port", "0", "--certfile", own["certfile"]]
    with program(*arguments, "--drain-timeout", "0.5") as server:
        if stuck == "handshake":
            client: Any = socket.create_connection(server.address, PATIENCE)
            client.sendall(b"\x16\x03\x01")
        else:
            client = connect_tls(server.address)
            echo(client)
            if stuck == "unread":
                client.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    client.sendall(b"x" * 50_000_000)
        with client:
            began = time.monotonic()
            code, log = server.stop()
            assert time.monotonic() - began < 5
    assert code == 0
    assert "Traceback" not in log


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_one_that_is_cut_in_its_handshake_was_aborted_and_not_refused(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    with serving(mode, folder, **own) as server:
        address = tuple(server.server_address[:2])
        with socket.create_connection(address, PATIENCE) as client:
            client.sendall(b"\x16\x03\x01")
            wait_until(lambda: server.stats()["accepted"] == 1, "it is there")
            server.abort()
            wait_until(lambda: server.stats()["active"] == 0, "it is over")
        stats = server.stats()
    assert (stats["closed"], sum(stats["refused"].values())) == (1, 0)
