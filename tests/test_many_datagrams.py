"""Datagrams that are answered together: as if one by one, and counted alike.

Each server here is turned by hand, so that what has been sent to it is one batch.
"""

import ctypes
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from datagram_clients import Clients, at_reserved_port
from echoservers import EchoHandler, UpperHandler, mmsg
from echoservers.counters import BYTES_IN, BYTES_OUT
from echoservers.datagrams import BATCH, MANY, REST
from support import DATAGRAM_NAMES, PATIENCE, connect, serving

HOSTS = ("127.0.0.1", "::1", "unix")
SIZES = (1, 0, 64, 65507, 2, 1472, 0, 9000, 63)

needs_many = pytest.mark.skipif(mmsg._calls() is None, reason="one system call a datagram here")


@pytest.fixture(params=[pytest.param(True, marks=needs_many, id="many"), False])
def together(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the system can; where it cannot, all is as before."""
    if not request.param:
        monkeypatch.setattr(mmsg, "_calls", lambda: None)
    return bool(request.param)


@pytest.fixture
def clients_of(together: bool, folder: Path) -> Iterator[Callable[..., Clients]]:
    with ExitStack() as stack:

        def make(where: str = "127.0.0.1", handler: Any = EchoHandler) -> Clients:
            made = stack.enter_context(Clients(where, folder, handler))
            assert (made.path._many is not None) == together
            return made

        yield make


def pattern(size: int, number: int) -> bytes:
    return bytes((number + n) % 251 for n in range(size))


@pytest.mark.parametrize("where", HOSTS)
def test_each_comes_back_whole_to_its_sender(
    where: str, clients_of: Callable[..., Clients]
) -> None:
    with clients_of(where) as here:
        clients = [here.client() for _ in SIZES]
        for sizes in (SIZES, SIZES[::-1], SIZES):  # long ones where short ones were, and back
            sent = [pattern(size, number) for number, size in enumerate(sizes)]
            for client, message in zip(clients, sent, strict=True):
                client.send(message)
            here.turn()
            assert [client.recv(65536) for client in clients] == sent
        here.check(3 * len(SIZES), 3 * sum(SIZES))
        assert here.server.stats()["bytes_out"] == 3 * sum(SIZES)


def test_no_more_than_a_batch_is_taken_in_a_turn(clients_of: Callable[..., Clients]) -> None:
    with clients_of() as here:
        client = here.client()
        for number in range(BATCH + 5):
            client.send(b"%d" % number)
        here.turn()
        assert here.server.stats()["messages"] == BATCH
        here.turn()
        assert [client.recv(9) for _ in range(BATCH + 5)] == [b"%d" % n for n in range(BATCH + 5)]
        here.turn()
        assert here.server.stats()["messages"] == BATCH + 5


def test_who_sees_that_they_are_over_sees_their_bytes_too(
    clients_of: Callable[..., Clients],
) -> None:
    seen: list[tuple[int, int]] = []
    with clients_of() as here:
        activity = here.server._activity

        class Watched(type(activity)):  # type: ignore[misc]
            def __setattr__(self, name: str, value: Any) -> None:
                if name == "at_once":
                    cells = here.server.cells_of(None)
                    seen.append((cells[BYTES_IN], cells[BYTES_OUT]))
                super().__setattr__(name, value)

        activity.__class__ = Watched
        client = here.client()
        for _ in range(MANY):
            client.send(b"hello")
        here.turn()
        assert seen[-1] == (5 * MANY, 5 * MANY)


class Short(EchoHandler):
    max_message_size = 1000


@pytest.mark.parametrize("where", HOSTS)
def test_those_that_are_too_long_are_dropped(
    where: str, clients_of: Callable[..., Clients]
) -> None:
    with clients_of(where, Short) as here:
        client = here.client()
        for size in (1001, 1000, 5, 1001, 1001, 3, 30000):
            client.send(bytes(size))
        here.turn()
        assert [len(client.recv(65536)) for _ in range(3)] == [1000, 5, 3]
        here.check(3, 1008, too_long=4)


def test_longer_ones_than_any_buffer_are_dropped(clients_of: Callable[..., Clients]) -> None:
    with clients_of("unix") as here:
        client = here.client()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        here.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        for size in (65536, 7, 100_000):
            client.send(bytes(size))
        here.turn()
        assert client.recv(65536) == bytes(7)
        here.check(1, 7, too_long=2)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_reserved_ports_get_no_reply(host: str, clients_of: Callable[..., Clients]) -> None:
    with clients_of(host) as here, at_reserved_port(host) as service:
        client = here.client()
        for number in range(6):
            client.send(b"%d" % number)
            service.sendto(b"echo, echo", here.server.server_address)
        here.turn()
        assert [client.recv(9) for _ in range(6)] == [b"%d" % n for n in range(6)]
        service.setblocking(False)
        with pytest.raises(BlockingIOError):
            service.recv(9)
        here.check(6, 6, unsafe_source=6)


def test_our_own_port_gets_no_reply(clients_of: Callable[..., Clients]) -> None:
    with clients_of() as here, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as twin:
        twin.bind(("127.0.0.3", here.server.server_address[1]))
        client = here.client()
        for message in (b"one", b"two"):
            client.send(message)
            twin.sendto(b"echo, echo", here.server.server_address)
        here.turn()
        assert [client.recv(9), client.recv(9)] == [b"one", b"two"]
        here.check(2, 6, unsafe_source=2)


def test_too_long_and_unsafe_is_one_drop(clients_of: Callable[..., Clients]) -> None:
    with clients_of(handler=Short) as here:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as twin:
            twin.bind(("127.0.0.3", here.server.server_address[1]))
            twin.sendto(bytes(1001), here.server.server_address)
            twin.sendto(bytes(10), here.server.server_address)
            here.turn()
        here.check(0, 0, too_long=1, unsafe_source=1)


# --- replies that cannot be sent --------------------------------------------------------


@pytest.mark.parametrize("where", HOSTS)
def test_a_client_that_has_gone_costs_no_other_its_reply(
    where: str, clients_of: Callable[..., Clients]
) -> None:
    with clients_of(where) as here:
        clients = [here.client() for _ in range(7)]
        for number, client in enumerate(clients):
            client.send(b"%d" % number)
        for gone in (0, 3, 4, 6):
            clients[gone].close()
        here.turn()
        assert [clients[number].recv(9) for number in (1, 2, 5)] == [b"1", b"2", b"5"]
        over_unix = {"peer_gone": 4} if where == "unix" else {}  # over UDP nobody knows yet
        here.check(7, 7, **over_unix)
        assert here.server.stats()["bytes_out"] == (3 if where == "unix" else 7)
        clients[1].send(b"and again")
        here.turn()
        assert clients[1].recv(9) == b"and again"


def test_who_has_no_address_gets_no_reply(clients_of: Callable[..., Clients]) -> None:
    with clients_of("unix") as here, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unnamed:
        client = here.client()
        for _ in range(2):
            unnamed.sendto(b"who", here.server.server_address)
            client.send(b"me")
        here.turn()
        assert [client.recv(9), client.recv(9)] == [b"me", b"me"]
        here.check(4, 10, no_address=2)


def test_who_does_not_read_costs_no_other_its_reply(clients_of: Callable[..., Clients]) -> None:
    with clients_of("unix") as here, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind("")  # not connected: then only our send buffer would bound what it is sent
        client = here.client()
        while not here.server.stats()["dropped"]["peer_full"]:
            deaf.sendto(b"I do not read", here.server.server_address)
            deaf.sendto(b"I do not read", here.server.server_address)
            here.turn()
        before = here.server.stats()
        for number in range(3):
            deaf.sendto(b"I do not read", here.server.server_address)
            client.send(b"%d" % number)
        here.turn()
        assert [client.recv(9) for _ in range(3)] == [b"0", b"1", b"2"]
        after = here.server.stats()
        assert after["dropped"]["peer_full"] == before["dropped"]["peer_full"] + 3
        assert after["messages"] == before["messages"] + 6
        assert after["bytes_out"] == before["bytes_out"] + 3


def test_a_socket_that_somebody_has_closed_ends_the_loop(
    clients_of: Callable[..., Clients],
) -> None:
    with clients_of() as here:
        here.server.socket.close()
        here.turn()
        assert here.server._stop_requested


def test_who_has_shut_its_input_down_costs_no_other_its_reply(
    clients_of: Callable[..., Clients],
) -> None:
    with clients_of("unix") as here:
        clients = [here.client() for _ in range(5)]
        for number, client in enumerate(clients):
            client.send(b"%d" % number)
        clients[1].shutdown(socket.SHUT_RD)
        here.turn()
        assert [clients[number].recv(9) for number in (0, 2, 3, 4)] == [b"0", b"2", b"3", b"4"]
        here.check(5, 5, peer_gone=1)


@needs_many
def test_a_fault_in_the_middle_loses_none_of_those_behind_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    with Clients("127.0.0.1", folder) as here:
        monkeypatch.setattr(here.server, "_accept_failed", told.append)
        send_back = here.path._many.send_back

        def send(descriptor: int, first: int, end: int) -> int:
            if first == 1:
                raise OSError(errno.EIO, "it does not go")
            return send_back(descriptor, first, min(end, first + 1))

        monkeypatch.setattr(here.path._many, "send_back", send)
        clients = [here.client() for _ in range(4)]
        for number, client in enumerate(clients):
            client.send(b"%d" % number)
        here.turn()
        assert [clients[number].recv(9) for number in (0, 2, 3)] == [b"0", b"2", b"3"]
        assert [error.errno for error in told] == [errno.EIO]
        here.check(4, 4)


@pytest.mark.parametrize(
    "reason", [ImportError("no ctypes"), OSError(errno.ENOMEM, "none"), MemoryError()]
)
def test_where_many_cannot_be_had_they_are_answered_one_by_one(
    reason: BaseException, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def none(*_: object) -> None:
        tried.append(1)
        raise reason

    monkeypatch.setattr(mmsg, "many_datagrams", none)
    with Clients("127.0.0.1", folder) as here:
        client = here.client()
        for _ in range(3):
            for number in range(MANY):
                client.send(b"%d" % number)
            here.turn()
            assert [client.recv(9) for _ in range(MANY)] == [b"%d" % n for n in range(MANY)]
        assert tried == [1]
        here.check(3 * MANY, 3 * MANY)


@needs_many
def test_a_fault_of_our_own_socket_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    with Clients("127.0.0.1", folder) as here:
        monkeypatch.setattr(here.server, "_accept_failed", told.append)

        def send(*_: object) -> int:
            ctypes.set_errno(errno.EIO)
            return -1

        monkeypatch.setattr(here.path._many, "_send", send)
        here.client().send(b"hello")
        here.turn()
        assert [error.errno for error in told] == [errno.EIO]
        here.check(1, 5)
        assert here.server.stats()["bytes_out"] == 0


# --- when -------------------------------------------------------------------------------


@needs_many
def test_few_are_answered_one_by_one_for_a_while(folder: Path) -> None:
    with Clients("127.0.0.1", folder) as here:
        client = here.client()
        received: list[int] = []
        receive = here.path._many.receive
        here.path._many.receive = lambda fd: received.append(1) or receive(fd)

        def turns_with(number: int, turns: int) -> int:
            """How many of the *turns* were made together."""
            received.clear()
            for _ in range(turns):
                for _ in range(number):
                    client.send(b"hello")
                here.turn()
                for _ in range(number):
                    assert client.recv(9) == b"hello"
            return len(received)

        assert turns_with(MANY, 5) == 5
        assert turns_with(MANY - 1, REST + 1) == 1
        assert turns_with(MANY, 5) == 5


@pytest.mark.parametrize("many_of", [1, MANY])
def test_ctypes_is_loaded_under_load_only(many_of: int, together: bool, folder: Path) -> None:
    with Clients("127.0.0.1", folder) as here:
        here.server._prepare_to_serve()
        path, client = here.server._plain_path, here.client()
        for _ in range(3):
            for _ in range(many_of):
                client.send(b"hello")
            here.turn()
            for _ in range(many_of):
                assert client.recv(9) == b"hello"
        assert (path._many is not None) == (together and many_of == MANY)


def test_handlers_of_their_own_are_asked_one_by_one(folder: Path) -> None:
    with Clients("127.0.0.1", folder, UpperHandler) as here:
        assert here.path._many is None
        client = here.client()
        for _ in range(MANY):
            client.send(b"hello")
        for _ in range(2):
            here.turn()
        assert [client.recv(9) for _ in range(MANY)] == [b"HELLO"] * MANY
        assert here.path._many is None


class OtherSocket(socket.socket):
    """Might do anything in `recvfrom_into`."""


def test_sockets_of_other_kinds_are_left_alone(folder: Path) -> None:
    with Clients("127.0.0.1", folder) as here:
        here.server.socket = OtherSocket(fileno=here.server.socket.detach())
        here.server._prepare_to_serve()
        here.server._plain_path._load()
        assert here.server._plain_path._many is None


@pytest.mark.parametrize(
    "mode", [name for name in DATAGRAM_NAMES if name.startswith(("udp", "unix", "select", "epoll"))]
)
def test_a_server_under_load_answers_everything(mode: str, together: bool, folder: Path) -> None:
    with serving(mode, folder) as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(4)]
        sent = 0
        for turn in range(200):
            for number in range(8):  # fewer than max_dgram_qlen (unix(7)): nobody has to wait
                for client in clients:
                    client.send(b"%d %d" % (turn, number))
            for client in clients:
                replies = [client.recv(20) for _ in range(8)]
                assert replies == [b"%d %d" % (turn, number) for number in range(8)]
            sent += 8 * len(clients)
        stats = server.drain(PATIENCE) and server.stats()
        assert stats["messages"] == stats["accepted"] == sent
        assert stats["bytes_in"] == stats["bytes_out"]
