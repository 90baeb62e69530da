"""SIGINT and SIGTERM at the program: it drains and ends with 0; a second signal aborts."""

import contextlib
import fcntl
import itertools
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest

from support import (
    NAMES,
    ONE_OF_EACH,
    PATIENCE,
    ROOT,
    STREAM_NAMES,
    STRESSED_NAMES,
    Program,
    connect_to,
    echo,
    program,
    receive_all,
    serve_arguments,
    state_of,
    wait_until,
)

MEBIBYTE = 1 << 20
PATTERN = struct.pack(f">{MEBIBYTE // 4}I", *range(MEBIBYTE // 4))
SIGNALS = [signal.SIGINT, signal.SIGTERM]


def connect_with_buffer(url: str, receive_buffer: int | None) -> socket.socket:
    """A client; with a small receive buffer most of what is in flight stays at its sender."""
    client = connect_to(url)
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    return client


def send_without_reading(client: socket.socket, data: bytes) -> int:
    """Send *data*, or as much as is taken while nobody reads; how much that was."""
    writable = select.poll()
    writable.register(client, select.POLLOUT)
    client.setblocking(False)
    sent = 0
    # A window probe of the kernel can let some more through after 200 ms.
    while sent < len(data) and writable.poll(300):
        try:
            sent += client.send(data[sent : sent + 65536])
        except BlockingIOError:
            continue
    client.settimeout(PATIENCE)
    return sent


def received_by_server(client: socket.socket, sent: int) -> int:
    """How many of the *sent* bytes the server's side has (its kernel has acknowledged them)."""
    if client.family == socket.AF_UNIX:
        return sent  # they go straight into the peer's queue
    (unacknowledged,) = struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)))
    return sent - unacknowledged


def put_in_flight(client: socket.socket, data: bytes = PATTERN) -> int:
    """Send *data*, read nothing; how much of it the server's side has once that is settled."""
    sent = send_without_reading(client, data)
    pause = threading.Event()
    before, taken = -1, 0
    while before != taken != sent:
        pause.wait(0.05)
        before, taken = taken, received_by_server(client, sent)
    assert taken > 0
    return taken


def read_slowly(client: socket.socket) -> bytes:
    """Everything that comes, with a pause between two reads."""
    received = bytearray()
    pause = threading.Event()
    try:
        while data := client.recv(16384):
            received += data
            pause.wait(0.001)
    except ConnectionResetError:
        pass  # how much came before is what counts
    return bytes(received)


def switches_of(pid: int) -> int:
    """How often the main thread of *pid* has gone to sleep."""
    status = Path(f"/proc/{pid}/task/{pid}/status").read_text()
    found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.MULTILINE)
    assert found
    return int(found[1])


def send_and_see_it_taken(server: Program, signum: int) -> None:
    """Send a signal; return when the main thread has woken up for it and sleeps again."""
    wait_until(lambda: state_of(server.pid) == "S", "the server waits")
    before = switches_of(server.pid)
    server.process.send_signal(signum)
    wait_until(lambda: switches_of(server.pid) > before, "the signal is taken")


# --- one signal -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signum", "receive_buffer"), [(signal.SIGINT, None), (signal.SIGTERM, 32768)]
)
@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_every_byte_received_is_echoed_before_the_end(
    mode: str, signum: signal.Signals, receive_buffer: int | None, folder: Path
) -> None:
    with (
        program(*serve_arguments(mode, folder)) as server,
        connect_with_buffer(server.url, receive_buffer) as client,
    ):
        taken = put_in_flight(client)
        send_and_see_it_taken(server, signum)
        check_drained(server, client, taken)


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_what_was_received_is_echoed_while_more_is_arriving(mode: str, folder: Path) -> None:
    # Closing a TCP socket that has unread input resets the connection, replies included.
    with program(*serve_arguments(mode, folder)) as server, connect_to(server.url) as client:
        client.setblocking(False)
        sent = client.send(PATTERN)
        client.settimeout(PATIENCE)
        wait_until(lambda: received_by_server(client, sent) > 0, "the server receives")
        taken = received_by_server(client, sent)
        server.process.terminate()
        check_drained(server, client, taken)


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_a_client_that_sends_on_during_the_drain_loses_no_reply(mode: str, folder: Path) -> None:
    with (
        program(*serve_arguments(mode, folder)) as server,
        connect_with_buffer(server.url, 8192) as client,
    ):
        taken = put_in_flight(client, PATTERN[: 1 << 17])
        send_and_see_it_taken(server, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(0.3)  # what it leaves to the kernel must be safe there
        with contextlib.suppress(OSError):
            client.sendall(PATTERN[1 << 17 : (1 << 17) + 100])
        check_drained(server, client, taken)


@pytest.mark.parametrize("mode", [name for name in STREAM_NAMES if name.startswith("forking")])
def test_ctrl_c_at_the_whole_process_group_drains_too(mode: str, folder: Path) -> None:
    # A terminal sends SIGINT to the children as well.
    arguments = serve_arguments(mode, folder)
    with (
        program(*arguments, start_new_session=True) as server,
        connect_to(server.url) as client,
    ):
        taken = put_in_flight(client)
        os.killpg(server.pid, signal.SIGINT)
        check_drained(server, client, taken)


def check_drained(server: Program, client: socket.socket, taken: int) -> None:
    echoed = read_slowly(client)
    code, log = server.ended()
    assert len(echoed) >= taken
    assert echoed == PATTERN[: len(echoed)]
    assert code == 0
    assert log == "drained 1 connection, aborted 0\n"


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_clients_that_wait_to_be_accepted_are_served_too(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder)) as server, contextlib.ExitStack() as stack:
        server.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: state_of(server.pid) == "T", "the server stands still")
        clients = [stack.enter_context(connect_to(server.url)) for _ in range(5)]
        for client in clients:
            client.sendall(b"hello")
        server.process.terminate()
        server.process.send_signal(signal.SIGCONT)
        assert [receive_all(client) for client in clients] == [b"hello"] * 5
        assert server.ended() == (0, "drained 5 connections, aborted 0\n")


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_a_client_that_says_nothing_is_not_waited_for(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder)) as server, connect_to(server.url) as client:
        echo(client)
        began = time.monotonic()
        assert server.stop() == (0, "drained 1 connection, aborted 0\n")
        assert time.monotonic() - began < 2
        assert client.recv(1) == b""


