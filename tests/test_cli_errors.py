"""Bad input at the command line: one line that says what would be right, no traceback."""

import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support import PATIENCE, ROOT, TCP_NAMES, UDP_NAMES, UNIX_NAMES, program, run_cli

FAILED, WRONG_USAGE = 1, 2

FILES = {
    "broken.py": "class Handler(:\n",
    "raises.py": "\n1 / 0\n",
    "leaves.py": "import sys\nsys.exit(0)\n",
    "talks.py": "raise ValueError('one\\ntwo \\x1b[31mred')\n",
    "other.py": (
        "import socketserver\n"
        "class Other: pass\n"
        "def function(*_): pass\n"
        "class Plain(socketserver.StreamRequestHandler): pass\n"
    ),
    "coroutine.py": (
        "from echoservers import EchoHandler\n"
        "class Handler(EchoHandler):\n"
        "    async def respond(self, message): return message\n"
    ),
    "file": "no socket\n",
}


def fill(folder: Path) -> Path:
    """Put handler modules that are no good and a file that is no socket into *folder*."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / "link").symlink_to(folder / "file")
    return folder


def refused(code: int, *arguments: str, **options: Any) -> str:
    """What the one line says that a command with bad *arguments* writes."""
    done = run_cli(*arguments, **options)
    return check(code, done.returncode, done.stdout.decode(), done.stderr.decode())


def check(expected: int, code: int, output: str, told: str) -> str:
    assert output == ""
    assert told.startswith("echoservers: error: ")
    assert told.endswith("\n")
    assert told.count("\n") == 1
    assert told[:-1].isprintable()
    assert "Traceback" not in told
    assert code == expected
    return told.removeprefix("echoservers: error: ").rstrip("\n")


ALL_FLAGS = ("--mode", "--host", "--port", "--path", "--handler", "--framing", "--log-format")

WRONG: list[tuple[list[str], list[str]]] = [
    # a mode
    (["--mode", "nosuch"], ["'nosuch'", "iterative", "threading", "epoll", "unix-stream"]),
    (["--mode", "threading-tpc"], ["'threading-tpc'", "did you mean", "threading-tcp"]),
    (["--mode", ""], ["''", "threading", "tcp"]),
    (["--mode", "a\nb"], [r"'a\nb'", "threading"]),
    (["--mode"], ["--mode", "expected"]),
    # an option, as a flag and in a mode spec
    (["--nosuch"], ["--nosuch", *ALL_FLAGS, "--max-connections"]),
    (["--max-conections", "5"], ["did you mean", "--max-connections"]),
    (["--mode", "tcp", "--max-children", "5"], ["--max-children", "--max-connections"]),
    (["--mode", "tcp", "--socket-mode", "600"], ["--socket-mode", "--request-queue-size"]),
    (["--mode", "udp", "--request-queue", "5"], ["did you mean", "--request-queue-size"]),
    (["--max-connections", "0"], ["--max-connections", "from 1 to", "'0'"]),
    (["--max-connections", "-5"], ["--max-connections", "from 1 to", "'-5'"]),
    (["--max-connections", "many"], ["--max-connections", "whole number", "'many'"]),
    (["--max-connections"], ["--max-connections", "expected"]),
    (["--idle-timeout", "0"], ["--idle-timeout", "seconds from 0.001 to", "or none"]),
    (["--idle-timeout", "nan"], ["--idle-timeout", "seconds"]),
    (["--overflow", "drop"], ["--overflow", "queue or refuse", "'drop'"]),
    (["--mode", "unix-stream", "--socket-mode", "999"], ["--socket-mode", "octal", "'999'"]),
    (["--mode", "tcp:nosuch=1"], ["'nosuch'", "max_connections", "overflow"]),
    (["--mode", "tcp:max_conections=1"], ["did you mean", "max_connections"]),
    (["--mode", "tcp:max_connections=0"], ["max_connections", "from 1 to"]),
    (["--mode", "tcp:max_connections"], ["'max_connections'", "OPTION=VALUE"]),
    # an address
    (["--port", "65536"], ["'65536'", "0 to 65535"]),
    (["--port", "-1"], ["'-1'", "0 to 65535"]),
    (["--port", "http"], ["'http'", "0 to 65535"]),
    (["--port", ""], ["''", "0 to 65535"]),
    (["--host", "", "--port", "0"], ["--host", "0.0.0.0"]),
    (["--host", "no such host", "--port", "0"], ["no such host", "give an address"]),
    (["--host", "127.0.0.1", "--path", "/x"], ["--path", "--host and --port"]),
    (["--path", "/x"], ["threading-tcp listens at a --host and --port"]),
    (["--mode", "udp", "--path", "/x"], ["udp listens at a --host and --port"]),
    (["--mode", "unix-stream", "--host", "127.0.0.1"], ["unix-stream listens at a --path"]),
    (["--mode", "unix-datagram", "--port", "0"], ["unix-datagram listens at a --path"]),
    (["--mode", "unix-stream", "--path", ""], ["path"]),
    (["--mode", "unix-stream", "--path", "/tmp/" + "x" * 103], ["at most 107 bytes", "108"]),
    (["--mode", "unix-datagram", "--path", "/tmp/" + "ä" * 52], ["at most 107 bytes", "109"]),
    # a handler
    (["--handler", "nosuch"], ["'nosuch'", "echo", "timestamp", "upper", "discard"]),
    (["--handler", "nosuch:Handler"], ["nosuch:Handler", "No module named 'nosuch'"]),
    (["--handler", "other:Nosuch"], ["other:Nosuch", "Nosuch"]),
    (["--handler", "other:Other"], ["Other", "subclass of echoservers.EchoHandler"]),
    (["--handler", "other:function"], ["function", "subclass of echoservers.EchoHandler"]),
    (["--handler", "other:"], ["other:"]),
    (["--handler", ":Handler"], [":Handler"]),
    (["--handler", "broken:Handler"], ["broken:Handler", "SyntaxError", "broken.py, line 1"]),
    (["--handler", "raises:Handler"], ["ZeroDivisionError", "raises.py:2"]),
    (["--handler", "leaves:Handler"], ["leaves:Handler", "SystemExit"]),
    (["--handler", "talks:Handler"], ["talks:Handler", r"one\ntwo \x1b[31mred"]),
    (["--handler", "coroutine:Handler", "--port", "0"], ["async def", "respond"]),
    (["--handler", "other:Plain", "--framing", "lines"], ["--framing", "EchoHandler"]),
    # the rest
    (["--framing", "words"], ["--framing", "'words'", "raw", "lines", "length"]),
    (["--log-format", "xml"], ["--log-format", "'xml'", "text", "json"]),
    (["servee"], ["servee", "did you mean", "serve", "modes", "client"]),
    (["modes", "--xml"], ["--xml", "--json"]),
    (["modes", "nonsense"], ["nonsense", "transports are ", "threading"]),
    # an endpoint
    (["client"], ["ENDPOINT"]),
    (["client", "nonsense"], ["'nonsense'", "tcp://", "udp://", "unix://", "unix-datagram://"]),
    (["client", "http://127.0.0.1"], ["'http://127.0.0.1'", "tcp://"]),
    (["client", "tcp://127.0.0.1:65536"], ["65536", "0 to 65535"]),
    (["client", "tcp://:8007"], ["tcp://127.0.0.1:8007"]),
    (["client", "tcp://::1:8007"], ["tcp://[::1]:8007"]),
    (["client", "unix://"], ["path"]),
    (["client", "unix:///" + "x" * 107], ["at most 107 bytes"]),
    (["client", "tcp://127.0.0.1:1", "extra"], ["extra", "--count"]),
    (["client", "tcp://127.0.0.1:1", "--count", "0"], ["--count", "from 1 to", "'0'"]),
    (["client", "tcp://127.0.0.1:1", "--timeout", "soon"], ["--timeout", "seconds", "'soon'"]),
    (["client", "udp://127.0.0.1:1", "--size", "65508"], ["--size", "65507"]),
    (["client", "tcp://127.0.0.1:1", "--framing", "x"], ["--framing", "raw", "lines", "length"]),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str, str]]:
    """How each of the `WRONG` ones ends."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("many_runs.py")],
        input=json.dumps([arguments for arguments, _ in WRONG]),
        capture_output=True,
        check=True,
        text=True,
        timeout=50,
        cwd=fill(tmp_path_factory.mktemp("handlers")),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stderr == ""
    return [(code, output, errors) for code, output, errors in json.loads(done.stdout)]


