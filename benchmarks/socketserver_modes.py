"""The six TCP and UDP modes, each against a bare `socketserver` program of the same model.

    python benchmarks/socketserver_modes.py --json runs.json > table.rst

prints a table for docs/performance.rst; the raw runs go to the JSON file, from which `--render`
makes the same table again. `--null` puts the bare program against itself and so shows how far
from 1.0 a ratio gets on this machine by chance. With the defaults it takes about ten minutes; let
the machine do nothing else. Needs Linux, a C compiler and nothing beyond the standard library.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from socketserver import BaseServer
from typing import Any

from harness import REPOSITORY, BenchmarkError, Cores, clean_environment, compiled_loadgen
from measures import MEASURES, PYTHON, Bench, Measure, Record, Side, Start, transport_of
from peers import bare_socketserver
from report import render

MODES = ("tcp", "threading-tcp", "forking-tcp", "udp", "threading-udp", "forking-udp")
# Many short runs beat a few long ones: a process differs from the next (memory layout, hash seed)
# for all its life. An even number of rounds, so that each side goes first as often as the other.
ROUNDS = 12
SECONDS = 1.0
SHORTEST = 0.2  # seconds; of less, nothing is left beside the warm-up


def create_ours(mode: str) -> BaseServer:
    """Return our server of `mode`, bound to a free loopback port."""
    import echoservers

    server: BaseServer = echoservers.create_server(mode, ("127.0.0.1", 0))
    return server


def bare_command(mode: str) -> list[str]:
    """Return the command line of the bare program of `mode`."""
    return [sys.executable, str(bare_socketserver.__file__), mode]


def our_command(mode: str) -> list[str]:
    """Return our command line of `mode`."""
    return [sys.executable, "-m", "echoservers", "--mode", mode, "--port", "0"]


BARE = Side("bare", bare_command, bare_socketserver.create_server)
OURS = Side("ours", our_command, create_ours)
NULL = Side("ours", bare_command, bare_socketserver.create_server)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, save and print; 1 when a measurement failed, else 0."""
    options = parse(arguments)
    if options.render:
        print(render(json.loads(options.render.read_text())), end="")
        return 0
    sys.path.insert(0, str(REPOSITORY))  # for the measure that runs servers in this process
    results: dict[str, Any] = {
        "machine": describe_machine(),
        "settings": describe_settings(options),
        "records": [],
    }
    with (
        contextlib.suppress(KeyboardInterrupt),  # what was measured so far is still reported
        compiled_loadgen() as loadgen,
        clean_environment() as environment,
    ):
        bench = Bench(loadgen, Cores.choose(options.pin), environment, options.seconds)
        measure_all(bench, options, results["records"])
    results["machine"]["Load average after"] = load_average()
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    print(render(results), end="")
    return int(any("failure" in record for record in results["records"]))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    names = [measure.name for measure in MEASURES]
    pin = argparse.BooleanOptionalAction
    add = parser.add_argument
    add("--rounds", type=int, default=ROUNDS, help="pairs of runs (default: %(default)s)")
    add("--seconds", type=float, default=SECONDS, help="of load in a run (default: %(default)s)")
    add("--modes", nargs="+", choices=MODES, default=MODES, metavar="MODE", help=", ".join(MODES))
    add("--measures", nargs="+", choices=names, default=names, metavar="X", help=", ".join(names))
    add("--pin", action=pin, default=True, help="give server and generator a core each (default)")
    add("--null", action="store_true", help="compare the bare program with itself")
    add("--seed", type=int, default=1, help="of the random order (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="save the raw runs")
    add("--render", type=Path, metavar="FILE", help="print the table of saved runs and end")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.seconds < SHORTEST:
        parser.error(f"it takes a round at least, and {SHORTEST:g} seconds")
    return options


def measure_all(bench: Bench, options: argparse.Namespace, records: list[Record]) -> None:
    """Fill `records`, round by round: every cell once, in random order, its sides alternating."""
    ours = NULL if options.null else OURS
    order = random.Random(options.seed)
    cells = [
        (measure, mode, order.randrange(2))
        for measure in MEASURES
        for mode in options.modes
        if measure.name in options.measures and measure.applies_to(mode)
    ]
    warm_up(bench, [ours, BARE, PYTHON], options.modes)
    for turn in range(options.rounds):
        order.shuffle(cells)
        for number, (measure, mode, flip) in enumerate(cells, 1):
            progress = f"round {turn + 1}, {number} of {len(cells)}"
            print(f"{progress}: {measure.name} {mode}", file=sys.stderr)
            sides = [ours, BARE, PYTHON] if measure.name == "start" else [ours, BARE]
            for side in sides if (turn + flip) % 2 else reversed(sides):
                what = {"round": turn, "measure": measure.name, "mode": mode, "side": side.name}
                records.append(what | measure_once(bench, measure, side, mode))


def warm_up(bench: Bench, sides: Sequence[Side], modes: Sequence[str]) -> None:
    """Start everything once, so that its files are cached and its bytecode is there."""
    for mode in modes:
        for side in sides:
            measure_once(bench, Start(), side, mode)


def measure_once(bench: Bench, measure: Measure, side: Side, mode: str) -> Record:
    """Return one record; a measurement that fails says so instead of ending the run."""
    try:
        return measure.run(bench, side, mode)
    except (BenchmarkError, OSError) as error:
        print(f"{measure.name} {mode} {side.name}: {error}", file=sys.stderr)
        return {"failure": " ".join(str(error).split())}


def describe_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the results depend on besides the machine."""
    return {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "modes": list(options.modes),
        "seed": options.seed,
        "pinned": Cores.choose(options.pin).pinned,
        "null": options.null,
        "differences": [] if options.null else find_differences(options.modes),
    }


def find_differences(modes: Sequence[str]) -> list[str]:
    """Return in what ours and the bare server are not set alike, though they should be."""
    modes_of: dict[str, list[str]] = {}
    for mode in modes:
        with create_ours(mode) as ours, BARE.create(mode) as bare:  # type: ignore[misc]
            mine, theirs = server_settings(mode, ours), server_settings(mode, bare)
        for name in mine:
            if mine[name] != theirs[name]:
                modes_of.setdefault(f"{name} {mine[name]}, bare {theirs[name]}", []).append(mode)
    return [f"{difference} ({', '.join(where)})" for difference, where in modes_of.items()]


def server_settings(mode: str, server: Any) -> dict[str, Any]:
    """Return the settings of a bound server that change how fast it may be."""
    options = {
        "SO_RCVBUF": (socket.SOL_SOCKET, socket.SO_RCVBUF),
        "SO_SNDBUF": (socket.SOL_SOCKET, socket.SO_SNDBUF),
    }
    attribute = "max_packet_size"
    if transport_of(mode) == "tcp":  # a connection inherits TCP_NODELAY from the listening socket
        options["TCP_NODELAY"] = (socket.IPPROTO_TCP, socket.TCP_NODELAY)
        attribute = "request_queue_size"
    settings = {name: server.socket.getsockopt(*option) for name, option in options.items()}
    return {attribute: getattr(server, attribute, None), **settings}


def describe_machine() -> dict[str, str]:
    """Return what the results were measured on."""
    return {
        "CPU": f"{cpu_model()}, {os.cpu_count()} cores",
        "System": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Date": time.strftime("%Y-%m-%d"),
        "Load average before": load_average(),
    }


def cpu_model() -> str:
    """Return the name of the processor as the kernel has it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def load_average() -> str:
    """Return the load of the last minute: beyond 0.5 or so, something else was running."""
    return f"{os.getloadavg()[0]:.2f}"


if __name__ == "__main__":
    sys.exit(main())
