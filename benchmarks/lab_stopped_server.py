"""A server that stands still for a moment: who sees it, and who does not.

In the middle of each run the server is stopped for 100 ms (SIGSTOP, SIGCONT).  In a closed loop
each client has one request that waits, and sends none meanwhile: a few samples of many, which no
percentile shows (Gil Tene's "coordinated omission").  An open loop goes on sending when messages
are due, and each of them tells how long it waited.

    python benchmarks/lab_stopped_server.py --rounds 5

The claim holds when the open loop's 99.9th percentile is at least half of the pause, while both
the closed loop's and that of an open loop without a pause are below half of it, each with its
whole interval.
"""

from __future__ import annotations

import argparse
import math
import random
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from echoservers.lab.load import LoadPlan, LoadResult, run_load
from echoservers.lab.stats import percentile
from echoservers.targets import RunningTarget, Target
from lab_common import Row, arguments, median, outcome, progress, shown, two_sides

AFTER = 0.4  # of the window, when the server is stopped


@dataclass(frozen=True)
class Way:
    """How it is measured."""

    name: str
    shape: str
    stopped: bool


WAYS = (
    Way("open loop, no pause", "open", stopped=False),
    Way("open loop", "open", stopped=True),
    Way("naive closed loop", "closed", stopped=True),
)


def parse() -> argparse.Namespace:
    """What the command line says."""
    parser = arguments(__doc__)
    add = parser.add_argument
    add("--mode", default="epoll-tcp", help="the server (default: %(default)s)")
    add("--rounds", type=int, default=5, help="of the three runs (default: %(default)s)")
    add("--pause", type=float, default=100.0, help="milliseconds (default: %(default)s)")
    add("--rate", type=float, default=5000.0, help="of the open loop (default: %(default)s /s)")
    add("--duration", type=float, default=2.5, help="seconds a run (default: %(default)s)")
    add("--connections", type=int, default=4, help="clients (default: %(default)s)")
    return parser.parse_args()


def run(options: argparse.Namespace, way: Way) -> LoadResult:
    """Measure a fresh server, which stands still in the middle, or does not."""
    sides = two_sides()
    over = threading.Event()
    with RunningTarget(Target.of_mode(options.mode), cpus=sides.server) as server:

        def pause() -> None:
            if not over.wait(options.duration * AFTER):
                server.send_signal(signal.SIGSTOP)
                over.wait(options.pause / 1000)
                server.send_signal(signal.SIGCONT)

        pausing = threading.Thread(target=pause)

        def at(phase: str) -> None:
            if phase == "measuring" and way.stopped:
                pausing.start()

        plan = LoadPlan(
            server.endpoint,
            shape=way.shape,
            connections=options.connections,
            rate=options.rate if way.shape == "open" else None,
            duration=options.duration,
        )
        try:
            result = run_load(plan, sides.generator, at)
        finally:
            over.set()
            if pausing.ident is not None:
                pausing.join()
    if result.ended or result.wrong or not result.received:
        sys.exit(f"{way.name}: {result.wrong or result.ended or 'nobody was answered'}")
    return result


@dataclass(frozen=True)
class Seen:
    """What one run shows."""

    p99: float
    p999: float
    longest: float
    waited: float
    """Messages that waited for half of the pause or longer."""
    samples: float

    @classmethod
    def of(cls, result: LoadResult, pause: float) -> Seen:
        """A percentile that the samples do not carry is no number, and then nothing holds."""
        p99, p999 = (
            math.nan if found is None else found
            for found in (percentile(result.latencies, quantile) for quantile in (0.99, 0.999))
        )
        waited = float(np.count_nonzero(result.latencies >= pause / 2))
        longest = float(result.latencies.max())
        return cls(p99, p999, longest, waited, float(result.received))


def main() -> int:
    """Measure, compare, print."""
    options = parse()
    pause = options.pause / 1000
    found: dict[Way, list[Seen]] = {way: [] for way in WAYS}
    order = random.Random(1)
    for turn in range(options.rounds):
        for way in order.sample(WAYS, len(WAYS)):
            found[way].append(Seen.of(run(options, way), pause))
        progress(turn + 1, options.rounds)
    rows: list[Row] = []
    for way, runs in found.items():
        milliseconds = [
            shown(median([getattr(seen, name) for seen in runs]), ".1f", 1000)
            for name in ("p99", "p999", "longest")
        ]
        counts = [
            f"{median([getattr(seen, name) for seen in runs]).median:,.0f}"
            for name in ("waited", "samples")
        ]
        rows.append([way.name, *milliseconds, " of ".join(counts)])
    undisturbed, opened, closed = (median([seen.p999 for seen in found[way]]) for way in WAYS)
    holds = (
        (opened.low or opened.median) >= pause / 2
        and (closed.high or closed.median) < pause / 2
        and (undisturbed.high or undisturbed.median) < pause / 2
    )
    return outcome(
        f"``{options.mode}`` stopped for {options.pause:g} ms; {options.rounds} rounds, in ms",
        ["", "p99", "p99.9", "longest", f"of {options.pause / 2:g} ms or more"],
        rows,
        "a stopped server shows in the open loop's tail and is hidden by the closed loop's",
        holds,
    )


if __name__ == "__main__":
    sys.exit(main())
