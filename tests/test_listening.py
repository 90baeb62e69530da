"""Whether somebody listens, which port is free, and what a target may be."""

import errno
import socket
import struct
import sys
from pathlib import Path

import pytest

from echoservers import mode
from echoservers.errors import OptionError
from echoservers.handlers import EchoHandler
from echoservers.models.forks import ForkingTCPServer
from echoservers.targets import Target, listening
from echoservers.targets.listening import has_socket, is_listening, reserve_port


def test_a_listening_socket_is_seen_without_a_connection(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        assert is_listening("tcp", address)
        assert is_listening("tls", address)
        assert not is_listening("udp", address)
    assert not is_listening("tcp", address)
    path = str(folder / "s")
    with socket.socket(socket.AF_UNIX) as sock:
        assert not is_listening("unix-stream", path)
        sock.bind(path)
        assert not is_listening("unix-stream", path)
        assert is_listening("unix-datagram", path)  # who is bound takes datagrams
        sock.listen()
        assert is_listening("unix-stream", path)


@pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")
def test_a_listing_that_fails_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(socket.socket):
        def recv(self, *_: int) -> bytes:
            return struct.pack("=IHHIIi", 20, listening.NLMSG_DONE, 2, 0, 0, -errno.ENOENT)

    monkeypatch.setattr(listening.socket, "socket", Failing)
    with pytest.raises(FileNotFoundError):
        listening._has_listener(socket.AF_INET, 7)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_where_the_system_cannot_be_asked_its_list_is_read(
    family: socket.AddressFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "NETLINK_SOCK_DIAG", 31)  # there is none with this number
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match="not supported"):
            listening._has_listener(family, port)
        assert is_listening("tcp", (host, port))
    assert not is_listening("tcp", (host, port))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_who_is_connected_does_not_listen(family: socket.AddressFamily) -> None:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as listener:
        with socket.create_connection(listener.getsockname()[:2]) as client:
            assert not is_listening("tcp", (host, client.getsockname()[1]))
        assert is_listening("tcp", (host, listener.getsockname()[1]))


def test_a_family_that_there_is_not_is_an_error() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        listening._has_listener(99, 7)


def test_of_raw_sockets_and_other_systems_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert is_listening("raw", ("127.0.0.1", 0)) is None

    def missing(*_: object, **__: object) -> object:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(listening, "_has_listener", missing)
    monkeypatch.setattr(listening, "open", missing, raising=False)
    assert has_socket("tcp", 7) is None
    assert is_listening("tcp", ("127.0.0.1", 7)) is None
    assert is_listening("unix-stream", "/x") is None


def test_a_port_that_somebody_has_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        monkeypatch.setattr(listening, "PORTS", range(taken, taken + 100))
        for _ in range(5):
            port, mark = reserve_port("127.0.0.1", "tcp")
            mark.close()
            assert port != taken
        monkeypatch.setattr(listening.random, "sample", lambda *_: [taken] * 100)
        with pytest.raises(OSError, match=r"no free port at 127\.0\.0\.1 between"):
            reserve_port("127.0.0.1", "tcp")


@pytest.mark.skipif(sys.platform != "linux", reason="there are no abstract addresses")
def test_a_port_is_given_to_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    port, mark = reserve_port("127.0.0.1", "tcp")
    monkeypatch.setattr(listening.random, "sample", lambda *_: [port])
    with mark, pytest.raises(OSError, match="no free port"):
        reserve_port("127.0.0.1", "udp")
    again, mark = reserve_port("127.0.0.1", "udp")
    mark.close()
    assert again == port


def test_a_command_that_cannot_be_read_is_one() -> None:
    with pytest.raises(OptionError, match=r"the command './server \"{port}' cannot be read: "):
        Target.of_command('./server "{port}')


def test_a_module_that_is_ruled_out_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert not mode.is_installed("uvloop")
    assert mode.is_installed("socket")


def test_children_are_collected_by_hand() -> None:
    """As programs do that call ``collect_children()`` of the standard library's mix-in."""
    with ForkingTCPServer(("127.0.0.1", 0), EchoHandler) as server:
        server.collect_children(blocking=True)
        server.handle_timeout()
        assert server.active_children == {}
