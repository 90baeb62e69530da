"""A bench: what it says of those who were not answered, of its own limits, and what it leaves."""

import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import load_peers
from echoservers.errors import TargetError
from echoservers.lab import bench as benches
from echoservers.lab import crowd, measure
from echoservers.lab.bench import Bench, Loaded
from echoservers.lab.experiments import EXPERIMENTS, Sample, Timing
from echoservers.lab.experiments.connections import _add_times
from echoservers.lab.experiments.open_loop import _naive
from echoservers.lab.load import LoadPlan, run_load
from echoservers.lab.load import run as runs
from echoservers.lab.meter import Usage
from echoservers.system import usable_cpus
from echoservers.targets import Target
from lab_support import program, run, short
from support import children_of


def echoing(peer: Any) -> None:
    while data := peer.recv(65536):
        peer.sendall(data)


def bench_of(target: Target, **changes: Any) -> Bench:
    given = {"pinning": None, "server_cpus": 1, "seed": 1, "ceiling": lambda _plan: None}
    return Bench(target, Timing(0.1, 0, 1), **{**given, **changes})


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with load_peers.serving_one(echoing) as at, bench_of(Target.of_endpoint(at)) as made:
        yield made


@pytest.fixture(scope="module")
def answered(bench: Bench) -> Loaded:
    loaded = bench.load(connections=2)
    latencies = np.full(2000, 0.001)
    ends = np.linspace(0, loaded.result.seconds, 2000, endpoint=False) + loaded.result.begin
    clients = np.arange(2000) % 2
    samples = {"latencies": latencies, "starts": ends - latencies, "clients": clients}
    nothing = {"unfinished": np.zeros(0), "lost_waits": np.zeros(0)}
    return loaded._replace(result=replace(loaded.result, received=2000, **samples, **nothing))


def with_result(loaded: Loaded, **changes: Any) -> Loaded:
    return loaded._replace(result=replace(loaded.result, **changes))


def test_unanswered_messages_are_in_the_percentiles(bench: Bench, answered: Loaded) -> None:
    assert bench.sample(answered).figures["p99"] == 0.001
    for unanswered in (
        {"lost": 40, "lost_waits": np.full(40, 5.0)},
        {"unfinished": np.full(40, 5)},
    ):
        sample = bench.sample(with_result(answered, **unanswered))
        assert "p99" not in sample.figures
        assert sample.withheld["p99"].startswith("p99 is more than 5 s: 40 not answered")
        assert sample.figures["p90"] == 0.001
        assert sample.figures["max"] == 5  # the longest that anybody has waited


def test_without_a_heavy_client_nothing_is_said_of_the_time_after_it_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gil = EXPERIMENTS["gil"]
    with load_peers.serving_one(echoing) as at, bench_of(Target.of_endpoint(at)) as made:
        monkeypatch.setattr(made, "load_beside", lambda *_: [])
        sample = gil.measure(made, {**gil.cells()[0], "cpu_clients": 1})
    assert not {"throughput", "kept_share", "p50"} & set(sample.figures)
    assert "no CPU-bound client was served beside the others" in sample.notes


def test_cpu_time_of_a_window_that_ended_late_is_no_figure(bench: Bench, answered: Loaded) -> None:
    seconds = answered.result.seconds
    sample = bench.sample(answered._replace(usage=Usage(1.05 * seconds, 0.2, 0.3, 4000)))
    messages = 1.05 * 2000
    assert sample.figures["server_cpu_per_message"] == pytest.approx(0.2 / messages)
    sample = bench.sample(answered._replace(usage=Usage(2 * seconds, 0.2, 0.3, 4000)))
    assert not {"server_cpu_per_message", "machine_cpu_per_message"} & set(sample.figures)
    assert any("no CPU time a message is given for that run" in note for note in sample.notes)


def test_cpu_time_is_of_all_replies_of_its_window(bench: Bench, answered: Loaded) -> None:
    seconds = answered.result.seconds
    used = answered._replace(usage=Usage(seconds, 0.2, 0.3, 4000))
    sample = bench.sample(with_result(used, overdue=500))
    assert sample.figures["server_cpu_per_message"] == pytest.approx(0.2 / 2500)
    assert sample.figures["throughput"] == pytest.approx(2500 / seconds)
    starts = answered.result.starts + np.where(np.arange(2000) < 1000, 0, 10 * seconds)
    late = bench.sample(with_result(used, starts=starts))  # half were answered after the window
    assert late.figures["server_cpu_per_message"] == pytest.approx(0.2 / 1000)
    late = bench.sample(with_result(used, starts=answered.result.starts + 10 * seconds))
    assert "server_cpu_per_message" not in late.figures


