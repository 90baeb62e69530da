"""The clients of a load, each on one end of a socket pair of which the test has the other."""

import os
import select
import socket
import ssl
from collections.abc import Iterator

import pytest

from echoservers.lab.load import LoadPlan, closed, datagrams
from echoservers.lab.load.closed import ClosedLoad
from echoservers.lab.load.crowd import Crowd
from echoservers.lab.load.datagrams import ClosedDatagrams
from echoservers.lab.load.loop import Loop, RunEnded, WrongReply, clock
from echoservers.lab.load.messages import Rings
from echoservers.lab.load.streams import StreamClient
from echoservers.lab.load.tls import TLSChannel
from load_pairs import SMALL, Pairs, a_loop, fill, goes_on, turns
from support import PATIENCE, receive_exactly


@pytest.fixture
def loop() -> Iterator[Loop]:
    with a_loop() as made:
        yield made


@pytest.fixture
def streams() -> Iterator[Pairs]:
    with Pairs(socket.SOCK_STREAM) as pairs:
        yield pairs


# --- streams ----------------------------------------------------------------------------


@pytest.fixture
def client(loop: Loop, streams: Pairs) -> Iterator[StreamClient]:
    """A client of the open loop, connected."""
    made = StreamClient(loop, streams, Rings(1, 1000, b""), 0, 0)  # type: ignore[arg-type]
    made.dial()
    goes_on(loop, lambda: loop.settled == 1)
    yield made
    made.close()


def test_what_finds_no_room_is_kept_and_follows_in_order(
    loop: Loop, client: StreamClient, streams: Pairs
) -> None:
    (peer,) = streams.peers
    for _ in range(100):  # many times what the buffer takes
        client.send_message(0)
    assert client.sent == 100
    peer.setblocking(False)
    assert len(peer.recv(1 << 20)) < 100_000
    peer.settimeout(PATIENCE)
    received = bytearray()

    def drain() -> bool:
        peer.setblocking(False)
        try:
            received.extend(peer.recv(1 << 20))
        except BlockingIOError:
            pass
        return len(client.ends) >= 0 and len(received) >= 90_000

    goes_on(loop, drain)
    expected = client.rings.stream(0) * 2
    assert expected.find(bytes(received[:50_000])) >= 0


def test_a_reply_to_what_was_not_sent_is_wrong(
    loop: Loop, client: StreamClient, streams: Pairs
) -> None:
    """Even where its bytes are those of the messages to come."""
    client.send_message(0)
    streams.peers[0].sendall(client.rings.stream(0)[:2000])
    with pytest.raises(WrongReply, match="more came than was sent"):
        goes_on(loop, lambda: False)


def test_a_client_that_has_gone_sends_nothing(client: StreamClient) -> None:
    client.close()
    client.send_message(0)
    assert client.sent == 0


@pytest.mark.parametrize("pipeline", [1, 3])
def test_a_closed_client_that_finds_no_room_goes_on_with_it(
    loop: Loop, streams: Pairs, pipeline: int
) -> None:
    client = StreamClient(loop, streams, Rings(1, 100_000, b""), 0, pipeline)  # type: ignore[arg-type]
    client.dial()
    (peer,) = streams.peers
    goes_on(loop, lambda: loop.settled == 1)
    turns(loop)  # the buffer is full
    peer.setblocking(False)

    def answer() -> bool:
        try:
            peer.send(peer.recv(3000))
        except BlockingIOError:
            pass
        return len(client.ends) >= 2

    goes_on(loop, answer)
    client.close()


@pytest.mark.parametrize("pipeline", [0, 1, 3])
def test_a_client_that_is_resumed_for_nothing_waits_on(
    loop: Loop, streams: Pairs, pipeline: int
) -> None:
    client = StreamClient(loop, streams, Rings(1, 10, b""), 0, pipeline)  # type: ignore[arg-type]
    client.dial()
    (peer,) = streams.peers
    goes_on(loop, lambda: loop.settled == 1)
    if pipeline == 0:
        client.send_message(0)
    sent = receive_exactly(peer, 10)
    loop.step(client._fd)
    loop.step(client._fd)
    assert (len(client.ends), loop.errors) == (0, {})
    peer.sendall(sent)
    goes_on(loop, lambda: len(client.ends) >= 1)
    client.close()


@pytest.mark.parametrize("pipeline", [0, 1, 3])
def test_a_connection_that_is_cut_is_counted(loop: Loop, streams: Pairs, pipeline: int) -> None:
    client = StreamClient(loop, streams, Rings(1, 10, b""), 0, pipeline)  # type: ignore[arg-type]
    client.dial()
    goes_on(loop, lambda: loop.settled == 1)
    streams.peers[0].close()
    goes_on(loop, lambda: not client.is_open)
    assert sum(loop.errors.values()) == 1
    loop.remove(0)
    loop.remove(0)  # harmless twice


