"""Streams that are echoed together: as if one by one, and counted alike.

Each server here is turned by hand, so that what its clients have sent is one batch.
"""

import contextlib
import errno
import os
import signal
import socket
import struct
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import echoservers
from echoservers import EchoHandler, LineFraming, UpperHandler, aio
from echoservers.loop import MANY
from echoservers.stream_batches import PLACES, REST, ROOM
from support import MODES, PATIENCE, connect, receive_all, receive_exactly, serving


def _is_there() -> bool:
    many = aio.many_streams(1, 1)
    if many is not None:
        many.close()
    return many is not None


needs_many = pytest.mark.skipif(not _is_there(), reason="one system call a message here")
REACTORS = [
    m.name
    for m in MODES
    if m.model in ("select", "poll", "epoll", "kqueue") and m.transport == "tcp"
]
SIZES = (1, 64, ROOM - 1, ROOM, ROOM + 1, 3 * ROOM, 2, 1000, 7, 5 * ROOM)
IN_A_ROW = 40
"""Batches of eight after which the kernel's ring has begun anew."""


class Crowd(ExitStack):
    """A reactor that a test turns, with clients over socket pairs."""

    def __init__(self, handler: Any = EchoHandler, mode: str = "epoll-tcp", **options: Any) -> None:
        super().__init__()
        server: Any = echoservers.create_server(mode, ("127.0.0.1", 0), handler, **options)
        self.server = self.enter_context(server)
        self.batches: Any = self.server._loop.gatherer
        self.taken: list[int] = []
        load = self.batches._load

        def loaded() -> Any:
            many = load()
            if many is not None:
                self._watch(many)
            return many

        self.batches._load = loaded

    def _watch(self, many: Any) -> None:
        receive = many.receive

        def counted(descriptors: "array[int]") -> list[int]:
            self.taken.append(len(descriptors))
            sizes: list[int] = receive(descriptors)
            return sizes

        many.receive = counted

    def clients(self, count: int) -> list[socket.socket]:
        return [self.client() for _ in range(count)]

    def client(
        self, wrap: Callable[[socket.socket], Any] = lambda made: made, *, tcp: bool = False
    ) -> socket.socket:
        ours, theirs = tcp_pair() if tcp else socket.socketpair()
        theirs.settimeout(PATIENCE)
        self.server._admit(wrap(ours), ("test", 1), contain=True)
        return self.enter_context(theirs)

    def turn(self) -> None:
        self.server._turn(PATIENCE)

    def echo(self, clients: list[socket.socket], messages: list[bytes]) -> None:
        """Send all of it, let the server turn, and compare what comes back."""
        for client, message in zip(clients, messages, strict=True):
            client.sendall(message)
            client.setblocking(False)
        came = [b""] * len(clients)
        while any(len(one) < len(message) for one, message in zip(came, messages, strict=True)):
            self.turn()
            for n, client in enumerate(clients):
                with contextlib.suppress(BlockingIOError):
                    came[n] += client.recv(1 << 20)
        for client in clients:
            client.settimeout(PATIENCE)
        assert came == messages


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname(), PATIENCE)
        return listener.accept()[0], theirs


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


def pattern(size: int, number: int) -> bytes:
    return bytes((number + n) % 251 for n in range(size))


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


class Lines(EchoHandler):
    framing_class = LineFraming


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


@needs_many
def test_where_no_call_is_made_each_is_served_by_itself() -> None:
    """As behind a fork, which has no part in what its parent was given."""
    with Crowd() as here:
        clients = here.clients(MANY)
        here.echo(clients, [b"hello"] * MANY)
        here.batches._many.receive = lambda _descriptors: []
        for client in clients:
            client.sendall(b"again")
        here.turn()
        assert [receive_exactly(client, 5) for client in clients] == [b"again"] * MANY
        assert here.batches._rest == REST


@needs_many
def test_those_that_the_system_did_not_come_to_are_served_by_themselves() -> None:
    with Crowd() as here:
        clients = here.clients(MANY)
        here.echo(clients, [b"hello"] * MANY)
        many = here.batches._many
        receive, send_back = many.receive, many.send_back
        many.receive = lambda descriptors: receive(descriptors[:5])
        many.send_back = lambda places: send_back(places[:3])
        here.echo(clients, [b"%d" % n for n in range(MANY)])
        assert here.server.stats()["messages"] == 2 * MANY


@needs_many
def test_what_did_not_go_in_one_piece_goes_later() -> None:
    with Crowd() as here:
        clients = here.clients(MANY)
        here.echo(clients, [b"hello"] * MANY)
        many = here.batches._many
        send_back = many.send_back

        def cut(places: Any) -> list[int]:
            for place in places:
                many._sizes[place] = 3 + place
            sent: list[int] = send_back(places)
            return sent

        many.send_back = cut
        messages = [pattern(100, n) for n in range(MANY)]
        here.echo(clients, messages)
        assert here.server.stats()["bytes_out"] == MANY * (5 + 100)


