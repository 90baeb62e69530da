"""Faults around forked children: how they end, who reaps them, and what they keep open."""

import errno
import mmap
import os
import signal
import socket
import socketserver
import threading
from pathlib import Path

import pytest

import echoservers
from echoservers import EchoHandler
from echoservers.lifeline import Lifeline
from support import (
    PATIENCE,
    ROOT,
    ControlledServer,
    children_of,
    connect,
    connect_to,
    echo,
    echo_once,
    free_address,
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


@pytest.mark.parametrize("place", ["class", "instance"])
@pytest.mark.parametrize(
    ("mode", "step"),
    [
        ("forking-tcp", "finish_request"),
        ("forking-tcp", "shutdown_request"),
        ("forking-tcp", "close_request"),
        ("forking-udp", "finish_request"),
        ("forking-udp", "send_datagram"),
    ],
)
def test_a_child_that_echoes_takes_a_step_that_somebody_has_replaced(
    mode: str, step: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By itself it takes a shorter way, for fewer pages of memory to copy.
    cls = type("Own", (echoservers.server_class(mode),), {})
    reading, writing = os.pipe()
    with cls(("127.0.0.1", 0), EchoHandler) as server:
        theirs = getattr(cls if place == "class" else server, step)

        def tell(*arguments: object) -> object:
            os.write(writing, b"%d\n" % os.getpid())
            return theirs(*arguments)

        monkeypatch.setattr(cls if place == "class" else server, step, tell, raising=False)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with connect(server) as client:
            echo(client)
            if server.is_stream:
                client.shutdown(socket.SHUT_WR)
                assert client.recv(1) == b""
        wait_until(lambda: not server.active_children, "the child is reaped", 5)
        server.shutdown()
        thread.join(PATIENCE)
        assert server.stats()["bytes_out"] == len(b"hello")
    told = os.read(reading, 1000).split()
    os.close(reading)
    os.close(writing)
    assert {int(pid) for pid in told} - {os.getpid()}


def test_over_a_server_of_somebody_else_a_child_echoes() -> None:
    class Theirs(echoservers.ForkingMixIn, socketserver.TCPServer):
        pass

    with Theirs(("127.0.0.1", 0), EchoHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with connect(server) as client:
            echo(client)
        server.shutdown()
        thread.join(PATIENCE)
        server.drain(PATIENCE)
        assert server.stats()["errors"] == 0


@pytest.mark.parametrize("where", ["server", "handler"])
def test_an_idle_client_sees_the_end_of_a_child_that_nobody_reaps(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"idle_timeout": 0.5}
    if where == "handler":
        options = {}
        monkeypatch.setattr(EchoHandler, "timeout", 0.5)
    with echoservers.create_server("forking-tcp", ("127.0.0.1", 0), **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with connect(server) as client:
            echo(client)
            server.shutdown()
            thread.join(PATIENCE)  # the parent has the connection, too, and is not looking
            assert client.recv(1) == b""


@pytest.mark.parametrize("mode", ["forking-tcp", "forking-unix-stream"])
@pytest.mark.parametrize("limit", [1, 3, 100_000])
def test_a_child_that_echoes_reads_no_more_at_once_than_a_message_may_have(
    mode: str, limit: int, folder: Path
) -> None:
    address = free_address(mode, folder)
    with echoservers.start_server(mode, address, max_message_size=limit) as server:
        with connect(server) as client:
            echo(client, bytes(range(256)))
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
        wait_until(lambda: server.stats()["closed"] == 1, "the child is reaped", 5)
        stats = server.stats()
    assert (stats["bytes_in"], stats["bytes_out"]) == (256, 256)
    assert stats["messages"] >= -(-256 // limit)


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


THINKER = """
import threading
from pathlib import Path
import echoservers

class Thinks(echoservers.EchoHandler):
    def respond(self, message):
        Path(message.decode()).touch()
        threading.Event().wait(60)
"""


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("mode", ["forking-udp", "forking-unix-datagram", "prefork-forking-udp"])
def test_a_child_that_thinks_does_not_keep_the_address_of_a_killed_parent(
    mode: str, times: int, folder: Path
) -> None:
    (folder / "thinker.py").write_text(THINKER)
    environment = {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
    arguments = [*serve_arguments(mode, folder), "--handler", "thinker:Thinks"]
    with program(*arguments, env=environment) as server, connect_to(server.url) as client:
        thoughts = [folder / f"thought {number}" for number in range(times)]
        for thought in thoughts:
            client.send(bytes(thought))
            wait_until(thought.exists, "a child thinks")
        forked = everybody_under(server.pid)
        assert len(forked) >= times
        server.process.kill()
        server.process.wait(PATIENCE)
        wait_until(lambda: not any(map(runs, forked)), "the children end")
        if "udp" in mode:
            arguments[arguments.index("--port") + 1] = str(server.address[1])
        with program(*arguments, env=environment) as successor:
            assert successor.address == server.address


def everybody_under(pid: int) -> list[int]:
    children = children_of(pid)
    return children + [other for child in children for other in everybody_under(child)]


def runs(pid: int) -> bool:
    return state_of(pid) not in ("", "Z")


class Waits(EchoHandler):
    descriptor: int

    def respond(self, message: bytes) -> bytes:
        return os.read(self.descriptor, 100)


@pytest.mark.parametrize("mode", ["forking-udp", "forking-unix-datagram"])
def test_a_child_outlives_the_thread_that_has_forked_it(mode: str, folder: Path) -> None:
    Waits.descriptor, release = os.pipe()
    with echoservers.create_server(mode, free_address(mode, folder), Waits) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with connect(server) as client:
            client.send(b"hello")
            wait_until(lambda: bool(server.active_children), "it is served")
            server.shutdown()
            thread.join(PATIENCE)
            drain = threading.Thread(target=server.drain)
            drain.start()  # it waits for the child
            os.write(release, b"an answer")
            assert client.recv(100) == b"an answer"
            drain.join(PATIENCE)
        assert server.stats()["errors"] == 0
    os.close(Waits.descriptor)
    os.close(release)


def test_a_child_that_is_forked_too_late_for_its_parent_ends_at_once() -> None:
    line = Lifeline()
    wait, go = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(go)
            os.read(wait, 1)
            os.close(line._write)
            line.end_with_parent()
        finally:
            os._exit(0)
    line.close()
    os.close(wait)
    os.close(go)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


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


@pytest.mark.parametrize("release", ["5.4.0-150-generic", "4.18.0-513.el8.x86_64", "unknown"])
def test_an_older_system_that_would_take_siblings_along_ends_no_child(
    release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*asked[:2], release, *asked[3:])))
    lifeline = Lifeline()
    try:
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.close(write)
            lifeline.end_with_parent()
            os.read(read, 1)
            os._exit(7)
        os.close(read)
    finally:
        lifeline.close()
    os.close(write)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
