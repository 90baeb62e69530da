"""Limits of a target: each is held, says why, and nothing is left of what exceeded it."""

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from echoservers.client import EchoClient
from echoservers.errors import TargetError
from echoservers.targets import Limits, RunningTarget, Target, supervisor
from support import PATIENCE, state_of

MIB = 2**20


@contextmanager
def running(code: str, limits: Limits | None = None) -> Iterator[RunningTarget]:
    """A program of Python that need not listen."""
    target = Target("a program", "tcp", ("python3", "-c", code, "{port}"))
    with RunningTarget(target, listens=False, limits=limits) as started:
        yield started


EXCEEDING = {
    "memory": (
        "b = []\nwhile True: b.append(bytearray(10**7))",
        Limits(memory=60 * MIB),
        "more than 60 MiB of memory",
    ),
    "processor": (
        "while True: pass",
        Limits(cpu=0.3),
        "more than 0.3 s of processor time",
    ),
    "processor, by children that are waited for": (
        "import os\nwhile True:\n if not os.fork():\n  sum(range(10**6)); os._exit(0)\n os.wait()",
        Limits(cpu=0.5),
        "more than 0.5 s of processor time",
    ),
    "threads": (
        "from threading import Event, Thread\nwhile True: Thread(target=Event().wait).start()",
        Limits(processes=40),
        "more than 40 processes and threads",
    ),
    "output": (
        "while True: print('x' * 100_000)",
        Limits(output=MIB),
        "more than 1 MiB printed",
    ),
}


@pytest.mark.parametrize(("code", "limits", "why"), EXCEEDING.values(), ids=EXCEEDING)
def test_what_exceeds_a_limit_is_killed_and_says_why(code: str, limits: Limits, why: str) -> None:
    with running(code, limits) as target:
        assert target.wait(PATIENCE) == -9
        assert target.limit == why
        assert target.has_ended
        assert target.how_it_ended() == f"was killed: {why}"


SHARED = """
import os, signal, time
kept = [bytearray(os.urandom(64) * 500_000)]  # 30 MiB, which the children share
for _ in range(4):
    if not os.fork():
        signal.pause()
time.sleep(0.3)  # it has been seen that they keep to the limit
while len(kept) < 40:
    kept.append(bytearray(b"x") * 10**7)
print("400 MB were to be had")
"""


def test_memory_is_seen_at_once_where_others_share_some() -> None:
    with running(SHARED, Limits(memory=100 * MIB)) as target:
        assert target.wait(PATIENCE) == -9
        assert target.limit == "more than 100 MiB of memory"
        assert "400 MB" not in target.said()


def test_a_process_has_the_limits_of_the_system() -> None:
    code = (
        "import resource as r\n"
        "print(*(r.getrlimit(x)[1] for x in (r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_CORE)))"
    )
    with running(code, Limits(descriptors=200, file_size=5 * MIB)) as target:
        assert target.wait(PATIENCE) == 0
        assert target.said() == f"; it said: 200 {5 * MIB} 0"


def test_without_limits_nothing_is_limited() -> None:
    code = "import resource as r; print(r.getrlimit(r.RLIMIT_NOFILE))"
    with running(code) as target:
        assert target.wait(PATIENCE) == 0
        assert target.said() == f"; it said: {resource.getrlimit(resource.RLIMIT_NOFILE)}"
        assert target.limit is None


def test_a_program_does_not_inherit_the_precedence_of_its_supervisor() -> None:
    code = "import os; print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))"
    with running(code) as target:
        assert target.wait(PATIENCE) == 0
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert target.said() in (f"; it said: 0 {own}", "; it said: 0 0")


def test_the_end_of_a_program_with_threads_takes_no_second_of_a_processor() -> None:
    """Of which a real-time process may have 0.95 s, while Linux waits for others to run."""
    target = Target.of_mode("threading-tcp")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_stime
    with (
        RunningTarget(target, cpus=frozenset([min(os.sched_getaffinity(0))])) as running,
        contextlib.ExitStack() as clients,
    ):
        for _ in range(20):
            client = clients.enter_context(EchoClient(running.endpoint, timeout=PATIENCE))
            assert client.echo(b"a thread for each of us") == b"a thread for each of us"
        # The clients stay until it has gone, and so do its threads.
        running.close()
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_stime - before < 0.7


BOMB = """
import os, time
end = time.monotonic() + 5  # whatever goes wrong, it is over then
while time.monotonic() < end:
    try:
        {}
    except OSError:
        pass
"""
BOMBS = {
    "one group": "os.fork()",
    "a session each": "os.fork() or os.setsid()",
}


@pytest.mark.parametrize("code", BOMBS.values(), ids=BOMBS)
def test_what_forks_without_end_is_ended(code: str) -> None:
    with running(BOMB.format(code), Limits(processes=64)) as target:
        assert target.wait(PATIENCE) == -9
        assert target.limit == "more than 64 processes and threads"
        supervisor = target.supervisor_pid
        assert supervisor is not None
    assert state_of(supervisor) == ""


def test_nothing_is_left_of_children_that_leave_everything() -> None:
    code = "os._exit(0) if os.fork() else os.setsid()"
    with running(BOMB.format(code), Limits()) as target:
        assert target.wait(PATIENCE) == 0
        supervisor = target.supervisor_pid
        assert supervisor is not None
    assert state_of(supervisor) == ""


def test_the_message_of_a_target_that_was_killed_has_the_limit() -> None:
    target = Target("greedy", "tcp", ("python3", "-c", "while True: pass", "{port}"))
    with pytest.raises(TargetError, match=r"greedy was killed: more than 0\.2 s of processor"):
        RunningTarget(target, limits=Limits(cpu=0.2))


def test_fields_are_filled_in_at_once() -> None:
    command = ("python3", "-c", "import sys; print(sys.argv[1])", "{file}", "{port}")
    target = Target("fields", "tcp", command, fields=(("{file}", "/a/{port}.py"),))
    with RunningTarget(target, listens=False) as started:
        assert started.wait(PATIENCE) == 0
        assert started.said() == "; it said: /a/{port}.py"


NO_THREADS = """
import runpy, sys, threading
def start(_):
    raise RuntimeError("can't start new thread")
threading.Thread.start = start
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_what_cannot_be_watched_is_not_run() -> None:
    script = str(Path(supervisor.__file__))
    limits = [*Limits().arguments(), "--", "sleep", str(PATIENCE)]
    command = [sys.executable, "-c", NO_THREADS, script, "2", "100", *limits]
    done = subprocess.run(
        command, stdin=subprocess.PIPE, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["failed can't start new thread", "ended -9"]
    assert done.stderr == ""