@pytest.mark.parametrize(
    "number", range(len(WRONG)), ids=[" ".join(arguments)[:60] for arguments, _ in WRONG]
)
def test_wrong_usage_is_told_in_one_line(number: int, outcomes: list[tuple[int, str, str]]) -> None:
    line = check(WRONG_USAGE, *outcomes[number])
    assert [word for word in WRONG[number][1] if word not in line] == []
    assert "0x" not in line  # as in <function f at 0x7f...>


def test_wrong_usage_is_told_by_the_program_itself() -> None:
    assert "--max-connections" in refused(WRONG_USAGE, "--nosuch")


def test_error_lines_are_bounded(folder: Path) -> None:
    assert len(refused(WRONG_USAGE, "--mode", "x" * 100_000)) < 4096


# --- what the system refuses ------------------------------------------------------------


@pytest.mark.parametrize("mode", TCP_NAMES + UDP_NAMES)
def test_an_address_in_use_is_told(mode: str) -> None:
    kind = socket.SOCK_STREAM if "tcp" in mode else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if "tcp" in mode:
            taken.listen()
        port = str(taken.getsockname()[1])
        line = refused(FAILED, "--mode", mode, "--port", port)
    assert f"127.0.0.1 port {port}" in line
    assert "choose another --port" in line


