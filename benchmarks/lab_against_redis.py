"""The lab's closed loop against redis-benchmark, a generator of other people's in C.

An echo is a valid answer to redis-benchmark's PING, so both can load the same server: 50 clients,
14 bytes a message, no pipelining, one thread, one processor for the server and another for the
generator.  In each round every mode gets a fresh server, and on it both take their turns, in
random order, in the same second.

    python benchmarks/lab_against_redis.py --rounds 10

The two can only agree where the server sets the pace, so the table says how busy it was with
each.  The claim holds when the whole interval of each ratio is within 15 % of 1.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from echoservers.lab.load import LoadPlan, run_load
from echoservers.lab.meter import cpu_between
from echoservers.lab.stats import interval, paired_ratio
from echoservers.targets import RunningTarget, Target
from echoservers.targets.watch import Watch
from harness import running_on
from lab_common import Pinning, Row, arguments, outcome, progress, shown, two_sides

MODES = ("epoll-tcp", "threading-tcp", "asyncio-tcp")
CLIENTS = 50
PING = b"*1\r\n$4\r\nPING\r\n"

WITHIN = 0.15

FIRST = 2000  # requests of a first run, which tells how many take as long as ours; it warms up, too

LIMIT = 60  # seconds of a run of redis-benchmark, however slow the machine is


ATTEMPTS = 3  # on a machine so busy that the generator did not run at all in its window


@dataclass(frozen=True)
class Run:
    """Messages a second, and the share of its processor that the server used."""

    rate: float
    busy: float


def parse() -> argparse.Namespace:
    """What the command line says."""
    parser = arguments(__doc__)
    add = parser.add_argument
    add("--modes", nargs="+", default=MODES, help="the servers (default: %(default)s)")
    add("--rounds", type=int, default=10, help="of each mode (default: %(default)s)")
    add("--duration", type=float, default=1.0, help="seconds a run (default: %(default)s)")
    return parser.parse_args()


def redis_rate(endpoint: str, requests: int, sides: Pinning) -> float:
    """Requests a second by redis-benchmark.

    Raises `SystemExit` when it has no result.
    """
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    command = ["redis-benchmark", "-h", host, "-p", port, "-t", "ping_mbulk", "--csv"]
    command += ["-c", str(CLIENTS), "-n", str(requests)]
    with running_on(sides.generator):
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    for line in csv.reader(io.StringIO(done.stdout)):
        if line and line[0] == "PING_MBULK":
            return float(line[1])
    sys.exit(f"redis-benchmark: {done.stderr or done.stdout or done.returncode}")


def by_redis(server: RunningTarget, options: argparse.Namespace, sides: Pinning) -> Run:
    """One run of redis-benchmark, about as long as ours."""
    assert server.supervisor_pid is not None
    watch = Watch(server.supervisor_pid)
    guess = redis_rate(server.endpoint, FIRST, sides)
    requests = max(FIRST, round(guess * options.duration))
    before = watch.look()
    rate = redis_rate(server.endpoint, requests, sides)
    used = cpu_between(before, watch.look())
    return Run(rate, used * rate / requests)  # of the time that it counts


def by_lab(server: RunningTarget, options: argparse.Namespace, sides: Pinning) -> Run:
    """One run of the lab's generator."""
    assert server.supervisor_pid is not None
    watch = Watch(server.supervisor_pid)
    plan = LoadPlan(server.endpoint, connections=CLIENTS, size=len(PING), duration=options.duration)
    looks = {}

    def at(phase: str) -> None:
        looks[phase] = watch.look()

    for _ in range(ATTEMPTS):
        result = run_load(plan, sides.generator, at)
        if result.ended or result.wrong:
            sys.exit(f"the lab: {result.wrong or result.ended}")
        if result.received:
            used = cpu_between(looks["measuring"], looks["measured"])
            return Run(result.throughput, used / result.seconds)
    sys.exit("the lab: nobody was answered")


def main() -> int:
    """Measure, compare, print."""
    options = parse()
    if shutil.which("redis-benchmark") is None:
        sys.exit("this takes redis-benchmark (Debian: apt-get install redis-tools)")
    sides = two_sides()
    ways = {"lab": by_lab, "redis": by_redis}
    found: dict[str, dict[str, list[Run]]] = {m: {way: [] for way in ways} for m in options.modes}
    order = random.Random(1)
    for turn in range(options.rounds):
        for mode in order.sample(list(options.modes), len(options.modes)):
            with RunningTarget(Target.of_mode(mode), cpus=sides.server) as server:
                for way in order.sample(list(ways), len(ways)):
                    found[mode][way].append(ways[way](server, options, sides))
        progress(turn + 1, options.rounds)
    rows: list[Row] = []
    holds = True
    for mode, runs in found.items():
        rates = {way: [run.rate for run in runs[way]] for way in ways}
        ratio = paired_ratio(rates["lab"], rates["redis"])
        low, high = ratio.low or ratio.median, ratio.high or ratio.median
        agrees = low >= 1 - WITHIN and high <= 1 + WITHIN
        holds &= agrees
        busy = (f"{interval([run.busy for run in runs[way]]).median:.0%}" for way in ways)
        medians = (f"{interval(rates[way]).median:,.0f}" for way in ways)
        said = "agree" if agrees else "differ" if low > 1 + WITHIN or high < 1 - WITHIN else "open"
        rows.append([f"``{mode}``", *medians, shown(ratio, ".2f"), " / ".join(busy), said])
    return outcome(
        f"Messages a second, {CLIENTS} clients, {len(PING)} bytes, {options.rounds} rounds",
        ["mode", "lab", "redis-benchmark", "ratio", "server busy", f"within {WITHIN:.0%}"],
        rows,
        f"the lab and redis-benchmark agree within {WITHIN:.0%}",
        holds,
    )


if __name__ == "__main__":
    sys.exit(main())
