"""What is measured on a server, one class a measure; each returns a plain record of numbers.

A measure takes a `Side`, one of the programs that are compared, and knows nothing of the other.
Every record has a "value", which is what the report compares.
"""

from __future__ import annotations

import random
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness import (
    READY_TIMEOUT,
    REPOSITORY,
    BenchmarkError,
    Cores,
    Environment,
    Load,
    Server,
    echo_once,
    running_on,
    wait_for_exit,
)

Record = dict[str, Any]

MESSAGE_SIZE = 64  # bytes
CHURN_CONCURRENCY = 8  # connections at a time: enough to keep an accept queue, few enough to fork
POLL_INTERVAL = 0.5  # seconds; how often the standard library's loop looks for a shutdown request
SETTLE_TIME = 0.05  # seconds until serve_forever() surely waits for clients
SHUTDOWN_TIMEOUT = 10.0  # seconds; twenty times what the standard library may take


@dataclass(frozen=True)
class Side:
    """One of the programs that are compared."""

    name: str
    command: Callable[[str], list[str]]  # from a mode to the command line of a server process
    create: Callable[[str], socketserver.BaseServer] | None = None  # the same, in this process


@dataclass(frozen=True)
class Bench:
    """Where measurements are made: generator, cores, environment, how long a run takes."""

    loadgen: Path
    cores: Cores
    environment: Environment
    seconds: float


class Measure(Protocol):
    """A named measurement."""

    @property
    def name(self) -> str:
        """What `--measures` and the saved results call it."""

    def applies_to(self, mode: str) -> bool:
        """Whether the measure makes sense in `mode`."""

    def run(self, bench: Bench, side: Side, mode: str) -> Record:
        """Measure `side` in `mode` once."""


def transport_of(mode: str) -> str:
    """Return the transport that a mode name ends in."""
    return mode.rpartition("-")[2]


@dataclass(frozen=True)
class Throughput:
    """Messages a second over connections that stay open: `value` is the rate."""

    name: str
    connections: int

    def applies_to(self, mode: str) -> bool:
        """An iterative TCP server serves one connection until its end; others wait for ever."""
        return self.connections == 1 or mode != "tcp"

    def run(self, bench: Bench, side: Side, mode: str) -> Record:
        """Start a server and load it."""
        kind = f"{transport_of(mode)}-closed"
        load = Load(kind, self.connections, MESSAGE_SIZE, bench.seconds)
        return run_load(bench, side, mode, load)


@dataclass(frozen=True)
class Churn:
    """Connections a second, each for one message: `value` is the rate."""

    name: str = "churn"

    def applies_to(self, mode: str) -> bool:
        """Only streams have connections."""
        return transport_of(mode) == "tcp"

    def run(self, bench: Bench, side: Side, mode: str) -> Record:
        """Start a server and load it."""
        load = Load("tcp-churn", CHURN_CONCURRENCY, MESSAGE_SIZE, bench.seconds)
        return run_load(bench, side, mode, load)


def run_load(bench: Bench, side: Side, mode: str, load: Load) -> Record:
    """Load a fresh server; the record adds the CPU time of server and generator a message.

    Over loopback a part of the receiver's work is done, and billed, in the sender's system call, so
    only the sum of both says what a message costs the machine.
    """
    with Server(side.command(mode), bench.cores.server, bench.environment) as server:
        results = load.run(bench.loadgen, server, bench.cores.generator)
    cpu = results["server_cpu_seconds"] + results["cpu_seconds"]
    return {
        "value": results["rate"],
        "cpu_us_per_message": cpu / results["messages"] * 1e6,
        "generator_share": results["cpu_seconds"] / results["seconds"],
        "load": results,
    }


@dataclass(frozen=True)
class Start:
    """Seconds from the spawn of a server process to the first echo."""

    name: str = "start"

    def applies_to(self, mode: str) -> bool:
        """Every server starts."""
        return True

    def run(self, bench: Bench, side: Side, mode: str) -> Record:
        """Start a server, wait for its line, send one message; `python` merely starts and ends."""
        command = side.command(mode)
        with running_on(bench.cores.generator):
            started = time.perf_counter()
            if side.name == PYTHON.name:
                with running_on(bench.cores.server):
                    process = subprocess.Popen(
                        command, cwd=REPOSITORY, env=bench.environment, start_new_session=True
                    )
                wait_for_exit(process.pid, READY_TIMEOUT)
                elapsed = time.perf_counter() - started
                process.kill()  # if it is still there
                process.wait()
                return {"value": elapsed}
            with Server(command, bench.cores.server, bench.environment) as server:
                echo_once(transport_of(mode), server.address)
                return {"value": time.perf_counter() - started}


PYTHON = Side("python", lambda _mode: [sys.executable, "-c", "pass"])


@dataclass(frozen=True)
class Shutdown:
    """Seconds that `shutdown()` takes while `serve_forever()` runs in a thread of this process.

    Nobody is connected: a child that the server forks here would inherit the client's end of the
    connection as well, and so keep its own connection open.
    """

    name: str = "shutdown"

    def applies_to(self, mode: str) -> bool:
        """Every server shuts down."""
        return True

    def run(self, bench: Bench, side: Side, mode: str) -> Record:
        """Serve for a moment and shut down anywhere in the poll interval."""
        assert side.create is not None
        with side.create(mode) as server:
            serving = threading.Thread(target=server.serve_forever, daemon=True)
            serving.start()
            serving.join(SETTLE_TIME + random.uniform(0, POLL_INTERVAL))
            if not serving.is_alive():
                raise BenchmarkError("serve_forever() ended by itself")
            stopping = threading.Thread(target=server.shutdown, daemon=True)
            started = time.perf_counter()
            stopping.start()
            stopping.join(SHUTDOWN_TIMEOUT)
            elapsed = time.perf_counter() - started
            serving.join(SHUTDOWN_TIMEOUT)
        if elapsed >= SHUTDOWN_TIMEOUT:
            raise BenchmarkError(f"shutdown() did not return in {SHUTDOWN_TIMEOUT:g} s")
        return {"value": elapsed}


MEASURES: tuple[Measure, ...] = (
    Throughput("messages-1", 1),
    Throughput("messages-50", 50),
    Churn(),
    Start(),
    Shutdown(),
)