def test_an_address_of_another_host_is_told() -> None:
    # 192.0.2.0/24 is for documentation and nobody's (RFC 5737)
    line = refused(FAILED, "--host", "192.0.2.1", "--port", "0")
    assert "192.0.2.1" in line
    assert "127.0.0.1" in line


def without_privileges() -> tuple[str, ...]:
    """What to put before a command so that root has no power over ports and files."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("this is root, and there is no setpriv to drop its privileges")
    dropped = "-net_bind_service,-dac_override,-dac_read_search"
    return ("setpriv", f"--bounding-set={dropped}", "--")


def refused_without_privileges(*arguments: str) -> str:
    done = subprocess.run(
        [*without_privileges(), sys.executable, "-m", "echoservers", *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == FAILED
    assert done.stderr.startswith("echoservers: error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize("mode", ["tcp", "udp"])
def test_a_port_that_needs_a_privilege_is_told(mode: str) -> None:
    first = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if first.exists() and int(first.read_text()) <= 1:
        pytest.skip("every port is free to all users here")
    line = refused_without_privileges("--mode", mode, "--port", "1")
    assert "127.0.0.1 port 1" in line
    assert "choose a higher --port" in line


@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_a_folder_where_we_may_not_write_is_told(mode: str, folder: Path) -> None:
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        line = refused_without_privileges("--mode", mode, "--path", f"{folder}/sock")
    finally:
        folder.chmod(stat.S_IRWXU)
    assert f"{folder}/sock" in line
    assert "where you may write" in line


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("missing/sock", "make its folder first"),
        ("file", "is no socket; choose another path"),
        ("link", "is no socket; choose another path"),
        ("", "is no socket; choose another path"),  # the folder itself
        ("file/sock", "choose a --path in a folder"),
        ("a\nmissing/sock", r"a\nmissing/sock"),
    ],
)
@pytest.mark.parametrize("mode", ["unix-stream", "unix-datagram"])
def test_a_path_that_cannot_be_had_is_told(mode: str, path: str, told: str, folder: Path) -> None:
    line = refused(FAILED, "--mode", mode, "--path", f"{fill(folder)}/{path}".rstrip("/"))
    assert str(folder) in line
    assert told in line
    assert (folder / "file").read_text() == FILES["file"]


@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_a_path_that_a_server_has_is_told(mode: str, folder: Path) -> None:
    path = str(folder / "sock")
    with program("--mode", mode, "--path", path):
        line = refused(FAILED, "--mode", mode, "--path", path)
        assert path in line
        assert "choose another path" in line


# --- servers that cannot be reached -----------------------------------------------------


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("arguments", [(), ("--count", "1")])
@pytest.mark.parametrize("scheme", ["tcp", "unix", "unix-datagram"])
def test_an_endpoint_where_nobody_listens_is_told(
    scheme: str, arguments: tuple[str, ...], folder: Path
) -> None:
    where = f"127.0.0.1:{free_port(socket.SOCK_STREAM)}" if scheme == "tcp" else f"{folder}/sock"
    line = refused(FAILED, "client", f"{scheme}://{where}", *arguments)
    assert line.startswith(f"nobody listens at {scheme}://{where}")
    assert "start a server" in line


def test_a_udp_port_where_nobody_listens_is_told_with_the_first_message() -> None:
    endpoint = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    line = refused(FAILED, "client", endpoint, input=b"hello\n")
    assert line.startswith(f"nobody listens at {endpoint}")


def test_a_server_that_does_not_accept_in_time_is_told() -> None:
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(socket.socket())
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        for _ in range(3):  # fills its backlog; what comes then is not answered
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(busy.getsockname())
        endpoint = f"tcp://127.0.0.1:{busy.getsockname()[1]}"
        line = refused(FAILED, "client", endpoint, "--timeout", "0.3")
    assert line == f"{endpoint} did not answer within 0.3 s"


def test_a_host_that_does_not_exist_is_told() -> None:
    line = refused(FAILED, "client", "tcp://no such host:8007")
    assert "tcp://no such host:8007" in line


@pytest.mark.parametrize(
    ("mode", "wrong", "right"),
    [("unix-stream", "unix-datagram", "unix"), ("unix-datagram", "unix", "unix-datagram")],
)
def test_the_other_kind_of_unix_socket_is_told(
    mode: str, wrong: str, right: str, folder: Path
) -> None:
    path = str(folder / "sock")
    with program("--mode", mode, "--path", path):
        line = refused(FAILED, "client", f"{wrong}://{path}")
    assert line.endswith(f"; try {right}://")


@pytest.mark.parametrize("endpoint", ["tcp", "udp"])
def test_input_that_cannot_be_read_is_told(endpoint: str, folder: Path) -> None:
    unreadable = os.open(folder / "file", os.O_WRONLY | os.O_CREAT)
    try:
        with program("--mode", endpoint, "--port", "0") as server:
            line = refused(FAILED, "client", server.url, stdin=unreadable)
    finally:
        os.close(unreadable)
    assert line == "cannot read standard input: Bad file descriptor"
