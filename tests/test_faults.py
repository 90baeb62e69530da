"""Faults of the system and of peers: after each a fresh client is echoed within a second."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import echoservers
from echoservers import EchoHandler
from echoservers.admission import ACCEPT_BATCH
from support import (
    CONCURRENT_STREAM_NAMES,
    PATIENCE,
    STREAM_NAMES,
    STRESSED_STREAM_NAMES,
    TCP_NAMES,
    UDP_NAMES,
    Program,
    children_of,
    connect,
    cpu_seconds_of,
    descriptors_of,
    echo,
    echo_once,
    has_pool,
    idle_threads,
    program,
    receive_all,
    serve_arguments,
    serving,
    threads_of,
    wait_until,
)

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def strace(*injections: str) -> tuple[str, ...]:
    """The command that makes system calls of a program fail."""
    calls = ",".join(i.partition(":")[0] for i in injections)
    options = [f"--inject={injection}" for injection in injections]
    return ("strace", "-qq", "-f", "-o", "/dev/null", "-e", f"trace={calls}", *options)


def limited_to(descriptors: int) -> dict[str, Any]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    return {"preexec_fn": limit}


def echo_within(server: Program, seconds: float) -> None:
    with server.connect(timeout=seconds) as client:
        echo(client)


def in_some_modes(*errors: str) -> list[tuple[str, str]]:
    """The first error in every mode; the others, which take the same way, in some."""
    some = ("threading-tcp", "asyncio-tcp")
    pairs = [(mode, errors[0]) for mode in STREAM_NAMES]
    return pairs + [(mode, error) for mode in some for error in errors[1:]]


def workers_of(server: Program) -> list[int]:
    """The processes that stay, where the mode has such; in the order of `children_of`."""
    if " prefork" in f" {server.line}":
        wait_until(lambda: len(children_of(server.pid)) == 2, "its workers are there")
        return children_of(server.pid)
    return []


# --- accept fails -----------------------------------------------------------------------


@needs_strace
@pytest.mark.parametrize(("mode", "error"), in_some_modes("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"))
def test_accept_without_resources_is_retried_and_logged_once(
    mode: str, error: str, folder: Path
) -> None:
    inject = strace(f"accept4:error={error}:when=1..2")
    with program(*serve_arguments(mode, folder), wrapper=inject) as server:
        echo_within(server, PATIENCE)
        os.kill(children_of(server.pid)[0], signal.SIGTERM)  # strace is its parent
        code, log = server.ended()
    assert code == 0
    lines = 2 if mode.startswith("prefork") else 1  # of each worker, which fail one by one
    assert 1 <= log.count("cannot accept") <= lines


@needs_strace
@pytest.mark.parametrize(("mode", "error"), in_some_modes("ECONNABORTED", "EPROTO", "EINTR"))
def test_a_connection_that_ends_before_accept_costs_nobody_else(
    mode: str, error: str, folder: Path
) -> None:
    inject = strace(f"accept4:error={error}:when=1..5")
    with program(*serve_arguments(mode, folder), wrapper=inject) as server:
        echo_within(server, PATIENCE)
        os.kill(children_of(server.pid)[0], signal.SIGTERM)
        code, log = server.ended()
    assert code == 0
    assert "accept" not in log


def stays_idle(server: Program) -> bool:
    """Whether it does next to nothing for a while."""
    used = cpu_seconds_of(server.pid)
    began = time.monotonic()
    threading.Event().wait(0.4)
    spent = cpu_seconds_of(server.pid) - used
    return spent <= 0.05 * (time.monotonic() - began) + 0.02  # a clock tick each way


@pytest.mark.parametrize("mode", CONCURRENT_STREAM_NAMES)
def test_out_of_descriptors_the_server_waits_without_spinning(mode: str, folder: Path) -> None:
    forking = mode.startswith("forking")
    with program(*serve_arguments(mode, folder), **limited_to(24)) as server:
        began = time.monotonic()
        clients = [server.connect() for _ in range(40)]
        wait_until(lambda: descriptors_of(server.pid) == 24, "its descriptors are used up")
        assert stays_idle(server)
        for client in clients:
            client.close()
        echo_within(server, PATIENCE if forking else 1)  # behind a fork for each that waited
        if forking:
            wait_until(lambda: children_of(server.pid) == [], "its children are reaped")
        code, log = server.stop()
    assert code == 0
    assert 1 <= log.count("cannot accept") <= 1 + time.monotonic() - began  # one a second


@pytest.mark.parametrize("mode", ["tcp", "unix-stream"])
def test_one_at_a_time_it_waits_for_a_descriptor_without_spinning(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder)) as server:
        limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        few = descriptors_of(server.pid), limits[1]
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, few)
        began = time.monotonic()
        with server.connect() as client:
            client.sendall(b"hello")
            assert server.process.stderr is not None
            assert b"cannot accept" in server.process.stderr.readline()
            assert stays_idle(server)
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
            client.settimeout(1)
            assert client.recv(100) == b"hello"
        code, log = server.stop()
    assert code == 0
    assert log.count("cannot accept") <= time.monotonic() - began  # beside the first


def test_an_accept_that_fails_without_a_number_is_logged_in_its_own_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with echoservers.create_server("tcp", ("127.0.0.1", 0)) as server:
        for _ in range(ACCEPT_BATCH):  # then it is not about one connection
            server._accept_failed(ConnectionAbortedError("nobody hands anything over"))
    assert caplog.messages == [
        "cannot accept: nobody hands anything over; trying again every 0.1 s"
    ]


# --- no worker to be had ----------------------------------------------------------------


@needs_strace
@pytest.mark.parametrize(("mode", "call"), [("threading-tcp", "clone3"), ("forking-tcp", "clone")])
def test_without_a_worker_that_connection_is_closed_and_the_server_goes_on(
    mode: str, call: str, folder: Path
) -> None:
    inject = strace(f"{call}:error=EAGAIN:when=1..3")
    with program(*serve_arguments(mode, folder), wrapper=inject) as server:
        for _ in range(3):
            with server.connect() as refused:
                assert receive_all(refused) == b""
        echo_within(server, PATIENCE)
        os.kill(children_of(server.pid)[0], signal.SIGTERM)
        code, log = server.ended()
    assert code == 0
    assert "can be started" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("mode", ["threading-tcp", "threading-udp"])
def test_a_thread_that_cannot_start_is_counted_and_close_does_not_raise(
    mode: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(mode, folder) as server:
        with monkeypatch.context() as patched:

            def start(_thread: threading.Thread) -> None:
                raise RuntimeError("can't start new thread")

            patched.setattr(threading.Thread, "start", start)
            with connect(server) as client:
                client.sendall(b"nobody will answer")
            wait_until(lambda: server.stats()["refused"] == {"no_worker": 1}, "refused")
        echo_once(server)
        stats = server.stats()
    assert stats["accepted"] == stats["closed"] + stats["active"] + 1


# --- many connections -------------------------------------------------------------------


@pytest.mark.stress
@pytest.mark.timeout(300)  # 10 000 forks take ten seconds, where nobody else runs
@pytest.mark.parametrize("mode", STRESSED_STREAM_NAMES)
def test_thousands_of_connections_leave_nothing_behind(mode: str, folder: Path) -> None:
    idle = idle_threads(mode)
    cap = ["--max-children", "20"] if mode.startswith("forking") else []
    connections = 10_000 if mode in ("tcp", "threading-tcp", "forking-tcp") else 2_000
    with program(*serve_arguments(mode, folder), *cap) as server:
        workers = workers_of(server)
        echo_within(server, 1)
        wait_until(lambda: threads_of(server.pid) == idle, "the first is over")
        wait_until(lambda: children_of(server.pid) == workers, "the first is over")
        descriptors = descriptors_of(server.pid)
        most = 0
        for number in range(connections):
            with server.connect() as client:
                if number % 10 == 0:
                    client.sendall(b"x")
            if number % 100 == 0:
                most = max(most, len(children_of(server.pid)))
        echo_within(server, PATIENCE)  # it waits behind what is in the backlog
        wait_until(lambda: children_of(server.pid) == workers, "no child, no zombie is left", 1)
        wait_until(lambda: threads_of(server.pid) == idle, "no thread is left", 5)
        wait_until(lambda: descriptors_of(server.pid) <= descriptors, "descriptors are back", 5)
        assert most <= 20
        code, log = server.stop()
    assert code == 0
    assert log.startswith("drained ")
    assert log.count("\n") == 1


def test_the_thread_list_is_empty_after_the_connections(folder: Path) -> None:
    with serving("threading-tcp", folder) as server:
        for _ in range(300):
            echo_once(server)
        wait_until(lambda: not server._threads, "no thread is kept")
        assert server.stats()["active"] == 0


# --- forking ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode", ["forking-tcp", "threading-tcp", "thread-pool-tcp", "prethreading-tcp"]
)
def test_more_silent_clients_than_the_cap_never_block_the_loop(mode: str, folder: Path) -> None:
    arguments = serve_arguments(mode, folder)
    if has_pool(mode):
        arguments += ["--max-workers", "5"]
    with (
        program(*arguments, "--max-connections", "5") as server,
        contextlib.ExitStack() as open_clients,
    ):
        for _ in range(5):
            echo(open_clients.enter_context(server.connect()))
        for _ in range(10):
            open_clients.enter_context(server.connect())
        assert len(children_of(server.pid)) <= 5
        assert threads_of(server.pid) <= 6
        began = time.monotonic()
        assert server.stop()[0] == 0
        assert time.monotonic() - began < 5


# --- peers ------------------------------------------------------------------------------


class Whoami(EchoHandler):
    def respond(self, message: bytes) -> bytes:
        return repr(self.client_address).encode()[: len(message)]


@pytest.mark.parametrize("mode", TCP_NAMES)
def test_an_ipv4_client_of_a_dual_stack_socket_is_treated_as_ipv4(mode: str, folder: Path) -> None:
    with serving(mode, folder, Whoami, host="::", max_connections_per_source=1) as server:
        with socket.create_connection(("127.0.0.1", server.server_address[1]), PATIENCE) as client:
            own = repr(client.getsockname()).encode()
            client.sendall(own)
            assert client.recv(100) == own
        wait_until(lambda: server.stats()["active"] == 0, "it is over")


@pytest.mark.parametrize("mode", UDP_NAMES)
def test_an_ipv4_datagram_to_a_dual_stack_socket_is_answered_and_logged_as_ipv4(
    mode: str, folder: Path
) -> None:
    with program("--mode", mode, "--host", "::", "--port", "0", "--verbose") as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.connect(("127.0.0.1", server.address[1]))
            echo(client)
            own = f"127.0.0.1:{client.getsockname()[1]}"
        _, log = server.stop()
    assert f"[from {own}] hello" in log
    assert "::ffff:" not in log


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_hundreds_of_resets_are_neither_logged_nor_leaked(mode: str, folder: Path) -> None:
    idle = idle_threads(mode)
    with program(*serve_arguments(mode, folder)) as server:
        workers = workers_of(server)
        for _ in range(200):
            client = server.connect()
            client.sendall(b"x" * 1000)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        echo_within(server, PATIENCE)
        wait_until(lambda: threads_of(server.pid) == idle, "no thread is left")
        wait_until(lambda: children_of(server.pid) == workers, "no child is left")
        code, log = server.stop()
    assert code == 0
    assert log.startswith("drained ")
    assert log.count("\n") == 1
