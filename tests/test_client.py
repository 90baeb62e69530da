"""EchoClient over every transport: against servers of ours, and against peers that misbehave."""

import contextlib
import errno
import random
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import echoservers
from echoservers import EchoClient, EchoHandler, OptionError
from echoservers.framing import FRAMINGS
from peers import client_and_datagram_peer, client_and_peer
from support import PATIENCE

EVERY_BYTE = bytes(range(256))


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
STREAMS = ["tcp", pytest.param("tcp6", marks=needs_ipv6), "unix-stream"]
DATAGRAMS = ["udp", pytest.param("udp6", marks=needs_ipv6), "unix-datagram"]
FRAMED = ["lines", "length"]


def mode_and_address(where: str, folder: Path) -> tuple[str, Any]:
    if where.startswith("unix"):
        return f"threading-{where}", str(folder / "server.sock")
    return f"threading-{where[:3]}", ("::1" if where.endswith("6") else "127.0.0.1", 0)


@contextlib.contextmanager
def client_of(
    where: str,
    folder: Path,
    handler: Any = EchoHandler,
    framing: str = "raw",
    timeout: float | None = PATIENCE,
    **options: Any,
) -> Iterator[EchoClient]:
    """A client of a server of ours."""

    class Framed(handler):  # type: ignore[misc]
        framing_class = FRAMINGS[framing]

    mode, address = mode_and_address(where, folder)
    options.setdefault("drain_timeout", 1)
    with (
        echoservers.start_server(mode, address, Framed, **options) as server,
        EchoClient(server.endpoint(), framing=framing, timeout=timeout) as client,
    ):
        yield client


# --- what an echo is --------------------------------------------------------------------


@pytest.mark.parametrize("where", [*STREAMS, *DATAGRAMS])
def test_what_is_sent_comes_back(where: str, folder: Path) -> None:
    with client_of(where, folder) as client:
        for message in (b"hello", EVERY_BYTE, b"\0", b"\xc3\x28\xff", b"", b"a\r\n", b"x" * 60_000):
            assert client.echo(message) == message


@pytest.mark.parametrize("where", STREAMS)
@pytest.mark.parametrize("framing", FRAMED)
def test_framed_messages_come_back_one_by_one(where: str, framing: str, folder: Path) -> None:
    with client_of(where, folder, framing=framing) as client:
        for message in (b"hello", b"", EVERY_BYTE.replace(b"\n", b""), b"\0", b"x" * 60_000):
            assert client.echo(message) == message


@pytest.mark.parametrize("framing", FRAMED)
def test_a_framed_reply_may_be_shorter_or_longer_than_the_message(
    framing: str, folder: Path
) -> None:
    class Twice(EchoHandler):
        def respond(self, message: bytes) -> bytes:
            return message * 2 if message != b"nothing" else b""

    with client_of("tcp", folder, Twice, framing) as client:
        assert [client.echo(message) for message in (b"a", b"nothing", b"b")] == [b"aa", b"", b"bb"]


@pytest.mark.parametrize("message", [b"\n", b"a\nb", b"a\n", b"a\r"])
def test_a_message_that_is_no_line_is_refused_where_lines_are_messages(
    message: bytes, folder: Path
) -> None:
    with client_of("tcp", folder, framing="lines") as client:
        with pytest.raises(ValueError, match="end of a line"):
            client.echo(message)
        assert client.echo(b"a\rb") == b"a\rb"


@pytest.mark.parametrize("where", STREAMS)
@pytest.mark.parametrize("framing", ["raw", "length"])
def test_16_mib_are_echoed_without_a_deadlock(where: str, framing: str, folder: Path) -> None:
    data = random.Random(1).randbytes(16 * 1024 * 1024)
    with client_of(where, folder, framing=framing, max_message_size=len(data)) as client:
        assert client.echo(data) == data
        assert client.echo(b"and on") == b"and on"


def test_one_thread_may_send_while_another_receives(folder: Path) -> None:
    data = random.Random(2).randbytes(4 * 1024 * 1024)
    received = bytearray()
    with client_of("tcp", folder) as client, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(client.send, data)
        while len(received) < len(data):
            received += client.receive()
        sending.result()
    assert received == data


