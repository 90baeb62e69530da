"""``echoservers client`` at a terminal: a prompt for a person."""

import importlib.util
import signal
import socket
from pathlib import Path

import pytest

from support import PATIENCE, STREAM_NAMES, program, serve_arguments, state_of, wait_until
from terminal import Terminal, why_no_terminal

pytestmark = pytest.mark.skipif(why_no_terminal() is not None, reason=str(why_no_terminal()))

needs_readline = pytest.mark.skipif(
    importlib.util.find_spec("readline") is None,
    reason="this Python was built without readline",
)

HANDLERS = """
from echoservers import EchoHandler

class Greets(EchoHandler):
    def greet(self):
        return b"welcome\\nto this server\\n"

class Leaves(EchoHandler):
    def respond(self, message):
        self.close_after_reply()
        return b"bye\\n"

class Paints(EchoHandler):
    def respond(self, message):
        return b"\\x1b]0;title\\x07\\x1b[31mred\\x9b0m \\xff\\r\\n"

class TwoLines(EchoHandler):
    def respond(self, message):
        return b"one\\ntwo\\n"

class LeavesMidLine(EchoHandler):
    def respond(self, message):
        self.close_after_reply()
        return b"bye"

class NoNewline(EchoHandler):
    def respond(self, message):
        return b"unfinished"
"""


@pytest.fixture
def handlers(folder: Path) -> Path:
    (folder / "handlers.py").write_text(HANDLERS)
    return folder


@pytest.mark.parametrize("mode", [*STREAM_NAMES, "udp", "unix-datagram"])
def test_a_line_is_typed_and_its_reply_shown(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder)) as server, Terminal("client", server.url) as user:
        assert user.wait_for("> ") == f"connected to {server.url}; Ctrl-D ends\r\n> "
        for line in ("hello", "grüße", "", "and goodbye"):
            user.type(f"{line}\r")
            assert user.wait_for("> ") == f"{line}\r\n{line}\r\n> "
        user.type("\x04")
        assert user.wait_for_end() == 0
        assert user.shown.endswith("> \r\n")


@pytest.mark.parametrize("mode", ["tcp", "unix-stream"])
@pytest.mark.parametrize("framing", ["lines", "length"])
def test_framed_messages_are_typed_and_shown(mode: str, framing: str, folder: Path) -> None:
    flags = ["--framing", framing]
    with (
        program(*serve_arguments(mode, folder), *flags, "--handler", "upper") as server,
        Terminal("client", server.url, *flags) as user,
    ):
        user.wait_for("> ")
        for line in ("hello", "", "again"):
            user.type(f"{line}\r")
            assert user.wait_for("> ") == f"{line}\r\n{line.upper()}\r\n> "


def test_bytes_that_are_no_text_go_and_come() -> None:
    with program("--port", "0") as server, Terminal("client", server.url) as user:
        user.wait_for("> ")
        user.type("a\udcffb\r")
        assert r"a\xffb" in user.wait_for("\n> ")


@needs_readline
def test_a_line_can_be_edited_and_repeated() -> None:
    with program("--port", "0") as server, Terminal("client", server.url) as user:
        user.wait_for("> ")
        user.type("ac\x1b[Db\r")  # arrow left
        assert user.wait_for("> ").endswith("\r\nabc\r\n> ")
        user.type("second\r")
        user.wait_for("\nsecond\r\n> ")
        user.type("\x1b[A\x1b[A\r")  # arrow up, twice
        assert user.wait_for("\n> ").endswith("\r\nabc\r\n> ")


def test_a_greeting_is_shown_before_the_prompt(handlers: Path) -> None:
    with (
        program("--port", "0", "--handler", "handlers:Greets", cwd=handlers) as server,
        Terminal("client", server.url) as user,
    ):
        shown = user.wait_for("> ")
        assert shown.endswith("; Ctrl-D ends\r\nwelcome\r\nto this server\r\n> ")
        user.type("hello\r")
        assert user.wait_for("> ") == "hello\r\nhello\r\n> "


def test_a_reply_of_several_lines_is_shown(handlers: Path) -> None:
    with (
        program("--port", "0", "--handler", "handlers:TwoLines", cwd=handlers) as server,
        Terminal("client", server.url) as user,
    ):
        user.wait_for("> ")
        user.type("x\r")
        assert user.wait_for("> ") == "x\r\none\r\ntwo\r\n> "


