"""A generator that is held up does not pass for a slow server.

The same server is measured through the lab, in random order, with a generator that has its
processor for itself and with one that shares it with programs that compute.  The second kind must
be marked *generator-limited*, which keeps a cell from being ranked, and the first must not.

    python benchmarks/lab_throttled_generator.py --rounds 8

The claim holds when every throttled run is marked and no other is.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from echoservers.lab.experiments import EXPERIMENTS, Timing
from echoservers.lab.results import Cell
from echoservers.targets import Target
from lab_common import Row, arguments, median, outcome, progress, shown, study, two_sides

# It ends with its input, which ends with this process.
SPINNER = """
import os, threading
def spin():
    while True:
        pass
threading.Thread(target=spin, daemon=True).start()
os.read(0, 1)
"""


def parse() -> argparse.Namespace:
    """What the command line says."""
    parser = arguments(__doc__)
    add = parser.add_argument
    add("--mode", default="threading-tcp", help="the server (default: %(default)s)")
    add("--rounds", type=int, default=8, help="of the two runs (default: %(default)s)")
    add("--spinners", type=int, default=3, help="programs beside it (default: %(default)s)")
    add("--duration", type=float, default=0.5, help="seconds a run (default: %(default)s)")
    add("--connections", type=int, default=16, help="clients (default: %(default)s)")
    return parser.parse_args()


@contextlib.contextmanager
def spinners(number: int) -> Iterator[None]:
    """Programs that compute on the processor of the generator."""
    with contextlib.ExitStack() as running:
        for _ in range(number):
            process = running.enter_context(
                subprocess.Popen([sys.executable, "-c", SPINNER], stdin=subprocess.PIPE)
            )
            running.callback(process.kill)
            os.sched_setaffinity(process.pid, two_sides().generator)
        yield


def run(options: argparse.Namespace, throttled: bool, seed: int) -> Cell:
    """One run through the lab: a fresh server, one cell."""
    timing = Timing(options.duration, 0.1, 1)
    experiment = replace(EXPERIMENTS["scaling"], values=(options.connections,), timing=timing)
    with spinners(options.spinners if throttled else 0):
        found = study([Target.of_mode(options.mode)], experiment, baseline=None, seed=seed)
    (cell,) = found.experiments[0].cells
    return cell


def main() -> int:
    """Measure, count, print."""
    options = parse()
    two_sides()  # or there is nothing to be throttled
    cells: dict[bool, list[Cell]] = {False: [], True: []}
    order = random.Random(1)
    for turn in range(options.rounds):
        for throttled in order.sample([False, True], 2):
            cells[throttled].append(run(options, throttled, turn))
        progress(turn + 1, options.rounds)
    rows: list[Row] = []
    marked = {}
    for throttled, runs in cells.items():
        marked[throttled] = sum(cell.limited_by == "generator" for cell in runs)
        rates = median([cell.figures["throughput"].median for cell in runs])
        rows.append(
            [
                f"with {options.spinners} programs" if throttled else "alone",
                shown(rates, ",.0f"),
                f"{marked[throttled]} of {len(runs)}",
                f"{sum(cell.limited_by == 'server' for cell in runs)} of {len(runs)}",
            ]
        )
    return outcome(
        f"``{options.mode}``, {options.connections} clients, and who else uses the generator's"
        " processor",
        ["generator", "messages/s", "generator-limited", "server-limited"],
        rows,
        "a throttled generator is marked, and no other",
        marked == {False: 0, True: options.rounds},
    )


if __name__ == "__main__":
    sys.exit(main())
