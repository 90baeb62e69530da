"""TLS handshakes: in the worker, under a deadline, and refused where they are none."""

import contextlib
import logging
import os
import select
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from support import (
    PATIENCE,
    TLS_NAMES,
    connect_tls,
    descriptors_of,
    echo,
    receive_all,
    serving,
    wait_until,
)
from tls_peers import over

CONCURRENT = [name for name in TLS_NAMES if name != "tls"]

# --- handshakes that fail -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", CONCURRENT)
def test_silence_instead_of_a_handshake_delays_nobody_and_ends_at_the_limit(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    before = descriptors_of(os.getpid())
    with serving(mode, folder, handshake_timeout=1.5, **own) as server:
        began = time.monotonic()
        silent = [socket.create_connection(server.server_address) for _ in range(50)]
        with connect_tls(server.server_address, timeout=1) as client:
            echo(client)
        for client in silent:
            client.settimeout(PATIENCE)
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(10) == b""
            client.close()
        assert 1.4 < time.monotonic() - began < 5
        wait_until(lambda: over(server), "all are over")
        stats = server.stats()
    assert stats["refused"] == {"handshake": 50}
    assert stats["closed"] == 1
    assert stats["accepted"] == 51
    assert descriptors_of(os.getpid()) <= before


def test_iterative_drops_the_silent_one_at_the_limit(folder: Path, own: dict[str, str]) -> None:
    with (
        serving("tls", folder, handshake_timeout=0.3, **own) as server,
        socket.create_connection(server.server_address),
        connect_tls(server.server_address, timeout=2) as client,
    ):
        echo(client)


@pytest.mark.parametrize("mode", CONCURRENT)
def test_beyond_the_limit_a_client_is_refused_without_a_handshake(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    with (
        serving(mode, folder, max_connections=1, overflow="refuse", **own) as server,
        connect_tls(server.server_address) as first,
    ):
        echo(first)
        for _ in range(3):
            with pytest.raises(OSError):  # noqa: PT011 - an end, or a reset
                connect_tls(server.server_address, timeout=1)
        echo(first)
        assert server.stats()["refused"] == {"max_connections": 3}


@pytest.mark.parametrize("mode", CONCURRENT)
def test_the_limit_is_for_the_whole_handshake(mode: str, folder: Path, own: dict[str, str]) -> None:
    hello = b"\x16\x03\x01\x02\x00" + b"\x01\x00\x01\xfc" + b"\x03\x03" + bytes(600)
    with (
        serving(mode, folder, handshake_timeout=0.5, **own) as server,
        socket.create_connection(server.server_address, PATIENCE) as client,
    ):
        began = time.monotonic()
        for byte in hello:  # one every 20 ms: 10 s for all of them
            if select.select([client], [], [], 0.02)[0]:
                break
            client.send(bytes([byte]))
        assert time.monotonic() - began < 3
        wait_until(lambda: server.stats()["refused"] == {"handshake": 1}, "it is refused")


REJECTED = {
    "garbage": b"\xff\x00garbage" * 100,
    "plain text": b"hello\r\n",
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "data before the handshake": b"\x17\x03\x03\x00\x05hello",
    "nothing": b"",
}


@pytest.mark.parametrize("what", REJECTED)
@pytest.mark.parametrize("mode", TLS_NAMES)
def test_what_is_no_handshake_is_rejected_and_not_echoed(
    mode: str, what: str, folder: Path, own: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "echoservers")
    with serving(mode, folder, **own) as server:
        for _ in range(3):
            with socket.create_connection(server.server_address, PATIENCE) as client:
                client.sendall(REJECTED[what])
                with contextlib.suppress(OSError):  # closed already, with a reset
                    client.shutdown(socket.SHUT_WR)
                    answer = receive_all(client)
                    assert b"hello" not in answer
                    assert answer[:1] in (b"", b"\x15")  # at most an alert
        with connect_tls(server.server_address) as client:
            echo(client)
        wait_until(lambda: over(server), "all are over")
        stats = server.stats()
    assert stats["refused"].get("handshake", 0) == 3
    assert stats["messages"] == stats["closed"] == 1
    assert stats["errors"] == 0
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    if not mode.startswith("forking"):
        told = [r.getMessage() for r in caplog.records if "no TLS handshake" in r.getMessage()]
        assert len(told) == 3


@pytest.mark.parametrize("accept", ["shared", "handoff"])
@pytest.mark.parametrize("mode", ["prefork-tls", "prefork-threading-tls"])
def test_workers_are_free_again_after_handshakes_that_failed(
    mode: str, accept: str, folder: Path, own: dict[str, str]
) -> None:
    with serving(mode, folder, accept=accept, **own) as server:
        for _ in range(3):
            with socket.create_connection(server.server_address, PATIENCE) as client:
                client.sendall(b"hello\r\n")
                with contextlib.suppress(OSError):  # closed, with a reset
                    receive_all(client)
        wait_until(lambda: over(server), "all are over", 5)
        with connect_tls(server.server_address, timeout=5) as client:
            echo(client)
        wait_until(lambda: server.stats()["closed"] == 1, "it is over")
        assert server.stats()["refused"] == {"handshake": 3}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("mode", TLS_NAMES)
def test_tls_1_1_is_rejected_and_later_ones_are_not(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    with serving(mode, folder, **own) as server:
        host, port = server.server_address
        for version, accepted in (("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
            command = ["openssl", "s_client", "-connect", f"{host}:{port}", version, "-quiet"]
            command += ["-cipher", "DEFAULT@SECLEVEL=0"]  # else it would not even ask
            with subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            ) as client:
                assert client.stdin is not None
                assert client.stdout is not None
                with contextlib.suppress(BrokenPipeError):
                    client.stdin.write(b"hello\n")
                    client.stdin.flush()
                assert client.stdout.readline() == (b"hello\n" if accepted else b"")
                client.kill()
        wait_until(lambda: over(server), "all are over")
        assert server.stats()["refused"] == {"handshake": 1}
