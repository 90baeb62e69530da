"""Unix sockets: their files, and who may use them."""

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from echoservers import EchoHandler, EndpointError, HandlerNotSupported, create_server, start_server
from support import (
    UNIX_NAMES,
    connect_to,
    echo,
    echo_once,
    program,
    serving,
    wait_until,
)

KINDS = {"unix-stream": socket.SOCK_STREAM, "unix-datagram": socket.SOCK_DGRAM}


def kind_of(mode: str) -> socket.SocketKind:
    return KINDS["unix-datagram" if mode.endswith("datagram") else "unix-stream"]


def leave_stale_file(path: Path, kind: socket.SocketKind) -> None:
    """What a server leaves behind that was killed."""
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(str(path))
    assert path.is_socket()


def identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


# --- what is at the path already --------------------------------------------------------


@pytest.mark.parametrize("stale", KINDS)
@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_a_stale_file_is_replaced(mode: str, stale: str, folder: Path) -> None:
    path = folder / "server.sock"
    leave_stale_file(path, KINDS[stale])
    with serving(mode, folder) as server:
        echo_once(server)
    assert not path.exists()


def test_the_file_that_a_killed_server_left_is_replaced(folder: Path) -> None:
    path = folder / "server.sock"
    arguments = ["--mode", "unix-stream", "--path", str(path)]
    with program(*arguments) as killed:
        killed.process.kill()
        killed.process.wait()
    assert path.is_socket()
    with program(*arguments) as server, connect_to(server.url) as client:
        echo(client)


def refused(mode: str, path: Path) -> OSError:
    """The error of a server that is to be made at *path*; what is there must stay."""
    before = identity(path)
    with pytest.raises(OSError, match="choose another path") as caught:
        create_server(mode, str(path))
    assert identity(path) == before
    assert caught.value.filename == str(path)
    return caught.value


@pytest.mark.parametrize("live", KINDS)
@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_a_live_server_is_left_alone(mode: str, live: str, folder: Path) -> None:
    with serving(live, folder) as server:
        error = refused(mode, folder / "server.sock")
        assert error.errno == errno.EADDRINUSE
        echo_once(server)


@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_a_server_too_busy_to_accept_is_left_alone(mode: str, folder: Path) -> None:
    path = folder / "server.sock"
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(path))
        busy.listen(0)
        while True:  # until its backlog is full
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            if client.connect_ex(str(path)) == errno.EAGAIN:
                break
        assert refused(mode, path).errno == errno.EADDRINUSE


def make_file(path: Path) -> None:
    path.write_text("precious")


def make_folder(path: Path) -> None:
    path.mkdir()


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_link_to_file(path: Path) -> None:
    path.with_name("target").write_text("precious")
    path.symlink_to(path.with_name("target"))


def make_link_to_stale_socket(path: Path) -> None:
    leave_stale_file(path.with_name("target"), socket.SOCK_STREAM)
    path.symlink_to(path.with_name("target"))


def make_link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("target"))


@pytest.mark.parametrize(
    "make",
    [
        make_file,
        make_folder,
        make_fifo,
        make_link_to_file,
        make_link_to_stale_socket,
        make_link_to_nothing,
    ],
)
@pytest.mark.parametrize("mode", KINDS)
def test_what_is_no_socket_is_never_removed(mode: str, make: Any, folder: Path) -> None:
    path = folder / "server.sock"
    make(path)
    before = sorted((entry.name, identity(entry)) for entry in folder.iterdir())
    assert refused(mode, path).errno == errno.EEXIST
    assert sorted((entry.name, identity(entry)) for entry in folder.iterdir()) == before
    if path.is_file():
        assert path.read_text() == "precious"


# --- what is at the path in the end -----------------------------------------------------


@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_the_file_goes_with_the_server(mode: str, folder: Path) -> None:
    path = folder / "server.sock"
    server = create_server(mode, str(path))
    assert path.is_socket()
    server.server_close()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_a_file_that_has_replaced_ours_stays(mode: str, folder: Path) -> None:
    path = folder / "server.sock"
    with serving(mode, folder):
        path.rename(folder / "moved")  # so that the new one cannot get its inode number
        path.write_text("somebody's")
    assert path.read_text() == "somebody's"


@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_a_server_that_has_replaced_ours_keeps_its_file(mode: str, folder: Path) -> None:
    path = folder / "server.sock"
    first = create_server(mode, str(path))
    path.rename(folder / "moved")
    with serving(mode, folder) as second:
        first.server_close()
        echo_once(second)