def test_an_open_loop_tells_how_long_the_lost_ones_were_waited_for() -> None:
    def deaf(peer: Any) -> None:
        for _ in range(50):
            peer.sendall(peer.recv(64))
        while peer.recv(65536):
            pass

    with load_peers.serving_one(deaf) as endpoint:
        shape: dict[str, Any] = {"shape": "open", "rate": 500.0, "duration": 0.3, "warmup": 0}
        result = run_load(LoadPlan(endpoint, timeout=0.4, **shape))
    assert result.lost == len(result.lost_waits) > 50
    assert result.lost_waits.min() > 0.39
    assert result.lost_waits.max() < 2
    assert len(result.waits) == result.lost


def test_a_client_of_churn_that_waits_is_no_less_late() -> None:
    count = itertools.count()

    def twenty_only(peer: Any) -> None:
        if next(count) < 20:
            echoing(peer)
        while peer.recv(65536):
            pass

    with load_peers.serving_one(twenty_only) as endpoint:
        plan = LoadPlan(endpoint, shape="churn", connections=3, duration=0.5, warmup=0, timeout=9)
        result = run_load(plan)
    assert result.received <= 20
    assert len(result.unfinished) == 3
    assert result.unfinished.min() > 0.1


# --- a burst -----------------------------------------------------------------------------


def test_each_connect_of_a_burst_is_timed_from_its_own_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    come = crowd._Guest.come

    def slowly(self: Any, *arguments: Any) -> None:
        end = time.monotonic() + 0.002
        while time.monotonic() < end:
            pass
        come(self, *arguments)

    monkeypatch.setattr(crowd._Guest, "come", slowly)
    with load_peers.serving_one(echoing) as endpoint:
        arrivals = crowd.burst(endpoint, 50, 5.0)
    times = [arrival.connected for arrival in arrivals if arrival.connected is not None]
    assert len(times) == 50
    # All were dialled within 0.1 s: seen afterwards, half of them would have taken 0.05 s.
    assert float(np.median(times)) < 0.02
    assert all(arrival.answered is not None for arrival in arrivals)


PERCENTILES = {"connect_p50": 0.5, "connect_p99": 0.99}


def test_who_still_waits_for_a_connection_is_in_its_percentiles() -> None:
    sample = Sample()
    _add_times(sample, np.linspace(0.001, 0.021, 21), 9, PERCENTILES, "connect_max")
    assert sample.figures == {"connect_p50": pytest.approx(0.015)}  # the 15th of all 30
    assert sample.withheld["connect_max"].startswith("connect_max is more than 4 s: 9 not")
    none = Sample()
    _add_times(none, np.zeros(0), 30, PERCENTILES, "connect_max")
    assert not none.figures
    assert set(none.withheld) == {*PERCENTILES, "connect_max"}


@pytest.mark.parametrize(("clients", "carried"), [(1, set()), (16, set()), (64, {"connect_p50"})])
def test_a_small_burst_has_its_longest_time_and_carries_no_percentile(
    clients: int, carried: set[str]
) -> None:
    sample = Sample()
    _add_times(sample, np.full(clients, 0.001), 0, PERCENTILES, "connect_max")
    assert set(sample.figures) == carried | {"connect_max"}
    assert set(sample.withheld) == set(PERCENTILES) - carried


# --- coordinated omission -----------------------------------------------------------------


def test_clients_that_wait_do_not_tell_what_a_message_waited_behind_another() -> None:
    # The server stands still from 1.0 to 2.0; the second client asks once, before.
    result: Any = SimpleNamespace(
        starts=np.array([0.5, 1.0, 1.2, 1.4, 0.1, 2.5]),
        latencies=np.array([0.1, 1.1, 1.0, 0.9, 0.2, 0.1]),
        clients=np.array([0, 0, 0, 0, 1, 0]),
    )
    assert sorted(_naive(result)) == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.2, 1.1])
    backwards: Any = SimpleNamespace(**{name: v[::-1] for name, v in vars(result).items()})
    assert sorted(_naive(backwards)) == pytest.approx(sorted(_naive(result)))
    nothing: Any = SimpleNamespace(starts=np.zeros(0), latencies=np.zeros(0), clients=np.zeros(0))
    assert not len(_naive(nothing))


def test_the_latency_has_what_waiting_clients_would_tell_beside_it(bench: Bench) -> None:
    bench._kept.clear()
    experiment = short("latency", percent="50", connections="2")
    sample = experiment.measure(bench, experiment.cells()[0])
    assert ("naive_p99" in sample.figures) == ("p99" in sample.figures)
    assert ("naive_p99" in sample.withheld) == ("p99" in sample.withheld)
    assert sample.figures.get("naive_p99", 0.0) <= sample.figures.get("p99", 0.0)


