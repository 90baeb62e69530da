"""``echoservers client`` as a filter and as a round-trip meter."""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from support import (
    DATAGRAM_NAMES,
    PATIENCE,
    ROOT,
    STREAM_NAMES,
    program,
    run_cli,
    serve_arguments,
)

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
TRANSPORTS = ["tcp", "udp", "unix-stream", "unix-datagram"]  # their iterative modes
RESET = b"\1\0\0\0\0\0\0\0"  # struct linger: on, 0 seconds


@contextlib.contextmanager
def running_client(*arguments: str, **popen: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A client with its standard streams in our hands."""
    client = subprocess.Popen(
        [sys.executable, "-m", "echoservers", "client", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        **popen,
    )
    try:
        yield client
    finally:
        client.kill()
        client.wait()
        for stream in (client.stdin, client.stdout, client.stderr):
            assert stream is not None
            with contextlib.suppress(OSError):  # it may hold what nobody read
                stream.close()


@contextlib.contextmanager
def listener() -> Iterator[tuple[socket.socket, str]]:
    """A TCP server that does what the test says, and its endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        yield server, f"tcp://127.0.0.1:{server.getsockname()[1]}"


@contextlib.contextmanager
def silent_udp() -> Iterator[str]:
    """The endpoint of somebody who receives datagrams and answers none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"udp://127.0.0.1:{sock.getsockname()[1]}"


def lines_of(data: bytes) -> list[str]:
    return data.decode().splitlines()


# --- the filter -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_everything_sent_over_a_stream_comes_back(mode: str, folder: Path) -> None:
    data = os.urandom(20_000_000)
    with program(*serve_arguments(mode, folder)) as server:
        done = run_cli("client", server.url, input=data)
    assert done.stderr == b""
    assert done.stdout == data
    assert done.returncode == 0


@pytest.mark.parametrize("framing", ["lines", "length"])
def test_framed_input_comes_back_as_it_went(framing: str) -> None:
    data = b"one\r\ntwo\n\n" + bytes(range(256)) * 1000 + b"\nand no end"
    flags = ["--framing", framing, "--max-message-size", "1000000"]
    with program("--port", "0", *flags) as server:
        done = run_cli("client", server.url, "--framing", framing, input=data)
    assert done.stdout == data
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("mode", DATAGRAM_NAMES)
def test_each_line_is_a_datagram(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder), "--handler", "timestamp") as server:
        data = b"one\n" + bytes(set(range(256)) - {10}) + b"\n\nlast"
        done = run_cli("client", server.url, input=data)
    replies = re.sub(rb"\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\] ", b"<>", done.stdout)
    assert replies == b"<>" + data.replace(b"\n", b"\n<>", 3)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("mode", TRANSPORTS)
def test_no_input_is_no_fault(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder)) as server:
        done = run_cli("client", server.url, input=b"")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_replies_come_while_the_input_goes_on() -> None:
    with program("--port", "0") as server, running_client(server.url) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        for line in (b"one\n", b"two\n"):
            client.stdin.write(line)
            client.stdin.flush()
            assert client.stdout.readline() == line


def test_while_input_may_come_the_server_may_be_silent() -> None:
    flags = ["--timeout", "0.2"]
    with program("--port", "0") as server, running_client(server.url, *flags) as client:
        with pytest.raises(subprocess.TimeoutExpired):
            client.wait(0.8)
        output, errors = client.communicate(b"late\n", PATIENCE)
    assert (client.returncode, output, errors) == (0, b"late\n", b"")


def test_a_reader_that_is_slow_loses_nothing() -> None:
    # A pager stops reading for longer than the timeout; the server has to wait as well.
    data = os.urandom(8_000_000)
    flags = ["--timeout", "0.2"]
    with program("--port", "0") as server, running_client(server.url, *flags) as client:
        assert client.stdin is not None
        assert client.stdout is not None

        def send_all(stdin: IO[bytes]) -> None:
            with stdin:
                stdin.write(data)

        writer = threading.Thread(target=send_all, args=[client.stdin])
        writer.start()
        with pytest.raises(subprocess.TimeoutExpired):
            client.wait(1)
        assert client.stdout.read() == data
        writer.join()
        assert client.wait(PATIENCE) == 0


def test_silence_behind_the_end_of_the_input_is_given_up() -> None:
    with listener() as (_, endpoint):
        done = run_cli("client", endpoint, "--timeout", "0.3", input=b"hello\n")
    assert done.returncode == 1
    assert done.stdout == b""
    assert re.fullmatch(
        rb"echoservers: error: no reply from tcp://\S+ for 0\.3\d* s\n", done.stderr
    )


def test_a_server_that_closes_when_all_was_sent_is_no_fault(folder: Path) -> None:
    (folder / "leaves.py").write_text(
        "from echoservers import EchoHandler\n"
        "class Leaves(EchoHandler):\n"
        "    def respond(self, message):\n"
        "        self.close_after_reply()\n"
        "        return message\n"
    )
    flags = ["--handler", "leaves:Leaves", "--framing", "lines"]
    with (
        program("--port", "0", *flags, cwd=folder) as server,
        running_client(server.url) as client,
    ):
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"bye\nnever answered\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"bye\n"  # the server may have closed by now
        output, errors = client.communicate(timeout=PATIENCE)
    assert (client.returncode, output, errors) == (0, b"", b"")


def test_a_server_that_closes_early_is_told() -> None:
    with listener() as (server, endpoint), running_client(endpoint) as client:
        connection, _ = server.accept()
        connection.close()
        assert client.stdout is not None
        assert client.wait(PATIENCE) == 1  # our input is still open
        assert client.stderr is not None
        told = client.stderr.read().decode()
        assert (
            told
            == f"echoservers: error: {endpoint} closed the connection before the end of input\n"
        )


def test_a_server_that_resets_the_connection_is_told() -> None:
    with listener() as (server, endpoint), running_client(endpoint) as client:
        connection, _ = server.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.close()
        assert client.wait(PATIENCE) == 1
        assert client.stderr is not None
        told = client.stderr.read().decode()
        assert told == f"echoservers: error: {endpoint}: Connection reset by peer\n"


def test_a_lost_datagram_is_told_and_the_rest_goes_on() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(PATIENCE)
        endpoint = f"udp://127.0.0.1:{server.getsockname()[1]}"
        with running_client(endpoint, "--timeout", "0.3") as client:
            assert client.stdin is not None
            client.stdin.write(b"lost\nfound\n")
            client.stdin.close()
            for message in (b"lost\n", b"found\n"):
                data, address = server.recvfrom(100)
                assert data == message
                if message == b"found\n":
                    server.sendto(data, address)
            assert client.wait(PATIENCE) == 1
            assert client.stdout is not None
            assert client.stdout.read() == b"found\n"
            assert client.stderr is not None
            (told,) = lines_of(client.stderr.read())
    assert re.fullmatch(
        rf"echoservers: line 1: no reply from {endpoint} for 0\.3\d* s;"
        " the datagram or its reply was lost",
        told,
    )


def test_a_line_too_long_for_a_datagram_is_told() -> None:
    with program("--mode", "udp", "--port", "0") as server:
        done = run_cli("client", server.url, input=b"short\n" + b"x" * 65508)
        assert done.stdout == b"short\n"
        assert done.returncode == 2
        assert b"line 2" in done.stderr
        assert b"65507 bytes" in done.stderr
        assert run_cli("client", server.url, input=b"x" * 65507).stdout == b"x" * 65507


# --- the meter --------------------------------------------------------------------------

FIGURES = r"\d+\.\d{3}"


@pytest.mark.parametrize("mode", TRANSPORTS)
def test_round_trips_are_printed_as_ping_does(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder)) as server:
        done = run_cli("client", server.url, "--count", "3", "--interval", "0")
    assert (done.returncode, done.stderr) == (0, b"")
    *trips, head, counts, times = lines_of(done.stdout)
    assert len(trips) == 3
    for number, line in enumerate(trips, start=1):
        expected = rf"64 bytes from {re.escape(server.url)}: seq={number} time={FIGURES} ms"
        assert re.fullmatch(expected, line)
    assert head == f"--- {server.url} echo statistics ---"
    assert re.fullmatch(r"3 sent, 3 received, 0% lost, time \d+ ms", counts)
    found = re.fullmatch(
        rf"round trip min/avg/max/mdev = ({FIGURES})/({FIGURES})/({FIGURES})/({FIGURES}) ms", times
    )
    assert found
    least, mean, most, _ = map(float, found.groups())
    assert 0 < least <= mean <= most < 1000


@pytest.mark.parametrize("size", [1, 1000, 1_000_000])
def test_a_round_trip_has_the_size_that_is_asked_for(size: int) -> None:
    with program("--port", "0") as server:
        done = run_cli("client", server.url, "--count", "1", "--size", str(size))
    assert lines_of(done.stdout)[0].startswith(f"{size} bytes from ")
    assert done.returncode == 0


@pytest.mark.parametrize("framing", ["lines", "length"])
def test_framed_round_trips_are_measured(framing: str) -> None:
    flags = ["--framing", framing]
    with program("--port", "0", *flags) as server:
        done = run_cli("client", server.url, "--count", "2", "--interval", "0", *flags)
    assert b"\n2 sent, 2 received, 0% lost" in done.stdout
    assert done.returncode == 0


def test_the_interval_is_kept() -> None:
    with program("--port", "0") as server:
        done = run_cli("client", server.url, "--count", "3", "--interval", "0.2")
    found = re.search(rb"time (\d+) ms\n", done.stdout)
    assert found
    assert 400 <= int(found[1]) < 2000


def test_lost_round_trips_are_counted() -> None:
    with silent_udp() as endpoint:
        done = run_cli("client", endpoint, "--count", "2", "--interval", "0", "--timeout", "0.2")
    assert done.returncode == 1
    first, second, head, counts = lines_of(done.stdout)
    assert first.startswith(f"seq=1: no reply from {endpoint} for 0.2")
    assert second.startswith("seq=2: ")
    assert head.startswith("---")
    assert counts.startswith("2 sent, 0 received, 100% lost")


def test_a_stream_without_a_reply_ends_the_measuring() -> None:
    with listener() as (_, endpoint):
        done = run_cli("client", endpoint, "--count", "5", "--timeout", "0.2")
    assert done.returncode == 1
    assert b"\n1 sent, 0 received, 100% lost" in done.stdout


def test_a_reply_that_differs_is_a_failure() -> None:
    with program("--port", "0", "--handler", "upper") as server:
        done = run_cli("client", server.url, "--count", "1")
    assert done.returncode == 1
    assert b" DIFFERENT from what was sent\n" in done.stdout
    assert b"\n1 sent, 1 received, 1 different, 0% lost" in done.stdout


def test_a_server_that_goes_away_leaves_a_summary() -> None:
    with (
        program("--port", "0") as server,
        running_client(server.url, "--interval", "0.05") as client,
    ):
        assert client.stdout is not None
        assert b" seq=1 " in client.stdout.readline()
        server.process.kill()
        output, errors = client.communicate(timeout=PATIENCE)
    assert client.returncode == 1
    assert b"echo statistics ---\n" in output
    assert errors.startswith(f"echoservers: error: {server.url}: ".encode())
    assert errors.count(b"\n") == 1


def test_ctrl_c_prints_the_summary() -> None:
    with program("--port", "0") as server, running_client(server.url, "--interval", "50") as client:
        assert client.stdout is not None
        assert b" seq=1 " in client.stdout.readline()
        client.send_signal(signal.SIGINT)
        output, errors = client.communicate(timeout=PATIENCE)
    assert (client.returncode, errors) == (0, b"")
    assert output.startswith(f"\n--- {server.url} echo statistics ---\n1 sent, 1 received".encode())


def test_ctrl_c_at_a_filter_ends_it_without_a_traceback() -> None:
    with program("--port", "0") as server, running_client(server.url) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"hello\n")
        client.stdin.flush()
        assert select.select([client.stdout], [], [], PATIENCE)[0]
        client.send_signal(signal.SIGINT)
        output, errors = client.communicate(timeout=PATIENCE)
    assert (client.returncode, output, errors) == (128 + signal.SIGINT, b"hello\n", b"")
