"""Servers that are wrong, hang or die, and generators that are: the result says so, soon."""

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import load_peers
from echoservers.lab.load import LoadError, LoadPlan, calibrate, generator_limit, run, run_load
from echoservers.targets import RunningTarget, Target
from support import ROOT, program, wait_until

ONE = frozenset([min(os.sched_getaffinity(0))])


SHAPES = {
    "closed": {},
    "pipelined": {"pipeline": 2},
    "open": {"shape": "open", "rate": 1000.0},
    "churn": {"shape": "churn", "messages_per_connection": 200},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("serve", "says"),
    [
        (load_peers.flips_a_byte, r"message \d+, byte \d+: expected '.*, received '.*\?"),
        (load_peers.answers_another, r"message \d+, byte 0: expected '.*, received '0"),
        (
            load_peers.says_too_much,
            r"more came than was sent|message \d+, byte 0: expected '[^0].*, received '0",
        ),
    ],
)
def test_wrong_bytes_end_the_run(serve: Callable[..., None], says: str, shape: str) -> None:
    with load_peers.serving_one(serve) as endpoint:
        result = run_load(LoadPlan(endpoint, duration=20, **SHAPES[shape]))  # type: ignore[arg-type]
    assert result.ended == "a reply was wrong"
    assert re.search(says, result.wrong or ""), result.wrong
    assert result.seconds < 15


def test_one_reply_too_many_is_seen() -> None:
    with load_peers.serving_one(load_peers.says_too_much) as endpoint:
        result = run_load(LoadPlan(endpoint, shape="churn", duration=20))
    assert result.wrong == "connection 0: more came than was sent"


def test_pieces_are_put_together() -> None:
    with load_peers.serving_one(load_peers.in_small_pieces) as endpoint:
        for fields in ({"size": 500}, {"size": 500, "pipeline": 3}):
            result = run_load(LoadPlan(endpoint, connections=2, duration=0.1, **fields))  # type: ignore[arg-type]
            assert (result.ended, result.wrong) == (None, None)
            assert result.received > 1


@pytest.mark.parametrize("serve", [load_peers.falls_silent, load_peers.says_nothing])
@pytest.mark.parametrize("fields", [{}, {"shape": "open", "rate": 100.0}, {"shape": "churn"}])
def test_a_server_that_hangs_ends_the_run(
    serve: Callable[..., None], fields: dict[str, object]
) -> None:
    if serve is load_peers.falls_silent and fields.get("shape") == "churn":
        fields = {"shape": "churn", "messages_per_connection": 20}
    with load_peers.serving_one(serve) as endpoint:
        result = run_load(LoadPlan(endpoint, duration=20, timeout=0.3, **fields))  # type: ignore[arg-type]
    assert result.ended == "the server answered nobody for 0.3 s"
    assert result.seconds < 15


@pytest.mark.parametrize("fields", [{}, {"pipeline": 3}, {"shape": "open", "rate": 20000.0}])
def test_a_server_that_hangs_up_ends_the_run(fields: dict[str, object]) -> None:
    with load_peers.serving_one(load_peers.hangs_up) as endpoint:
        result = run_load(LoadPlan(endpoint, connections=2, duration=20, **fields))  # type: ignore[arg-type]
    assert result.ended is not None
    assert result.ended.startswith("no connection is left: ")
    assert sum(result.errors.values()) == 2


def test_nobody_listens() -> None:
    with load_peers.serving_one(load_peers.hangs_up) as endpoint:
        pass
    for fields in ({}, {"shape": "churn"}):
        result = run_load(LoadPlan(endpoint, connections=2, duration=20, **fields))  # type: ignore[arg-type]
        assert result.ended
        assert "connection refused" in result.ended
        assert result.received == 0
        assert result.throughput == 0
    udp = run_load(LoadPlan(endpoint.replace("tcp", "udp"), duration=20))
    assert udp.ended == "nobody listens"


def test_a_server_that_is_killed_ends_the_run() -> None:
    with program("--mode", "epoll-tcp", "--port", "0") as server:
        results = []
        plan = LoadPlan(server.url, connections=5, duration=20)
        loading = threading.Thread(target=lambda: results.append(run_load(plan)))
        loading.start()
        wait_until(lambda: _connections_to(server.pid) >= 5, "it is loaded")
        server.process.kill()
        loading.join()
    assert results[0].ended.startswith("no connection is left: ")


def _connections_to(pid: int) -> int:
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return sum(link.startswith("socket:") for link in links) - 1


@contextlib.contextmanager
def _stopped_for_a_while(pid: int, clients: int, after: float, seconds: float) -> Iterator[None]:
    """Stop the process *pid* once, some time after the *clients* have come."""
    idle = _connections_to(pid)

    def stop() -> None:
        wait_until(lambda: _connections_to(pid) >= idle + clients, "the clients come")
        pause = threading.Event()
        pause.wait(after)
        os.kill(pid, signal.SIGSTOP)
        pause.wait(seconds)
        os.kill(pid, signal.SIGCONT)

    stopping = threading.Thread(target=stop)
    stopping.start()
    yield
    stopping.join()


def test_a_pause_of_the_server_shows_in_the_open_loop_alone() -> None:
    """Of 1.2 s it stands still for 0.1: one message in twelve of an open loop waits, on average
    half of it; of a closed loop one message a connection.
    """
    tails = {}
    with RunningTarget(Target.of_mode("epoll-tcp")) as target:
        assert target.pid is not None
        for shape, rate in (("closed", None), ("open", 1000.0)):
            plan = LoadPlan(
                target.endpoint, shape=shape, rate=rate, connections=4, duration=1.2, warmup=0.1
            )
            with _stopped_for_a_while(target.pid, 4, 0.4, 0.1):
                result = run_load(plan)
            assert result.ended is None
            assert result.latencies.max() > 0.05
            tails[shape] = float(np.percentile(result.latencies, 96))
    assert tails["closed"] < 0.02 < tails["open"]


