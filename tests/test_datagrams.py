"""Datagrams: whole or not at all, never to the wrong place, never too many workers.

That each comes back whole, to its sender, is checked for every mode in test_conformance_modes.py.
"""

import fcntl
import random
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

import echoservers
from chosen_modes import AVAILABLE_MODES
from echoservers import EchoHandler, TimestampHandler
from echoservers.bounces import MOST_SOURCES, PAUSE, Repeats
from support import (
    DATAGRAM_NAMES,
    HANDLE_NAMES,
    OF_PROCESSES,
    PATIENCE,
    UDP_NAMES,
    children_of,
    connect,
    echo,
    echo_once,
    has_pool,
    program,
    serving,
    threads_of,
    wait_until,
)

# These answer a datagram in their loop, before they take the next.
OF_LOOPS = ("iterative", "select", "poll", "epoll", "kqueue", "asyncio", "uvloop")
OF_WORKERS = ("threading", "forking", "thread-pool", "prethreading")
FLOOD = 200
"""Datagrams, which the buffer of a socket has room for: none is lost."""


@pytest.mark.parametrize("mode", DATAGRAM_NAMES)
def test_a_datagram_beyond_the_limit_is_dropped_and_counted(mode: str, folder: Path) -> None:
    with serving(mode, folder, max_message_size=1000) as server, connect(server) as client:
        client.send(bytes(1001))
        client.send(b"x" * 1000)
        assert client.recv(65536) == b"x" * 1000
        assert server.stats()["dropped"]["too_long"] == 1


class Doubling(EchoHandler):
    def respond(self, message: bytes) -> bytes:
        return message + message


@pytest.mark.parametrize("mode", UDP_NAMES)
def test_a_reply_that_no_datagram_can_carry_is_dropped_and_counted(mode: str, folder: Path) -> None:
    with serving(mode, folder, Doubling) as server, connect(server) as client:
        client.send(bytes(65507))
        wait_until(lambda: server.stats()["dropped"]["too_long"] == 1, "the drop is counted")
        client.send(b"ab")
        assert client.recv(65536) == b"abab"


@pytest.mark.parametrize("mode", UDP_NAMES)
def test_a_client_that_has_gone_harms_nobody(mode: str, folder: Path) -> None:
    with serving(mode, folder) as server:
        for _ in range(20):
            with connect(server) as client:
                client.send(b"I do not wait for the reply")
        echo_once(server)
        assert server.stats()["errors"] == 0


# --- loops and forged sources -----------------------------------------------------------


@pytest.mark.parametrize("port", [7, 1023])
@pytest.mark.parametrize("mode", UDP_NAMES)
def test_a_reserved_source_port_gets_no_reply(mode: str, port: int, folder: Path) -> None:
    with serving(mode, folder) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
            try:
                service.bind((f"127.3.{random.randint(0, 255)}.{random.randint(1, 254)}", port))
            except PermissionError:
                pytest.skip("binding a reserved port needs a privilege")
            service.sendto(b"echo, echo", server.server_address)
            echo_once(server)  # so the other one was looked at
            service.setblocking(False)
            with pytest.raises(BlockingIOError):
                service.recv(100)
        assert server.stats()["dropped"]["unsafe_source"] == 1


@pytest.mark.parametrize("mode", UDP_NAMES)
def test_our_own_port_as_source_gets_no_reply(mode: str, folder: Path) -> None:
    with serving(mode, folder) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as twin:
            twin.bind(("127.0.0.3", server.server_address[1]))
            twin.sendto(b"echo, echo", server.server_address)
            echo_once(server)
        assert server.stats()["dropped"]["unsafe_source"] == 1


@pytest.mark.parametrize("mode", UDP_NAMES)
def test_a_broadcast_gets_no_reply(mode: str, folder: Path) -> None:
    with serving(mode, folder, host="0.0.0.0") as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            client.settimeout(PATIENCE)
            client.sendto(b"who is there", ("127.255.255.255", server.server_address[1]))
            client.sendto(b"you", ("127.0.0.1", server.server_address[1]))
            assert client.recv(100) == b"you"
        assert server.stats()["dropped"]["unsafe_source"] == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
@pytest.mark.parametrize("mode", UDP_NAMES)
def test_the_reply_comes_from_the_address_that_was_asked(
    mode: str, host: str, folder: Path
) -> None:
    with serving(mode, folder, host=host) as server:
        asked = ("127.0.0.2", server.server_address[1])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.sendto(b"hello", asked)
            assert client.recvfrom(100) == (b"hello", asked)


@pytest.mark.parametrize("mode", UDP_NAMES)
def test_a_longer_reply_goes_to_this_machine_only(mode: str, folder: Path) -> None:
    with serving(mode, folder, TimestampHandler) as server, connect(server) as client:
        client.send(b"hello")
        assert client.recv(100).endswith(b"] hello")


def test_a_longer_reply_to_another_machine_is_dropped_and_counted() -> None:
    with echoservers.create_server("udp", ("127.0.0.1", 0)) as server:
        request = (b"short", server.socket)
        server.send_datagram(b"much longer", request, ("192.0.2.1", 4242))
        assert server.stats()["dropped"]["amplification"] == 1


