"""The six TCP and UDP modes, each against a bare `socketserver` program of the same model.

    python benchmarks/socketserver_modes.py --json runs.json > table.rst

prints a table for docs/performance.rst; the raw runs go to the JSON file, from which `--render`
makes the same table again. `--null` puts the bare program against itself and so shows how far
from 1.0 a ratio gets on this machine by chance. With the defaults it takes about ten minutes; let
the machine do nothing else. Needs Linux, a C compiler and nothing beyond the standard library.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
from collections.abc import Sequence
from socketserver import BaseServer
from typing import Any

from harness import REPOSITORY
from measures import PYTHON, Churn, Measure, Shutdown, Side, Start, Throughput, transport_of
from peers import bare_socketserver
from rounds import Cell, add_options, parse, run
from socketserver_report import render

MODES = ("tcp", "threading-tcp", "forking-tcp", "udp", "threading-udp", "forking-udp")
MEASURES: tuple[Measure, ...] = (
    Throughput("messages-1", 1),
    Throughput("messages-50", 50),
    Churn(),
    Start(),
    Shutdown(),
)


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
    options = parse(parser(), arguments)
    if options.render:
        print(render(json.loads(options.render.read_text())), end="")
        return 0
    sys.path.insert(0, str(REPOSITORY))  # for the measure that runs servers in this process
    settings = {
        "modes": list(options.modes),
        "differences": [] if options.null else find_differences(options.modes),
    }
    return run(options, lambda _programs: cells(options), settings, render)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    names = [measure.name for measure in MEASURES]
    add_options(parser)
    add = parser.add_argument
    add("--modes", nargs="+", choices=MODES, default=MODES, metavar="MODE", help=", ".join(MODES))
    add("--measures", nargs="+", choices=names, default=names, metavar="X", help=", ".join(names))
    return parser


def cells(options: argparse.Namespace) -> list[Cell]:
    """Return what a round measures."""
    sides = (NULL if options.null else OURS, BARE)
    return [
        Cell(measure, mode, (*sides, PYTHON) if measure.name == "start" else sides)
        for measure in MEASURES
        for mode in options.modes
        if measure.name in options.measures and measure.applies_to(mode)
    ]


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


if __name__ == "__main__":
    sys.exit(main())
