"""The lab's closed loop against redis-benchmark, a generator of other people's in C.

An echo is a valid answer to redis-benchmark's PING, so both can load the same server: 50 clients,
14 bytes a message, no pipelining, one thread, one processor for the server and another for the
generator.  In each round every mode gets a fresh server, and on it both take their turns, in
random order, in the same second.

    python benchmarks/lab_against_redis.py --rounds 10

The two have to agree where the server sets the pace with both, and can only do so there: for a
request redis-benchmark calls epoll_ctl five times (strace -c tells), beside its read and
its write, and with a quick server it is busy all the time itself.  So each mode comes twice: as it
is, and with a handler that works for some tens of microseconds a message, so that the server sets
the pace; and the table says how busy servers and generators were.  The claim holds when the whole
interval of the ratio is within 15 % of 1 for every server that works, and for every other where
neither generator was busy for nine tenths of the time.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import resource
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
from lab_common import Pinning, Row, arguments, find_handlers, outcome, progress, shown, two_sides
from lab_handlers import Works

MODES = ("epoll-tcp", "threading-tcp", "asyncio-tcp")
CLIENTS = 50
PING = b"*1\r\n$4\r\nPING\r\n"

WITHIN = 0.15

BUSY = 0.9  # from which share on a generator sets the pace, as in the lab

FIRST = 2000  # requests of a first run, which tells how many take as long as ours; it warms up, too

LIMIT = 60  # seconds of a run of redis-benchmark, however slow the machine is


WORKING = ", working"

AGREE, LIMITED = "agree", " was the limit"

ATTEMPTS = 3  # on a machine so busy that the generator did not run at all in its window


@dataclass(frozen=True)
class Run:
    """Messages a second, and the shares of their processors that server and generator used."""

    rate: float
    busy: float
    generator: float


def parse() -> argparse.Namespace:
    """What the command line says."""
    parser = arguments(__doc__)
    add = parser.add_argument
    add("--modes", nargs="+", default=MODES, help="the servers (default: %(default)s)")
    add("--rounds", type=int, default=10, help="of each mode (default: %(default)s)")
    add("--duration", type=float, default=1.0, help="seconds a run (default: %(default)s)")
    return parser.parse_args()


def server(name: str) -> Target:
    """The mode of that *name*, with a handler that works if it ends in `WORKING`."""
    target = Target.of_mode(name.removesuffix(WORKING), name)
    if not name.endswith(WORKING):
        return target
    handler = f"{Works.__module__}:{Works.__name__}"
    return target._replace(command=(*target.command, "--handler", handler))


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
    before, own = watch.look(), _cpu_of_children()
    rate = redis_rate(server.endpoint, requests, sides)
    used, own = cpu_between(before, watch.look()), _cpu_of_children() - own
    seconds = requests / rate  # those that it counts
    return Run(rate, used / seconds, own / seconds)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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
            return Run(
                result.throughput, used / result.seconds, result.cpu_seconds / result.seconds
            )
    sys.exit("the lab: nobody was answered")


def main() -> int:
    """Measure, compare, print."""
    options = parse()
    if shutil.which("redis-benchmark") is None:
        sys.exit("this takes redis-benchmark (Debian: apt-get install redis-tools)")
    sides = two_sides()
    find_handlers()
    ways = {"lab": by_lab, "redis": by_redis}
    names = [mode + work for mode in options.modes for work in ("", WORKING)]
    found: dict[str, dict[str, list[Run]]] = {name: {way: [] for way in ways} for name in names}
    order = random.Random(1)
    for turn in range(options.rounds):
        for name in order.sample(names, len(names)):
            with RunningTarget(server(name), cpus=sides.server) as running:
                for way in order.sample(list(ways), len(ways)):
                    found[name][way].append(ways[way](running, options, sides))
        progress(turn + 1, options.rounds)
    judged = [row(name, runs) for name, runs in found.items()]
    return outcome(
        f"Messages a second, {CLIENTS} clients, {len(PING)} bytes, {options.rounds} rounds;"
        " busy: with the lab / with redis-benchmark",
        ["server", "lab", "redis-benchmark", "ratio", "server busy", "generator busy", "verdict"],
        judged,
        f"where the server sets the pace the lab and redis-benchmark agree within {WITHIN:.0%}",
        all(agrees(name, cells[-1]) for name, cells in zip(found, judged, strict=True)),
    )


def agrees(name: str, said: str) -> bool:
    """Whether the verdict on that server is as claimed."""
    return said == AGREE or (said.endswith(LIMITED) and not name.endswith(WORKING))


def row(name: str, runs: dict[str, list[Run]]) -> Row:
    """The line of a server; the last cell is the verdict."""
    rates = {way: [run.rate for run in each] for way, each in runs.items()}
    ratio = paired_ratio(rates["lab"], rates["redis"])
    low, high = ratio.low or ratio.median, ratio.high or ratio.median
    generators = {
        way: interval([run.generator for run in each]).median for way, each in runs.items()
    }
    if low >= 1 - WITHIN and high <= 1 + WITHIN:
        said = AGREE
    elif max(generators.values()) >= BUSY:
        said = max(generators, key=lambda way: generators[way]) + LIMITED
    else:
        said = "differ" if low > 1 + WITHIN or high < 1 - WITHIN else "open"
    servers = (interval([run.busy for run in each]).median for each in runs.values())
    return [
        f"``{name}``",
        *(f"{interval(each).median:,.0f}" for each in rates.values()),
        shown(ratio, ".2f"),
        " / ".join(f"{share:.0%}" for share in servers),
        " / ".join(f"{share:.0%}" for share in generators.values()),
        said,
    ]


if __name__ == "__main__":
    sys.exit(main())
