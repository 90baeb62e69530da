"""TLS: a handshake in the worker, certificates that are checked, ends that are told."""

import contextlib
import hashlib
import logging
import os
import random
import select
import shutil
import signal
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path
from termios import TIOCOUTQ
from typing import Any

import pytest
import trustme

import echoservers
from echoservers import EchoClient, EchoHandler, LineFraming, OptionError
from support import (
    PATIENCE,
    ROOT,
    TLS_NAMES,
    connect_tls,
    descriptors_of,
    echo,
    program,
    receive_all,
    run_cli,
    serving,
    wait_until,
)
from terminal import Terminal, why_no_terminal

CONCURRENT = [name for name in TLS_NAMES if name != "tls"]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Certificates: of the server, of a client, of their CA and of another CA."""
    folder = tmp_path_factory.mktemp("certificates")
    ca, other = trustme.CA(), trustme.CA()
    server, client = ca.issue_cert("localhost", "127.0.0.1"), ca.issue_cert("client@example.org")
    made = {
        "ca": ca.cert_pem,
        "other_ca": other.cert_pem,
        "cert": server.cert_chain_pems[0],
        "key": server.private_key_pem,
        "both": server.private_key_and_cert_chain_pem,
        "client": client.private_key_and_cert_chain_pem,
        "client_key": client.private_key_pem,
    }
    for name, blob in made.items():
        blob.write_to_path(str(folder / name))
    (folder / "garbage").write_text("no certificate")
    return {name: str(folder / name) for name in [*made, "garbage", "missing"]}


@pytest.fixture
def own(files: dict[str, str]) -> dict[str, str]:
    """The options that give a server its certificate: quicker than to have one made."""
    return {"certfile": files["both"]}


def trusting(files: dict[str, str], **options: Any) -> Any:
    return {"cafile": files["ca"], "timeout": PATIENCE, **options}


def over(server: Any) -> bool:
    return bool(server.stats()["active"] == 0)


# --- echo, and both ends ----------------------------------------------------------------


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_echoes_one_client_after_the_other(
    mode: str, folder: Path, own: dict[str, str], files: dict[str, str]
) -> None:
    with serving(mode, folder, **own) as server:
        assert server.endpoint().startswith("tls://127.0.0.1:")
        for _ in range(10):
            with EchoClient(server.endpoint(), **trusting(files)) as client:
                assert client.echo(bytes(range(256))) == bytes(range(256))
        wait_until(lambda: server.stats()["closed"] == 10, "all are over")
        stats = server.stats()
    assert stats["messages"] == 10
    assert stats["bytes_in"] == stats["bytes_out"] == 2560
    assert stats["refused"] == {}
    assert stats["errors"] == 0


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_echoes_16_mib_both_ways_at_once(
    mode: str, folder: Path, own: dict[str, str], files: dict[str, str]
) -> None:
    data = random.Random(1).randbytes(16 * 1024 * 1024)
    with (
        serving(mode, folder, **own) as server,
        EchoClient(server.endpoint(), **trusting(files)) as client,
    ):
        assert client.echo(data) == data


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_half_close_gives_every_byte_then_the_end(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    data = random.Random(2).randbytes(10 * 1024 * 1024)
    with program("--mode", mode, "--port", "0", "--certfile", own["certfile"]) as server:
        done = run_cli("client", server.url, "--insecure", input=data)
        assert done.stderr == b""
        assert done.stdout == data
        assert server.stop() == (0, "drained 0 connections, aborted 0\n")


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_an_end_by_tcp_alone_is_an_end_too(mode: str, folder: Path, own: dict[str, str]) -> None:
    with serving(mode, folder, **own) as server, connect_tls(server.server_address) as client:
        client.sendall(b"x" * 100_000)
        client.shutdown(socket.SHUT_WR)
        client.suppress_ragged_eofs = False  # only a close_notify is an end now
        assert receive_all(client) == b"x" * 100_000


class Lines(EchoHandler):
    framing_class = LineFraming

    def respond(self, message: bytes) -> bytes:
        if message == b"quit":
            self.close_after_reply()
        return message[::-1]


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_close_after_reply_tells_the_end_though_more_input_comes(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    with (
        serving(mode, folder, Lines, **own) as server,
        connect_tls(server.server_address) as client,
    ):
        client.sendall(b"abc\nquit\n" + b"x" * 30_000 + b"\n")
        client.suppress_ragged_eofs = False
        assert receive_all(client) == b"cba\ntiuq\n"


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_an_idle_client_is_closed_at_the_limit(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    with (
        serving(mode, folder, idle_timeout=0.3, **own) as server,
        connect_tls(server.server_address) as client,
    ):
        echo(client)
        client.suppress_ragged_eofs = False
        assert receive_all(client) == b""
        wait_until(lambda: over(server), "it is over")
        assert server.stats()["errors"] == 0


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_a_peer_that_never_reads_is_closed_at_the_limit(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    with (
        serving(mode, folder, idle_timeout=0.3, **own) as server,
        connect_tls(server.server_address) as client,
    ):
        client.settimeout(0.2)
        with pytest.raises(OSError):  # noqa: PT011 - a reset, or there is no more room
            client.sendall(b"x" * 50_000_000)
        wait_until(lambda: over(server), "it is over", 5)
        assert server.stats()["errors"] == 0


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_a_reset_is_no_error(
    mode: str, folder: Path, own: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with serving(mode, folder, **own) as server:
        for _ in range(5):
            client = connect_tls(server.server_address)
            client.sendall(b"x" * 100_000)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        wait_until(lambda: over(server), "all are over")
        assert server.stats()["errors"] == 0
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


class Upper(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.readline().upper())


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_a_handler_of_socketserver_serves_it_too(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    with (
        serving(mode, folder, Upper, **own) as server,
        connect_tls(server.server_address) as client,
    ):
        client.sendall(b"hello\n")
        client.suppress_ragged_eofs = False
        assert receive_all(client) == b"HELLO\n"


# --- handshakes that fail (FAULTS 17, 18) -----------------------------------------------


@pytest.mark.parametrize("mode", CONCURRENT)
def test_silence_instead_of_a_handshake_delays_nobody_and_ends_at_the_limit(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    before = descriptors_of(os.getpid())
    with serving(mode, folder, handshake_timeout=1.5, **own) as server:
        began = time.monotonic()
        silent = [socket.create_connection(server.server_address) for _ in range(50)]
        with connect_tls(server.server_address, timeout=1) as client:
            echo(client)
        for client in silent:
            client.settimeout(PATIENCE)
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(10) == b""
            client.close()
        assert 1.4 < time.monotonic() - began < 5
        wait_until(lambda: over(server), "all are over")
        stats = server.stats()
    assert stats["refused"] == {"handshake": 50}
    assert stats["closed"] == 1
    assert stats["accepted"] == 51
    assert descriptors_of(os.getpid()) <= before


def test_iterative_drops_the_silent_one_at_the_limit(folder: Path, own: dict[str, str]) -> None:
    with (
        serving("tls", folder, handshake_timeout=0.3, **own) as server,
        socket.create_connection(server.server_address),
        connect_tls(server.server_address, timeout=2) as client,
    ):
        echo(client)


@pytest.mark.parametrize("mode", CONCURRENT)
def test_beyond_the_limit_a_client_is_refused_without_a_handshake(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    with (
        serving(mode, folder, max_connections=1, overflow="refuse", **own) as server,
        connect_tls(server.server_address) as first,
    ):
        echo(first)
        for _ in range(3):
            with pytest.raises(OSError):  # noqa: PT011 - an end, or a reset
                connect_tls(server.server_address, timeout=1)
        echo(first)
        assert server.stats()["refused"] == {"max_connections": 3}


def test_the_limit_is_for_the_whole_handshake(folder: Path, own: dict[str, str]) -> None:
    hello = b"\x16\x03\x01\x02\x00" + b"\x01\x00\x01\xfc" + b"\x03\x03" + bytes(600)
    with (
        serving("threading-tls", folder, handshake_timeout=0.5, **own) as server,
        socket.create_connection(server.server_address, PATIENCE) as client,
    ):
        began = time.monotonic()
        for byte in hello:  # one every 20 ms: 10 s for all of them
            if select.select([client], [], [], 0.02)[0]:
                break
            client.send(bytes([byte]))
        assert time.monotonic() - began < 3
        wait_until(lambda: server.stats()["refused"] == {"handshake": 1}, "it is refused")


REJECTED = {
    "garbage": b"\xff\x00garbage" * 100,
    "plain text": b"hello\r\n",
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "data before the handshake": b"\x17\x03\x03\x00\x05hello",
    "nothing": b"",
}


@pytest.mark.parametrize("what", REJECTED)
@pytest.mark.parametrize("mode", TLS_NAMES)
def test_what_is_no_handshake_is_rejected_and_not_echoed(
    mode: str, what: str, folder: Path, own: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "echoservers")
    with serving(mode, folder, **own) as server:
        for _ in range(3):
            with socket.create_connection(server.server_address, PATIENCE) as client:
                client.sendall(REJECTED[what])
                with contextlib.suppress(OSError):  # closed already, with a reset
                    client.shutdown(socket.SHUT_WR)
                    answer = receive_all(client)
                    assert b"hello" not in answer
                    assert answer[:1] in (b"", b"\x15")  # at most an alert
        with connect_tls(server.server_address) as client:
            echo(client)
        wait_until(lambda: over(server), "all are over")
        stats = server.stats()
    assert stats["refused"].get("handshake", 0) == 3
    assert stats["messages"] == stats["closed"] == 1
    assert stats["errors"] == 0
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    if not mode.startswith("forking"):
        told = [r.getMessage() for r in caplog.records if "no TLS handshake" in r.getMessage()]
        assert len(told) == 3


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("mode", TLS_NAMES)
def test_tls_1_1_is_rejected_and_later_ones_are_not(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    with serving(mode, folder, **own) as server:
        host, port = server.server_address
        for version, accepted in (("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
            command = ["openssl", "s_client", "-connect", f"{host}:{port}", version, "-quiet"]
            command += ["-cipher", "DEFAULT@SECLEVEL=0"]  # else it would not even ask
            with subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            ) as client:
                assert client.stdin is not None
                assert client.stdout is not None
                with contextlib.suppress(BrokenPipeError):
                    client.stdin.write(b"hello\n")
                    client.stdin.flush()
                assert client.stdout.readline() == (b"hello\n" if accepted else b"")
                client.kill()
        wait_until(lambda: over(server), "all are over")
        assert server.stats()["refused"] == {"handshake": 1}


# --- strangers --------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not installed")
@pytest.mark.parametrize("mode", TLS_NAMES)
def test_socat_gets_a_megabyte_back(mode: str, folder: Path, files: dict[str, str]) -> None:
    data = os.urandom(1_000_000)
    with serving(mode, folder, certfile=files["cert"], keyfile=files["key"]) as server:
        where = f"OPENSSL:127.0.0.1:{server.server_address[1]},cafile={files['ca']}"
        done = subprocess.run(
            ["socat", "-t", "10", "-", where],
            input=data,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.stdout == data, done.stderr


@pytest.mark.skipif(shutil.which("ncat") is None, reason="ncat is not installed")
def test_ncat_gets_its_line_back(folder: Path, own: dict[str, str]) -> None:
    with serving("threading-tls", folder, **own) as server:
        host, port = server.server_address
        with subprocess.Popen(
            ["ncat", "--ssl", host, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(b"good morning\n")
            client.stdin.flush()
            assert client.stdout.readline() == b"good morning\n"
            client.kill()


# --- stopping (FAULTS 15, 16) -----------------------------------------------------------


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_sigterm_while_a_slow_reader_is_served_loses_no_byte_received(
    mode: str, folder: Path, own: dict[str, str]
) -> None:
    arguments = ["--mode", mode, "--port", "0", "--certfile", own["certfile"]]
    with program(*arguments, "--verbose") as server:
        with connect_tls(server.address) as client:
            echo(client)
            client.sendall(b"x" * 100_000)  # fits in the buffers on the way

            def on_the_way() -> int:
                return int.from_bytes(ioctl(client, TIOCOUTQ, bytes(4)), sys.byteorder)

            wait_until(lambda: on_the_way() == 0, "the server's side has it")
            server.process.send_signal(signal.SIGTERM)
            client.suppress_ragged_eofs = False
            received = bytearray()
            while data := client.recv(5000):
                received += data
                select.select([], [], [], 0.005)
            assert received == b"x" * 100_000
        code, log = server.ended()
    assert code == 0
    assert "drained 1 connection, aborted 0" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("stuck", ["handshake", "silent", "unread"])
@pytest.mark.parametrize("mode", TLS_NAMES)
def test_sigterm_ends_in_time_with_a_stuck_peer(
    mode: str, stuck: str, folder: Path, own: dict[str, str]
) -> None:
    arguments = ["--mode", mode, "--port", "0", "--certfile", own["certfile"]]
    with program(*arguments, "--drain-timeout", "0.5") as server:
        if stuck == "handshake":
            client: Any = socket.create_connection(server.address, PATIENCE)
            client.sendall(b"\x16\x03\x01")
        else:
            client = connect_tls(server.address)
            echo(client)
            if stuck == "unread":
                client.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    client.sendall(b"x" * 50_000_000)
        with client:
            began = time.monotonic()
            code, log = server.stop()
            assert time.monotonic() - began < 5
    assert code == 0
    assert "Traceback" not in log


# --- certificates -----------------------------------------------------------------------


def test_without_a_certificate_one_is_made_and_its_fingerprint_told(tmp_path: Path) -> None:
    with program("--mode", "tls", "--port", "0", env={"TMPDIR": str(tmp_path)}) as server:
        assert list(tmp_path.iterdir()) == []  # no key is left
        with connect_tls(server.address) as client:
            certificate = client.getpeercert(binary_form=True)
        code, log = server.stop()
    assert code == 0
    fingerprint = hashlib.sha256(certificate or b"").digest().hex(":").upper()
    assert f"SHA-256 {fingerprint};" in log
    assert server.line.startswith("tls listening on tls://127.0.0.1:")


def test_without_a_certificate_and_without_the_package_one_line_tells_what_to_do() -> None:
    code = (
        "import sys; sys.modules['trustme'] = None; from echoservers.cli import main\n"
        "sys.exit(main(['--mode', 'tls', '--port', '0']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    assert "give certfile and keyfile, or `pip install echoservers[tls]`" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"certfile": "missing"}, "No such file"),
        ({"certfile": "garbage"}, "in PEM format"),
        ({"certfile": "cert"}, "its key there too or in keyfile"),
        ({"certfile": "cert", "keyfile": "missing"}, "keyfile="),
        ({"certfile": "cert", "keyfile": "client_key"}, "mismatch"),
        ({"keyfile": "key"}, "give certfile, too"),
        ({"certfile": "both", "client_ca": "garbage"}, "client_ca="),
    ],
)
def test_a_wrong_certificate_is_one_line(
    options: dict[str, str], told: str, files: dict[str, str]
) -> None:
    given = {name: files[value] for name, value in options.items()}
    with pytest.raises(OptionError, match=told):
        echoservers.create_server("tls", ("127.0.0.1", 0), **given)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    done = run_cli("--mode", "threading-tls", "--port", "0", *flags)
    assert done.returncode == 2
    assert told in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_a_key_with_a_password_is_refused_not_asked_for(
    tmp_path: Path, files: dict[str, str]
) -> None:
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(Path(files["key"]).read_bytes(), None)
    locked = key.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "locked").write_bytes(locked)
    with pytest.raises(OptionError, match="has a password"):
        echoservers.create_server(
            "tls", ("127.0.0.1", 0), certfile=files["cert"], keyfile=str(tmp_path / "locked")
        )


@pytest.mark.parametrize("mode", TLS_NAMES)
def test_with_a_client_ca_only_its_clients_are_served(
    mode: str, folder: Path, own: dict[str, str], files: dict[str, str]
) -> None:
    with serving(mode, folder, client_ca=files["ca"], **own) as server:
        known = trusting(files, certfile=files["client"])
        with EchoClient(server.endpoint(), **known) as client:
            assert client.echo(b"hello") == b"hello"
        with (
            pytest.raises(ConnectionError, match="certificate required"),
            EchoClient(server.endpoint(), **trusting(files)) as client,
        ):
            client.echo(b"hello")  # in TLS 1.3 the client learns it behind its handshake
        wait_until(lambda: over(server), "all are over")
        assert server.stats()["refused"] == {"handshake": 1}


# --- the client -------------------------------------------------------------------------


@pytest.fixture
def endpoint(folder: Path, own: dict[str, str]) -> Iterator[str]:
    with serving("threading-tls", folder, **own) as server:
        yield server.endpoint()


def test_the_client_verifies_by_default(endpoint: str, files: dict[str, str]) -> None:
    for options in ({}, {"cafile": files["other_ca"]}):
        with pytest.raises(ssl.SSLCertVerificationError):
            EchoClient(endpoint, **options)  # type: ignore[arg-type]
    done = run_cli("client", endpoint, input=b"hello\n")
    assert done.returncode == 1
    assert b"--cafile FILE" in done.stderr
    assert b"--insecure" in done.stderr
    assert done.stderr.count(b"\n") == 1
    done = run_cli("client", endpoint, "--cafile", files["ca"], input=b"hello\n")
    assert (done.returncode, done.stdout) == (0, b"hello\n")
    with EchoClient(endpoint, insecure=True) as client:
        assert client.echo(b"hello") == b"hello"


def test_the_client_verifies_the_name(endpoint: str, files: dict[str, str]) -> None:
    other_name = endpoint.replace("127.0.0.1", "0.0.0.0")  # the same server
    with pytest.raises(ssl.SSLCertVerificationError, match=r"0\.0\.0\.0"):
        EchoClient(other_name, **trusting(files))
    by_name = endpoint.replace("127.0.0.1", "localhost")
    with EchoClient(by_name, **trusting(files)) as client:
        assert client.echo(b"hello") == b"hello"


def test_the_meter_counts_round_trips(endpoint: str) -> None:
    done = run_cli("client", endpoint, "--insecure", "--count", "3", "--interval", "0")
    assert done.returncode == 0
    assert b"3 sent, 3 received, 0% lost" in done.stdout


@pytest.mark.parametrize(
    ("endpoint_", "flags", "told"),
    [
        ("tls://127.0.0.1:1", ["--insecure", "--cafile", "x"], "choose one"),
        ("tls://127.0.0.1:1", ["--cafile", "/nowhere"], "No such file"),
        ("tcp://127.0.0.1:1", ["--insecure"], "it is for tls://"),
    ],
)
def test_wrong_use_of_the_client_is_one_line(endpoint_: str, flags: list[str], told: str) -> None:
    done = run_cli("client", endpoint_, *flags)
    assert done.returncode == 2
    assert told in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_an_option_that_there_is_not_is_refused(endpoint: str) -> None:
    with pytest.raises(OptionError, match=r"it has: timeout, framing, cafile, insecure"):
        EchoClient(endpoint, timout=3)


@pytest.mark.skipif(why_no_terminal() is not None, reason=str(why_no_terminal()))
def test_the_prompt_does_not_take_what_tls_sends_for_a_reply(endpoint: str) -> None:
    with Terminal("client", endpoint, "--insecure") as user:
        user.wait_for("> ")
        for line in ("hello", "world"):
            user.type(line + "\n")
            user.wait_for(f"\n{line}\r\n> ")
        user.type("\x04")
        assert user.wait_for_end() == 0


def test_the_client_says_when_there_is_no_tls(folder: Path) -> None:
    with serving("threading-tcp", folder) as server:
        endpoint = server.endpoint().replace("tcp:", "tls:")
        done = run_cli("client", endpoint, input=b"hello\n")
    assert done.returncode == 1
    assert b"no TLS handshake" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_the_client_gives_up_a_handshake_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"tls://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(TimeoutError):
            EchoClient(endpoint, timeout=0.2)


def test_a_cut_is_told_from_an_end(files: dict[str, str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["both"])

    def serve() -> None:
        connection, _ = listener.accept()
        with context.wrap_socket(connection, server_side=True) as peer:
            peer.sendall(peer.recv(100))  # and closes without a word

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        endpoint = f"tls://127.0.0.1:{listener.getsockname()[1]}"
        with EchoClient(endpoint, **trusting(files)) as client:
            assert client.echo(b"hello") == b"hello"
            with pytest.raises(ConnectionError, match="close_notify"):
                client.receive()
        thread.join(PATIENCE)


def test_a_framed_half_close_gets_the_last_reply(folder: Path, own: dict[str, str]) -> None:
    with (
        serving("threading-tls", folder, Lines, **own) as server,
        EchoClient(server.endpoint(), insecure=True, framing="lines", timeout=PATIENCE) as client,
    ):
        for number in range(1000):
            client.send(b"%d" % number)
        client.end()
        client.end()  # harmless twice
        replies = [client.receive() for _ in range(1000)]
        assert replies == [(b"%d" % number)[::-1] for number in range(1000)]
        assert client.receive() == b""