IN_THIS_PROCESS = [n for n in UDP_NAMES if not n.startswith(OF_PROCESSES)]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
@pytest.mark.parametrize("mode", IN_THIS_PROCESS)
def test_two_servers_that_are_set_at_each_other_fall_silent(mode: str, host: str) -> None:
    here = "::1" if ":" in host else "127.0.0.1"
    level, mark = (
        (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
        if ":" in host
        else (socket.IPPROTO_IP, socket.IP_TOS)
    )
    with (
        echoservers.create_server(mode, (host, 0)) as one,
        echoservers.create_server(mode, (host, 0)) as other,
    ):
        own = other.socket.getsockopt(level, mark)
        other.socket.setsockopt(level, mark, 0)
        other.socket.sendto(b"forged", (here, one.server_address[1]))
        other.socket.setsockopt(level, mark, own)
        threads = [threading.Thread(target=server.serve_forever) for server in (one, other)]
        for thread in threads:
            thread.start()
        wait_until(lambda: one.stats()["messages"] == 1, "it is answered")
        for _ in range(3):
            echo_once(one)
            echo_once(other)

        def answered() -> int:
            return one.stats()["messages"] + other.stats()["messages"]

        wait_until(lambda: answered() >= 1 + 6, "all are counted")
        assert answered() == 1 + 6
        for server, thread in zip((one, other), threads, strict=True):
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("mode", [n for n in DATAGRAM_NAMES if not n.startswith("prefork")])
def test_a_peer_that_echoes_is_muted_within_100_packets(mode: str, folder: Path) -> None:
    with serving(mode, folder, max_repeats=32) as server, connect(server) as peer:
        peer.send(b"ball")
        for _ in range(31):
            assert peer.recv(100) == b"ball"
            peer.send(b"ball")
        assert peer.recv(100) == b"ball"
        peer.send(b"ball")  # the 33rd
        wait_until(lambda: server.stats()["dropped"]["repeated"] == 1, "it is dropped")
        echo_once(server)
        echo(peer, b"something else")
        echo(peer, b"ball")  # the client asks again, and it begins anew


def test_who_sends_the_same_over_and_over_is_answered_unless_told_otherwise(folder: Path) -> None:
    with serving("udp", folder) as server, connect(server) as client:
        for _ in range(1000):
            echo(client)


def test_a_pause_ends_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    repeats = Repeats(2)
    assert [repeats.too_many("one", b"?") for _ in range(4)] == [False, False, True, False]
    assert not repeats.too_many("one", b"!")
    now += PAUSE + 0.1
    assert [repeats.too_many("one", b"?") for _ in range(3)] == [False, False, True]
    for number in range(2 * MOST_SOURCES):
        repeats.too_many(number, b"?")
    assert len(repeats._seen) <= MOST_SOURCES


# --- how many workers -------------------------------------------------------------------


class Gated(EchoHandler):
    """Serves nobody while the file that the message names is locked; how many it did at once."""

    lock = threading.Lock()
    now = most = 0

    def respond(self, message: bytes) -> bytes:
        with self.lock:
            Gated.now += 1
            Gated.most = max(self.now, self.most)
        with open(message) as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)
        with self.lock:
            Gated.now -= 1
            return b"%d" % self.most


@pytest.mark.parametrize("mode", [n for n in UDP_NAMES if n.startswith(OF_WORKERS)])
def test_a_flood_never_makes_more_workers_than_the_cap(mode: str, folder: Path) -> None:
    arguments = ["--mode", mode, "--port", "0", "--max-connections", "4"]
    if has_pool(mode):
        arguments += ["--max-workers", "4"]
    handler = ["--handler", "test_datagrams:Gated"]
    here = {"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parent.parent}"}
    with (
        open(folder / "gate", "w") as gate,
        program(*arguments, *handler, env=here) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(PATIENCE)
        client.connect(server.address)

        def workers() -> int:
            return threads_of(server.pid) - 1 + len(children_of(server.pid))

        fcntl.flock(gate, fcntl.LOCK_EX)
        for _ in range(FLOOD):
            client.send(bytes(folder / "gate"))
        wait_until(lambda: workers() == 4, "so many are at work")
        for _ in range(100):  # while the others of the flood wait
            assert workers() == 4
        fcntl.flock(gate, fcntl.LOCK_UN)
        for _ in range(FLOOD):
            # A thread has done its work, and another may, before the system has ended it.
            assert mode == "threading-udp" or workers() <= 4
            assert int(client.recv(10)) <= 4
        assert server.stop()[0] == 0


class StdlibStyle(echoservers.EchoHandler):
    """Does its own I/O, as a handler of socketserver does."""

    def handle(self) -> None:
        data, sock = self.request
        sock.sendto(data.upper(), self.client_address)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("mode", [n for n in UDP_NAMES if n in HANDLE_NAMES])
def test_a_handler_may_answer_through_the_socket_itself(mode: str, host: str, folder: Path) -> None:
    with (
        serving(mode, folder, StdlibStyle, host=host) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(PATIENCE)
        client.sendto(b"hello", ("127.0.0.1", server.server_address[1]))
        assert client.recv(100) == b"HELLO"


@pytest.mark.parametrize("mode", DATAGRAM_NAMES)
def test_drain_answers_what_was_received(mode: str, folder: Path) -> None:
    with serving(mode, folder) as server, connect(server) as client:
        echo(client)
        for number in range(10):
            client.send(b"%d" % number)
        aborted: Any = tuple(server.drain(5))[1]
        assert aborted == 0
        assert sorted(client.recv(10) for _ in range(10)) == [b"%d" % n for n in range(10)]


@pytest.mark.parametrize(
    "mode",
    [
        mode.name
        for mode in AVAILABLE_MODES
        if mode.model in OF_LOOPS and mode.transport in ("udp", "unix-datagram")
    ],
)
def test_a_server_that_answers_in_its_loop_goes_the_short_way(mode: str, folder: Path) -> None:
    with serving(mode, folder) as server:
        echo_once(server)
        assert server._plain_path is not None
