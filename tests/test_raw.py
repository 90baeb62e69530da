"""Raw IP: the header goes, the payload comes back, and no echo becomes a loop."""

import ctypes
import json
import os
import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import echoservers
from echoservers import EchoClient, EndpointError, OptionError, raw
from echoservers.raw import LONGEST_LIFE, connect_raw, strip_header
from echoservers.system import why_no_raw_sockets
from support import (
    AVAILABLE,
    PATIENCE,
    RAW_NAMES,
    connect,
    echo,
    echo_once,
    program,
    run_cli,
    serving,
    wait_until,
)

pytestmark = pytest.mark.skipif(not RAW_NAMES, reason=why_no_raw_sockets() or "")

MODES = RAW_NAMES or ["raw"]
PROTOCOL = 253
NOISY = 201


def own_address() -> str:
    """An address of this machine that no other test has just now."""
    return f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.2"


@pytest.fixture
def forger() -> Iterator[socket.socket]:
    """Sends datagrams with headers of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        yield sock


def forged(source: str, target: str, payload: bytes, options: bytes = b"") -> bytes:
    words = (20 + len(options)) // 4
    return (
        struct.pack("!BBHHHBBH", 0x40 | words, 0, 0, 0, 0, 255, PROTOCOL, 0)
        + socket.inet_aton(source)
        + socket.inet_aton(target)
        + options
        + payload
    )


@pytest.mark.parametrize("mode", MODES)
def test_every_payload_comes_back_as_it_went(mode: str, folder: Path) -> None:
    with serving(mode, folder) as server:
        with connect(server) as client:
            for message in (bytes(range(256)), b"", b"\0", b"x" * 8192, b"y" * 65515):
                client.send(message)
                assert client.recv(70_000) == message
        for _ in range(10):
            echo_once(server)
        wait_until(lambda: server.stats()["closed"] == 15, "all are over")
        stats = server.stats()
    assert stats["messages"] == 15
    assert stats["bytes_in"] == stats["bytes_out"]
    assert stats["errors"] == 0
    assert not any(stats["dropped"].values())


def test_the_client_speaks_it(folder: Path) -> None:
    with serving("raw", folder) as server:
        assert server.endpoint() == f"raw://{server.server_address[0]}"
        with EchoClient(server.endpoint(), timeout=PATIENCE) as client:
            assert not client.is_stream
            assert client.echo(b"hello") == b"hello"
            assert client.echo(b"") == b""


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A datagram for somebody else comes as soon as there is a socket."""
    make = raw._raw_socket
    with connect_raw(own_address(), NOISY) as sock:

        def made(*arguments: Any) -> Any:
            new = make(*arguments)
            sock.send(b"not for you")
            return new

        monkeypatch.setattr(raw, "_raw_socket", made)
        yield


@pytest.mark.usefixtures("noise")
def test_a_client_receives_nothing_from_before_it_was_connected(default_timeout: float) -> None:
    with connect_raw(own_address(), NOISY) as client:
        assert client.gettimeout() == default_timeout
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(100)


@pytest.mark.usefixtures("noise")
def test_a_server_answers_nothing_from_before_it_was_bound(default_timeout: float) -> None:
    with echoservers.create_server("raw", own_address(), protocol=NOISY) as server:
        assert server.socket.gettimeout() == default_timeout
        server.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.socket.recv(100)


def test_a_header_with_options_goes_as_a_whole(forger: socket.socket, folder: Path) -> None:
    longest = forged("1.2.3.4", "5.6.7.8", b"abc", options=b"\1" * 40)
    assert strip_header(longest, socket.AF_INET) == b"abc"

    with serving("raw", folder) as server, connect(server) as client:
        target = server.server_address[0]
        packet = forged(client.getsockname()[0], target, b"behind options", options=b"\1" * 8)
        forger.sendto(packet, (target, 0))
        assert client.recv(100) == b"behind options"


def test_it_is_bound_without_a_port() -> None:
    with echoservers.create_server("raw", own_address()) as server:
        assert server.server_address[1] == 0
    with pytest.raises(EndpointError, match="no ports"):
        echoservers.create_server("raw", ("127.0.0.1", 7))


def test_another_protocol_is_another_server(folder: Path) -> None:
    with (
        serving("raw", folder, protocol=254) as server,
        EchoClient(server.endpoint(), protocol=254, timeout=PATIENCE) as client,
        EchoClient(server.endpoint(), timeout=0.1) as other,
    ):
        assert client.echo(b"hello") == b"hello"
        with pytest.raises(TimeoutError, match="lost"):
            other.echo(b"hello")


