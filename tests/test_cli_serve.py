"""``python -m echoservers``: the line it prints, its flags, and how it is used as a program."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from echoservers import server_class
from echoservers.options import Option, options_of
from support import (
    MODES,
    NAMES,
    ONE_OF_EACH,
    PATIENCE,
    ROOT,
    Program,
    connect_to,
    echo,
    program,
    receive_all,
    receive_exactly,
    run_cli,
    serve_arguments,
)

SCHEMES = {"tcp": "tcp", "udp": "udp", "unix-stream": "unix", "unix-datagram": "unix-datagram"}

SHOWS_OPTIONS = """
from echoservers import EchoHandler

class Shows(EchoHandler):
    def respond(self, message):
        return repr(getattr(self.server, message.decode())).encode()
"""


STREAMS = [name for name in ONE_OF_EACH if name.endswith(("tcp", "stream"))]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="::1 cannot be bound here")


def ask(server: Program, message: str) -> str:
    with connect_to(server.url) as client:
        client.sendall(message.encode())
        return client.recv(65536).decode()


# --- the line ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", NAMES)
def test_exactly_one_line_says_where_it_listens(mode: str, folder: Path) -> None:
    transport = next(m.transport for m in MODES if m.name == mode)
    with program(*serve_arguments(mode, folder)) as server:
        start = f"{mode} listening on {SCHEMES[transport]}://"
        assert server.line.startswith(start)
        where = server.line.removeprefix(start)
        if "unix" in mode:
            assert where == f"{folder}/server.sock"
        else:
            assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", where)
        with connect_to(server.url) as client:
            echo(client)
        server.process.terminate()
        output, log = server.process.communicate(timeout=PATIENCE)
        assert server.process.returncode == 0
        assert output == b""
        assert re.fullmatch(rb"drained [01] connections?, aborted 0\n", log)


@needs_ipv6
@pytest.mark.parametrize("mode", ["tcp", "udp"])
def test_an_ipv6_address_is_printed_in_brackets(mode: str) -> None:
    with program("--mode", mode, "--host", "::1", "--port", "0") as server:
        assert re.fullmatch(rf"{mode} listening on {mode}://\[::1\]:[1-9]\d*", server.line)
        with connect_to(server.url) as client:
            echo(client)


@needs_ipv6
@pytest.mark.parametrize("mode", ["tcp", "udp"])
def test_an_ipv4_client_of_a_dual_stack_server_is_logged_as_ipv4(mode: str) -> None:
    with program("--mode", mode, "--host", "::", "--port", "0", "--verbose") as server:
        port = server.url.rpartition(":")[2]
        with connect_to(f"{mode}://127.0.0.1:{port}") as client:
            echo(client)
            own_port = client.getsockname()[1]
        _, log = server.stop()
        assert log.startswith(f"connected from 127.0.0.1:{own_port}\n")


def test_an_alias_serves_the_mode_it_stands_for() -> None:
    with program("--mode", "unp6", "--port", "0") as server:
        assert server.line.startswith("threading-tcp listening on tcp://")


@pytest.mark.parametrize("words", [(), ("serve",)])
def test_without_a_mode_it_serves_threading_tcp(words: tuple[str, ...]) -> None:
    with program(*words, "--port", "0") as server:
        assert server.line.startswith("threading-tcp listening on tcp://127.0.0.1:")


def in_a_network_of_its_own() -> tuple[str, ...] | None:
    """What to put before a command, or None where that cannot be had."""
    programs = [shutil.which(name) for name in ("unshare", "ip", "sh")]
    if not all(programs):
        return None
    start = 'ip link set lo up && exec "$@"'
    wrapper = ("unshare", "--map-root-user", "--net", "sh", "-c", start, "sh")
    tried = subprocess.run([*wrapper, "true"], capture_output=True, check=False)
    return wrapper if tried.returncode == 0 else None


def test_without_any_argument_it_serves_the_default_mode_at_the_default_address() -> None:
    wrapper = in_a_network_of_its_own()
    if wrapper is None:
        pytest.skip("no network namespace can be made here, and port 8007 may be taken")
    with program(wrapper=wrapper) as server:
        assert server.line == "threading-tcp listening on tcp://127.0.0.1:8007"
        assert server.stop()[0] == 0


def test_without_a_path_a_unix_server_listens_in_the_users_runtime_folder(folder: Path) -> None:
    with program("--mode", "unix-stream", env={"XDG_RUNTIME_DIR": str(folder)}) as server:
        assert (
            server.line == f"unix-stream listening on unix://{folder}/echoservers-unix-stream.sock"
        )


def test_a_path_with_a_newline_does_not_make_two_lines(folder: Path) -> None:
    with program("--mode", "unix-stream", "--path", f"{folder}/a\nb") as server:
        assert server.line == f"unix-stream listening on unix://{folder}/a\\nb"
        assert (folder / "a\nb").is_socket()


# --- flags ------------------------------------------------------------------------------

SAMPLES = {
    "bytes": ("1234", "1234"),
    "connections": ("70", "70"),
    "octal": ("640", repr(0o640)),
    "processes": ("50", "50"),
    "queue|refuse": ("refuse", "'refuse'"),
    "requests": ("40", "40"),
    "seconds": ("2.5", "2.5"),
    "threads": ("30", "30"),
    "shared|flock|mutex|handoff|reuseport": ("flock", "'flock'"),
    "workers": ("3", "3"),
    "datagrams": ("7", "7"),
}


def sample(option: Option) -> tuple[str, str]:
    """A value for *option* other than its default, as typed and as the server shows it."""
    return SAMPLES[option.unit]


@pytest.mark.parametrize(
    ("mode", "spelling"),
    [*((mode, "dashes") for mode in NAMES), ("tcp", "underscores"), ("prefork-udp", "underscores")],
)
def test_every_option_is_a_flag(mode: str, spelling: str, folder: Path) -> None:
    (folder / "shows.py").write_text(SHOWS_OPTIONS)
    options = options_of(server_class(mode))
    flags = []
    for name, option in options.items():
        value, shown = sample(option)
        assert shown != repr(getattr(server_class(mode), name))
        if spelling == "dashes":
            flags += ["--" + name.replace("_", "-"), value]
        else:
            flags += [f"--{name}={value}"]
    arguments = [*serve_arguments(mode, folder), *flags, "--handler", "shows:Shows"]
    with program(*arguments, cwd=folder) as server:
        found = {name: ask(server, name) for name in options}
    assert found == {name: sample(option)[1] for name, option in options.items()}


def test_a_mode_spec_carries_options_and_flags_go_before_them(folder: Path) -> None:
    (folder / "shows.py").write_text(SHOWS_OPTIONS)
    spec = "unp6:idle_timeout=5,max-connections=50"
    arguments = ["--mode", spec, "--port", "0", "--handler", "shows:Shows"]
    with program(*arguments, "--max-connections", "60", cwd=folder) as server:
        assert server.line.startswith("threading-tcp listening")
        assert ask(server, "idle_timeout") == "5.0"
        assert ask(server, "max_connections") == "60"


def test_none_lifts_a_limit(folder: Path) -> None:
    (folder / "shows.py").write_text(SHOWS_OPTIONS)
    arguments = ["--port", "0", "--handler", "shows:Shows", "--idle-timeout", "none"]
    with program(*arguments, cwd=folder) as server:
        assert ask(server, "idle_timeout") == "None"


@pytest.mark.parametrize("mode", ONE_OF_EACH)
def test_the_help_tells_every_flag_and_its_default(mode: str) -> None:
    done = run_cli("--mode", mode, "--help")
    assert done.returncode == 0
    told = " ".join(done.stdout.decode().split())
    assert f"options of {mode}:" in told
    for name, option in options_of(server_class(mode)).items():
        flag = "--" + name.replace("_", "-")
        assert re.search(rf" {flag} \S+ {re.escape(option.meaning)} \(default: \w+\)", told)


def test_the_version_is_told() -> None:
    done = run_cli("--version")
    assert re.fullmatch(rb"echoservers \d+\.\d+\S*\n", done.stdout)
    assert done.returncode == 0


# --- handlers and framings --------------------------------------------------------------


@pytest.mark.parametrize("mode", ONE_OF_EACH)
def test_the_timestamp_handler_answers_in_the_tutorials_form(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder), "--handler", "timestamp") as server:
        reply = ask(server, "hello")
    assert re.fullmatch(r"\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\] hello", reply)


@pytest.mark.parametrize("mode", ONE_OF_EACH)
def test_a_handler_comes_from_a_module_in_the_current_directory(mode: str, folder: Path) -> None:
    (folder / "shout.py").write_text(
        "from echoservers import EchoHandler\n"
        "class Shout(EchoHandler):\n"
        "    def respond(self, message):\n"
        "        return message.upper() + b'!'\n"
    )
    with program(*serve_arguments(mode, folder), "--handler", "shout:Shout", cwd=folder) as server:
        assert ask(server, "hello") == "HELLO!"


def test_a_handler_comes_from_the_current_directory_for_the_installed_command_too(
    folder: Path,
) -> None:
    # A console script has its own folder first on sys.path, not the current one.
    (folder / "bin").mkdir()
    script = folder / "bin" / "echoservers"
    script.write_text("import sys\nfrom echoservers.cli import main\nsys.exit(main())\n")
    (folder / "shows.py").write_text(SHOWS_OPTIONS)
    started = subprocess.Popen(
        [sys.executable, str(script), "--port", "0", "--handler", "shows:Shows"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with started:
        assert started.stdout is not None
        assert "listening on" in started.stdout.readline()
        started.terminate()
        assert started.wait(PATIENCE) == 0


@pytest.mark.parametrize("mode", STREAMS)
def test_framing_lines_makes_each_line_a_message(mode: str, folder: Path) -> None:
    flags = ["--handler", "timestamp", "--framing", "lines"]
    with (
        program(*serve_arguments(mode, folder), *flags) as server,
        connect_to(server.url) as client,
    ):
        client.sendall(b"one\ntw")
        client.sendall(b"o\r\nthree")
        client.shutdown(socket.SHUT_WR)
        replies = receive_all(client)
    assert re.fullmatch(rb"\[[^]]+\] one\n\[[^]]+\] two\r\n\[[^]]+\] three", replies)


@pytest.mark.parametrize("mode", STREAMS)
def test_framing_length_puts_the_length_before_each_reply(mode: str, folder: Path) -> None:
    flags = ["--handler", "upper", "--framing", "length"]
    with (
        program(*serve_arguments(mode, folder), *flags) as server,
        connect_to(server.url) as client,
    ):
        client.sendall(b"\0\0\0\5hello\0\0\0\0\0\0\0\1x")
        assert receive_exactly(client, 18) == b"\0\0\0\5HELLO\0\0\0\0\0\0\0\1X"


# --- what is logged ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", ONE_OF_EACH)
def test_verbose_logs_connections_and_messages_as_the_tutorial_does(
    mode: str, folder: Path
) -> None:
    with program(*serve_arguments(mode, folder), "--verbose") as server:
        with connect_to(server.url) as client:
            echo(client, b"good morning")
            own = client.getsockname()
        _, log = server.stop()
    if mode.endswith("unix-stream"):
        peer = "a local client"
    elif "unix" in mode:
        peer = own.decode().replace("\0", "@")
    else:
        peer = f"127.0.0.1:{own[1]}"
    assert log.splitlines()[:2] == [f"connected from {peer}", f"[from {peer}] good morning"]


@pytest.mark.parametrize("mode", ONE_OF_EACH)
def test_log_format_json_gives_one_object_a_line(mode: str, folder: Path) -> None:
    arguments = [*serve_arguments(mode, folder), "--verbose", "--log-format", "json"]
    with program(*arguments) as server:
        with connect_to(server.url) as client:
            echo(client, b"good\nmorning")
        _, log = server.stop()
    records = [json.loads(line) for line in log.splitlines()]
    for record in records:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["time"])
        assert record["level"] in ("debug", "info")
    connected, message, *_, drained = records
    assert connected["event"] == "connected"
    assert connected["message"] == f"connected from {connected['peer']}"
    assert message["event"] == "message"
    assert message["bytes"] == 12
    assert message["peer"] == connected["peer"]
    assert drained["event"] == "drained"
    assert drained["aborted"] == 0
