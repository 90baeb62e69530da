"""Clients of a closed loop that are resumed together: as if one by one, whatever happens."""

import errno
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import echoservers
import load_peers
from echoservers import aio
from echoservers.lab.load import LoadPlan, run_load
from echoservers.lab.load.closed import ClosedLoad
from echoservers.lab.load.loop import Loop, RunEnded, WrongReply, clock
from echoservers.lab.load.sockets import Dialler
from echoservers.lab.load.together import MANY, ROOM
from stream_crowd import needs_many
from support import PATIENCE

COUNT = 2 * MANY


class Clients(ExitStack):
    """A closed loop in this process."""

    def __init__(self, endpoint: str, **fields: Any) -> None:
        super().__init__()
        self.loop = Loop(PATIENCE)
        self.callback(self.loop.close)
        plan = LoadPlan(endpoint, connections=COUNT, **fields)
        self.load = ClosedLoad(self.loop, Dialler(endpoint), plan)
        self.callback(self.load.close)
        self.gatherer: Any = self.loop.gatherer
        self.taken = 0
        if self.gatherer is not None:
            self._count(self.gatherer._many)
        self.load.dial()
        assert self.loop.run_until(lambda: self.loop.settled == COUNT, clock() + PATIENCE)

    def _count(self, many: Any) -> None:
        receive = many.receive

        def counted(descriptors: "array[int]") -> list[int]:
            sizes: list[int] = receive(descriptors)
            self.taken += len(sizes)
            return sizes

        many.receive = counted

    def run_until(self, messages: int) -> None:
        until = clock() + PATIENCE
        while self.load.answered() < messages:
            assert clock() < until
            self.loop.run(clock() + 0.01)


@pytest.fixture(params=["tcp", "unix-stream"])
def endpoint(request: pytest.FixtureRequest, folder: Any) -> Iterator[str]:
    address: Any = str(folder / "socket") if "unix" in request.param else ("127.0.0.1", 0)
    with echoservers.start_server(f"epoll-{request.param}", address) as server:
        yield server.endpoint()


@needs_many
def test_all_are_answered(endpoint: str) -> None:
    with Clients(endpoint) as clients:
        clients.run_until(5000)
        counts = [len(client.ends) for client in clients.load._clients]
        assert clients.taken > 0
        assert min(counts) > 0
        assert not clients.loop.errors


@pytest.mark.parametrize(("size", "gathered"), [(ROOM, True), (ROOM + 1, False)])
@needs_many
def test_long_messages_go_by_themselves(size: int, gathered: bool, endpoint: str) -> None:
    with Clients(endpoint, size=size) as clients:
        clients.run_until(500)
        assert (clients.gatherer is not None) == gathered
        assert not clients.loop.errors


@needs_many
def test_what_is_cut_short_is_put_together(endpoint: str) -> None:
    """Short reads, short writes, writes that wait, and some that the system did not come to."""
    with Clients(endpoint, size=1000) as clients:
        many = clients.gatherer._many
        receive, send_back, turns = many.receive, many.send_back, iter(range(10**9))

        def some(descriptors: "array[int]") -> list[int]:
            count = len(descriptors) - next(turns) % 2
            sizes: list[int] = receive(descriptors[:count])
            return sizes

        def cut(places: list[int]) -> list[int]:
            last = len(places) - 1
            if last > 0 and next(turns) % 3 == 0:
                return [*send_back(places[:last]), -errno.EAGAIN]
            sent: list[int] = send_back(places[:last] if last > 0 else places)
            return sent

        many.receive, many.send_back = some, cut
        clients.run_until(5000)
        assert not clients.loop.errors


@needs_many
def test_errors_are_those_of_one_connection(endpoint: str) -> None:
    with Clients(endpoint) as clients:
        many = clients.gatherer._many
        receive, send_back, failed = many.receive, many.send_back, []

        def broken(descriptors: "array[int]") -> list[int]:
            sizes: list[int] = receive(descriptors)
            if not failed:
                failed.append(1)
                sizes[0] = -errno.ECONNRESET
            return sizes

        def refused(places: list[int]) -> list[int]:
            sent: list[int] = send_back(places)
            if len(failed) == 1:
                failed.append(2)
                sent[-1] = -errno.EPIPE
            return sent

        many.receive, many.send_back = broken, refused
        clients.run_until(3000)
        assert dict(clients.loop.errors) == {"connection reset by peer": 1, "broken pipe": 1}
        assert sum(client.is_open for client in clients.load._clients) == COUNT - 2


@needs_many
def test_a_wrong_byte_is_seen(endpoint: str) -> None:
    with Clients(endpoint) as clients:
        many = clients.gatherer._many
        taken = many.taken

        def wrong(place: int, size: int) -> bytes:
            data = bytearray(taken(place, size))
            data[10] ^= 1
            return bytes(data)

        many.taken = wrong
        with pytest.raises(WrongReply, match="byte"):
            clients.run_until(10**6)


@needs_many
def test_a_server_that_hangs_up_is_told_as_such() -> None:
    told = pytest.raises(RunEnded, match="no connection is left: ")
    with (
        load_peers.serving_one(load_peers.hangs_up) as endpoint,
        Clients(endpoint) as clients,
        told,
    ):
        clients.run_until(10**6)


def test_where_the_system_cannot_each_goes_by_itself(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aio, "many_streams", lambda *_: None)
    with Clients(endpoint) as clients:
        clients.run_until(1000)
        assert clients.gatherer is None


def test_where_others_have_it_all_each_goes_by_itself(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: Any) -> None:
        raise BlockingIOError

    monkeypatch.setattr(aio, "many_streams", none_left)
    with Clients(endpoint) as clients:
        clients.run_until(1000)
        assert clients.gatherer is None


def test_a_pipeline_goes_by_itself(endpoint: str) -> None:
    result = run_load(LoadPlan(endpoint, connections=COUNT, duration=0.1, pipeline=4))
    assert (result.ended, result.wrong) == (None, None)
    assert result.received > COUNT
