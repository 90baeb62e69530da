"""The lock on the folder of a Unix socket: held for a moment, and waited for with an end."""

import contextlib
import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from echoservers import EchoHandler, UnixStreamServer, create_server, socket_files
from support import (
    Program,
    connect_to,
    echo_once,
    receive_all,
    serving,
    wait_until,
)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """As by ``flock FOLDER sleep infinity``, of any user who may read the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("mode", ["unix-stream", "unix-datagram"])
def test_a_folder_that_stays_locked_is_an_error(
    mode: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_files, "LOCK_TIME", 0.05)
    with locked(folder), pytest.raises(OSError, match="keeps its folder locked") as caught:
        create_server(mode, str(folder / "server.sock"))
    assert caught.value.filename == str(folder / "server.sock")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("mode", ["unix-stream", "unix-datagram"])
def test_a_folder_that_is_locked_for_a_moment_is_waited_for(mode: str, folder: Path) -> None:
    with locked(folder) as descriptor:
        moment = threading.Timer(0.05, fcntl.flock, (descriptor, fcntl.LOCK_UN))
        moment.start()
        with serving(mode, folder) as server:
            echo_once(server)
        moment.join()


def test_a_program_that_waits_for_a_locked_folder_ends(folder: Path) -> None:
    path = folder / "server.sock"
    with locked(folder):
        waiting = Program("--mode", "unix-stream", "--path", str(path))
        opened = Path(f"/proc/{waiting.pid}/fd")

        def waits() -> bool:
            with contextlib.suppress(FileNotFoundError):  # closed while we look
                return any(link.readlink() == folder for link in opened.iterdir())
            return False

        try:
            wait_until(waits, "it waits")
            code, log = waiting.stop()
        finally:
            waiting.process.kill()
            waiting.process.wait()
    assert code == 1
    assert log == (
        f"echoservers: error: cannot listen on {path}: another program keeps its folder"
        " locked; choose another\n"
    )


def test_servers_that_are_bound_and_not_yet_activated_get_on(folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        for name in ("first", "second"):
            server = UnixStreamServer(str(folder / name), EchoHandler, bind_and_activate=False)
            stack.enter_context(server).server_bind()
        with pytest.raises(OSError, match="a server is using it already"):
            create_server("unix-stream", str(folder / "first"))
        server.server_activate()
        with connect_to(server.endpoint()) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            server.handle_request()
            assert receive_all(client) == b"hello"
