"""What the tests of the lab share: a listener that remembers, studies that take no time."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from echoservers.lab import bench, results
from echoservers.lab.experiments import EXPERIMENTS, Experiment, Timing
from echoservers.lab.measure import Study, measure
from echoservers.targets import Target

SHORT = Timing(0.1, 0.02, 1)
"""Enough that messages come; figures do not matter here."""


class Remembers:
    """A listener for tests."""

    def __init__(self) -> None:
        self.visits: list[Any] = []
        self.samples: list[Any] = []
        self.warnings: list[str] = []

    def planned(self, visits: Sequence[Any]) -> None:
        self.visits = list(visits)

    def began(self, visit: Any, parameters: Any) -> None:
        pass

    def measured(self, visit: Any, parameters: Any, sample: Any) -> None:
        self.samples.append(sample)

    def ended(self, visit: Any) -> None:
        pass

    def warned(self, text: str) -> None:
        self.warnings.append(text)


def short(name: str, **settings: str) -> Experiment:
    """An experiment with one value and no time."""
    made = EXPERIMENTS[name]
    timing = replace(SHORT, duration=SHORT.duration if made.timing.duration else 0)
    made = replace(made, timing=timing, values=made.values[:1], panel_values=made.panel_values[:1])
    made = replace(made, choices=EXPERIMENTS[name].values)
    for parameter, values in settings.items():
        made = made.set(parameter, values.split(","))
    return made


def run(
    targets: Sequence[Target], *experiments: Experiment, **study: Any
) -> tuple[results.Results, Remembers]:
    """Measure, and keep nothing."""
    listener = Remembers()
    # A busy machine makes the end of so short a window late, and that is no matter here.
    with mock.patch.object(bench, "STALL_SHARE", math.inf):
        found = measure(Study(targets, experiments, **study), listener, lambda _results: None)
    return found, listener


ECHO = """
import socketserver, sys, threading, time, os

class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(self.answer(data))

    def answer(self, data):
        return data

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 100

def serve(handler=Handler):
    Server(("127.0.0.1", int(sys.argv[1])), handler).serve_forever()
"""
"""The beginning of a small server, a thread for each client; ``serve()`` runs it."""


@contextlib.contextmanager
def program(folder: Path, text: str) -> Iterator[str]:
    """A server written in Python, as a command with a port."""
    path = folder / "server.py"
    path.write_text(text)
    import sys

    yield f"{sys.executable} {path} {{port}}"
