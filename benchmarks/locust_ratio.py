"""The lab's load generator against Locust: messages a second, for each core of the generator.

    python benchmarks/locust_ratio.py [--rounds 6] [--seconds 2]

The plain epoll echo in C on one processor; on the other, in turn, the lab's generator and one
worker of Locust's (and its master, which does next to nothing meanwhile), 50 connections of 64
bytes in a closed loop.  Both compare every byte that comes back.  What is held against each
other is messages per CPU second of the generator, so that it is of no matter who waits for whom:
the ratio is that of the two runs of a round, and who goes first alternates.

To be reached: at least 5.  It ends by itself within two minutes, with the rounds that it has.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from echoservers.lab.load import LoadPlan, LoadResult, run_load
from echoservers.lab.locust.engine import LocustEngine
from harness import Cores, Server, compiled_programs
from pairs import Pairs

CONNECTIONS, SIZE = 50, 64
TARGET = 5.0
LIMIT = 100.0  # seconds; no round begins later


def per_core(result: LoadResult) -> float:
    """Messages for each CPU second of the generator's processes."""
    if result.wrong or result.ended or not result.received:
        sys.exit(f"no measurement: {result.wrong or result.ended or 'nobody was answered'}")
    return result.received / result.cpu_seconds


def main() -> int:
    """Measure, round by round, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=6, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a run (default: 2)")
    options = parser.parse_args()
    cores = Cores.choose(pin=True)
    locust = LocustEngine(workers=1)
    began = time.monotonic()
    rates: dict[str, list[float]] = {"ours": [], "locust": []}
    print(f"load average: {os.getloadavg()[0]:.2f}")
    print("round  messages/s ours  Locust  per CPU second ours   Locust  ratio")
    with compiled_programs() as programs:
        for turn in range(options.rounds):
            if time.monotonic() - began > LIMIT:
                print("out of time")
                break
            with Server([str(programs / "epoll_echo")], cores.server) as server:
                host, port = server.address
                plan = LoadPlan(
                    f"tcp://{host}:{port}",
                    connections=CONNECTIONS,
                    size=SIZE,
                    duration=options.seconds,
                    warmup=0.5,
                )
                results = {}
                for who in sorted(rates, reverse=bool(turn % 2)):
                    if who == "ours":
                        results[who] = run_load(plan, cores.generator)
                    else:
                        results[who] = locust.run(plan, cores.generator, None)
            ours, other = results["ours"], results["locust"]
            rates["ours"].append(per_core(ours))
            rates["locust"].append(per_core(other))
            print(
                f"{turn + 1:5} {ours.throughput:16,.0f} {other.throughput:7,.0f}"
                f" {rates['ours'][-1]:20,.0f} {rates['locust'][-1]:8,.0f}"
                f" {rates['ours'][-1] / rates['locust'][-1]:6.2f}",
                flush=True,
            )
    pairs = Pairs(tuple(rates["ours"]), tuple(rates["locust"]))
    low, high = pairs.interval
    print(f"load average: {os.getloadavg()[0]:.2f}")
    print(
        f"per core: {pairs.ratio:.2f} x Locust [{low:.2f} to {high:.2f}], {len(rates['ours'])}"
        f" rounds; at least {TARGET:g}: {pairs.verdict(TARGET)}"
    )
    return 0 if pairs.ratio >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
