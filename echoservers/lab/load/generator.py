"""The generator, a program: a plan on standard input, what came of it on standard output.

    python -m echoservers.lab.load.generator

The input is one line of JSON, ``{"plan": ..., "spin": true}``, and then stays open: when it
ends, so does the program.  The output is one line of JSON with the numbers and the names,
types and lengths of arrays, and then the arrays as they are in memory (`result` reads it).

It needs the standard library alone and starts in 50 ms.  While it measures, nothing is
collected as garbage, since nothing that is made has cycles.
"""

import gc
import json
import os
import resource
import sys
import time
from array import array
from contextlib import ExitStack
from typing import Any, Protocol

from ...addresses import STREAMS
from .closed import ClosedLoad
from .crowd import Crowd
from .loop import Done, Loop, RunEnded, WrongReply, clock, run_delay
from .plan import LoadPlan
from .sockets import Dialler

CONNECT_TIME = 1.0
"""Seconds for all to be connected before the run begins without the others: a server with a
short backlog that serves one at a time lets them wait for ever."""


class _Load(Protocol):
    """What the clients of one shape do."""

    def dial(self) -> int: ...
    def start(self, at: float) -> None: ...
    def run(self, until: float) -> None: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...
    def outcome(self) -> tuple[dict[str, Any], dict[str, "array[Any]"]]: ...


class _Phases:
    """Says on standard error how far the run is, to whoever looks at the server meanwhile."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted

    def say(self, phase: str) -> None:
        """It has come to *phase*."""
        if self._wanted:
            os.write(2, phase.encode() + b"\n")

    def wait(self) -> None:
        """Keep the connections as they are until whoever looks has seen them."""
        if self._wanted:
            os.read(0, 1)


class _Window:
    """The time that counts, and what the generator did meanwhile."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._marks: list[tuple[float, ...]] = []

    def mark(self, at: float) -> None:
        """It begins, or ends, at the time *at*, which has come."""
        loop = self._loop
        self._marks.append((at, clock(), time.process_time(), loop.waited, run_delay(), loop.spun))

    def numbers(self) -> dict[str, float]:
        """All zero, if it never began.

        How late the generator comes to the beginning is time in which it had no processor.
        """
        first, last = (self._marks * 2)[:2] if self._marks else ((0.0,) * 6,) * 2
        names = ("seconds", "wall", "cpu_seconds", "waited", "delayed", "spun_seconds")
        told = {"begin": first[0]} | {
            name: after - before for name, before, after in zip(names, first, last, strict=True)
        }
        missed = first[1] - first[0] if told["seconds"] else 0.0
        told["wall"] += missed
        told["delayed"] += missed
        return told


def make_load(loop: Loop, dialler: Dialler, plan: LoadPlan, spin: bool) -> _Load:
    """What *plan* says."""
    if plan.transport not in STREAMS:
        from .datagrams import ClosedDatagrams, OpenDatagrams

        if plan.is_scheduled:
            return OpenDatagrams(loop, dialler, plan, spin)
        return ClosedDatagrams(loop, dialler, plan)
    if plan.shape == "open":
        from .open_loop import OpenLoad

        return OpenLoad(loop, dialler, plan, spin)
    if plan.shape == "churn":
        from .churn import ChurnLoad

        return ChurnLoad(loop, dialler, plan)
    return ClosedLoad(loop, dialler, plan)


def generate(
    plan: LoadPlan, spin: bool, phases: _Phases
) -> tuple[dict[str, Any], dict[str, "array[Any]"]]:
    """Do what *plan* says.

    :raises OSError: there is no such host, or a resource is missing.
    """
    with ExitStack() as closing:
        loop = Loop(plan.timeout)
        closing.callback(loop.close)
        dialler = Dialler(plan.endpoint)
        crowd = Crowd(loop, dialler, plan)
        closing.callback(crowd.close)
        load = make_load(loop, dialler, plan, spin)
        closing.callback(load.close)
        window = _Window(loop)
        told = _run(loop, crowd, load, plan, window, phases)
        numbers, arrays = load.outcome()
        told |= window.numbers() | numbers | {"crowd": crowd.counts(), "errors": loop.errors}
    return told, arrays


def _run(
    loop: Loop, crowd: Crowd, load: _Load, plan: LoadPlan, window: _Window, phases: _Phases
) -> dict[str, Any]:
    waited_until = 0.0
    try:
        crowd.gather()
        wanted = loop.settled + load.dial()
        loop.run_until(lambda: loop.settled >= wanted, clock() + CONNECT_TIME)
        loop.start_watch()
        now = clock()
        begin = now + plan.warmup
        load.start(now)
        load.run(begin)
        window.mark(begin)
        phases.say("measuring")
        load.run(begin + plan.duration)
        window.mark(begin + plan.duration)
        phases.say("measured")
        load.finish()
        waited_until = clock()
        phases.say("finished")
        phases.wait()
    except Done:
        window.mark(clock())
        phases.say("measured")
    except WrongReply as wrong:
        window.mark(clock())
        return {"ended": "a reply was wrong", "wrong": str(wrong)}
    except RunEnded as end:
        window.mark(clock())
        return {"ended": str(end), "wrong": None}
    return {"ended": None, "wrong": None, "waited_until": waited_until}


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(0, 65536)
        if not data:
            break
        line += data
    return line


def main() -> None:
    """Read, run, write."""
    job = json.loads(_read_line())
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.collect()
    gc.freeze()
    gc.disable()
    arrays: dict[str, array[Any]] = {}
    try:
        told, arrays = generate(
            LoadPlan.from_json(job["plan"]), job["spin"], _Phases(job["phases"])
        )
    except OSError as error:
        told = {"failed": error.strerror or str(error)}
    told["arrays"] = [[name, data.typecode, len(data)] for name, data in arrays.items()]
    output = sys.stdout.buffer
    output.write(json.dumps(told).encode() + b"\n")
    for data in arrays.values():
        output.write(memoryview(data).cast("B"))
    output.flush()


if __name__ == "__main__":
    main()
