"""Other people's programs as clients: socat, ncat, redis-benchmark."""

import os
import re
import select
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support import (
    DATAGRAM_NAMES,
    PATIENCE,
    STREAM_NAMES,
    UDP_NAMES,
    Program,
    program,
    serve_arguments,
)

DATA = os.urandom(1_000_000)


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")


def run(*command: str, data: bytes = b"") -> bytes:
    """What *command* prints when *data* is piped in; it must end well and complain of nothing."""
    done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    return done.stdout


def socat_address(server: Program, folder: Path) -> str:
    """Where *server* is, as socat has it; what needs replies to Unix datagrams is bound."""
    scheme, _, where = server.url.partition("://")
    if scheme == "unix":
        return f"UNIX-CONNECT:{where}"
    if scheme == "unix-datagram":
        return f"UNIX-SENDTO:{where},bind={folder}/socat.sock"
    return f"{scheme.upper()}:{where}"


def ended_well(server: Program) -> bool:
    code, log = server.stop()
    return code == 0 and re.fullmatch(r"drained \d+ connections?, aborted 0\n", log) is not None


# --- streams ----------------------------------------------------------------------------


@needs("socat")
@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_socat_gets_a_megabyte_back(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder)) as server:
        # -t: how long it waits for the other direction behind the end of its input
        assert run("socat", "-t", "10", "-", socat_address(server, folder), data=DATA) == DATA
        assert ended_well(server)


@needs("ncat")
@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_ncat_gets_a_megabyte_back(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder)) as server:
        address: Any = server.address
        where = ["-U", address] if isinstance(address, str) else [address[0], str(address[1])]
        assert run("ncat", *where, data=DATA) == DATA
        assert ended_well(server)


@needs("redis-benchmark")
@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_redis_benchmark_takes_the_echo_for_a_reply(mode: str, folder: Path) -> None:
    # PING in its protocol, `*1\r\n$4\r\nPING\r\n`, is a reply as good as any.
    clients = "1" if mode in ("tcp", "unix-stream") else "20"  # one after the other: one
    with program(*serve_arguments(mode, folder)) as server:
        address: Any = server.address
        if isinstance(address, str):
            where = ["-s", address]
        else:
            where = ["-h", address[0], "-p", str(address[1])]
        command = [
            "redis-benchmark",
            *where,
            "-t",
            "ping_mbulk",
            "-c",
            clients,
            "-n",
            "2000",
            "--csv",
        ]
        done = subprocess.run(
            command, capture_output=True, check=False, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stderr
        found = re.search(r'^"PING_(?:MBULK|BULK)[^"]*","([\d.]+)"', done.stdout, re.MULTILINE)
        assert found, done.stdout
        assert float(found[1]) > 0
        assert ended_well(server)


# --- datagrams --------------------------------------------------------------------------


@needs("socat")
@pytest.mark.parametrize("mode", DATAGRAM_NAMES)
def test_socat_gets_its_datagram_back(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder)) as server:
        where = socat_address(server, folder)
        # -T: ends it after so long without traffic; a datagram has no end of stream
        assert run("socat", "-T", "1", "-", where, data=b"good morning\n") == b"good morning\n"
        assert ended_well(server)


@needs("socat")
@pytest.mark.parametrize("mode", [name for name in DATAGRAM_NAMES if "unix" in name])
def test_socat_as_a_connected_unix_client_gets_its_datagram_back(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder)) as server:
        where = f"UNIX-CLIENT:{server.address},type=2,bind={folder}/socat.sock"
        assert run("socat", "-T", "0.3", "-", where, data=b"good morning\n") == b"good morning\n"
        assert ended_well(server)


@needs("ncat")
@pytest.mark.parametrize("mode", UDP_NAMES)
def test_ncat_gets_its_datagram_back(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder)) as server:
        host, port = server.address
        with subprocess.Popen(
            ["ncat", "-u", host, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(b"good morning\n")
            client.stdin.flush()  # and stays open: at its end ncat would not wait for replies
            assert select.select([client.stdout], [], [], PATIENCE)[0]
            assert client.stdout.readline() == b"good morning\n"
            client.kill()
        assert ended_well(server)