def test_a_client_without_a_descriptor_is_counted(loop: Loop) -> None:
    class Full(Pairs):
        def dial(self) -> socket.socket:
            raise OSError(24, os.strerror(24))

    client = StreamClient(loop, Full(socket.SOCK_STREAM), Rings(1, 10, b""), 0)  # type: ignore[arg-type]
    client.dial()
    assert loop.errors == {"too many open files": 1}
    assert (loop.settled, client.is_open) == (1, False)


@pytest.mark.parametrize(
    ("module", "load", "endpoint", "kind"),
    [
        (closed, ClosedLoad, "unix-stream:///x", socket.SOCK_STREAM),
        (datagrams, ClosedDatagrams, "unix-datagram:///x", socket.SOCK_DGRAM),
    ],
)
def test_a_run_of_too_many_messages_is_ended(
    loop: Loop,
    module: object,
    load: type[ClosedLoad],
    endpoint: str,
    kind: socket.SocketKind,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_SAMPLES", 3)
    with Pairs(kind) as pairs:
        made = load(loop, pairs, LoadPlan(endpoint, size=10))  # type: ignore[arg-type]
        made.dial()
        made.start(clock())
        (peer,) = pairs.peers

        for _ in range(4):
            goes_on(loop, lambda: bool(select.select([peer], [], [], 0)[0]))
            answered = loop.answered()
            peer.send(peer.recv(10))
            goes_on(loop, lambda: loop.answered() > answered)  # noqa: B023 - called in this round
        with pytest.raises(RunEnded, match="more than 3 messages: shorten the run"):
            loop.run(clock() + PATIENCE)
        made.close()


# --- the crowd --------------------------------------------------------------------------


def crowd_of(loop: Loop, pairs: Pairs, **counts: int) -> Crowd:
    crowd = Crowd(loop, pairs, LoadPlan("tcp://127.0.0.1:1", **counts))  # type: ignore[arg-type]
    crowd.gather()
    return crowd


def test_a_silent_client_that_is_spoken_to_says_so(loop: Loop, streams: Pairs) -> None:
    crowd = crowd_of(loop, streams, silent=1)
    streams.peers[0].sendall(b"welcome")
    with pytest.raises(WrongReply, match="silent client: received what it did not ask for: b'w'"):
        turns(loop)
    crowd.close()


@pytest.mark.parametrize("sort", ["silent", "half", "slow"])
def test_who_is_cut_off_beside_the_others_is_no_longer_counted(
    loop: Loop, streams: Pairs, sort: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echoservers.lab.load.crowd.SLOW_LIMIT", 1)  # it has sent all it will
    crowd = crowd_of(loop, streams, **{sort: 2})
    turns(loop)
    assert crowd.counts() == {"answered": 0, sort: 2}
    streams.peers[1].close()
    turns(loop)
    assert crowd.counts() == {"answered": 0, sort: 1}
    assert list(loop.errors) == [f"{sort} client: closed by the server"]
    crowd.close()


def test_a_crowd_that_is_not_answered_is_not_waited_for_again(
    loop: Loop, streams: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echoservers.lab.load.crowd.PATIENCE", 0.4)
    began = clock()
    crowd = crowd_of(loop, streams, idle=300)
    assert clock() - began < 2  # once, and not for each of ten groups
    assert crowd.counts() == {"answered": 0, "idle": 300}
    assert len(streams.peers) == 300
    crowd.close()


# --- TLS --------------------------------------------------------------------------------


def test_tls_without_room_says_what_a_socket_says(files: dict[str, str]) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files["both"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    theirs.setblocking(False)
    filling = b"x" * 512
    sent = fill(ours.send, filling)
    channel = TLSChannel(ours, context)
    with pytest.raises(BlockingIOError):  # no room for the first words
        channel.handshake()
    assert len(receive_exactly(theirs, sent)) == sent
    peer = server.wrap_socket(theirs, server_side=True, do_handshake_on_connect=False)
    shaken = done = False
    while not (shaken and done):
        try:
            done = done or channel.handshake()
        except BlockingIOError:  # part of its words have found room
            pass
        try:
            peer.do_handshake()
            shaken = True
        except ssl.SSLWantReadError:
            pass
    with pytest.raises(BlockingIOError):  # nothing has come
        channel.recv(10)
    assert fill(channel.send, filling) >= len(filling)
    assert peer.recv(512) == filling
    peer.send(b"hello")
    assert channel.recv(10) == b"hello"
    channel.close()
    peer.close()