@pytest.mark.parametrize("where", ["tcp", "udp"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_what_is_no_bytes_is_refused_and_harms_nothing(
    where: str, framing: str, folder: Path
) -> None:
    with client_of(where, folder, framing=framing) as client:
        for wrong in ("text", 7, None):
            with pytest.raises(TypeError):
                client.echo(wrong)  # type: ignore[arg-type]
        assert client.echo(b"hello") == b"hello"


# --- greetings, half-close, the end -----------------------------------------------------


class Greeting(EchoHandler):
    def greet(self) -> bytes:
        return b"welcome"


@pytest.mark.parametrize("where", STREAMS)
@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_greeting_is_received_before_the_first_echo(
    where: str, framing: str, folder: Path
) -> None:
    with client_of(where, folder, Greeting, framing) as client:
        assert client.receive() == b"welcome"
        assert client.echo(b"hello") == b"hello"


@pytest.mark.parametrize("where", STREAMS)
def test_behind_a_half_close_the_replies_still_come(where: str, folder: Path) -> None:
    with client_of(where, folder) as client:
        client.send(b"hello, ")
        client.send(b"world")
        client.end()
        received = bytearray()
        while data := client.receive(3):
            assert len(data) <= 3
            received += data
        assert received == b"hello, world"
        assert client.receive() == b""


@pytest.mark.parametrize("framing", FRAMED)
def test_framed_replies_come_behind_a_half_close_and_then_the_end(
    framing: str, folder: Path
) -> None:
    with client_of("tcp", folder, framing=framing) as client:
        client.send(b"one")
        client.send(b"two")
        client.end()
        assert [client.receive() for _ in range(4)] == [b"one", b"two", b"", b""]


def test_a_last_line_without_an_end_is_received() -> None:
    with client_and_peer("lines") as (client, peer):
        peer.sendall(b"first\r\nlast")
        peer.shutdown(socket.SHUT_WR)
        assert [client.receive() for _ in range(3)] == [b"first", b"last", b""]


@pytest.mark.parametrize("where", DATAGRAMS)
def test_a_half_close_of_datagrams_changes_nothing(where: str, folder: Path) -> None:
    with client_of(where, folder) as client:
        client.end()
        assert client.echo(b"hello") == b"hello"


def test_a_server_that_closes_early_is_an_error_that_says_how_much_came() -> None:
    with client_and_peer() as (client, peer):
        peer.sendall(b"hel")
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionError, match="after 3 of 5 bytes"):
            client.echo(b"hello")


@pytest.mark.parametrize(
    ("framing", "sent", "what"),
    [
        ("lines", b"", "without a reply"),
        ("length", b"", "without a reply"),
        ("length", b"\0\0", "inside a message, after 2 bytes"),
        ("length", b"\0\0\0\5hell", "inside a message, after 8 bytes"),
    ],
)
def test_a_server_that_closes_inside_a_framed_reply_is_an_error(
    framing: str, sent: bytes, what: str
) -> None:
    with client_and_peer(framing) as (client, peer):
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionError, match=what):
            client.echo(b"hello")


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("size", [5, 16 * 1024 * 1024])
def test_a_server_that_resets_is_an_error(framing: str, size: int) -> None:
    with client_and_peer(framing, PATIENCE) as (client, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        with pytest.raises(ConnectionError):
            client.echo(b"x" * size)


@pytest.mark.parametrize("where", [*STREAMS, *DATAGRAMS])
def test_a_client_closes_at_the_end_of_its_block_and_twice_is_harmless(
    where: str, folder: Path
) -> None:
    with client_of(where, folder) as client:
        assert client.fileno() >= 0
        client.close()
        assert client.fileno() == -1
        client.close()
        with pytest.raises(OSError, match="descriptor") as caught:
            client.echo(b"hello")
        assert caught.value.errno == errno.EBADF


# --- who is not there -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "error"),
    [
        ("unix:///{folder}/nobody", FileNotFoundError),
        ("unix-datagram:///{folder}/nobody", FileNotFoundError),
        ("tcp://[::1%no-such-link]:80", socket.gaierror),
        ("udp://[::1%no-such-link]:80", socket.gaierror),
    ],
)
def test_a_server_that_is_not_there_is_the_error_of_the_system(
    endpoint: str, error: type[OSError], folder: Path
) -> None:
    with pytest.raises(error):
        EchoClient(endpoint.replace("/{folder}", str(folder)))


def test_a_port_that_nobody_listens_at_refuses() -> None:
    # Bound, so that nobody else gets it meanwhile; but not listening.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            EchoClient(f"tcp://127.0.0.1:{taken.getsockname()[1]}")
    with client_and_datagram_peer(timeout=PATIENCE) as (client, peer):
        peer.close()
        with pytest.raises(ConnectionRefusedError):
            client.echo(b"hello")


def test_the_other_kind_of_unix_socket_is_the_error_of_the_system(folder: Path) -> None:
    path = str(folder / "server.sock")
    with echoservers.start_server("unix-datagram", path), pytest.raises(OSError) as caught:  # noqa: PT011
        EchoClient(f"unix://{path}")
    assert caught.value.errno == errno.EPROTOTYPE


def test_a_datagram_that_is_too_large_is_the_error_of_the_system(folder: Path) -> None:
    with client_of("udp", folder) as client:
        with pytest.raises(OSError, match="too long"):
            client.echo(b"x" * 65_508)
        assert client.echo(b"hello") == b"hello"


@pytest.mark.parametrize("framing", ["", "RAW", "line", None, 7])
def test_a_framing_that_there_is_not_is_refused_with_those_that_there_are(framing: Any) -> None:
    with pytest.raises(OptionError, match=r"expected raw, lines, length"):
        EchoClient("tcp://127.0.0.1:1", framing=framing)


@needs_ipv6
@pytest.mark.parametrize("mode", ["tcp", "udp"])
def test_a_name_with_addresses_of_both_kinds_reaches_the_server(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo

    def both(host: Any, *args: Any, **options: Any) -> list[Any]:
        if host != "localhost":
            return look_up(host, *args, **options)
        return look_up("::1", *args, **options) + look_up("127.0.0.1", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with echoservers.start_server(mode, ("localhost", 0)) as server:
        port = server.server_address[1]
        with EchoClient(f"{mode}://localhost:{port}") as client:
            assert client.echo(b"hello") == b"hello"
