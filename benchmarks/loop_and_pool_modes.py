"""Event loops, pools and prefork, each mode against a named program of its kind.

    python benchmarks/loop_and_pool_modes.py --json runs.json > table.rst

prints a table for docs/performance.rst; the raw runs go to the JSON file, from which `--render`
makes the same table again. `--only` measures the rows whose name (MEASURE/MODE) holds a word.
`--null` puts the first peer of each row against itself and so shows how far from 1.0 a ratio gets
on this machine by chance. With the defaults it takes about ten minutes; let the machine do nothing
else. Needs Linux, a C compiler and uvloop. `system_calls.py` shows what the programs do.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import BENCHMARKS
from loop_and_pool_report import render
from measures import CHURN_CONCURRENCY, Churn, IdleCrowd, Measure, Side, Throughput
from rounds import Cell, add_options, parse, run

IDLE_CONNECTIONS = 10_000
# What the mode must be told so that it takes that many: the crowd, and some that come and go.
ROOM_FOR_THE_CROWD = ("--max-connections", str(IDLE_CONNECTIONS + 500))

SMALL = Throughput("messages-64", 50)
KIBIBYTE = Throughput("messages-1k", 50, size=1024)
PIPELINED = Throughput("pipelined", 50, pipeline=16)
# Few connections: with more, 50 MiB of socket buffers would be measured, and not the programs.
LARGE = Throughput("messages-1m", 8, size=1 << 20)
CHURN = Churn()
IDLE = IdleCrowd("idle", IDLE_CONNECTIONS)
# 128 in flight keep the server busy, and fit into its receive buffer of 212,992 bytes, of which
# the kernel takes 768 for a datagram of this size.
DATAGRAMS = Throughput("datagrams", 8, pipeline=16)


@dataclass(frozen=True)
class Peer:
    """A program that a mode is compared with; `command` follows the directory of C programs."""

    command: Callable[[Path], list[str]]
    needs_uvloop: bool = False


def python_peer(program: str, *arguments: str) -> Peer:
    """Return a Python program of the directory `peers`."""
    path = str(BENCHMARKS / "peers" / program)
    return Peer(lambda _programs: [sys.executable, path, *arguments], "uvloop" in arguments)


PEERS = {
    "uvloop Protocol": python_peer("protocol.py", "uvloop", "tcp"),
    "asyncio Protocol": python_peer("protocol.py", "asyncio", "tcp"),
    "uvloop DatagramProtocol": python_peer("protocol.py", "uvloop", "udp"),
    "asyncio streams": python_peer("streams.py"),
    "epoll in C": Peer(lambda programs: [str(programs / "epoll_echo")]),
    "ThreadingTCPServer": python_peer("bare_socketserver.py", "threading-tcp"),
    "ForkingTCPServer": python_peer("bare_socketserver.py", "forking-tcp"),
}


@dataclass(frozen=True)
class Row:
    """A mode of ours, what is measured on it, and which ratio is to be reached to which peer.

    The ratio is ours over the peer's: of rates at least, of memory at most.
    """

    measure: Measure
    mode: str
    targets: dict[str, float]
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What `--only` looks at."""
        return f"{self.measure.name}/{self.mode}"


# As many as clients come at a time: a worker of the iterative model waits for its client.
A_WORKER_A_CLIENT = ("--workers", str(CHURN_CONCURRENCY))

LOOP_TARGETS = {"uvloop Protocol": 1.05, "asyncio Protocol": 1.25, "epoll in C": 0.85}
BULK_TARGETS = {"uvloop Protocol": 1.2, "epoll in C": 0.85}
CHURN_TARGETS = {"ThreadingTCPServer": 2.0, "ForkingTCPServer": 10.0}
ROWS = (
    Row(SMALL, "epoll-tcp", LOOP_TARGETS),
    Row(SMALL, "asyncio-tcp", {"asyncio Protocol": 0.95}),
    Row(SMALL, "uvloop-tcp", {"uvloop Protocol": 0.95}),
    Row(KIBIBYTE, "epoll-tcp", LOOP_TARGETS),
    Row(KIBIBYTE, "asyncio-tcp", {"asyncio Protocol": 0.95}),
    Row(KIBIBYTE, "uvloop-tcp", {"uvloop Protocol": 0.95}),
    Row(PIPELINED, "epoll-tcp", BULK_TARGETS),
    Row(LARGE, "epoll-tcp", BULK_TARGETS),
    Row(CHURN, "thread-pool-tcp", CHURN_TARGETS),
    Row(CHURN, "prefork-tcp", CHURN_TARGETS, A_WORKER_A_CLIENT),
    Row(IDLE, "epoll-tcp", {"asyncio streams": 0.25}, ROOM_FOR_THE_CROWD),
    Row(DATAGRAMS, "epoll-udp", {"uvloop DatagramProtocol": 1.5}),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, save and print; 1 when a measurement failed, else 0."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    add_options(parser)
    add_only(parser)
    options = parse(parser, arguments)
    if options.render:
        print(render(json.loads(options.render.read_text())), end="")
        return 0
    rows = chosen_rows(parser, options)
    if options.null:
        rows = [replace(row, targets={next(iter(row.targets)): 1.0}) for row in rows]
    comparisons = [
        {"measure": row.measure.name, "mode": row.mode, "peer": peer, "target": target}
        for row in rows
        for peer, target in row.targets.items()
    ]
    return run(
        options,
        lambda programs: [cell(row, programs, options.null) for row in rows],
        {"comparisons": comparisons},
        render,
    )


def add_only(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses rows."""
    names = ", ".join(row.name for row in ROWS)
    parser.add_argument("--only", nargs="+", metavar="WORD", help=f"rows that hold it: {names}")


def chosen_rows(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[Row]:
    """Return the rows that the user wants; ends the program when they cannot be measured."""
    words = options.only or [""]
    rows = [row for row in ROWS if any(word in row.name for word in words)]
    if not rows:
        parser.error(f"no row is called so; the rows are {', '.join(row.name for row in ROWS)}")
    if wants_uvloop(rows) and not importlib.util.find_spec("uvloop"):
        parser.error("uvloop is missing; `python -m pip install uvloop` installs it")
    return rows


def wants_uvloop(rows: Sequence[Row]) -> bool:
    """Return whether any of the programs runs on uvloop."""
    peers = [PEERS[name] for row in rows for name in row.targets]
    return any(peer.needs_uvloop for peer in peers) or any("uvloop" in row.mode for row in rows)


def cell(row: Row, programs: Path, null: bool) -> Cell:
    """Return ours and the peers of `row`; in a null run the first peer stands for ours."""
    command = [sys.executable, "-m", "echoservers", "--mode", row.mode, "--port", "0"]
    ours = Side("ours", lambda _mode: [*command, *row.options])
    if null:
        ours = peer_side("ours", next(iter(row.targets)), programs)
    peers = [peer_side(name, name, programs) for name in row.targets]
    return Cell(row.measure, row.mode, (ours, *peers))


def peer_side(name: str, peer: str, programs: Path) -> Side:
    """Return `peer` under a name."""
    return Side(name, lambda _mode: PEERS[peer].command(programs))


if __name__ == "__main__":
    sys.exit(main())
