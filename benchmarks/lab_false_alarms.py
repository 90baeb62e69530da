"""How often the lab sees a difference where there is none.

One server is compared with itself, again and again, under two names; every comparison is a
run of the lab as a user has it, with fresh processes and its rounds in random order.  At
95 % about one comparison in twenty should find a difference.  Any figure can be asked for.

    python benchmarks/lab_false_alarms.py --mode epoll-tcp --runs 40

With `--slower MICROSECONDS` the other of the two works that much longer for each message,
and the question is how often that is found.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from echoservers.lab.experiments import EXPERIMENTS, Experiment, Parameters, Sample, Timing
from echoservers.lab.measure import Study, measure
from echoservers.lab.results import Ratio, Results
from echoservers.lab.stats import NO_DIFFERENCE
from echoservers.targets import Target

FIGURES = ("throughput", "p50", "server_cpu_per_message")


class _Silent:
    """Says how many runs are done, and nothing else."""

    def planned(self, visits: object) -> None: ...
    def began(self, visit: object, parameters: object) -> None: ...
    def measured(self, visit: object, parameters: object, sample: object) -> None: ...
    def ended(self, visit: object) -> None: ...
    def warned(self, text: str) -> None: ...


def parse() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--mode", default="epoll-tcp", help="the server (default: %(default)s)")
    add("--runs", type=int, default=40, help="comparisons (default: %(default)s)")
    add("--repeats", type=int, default=5, help="rounds of each (default: %(default)s)")
    add("--duration", type=float, default=0.3, help="seconds a cell (default: %(default)s)")
    add("--connections", type=int, default=8, help="clients (default: %(default)s)")
    add("--slower", type=float, default=0.0, help="microseconds of CPU more a message")
    add("--json", type=Path, help="save every ratio")
    return parser.parse_args()


def experiment(options: argparse.Namespace) -> Experiment:
    """The experiment `scaling` at one place, or `work` where one of the two works."""
    timing = Timing(options.duration, 0.1, options.repeats)
    made = replace(EXPERIMENTS["scaling"], values=(options.connections,), timing=timing)
    if not options.slower:
        return made

    def measured(bench: object, parameters: Parameters) -> Sample:
        microseconds = options.slower if bench.target.name == "slower" else 0.0
        order = f"work cpu {microseconds / 1000:.4f} ".encode()
        load = bench.load(connections=options.connections, size=64, message=order)
        return bench.sample(load)

    return replace(made, measure=measured, works=True)


def compare(options: argparse.Namespace, seed: int) -> list[Ratio]:
    """One comparison; its ratios."""
    target = Target.of_mode(options.mode, "same")
    other = target._replace(name="slower" if options.slower else "same again")
    study = Study([target, other], [experiment(options)], "same", seed, sys.argv)
    kept: list[Results] = []
    measure(study, _Silent(), kept.append)
    return [ratio for ratio in kept[-1].experiments[0].ratios if ratio.figure in FIGURES]


def main() -> int:
    """Compare, count, print."""
    options = parse()
    found: dict[str, list[Ratio]] = {figure: [] for figure in FIGURES}
    for seed in range(1, options.runs + 1):
        for ratio in compare(options, seed):
            found[ratio.figure].append(ratio)
        print(f"\r{seed} of {options.runs}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if options.json:
        options.json.write_text(
            json.dumps({f: [vars(r) for r in ratios] for f, ratios in found.items()}, indent=1)
        )
    for figure, ratios in found.items():
        seen = sum(ratio.verdict != NO_DIFFERENCE for ratio in ratios)
        share = seen / len(ratios) if ratios else math.nan
        widths = sorted(r.high / r.low for r in ratios if r.low and r.high)
        width = widths[len(widths) // 2] if widths else math.nan
        print(
            f"{figure:24} a difference in {seen} of {len(ratios)} ({share:.1%});"
            f" the interval is {width - 1:.1%} wide"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
