"""Streams that are echoed together: as if one by one, and counted alike."""

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from echoservers import UpperHandler, aio
from echoservers.loop import MANY
from echoservers.stream_batches import PLACES, REST, ROOM
from stream_crowd import IN_A_ROW, REACTORS, SIZES, Crowd, Lines, needs_many, pattern
from support import PATIENCE, connect, receive_all, receive_exactly, serving


@pytest.fixture(params=[pytest.param(True, marks=needs_many, id="many"), False])
def together(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the system can; where it cannot, all is as before."""
    if not request.param:
        monkeypatch.setattr(aio, "many_streams", lambda *_: None)
    return bool(request.param)


@pytest.fixture
def crowd_of(together: bool) -> Iterator[Callable[..., Crowd]]:
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(Crowd(*args, **options))


@pytest.mark.parametrize("mode", REACTORS)
def test_each_has_its_own_bytes_back(
    mode: str, crowd_of: Callable[..., Crowd], together: bool
) -> None:
    with crowd_of(mode=mode) as here:
        clients = here.clients(len(SIZES))
        for sizes in (SIZES, SIZES[::-1], SIZES):  # long ones where short ones were, and back
            here.echo(clients, [pattern(size, number) for number, size in enumerate(sizes)])
        stats = here.server.stats()
        assert stats["bytes_in"] == stats["bytes_out"] == 3 * sum(SIZES)
        assert bool(here.taken) == together


def test_each_piece_is_a_message(crowd_of: Callable[..., Crowd]) -> None:
    with crowd_of() as here:
        clients = here.clients(MANY)
        for _ in range(IN_A_ROW):
            here.echo(clients, [b"hello"] * MANY)
        assert here.server.stats()["messages"] == IN_A_ROW * MANY


@needs_many
def test_the_rings_end_is_no_end() -> None:
    with Crowd() as here:
        clients = here.clients(MANY + 3)
        for number in range(IN_A_ROW):
            here.echo(clients, [pattern(n + 1, number) for n in range(MANY + 3)])
        assert here.taken == [MANY + 3] * IN_A_ROW


@needs_many
def test_more_than_a_batch_are_several() -> None:
    with Crowd() as here:
        clients = here.clients(2 * PLACES + 5)
        here.echo(clients, [b"%d" % n for n in range(len(clients))])
        assert here.taken == [PLACES, PLACES]  # and five by themselves


@needs_many
def test_a_few_are_not_gathered() -> None:
    with Crowd() as here:
        here.echo(here.clients(MANY - 1), [b"hello"] * (MANY - 1))
        assert here.taken == []


def test_those_that_end_among_others(crowd_of: Callable[..., Crowd]) -> None:
    with crowd_of() as here:
        clients = here.clients(MANY + 2)
        clients[0].shutdown(socket.SHUT_WR)
        clients[4].close()
        clients[-1].shutdown(socket.SHUT_WR)
        rest = [*clients[1:4], *clients[5:-1]]
        here.echo(rest, [b"hello"] * len(rest))
        assert receive_all(clients[0]) == receive_all(clients[-1]) == b""
        here.echo(rest, [b"again"] * len(rest))


def test_all_that_end_at_once(crowd_of: Callable[..., Crowd]) -> None:
    with crowd_of() as here:
        clients = here.clients(MANY)
        for client in clients:
            client.shutdown(socket.SHUT_WR)
        here.turn()
        assert [receive_all(client) for client in clients] == [b""] * MANY
        assert here.server.stats()["messages"] == 0


@pytest.mark.parametrize("mode", REACTORS)
def test_a_reset_among_others_ends_that_one(mode: str, together: bool, folder: Path) -> None:
    with serving(mode, folder) as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(MANY + 1)]
        for _ in range(3):
            gone = stack.enter_context(connect(server))
            for client in (gone, *clients):
                client.sendall(b"hello")
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.close()
            assert [receive_exactly(client, 5) for client in clients] == [b"hello"] * len(clients)
        assert server.stats()["errors"] == 0


def test_a_peer_that_does_not_read_keeps_its_bytes(crowd_of: Callable[..., Crowd]) -> None:
    with crowd_of() as here:
        slow, *others = clients = here.clients(MANY)
        slow.setblocking(False)
        sent, received, refused = bytearray(), bytearray(), 0
        while refused < 2:  # the buffers of the system are full, on both ways
            piece = pattern(ROOM - 1, len(sent))
            try:
                sent += piece[: slow.send(piece)]
                refused = 0
            except BlockingIOError:
                refused += 1
            here.echo(others, [b"hello"] * len(others))
        while len(received) < len(sent):
            try:
                received += slow.recv(1 << 20)
            except BlockingIOError:
                here.turn()
        assert received == sent
        slow.settimeout(PATIENCE)
        here.echo(clients, [b"again"] * MANY)


@needs_many
@pytest.mark.parametrize("handler", [UpperHandler, Lines])
def test_handlers_that_do_more_are_asked_one_by_one(handler: Any) -> None:
    with Crowd(handler) as here:
        here_clients = here.clients(MANY)
        for client in here_clients:
            client.sendall(b"hello\n")
        here.turn()
        for client in here_clients:
            assert receive_exactly(client, 6).lower() == b"hello\n"
        assert (here.taken, here.batches._rest) == ([], REST)


class Doubling(socket.socket):
    """Not plain: what is read from it is not what the system has."""

    def recv_into(self, buffer: Any, *_: int) -> int:
        data = super().recv(len(buffer) // 2)
        buffer[: 2 * len(data)] = data * 2
        return 2 * len(data)


@needs_many
def test_requests_of_another_kind_are_not_read_past() -> None:
    def doubling(made: socket.socket) -> Doubling:
        return Doubling(fileno=made.detach())

    with Crowd() as here:
        clients = [here.client(doubling) for _ in range(MANY)]
        for client in clients:
            client.sendall(b"ab")
        here.turn()
        assert [receive_exactly(client, 4) for client in clients] == [b"abab"] * MANY
        assert here.taken == []


@needs_many
def test_it_rests_where_pieces_are_large() -> None:
    with Crowd() as here:
        clients = here.clients(MANY)
        here.echo(clients, [bytes(ROOM)] * MANY)
        assert (here.taken, here.batches._rest) == ([MANY], REST)
        for _ in range(REST):
            here.echo(clients, [b"hello"] * MANY)
        assert len(here.taken) == 1
        here.echo(clients, [b"hello"] * MANY)
        assert len(here.taken) == 2


@needs_many
def test_what_is_echoed_together_is_no_idleness() -> None:
    with Crowd() as here:
        clients = here.clients(MANY)
        connections = [record.worker for record in here.server._activity.snapshot()]
        for connection in connections:
            connection.active_at = 0.0
        here.echo(clients, [b"hello"] * MANY)
        assert here.taken == [MANY]
        assert {connection.active_at for connection in connections} == {here.server._loop.now}


@pytest.mark.parametrize(
    "reason", [ImportError("no ctypes"), OSError(errno.EAGAIN, "none left"), MemoryError(), None]
)
def test_where_they_cannot_be_had_connections_are_echoed_one_by_one(
    reason: BaseException | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def none(*_: object) -> None:
        tried.append(1)
        if reason is not None:
            raise reason

    monkeypatch.setattr(aio, "many_streams", none)
    with Crowd() as here:
        clients = here.clients(MANY)
        for _ in range(3):
            here.echo(clients, [b"hello"] * MANY)
    assert tried == [1]


@needs_many
def test_nothing_of_the_system_is_kept() -> None:
    def contexts() -> int:
        return Path("/proc/self/maps").read_text().count("[aio]")

    before = contexts()
    with Crowd() as here:
        here.echo(here.clients(MANY), [b"hello"] * MANY)
        assert contexts() == before + 1
    assert contexts() == before
