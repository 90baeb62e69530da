"""The log on standard error: what stands in it, and that nothing ever waits for its reader."""

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import (
    ONE_OF_EACH,
    PATIENCE,
    ROOT,
    Program,
    children_of,
    connect_to,
    echo,
    program,
    serve_arguments,
    wait_until,
)

MAX_LINE = 4096  # bytes, with the newline: PIPE_BUF


@contextlib.contextmanager
def full_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that takes no more: (read end, write end)."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 65536)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x")
    os.set_blocking(write, True)  # as a program gets it
    try:
        yield read, write
    finally:
        os.close(read)
        os.close(write)


@contextlib.contextmanager
def full_device() -> Iterator[int]:
    device = os.open("/dev/full", os.O_WRONLY)
    try:
        yield device
    finally:
        os.close(device)


@contextlib.contextmanager
def full_socket() -> Iterator[int]:
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        for size in (65536, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    writer.send(b"x" * size)
        writer.setblocking(True)
        yield writer.fileno()


@contextlib.contextmanager
def only_write_end() -> Iterator[int]:
    with full_pipe() as (_, write):
        yield write


UNREADABLE = {
    "a pipe that nobody reads": only_write_end,
    "a full disk": full_device,
    "a socket that nobody reads": full_socket,
}
CLOSED = ("bash", "-c", 'exec "$@" 2>&-', "bash")


def check_that_echo_goes_on(server: Program) -> None:
    for _ in range(3):
        with connect_to(server.url, timeout=1) as client:
            echo(client, b"x" * 500)


@pytest.mark.parametrize("where", UNREADABLE)
@pytest.mark.parametrize("mode", ONE_OF_EACH)
def test_echo_goes_on_when_standard_error_is(mode: str, where: str, folder: Path) -> None:
    arguments = [*serve_arguments(mode, folder), "--verbose"]
    with UNREADABLE[where]() as stderr, program(*arguments, stderr=stderr) as server:
        check_that_echo_goes_on(server)
        assert server.stop()[0] == 0


@pytest.mark.parametrize("mode", ONE_OF_EACH)
def test_echo_goes_on_when_standard_error_is_closed(mode: str, folder: Path) -> None:
    arguments = [*serve_arguments(mode, folder), "--verbose"]
    with program(*arguments, wrapper=CLOSED) as server:
        check_that_echo_goes_on(server)
        assert server.stop()[0] == 0


@pytest.mark.parametrize("mode", ["tcp", "threading-udp", "forking-unix-stream"])
def test_echo_goes_on_when_the_reader_of_standard_error_has_gone(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder), "--verbose") as server:
        assert server.process.stderr is not None
        server.process.stderr.close()
        check_that_echo_goes_on(server)
        server.process.terminate()
        assert server.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("mode", ["tcp", "threading-udp", "forking-unix-stream"])
def test_echo_goes_on_when_the_pipe_fills_while_serving(mode: str, folder: Path) -> None:
    arguments = [*serve_arguments(mode, folder), "--verbose"]
    with program(*arguments) as server:  # whose standard error is a pipe; we do not read it yet
        with connect_to(server.url, timeout=1) as client:
            for _ in range(100):  # the pipe has 64 KiB
                echo(client, b"\x01" * 900)
        check_that_echo_goes_on(server)
        _, log = server.stop()
        assert 50_000 < len(log) <= 65536
        assert log.endswith("\n")  # no half line


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_was_dropped_is_told_when_there_is_room_again(log_format: str) -> None:
    arguments = ["--port", "0", "--verbose", "--log-format", log_format]
    with full_pipe() as (read, write), program(*arguments, stderr=write) as server:
        with connect_to(server.url) as client:
            for _ in range(3):
                echo(client)
        with connect_to(server.url) as client:
            echo(client)
        os.set_blocking(read, False)
        with contextlib.suppress(BlockingIOError):
            while os.read(read, 65536):
                continue
        with connect_to(server.url) as client:
            echo(client)
        assert server.stop()[0] == 0
        lines = os.read(read, 65536).decode().splitlines()
    if log_format == "json":
        lines = [json.loads(line)["message"] for line in lines]
    assert lines[0] == "6 log lines were dropped: standard error took no more"
    assert lines[1].startswith("connected from ")
    assert not any("dropped" in line for line in lines[1:])


def test_the_flags_of_a_shared_standard_error_stay_as_they_were() -> None:
    # O_NONBLOCK would reach the shell that shares the terminal.
    with full_pipe() as (_, write), program("--port", "0", stderr=write) as server:
        check_that_echo_goes_on(server)
        assert os.get_blocking(write)


