"""Endpoints as people type them, addresses as the socket module has them."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import echoservers
from echoservers import EchoClient, EchoServersError, EndpointError
from echoservers.addresses import (
    DEFAULT_PORT,
    Endpoint,
    check_unix_path,
    default_unix_path,
    endpoint_url,
    family_of,
    normalise,
    parse_endpoint,
    parse_port,
    peer_name,
)
from support import NAMES, UNIX_NAMES, serving

STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


@pytest.mark.parametrize(
    ("text", "transport", "address"),
    [
        ("tcp://127.0.0.1:8007", "tcp", ("127.0.0.1", 8007)),
        ("udp://127.0.0.1:8007", "udp", ("127.0.0.1", 8007)),
        ("tls://localhost:8007", "tls", ("localhost", 8007)),
        ("raw://127.0.0.1", "raw", ("127.0.0.1", 0)),
        ("raw://[::1]", "raw", ("::1", 0)),
        ("tcp://localhost:0", "tcp", ("localhost", 0)),
        ("tcp://[::1]:65535", "tcp", ("::1", 65535)),
        ("udp://[fe80::1%lo]:7", "udp", ("fe80::1%lo", 7)),
        ("tcp://127.0.0.1", "tcp", ("127.0.0.1", DEFAULT_PORT)),
        ("tcp://[::1]", "tcp", ("::1", DEFAULT_PORT)),
        ("tcp://bücher.example:80", "tcp", ("bücher.example", 80)),
        ("unix:///tmp/e.sock", "unix-stream", "/tmp/e.sock"),
        ("unix-stream:///tmp/e.sock", "unix-stream", "/tmp/e.sock"),
        ("unix-datagram:///tmp/e.sock", "unix-datagram", "/tmp/e.sock"),
        ("unix://e.sock", "unix-stream", "e.sock"),
        ("unix:///tmp/a b:c@[d]\n.sock", "unix-stream", "/tmp/a b:c@[d]\n.sock"),
        ("unix://@abstract", "unix-stream", "\0abstract"),
    ],
)
def test_an_endpoint_is_a_transport_and_an_address(
    text: str, transport: str, address: object
) -> None:
    assert parse_endpoint(text) == Endpoint(transport, address)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        *("", "tcp", "tcp:", "tcp:/", "127.0.0.1:8007", "//127.0.0.1:8007", "://h:1"),
        *("http://127.0.0.1:80", "TCP://127.0.0.1:80", " tcp://127.0.0.1:80", "sctp://h:1"),
        *("tcp://", "tcp://:8007", "tcp://[]:8007", "tcp://::1", "tcp://::1:8007"),
        *("tcp://[::1", "tcp://[127.0.0.1:80", "tcp://[[::1]]:80", "tcp://[::1]80"),
        *("tcp://a]:80", "tcp://a[:80", "tcp://[::1]]:80", "tcp://h:80:80"),
        *("tcp://h:", "tcp://[::1]:", "tcp://h:port", "tcp://h:-1", "tcp://h:65536"),
        *("tcp://h:80/", "tcp://h: 80", "tcp://h:8\n0", "tcp://h:٨٠", "tcp://h:²"),
        *("tcp://a..b:80", "tcp://.:80", "tcp://a\0b:80", "tcp://\udc80:80"),
        f"tcp://{'a' * 64}.example:80",
        pytest.param(f"udp://h:{'9' * 5000}", id="5000 digits"),
        *("unix://", "unix-datagram://", "unix:///tmp/a\0b", f"unix:///{'x' * 107}"),
    ],
)
def test_what_is_no_endpoint_is_refused_with_one_that_is(text: str) -> None:
    with pytest.raises(EndpointError) as caught:
        parse_endpoint(text)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, EchoServersError)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    with pytest.raises(EndpointError):
        EchoClient(text)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("localhost", r"tcp://HOST:PORT, udp://HOST:PORT, tls://HOST:PORT, raw://HOST, unix:///"),
        ("udp://::1:7", r"udp://\[::1\]:8007"),
        ("tcp://h:65536", r"'65536' is no port; expected a number from 0 to 65535"),
        ("unix://", r"needs a path, for example /"),
        (f"unix:///{'x' * 107}", r"at most 107 bytes, this one has 108"),
        ("tcp://a..b:80", r"'a\.\.b' cannot be the name or the address of a host"),
    ],
)
def test_a_refused_endpoint_says_what_is_expected(text: str, what: str) -> None:
    with pytest.raises(EndpointError, match=what):
        parse_endpoint(text)


@given(st.text() | st.text().map(lambda rest: "tcp://" + rest))
def test_any_text_is_an_endpoint_or_refused_as_one(text: str) -> None:
    try:
        transport, address = parse_endpoint(text)
    except EndpointError:
        return
    assert transport in ("tcp", "udp", "unix-stream", "unix-datagram")
    assert address


@pytest.mark.parametrize(("text", "port"), [("0", 0), ("7", 7), ("00080", 80), ("65535", 65535)])
def test_a_port_is_a_number_that_fits(text: str, port: int) -> None:
    assert parse_port(text) == port


@pytest.mark.parametrize("text", ["", "-1", "+1", "65536", "1.0", "1_0", "0x7", " 7", "7\n", "²"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(EndpointError, match="0 to 65535"):
        parse_port(text)


@pytest.mark.parametrize("path", ["x" * 107, "é" * 53, "\0" + "x" * 106, "a\nb", " "])
def test_a_path_that_the_kernel_takes_is_taken(path: str) -> None:
    assert check_unix_path(path) == path


@pytest.mark.parametrize("path", ["", "x" * 108, "é" * 54, "a\0", "\0a\0"])
def test_a_path_that_the_kernel_does_not_take_is_refused(path: str) -> None:
    with pytest.raises(EndpointError, match="path"):
        check_unix_path(path)


def test_the_longest_path_is_one_that_a_server_can_have(folder: Path) -> None:
    path = str(folder / "x").ljust(107, "x")
    with echoservers.start_server("unix-stream", path) as server:
        assert server.endpoint() == f"unix://{path}"
        with EchoClient(server.endpoint()) as client:
            assert client.echo(b"hello") == b"hello"


# --- addresses for people ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "normal", "name"),
    [
        (("127.0.0.1", 4242), ("127.0.0.1", 4242), "127.0.0.1:4242"),
        (("::1", 4242, 0, 0), ("::1", 4242, 0, 0), "[::1]:4242"),
        (("::ffff:10.0.0.1", 7, 0, 0), ("10.0.0.1", 7), "10.0.0.1:7"),
        (("::ffff:a00:1", 7, 0, 0), ("::ffff:a00:1", 7, 0, 0), "[::ffff:a00:1]:7"),
        (("fe80::1%lo", 7, 0, 1), ("fe80::1%lo", 7, 0, 1), "[fe80::1%lo]:7"),
        ("/tmp/peer.sock", "/tmp/peer.sock", "/tmp/peer.sock"),
        (b"\x00abc", b"\x00abc", "@abc"),
        ("", "", "a local client"),
        (None, None, "a local client"),
        (b"", b"", "a local client"),
    ],
)
def test_a_peer_has_a_name_that_people_know(address: object, normal: object, name: str) -> None:
    assert normalise(address) == normal
    assert peer_name(address) == name


@pytest.mark.parametrize(
    "path", ["/tmp/a\nb", "/tmp/\x1b[2J", "/tmp/\x9b", "/tmp/\u2028", "\udcff"]
)
def test_the_name_of_a_peer_is_one_line_that_harms_no_terminal(path: str) -> None:
    assert peer_name(path).isprintable()
    assert peer_name(os.fsencode(path)).isprintable()


@pytest.mark.parametrize(
    ("kind", "address", "url"),
    [
        (STREAM, ("127.0.0.1", 8007), "tcp://127.0.0.1:8007"),
        (DATAGRAM, ("127.0.0.1", 8007), "udp://127.0.0.1:8007"),
        (STREAM, ("::", 8007, 0, 0), "tcp://[::]:8007"),
        (STREAM, "/tmp/e.sock", "unix:///tmp/e.sock"),
        (DATAGRAM, "/tmp/e.sock", "unix-datagram:///tmp/e.sock"),
        (STREAM, "/tmp/a\nb.sock", "unix:///tmp/a\nb.sock"),
        (STREAM, b"\x00abc", "unix://@abc"),
    ],
)
def test_the_endpoint_of_a_socket(kind: int, address: object, url: str) -> None:
    assert endpoint_url(kind, address) == url


@pytest.mark.parametrize("mode", NAMES)
def test_a_client_reaches_the_endpoint_that_a_server_names(mode: str, folder: Path) -> None:
    with serving(mode, folder) as server:
        transport, address = parse_endpoint(server.endpoint())
        assert transport == next(m.transport for m in echoservers.modes() if m.name == mode)
        assert address == server.server_address
        with EchoClient(server.endpoint()) as client:
            assert client.echo(b"hello") == b"hello"


@pytest.mark.skipif(not os.path.exists("/proc/net/unix"), reason="only Linux has abstract sockets")
@pytest.mark.parametrize("mode", [n for n in UNIX_NAMES if not n.startswith("forking")])
def test_an_abstract_socket_is_reached_at_its_endpoint_and_leaves_no_file(
    mode: str, folder: Path
) -> None:
    name = "\0" + folder.name
    with echoservers.start_server(mode, name) as server:
        assert server.endpoint().endswith(f"://@{folder.name}")
        with EchoClient(server.endpoint()) as client:
            assert client.echo(b"hello") == b"hello"
    assert list(folder.iterdir()) == []


# --- defaults ---------------------------------------------------------------------------


def test_the_default_path_is_in_the_users_own_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    assert default_unix_path("unix-stream") == str(folder / "echoservers-unix-stream.sock")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "missing"))
    assert str(os.getuid()) in default_unix_path("unix-stream")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default_unix_path("unix-stream") != default_unix_path("unix-datagram")


@pytest.mark.parametrize(
    ("host", "family"),
    [
        ("", socket.AF_INET),
        ("127.0.0.1", socket.AF_INET),
        (b"127.0.0.1", socket.AF_INET),
        ("localhost", socket.AF_INET),
        ("::1", socket.AF_INET6),
        ("::", socket.AF_INET6),
        ("::ffff:127.0.0.1", socket.AF_INET6),
    ],
)
def test_the_family_fits_the_host(host: str | bytes, family: int) -> None:
    assert family_of(host, STREAM) == family


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "a\0b"])
@pytest.mark.parametrize("mode", ["tcp", "udp"])
def test_a_server_refuses_a_host_that_cannot_be(mode: str, host: str) -> None:
    with pytest.raises(EndpointError, match="cannot be the name"):
        echoservers.create_server(mode, (host, 0))


@pytest.mark.parametrize("mode", ["tcp", "udp"])
def test_a_host_that_nobody_knows_stays_the_error_of_the_system(mode: str) -> None:
    with pytest.raises(socket.gaierror):
        echoservers.create_server(mode, ("::1%no-such-link", 0))
