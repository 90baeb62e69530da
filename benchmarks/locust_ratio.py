"""The lab's load generator against Locust: messages a second, for each core of the generator.

    python benchmarks/locust_ratio.py [--rounds 6] [--seconds 2]

The plain epoll echo in C on one processor; on the other, in turn, the lab's generator, one
worker of Locust's (and its master, which does next to nothing meanwhile) and the generator in C
(loadgen/), 50 connections of 64 bytes in a closed loop.  All compare every byte that comes back.
What is held against each other is messages per CPU second of the generator, so that it is of no
matter who waits for whom: the ratio is that of the runs of a round, and who goes first alternates.

To be reached: at least 5.  C makes the same calls, so it shows how much of the difference is
Python's.  It ends by itself within two minutes, with the rounds that it has.
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
from harness import Cores, Load, Server, compiled_programs
from pairs import Pairs

CONNECTIONS, SIZE = 50, 64
WARMUP = 0.5  # seconds
TARGET = 5.0
LIMIT = 100.0  # seconds; no round begins later


def per_core(result: LoadResult) -> float:
    """Messages for each CPU second of the generator's processes."""
    if result.wrong or result.ended or not result.received:
        sys.exit(f"no measurement: {result.wrong or result.ended or 'nobody was answered'}")
    return result.received / result.cpu_seconds


def one_round(programs: Path, cores: Cores, seconds: float, reverse: bool) -> dict[str, float]:
    """Messages for each CPU second of every generator, one after the other."""
    with Server([str(programs / "epoll_echo")], cores.server) as server:
        host, port = server.address
        endpoint = f"tcp://{host}:{port}"
        plan = LoadPlan(
            endpoint, connections=CONNECTIONS, size=SIZE, duration=seconds, warmup=WARMUP
        )
        in_c = Load("tcp-closed", CONNECTIONS, SIZE, seconds * 1.25)  # a fifth is its warm-up

        def with_c() -> float:
            told = in_c.run(programs / "loadgen", server, cores.generator)
            return float(told["messages"]) / float(told["cpu_seconds"])

        generators = {
            "ours": lambda: per_core(run_load(plan, cores.generator)),
            "Locust": lambda: per_core(LocustEngine(workers=1).run(plan, cores.generator, None)),
            "C": with_c,
        }
        return {who: generators[who]() for who in sorted(generators, reverse=reverse)}


def main() -> int:
    """Measure, round by round, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=6, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a run (default: 2)")
    options = parser.parse_args()
    cores = Cores.choose(pin=True)
    began = time.monotonic()
    rounds: list[dict[str, float]] = []
    print(f"load average: {os.getloadavg()[0]:.2f}")
    print("       messages for each CPU second  times Locust's")
    print("round      ours   Locust        C      ours     C")
    with compiled_programs() as programs:
        for turn in range(options.rounds):
            if time.monotonic() - began > LIMIT:
                print("out of time")
                break
            rates = one_round(programs, cores, options.seconds, bool(turn % 2))
            rounds.append(rates)
            print(
                f"{turn + 1:5} {rates['ours']:9,.0f} {rates['Locust']:8,.0f} {rates['C']:8,.0f}"
                f" {rates['ours'] / rates['Locust']:9.2f} {rates['C'] / rates['Locust']:5.2f}",
                flush=True,
            )
    print(f"load average: {os.getloadavg()[0]:.2f}")
    pairs = {
        who: Pairs(*(tuple(rates[one] for rates in rounds) for one in (who, "Locust")))
        for who in ("ours", "C")
    }
    for who, pair in pairs.items():
        low, high = pair.interval
        print(f"per core, {who}: {pair.ratio:.2f} x Locust [{low:.2f} to {high:.2f}]")
    ours = pairs["ours"]
    print(f"{len(rounds)} rounds; ours at least {TARGET:g}: {ours.verdict(TARGET)}")
    return 0 if ours.ratio >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
