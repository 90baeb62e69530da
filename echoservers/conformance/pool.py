"""Runs jobs, some at a time, each in a worker process; says what happens as it happens.

Strategy: as many workers as may run at the same time, each given its next job when it has
ended one.  A worker whose job takes too long, or that fails, is ended and costs that job.
The end of a worker's input ends all that it has started (`worker`), so nothing has to be
done for that when this process is killed.
"""

import json
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from .engine import CHECKS, Check, Report, Result
from .job import Job, Run, result_from

__all__ = ["Began", "Begins", "Ended", "Event", "Made", "Pool"]

END_TIME = 12.0
"""Seconds for a worker to end what it has started; it has a limit of 10 s itself."""


class Began(NamedTuple):
    """A job has begun."""

    number: int


class Begins(NamedTuple):
    """A check begins."""

    number: int
    check: Check


class Made(NamedTuple):
    """A check was made, and its result is certain, which may be later."""

    number: int
    result: Result


class Ended(NamedTuple):
    """A job has ended."""

    number: int
    run: Run


Event = Began | Begins | Made | Ended


class _Worker:
    """A process that checks, and the job that it has."""

    def __init__(self) -> None:
        module = f"{__package__}.worker"
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us: we end it in our order
        )
        assert self._process.stdout is not None
        self.output: IO[bytes] = self._process.stdout
        self._rest = b""
        self.job: int | None = None
        self.results: list[Result] = []
        self.began = 0.0
        self.deadline: float | None = None

    def give(self, number: int, job: Job) -> None:
        """Let it check."""
        self.job, self.results, self.began = number, [], time.monotonic()
        seconds = job.limits and job.limits.time
        self.deadline = None if seconds is None else self.began + seconds
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job.to_json()).encode() + b"\n")
        self._process.stdin.flush()

    def events(self) -> list[dict[str, Any]] | None:
        """What it says now; None at its end."""
        data = self.output.read1(65536)  # type: ignore[attr-defined]
        if not data:
            return None
        return self._read(data)

    def tell_to_end(self) -> None:
        """End its input."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:
            pass  # it has ended

    def end(self) -> list[dict[str, Any]]:
        """Wait for its end, after `tell_to_end`; what it has said until then."""
        try:
            self._process.wait(END_TIME)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with self.output:
            return self._read(self.output.read())

    def _read(self, data: bytes) -> list[dict[str, Any]]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]


class Pool:
    """Runs *jobs*; a context manager that ends all that was started.

    :param most: how many at the same time.
    """

    def __init__(self, jobs: Sequence[Job], most: int) -> None:
        self._jobs = jobs
        self._most = min(most, len(jobs))
        self._waiting = list(range(len(jobs)))[::-1]
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.tell_to_end()
        for worker in self._workers:
            worker.end()
        self._selector.close()

    def events(self) -> Iterator[Event]:
        """What happens, until every job has ended."""
        for _ in range(self._most):
            yield self._give(self._add())
        while busy := [worker for worker in self._workers if worker.job is not None]:
            ready = self._selector.select(self._time_left(busy))
            for key, _ in ready:
                yield from self._hear(key.data)
            for worker in busy:
                if worker.job is not None and self._time_left([worker]) == 0:
                    yield from self._give_up(worker)

    def _time_left(self, workers: list[_Worker]) -> float | None:
        """Seconds until the first of them has had its time."""
        deadlines = [worker.deadline for worker in workers if worker.deadline is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _add(self) -> _Worker:
        worker = _Worker()
        self._workers.append(worker)
        self._selector.register(worker.output, selectors.EVENT_READ, worker)
        return worker

    def _give(self, worker: _Worker) -> Began:
        number = self._waiting.pop()
        worker.give(number, self._jobs[number])
        return Began(number)

    def _hear(self, worker: _Worker) -> Iterator[Event]:
        events = worker.events()
        if events is None:
            yield from self._replace(worker, "the checker ended in the middle")
            return
        for event in events:
            yield from self._take(worker, event)
        if worker.job is None and self._waiting:
            yield self._give(worker)

    def _take(self, worker: _Worker, event: dict[str, Any]) -> Iterator[Event]:
        assert worker.job is not None
        kind = event.pop("event")
        if kind == "check":
            yield Begins(worker.job, CHECKS[event["id"]])
        elif kind == "result":
            worker.results.append(result_from(event))
            yield Made(worker.job, worker.results[-1])
        else:
            yield self._ended(worker, event.get("design"), event.get("message"))

    def _ended(self, worker: _Worker, design: str | None, error: str | None) -> Ended:
        number, worker.job = worker.job, None
        assert number is not None
        job = self._jobs[number]
        report = Report(job.target.name, design, worker.results)
        return Ended(number, Run(job, report, error, time.monotonic() - worker.began))

    def _give_up(self, worker: _Worker) -> Iterator[Event]:
        assert worker.deadline is not None
        seconds = worker.deadline - worker.began
        yield from self._replace(worker, f"not done within {seconds:g} s")

    def _replace(self, worker: _Worker, why: str) -> Iterator[Event]:
        """End *worker*, for whose job it is too late, and go on with another.

        In the end it tells the results that it has held, and that may be all there was to do.
        """
        self._selector.unregister(worker.output)
        worker.tell_to_end()
        self._workers.remove(worker)
        for event in worker.end():
            yield from self._take(worker, event)
        if worker.job is not None:
            yield self._ended(worker, None, why)
        if self._waiting:
            yield self._give(self._add())