# --- whose limit it was -------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["generator", "server", None])
def test_shares_of_a_peak_that_was_the_generators_are_marked(
    limit: str | None, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench._kept.clear()
    monkeypatch.setattr(Bench, "peak", lambda _self, _connections: (1000.0, limit))
    experiment = short("latency", percent="50", connections="2")
    sample = experiment.measure(bench, experiment.cells()[0])
    said = any("the peak was the generator's" in note for note in sample.notes)
    assert said == (limit == "generator")
    if said:
        assert sample.limited_by == "generator"


@pytest.mark.parametrize(
    ("target", "one"),
    [
        (Target.of_mode("threading-tcp"), True),
        (Target.of_command("/usr/bin/python3.12 server.py {port}"), True),
        (Target.of_command("./server-in-go {port}"), False),
        (Target.of_endpoint("tcp://127.0.0.1:7"), False),
    ],
    ids=["ours", "python", "go", "running"],
)
def test_a_process_of_python_is_known_for_its_lock(target: Target, one: bool) -> None:
    assert benches.has_lock(target) == one


HUNGRY = """
import os, signal, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
peer, _ = listener.accept()
peer.recv(1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_who_is_killed_for_want_of_memory_is_limited_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = itertools.count()
    found = []
    for counter in (lambda: next(kills), lambda: 7):  # it is one more, or nobody was
        monkeypatch.setattr(benches, "oom_kills", counter)
        with program(tmp_path, HUNGRY) as command:
            results, _ = run([Target.of_command(command, name="hungry")], short("scaling"))
        found += results.experiments[0].cells
    assert [cell.limited_by for cell in found] == ["memory", None]
    for cell in found:
        assert "status -9" in (cell.error or "")
    assert "no memory left" in (found[0].error or "")


@pytest.mark.skipif(len(usable_cpus()) < 2, reason="there is one processor, for all")
def test_while_it_measures_the_servers_processors_are_the_servers() -> None:
    before, places = usable_cpus(), []

    def look(bench: Bench, _parameters: Any) -> Sample:
        assert bench._pinning is not None
        places.append((usable_cpus(), bench._pinning))
        assert bench.workers() == len(before)  # as without pinning
        return Sample({"throughput": 1.0})

    run([Target.of_mode("prefork-tcp")], replace(short("scaling"), measure=look))
    ((place, pinning),) = places
    assert place == pinning.generator
    assert not place & pinning.server
    assert usable_cpus() == before
    with runs._Generator(LoadPlan("tcp://127.0.0.1:9"), pinning.generator) as generator:
        assert generator._spin  # it has a processor that the server does not need


# --- nothing is left, and nobody is given up too soon -------------------------------------


def test_a_bench_that_cannot_be_made_leaves_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_pid: int) -> None:
        raise RuntimeError("no watch")

    monkeypatch.setattr(benches, "Watch", broken)
    before = children_of(os.getpid())
    with pytest.raises(RuntimeError, match="no watch"):
        bench_of(Target.of_mode("tcp"))
    assert children_of(os.getpid()) == before


def test_a_generator_that_cannot_be_pinned_is_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    before = children_of(os.getpid())
    with pytest.raises(OSError, match="Invalid argument"):
        run_load(LoadPlan("tcp://127.0.0.1:9"), frozenset({5000}))
    assert children_of(os.getpid()) == before


def failing(times: int, monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    """Let the first starts of servers fail; the targets that are started."""
    started: list[Target] = []
    real = measure.Bench

    def bench(target: Target, *arguments: Any, **more: Any) -> Bench:
        started.append(target)
        if len(started) <= times:
            raise TargetError(f"{target.name} did not listen")
        return real(target, *arguments, **more)

    monkeypatch.setattr(measure, "Bench", bench)
    return started


def test_a_server_that_does_not_start_once_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    started = failing(1, monkeypatch)
    results, listener = run([Target.of_mode("tcp")], short("scaling"))
    assert results.experiments[0].cells[0].figures
    assert len(started) == 2
    assert "tcp did not listen; it is tried again" in listener.warnings


def test_a_server_that_does_not_start_twice_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    started = failing(100, monkeypatch)
    twice = replace(short("scaling"), timing=Timing(0.1, 0, 3))
    results, _ = run([Target.of_mode("tcp")], twice, short("size"))
    assert [c.error for e in results.experiments for c in e.cells] == ["tcp did not listen"] * 2
    assert len(started) == 2


def test_one_that_is_given_up_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(2, monkeypatch)
    results, _ = run([Target.of_mode("tcp"), Target.of_mode("epoll-tcp")], short("scaling"))
    assert sorted(bool(cell.error) for cell in results.experiments[0].cells) == [False, True]
