"""What every mode does alike: one body, parametrised over the modes (chosen_modes.py).

That it echoes, whatever comes however, is what `echoservers.conformance` checks, for every mode in
test_conformance_modes.py.  Here is what shows from inside alone: counters, limits, handlers, logs.
The first test runs every preforked mode; in the others three stand for them all.
"""

import socket
import struct
from pathlib import Path

import pytest

from chosen_modes import SHARE
from echoservers import EchoHandler, LengthPrefixedFraming, LineFraming
from support import (
    NAMES,
    OF_PROCESSES,
    STREAM_NAMES,
    TCP_NAMES,
    UDP_NAMES,
    connect,
    echo,
    echo_once,
    receive_all,
    receive_exactly,
    serving,
    wait_until,
)


@pytest.mark.parametrize("mode", SHARE)
def test_every_byte_value_comes_back_and_is_counted(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    with serving(mode, folder, **own if mode.endswith("tls") else {}) as server:
        echo_once(server, bytes(range(256)))
        wait_until(lambda: server.stats()["closed"] == 1, "it is over")
        stats = server.stats()
    assert stats["accepted"] == stats["messages"] == 1
    assert stats["bytes_in"] == stats["bytes_out"] == 256
    assert stats["errors"] == 0


@pytest.mark.parametrize("mode", NAMES)
def test_counts_clients_messages_and_bytes(mode: str, folder: Path) -> None:
    with serving(mode, folder) as server:
        for number in range(20):
            echo_once(server, b"client %d" % number)
        wait_until(lambda: server.stats()["closed"] == 20, "all are over")
        stats = server.stats()
    assert stats["active"] == 0
    assert stats["accepted"] == stats["closed"] == stats["messages"] == 20
    assert stats["bytes_in"] == stats["bytes_out"] == 10 * len("client 0") + 10 * len("client 10")
    assert stats["errors"] == 0
    assert stats["refused"] == {}
    assert not any(stats["dropped"].values())


class Lines(EchoHandler):
    framing_class = LineFraming

    def respond(self, message: bytes) -> bytes | None:
        if message == b"fail":
            raise ValueError("the handler failed")
        if message == b"quit":
            self.close_after_reply()
        if message == b"quiet":
            return None
        return message[::-1]


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_pipelined_messages_are_answered_in_order(mode: str, folder: Path) -> None:
    lines = [b"line %d" % n for n in range(1000)]
    with serving(mode, folder, Lines) as server, connect(server) as client:
        client.sendall(b"\n".join(lines) + b"\nquiet\nquit\n")
        received = receive_all(client)
        client.close()  # which the server waits for
        wait_until(lambda: server.stats()["active"] == 0, "it is over")
        assert server.stats()["messages"] == 1002
    assert received == b"".join(line[::-1] + b"\n" for line in [*lines, b"quit"])


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_close_after_reply_delivers_the_reply_though_more_input_comes(
    mode: str, folder: Path
) -> None:
    with serving(mode, folder, Lines) as server, connect(server) as client:
        client.sendall(b"quit\n" + b"x" * 30_000 + b"\n")
        assert receive_all(client) == b"tiuq\n"


@pytest.mark.parametrize("mode", NAMES)
def test_a_handler_error_ends_that_connection_only(
    mode: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(mode, folder, Lines) as server, connect(server) as client:
        client.sendall(b"abc\nfail\nnever\n" if mode in STREAM_NAMES else b"fail")
        if mode in STREAM_NAMES:
            assert receive_all(client) == b"cba\n"
        wait_until(lambda: server.stats()["errors"] == 1, "the error is counted")
        with connect(server) as other:
            other.sendall(b"xyz\n")
            assert other.recv(100).startswith(b"zyx" if mode in STREAM_NAMES else b"\nzyx")
    if not mode.startswith(OF_PROCESSES):  # a child logs to its own copy of what caplog keeps
        failures = [record for record in caplog.records if record.levelname == "ERROR"]
        assert len(failures) == 1
        assert "ValueError: the handler failed" in failures[0].getMessage()


class Raising(EchoHandler):
    def respond(self, message: bytes) -> bytes | None:
        if message == b"bye":
            return message
        raise {b"v": ValueError, b"s": SystemExit, b"m": MemoryError, b"k": KeyboardInterrupt}[
            message
        ]("on purpose")


@pytest.mark.parametrize("mode", NAMES)
def test_whatever_a_handler_raises_ends_that_connection_only(mode: str, folder: Path) -> None:
    with serving(mode, folder, Raising) as server:
        for before, what in enumerate((b"v", b"s", b"m", b"k")):
            with connect(server) as client:
                client.sendall(what)
                if mode in STREAM_NAMES:
                    assert receive_all(client) == b""
                wait_until(
                    lambda before=before: server.stats()["errors"] == before + 1,
                    f"the error after {what!r} is counted",
                )
            echo_once(server, b"bye")


class Prefixed(EchoHandler):
    framing_class = LengthPrefixedFraming


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_a_framing_error_ends_the_connection_behind_the_answers(mode: str, folder: Path) -> None:
    with serving(mode, folder, Prefixed, max_message_size=100) as server:
        with connect(server) as client:
            client.sendall(struct.pack("!I", 3) + b"abc" + struct.pack("!I", 101) + b"x" * 101)
            assert receive_all(client) == struct.pack("!I", 3) + b"abc"
        with connect(server) as client:
            client.sendall(struct.pack("!I", 3) + b"a")
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client) == b""
        wait_until(lambda: server.stats()["errors"] == 2, "the errors are counted")


class Greeting(EchoHandler):
    def greet(self) -> bytes:
        return b"welcome\n"


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_a_greeting_comes_first(mode: str, folder: Path) -> None:
    with serving(mode, folder, Greeting) as server, connect(server) as client:
        assert receive_exactly(client, 8) == b"welcome\n"
        echo(client)


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_reset_in_the_middle_of_an_echo_is_no_error(
    mode: str, folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(mode, folder) as server:
        for _ in range(10):
            client = connect(server)
            client.sendall(b"x" * 500_000 if "unix" not in mode else b"x" * 50_000)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        echo_once(server, timeout=5)
        wait_until(lambda: server.stats()["active"] == 0, "all are over")
        assert server.stats()["errors"] == 0
    assert not [record for record in caplog.records if record.levelno > 20]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_a_client_that_makes_no_progress_is_closed_at_the_idle_limit(
    mode: str, folder: Path
) -> None:
    with serving(mode, folder, idle_timeout=0.3) as server, connect(server) as client:
        echo(client)
        assert receive_all(client) == b""  # the server closes first
        wait_until(lambda: server.stats()["active"] == 0, "it is over")
        assert server.stats()["errors"] == 0


@pytest.mark.parametrize("mode", TCP_NAMES + UDP_NAMES)
def test_serves_ipv6(mode: str, folder: Path) -> None:
    with serving(mode, folder, host="::1") as server:
        assert server.address_family == socket.AF_INET6
        assert "://[::1]:" in server.endpoint()
        echo_once(server)
