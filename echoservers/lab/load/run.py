"""Start generators, each a process of its own, and take their results."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import EchoServersError
from ...system import usable_processors
from .plan import LoadPlan
from .result import LoadResult, read_result

__all__ = ["PHASES", "LoadError", "program_environment", "run_load", "run_loads"]

PHASES = (b"measuring", b"measured", b"finished")
"""What a generator says: the window begins, the window is over, the last reply has come."""

PROGRAM = f"{__package__}.generator"

GRACE = 15.0
"""Seconds beyond what its plan takes until a generator is given up: to start, to connect, and
to hand over ten million samples."""

CROWD_TIME = 0.01
"""Seconds more for each client beside: a server that forks for each takes a few milliseconds."""


class LoadError(EchoServersError):
    """A generator could not do what it was to do; a server's faults are in the results."""


def run_load(
    plan: LoadPlan,
    cpus: frozenset[int] | set[int] | None = None,
    on_phase: Callable[[str], None] | None = None,
) -> LoadResult:
    """Put the load of *plan* on its server.

    :param cpus: the processors that the generator may run on; by default any.
    :param on_phase: called with ``measuring`` when the window begins, ``measured`` when it is
        over, and ``finished`` when all replies are there; then the connections stay as they
        are until it returns.
    :raises LoadError: there is no such host, or the generator cannot run or does not end.
    """
    with _Generator(plan, cpus, on_phase) as generator:
        generator.start()
        return generator.result()


def run_loads(
    plans: Sequence[LoadPlan], cpus: frozenset[int] | set[int] | None = None
) -> list[LoadResult]:
    """Put several loads on servers at the same time, each by a generator of its own.

    :raises LoadError: as `run_load`.
    """
    with contextlib.ExitStack() as stack:
        generators = [stack.enter_context(_Generator(plan, cpus)) for plan in plans]
        for generator in generators:
            generator.start()
        return [generator.result() for generator in generators]


def program_environment() -> dict[str, str]:
    """In which a program of ours finds this package, wherever it is."""
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


class _Generator:
    """One process; gone when its block ends."""

    def __init__(
        self,
        plan: LoadPlan,
        cpus: frozenset[int] | set[int] | None,
        on_phase: Callable[[str], None] | None = None,
    ) -> None:
        self._plan = plan
        self._on_phase = on_phase
        beside = plan.idle + plan.slow + plan.silent + plan.half
        self._time = plan.warmup + plan.duration + plan.timeout + GRACE + beside * CROWD_TIME
        self._process = subprocess.Popen(
            # Not from the folder that we are in (-P): there may be anything.
            [sys.executable, "-P", "-m", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=program_environment(),
        )
        # Whoever says where it runs has kept the server elsewhere, if there is more than one.
        self._spin = (os.cpu_count() or 1) > 1 if cpus else usable_processors() > 1
        if cpus is not None:
            try:
                os.sched_setaffinity(self._process.pid, cpus)
            except BaseException:
                self.__exit__()
                raise

    def __enter__(self) -> "_Generator":
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        process.kill()  # it has ended, where its result is here
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
        process.wait()

    def start(self) -> None:
        """Hand the plan over."""
        # With one processor, what looks whether a message is due keeps the server from running.
        job = {"plan": self._plan.to_json(), "spin": self._spin}
        job["phases"] = self._on_phase is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it says why on its standard error
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()

    def result(self) -> LoadResult:
        """Wait for what it hands back."""
        output, errors = self._read_all(time.monotonic() + self._time)
        if b"\n" not in output:
            words = errors.decode(errors="replace").strip().splitlines()
            raise LoadError(
                f"the load generator ended: {words[-1] if words else 'no reason given'}"
            )
        try:
            return read_result(self._plan, output)
        except OSError as error:
            raise LoadError(f"no load on {self._plan.endpoint}: {error}") from error

    def _read_all(self, deadline: float) -> tuple[bytes, bytes]:
        process = self._process
        assert process.stdout is not None
        assert process.stderr is not None
        parts: dict[int, bytearray] = {
            process.stdout.fileno(): bytearray(),
            process.stderr.fileno(): bytearray(),
        }
        output, errors = parts.values()
        reading = select.poll()
        for descriptor in parts:
            reading.register(descriptor, select.POLLIN)
        while parts:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LoadError(f"the load generator did not end within {self._time:g} s")
            for descriptor, _ in reading.poll(left * 1000):
                if data := os.read(descriptor, 1 << 20):
                    parts[descriptor] += data
                    if parts[descriptor] is errors:
                        self._tell(data)
                else:
                    reading.unregister(descriptor)
                    del parts[descriptor]
        return bytes(output), bytes(errors)

    def _tell(self, said: bytes) -> None:
        """Hand on how far it is."""
        if self._on_phase is None:
            return
        for line in said.split():
            if line in PHASES:
                self._on_phase(line.decode())
        if PHASES[-1] in said:
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(b"\n")
                self._process.stdin.flush()
