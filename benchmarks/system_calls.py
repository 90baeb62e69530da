"""System calls a message, as strace counts them, of the programs of `loop_and_pool_modes.py`.

    python benchmarks/system_calls.py --only messages-64 churn

prints a table. It says what a program asks of the kernel, not how fast it is: traced programs are
several times slower, so that more arrives for each wake-up than otherwise. Needs strace.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import (
    BenchmarkError,
    Cores,
    Load,
    Server,
    clean_environment,
    compiled_programs,
    echo_once,
    is_readable,
)
from loop_and_pool_modes import Row, add_only, cell, chosen_rows
from measures import Bench, Churn, Side, Throughput, transport_of
from tables import table

SECONDS = 2.0  # traced servers still answer some ten thousand messages in it
RAREST = 0.05  # a message; calls made less often, as for connecting, are counted but not named
ATTACH_TIMEOUT = 10.0  # seconds
# % time, seconds, usecs/call, calls, errors if there are any, name
SUMMARY_LINE = re.compile(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", re.MULTILINE)

Counts = dict[str, int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Trace and print; 1 when a program could not be traced, else 0."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    add_only(parser)
    add = parser.add_argument
    add("--seconds", type=float, default=SECONDS, help="of load a program (default: %(default)s)")
    options = parser.parse_args(arguments)
    chosen = chosen_rows(parser, options)
    lines, failed = [], 0
    with compiled_programs() as programs, clean_environment() as environment:
        cores = Cores.choose(pin=True)
        bench = Bench(programs / "loadgen", cores, environment, options.seconds)
        for (measure, name), (side, mode, load) in what_to_trace(bench, chosen, programs).items():
            try:
                lines.append([measure, name, *describe(*trace(bench, side, mode, load))])
            except (BenchmarkError, OSError) as error:
                print(f"{measure} {name}: {error}", file=sys.stderr)
                failed = 1
    header = ["measure", "program", "messages", "calls a message", "of these"]
    print(table("System calls a message (churn: a connection)", header, lines))
    return failed


def what_to_trace(
    bench: Bench, rows: Sequence[Row], programs: Path
) -> dict[tuple[str, str], tuple[Side, str, Load]]:
    """Return every program of `rows` once for each measure, under both their names."""
    found = {}
    for row in rows:
        if isinstance(row.measure, Throughput | Churn):  # an idle crowd makes no calls
            load = row.measure.load(row.mode, bench.seconds)
            for side in cell(row, programs, null=False).sides:
                name = f"``{row.mode}``" if side.name == "ours" else side.name
                found[row.measure.name, name] = (side, row.mode, load)
    return found


def trace(bench: Bench, side: Side, mode: str, load: Load) -> tuple[Counts, int]:
    """Return how often a fresh server made each call, and how many messages it answered."""
    with Server(side.command(mode), bench.cores.server, bench.environment) as server:
        echo_once(transport_of(mode), server.address)  # so that workers are there to be traced
        with traced(server.processes()) as counts:
            results = load.run(bench.loadgen, server, bench.cores.generator)
    return counts, results["total"]


@contextlib.contextmanager
def traced(processes: Sequence[int]) -> Iterator[Counts]:
    """Count the system calls of `processes` and their children; the counts are there at the end."""
    counts: Counts = {}
    with tempfile.NamedTemporaryFile("r") as summary:
        command = ["strace", "-f", "-c", "-U", "time-percent,total-time,avg-time,calls,errors,name"]
        command += ["-o", summary.name, *(f"--attach={pid}" for pid in processes)]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as strace:
            try:
                wait_until_attached(strace, len(processes))
                yield counts
            finally:
                strace.send_signal(signal.SIGINT)  # it lets go of them and writes its summary
                strace.communicate()
        for calls, name in SUMMARY_LINE.findall(summary.read()):
            if name != "total":
                counts[name] = int(calls)


def wait_until_attached(strace: subprocess.Popen[bytes], processes: int) -> None:
    """Wait until strace says of all `processes` that it traces them, or that they have gone."""
    deadline = time.monotonic() + ATTACH_TIMEOUT
    assert strace.stderr is not None
    said = b""
    while said.count(b" attached") + said.count(b"attach: ptrace") < processes:
        if not is_readable(strace.stderr.fileno(), deadline - time.monotonic()):
            raise BenchmarkError(f"strace did not attach in {ATTACH_TIMEOUT:g} s")
        chunk = os.read(strace.stderr.fileno(), 4096)
        if not chunk:
            raise BenchmarkError(f"strace ended: {said.decode(errors='replace').strip()}")
        said += chunk


def describe(counts: Counts, messages: int) -> list[str]:
    """Return the cells for `counts`."""
    shares = {name: calls / messages for name, calls in counts.items()}
    often = sorted(shares, key=lambda name: -shares[name])
    shown = ", ".join(f"{n} {shares[n]:.2f}" for n in often if shares[n] >= RAREST)
    return [f"{messages:,}", f"{sum(shares.values()):.2f}", shown]


if __name__ == "__main__":
    sys.exit(main())
