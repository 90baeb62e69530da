"""The end of preforked servers: nobody is left, whoever is killed or told to stop."""

import os
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from prefork_support import all_gone, line_of, script, workers
from support import (
    PATIENCE,
    children_of,
    connect,
    echo,
    receive_all,
    serving,
    wait_until,
)

# --- the end ----------------------------------------------------------------------------


def can_be_bound(kind: int, address: tuple[str, int]) -> bool:
    with socket.socket(socket.AF_INET, kind) as successor:
        if kind == socket.SOCK_STREAM:
            successor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            successor.bind(address)
            if kind == socket.SOCK_STREAM:
                successor.listen()
        except OSError:
            return False
        return True


@pytest.mark.parametrize(
    ("mode", "accept"),
    [
        ("prefork-tcp", "shared"),
        ("prefork-tcp", "mutex"),
        ("prefork-tcp", "handoff"),
        ("prefork-tcp", "reuseport"),
        ("prefork-threading-tcp", "shared"),
        ("prefork-forking-tcp", "shared"),
        ("prefork-udp", "shared"),
    ],
)
def test_the_port_is_free_again_within_3_seconds_when_the_master_is_killed(
    mode: str, accept: str, folder: Path
) -> None:
    kind = socket.SOCK_DGRAM if mode.endswith("udp") else socket.SOCK_STREAM
    with (
        workers(mode, folder, "--accept", accept) as (server, listed),
        socket.socket(socket.AF_INET, kind) as client,
    ):
        client.settimeout(PATIENCE)
        client.connect(server.address)
        echo(client)  # a stream now holds its worker inside a handler
        pids = listed()
        server.process.kill()
        server.process.wait(PATIENCE)
        wait_until(lambda: can_be_bound(kind, server.address), "the port is free", 3)
        wait_until(lambda: all_gone(pids), "no worker is left", 10)


BLOCKS = """
import threading
from echoservers import EchoHandler
class Blocks(EchoHandler):
    def respond(self, message):
        threading.Event().wait()
"""


@pytest.mark.parametrize("mode", ["prefork-tcp", "prefork-threading-tcp"])
def test_a_handler_that_blocks_for_ever_keeps_no_end_away(mode: str, folder: Path) -> None:
    (folder / "blocks.py").write_text(BLOCKS)
    options = ["--handler", "blocks:Blocks", "--drain-timeout", "0.2"]
    with workers(mode, folder, *options, cwd=folder) as (server, listed):
        pids = listed()
        with server.connect() as client:
            client.sendall(b"?")
            threading.Event().wait(0.1)
            began = time.monotonic()
            code, log = server.stop()
            assert time.monotonic() - began < 10
    assert (code, log) == (0, "drained 0 connections, aborted 1\n")
    assert all_gone(pids)
    with workers(mode, folder, *options, cwd=folder) as (server, listed):
        pids = listed()
        with server.connect() as client:
            client.sendall(b"?")
            threading.Event().wait(0.1)
            server.process.kill()
            wait_until(lambda: all_gone(pids), "no worker is left", 10)


KILLED_LATE = """
import signal, threading
from echoservers import EchoHandler, start_server
from echoservers.workers import team

team.KILL_TIME = 1.5  # as where the system has no time for it

class Blocks(EchoHandler):
    def respond(self, message):
        print("blocks", flush=True)
        threading.Event().wait()

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
with start_server("prefork-tcp", ("127.0.0.1", 0), Blocks, workers=2) as server:
    print(server.server_address[1], flush=True)
    signal.sigwait({signal.SIGUSR1})
    print(*server.drain(0.1), len(server._team), flush=True)
"""


def test_the_master_waits_for_those_that_it_kills() -> None:
    with script(KILLED_LATE) as process:
        address = ("127.0.0.1", int(line_of(process)))
        with socket.create_connection(address, PATIENCE) as client:
            client.sendall(b"?")
            assert line_of(process) == "blocks"
            process.send_signal(signal.SIGUSR1)
            assert line_of(process) == "0 1 0"
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_ctrl_c_at_the_terminal_reaches_all_and_ends_them_well(folder: Path) -> None:
    with workers("prefork-tcp", folder, start_new_session=True) as (server, listed):
        pids = listed()
        with server.connect() as client:
            echo(client)
            client.sendall(b"in flight")
            os.killpg(server.pid, signal.SIGINT)
            assert receive_all(client) == b"in flight"
        assert server.ended() == (0, "drained 1 connection, aborted 0\n")
        assert all_gone(pids)


def test_silent_clients_of_every_worker_do_not_delay_the_end(folder: Path) -> None:
    with workers("prefork-tcp", folder) as (server, _):
        clients = [server.connect() for _ in range(10)]
        began = time.monotonic()
        code, _log = server.stop()
        assert (code, time.monotonic() - began < 5) == (0, True)
        for client in clients:
            with suppress(OSError):
                receive_all(client)
            client.close()


OWN_CHILDREN = """
import os, signal, threading
from echoservers import start_server
with start_server("prefork-tcp", ("127.0.0.1", 0), workers=2) as server:
    own = os.fork()
    if own == 0:
        signal.pause()
        os._exit(1)
    workers = {w.pid for w in server._team.all.values()}
    print(*server.server_address, flush=True)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    while workers & {w.pid for w in server._team.all.values()}:
        threading.Event().wait(0.01)
    os.kill(own, signal.SIGUSR1)
print(os.waitstatus_to_exitcode(os.waitpid(own, 0)[1]), flush=True)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no other child", flush=True)
"""


def test_the_exit_status_of_the_programs_own_children_is_not_taken() -> None:
    with script(OWN_CHILDREN) as process:
        line_of(process)
        assert line_of(process) == str(-signal.SIGUSR1)
        assert line_of(process) == "no other child"
        assert process.wait(PATIENCE) == 0


def test_a_worker_has_nothing_of_its_siblings_nor_of_the_master(folder: Path) -> None:
    with workers("prefork-tcp", folder, number=4) as (_, listed):
        # Standard streams, the log's, wake-up pipe, listener, control, the master's descriptor,
        # the lock's file.
        for pid in listed():
            folder = Path(f"/proc/{pid}/fd")
            kinds = [os.readlink(file).partition(":")[0] for file in folder.iterdir()]
            assert kinds.count("socket") == 2
            assert kinds.count("anon_inode") == 1
            assert len(kinds) <= 3 + 1 + 2 + 1 + 1 + 1 + 1, kinds


def test_stats_count_what_a_killed_worker_has_served(folder: Path) -> None:
    with serving("prefork-threading-tcp", folder) as server:
        with connect(server) as client:
            for _ in range(10):
                echo(client)
            wait_until(lambda: server.stats()["bytes_out"] == 50, "all is counted")
            for pid in children_of(server.pid):
                os.kill(pid, signal.SIGKILL)
            assert receive_all(client) == b""
        wait_until(lambda: server.stats()["active"] == 0, "the master has seen it")
        stats = server.stats()
        assert (stats["accepted"], stats["closed"], stats["errors"]) == (1, 1, 1)
        assert (stats["messages"], stats["bytes_in"], stats["bytes_out"]) == (10, 50, 50)