def test_where_standard_error_cannot_be_opened_again_nothing_waits_either(folder: Path) -> None:
    # As behind su(1), with the terminal of another user.
    (folder / "sitecustomize.py").write_text(
        "import os\n"
        "opened = os.open\n"
        "def refuse(path, *arguments, **options):\n"
        "    if str(path).startswith('/proc/self/fd/'):\n"
        "        raise PermissionError(13, 'Permission denied')\n"
        "    return opened(path, *arguments, **options)\n"
        "os.open = refuse\n"
    )
    arguments = ["--port", "0", "--verbose"]
    environment = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    with full_pipe() as (_, write), program(*arguments, stderr=write, env=environment) as server:
        check_that_echo_goes_on(server)
        assert server.stop()[0] == 0
    with program(*arguments, env=environment) as server:
        check_that_echo_goes_on(server)
        assert server.stop()[1].count("connected from ") == 3


def test_a_server_of_ours_runs_without_logging(folder: Path) -> None:
    # It starts sooner, and forks faster: logging has hooks in every fork.
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'logging':\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    environment = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    arguments = ["--mode", "forking-tcp", "--port", "0", "--verbose"]
    with program(*arguments, env=environment) as server:
        check_that_echo_goes_on(server)
        code, log = server.stop()
    assert (code, log.count("connected from ")) == (0, 3)


# --- one line, and nothing that was not asked for ---------------------------------------


@pytest.mark.parametrize("mode", ONE_OF_EACH)
def test_control_characters_in_a_message_are_spelled_out(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder), "--verbose") as server:
        with connect_to(server.url) as client:
            echo(client, b"one\ntwo\r\x1b[31mred\x00\x7f\xc2\x85\xff \xe2\x80\xae \xc3\xa9")
        _, log = server.stop()
    (line,) = [line for line in log.split("\n") if line.startswith("[from ")]
    assert line.endswith(r"] one\ntwo\r\x1b[31mred\x00\x7f\x85\xff \u202e é")
    assert log.replace("\n", "").isprintable()


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("mode", [name for name in ONE_OF_EACH if "unix" in name])
def test_control_characters_in_a_peers_name_are_spelled_out(
    mode: str, log_format: str, folder: Path
) -> None:
    arguments = [*serve_arguments(mode, folder), "--verbose", "--log-format", log_format]
    name = f"{folder}/a\nconnected from \x1b[31m"
    shown = name.replace("\n", r"\n").replace("\x1b", r"\x1b")
    kind = socket.SOCK_STREAM if mode.endswith("stream") else socket.SOCK_DGRAM
    with program(*arguments) as server:
        with socket.socket(socket.AF_UNIX, kind) as client:
            client.bind(name)
            client.settimeout(PATIENCE)
            client.connect(f"{folder}/server.sock")
            echo(client)
        _, log = server.stop()
    assert log.count("\n") == 3
    assert log.replace("\n", "").isprintable()
    if log_format == "json":
        records = [json.loads(line) for line in log.splitlines()]
        assert [record.get("peer") for record in records] == [shown, shown, None]
    else:
        assert log.split("\n")[:2] == [f"connected from {shown}", f"[from {shown}] hello"]


@pytest.mark.parametrize("mode", ONE_OF_EACH)
def test_without_verbose_no_message_and_no_connection_is_logged(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder)) as server:
        with connect_to(server.url) as client:
            echo(client, b"a secret")
        _, log = server.stop()
    assert re.fullmatch(r"drained [01] connections?, aborted 0\n", log)


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    "message", [b"x" * 60000, b"\0" * 60000, "é".encode() * 30000, "😀".encode() * 15000]
)
def test_lines_of_long_messages_are_bounded(message: bytes, log_format: str) -> None:
    arguments = ["--mode", "udp", "--port", "0", "--verbose", "--log-format", log_format]
    with program(*arguments) as server:
        with connect_to(server.url) as client:
            echo(client, message)
        _, log = server.stop()
    _, line, _ = log.split("\n", 2)
    assert len(line.encode()) < MAX_LINE
    if log_format == "json":
        record = json.loads(line)
        assert record["bytes"] == 60000
        line = record["message"]
    shown = line.partition("] ")[2]
    assert shown[:4] in ("xxxx", r"\x00", "éééé", "😀😀😀😀")
    if shown[0] == "x":
        assert shown == "x" * 1000 + "... (59000 more)"


def test_a_forking_server_tells_what_was_dropped_once(folder: Path) -> None:
    # Lines that the parent dropped are not its children's to tell.
    arguments = ["--mode", "forking-tcp", "--port", "0", "--verbose"]
    limits = ["--max-children", "1", "--overflow", "refuse"]
    with full_pipe() as (read, write), program(*arguments, *limits, stderr=write) as server:
        with connect_to(server.url) as served, connect_to(server.url) as refused:
            echo(served)
            assert refused.recv(1) == b""  # of which the parent tells in vain
        os.set_blocking(read, False)
        with contextlib.suppress(BlockingIOError):
            while os.read(read, 65536):
                continue
        wait_until(lambda: not children_of(server.pid), "the child has ended")
        with connect_to(server.url) as client:
            echo(client)
        assert server.stop()[0] == 0
        lines = os.read(read, 65536).decode().splitlines()
    assert lines[0].startswith("connected from ")
    told = "1 log line was dropped: standard error took no more"
    assert [line for line in lines if "dropped" in line] == [told]