@pytest.mark.parametrize("mode", ["tcp", "udp"])
def test_escapes_in_a_reply_do_not_reach_the_terminal(mode: str, handlers: Path) -> None:
    with (
        program(
            "--mode", mode, "--port", "0", "--handler", "handlers:Paints", cwd=handlers
        ) as server,
        Terminal("client", server.url) as user,
    ):
        user.wait_for("> ")
        user.type("a line long enough for UDP to answer it so\r")
        shown = user.wait_for("\n> ")
        assert r"\x1b]0;title\x07\x1b[31mred\x9b0m \xff" in shown
        assert "\x1b" not in user.shown
        assert "\x07" not in user.shown


def test_a_lost_reply_is_told_and_the_prompt_stays() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        endpoint = f"udp://127.0.0.1:{silent.getsockname()[1]}"
        with Terminal("client", endpoint, "--timeout", "0.3") as user:
            user.wait_for("> ")
            user.type("hello\r")
            assert "no reply" in user.wait_for("\n> ")
            message, client = silent.recvfrom(100)
            assert message == b"hello"
            silent.sendto(b"better late", client)
            user.type("next\r")
            assert "better late\r\n" in user.wait_for("\n> ")


def test_what_came_of_a_reply_is_shown_though_its_line_does_not_end(handlers: Path) -> None:
    with (
        program("--port", "0", "--handler", "handlers:NoNewline", cwd=handlers) as server,
        Terminal("client", server.url, "--timeout", "0.3") as user,
    ):
        user.wait_for("> ")
        user.type("x\r")
        assert "\nunfinished\r\n" in user.wait_for("\n> ")


@pytest.mark.parametrize("handler", ["Leaves", "LeavesMidLine"])
def test_the_server_closing_behind_a_reply_ends_the_prompt(handler: str, handlers: Path) -> None:
    with (
        program("--port", "0", "--handler", f"handlers:{handler}", cwd=handlers) as server,
        Terminal("client", server.url) as user,
    ):
        user.wait_for("> ")
        user.type("quit\r")
        user.wait_for("\nbye\r\n")
        user.type("\r")  # the prompt may be there already
        assert user.wait_for_end() == 0
        assert f"{server.url} has closed the connection\r\n" in user.shown


def test_the_server_closing_while_the_prompt_waits_is_told_with_the_next_line() -> None:
    with program("--port", "0") as server, Terminal("client", server.url) as user:
        user.wait_for("> ")
        assert server.stop()[0] == 0
        user.type("hello\r")
        assert user.wait_for_end() == 0
        assert user.shown.endswith(f"{server.url} has closed the connection\r\n")
        assert "Traceback" not in user.shown


def test_a_server_that_resets_the_connection_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with Terminal("client", endpoint) as user:
            listener.settimeout(PATIENCE)
            connection, _ = listener.accept()
            user.wait_for("> ")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
            user.type("hello\r")
            assert user.wait_for_end() == 1
        assert f"echoservers: error: {endpoint}: " in user.shown
        assert "Traceback" not in user.shown


def test_ctrl_c_ends_the_prompt_on_a_line_of_its_own() -> None:
    with program("--port", "0") as server, Terminal("client", server.url) as user:
        user.wait_for("> ")
        user.type("never sent")
        user.wait_for("never sent")
        # CPython misses a signal that comes just before it waits for the next key.
        wait_until(lambda: state_of(user.process.pid) == "S", "the prompt waits")
        user.type("\x03")
        assert user.wait_for_end() == 128 + signal.SIGINT
        assert user.shown.endswith("\r\n")
        assert "Traceback" not in user.shown


def test_ctrl_c_at_the_meter_prints_the_summary() -> None:
    with program("--port", "0") as server:
        with Terminal("client", server.url, "--interval", "50") as user:
            user.wait_for("seq=1 ")
            user.wait_for("ms\r\n")
            user.type("\x03")
            assert user.wait_for_end() == 0
        assert "\r\n1 sent, 1 received, 0% lost, " in user.shown


def test_what_is_typed_is_filtered_when_the_output_goes_into_a_file(folder: Path) -> None:
    with (
        program("--port", "0") as server,
        (folder / "output").open("wb") as output,
        Terminal("client", server.url, stdout=output) as user,
    ):
        user.type("hello\r")
        user.wait_for("hello\r\n")  # as the terminal shows what is typed
        user.type("\x04")
        assert user.wait_for_end() == 0
    assert (folder / "output").read_text() == "hello\n"