@pytest.mark.parametrize("mode", NAMES)
def test_a_peer_that_never_reads_is_cut_at_the_drain_limit(mode: str, folder: Path) -> None:
    arguments = [*serve_arguments(mode, folder), "--drain-timeout", "0.2"]
    with program(*arguments) as server, connect_to(server.url) as client:
        if mode in STREAM_NAMES:
            client.sendall(PATTERN[:1])
            assert select.select([client], [], [], PATIENCE)[0]  # somebody is there who answers
        sent = send_without_reading(client, PATTERN * 16 if client.type == 1 else PATTERN[:4096])
        assert sent
        began = time.monotonic()
        code, log = server.stop()
        took = time.monotonic() - began
    assert code == 0
    assert took < 3
    if mode in STREAM_NAMES:
        assert took > 0.15
        assert log == "drained 0 connections, aborted 1\n"
    else:
        assert re.fullmatch(r"drained \d+ connections?, aborted 0\n", log)


# --- two --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_a_second_signal_aborts_at_once(mode: str, folder: Path) -> None:
    arguments = [*serve_arguments(mode, folder), "--drain-timeout", "50"]
    with program(*arguments) as server, connect_to(server.url) as client:
        echo(client)  # it has been accepted
        send_without_reading(client, PATTERN * 16)
        began = time.monotonic()
        send_and_see_it_taken(server, signal.SIGTERM)
        assert server.process.poll() is None
        code, log = server.stop()
        assert time.monotonic() - began < 5
    assert (code, log) == (0, "drained 0 connections, aborted 1\n")


@pytest.mark.parametrize("mode", ONE_OF_EACH)
def test_signals_in_quick_succession_end_it_with_0(mode: str, folder: Path) -> None:
    pause = threading.Event()
    for distance in (0, 0.002, 0.008):
        with program(*serve_arguments(mode, folder)) as server:
            server.process.terminate()
            pause.wait(distance)  # the moment of the second is what is varied
            assert server.stop() == (0, "drained 0 connections, aborted 0\n")


# --- at the start -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "signum"), list(zip(NAMES, itertools.cycle(SIGNALS), strict=False))
)
def test_a_signal_right_behind_the_line_is_a_drain(
    mode: str, signum: signal.Signals, folder: Path
) -> None:
    with program(*serve_arguments(mode, folder)) as server:
        began = time.monotonic()
        assert server.stop(signum) == (0, "drained 0 connections, aborted 0\n")
        assert time.monotonic() - began < 2


def test_sigterm_at_any_moment_of_the_start_leaves_no_traceback_and_no_hang(folder: Path) -> None:
    # From the first instruction of the interpreter to the listening line.
    for tries in range(20):
        started = Program("--port", "0")
        try:
            assert started.process.stdout is not None
            select.select([started.process.stdout], [], [], tries * 0.008)
            code, log = started.stop()
        finally:
            started.process.kill()
            started.process.communicate()
        # Before it has its handlers the signal ends it as it ends any program.
        assert (code, log) in ((-signal.SIGTERM, ""), (0, "drained 0 connections, aborted 0\n"))


def signalled_while_starting(mode: str, tries: int, folder: Path) -> list[list[object]]:
    script = Path(__file__).with_name("signalled_at_start.py")
    done = subprocess.run(
        [sys.executable, str(script), mode, str(tries), str(folder)],
        capture_output=True,
        check=True,
        timeout=55,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stderr == b""
    outcomes = json.loads(done.stdout)
    assert len(outcomes) == tries
    return outcomes


@pytest.mark.stress
@pytest.mark.parametrize("mode", STRESSED_NAMES)
def test_sigterm_while_the_server_is_made(mode: str, folder: Path) -> None:
    # In twelve modes at least, which makes 120 tries; one costs no more than a fork.
    for delay, code, log in signalled_while_starting(mode, 10, folder):
        ended_well = code == 0 and log == "drained 0 connections, aborted 0\n"
        assert ended_well or (code == -signal.SIGTERM and log == ""), (delay, code, log)


CTRL_C_IN_A_FORK = """\
import os, signal, sys
import echoservers
os.register_at_fork(after_in_parent=lambda: signal.raise_signal(signal.SIGINT))
with echoservers.create_server(sys.argv[1], ("127.0.0.1", 0)) as server:
    print(server.server_address[1], flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.parametrize("mode", [n for n in NAMES if n in ("forking-tcp", "forking-udp")])
def test_ctrl_c_is_not_lost_while_a_process_is_forked(mode: str) -> None:
    command = [sys.executable, "-c", CTRL_C_IN_A_FORK, mode]
    kind = socket.SOCK_STREAM if mode.endswith("tcp") else socket.SOCK_DGRAM
    with (
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process,
        socket.socket(socket.AF_INET, kind) as client,
    ):
        assert process.stdout is not None
        client.connect(("127.0.0.1", int(process.stdout.readline())))
        client.send(b"hello")
        try:
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
        assert process.stdout.read() == "interrupted\n"