@needs_many
def test_a_write_that_fails_ends_that_connection() -> None:
    with Crowd() as here:
        clients = here.clients(MANY)
        here.echo(clients, [b"hello"] * MANY)
        many = here.batches._many
        send_back = many.send_back
        many.send_back = lambda places: [*send_back(places[:-1]), -errno.EPIPE]
        for client in clients:
            client.sendall(b"hello")
        here.turn()
        assert [receive_exactly(client, 5) for client in clients[:-1]] == [b"hello"] * (MANY - 1)
        assert receive_all(clients[-1]) == b""


@needs_many
def test_a_reset_in_a_batch_is_told() -> None:
    sizes: list[int] = []
    with Crowd() as here:
        clients = [here.client(tcp=True) for _ in range(MANY + 1)]
        here.echo(clients, [b"hello"] * len(clients))
        many = here.batches._many
        receive = many.receive

        def noted(descriptors: "array[int]") -> list[int]:
            sizes[:] = receive(descriptors)
            return list(sizes)

        many.receive = noted
        gone = clients.pop(3)
        for client in clients:
            client.sendall(b"again")
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()
        here.turn()
        assert sorted(sizes) == [-errno.ECONNRESET, *[5] * MANY]
        assert [receive_exactly(client, 5) for client in clients] == [b"again"] * MANY
        assert len(here.server._activity) == MANY


@needs_many
@pytest.mark.parametrize("step", ["receive", "send_back"])
def test_a_signal_handler_that_raises_leaves_no_stream_with_a_hole(step: str) -> None:
    class Alarm(OSError):
        """What it raises; no error of a connection."""

    def raising(_number: int, _frame: Any) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, raising)
    try:
        with Crowd() as here:
            clients = here.clients(MANY)
            here.echo(clients, [b"hello"] * MANY)
            many = here.batches._many
            call, calls = many._call, iter(range(9))
            wanted = ("receive", "send_back").index(step)

            def made(*arguments: int) -> int:
                done: int = call(*arguments)
                if next(calls) == wanted:
                    signal.raise_signal(signal.SIGALRM)
                return done

            many._call = made
            for client in clients:
                client.sendall(b"hello")
            with pytest.raises(Alarm):
                here.turn()
            came = [receive_all(client) for client in clients]
            assert came == [b"hello" if step == "send_back" else b""] * MANY
            others = here.clients(MANY)
            here.echo(others, [b"hi"] * MANY)  # and nothing of the others
    finally:
        signal.signal(signal.SIGALRM, before)


@needs_many
def test_an_interrupt_between_two_rests_closes_those_behind() -> None:
    with Crowd() as here:
        clients = here.clients(MANY)
        here.echo(clients, [b"hello"] * MANY)
        many, count_out, seen = here.batches._many, here.batches._count_out, []
        many.send_back = lambda places: []

        def interrupted(connection: Any, message: memoryview, result: int) -> None:
            if len(seen) == 3:
                raise KeyboardInterrupt
            seen.append(connection)
            count_out(connection, message, result)

        here.batches._count_out = interrupted
        for client in clients:
            client.sendall(b"again")
        with pytest.raises(KeyboardInterrupt):
            here.turn()
        assert len(here.server._activity) == 3
        del here.batches._count_out
        here.turn()
        assert sorted(
            receive_all(c) if n > 2 else receive_exactly(c, 5) for n, c in enumerate(clients)
        ) == [
            *[b""] * (MANY - 3),
            *[b"again"] * 3,
        ]


@needs_many
def test_a_connection_that_another_ends_is_not_taken_for_a_new_one() -> None:
    """Its number may be that of a socket of the handler's."""
    with Crowd(Ending) as here, ExitStack() as stack:
        clients = here.clients(PLACES + MANY)
        here.echo(clients, [b"hello"] * len(clients))
        records = {r.request.fileno(): r for r in here.server._activity.snapshot()}
        last = max(records)
        Ending.ends = records[last].request
        private, other = (stack.enter_context(end) for end in socket.socketpair())
        other.send(b"private")
        Ending.instead = private
        for client in clients[1:]:
            client.sendall(b"hello")
        clients[0].shutdown(socket.SHUT_WR)
        here.turn()
        os.close(last)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(9)
        Ending.ends = None


class Ending(EchoHandler):
    """The end of one is that of another, whose number is that of something else at once."""

    ends: Any = None
    instead: Any = None

    def finish(self) -> None:
        ends = type(self).ends
        if ends is not None and ends is not self.request:
            type(self).ends = None
            number = ends.fileno()
            ends.close()
            os.dup2(self.instead.fileno(), number)
        super().finish()


@needs_many
@pytest.mark.parametrize("handler", [UpperHandler, Lines])
def test_nothing_is_asked_of_the_system_in_vain(handler: Any) -> None:
    with Crowd(handler) as here:
        for client in here.clients(MANY):
            client.sendall(b"hello\n")
        here.turn()
        assert here.batches._many is None


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
