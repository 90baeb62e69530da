"""TLS where one thread serves all: awaited answers, certificates of clients, TLS that breaks."""

import asyncio
import contextlib
import socket
import ssl
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from echoservers import EchoHandler, LineFraming
from echoservers.activity import ActiveRequest
from echoservers.protocols import Buffer
from echoservers.tls_channel import TLSChannel
from echoservers.tls_contexts import server_context
from support import AVAILABLE, PATIENCE, connect_tls, echo, receive_all, serving, wait_until
from tls_peers import over

EVENT_LOOPS = [name for name in ("asyncio-tls", "uvloop-tls") if name in AVAILABLE]
LOOPS = [*EVENT_LOOPS, *(name for name in ("gevent-tls", "epoll-tls") if name in AVAILABLE)]


class Awaited(EchoHandler):
    framing_class = LineFraming

    async def respond(self, message: bytes) -> bytes:  # type: ignore[override]
        await asyncio.sleep(0)
        if message == b"quit":
            self.close_after_reply()
        return message


@pytest.mark.parametrize("mode", EVENT_LOOPS)
def test_awaited_answers_go_out_in_order_and_the_end_behind_them(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    lines = b"".join(b"line %d\n" % number for number in range(5000))
    with serving(mode, folder, Awaited, **own) as server:
        for end in (b"", b"quit\nnever\n"):
            with connect_tls(server.server_address) as client:
                client.suppress_ragged_eofs = False
                client.sendall(lines + end)
                if not end:
                    client.shutdown(socket.SHUT_WR)
                assert receive_all(client) == lines + end[:5]
        wait_until(lambda: over(server), "both are over")
        assert server.stats()["errors"] == 0


class Whose(EchoHandler):
    def greet(self) -> bytes:
        request: Any = self.request
        (_, name), *_ = request.getpeercert()["subjectAltName"]
        return f"{name} {request.version()} {request.cipher()[0]}\n".encode()


@pytest.mark.parametrize("mode", LOOPS)
def test_a_handler_knows_the_client_by_its_certificate(
    mode: str, folder: Path, own: dict[str, str], files: dict[str, str]
) -> None:
    context = ssl.create_default_context(cafile=files["ca"])
    context.load_cert_chain(files["client"])
    with (
        serving(mode, folder, Whose, client_ca=files["ca"], **own) as server,
        connect_tls(server.server_address, context=context) as client,
    ):
        assert client.recv(1000).startswith(b"client@example.org TLSv1.3 TLS_")
        echo(client)


@pytest.mark.parametrize("mode", LOOPS)
def test_tls_that_breaks_ends_that_connection_only(
    mode: str, folder: Path, own: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(mode, folder, **own) as server, connect_tls(server.server_address) as other:
        with connect_tls(server.server_address) as client:
            echo(client)
            plain = socket.socket(fileno=client.detach())
            with plain:
                plain.settimeout(PATIENCE)
                plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))  # a record that nobody made
                assert plain.recv(1000)[:1] in (b"", b"\x15", b"\x17")  # tickets, then an alert
        wait_until(lambda: server.stats()["active"] == 1, "it is over")
        echo(other)
        assert server.stats()["errors"] == 0
    assert capfd.readouterr().err == ""


class Unready(EchoHandler):
    def setup(self) -> None:
        raise ValueError("on purpose")


@pytest.mark.parametrize("mode", LOOPS)
def test_a_handler_that_cannot_be_set_up_ends_its_connection_only(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    with serving(mode, folder, Unready, **own) as server:
        for _ in range(2):
            with connect_tls(server.server_address) as client:
                assert receive_all(client) == b""
        wait_until(lambda: over(server), "both are over")
        stats = server.stats()
    assert stats["errors"] == stats["closed"] == 2
    assert stats["refused"] == {}


@pytest.mark.parametrize("mode", LOOPS)
def test_a_single_request_is_served_to_its_end(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    with serving(mode, folder, **own) as server:
        server.shutdown()
        answers: list[bytes] = []

        def talk() -> None:
            with connect_tls(server.server_address) as client:
                client.sendall(b"hello")
                client.shutdown(socket.SHUT_WR)
                answers.append(receive_all(client))

        thread = threading.Thread(target=talk)
        thread.start()
        server.handle_request()
        thread.join(PATIENCE)
        assert answers == [b"hello"]


class Wire:
    """A transport that takes what it is given to a client in memory."""

    def __init__(self, to_client: ssl.MemoryBIO) -> None:
        self.write = to_client.write

    def set_write_buffer_limits(self, high: int) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...
    def is_closing(self) -> bool:
        return False


class Listener:
    """A connection that notes what it is told."""

    full = False

    def __init__(self, buffer: Buffer) -> None:
        self.get_buffer = buffer.__getitem__
        self.told: list[str] = []
        self.connection_made = lambda channel: channel.pause_reading()
        self.buffer_updated = lambda size: self.told.append("data")
        self.connection_lost = lambda error: self.told.append("lost")


def test_nothing_is_delivered_once_the_connection_is_lost(own: dict[str, str]) -> None:
    buffer = Buffer(65536)
    listener = Listener(buffer)
    owner = SimpleNamespace(hands_shaken=lambda channel: channel.carry(listener))
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    client = context.wrap_bio(to_client, to_server)
    record = ActiveRequest(SimpleNamespace(), None, None)
    events = asyncio.new_event_loop()
    tls = server_context(own["certfile"], None, None)
    channel = TLSChannel(owner, record, tls, 10, events, buffer)  # type: ignore[arg-type]

    def forward() -> None:
        data = to_server.read()
        buffer.view[: len(data)] = data
        channel.buffer_updated(len(data))

    try:
        channel.connection_made(Wire(to_client))
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        forward()
        client.do_handshake()
        client.write(b"hello")
        forward()
        channel.resume_reading()
        channel.connection_lost(ConnectionResetError())
        events.run_until_complete(asyncio.sleep(0))
    finally:
        events.close()
    assert listener.told == ["lost"]