@pytest.mark.parametrize(
    ("number", "told"), [(6, "TCP"), (17, "UDP"), (1, "ICMP"), (0, "1 to 255"), (256, "1 to 255")]
)
def test_protocols_that_are_others_are_refused(number: int, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        echoservers.create_server("raw", protocol=number)
    with pytest.raises(OptionError, match=told):
        EchoClient("raw://127.0.0.1", protocol=number)


# --- no loops ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_datagram_from_our_own_address_is_not_answered(
    mode: str, folder: Path, forger: socket.socket
) -> None:
    with serving(mode, folder) as server:
        own = server.server_address[0]
        forger.sendto(forged(own, own, b"loop"), (own, 0))
        wait_until(lambda: server.stats()["dropped"]["unsafe_source"] == 1, "it is dropped")
        echo_once(server)
        stats = server.stats()
    assert stats["messages"] == 1
    assert stats["dropped"]["unsafe_source"] == 1


@pytest.mark.parametrize("mode", MODES)
def test_two_servers_that_are_set_at_each_other_fall_silent(
    mode: str, folder: Path, forger: socket.socket
) -> None:
    with serving(mode, folder) as one, serving(mode, folder) as other:
        target = one.server_address[0]
        forger.sendto(forged(other.server_address[0], target, b"loop"), (target, 0))

        def dropped() -> Any:
            return sum(server.stats()["dropped"]["unsafe_source"] for server in (one, other))

        wait_until(lambda: dropped() == 1, "the last one is dropped")
        assert one.stats()["messages"] + other.stats()["messages"] == LONGEST_LIFE
        echo_once(one)


def test_on_every_address_this_machine_is_not_answered(folder: Path) -> None:
    with serving("raw", folder, host="0.0.0.0", protocol=200) as server:
        with connect_raw(own_address(), 200) as client:
            client.send(b"hello")
            wait_until(lambda: server.stats()["dropped"]["unsafe_source"] == 1, "it is dropped")
        assert server.stats()["messages"] == 0


def test_ipv6_answers_but_not_itself(folder: Path) -> None:
    with (
        serving("raw", folder, host="::1", protocol=201) as server,
        socket.socket(socket.AF_INET6, socket.SOCK_RAW, 201) as client,
    ):
        assert server.endpoint() == "raw://[::1]"
        client.sendto(b"hello", ("::1", 0))
        wait_until(lambda: server.stats()["dropped"]["unsafe_source"] == 1, "it is dropped")
        with pytest.raises(EndpointError, match=r"try raw://127\.0\.0\.1"):
            EchoClient(server.endpoint(), protocol=201)


def test_too_long_is_dropped_and_counted(folder: Path) -> None:
    with serving("raw", folder, max_message_size=10) as server, connect(server) as client:
        client.send(b"x" * 11)
        echo(client, b"y" * 10)
        assert server.stats()["dropped"]["too_long"] == 1


# --- the command line -------------------------------------------------------------------


def test_the_command_line_serves_and_talks() -> None:
    host = own_address()
    with program("--mode", "threading-raw", "--host", host) as server:
        assert server.url == f"raw://{host}"
        done = run_cli("client", server.url, input=b"hello\nworld\n")
        assert (done.returncode, done.stdout) == (0, b"hello\nworld\n")
        done = run_cli("client", server.url, "--count", "2", "--interval", "0")
        assert b"2 sent, 2 received" in done.stdout
        code, log = server.stop()
    assert (code, log) == (0, "drained 0 connections, aborted 0\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--mode", "raw", "--port", "8007"], "no --port"),
        (["--mode", "raw", "--path", "/tmp/x"], "at a --host, not at a --path"),
        (["--mode", "raw", "--protocol", "6"], "6 is TCP; expected 253 or 254"),
        (["client", "raw://127.0.0.1:7"], "a host and no port, for example raw://127.0.0.1"),
        (["client", "udp://127.0.0.1", "--protocol", "9"], "it is for raw://"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], told: str) -> None:
    done = run_cli(*arguments)
    assert done.returncode == 2
    assert told in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def without_the_privilege() -> None:
    """Take CAP_NET_RAW from the program that this child will run (capabilities(7))."""
    drop_from_bounding_set, cap_net_raw = 24, 13
    assert ctypes.CDLL(None).prctl(drop_from_bounding_set, cap_net_raw, 0, 0, 0) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give the privilege up")
@pytest.mark.parametrize("arguments", [["--mode", "raw"], ["client", "raw://127.0.0.1"]])
def test_without_the_privilege_one_line_says_so(arguments: list[str]) -> None:
    done = run_cli(*arguments, preexec_fn=without_the_privilege)
    assert done.returncode == 1
    assert b"root or the capability CAP_NET_RAW" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give the privilege up")
def test_without_the_privilege_the_modes_are_listed_with_the_reason() -> None:
    done = run_cli("modes", "--json", preexec_fn=without_the_privilege)
    for mode in json.loads(done.stdout):
        assert mode["available"] == (mode["name"] in AVAILABLE and mode["transport"] != "raw")