@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_a_file_removed_by_somebody_else_is_no_fault(mode: str, folder: Path) -> None:
    with serving(mode, folder):
        (folder / "server.sock").unlink()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_a_folder_removed_by_somebody_else_is_no_fault(mode: str, folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    with serving(mode, inner):
        (inner / "server.sock").unlink()
        inner.rmdir()


@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_a_folder_replaced_by_a_file_is_no_fault(mode: str, folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    server = create_server(mode, str(inner / "server.sock"))
    inner.rename(folder / "moved")
    inner.write_text("no folder any more")
    server.server_close()


@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_a_relative_path_is_found_again_from_another_folder(
    mode: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    server = create_server(mode, "server.sock")
    assert (folder / "server.sock").is_socket()
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    (folder / "elsewhere" / "server.sock").write_text("another")
    server.server_close()
    assert not (folder / "server.sock").exists()
    assert (folder / "elsewhere" / "server.sock").exists()
    monkeypatch.chdir("/")


@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_a_forked_child_never_removes_the_file(mode: str, folder: Path) -> None:
    path = folder / "server.sock"
    with create_server(mode, str(path)) as server:
        child = os.fork()
        if child == 0:
            try:
                server.server_close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert path.is_socket()


@pytest.mark.parametrize("mode", [name for name in UNIX_NAMES if name.startswith("forking")])
def test_the_children_of_a_forking_server_leave_its_file(mode: str, folder: Path) -> None:
    with serving(mode, folder) as server:
        for _ in range(3):
            echo_once(server)
        wait_until(lambda: server.stats()["active"] == 0, "the children end")
        assert (folder / "server.sock").is_socket()
        echo_once(server)


class NoHandler(EchoHandler):  # for any mode
    async def greet(self) -> bytes:  # type: ignore[override]
        return b"hi"


@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_a_server_that_could_not_be_made_leaves_no_file(mode: str, folder: Path) -> None:
    with pytest.raises(HandlerNotSupported):
        create_server(mode, str(folder / "server.sock"), NoHandler)
    assert list(folder.iterdir()) == []


# --- paths and permissions --------------------------------------------------------------


@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_a_path_of_107_bytes_is_the_longest(mode: str, folder: Path) -> None:
    longest = folder / ("x" * (107 - len(str(folder)) - 1))
    with create_server(mode, str(longest)):
        assert longest.is_socket()
    with pytest.raises(EndpointError, match="at most 107 bytes, this one has 108"):
        create_server(mode, f"{longest}x")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("mode", UNIX_NAMES)
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_only_the_owner_may_connect_whatever_the_umask_is(
    mode: str, umask: int, folder: Path
) -> None:
    before = os.umask(umask)
    try:
        with create_server(mode, str(folder / "server.sock")):
            found = stat.S_IMODE((folder / "server.sock").stat().st_mode)
    finally:
        os.umask(before)
    assert oct(found) == "0o600"


@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_the_file_is_never_open_to_more_than_in_the_end(
    mode: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "server.sock"
    seen = []
    chmod = os.chmod

    def watching_chmod(*arguments: Any, **options: Any) -> None:
        seen.append(oct(stat.S_IMODE(path.stat().st_mode)))
        chmod(*arguments, **options)

    monkeypatch.setattr(os, "chmod", watching_chmod)
    before = os.umask(0)
    try:
        with create_server(mode, str(path)):
            seen.append(oct(stat.S_IMODE(path.stat().st_mode)))
    finally:
        os.umask(before)
    assert set(seen) == {"0o600"}


@pytest.mark.parametrize("mode", UNIX_NAMES)
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_mode_that_is_asked_for_is_given_whatever_the_umask_is(
    mode: str, umask: int, folder: Path
) -> None:
    path = folder / "server.sock"
    arguments = ["--mode", mode, "--path", str(path), "--socket-mode", "660"]
    with program(*arguments, umask=umask):
        assert oct(stat.S_IMODE(path.stat().st_mode)) == "0o660"
    with create_server(mode, str(folder / "other.sock"), socket_mode=0o640):
        assert oct(stat.S_IMODE((folder / "other.sock").stat().st_mode)) == "0o640"


@pytest.mark.parametrize("form", [str, os.fsencode])
@pytest.mark.parametrize("mode", UNIX_NAMES)
def test_an_abstract_address_needs_no_file(mode: str, form: Any, folder: Path) -> None:
    name = form(f"\0{folder.name}-{mode}")
    with create_server(mode, name) as server:
        assert server.endpoint().endswith(f"://@{folder.name}-{mode}")
        with socket.socket(socket.AF_UNIX, kind_of(mode)) as client:
            client.connect(name)
        with pytest.raises(OSError, match="in use"):
            create_server(mode, name)
    with create_server(mode, name):
        pass  # it was free again
    assert list(folder.iterdir()) == []


def test_a_server_at_an_abstract_address_echoes(folder: Path) -> None:
    with start_server("threading-unix-stream", f"\0{folder.name}") as server:
        echo_once(server)
        with connect_to(server.endpoint()) as client:
            echo(client)
