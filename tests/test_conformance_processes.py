"""The checks of datagrams and of processes: right servers pass, and what they cannot is known."""

import builtins
import select
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from check_samples import GOOD, write
from echoservers.conformance import (
    CHECKS,
    CheckFailed,
    CheckSkipped,
    Outcome,
    Report,
    Subject,
    check_target,
    leaks,
    processes,
    select_checks,
)
from echoservers.conformance.datagrams import _hear_nothing
from echoservers.conformance.open_socket import OpenSocket, open_socket
from echoservers.targets import RunningTarget, Target
from echoservers.targets.watch import CannotWatch, Watch
from support import PATIENCE, wait_until

RIGHT = Path(__file__).with_name("right_servers")


def _report(target: Target, only: list[str], repeat: int = 1) -> Report:
    with Subject(target, target.level) as subject:
        checks = select_checks(target, target.level, only=only)
        return check_target(subject, checks, repeat=repeat)


def test_what_is_found_out_once_is_found_out_again_when_repeated() -> None:
    report = _report(Target.of_mode("udp"), ["processes.idle"], repeat=2)
    assert report.results[0].seconds > 2 * 0.3


def test_without_psutil_processes_are_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    report = _report(Target.of_mode("tcp"), ["processes.descriptors"])
    assert report.design is None
    result = report.results[0]
    assert result.outcome is Outcome.SKIP
    assert "pip install 'echoservers[lab]'" in result.got