def test_a_generator_on_the_processor_of_the_server_is_limited() -> None:
    with RunningTarget(Target.of_mode("epoll-tcp"), cpus=ONE) as target:
        result = run_load(LoadPlan(target.endpoint, connections=20, duration=0.4), ONE)
    assert generator_limit(result) is not None


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> "queue.SimpleQueue[int]":
    """The process of each generator, once it has its plan."""
    pids: queue.SimpleQueue[int] = queue.SimpleQueue()
    true = run._Generator.start

    def start(self: "run._Generator") -> None:
        pids.put(self._process.pid)
        true(self)

    monkeypatch.setattr(run._Generator, "start", start)
    return pids


def test_a_generator_that_is_stopped_again_and_again_is_limited(
    started: "queue.SimpleQueue[int]",
) -> None:
    """As a debugger, or a container's quota, stops it: for 95 of each 100 ms."""
    pause = threading.Event()

    def throttle(phase: str) -> None:
        pid = started.get() if phase == "measuring" else 0
        for _ in range(10 if pid else 0):
            os.kill(pid, signal.SIGSTOP)
            pause.wait(0.095)
            os.kill(pid, signal.SIGCONT)
            pause.wait(0.005)

    with RunningTarget(Target.of_mode("epoll-tcp")) as target:
        plan = LoadPlan(target.endpoint, shape="open", rate=500.0, duration=1.0, timeout=20)
        for _ in range(3):  # on a busy machine the server may be later than the generator
            result = run_load(plan, on_phase=throttle)
            if generator_limit(result) is not None:
                break
    assert generator_limit(result) is not None
    assert np.percentile(result.lateness, 50) > 0.01


@pytest.mark.parametrize("mode", ["epoll-tcp", "epoll-udp"])
def test_what_a_stopped_generator_could_not_send_in_time_is_not_the_servers_loss(
    mode: str, started: "queue.SimpleQueue[int]"
) -> None:
    """It stands still over the end of the window: then it sends the rest at once."""

    def stop(phase: str) -> None:
        if phase == "measuring":
            pid = started.get()
            os.kill(pid, signal.SIGSTOP)
            threading.Timer(0.4, os.kill, (pid, signal.SIGCONT)).start()

    shape = "datagram" if mode.endswith("udp") else "open"
    with RunningTarget(Target.of_mode(mode)) as target:
        plan = LoadPlan(target.endpoint, shape=shape, rate=500.0, duration=0.2, timeout=20)
        result = run_load(plan, on_phase=stop)
    assert (result.sent, result.received, result.lost) == (100, 100, 0)
    assert result.lateness.max() > 0.1
    assert generator_limit(result) is not None


@pytest.mark.parametrize("transport", ["tcp", "unix-stream", "udp", "unix-datagram"])
def test_the_ceiling_is_measured(transport: str) -> None:
    where = "/nowhere" if "unix" in transport else "127.0.0.1:1"
    plan = LoadPlan(f"{transport}://{where}", connections=5)
    ceiling = calibrate(plan, seconds=0.1)
    assert (ceiling.transport, ceiling.shape) == (transport, "closed")
    assert 1000 < ceiling.rate < 10_000_000
    assert ceiling.cost == 1 / ceiling.rate


def test_the_ceiling_of_an_idle_generator_is_far() -> None:
    plan = LoadPlan("tcp://127.0.0.1:1", shape="open", rate=300.0, connections=5)
    ceiling = calibrate(plan, seconds=0.1)
    with RunningTarget(Target.of_mode("epoll-tcp")) as target:
        result = run_load(LoadPlan(target.endpoint, shape="open", rate=300.0, duration=0.3))
    assert result.throughput < 0.5 * ceiling.rate
    near = type(ceiling)("open", "tcp", 5, 64, 1, result.throughput)
    quiet = replace(result, busy=0.1, delayed=0.0)  # whatever else this machine does
    assert "that the generator can make" in str(generator_limit(quiet, near))


def test_a_generator_ends_with_whoever_started_it() -> None:
    """Its standard input ends, however that came."""
    with load_peers.serving_one(load_peers.says_nothing) as endpoint:
        code = (
            "import os, threading\n"
            "from echoservers.lab.load import LoadPlan, run, run_load\n"
            "true = run._Generator.start\n"
            "def start(self):\n"
            "    true(self)\n"
            "    print(self._process.pid, flush=True)\n"
            "run._Generator.start = start\n"
            f"run_load(LoadPlan({endpoint!r}, duration=60, timeout=60))\n"
        )
        orchestrator = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT
        )
        assert orchestrator.stdout is not None
        pid = int(orchestrator.stdout.readline())
        orchestrator.kill()
        orchestrator.communicate()
        wait_until(lambda: not _is_running(pid), "the generator ends")


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_generator_that_cannot_run_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = LoadPlan("tcp://127.0.0.1:1")
    monkeypatch.setattr(run, "PROGRAM", "echoservers.no_such_module")
    with pytest.raises(LoadError, match=r"the load generator ended: .*no_such_module"):
        run_load(plan)


def test_a_generator_that_does_not_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "GRACE", -0.5)
    with load_peers.serving_one(load_peers.in_small_pieces) as endpoint:
        plan = LoadPlan(endpoint, duration=0.5, warmup=0, timeout=0.1)
        began = time.monotonic()
        with pytest.raises(LoadError, match=r"did not end within 0\.1 s"):
            run_load(plan)
        assert time.monotonic() - began < 10
