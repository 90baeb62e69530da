"""The lab's load generator against one in C, and how punctual it is.

    python benchmarks/generator.py [--rounds 12] [--seconds 1]

Closed loop: the plain epoll echo in C on one processor, on the other in turn the generator in C
(loadgen/) and the lab's, 50 connections of 64 bytes; the ratio is that of the two runs of a
round. Open loop: 20,000 messages a second to the same server; how much later than due they left.
A round on a machine where something else runs says nothing: the median is of many, and the
status is 1 where it misses what is wanted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from echoservers.lab.load import LoadPlan, calibrate, run_load
from harness import Cores, Load, Server, compiled_programs

CONNECTIONS, SIZE, PIPELINE, RATE = 50, 64, 1, 20_000.0

RATIO, LATENESS = 0.75, 50.0
"""What is wanted: at least so many times the rate of C; less than so many us late, in 99 of 100."""


def closed_loop(server: Server, loadgen: Path, cores: Cores, seconds: float) -> tuple[float, ...]:
    """Messages a second by the generator in C and by ours, and how busy ours was."""
    in_c = Load("tcp-closed", CONNECTIONS, SIZE, seconds).run(loadgen, server, cores.generator)
    plan = LoadPlan(
        endpoint_of(server),
        connections=CONNECTIONS,
        size=SIZE,
        duration=seconds * 0.8,  # of the seconds of the other one the first fifth warms up
        warmup=seconds * 0.2,
    )
    ours = run_load(plan, cores.generator)
    return float(in_c["rate"]), ours.throughput, ours.busy


def lateness(server: Server, cores: Cores, seconds: float) -> tuple[float, float]:
    """Microseconds: the median and the 99th percentile of one run."""
    plan = LoadPlan(
        endpoint_of(server),
        shape="open",
        connections=CONNECTIONS,
        size=SIZE,
        rate=RATE,
        duration=seconds,
    )
    result = run_load(plan, cores.generator)
    median, tail = np.percentile(result.lateness, [50, 99]) * 1e6
    return float(median), float(tail)


def endpoint_of(server: Server) -> str:
    host, port = server.address
    return f"tcp://{host}:{port}"


def main() -> int:
    """Measure, round by round, and print; 0 where both are kept, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=12, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a run (default: 1)")
    options = parser.parse_args()
    cores = Cores.choose(pin=True)
    ratios, tails = [], []
    ceiling = calibrate(
        LoadPlan("tcp://127.0.0.1:1", connections=CONNECTIONS, size=SIZE), cores.generator
    )
    print(f"ceiling: {ceiling.rate:,.0f} messages/s, {ceiling.cost * 1e6:.2f} us each")
    print("round      C/s   ours/s  ratio  busy  lateness us p50   p99")
    with compiled_programs() as programs:
        for turn in range(options.rounds):
            with Server([str(programs / "epoll_echo")], cores.server) as server:
                in_c, ours, busy = closed_loop(server, programs / "loadgen", cores, options.seconds)
                median, tail = lateness(server, cores, options.seconds)
            ratios.append(ours / in_c)
            tails.append(tail)
            print(
                f"{turn + 1:5}{in_c:9,.0f}{ours:9,.0f}{ratios[-1]:7.2f}{busy:6.2f}"
                f"{median:17.1f}{tail:6.1f}"
            )
    ratio, tail = statistics.median(ratios), statistics.median(tails)
    print(f"ratio: median {ratio:.2f} (at least {RATIO:g} is wanted)")
    print(f"lateness p99: median {tail:.1f} us (less than {LATENESS:g} us is wanted)")
    kept = ratio >= RATIO and tail < LATENESS
    print("both are kept" if kept else "MISSED")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