@pytest.mark.parametrize("failure", [CheckFailed("an answer", "none"), CheckSkipped("why")])
def test_what_cannot_be_found_out_is_not_tried_again(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def find_out(subject: Subject) -> None:
        tried.append(subject)
        raise failure

    monkeypatch.setattr(processes, "count_leaks", find_out)
    names = ["processes.descriptors", "processes.threads", "processes.memory"]
    target = Target.of_mode("tcp")
    with Subject(target, target.level) as subject:
        report = check_target(subject, [CHECKS[name] for name in names], look=False)
    assert len(tried) == 1
    assert len({(result.outcome, result.expected, result.got) for result in report.results}) == 1


def test_what_is_known_when_the_time_is_over_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    connections, rounds = leaks._connections, iter(["warm-up", "first"])

    def two_rounds(*arguments: Any) -> None:
        if next(rounds, None) is None:
            raise CheckSkipped("time is over")
        connections(*arguments)

    monkeypatch.setattr(leaks, "_connections", two_rounds)
    always = leaks.MEMORY._replace(of=lambda _: next(more), rounds=3)
    more = iter(range(10**9, 0, -(10**6)))  # what is asked first is what there is after
    monkeypatch.setattr(leaks, "LEAKS", (*leaks.LEAKS[:3], always))
    names = ["processes.descriptors", "processes.threads", "processes.memory"]
    target = Target.of_mode("tcp")
    with Subject(target, target.level) as subject:
        report = check_target(subject, [CHECKS[name] for name in names], look=False)
    outcomes = [result.outcome for result in report.results]
    assert outcomes == [Outcome.PASS, Outcome.PASS, Outcome.SKIP]
    assert report.results[2].got == "time is over"


POOL = [856, 152, 140, 104, 68, 76, 152, 56, 52, 96, 44, 88, 76, 112, 28, 56, 32, 40, 68, 80, 72]
POOL += [64, 24, 20, 60, 52, 64, 28, 48, 48, 44, 28, 20, 52, 16, 32, 20, 20, 36, 20, 32, 36, 24, 40]
POOL += [24, 16, 72, 44, 28, 16, 24, 28, 20, 28, 36, 20, 16, 20, 24, 16]
"""KiB in each of 60 rounds: of 200 threads over TLS, whose pools fill, without one quiet round."""


@pytest.mark.parametrize(
    ("kibibytes", "certain"),
    [
        ([12] * 60, True),  # 128 bytes a connection
        ([12, 16, 8, 12, 12] * 12, True),
        ([400, 200, 100, 50, 25] + [13, 12] * 28, False),  # a round too few to look again
        ([400, 200, 100, 50, 25] + [13, 12, 12, 13, 13] * 11, True),  # behind a warm-up
        ([12] * 59, False),
        (POOL, False),
        ([400] * 60, False),  # 23 MiB may be a young heap
        ([400] * 90, True),
        ([1600] * 60, True),
    ],
)
def test_what_grows_evenly_and_for_long_has_leaked(kibibytes: list[int], certain: bool) -> None:
    assert leaks.MEMORY.is_certain([number * 1024 for number in kibibytes]) is certain


def test_a_leak_is_told_when_the_time_is_over_though_it_might_be_a_young_heap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connections, rounds = leaks._connections, iter(range(4))

    def a_few_rounds(subject: Subject, running: RunningTarget, count: int) -> None:
        if next(rounds, None) is None:
            raise CheckSkipped("time is over")
        connections(subject, running, 4)

    monkeypatch.setattr(leaks, "_connections", a_few_rounds)
    more = iter(range(0, 10**9, 10**6))
    always = leaks.MEMORY._replace(of=lambda _: -next(more), rounds=3)
    monkeypatch.setattr(leaks, "LEAKS", (*leaks.LEAKS[:3], always))
    monkeypatch.setattr(processes, "MEMORY", always)
    target = Target.of_mode("tcp")
    with Subject(target, target.level) as subject:
        report = check_target(subject, [CHECKS["processes.memory"]], look=False)
    assert report.results[0].got == "1e+04 more for each, in each of 3 rounds"


def test_a_server_of_which_there_can_be_but_one_passes(folder: Path) -> None:
    lock = f"import fcntl; lock = open({str(folder / 'lock')!r}, 'w')\n"
    write(folder, server=lock + "fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n" + GOOD)
    target = Target.of_command(f"{sys.executable} {folder}/server.py {{port}}")
    names = ["bytes.echo", "processes.descriptors", "processes.sigterm", "processes.address-again"]
    with Subject(target, target.level) as subject:
        report = check_target(subject, [CHECKS[name] for name in [*names, names[0]]], look=False)
    assert [(result.outcome, result.got) for result in report.results] == [(Outcome.PASS, "")] * 5


STARTS = """\
import os, sys
print(f"[{os.getpid()}] starting on", *sys.argv[1:], file=sys.stderr)
"""
ENDS = GOOD.replace("Server((", "try:\n    Server((") + "except OSError as error:\n    "


@pytest.mark.parametrize(
    ("reason", "got"),
    [
        ("raise SystemExit(1)", "status 1 and no message but what the first instance says, too: "),
        ("raise SystemExit('\\n\\n')", "status 1 and no message but what the first"),
        ("raise SystemExit(error)", ""),
        ("print(error); print('\\nGoodbye!' * 9); raise SystemExit(1)", ""),
    ],
)
def test_what_a_first_instance_says_too_is_no_reason(folder: Path, reason: str, got: str) -> None:
    write(folder, server=STARTS + ENDS + reason)
    target = Target.of_command(f"{sys.executable} -I -S {folder}/server.py {{port}}")
    (result,) = _report(target, ["processes.second-instance-says"]).results
    assert result.outcome is (Outcome.FAIL if got else Outcome.PASS)
    assert got in result.got


def test_a_second_instance_that_goes_on_is_told_with_the_time_it_had(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "FAIL_TIME", 0.3)
    write(folder, server=ENDS + "import signal; signal.pause()")
    target = Target.of_command(f"{sys.executable} -I -S {folder}/server.py {{port}}")
    (result,) = _report(target, ["processes.second-instance"]).results
    assert result.expected == "its end within 0.3 s"
    assert result.got == "it goes on"


def test_an_error_of_before_hides_no_reply() -> None:
    with (
        OpenSocket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        open_socket(("127.0.0.1", 9)) as sender,
    ):
        server.bind(("127.0.0.1", 0))
        sender.bind(("127.0.0.1", 0))
        sender.send(b"nobody is there")
        told = select.poll()
        told.register(sender, 0)
        wait_until(lambda: bool(told.poll(0)), "the refusal has come")
        _hear_nothing([sender], 0.2)
        sender.send(b"nobody is there")
        late = threading.Timer(0.2, server.sendto, (b"a reply", sender.getsockname()))
        late.start()
        with pytest.raises(CheckFailed, match="expected no reply to port"):
            _hear_nothing([sender], 2.0)
        late.join()


def test_a_watch_counts_what_there_is() -> None:
    with RunningTarget(Target.of_mode("prefork-tcp:workers=2")) as running:
        assert running.supervisor_pid is not None
        watch = Watch(running.supervisor_pid)
        before = watch.look_until(lambda seen: seen.processes == 3, PATIENCE, memory=True)
        assert before.processes == 3
        assert before.threads >= 3
        assert before.descriptors > 9
        assert before.zombies == 0
        assert before.memory.uss > 0
        assert 0 < before.memory.anonymous <= before.memory.pss
        assert before.cpu > 0
        assert running.pid in before.everybody
        assert running.supervisor_pid not in before.everybody
        assert min(before.switches) >= 0
    after = watch.look()
    assert after.everybody == {}


def test_a_watch_tells_who_worked() -> None:
    from echoservers import EchoClient

    with RunningTarget(Target.of_mode("threading-tcp")) as running:
        assert running.supervisor_pid is not None
        watch = Watch(running.supervisor_pid)
        with EchoClient(running.endpoint) as one, EchoClient(running.endpoint) as other:
            one.echo(b"hello")
            other.echo(b"hello")

            def workers_of(client: EchoClient) -> set[tuple[int, int]]:
                before = watch.look()
                client.echo(b"hello")
                after = watch.look()
                assert after.runs_since(before) >= 1
                assert after.cpu_since(before) >= 0
                return after.worked_since(before)

            of_one, of_other = workers_of(one), workers_of(other)
            for _ in range(20):  # on a busy machine others may end what they had begun
                if len(of_one) == len(of_other) == 1:
                    break
                of_one &= workers_of(one)
                of_other &= workers_of(other)
    assert len(of_one) == len(of_other) == 1
    assert of_one != of_other


def test_processes_that_may_not_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    with RunningTarget(Target.of_mode("tcp")) as running:
        assert running.supervisor_pid is not None
        watch = Watch(running.supervisor_pid)
        opened = builtins.open

        def refuse(path: Any, *arguments: Any, **options: Any) -> Any:
            if str(path).endswith("/smaps_rollup"):
                raise PermissionError(13, "Permission denied")
            return opened(path, *arguments, **options)

        monkeypatch.setattr(builtins, "open", refuse)
        with pytest.raises(CannotWatch, match="this user may not look"):
            watch.look(memory=True)
