"""Load of every shape on every transport: what is counted, and what is verified."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from echoservers.lab.load import (
    LoadError,
    LoadPlan,
    LoadResult,
    generator_limit,
    run_load,
    run_loads,
)
from support import serving

SHORT = {"duration": 0.15, "warmup": 0.05, "timeout": 5.0}

STREAMS = ["epoll-tcp", "threading-unix-stream", "epoll-tls"]
DATAGRAMS = ["epoll-udp", "threading-unix-datagram"]


def endpoint_of(mode: str, server: object) -> str:
    address = server.server_address  # type: ignore[attr-defined]
    transport = next(t for t in ("tcp", "tls", "udp", "unix-stream", "unix-datagram") if t in mode)
    return f"{transport}://" + (address if "unix" in mode else f"{address[0]}:{address[1]}")


def load(mode: str, folder: Path, certificate: dict[str, str], **fields: object) -> LoadResult:
    """Of up to five runs, each twice as long, the first in whose window anything came.

    On a busy machine there may be no turn of generator or server in a short one.
    """
    options = certificate if mode.endswith("tls") else {}
    with serving(mode, folder, **options) as server:
        plan = LoadPlan(endpoint_of(mode, server), **{**SHORT, **fields})  # type: ignore[arg-type]
        for times in (1, 2, 4, 8, 16):
            result = run_load(dataclasses.replace(plan, duration=times * plan.duration))
            if result.throughput:
                break
    return result


def check(result: LoadResult) -> None:
    assert (result.ended, result.wrong, result.errors) == (None, None, {})
    assert result.received == len(result.latencies) == len(result.starts) == len(result.clients)
    assert result.received > 0
    assert result.sent == result.received + result.lost + len(result.unfinished)
    assert (result.latencies > 0).all()
    ends = result.starts + result.latencies
    assert (np.diff(ends) >= -1e-9).all()  # ends were rounded when they were taken apart
    assert result.throughput > 0
    assert 0 < result.busy <= 1
    assert 0 < result.cpu_seconds <= result.seconds * 1.2
    assert result.by_client().sum() == result.received


@pytest.mark.parametrize("mode", STREAMS)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"pipeline": 7},
        {"size": 300_000},
        {"size": 1},
        {"size": 70_000, "pipeline": 3},
        {"message": b"work 20 ", "size": 30},
    ],
    ids=str,
)
def test_closed_loop(
    mode: str, fields: dict[str, object], folder: Path, own: dict[str, str]
) -> None:
    result = load(mode, folder, own, connections=4, **fields)
    check(result)
    assert result.connected == 4
    assert len(result.unfinished) == 4 * result.plan.pipeline
    ends = result.starts + result.latencies - result.begin
    assert ends.min() >= 0
    assert ends.max() <= result.seconds


@pytest.mark.parametrize("mode", STREAMS)
@pytest.mark.parametrize("arrivals", ["fixed", "poisson"])
def test_open_loop(mode: str, arrivals: str, folder: Path, own: dict[str, str]) -> None:
    result = load(mode, folder, own, shape="open", connections=4, rate=1000.0, arrivals=arrivals)
    check(result)
    assert result.lost == 0
    expected = 1000 * result.plan.duration
    assert abs(result.received - expected) <= (2 if arrivals == "fixed" else expected / 2)
    assert len(result.lateness) == result.sent
    assert (result.lateness >= 0).all()
    due = np.sort(result.starts)
    if arrivals == "fixed":
        assert np.allclose(np.diff(due), 0.001)
    assert (result.by_client() >= result.received // 5).all()


@pytest.mark.parametrize("mode", STREAMS)
def test_churn(mode: str, folder: Path, own: dict[str, str]) -> None:
    result = load(
        mode, folder, own, shape="churn", connections=3, size=4000, messages_per_connection=2
    )
    check(result)
    assert len(result.connect_seconds) == result.received
    assert (result.connect_seconds > 0).all()
    assert (result.connect_seconds < result.latencies).all()


def test_churn_of_so_many_requests_ends_with_the_last(folder: Path) -> None:
    with serving("epoll-tcp", folder) as server:
        plan = LoadPlan(
            endpoint_of("epoll-tcp", server),
            shape="churn",
            connections=5,
            requests=60,
            warmup=0,
            duration=20,
        )
        result = run_load(plan)
        assert server.stats()["accepted"] == 60
    check(result)
    assert result.received == 60
    assert result.seconds < 15


def test_requests_of_the_warm_up_are_not_counted(folder: Path) -> None:
    with serving("epoll-tcp", folder) as server:
        at = endpoint_of("epoll-tcp", server)
        for requests in (2, 20):  # fewer than clients, and more
            plan = LoadPlan(at, "churn", 5, requests=requests, warmup=0.3, duration=20)
            before = server.stats()["accepted"]
            result = run_load(plan)
            check(result)
            # Those that are under way when there are enough may be answered, too.
            assert requests <= result.received <= requests + plan.connections
            assert 0 < result.seconds < 15
            assert server.stats()["accepted"] - before > requests + 5


@pytest.mark.parametrize("mode", DATAGRAMS)
@pytest.mark.parametrize("size", [1, 64, 8000])
def test_closed_datagrams(mode: str, size: int, folder: Path) -> None:
    result = load(mode, folder, {}, connections=3, size=size)
    check(result)
    assert result.lost == 0


@pytest.mark.parametrize("mode", DATAGRAMS)
@pytest.mark.parametrize("size", [2, 64, 8000])
def test_offered_datagrams(mode: str, size: int, folder: Path) -> None:
    result = load(
        mode, folder, {}, shape="datagram", connections=3, size=size, rate=500.0, duration=0.1
    )
    assert result.ended is None
    assert abs(result.sent - 500 * result.plan.duration) <= 2
    assert result.received + result.lost == result.sent
    assert result.received > 0 or generator_limit(result)  # it had no processor all the time


def test_datagrams_that_nobody_answers_are_lost(folder: Path) -> None:
    from echoservers import DiscardHandler

    with serving("epoll-udp", folder, DiscardHandler) as server:
        endpoint = endpoint_of("epoll-udp", server)
        plans = [
            LoadPlan(endpoint, shape="datagram", rate=200.0, duration=0.1, warmup=0),
            LoadPlan(endpoint, duration=1.2, warmup=0),
        ]
        offered, closed = run_loads(plans)
    assert (offered.received, offered.lost) == (0, 20)
    assert (offered.ended, closed.ended) == (None, None)
    assert (closed.received, closed.lost) == (0, 2)


def test_the_crowd_beside(folder: Path) -> None:
    result = load("threading-tcp", folder, {}, connections=2, idle=40, silent=3, half=2, slow=1)
    check(result)
    assert result.crowd == {"answered": 40, "idle": 40, "silent": 3, "half": 2, "slow": 1}


def test_of_an_iterative_server_one_client_is_served(folder: Path) -> None:
    result = load("tcp", folder, {}, connections=3)
    check(result)
    assert sorted(result.by_client() > 0) == [False, False, True]
    # The others have waited since they came, which no latency tells.
    assert sorted(result.unfinished > 0.15) == [False, True, True]


def test_two_loads_at_once(folder: Path) -> None:
    with serving("epoll-tcp", folder) as server:
        plan = LoadPlan(endpoint_of("epoll-tcp", server), connections=2, duration=1.0)
        one, other = run_loads([plan, plan])
    check(one)
    check(other)
    assert one.begin < other.begin + other.seconds
    assert other.begin < one.begin + one.seconds


def test_rates_are_of_whole_intervals(folder: Path) -> None:
    result = load("epoll-tcp", folder, {}, connections=2, duration=0.3)
    width = result.plan.duration / 3
    middles, rates = result.rates(width)
    assert np.allclose(middles, [0.5 * width, 1.5 * width, 2.5 * width])
    assert round(rates.sum() * width) == result.received
    assert len(result.rates(6.0)[0]) == 0


def test_there_is_no_such_host() -> None:
    with pytest.raises(LoadError, match=r"no load on tcp://nowhere\.invalid:1: "):
        run_load(LoadPlan("tcp://nowhere.invalid:1"))
