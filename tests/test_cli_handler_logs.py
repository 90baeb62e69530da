"""What stands in the log of a handler that fails, and of one that logs by itself."""

import json
import re
import select
import socket
from pathlib import Path

import pytest

from support import ONE_OF_EACH, PATIENCE, connect_to, echo, program, serve_arguments

MAX_LINE = 4096  # bytes, with the newline: PIPE_BUF

HANDLERS = """
import logging
from echoservers import EchoHandler

class Careless(EchoHandler):
    def respond(self, message):
        logging.getLogger("echoservers").error("%d", "no number")
        return message

class Fails(EchoHandler):
    def respond(self, message):
        if message == b"fail":
            raise ValueError("one\\ntwo \\x1b[31mred")
        if message == b"fail at length":
            raise ValueError("x" * 1000000)
        return message

class Odd(EchoHandler):
    def respond(self, message):
        logging.getLogger("echoservers").critical("odd", extra={"bytes": b"abc"})
        return message

class Starved(EchoHandler):
    def respond(self, message):
        import resource
        kept = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, kept[1]))
        raise ValueError("no descriptor is left")

class Late(EchoHandler):
    def respond(self, message):
        logging.getLogger("echoservers").info("got %(n)d", {"n": len(message)})
        logging.getLogger("echoservers").debug("secret")
        return message

class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")

class Shy(EchoHandler):
    def respond(self, message):
        if message == b"fail":
            raise Unspeakable
        return message
"""

HOOKED = """
import logging
from echoservers import EchoHandler

class Tattler(logging.Handler):
    def emit(self, record):
        print("told of", record.levelname, record.getMessage().partition(",")[0], flush=True)

class Hooked(EchoHandler):
    logging.getLogger("echoservers").addHandler(Tattler())
    def respond(self, message):
        raise ValueError
"""


# --- a handler that logs ----------------------------------------------------------------


def test_a_record_that_cannot_be_shown_ends_no_connection(folder: Path) -> None:
    (folder / "handlers.py").write_text(HANDLERS)
    arguments = ["--port", "0", "--handler", "handlers:Careless"]
    with program(*arguments, cwd=folder) as server:
        for _ in range(3):
            with connect_to(server.url, timeout=1) as client:
                echo(client, b"x" * 500)
        *shown, drained = server.stop()[1].splitlines()
    assert shown == ["%d (with what cannot be shown)"] * 3
    assert re.fullmatch(r"drained \d connections?, aborted 0", drained)


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("mode", ONE_OF_EACH)
def test_what_a_handler_logs_by_logging_stands_among_ours(
    mode: str, log_format: str, folder: Path
) -> None:
    (folder / "handlers.py").write_text(HANDLERS)
    flags = ["--handler", "handlers:Late", "--log-format", log_format]
    with program(*serve_arguments(mode, folder), *flags, cwd=folder) as server:
        with connect_to(server.url) as client:
            echo(client, b"hello")
        line, _ = server.stop()[1].splitlines()
    if log_format == "json":
        record = json.loads(line)
        assert (record["level"], record["event"]) == ("info", "server")
        line = record["message"]
    assert line == "got 5"


def test_an_error_that_fails_to_tell_itself_is_shown_all_the_same(folder: Path) -> None:
    (folder / "handlers.py").write_text(HANDLERS)
    arguments = ["--port", "0", "--handler", "handlers:Shy"]
    with program(*arguments, cwd=folder) as server:
        with connect_to(server.url) as client:
            client.sendall(b"fail")
            assert client.recv(1) == b""
        for _ in range(3):
            with connect_to(server.url, timeout=1) as client:
                echo(client, b"x" * 500)
        failed, _ = server.stop()[1].splitlines()
    assert re.fullmatch(
        r"handler failed, .*\(with what cannot be shown\) \(.*handlers\.py:\d+\)", failed
    )


def test_what_json_does_not_know_ends_no_connection_either(folder: Path) -> None:
    (folder / "handlers.py").write_text(HANDLERS)
    arguments = ["--port", "0", "--handler", "handlers:Odd", "--log-format", "json"]
    with program(*arguments, cwd=folder) as server:
        with connect_to(server.url) as client:
            echo(client)
        record, _ = [json.loads(line) for line in server.stop()[1].splitlines()]
    assert (record["level"], record["message"], record["bytes"]) == ("critical", "odd", "b'abc'")


