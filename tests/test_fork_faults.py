"""Faults around forked children: how they end, who reaps them, and what they keep open."""

import errno
import mmap
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

import echoservers
from support import (
    PATIENCE,
    ControlledServer,
    children_of,
    connect,
    echo,
    echo_once,
    program,
    receive_all,
    serve_arguments,
    state_of,
    wait_until,
    zombies_of,
)


def test_children_that_cannot_be_watched_are_reaped_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pidfd_open(_pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    with echoservers.create_server("forking-tcp", ("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        for _ in range(5):
            with connect(server) as client:
                echo(client)
                client.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not server.active_children, "the children are reaped", 5)
        server.shutdown()
        thread.join(PATIENCE)


@pytest.mark.parametrize("mode", ["forking-tcp", "forking-udp"])
def test_without_memory_for_a_childs_numbers_that_request_is_refused(
    mode: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_memory(*_: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    with echoservers.start_server(mode, ("127.0.0.1", 0)) as server:
        with monkeypatch.context() as patched:
            patched.setattr(mmap, "mmap", no_memory)
            with connect(server) as client:
                client.sendall(b"nobody will answer")
                wait_until(lambda: server.stats()["refused"] == {"no_worker": 1}, "refused")
        with connect(server) as client:
            echo(client)
            if server.is_stream:
                client.shutdown(socket.SHUT_RDWR)
        assert server.stats()["errors"] == 0
    assert [r.getMessage().partition(": ")[2] for r in caplog.records] == [
        "no process can be started: Cannot allocate memory"
    ]


def test_the_exit_status_of_the_programs_own_children_is_not_taken() -> None:
    with echoservers.create_server("forking-tcp", ("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        own = [os.fork() for _ in range(1)]
        if own[0] == 0:
            os._exit(72)
        for _ in range(5):
            with connect(server) as client:
                echo(client)
                client.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not server.active_children, "the server's children are reaped")
        assert os.waitstatus_to_exitcode(os.waitpid(own[0], 0)[1]) == 72
        server.shutdown()
        thread.join(PATIENCE)


@pytest.mark.parametrize("mode", ["forking-tcp", "forking-udp"])
def test_the_port_is_free_again_after_the_parent_was_killed(mode: str, folder: Path) -> None:
    with program(*serve_arguments(mode, folder)) as server:
        kind = socket.SOCK_STREAM if mode == "forking-tcp" else socket.SOCK_DGRAM
        client = socket.socket(socket.AF_INET, kind)
        client.settimeout(PATIENCE)
        client.connect(server.address)
        echo(client)  # with TCP there is a child now, and it goes on
        children = children_of(server.pid)
        server.process.kill()
        server.process.wait(PATIENCE)
        port = str(server.address[1])
        with program("--mode", mode, "--port", port) as successor:
            assert successor.address == server.address
        client.close()
        wait_until(lambda: not any(map(state_of, children)), "the orphans end", 5)


def test_a_child_that_is_killed_is_reaped_and_counted(folder: Path) -> None:
    with ControlledServer("forking-tcp", ("127.0.0.1", 0), None, {}) as server:
        with connect(server) as client:
            echo(client)
            os.kill(children_of(server.pid)[0], signal.SIGKILL)
            assert receive_all(client) == b""
        wait_until(lambda: server.stats()["active"] == 0, "it is reaped")
        assert server.stats()["errors"] == 1
        assert zombies_of(server.pid) == []
        echo_once(server)


def test_children_do_not_keep_the_listener(folder: Path) -> None:
    with program(*serve_arguments("forking-tcp", folder)) as server, server.connect() as client:
        echo(client)
        child = children_of(server.pid)[0]
        inodes = {os.readlink(f"/proc/{child}/fd/{n}") for n in os.listdir(f"/proc/{child}/fd")}
        listening = [
            line.split()
            for line in Path(f"/proc/{child}/net/tcp").read_text().splitlines()
            if line.split()[3] == "0A" and line.split()[1].endswith(f":{server.address[1]:04X}")
        ]
        assert listening, "the parent listens"
        assert f"socket:[{listening[0][9]}]" not in inodes
