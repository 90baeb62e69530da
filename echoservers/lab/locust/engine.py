"""Locust as an engine of ``compare``: for each cell a master, without its page, and workers.

What Locust measures goes into the same cells as what our own generator does, as far as it
goes: throughput, failures, and percentiles as it rounds them.  The users are ours (`users`),
and so is the count of those that were served; the window is, too (`window`).

Each load has processes of its own, so that nothing is left of the one before.
"""

import contextlib
import importlib.metadata
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ...addresses import STREAMS
from ...errors import ModeNotAvailable, OptionError
from ...system import usable_cpus
from ..engines import PERCENTILES, Cpus, Phases
from ..experiments.base import Sample, too_few
from ..load import Ceiling, LoadError, LoadPlan, LoadResult
from ..load.calibration import LIMIT
from ..load.datagrams import LOSS_TIME
from ..load.run import PHASES, program_environment
from ..stats import needed_samples
from . import DRIVEN
from .__main__ import LOCUSTFILE

if TYPE_CHECKING:
    from ..experiments import Experiment

__all__ = ["LocustEngine", "LocustResult"]

WORKERS_TIME = 30
"""Seconds for all workers to come to the master, which takes them one or two where nobody else
runs; and then for all users to be there."""

GRACE = 2 * WORKERS_TIME + 15.0
"""Seconds beyond what its plan takes until Locust is given up."""

CANNOT = (
    "the load is made by Locust {version}: it rounds percentiles to whole milliseconds, from"
    " 100 ms on to two digits, so their intervals are as much wider and there are no ratios of"
    " them; what fails has no time to it, so a percentile that failures could be beyond is left"
    " out; times to connect, ages of messages that were never answered and a"
    " measured ceiling of the generator it does not have; that it was the bottleneck is told by"
    " the processor time of its workers alone"
)

STEPS = ((0.1, 0.001), (1.0, 0.01), (10.0, 0.1), (math.inf, 1.0))
"""Seconds: below the first Locust rounds to the second (locust/stats.py, `StatsEntry`)."""

ROUNDED = STEPS[0][1] / 2
"""Seconds: what takes less is 0 ms to Locust."""


@dataclass(frozen=True, kw_only=True)
class LocustResult(LoadResult):
    """What Locust says of a plan; there are no samples, so all arrays of them are empty."""

    replies: list[int] = field(default_factory=list)
    """How many each user had that was served."""
    percentiles: dict[str, float] = field(default_factory=dict)
    """In seconds, by their names, as Locust has rounded them."""
    longest: float = 0.0
    workers: int = 1
    processors: int = 1
    """How many the workers could use."""

    @property
    def throughput(self) -> float:
        return self.received / self.seconds if self.seconds else 0.0

    def by_client(self) -> Any:
        counts: Any = np.zeros(self.plan.connections, np.int64)
        counts[: len(self.replies)] = self.replies
        return counts


class LocustEngine:
    """Loads by Locust; for closed loops of one message a client.

    :param workers: processes; by default as many as there are processors for them.
    :raises ModeNotAvailable: Locust is not installed.
    """

    name = "locust"
    seconds = 3.0

    def __init__(self, workers: int | None = None) -> None:
        if find_spec("locust") is None:
            raise ModeNotAvailable(
                "--engine locust needs Locust: pip install 'echoservers[locust]'"
            )
        self._workers = workers

    def takes(self, experiment: "Experiment") -> bool:
        return experiment.plain

    def run(self, plan: LoadPlan, cpus: Cpus, on_phase: Phases) -> LoadResult:
        if not plan.is_plain:
            raise OptionError(
                "Locust makes closed loops of one message a client, and nothing beside it"
            )
        processors = len(cpus or usable_cpus())
        workers = min(self._workers or processors, plan.connections)
        with _Locust(plan, workers, cpus, on_phase) as running:
            told = running.result()
        return _result(plan, told, min(workers, processors))

    def add_times(self, sample: Sample, result: LoadResult) -> None:
        assert isinstance(result, LocustResult)
        failed = result.sent - result.received
        for name, quantile in PERCENTILES.items():
            found = result.percentiles[name]
            if result.received < needed_samples(quantile):
                sample.withheld[name] = too_few(name, quantile)
            elif failed > (1 - quantile) * result.sent:
                sample.withheld[name] = _failed(name, failed, result.sent)
            elif found < ROUNDED:
                sample.withheld[name] = f"{name} is less than half a millisecond: 0 to Locust"
            else:
                sample.figures[name] = found
                # What was rounded up to a limit has had the step below it, which is smaller.
                sample.rounded[name] = next(step for below, step in STEPS if found < below) / 2
        if failed:
            sample.withheld["max"] = _failed("max", failed, result.sent)
        elif result.received:
            sample.figures["max"] = result.longest

    def limit(
        self, result: LoadResult, ceiling: Callable[[LoadPlan], Ceiling | None]
    ) -> str | None:
        assert isinstance(result, LocustResult)
        share = result.cpu_seconds / (result.seconds * result.processors) if result.seconds else 0
        return f"Locust's workers were busy for {share:.0%} of the time" if share >= LIMIT else None

    def warnings(self) -> list[str]:
        return [CANNOT.format(version=importlib.metadata.version("locust"))]


def _failed(name: str, failed: int, requests: int) -> str:
    return (
        f"no {name}: {failed} of {requests} requests failed, of which Locust knows no time;"
        " it would be that of the answered ones"
    )