def test_whoever_hooks_into_our_logger_is_told(folder: Path) -> None:
    (folder / "handlers.py").write_text(HOOKED)
    with program("--port", "0", "--handler", "handlers:Hooked", cwd=folder) as server:
        with connect_to(server.url) as client:
            client.sendall(b"x")
            assert client.recv(1) == b""
        assert server.process.stdout is not None
        assert server.process.stdout.readline() == b"told of ERROR handler failed\n"
        assert server.stop()[0] == 0


# --- a handler that fails ---------------------------------------------------------------


def log_of_failures(mode: str, folder: Path, *flags: str, message: bytes = b"fail") -> list[str]:
    (folder / "handlers.py").write_text(HANDLERS)
    arguments = [*serve_arguments(mode, folder), "--handler", "handlers:Fails", *flags]
    with program(*arguments, cwd=folder) as server:
        with connect_to(server.url) as client:
            client.sendall(message)
            if client.type == socket.SOCK_STREAM:
                assert client.recv(1) == b""
            else:
                assert select.select([server.process.stderr], [], [], PATIENCE)[0]
        with connect_to(server.url) as client:
            echo(client)
        _, log = server.stop()
    return log.split("\n")[:-1]


@pytest.mark.parametrize("mode", ONE_OF_EACH)
def test_a_failing_handler_is_one_line_that_says_where(mode: str, folder: Path) -> None:
    failed, drained = log_of_failures(mode, folder)
    assert failed.startswith("handler failed, closing ")
    assert r": ValueError: one\ntwo \x1b[31mred (" in failed
    assert re.search(r"/handlers\.py:13\)$", failed)
    assert drained.startswith("drained ")


@pytest.mark.parametrize("mode", ONE_OF_EACH)
def test_verbose_shows_the_traceback_of_a_failing_handler(mode: str, folder: Path) -> None:
    lines = log_of_failures(mode, folder, "--verbose")
    start = next(n for n, line in enumerate(lines) if line.startswith("handler failed, "))
    assert lines[start + 1] == "    Traceback (most recent call last):"
    end = next(n for n, line in enumerate(lines) if n > start and not line.startswith("    "))
    assert lines[end - 2 : end] == ["    ValueError: one", r"    two \x1b[31mred"]
    assert any('handlers.py", line 13, in respond' in line for line in lines[start:end])


@pytest.mark.parametrize("verbose", [True, False])
def test_a_failing_handler_is_one_json_object(verbose: bool, folder: Path) -> None:
    flags = ["--log-format", "json", *(["--verbose"] if verbose else [])]
    records = [json.loads(line) for line in log_of_failures("threading-tcp", folder, *flags)]
    (failed,) = [record for record in records if record["event"] == "error"]
    assert failed["level"] == "error"
    assert "ValueError: one\ntwo" in failed["message"]
    assert failed["peer"].startswith("127.0.0.1:")
    assert re.search(r"/handlers\.py:13$", failed["place"])
    assert ("traceback" in failed) == verbose
    if verbose:
        assert failed["traceback"].endswith("ValueError: one\ntwo \x1b[31mred\n")


@pytest.mark.parametrize("flags", [(), ("--verbose",), ("--log-format", "json", "--verbose")])
def test_lines_of_long_errors_are_bounded(flags: tuple[str, ...], folder: Path) -> None:
    lines = log_of_failures("tcp", folder, *flags, message=b"fail at length")
    assert all(len(line) < MAX_LINE for line in lines)
    assert any(len(line) > 1000 for line in lines)
    if "json" in flags:
        assert [json.loads(line) for line in lines]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_error_is_shown_with_no_descriptor_left(log_format: str, folder: Path) -> None:
    (folder / "handlers.py").write_text(HANDLERS)
    flags = ["--handler", "handlers:Starved", "--verbose", "--log-format", log_format]
    with program("--mode", "forking-tcp", "--port", "0", *flags, cwd=folder) as server:
        with connect_to(server.url) as client:
            client.sendall(b"x")
            assert client.recv(1) == b""
        _, log = server.stop()
    assert "ValueError: no descriptor is left" in log
    assert "Traceback (most recent call last)" in log
    assert "dropped" not in log
