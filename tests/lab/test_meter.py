"""What a server used between two looks, those that ended meanwhile included or said to miss."""

from dataclasses import replace

import pytest

from echoservers.lab import meter
from echoservers.lab.bench import CAME_OR_WENT
from echoservers.targets import Target
from echoservers.targets.watch import Memory, Process, Snapshot, Thread
from lab_support import run, short

NAME = "context_switches_per_message"


def looked(
    threads: dict[int, Thread], cpu: float = 0.0, zombie: bool = False, pid: int = 7
) -> Snapshot:
    """A look at one process, which has spent *cpu* seconds."""
    process = Process(pid, 1, zombie, cpu, 3, Memory(0, 0, 0), threads, len(threads))
    return Snapshot(0.0, {pid: process}, 0.0)


def usage_between(before: Snapshot, after: Snapshot) -> meter.Usage:
    looks = iter([before, after])
    made = meter.Meter(None)
    made._look = lambda: next(looks)  # type: ignore[method-assign]
    made.phase("measuring")
    made.phase("measured")
    usage = made.usage()
    assert usage is not None
    return usage


ONE = {7: Thread(1, 0.1, 10, 20)}
LATER = {7: Thread(9, 0.2, 15, 28)}


def test_switches_are_those_of_the_threads_that_stayed() -> None:
    usage = usage_between(looked(ONE), looked(LATER))
    assert (usage.switches, usage.came_or_went) == (13, False)
    assert usage.server_cpu == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (looked({**ONE, 8: Thread(1, 0, 500, 0)}), looked(LATER)),
        (looked({**ONE, 8: Thread(1, 0, 5, 0)}), looked({**LATER, 9: Thread(1, 0, 5, 0)})),
        (looked(ONE), looked({}, zombie=True)),
        (looked(ONE), looked({8: Thread(9, 0.2, 15, 28)}, pid=8)),
        (looked(ONE, cpu=1.0), looked(LATER, cpu=1.2)),
    ],
    ids=["ended", "another", "zombie", "replaced", "unseen"],
)
def test_of_threads_that_have_ended_no_switches_are_known(
    before: Snapshot, after: Snapshot
) -> None:
    usage = usage_between(before, after)
    assert (usage.switches, usage.came_or_went) == (None, True)


def test_a_system_that_tells_no_switches_has_none() -> None:
    silent = {7: Thread(1, 0.1, 0, 0)}
    usage = usage_between(looked(silent), looked(silent))
    assert (usage.switches, usage.came_or_went) == (None, False)


@pytest.mark.parametrize("mode", ["threading-tcp", "forking-tcp", "epoll-tcp", "prefork-tcp"])
def test_who_makes_threads_or_processes_has_no_switches_a_message(
    mode: str,
) -> None:
    churn = short("churn")
    churn = replace(churn, timing=replace(churn.timing, duration=0.3))
    results, _ = run([Target.of_mode(mode)], churn)
    (cell,) = results.experiments[0].cells[:1]
    if mode in ("threading-tcp", "forking-tcp"):
        assert NAME not in cell.figures
        assert CAME_OR_WENT in cell.notes
    else:
        assert cell.figures[NAME].median > 0
        assert CAME_OR_WENT not in cell.notes


def test_a_thread_a_client_has_switches_where_the_clients_stay() -> None:
    results, _ = run([Target.of_mode("threading-tcp")], short("scaling", connections="4"))
    (cell,) = results.experiments[0].cells
    assert cell.figures[NAME].median > 0


def test_what_was_worked_during_a_look_is_not_missing() -> None:
    usage = usage_between(looked(ONE, cpu=1.0)._replace(took=0.5), looked(LATER, cpu=1.2))
    assert usage.switches == 13


def test_what_ended_is_counted_however_many_processors_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    children = {pid: Thread(1, 0.0, 0, 0) for pid in range(100, 116)}
    before = looked({**ONE, **children}, cpu=1.0)._replace(took=0.006)
    assert usage_between(before, looked(LATER, cpu=1.5)).server_cpu == pytest.approx(0.5)