def _result(plan: LoadPlan, told: dict[str, Any], processors: int) -> LocustResult:
    workers = told["workers"]
    received = told["requests"] - told["failures"]
    # Not by their numbers: those of a seventeenth worker are of another one, too.
    replies = [number for worker in workers for _user, number in worker["replies"]]
    nothing = np.zeros(0)
    errors = told["errors"]
    lost = 0 if plan.transport in STREAMS else sum(n for e, n in errors.items() if "lost" in e)
    most = max(errors, key=lambda reason: errors[reason]) if errors else None
    return LocustResult(
        plan=plan,
        ended=None if received else most,
        wrong=next((worker["wrong"] for worker in workers if worker["wrong"]), None),
        sent=told["requests"],
        received=received,
        lost=lost,
        errors=errors,
        seconds=sum(worker["seconds"] for worker in workers) / len(workers),
        begin=0.0,
        connected=len(replies),
        crowd={},
        latencies=nothing,
        starts=nothing,
        clients=np.zeros(0, np.int64),
        lateness=nothing,
        connect_seconds=nothing,
        unfinished=nothing,
        connect_waits=nothing,
        lost_waits=nothing,
        cpu_seconds=sum(worker["cpu_seconds"] for worker in workers),
        spun_seconds=0.0,
        busy=0.0,
        delayed=0.0,
        replies=replies,
        percentiles={
            name: told["percentiles"][str(quantile)] / 1000
            for name, quantile in PERCENTILES.items()
        },
        longest=told["max"] / 1000,
        workers=len(workers),
        processors=processors,
    )


class _Locust:
    """A master and its workers; gone when their block ends."""

    def __init__(self, plan: LoadPlan, workers: int, cpus: Cpus, on_phase: Phases) -> None:
        self._plan = plan
        self._workers = workers
        self._cpus = cpus
        self._on_phase = on_phase
        self._time = plan.warmup + plan.duration + GRACE
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "_Locust":
        with contextlib.ExitStack() as stack:
            # Elsewhere there may be a locust.conf, which it would read.
            self._home = stack.enter_context(tempfile.TemporaryDirectory(prefix="echo"))
            self._errors = stack.enter_context(Path(self._home, "errors").open("w+b"))
            place = ["--master-host", "127.0.0.1", "--master-port", str(port := _free_port())]
            self._master = self._start(stack, *_master_options(self._plan, self._workers, port))
            for _ in range(self._workers):
                self._start(stack, "--worker", *place)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, stack: contextlib.ExitStack, *options: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--loglevel=ERROR", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=self._home,
            env=_environment(self._home),
        )
        stack.callback(_end, process)
        if self._cpus is not None:
            os.sched_setaffinity(process.pid, self._cpus)
        return process

    def result(self) -> dict[str, Any]:
        """What the master writes at the end.

        :raises LoadError: it writes nothing, or not in time.
        """
        deadline = time.monotonic() + self._time
        reader = _Lines(self._master.stdout)
        while (line := reader.next(deadline)) is not None:
            if line in PHASES:
                self._tell(line)
            elif line.startswith(b"{"):
                told: dict[str, Any] = json.loads(line)
                return self._checked(told)
        if time.monotonic() >= deadline:
            raise LoadError(f"Locust did not end within {self._time:g} s{self._last_words()}")
        raise LoadError(f"Locust ended{self._last_words()}")

    def _checked(self, told: dict[str, Any]) -> dict[str, Any]:
        if told["exceptions"]:
            raise LoadError(f"a user of Locust's failed: {told['exceptions'][0]}")
        if len(told["workers"]) < self._workers:
            raise LoadError(f"{len(told['workers'])} of {self._workers} workers told their results")
        return told

    def _tell(self, phase: bytes) -> None:
        if self._on_phase is not None:
            self._on_phase(phase.decode())
        if phase == PHASES[-1]:
            assert self._master.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._master.stdin.write(b"\n")
                self._master.stdin.flush()

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""


class _Lines:
    """The lines of a pipe, each waited for."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe is not None
        self._fd = pipe.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._read = b""

    def next(self, deadline: float) -> bytes | None:
        """The next line; None: the end, or the deadline."""
        while b"\n" not in self._read:
            left = deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                return None
            data = os.read(self._fd, 1 << 16)
            if not data:
                return None
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line


def _master_options(plan: LoadPlan, workers: int, port: int) -> list[str]:
    # Who has connections waits for them; a datagram that is lost is lost, as for our generator.
    timeout = plan.timeout if plan.transport in STREAMS else min(plan.timeout, LOSS_TIME)
    try:
        message = plan.message.decode()
    except UnicodeDecodeError:
        raise OptionError("Locust takes messages that are text alone") from None
    return [
        *("--headless", "--only-summary", "--master", "--master-bind-host=127.0.0.1"),
        *(f"--master-bind-port={port}", f"--expect-workers={workers}"),
        f"--expect-workers-max-wait={WORKERS_TIME}",
        *(f"--users={plan.connections}", f"--spawn-rate={plan.connections}"),
        *(f"--host={plan.endpoint}", f"--size={plan.size}", f"--message={message}"),
        *(f"--timeout={timeout}", f"--warmup={plan.warmup}", f"--window={plan.duration}"),
        *(["--churn"] if plan.shape == "churn" else []),
    ]


def _environment(home: str) -> dict[str, str]:
    """Without settings for another Locust."""
    kept = {k: v for k, v in program_environment().items() if not k.startswith("LOCUST_")}
    # By default it begins after a second, whether all users are there or not.
    kept["LOCUST_WAIT_FOR_WORKERS_REPORT_AFTER_RAMP_UP"] = str(WORKERS_TIME)
    return {**kept, "HOME": home, DRIVEN: "yes"}


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Now: what it had to say, it has said."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            stream.close()  # type: ignore[union-attr]
    process.wait()
