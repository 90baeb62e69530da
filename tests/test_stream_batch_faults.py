"""What goes wrong in a batch concerns whom it concerns, and leaves no stream with a hole."""

import errno
import os
import signal
import socket
import struct
from array import array
from contextlib import ExitStack
from typing import Any

import pytest

from echoservers import EchoHandler, UpperHandler
from echoservers.loop import MANY
from echoservers.stream_batches import PLACES, REST
from stream_crowd import Crowd, Lines, needs_many, pattern
from support import receive_all, receive_exactly


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
        clients, many = here.gathered()
        receive, send_back = many.receive, many.send_back
        many.receive = lambda descriptors: receive(descriptors[:5])
        many.send_back = lambda places: send_back(places[:3])
        here.echo(clients, [b"%d" % n for n in range(MANY)])
        assert here.server.stats()["messages"] == 2 * MANY


@needs_many
def test_what_did_not_go_in_one_piece_goes_later() -> None:
    with Crowd() as here:
        clients, many = here.gathered()
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
        clients, many = here.gathered()
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
            clients, many = here.gathered()
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
        clients, many = here.gathered()
        count_out, seen = here.batches._count_out, []
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
