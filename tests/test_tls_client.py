"""EchoClient and the command line's client over TLS."""

import random
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from echoservers import EchoClient, OptionError
from support import (
    PATIENCE,
    run_cli,
    serving,
)
from terminal import Terminal, why_no_terminal
from tls_peers import Lines, trusting

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


def test_much_goes_there_and_back_at_the_same_time(endpoint: str, files: dict[str, str]) -> None:
    data = random.Random(1).randbytes(16 * 1024 * 1024)
    with EchoClient(endpoint, **trusting(files)) as client:
        assert client.echo(data) == data
    done = run_cli("client", endpoint, "--insecure", input=data)
    assert done.stderr == b""
    assert done.stdout == data


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
