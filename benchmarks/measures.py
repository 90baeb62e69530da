"""What is measured on a server, one class a measure; each returns a plain record of numbers.

A measure takes a `Side`, one of the programs that are compared, and knows nothing of the other.
Every record has a "value", which is what the report compares.
"""

from __future__ import annotations

import contextlib
import random
import socket
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
    REPLY_TIMEOUT,
    REPOSITORY,
    Address,
    BenchmarkError,
    Cores,
    Environment,
    Load,
    Server,
    allow_descriptors,
    echo_once,
    exchange,
    running_on,
    wait_for_exit,
)

Record = dict[str, Any]

MESSAGE_SIZE = 64  # bytes
FIRST_OF_CROWD = 100  # connections
NEXT_CLIENTS = 20  # one after the other, while the crowd waits
SPARE_DESCRIPTORS = 1000  # beyond the crowd's, for everything else that a process has open
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
        """What the command line and the saved results call it."""

    def applies_to(self, mode: str) -> bool:
        """Whether the measure makes sense in `mode`."""

    def run(self, bench: Bench, side: Side, mode: str) -> Record:
        """Measure `side` in `mode` once."""


def transport_of(mode: str) -> str:
    """Return the transport that a mode name ends in."""
    return mode.rpartition("-")[2]


@dataclass(frozen=True)
class Throughput:
    """Messages a second over connections that stay open: `value` is the rate.

    For datagrams `connections` are sockets, each with `pipeline` datagrams in flight.
    """

    name: str
    connections: int
    size: int = MESSAGE_SIZE
    pipeline: int = 1  # messages in flight a connection

    def applies_to(self, mode: str) -> bool:
        """An iterative TCP server serves one connection until its end; others wait for ever."""
        return self.connections == 1 or mode != "tcp"

    def run(self, bench: Bench, side: Side, mode: str) -> Record:
        """Start a server and load it."""
        return run_load(bench, side, mode, self.load(mode, bench.seconds))

    def load(self, mode: str, seconds: float) -> Load:
        """Return the generator's run for `mode`."""
        kind = f"{transport_of(mode)}-closed"
        return Load(kind, self.connections, self.size, seconds, self.pipeline)


@dataclass(frozen=True)
class Churn:
    """Connections a second, each for one message: `value` is the rate."""

    name: str = "churn"

    def applies_to(self, mode: str) -> bool:
        """Only streams have connections."""
        return transport_of(mode) == "tcp"

    def run(self, bench: Bench, side: Side, mode: str) -> Record:
        """Start a server and load it."""
        return run_load(bench, side, mode, self.load(mode, bench.seconds))

    def load(self, mode: str, seconds: float) -> Load:
        """Return the generator's run for `mode`."""
        return Load("tcp-churn", CHURN_CONCURRENCY, MESSAGE_SIZE, seconds)


def run_load(bench: Bench, side: Side, mode: str, load: Load) -> Record:
    """Load a fresh server; the record adds the CPU time of server and generator a message.

    Over loopback a part of the receiver's work is done, and billed, in the sender's system call, so
    only the sum of both says what a message costs the machine.
    """
    with Server(side.command(mode), bench.cores.server, bench.environment) as server:
        results = load.run(bench.loadgen, server, bench.cores.generator)
        said = server.errors()
    cpu = results["server_cpu_seconds"] + results["cpu_seconds"]
    return {
        "value": results["rate"],
        "cpu_us_per_message": cpu / results["messages"] * 1e6,
        "server_share": results["server_cpu_seconds"] / results["seconds"],
        "generator_share": results["cpu_seconds"] / results["seconds"],
        "server_said": said,
        "load": results,
    }


@dataclass(frozen=True)
class IdleCrowd:
    """User memory of a connection that waits, in bytes, and how soon a new client is served then.

    Each connection echoes one message, which proves that the server has accepted it, and waits.
    The first few are not counted: with them comes what the server needs but once.
    """

    name: str
    connections: int

    def applies_to(self, mode: str) -> bool:
        """Only streams have connections."""
        return transport_of(mode) == "tcp"

    def run(self, bench: Bench, side: Side, mode: str) -> Record:
        """Start a server, connect the crowd, and then a few more clients."""
        allow_descriptors(self.connections + SPARE_DESCRIPTORS)
        with (
            running_on(bench.cores.generator),
            Server(side.command(mode), bench.cores.server, bench.environment) as server,
            contextlib.ExitStack() as crowd,
        ):
            for _ in range(FIRST_OF_CROWD):
                crowd.enter_context(connected_client(server.address))
            before = server.user_memory()
            for _ in range(self.connections - FIRST_OF_CROWD):
                crowd.enter_context(connected_client(server.address))
            after = server.user_memory()
            waits = []
            for _ in range(NEXT_CLIENTS):
                started = time.perf_counter()
                echo_once("tcp", server.address)
                waits.append(time.perf_counter() - started)
            said = server.errors()
        growth = (after - before) / (self.connections - FIRST_OF_CROWD)
        return {"value": growth, "next_client": waits, "memory": after, "server_said": said}


def connected_client(address: Address) -> socket.socket:
    """Return a TCP client that `address` has echoed a message to."""
    client = socket.create_connection(address, timeout=REPLY_TIMEOUT)
    exchange(client, random.randbytes(MESSAGE_SIZE))
    return client


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
