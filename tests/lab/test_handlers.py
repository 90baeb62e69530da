"""WorkHandler works as a message asks, in every kind of model, and tells who did it."""

import os
import threading
import time
from pathlib import Path

import pytest

from echoservers.client import EchoClient
from echoservers.lab.handlers import WorkHandler
from echoservers.lab.visits import VisitError, understands, visit, worker_names
from support import serving


@pytest.mark.parametrize("mode", ["tcp", "threading-tcp", "epoll-tcp", "asyncio-tcp", "udp"])
def test_it_works_and_echoes_or_tells(mode: str, folder: Path) -> None:
    with serving(mode, folder, WorkHandler) as server:
        with EchoClient(server.endpoint()) as client:
            assert client.echo(b"anything else\n") == b"anything else\n"
            began = time.monotonic()
            assert client.echo(b"work wait 20 and more\n") == b"work wait 20 and more\n"
            assert time.monotonic() - began >= 0.02
            client.send(b"tell cpu 2\n")
            word, pid, thread, begin, end = client.receive().split()
        assert word == b"told"
        assert int(pid) == os.getpid()
        assert int(thread) in {t.native_id for t in threading.enumerate()} or mode[0] == "t"
        assert began < float(begin) <= float(end) <= time.monotonic()


@pytest.mark.parametrize(
    "order", [b"work", b"work cpu", b"work hard 5", b"tell cpu x", b"work cpu 1e9"]
)
def test_an_order_that_is_none_ends_the_connection(order: bytes) -> None:
    from echoservers.lab.handlers import _order

    with pytest.raises(ValueError, match=r"order|time|float"):
        _order(order + b"\n")


def test_computing_takes_the_time_of_a_processor() -> None:
    handler = WorkHandler.__new__(WorkHandler)
    before = time.thread_time()
    assert handler.respond(b"work cpu 30\n") == b"work cpu 30\n"
    assert 0.03 <= time.thread_time() - before < 0.06


def test_visits_are_those_of_the_workers(folder: Path) -> None:
    with serving("threading-tcp", folder, WorkHandler) as server:
        order = b"tell wait 1\n"
        found = visit(
            server.endpoint(), order, clients=3, visits=2, requests=2, timeout=20, seconds=60
        )
        assert understands(server.endpoint(), 20)
    assert len(found) == 12
    assert sorted({v.client for v in found}) == [0, 1, 2]
    assert len({v.thread for v in found}) == 6  # a thread a connection
    assert all(v.sent <= v.begin <= v.end <= v.received for v in found)
    assert found == sorted(found, key=lambda v: v.begin)


def test_a_plain_echo_server_does_not_understand(folder: Path) -> None:
    with serving("threading-tcp", folder) as server:
        assert not understands(server.endpoint(), 20)
        with pytest.raises(VisitError, match="was answered with b'tell"):
            visit(
                server.endpoint(), b"tell wait 1\n",
                clients=2, visits=1, requests=1, timeout=20, seconds=60,
            )  # fmt: skip
    assert not understands(server.endpoint(), 1)  # nobody is there any more


def test_workers_are_named_by_what_tells_them_apart() -> None:
    assert list(worker_names([(1, 7), (1, 8), (1, 7)]).values()) == ["thread 1", "thread 2"]
    assert list(worker_names([(1, 7), (2, 8)]).values()) == ["process 1", "process 2"]
    assert list(worker_names([(1, 7), (2, 8), (2, 9)]).values()) == [
        "process 1, thread 1",
        "process 2, thread 1",
        "process 2, thread 2",
    ]
