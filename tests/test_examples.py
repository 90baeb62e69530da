"""Every program in examples/ does what its docstring says, as a program of its own."""

import contextlib
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from echoservers import EchoClient, modes
from support import PATIENCE, ROOT

EXAMPLES = ROOT / "examples"
AVAILABLE = {mode.name for mode in modes() if mode.available}


@contextlib.contextmanager
def example(name: str, *arguments: str) -> Iterator[str]:
    """Where ``examples/NAME.py`` listens; it must end cleanly at Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"},
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
            line = process.stdout.readline() if ready else ""
            if " listening on " not in line:
                process.kill()
                pytest.fail(f"{line!r} {process.stderr.read() if process.stderr else ''}")
            yield line.split()[-1]
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE)
            assert (process.returncode, "Traceback" in errors) == (0, False), errors
        finally:
            process.kill()


def talk(url: str, data: bytes) -> bytes:
    """Send *data*, end our side, and take all that comes back."""
    host, port = url.rpartition("/")[2].rsplit(":", 1)
    with socket.create_connection((host, int(port)), PATIENCE) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


def needs(mode: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(mode not in AVAILABLE, reason=f"{mode} is not available here")


def in_modes(*names: str) -> list[Any]:
    return [pytest.param(name, marks=needs(name)) for name in names]


@pytest.mark.parametrize("mode", in_modes("tcp", "threading-tcp", "epoll-tcp", "asyncio-tcp"))
def test_calculator(mode: str) -> None:
    with example("calculator", mode, "0") as url:
        assert talk(url, b"2 + 3 * 4\nquit\nnever\n") == b"14\nbye\n"
        lines = talk(url, b"1/0\nimport os\nx\n2**9\n-(1.5)\n" + b"-" * 999 + b"1\n").splitlines()
        assert [line.startswith(b"error: ") for line in lines[:4]] == [True] * 4
        assert lines[4] == b"-1.5"
        assert lines[5].startswith((b"error: ", b"-1"))
        assert talk(url, b"6 * 7\n") == b"42\n"


def framed(*messages: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(message)) + message for message in messages)


def test_key_value_store() -> None:
    with example("key_value_store", "0") as url:
        value = bytes(range(256))
        assert talk(url, framed(b"set k " + value)) == framed(b"ok")
        replies = talk(url, framed(b"get k", b"get other", b"nonsense"))
        wrong = b"error: set KEY VALUE, or get KEY"
        assert replies == framed(value, b"error: no such key", wrong)


def test_pooled_http() -> None:
    with example("pooled_http", "0") as url, urllib.request.urlopen(url, timeout=PATIENCE) as page:
        assert page.read().startswith(b"hello from PooledHTTPServer worker ")


@needs("asyncio-tcp")
def test_async_lookup() -> None:
    with example("async_lookup", "0") as url:
        assert talk(url, b"127.0.0.1\n") == b"127.0.0.1\n"
        assert talk(url, b"\xff\n").startswith(b"error: ")


def test_own_model() -> None:
    with example("own_model", "executor-tcp", "0") as url:
        host, port = url.rpartition("/")[2].rsplit(":", 1)
        with contextlib.ExitStack() as stack:
            for number in range(21):  # one more than its threads: that one waits
                client = EchoClient(f"tcp://{host}:{port}", timeout=PATIENCE)
                message = b"client %d" % number
                if number == 20:
                    stack.close()
                stack.enter_context(client)
                assert client.echo(message) == message


def test_time_service() -> None:
    with example("time_service", "0") as url, EchoClient(url, timeout=PATIENCE) as client:
        told = client.echo(b"what time is it, please?")
        time.strptime(told.decode(), "%Y-%m-%dT%H:%M:%SZ\n")


@pytest.mark.parametrize("mode", in_modes("tcp", "threading-tcp", "forking-tcp", "epoll-tcp"))
def test_daytime(mode: str) -> None:
    with example("daytime", mode, "0") as url:
        time.strptime(talk(url, b"").decode(), "%a %b %d %H:%M:%S %Y\r\n")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_is_small_tested_and_tells_how_to_try_it(path: Path) -> None:
    name, text = path.stem, path.read_text("utf-8")
    assert len(text.splitlines()) < 60
    assert f"    $ python examples/{name}.py\n" in text
    assert "echoservers client" in text or "curl" in text
    assert f"test_{name}" in globals()
