"""Standard input, output and error that are closed, full, or that nobody reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import (
    PATIENCE,
    ROOT,
    Program,
    connect_to,
    echo,
    program,
    serve_arguments,
)

# Buffered, as for a user: what is left in a buffer at the end is where it goes wrong.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}

TELLING = ["modes", "modes --json", "--help", "client --help", "--version"]


def shell(command: str) -> tuple[int, str, str]:
    """Run *command*, in which ``$E`` is the program; its exit code, output and error."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
        env={**ENVIRONMENT, "E": f"{sys.executable} -m echoservers"},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("command", TELLING)
def test_a_reader_that_has_gone_ends_it_silently(command: str) -> None:
    gone, closed = os.pipe()
    os.close(gone)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "echoservers", *command.split()],
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
            timeout=PATIENCE,
            env=ENVIRONMENT,
        )
    finally:
        os.close(closed)
    assert (done.returncode, done.stderr) == (1, b"")


def test_head_takes_the_first_line() -> None:
    code, output, errors = shell("$E modes | head -1")
    assert output.startswith("MODE ")
    assert output.count("\n") == 1
    assert errors == ""
    assert code in (0, 1)  # as `head` was quicker or not


@pytest.mark.parametrize("command", TELLING)
def test_a_full_disk_is_told(command: str) -> None:
    assert shell(f"$E {command} > /dev/full") == (
        1,
        "",
        "echoservers: error: cannot write to standard output: No space left on device\n",
    )


@pytest.mark.parametrize("command", TELLING)
def test_a_closed_output_is_no_fault(command: str) -> None:
    assert shell(f"$E {command} >&-") == (0, "", "")


@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full"])
@pytest.mark.parametrize("arguments", ["--port 99999", "--nosuch", "client nonsense"])
def test_an_error_that_nobody_can_be_told_is_in_the_exit_code(
    arguments: str, redirection: str
) -> None:
    assert shell(f"$E {arguments} {redirection}") == (2, "", "")


def filtered(redirection: str) -> tuple[int, str, str]:
    with program("--mode", "tcp", "--port", "0") as server:
        return shell(f"echo hello | $E client {server.url} {redirection}")


def test_the_client_tells_of_a_full_disk() -> None:
    code, _, errors = filtered("> /dev/full")
    assert code == 1
    assert errors == (
        "echoservers: error: cannot write to standard output: No space left on device\n"
    )


def test_the_client_ends_silently_when_its_reader_has_gone() -> None:
    code, _, errors = filtered("| true")
    assert code in (0, 1)
    assert errors == ""


def test_the_client_reads_nothing_from_a_closed_input() -> None:
    with program("--mode", "tcp", "--port", "0") as server:
        assert shell(f"$E client {server.url} <&-") == (0, "", "")
    with program("--mode", "udp", "--port", "0") as server:
        assert shell(f"$E client {server.url} <&-") == (0, "", "")


# --- a server ---------------------------------------------------------------------------


@pytest.mark.parametrize("redirection", [">&-", "> /dev/full", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("mode", ["tcp", "threading-udp", "forking-unix-stream"])
def test_a_server_serves_without_standard_streams(
    mode: str, redirection: str, folder: Path
) -> None:
    log = folder / "log"
    kept = "" if "2>" in redirection else f"2> {log}"
    # Where it listens is asked of the server: the line that tells may go nowhere.
    (folder / "tells.py").write_text(
        "import sys\n"
        "from echoservers.cli import main\n"
        "from echoservers.serving import ServingMixIn\n"
        "forever = ServingMixIn.serve_forever\n"
        "def serve_forever(self):\n"
        "    with open('endpoint', 'w') as told:\n"
        "        told.write(self.endpoint())\n"
        "    forever(self)\n"
        "ServingMixIn.serve_forever = serve_forever\n"
        "sys.exit(main())\n"
    )
    os.mkfifo(folder / "endpoint")
    arguments = " ".join([*serve_arguments(mode, folder), "--verbose"])
    started = subprocess.Popen(
        ["bash", "-c", f"exec {sys.executable} tells.py {arguments} {redirection} {kept}"],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
    )
    try:
        url = (folder / "endpoint").read_text()
        for _ in range(3):
            with connect_to(url) as client:
                echo(client, b"not for a log line that goes into a socket")
        started.terminate()
        assert started.wait(PATIENCE) == 0
    finally:
        started.kill()
        started.wait()
    if kept:
        lines = log.read_text().splitlines()
        full = ["cannot write to standard output: No space left on device"]
        assert lines[: len(full)] == full if "/dev/full" in redirection else full[0] not in lines
        assert lines[-1].startswith("drained ")


def test_no_socket_takes_the_number_of_a_closed_standard_stream(folder: Path) -> None:
    wrapper = ("bash", "-c", 'exec "$@" <&- 2>&-', "bash")
    with program("--port", "0", wrapper=wrapper) as server, connect_to(server.url) as client:
        echo(client)
        for number in (0, 2):
            assert os.readlink(f"/proc/{server.pid}/fd/{number}") == os.devnull


def test_the_line_is_there_when_a_pipe_reads_it() -> None:
    started = Program("--port", "0", env={"PYTHONUNBUFFERED": ""})  # so it was flushed
    try:
        started.wait_until_listening()
        assert started.stop()[0] == 0
    finally:
        started.process.kill()
        started.process.communicate()
