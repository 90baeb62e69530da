"""The client's side of TLS against a peer that reads, writes and goes when the test says."""

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest

from echoservers.tls_client import TLSStream
from support import PATIENCE

Shake = Callable[..., tuple[TLSStream, ssl.SSLSocket]]


@pytest.fixture
def shake(files: dict[str, str]) -> Iterator[Shake]:
    """Makes both ends of a connection over which hands have been shaken."""
    made: list[TLSStream | ssl.SSLSocket] = []

    def shaken(
        timeout: float | None = None, wants_certificate: bool = False
    ) -> tuple[TLSStream, ssl.SSLSocket]:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(files["both"])
        if wants_certificate:
            server.verify_mode = ssl.CERT_REQUIRED
        server.num_tickets = 0  # nothing comes but what a test sends
        ours, theirs = socket.socketpair()
        peer = server.wrap_socket(theirs, server_side=True, do_handshake_on_connect=False)
        peer.settimeout(PATIENCE)
        made.append(peer)

        def serve() -> None:
            try:
                peer.do_handshake()
            except ssl.SSLError:
                peer.close()  # behind its alert

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            client = ssl.create_default_context(cafile=files["ca"])
            stream = TLSStream(ours, client, "localhost", timeout)
        finally:
            thread.join()
        made.append(stream)
        return stream, peer

    yield shaken
    for end in made:
        end.close()


def fill(stream: TLSStream) -> int:
    """Send until there is no room; how many bytes have gone."""
    sent = 0
    try:
        while True:
            sent += stream.send(b"x" * 60_000)
    except BlockingIOError:
        return sent


def wait_for(stream: TLSStream) -> None:
    """Until something is there."""
    assert select.select([stream], [], [], PATIENCE)[0]


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_there_and_back(shake: Shake, timeout: float | None) -> None:
    stream, peer = shake(timeout)
    assert stream.send(b"hello") == 5
    assert peer.recv(100) == b"hello"
    with pytest.raises(BlockingIOError):
        stream.recv(100)
    peer.send(b"world")
    wait_for(stream)
    assert stream.recv(3) == b"wor"
    assert stream.recv(100) == b"ld"


def test_where_there_is_no_room_nothing_waits(shake: Shake) -> None:
    stream, peer = shake()
    sent = fill(stream)
    assert stream.unsent
    with pytest.raises(BlockingIOError):
        stream.shutdown(socket.SHUT_WR)
    received = 0
    while received < sent:
        received += len(peer.recv(65536))
    while stream.unsent:
        with pytest.raises(BlockingIOError):
            stream.recv(1)  # sends what is left, too
        if stream.unsent:
            received += len(peer.recv(65536))
    while data := peer.recv(65536):  # the end is behind all of it
        received += len(data)
    assert received == sent + 60_000


def test_a_close_does_not_wait_for_room(shake: Shake) -> None:
    stream, _peer = shake()
    fill(stream)
    stream.close()
    assert stream.fileno() == -1


def test_behind_the_end_of_the_output_nothing_is_sent(shake: Shake) -> None:
    stream, _peer = shake()
    stream.shutdown(socket.SHUT_WR)
    stream.shutdown(socket.SHUT_WR)  # harmless twice
    with pytest.raises(ConnectionAbortedError, match="TLS: "):
        stream.send(b"late")


def test_what_came_before_our_end_is_kept(shake: Shake) -> None:
    stream, peer = shake()
    peer.send(b"early")
    wait_for(stream)
    assert stream.pending()
    stream.shutdown(socket.SHUT_WR)
    assert peer.recv(10) == b""
    peer.send(b" and late")
    wait_for(stream)
    assert stream.recv(100) == b"early"
    assert stream.recv(100) == b" and late"


def test_whether_something_is_pending(shake: Shake) -> None:
    stream, peer = shake()
    assert not stream.pending()
    peer.send(b"hello")
    wait_for(stream)
    assert stream.pending()
    assert stream.pending()  # still
    assert stream.recv(10) == b"hello"
    assert not stream.pending()
    peer.close()  # without a word: there is that to tell
    wait_for(stream)
    assert stream.pending()
    with pytest.raises(ConnectionAbortedError, match="close_notify"):
        stream.recv(10)


def test_garbage_is_an_error_of_the_connection(shake: Shake) -> None:
    stream, peer = shake()
    socket.socket.send(peer, b"this is no TLS record")
    wait_for(stream)
    with pytest.raises(ConnectionAbortedError, match="TLS: "):
        stream.recv(10)


def test_the_alert_of_a_server_that_goes_is_told(shake: Shake) -> None:
    """In TLS 1.3 the client's handshake is over before the server misses its certificate."""
    stream, _peer = shake(wants_certificate=True)
    with pytest.raises(ConnectionAbortedError, match=r"TLS: .*certificate required"):
        stream.send(b"hello")


@pytest.mark.parametrize("unread", [b"", b"unread"])
def test_a_server_that_goes_without_a_word(shake: Shake, unread: bytes) -> None:
    """What it has not read makes its end a reset."""
    stream, peer = shake()
    if unread:
        stream.send(unread)
    peer.close()
    with pytest.raises(BrokenPipeError):
        stream.send(b"hello")
    assert not stream.unsent


def test_a_server_that_says_its_end_and_goes(shake: Shake) -> None:
    stream, peer = shake()
    peer.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        peer.unwrap()  # says it, and would wait for ours
    peer.close()
    with pytest.raises(BrokenPipeError):
        stream.send(b"hello")


def test_a_handshake_that_fails_closes_the_socket(files: dict[str, str]) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.send(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        with pytest.raises(ssl.SSLError):
            TLSStream(ours, ssl.create_default_context(), "localhost", 1.0)
    assert ours.fileno() == -1


def test_what_has_come_is_had_though_nothing_can_be_sent(shake: Shake) -> None:
    stream, peer = shake()
    fill(stream)
    peer.send(b"I have had enough")
    peer.close()  # in the middle of what we send
    wait_for(stream)
    assert stream.recv(100) == b"I have had enough"
    with pytest.raises(ConnectionError):
        stream.recv(100)
