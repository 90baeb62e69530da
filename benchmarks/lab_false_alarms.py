"""How often the lab sees a difference where there is none.

One server is compared with itself, again and again, under two names; every comparison is a
run of the lab as a user has it, with fresh processes and its rounds in random order.  At
95 % about one comparison in twenty should find a difference.  Any mode can be asked for.

    python benchmarks/lab_false_alarms.py --mode threading-tcp --runs 40

The claim holds unless a figure alarms so often that chance, at the stated level, would bring as
many or more in less than one case of a hundred.  It does not hold, either, when the generator was
the bottleneck of a comparison: that tells of the generator, and the lab would not rank it.  So the
server is by default one that takes longer for a message than the generator does.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from echoservers.lab.experiments import EXPERIMENTS, Experiment, Timing
from echoservers.lab.stats import CONFIDENCE, NO_DIFFERENCE, Interval, paired_ratio, verdict
from echoservers.targets import Target
from lab_common import arguments, outcome, progress, study
from tables import Row

FIGURES = ("throughput", "p50", "server_cpu_per_message")

CHANCE = 0.01


def parse() -> argparse.Namespace:
    """What the command line says."""
    parser = arguments(__doc__)
    add = parser.add_argument
    add("--mode", default="threading-tcp", help="the server (default: %(default)s)")
    add("--runs", type=int, default=40, help="comparisons (default: %(default)s)")
    add("--repeats", type=int, default=5, help="rounds of each (default: %(default)s)")
    add("--duration", type=float, default=0.3, help="seconds a cell (default: %(default)s)")
    add("--connections", type=int, default=8, help="clients (default: %(default)s)")
    add("--json", type=Path, help="save every ratio")
    return parser.parse_args()


def experiment(options: argparse.Namespace) -> Experiment:
    """The experiment `scaling` at one place."""
    timing = Timing(options.duration, 0.1, options.repeats)
    return replace(EXPERIMENTS["scaling"], values=(options.connections,), timing=timing)


def compare(options: argparse.Namespace, seed: int) -> tuple[dict[str, Interval], bool]:
    """One comparison: its ratios, and whether the generator was the bottleneck in it."""
    target = Target.of_mode(options.mode, "same")
    other = target._replace(name="same again")
    found = study([target, other], experiment(options), baseline="same", seed=seed)
    same, again = found.experiments[0].cells
    ratios = {}
    for name in FIGURES:
        if name in same.figures and name in again.figures:
            pairs = zip(again.figures[name].runs, same.figures[name].runs, strict=True)
            whole = [(one, two) for one, two in pairs if one and two]
            if whole:
                ratios[name] = paired_ratio(*zip(*whole, strict=True))
    return ratios, "generator" in (same.limited_by, again.limited_by)


def chance_of(seen: int, runs: int) -> float:
    """How likely so many false alarms, or more, are at the stated level."""
    p = 1 - CONFIDENCE
    return sum(math.comb(runs, k) * p**k * (1 - p) ** (runs - k) for k in range(seen, runs + 1))


def row(figure: str, ratios: list[Interval]) -> tuple[Row, bool]:
    """The line of one figure, and whether its alarms may be chance."""
    seen = sum(verdict(ratio, None) != NO_DIFFERENCE for ratio in ratios)
    widths = sorted(r.high / r.low for r in ratios if r.low and r.high)
    width = f"{widths[len(widths) // 2] - 1:.1%}" if widths else ""
    chance = chance_of(seen, len(ratios))
    cells = [
        f"``{figure}``",
        f"{seen} of {len(ratios)}",
        f"{len(ratios) * (1 - CONFIDENCE):g}",
        f"{chance:.0%}" if chance >= CHANCE else f"{chance:.1g}",
        width,
    ]
    return cells, chance >= CHANCE and bool(ratios)


def main() -> int:
    """Compare, count, print."""
    options = parse()
    found: dict[str, list[Interval]] = {figure: [] for figure in FIGURES}
    limited = 0
    for seed in range(1, options.runs + 1):
        ratios, of_generator = compare(options, seed)
        limited += of_generator
        for figure, ratio in ratios.items():
            found[figure].append(ratio)
        progress(seed, options.runs)
    if options.json:
        options.json.write_text(
            json.dumps({f: [r._asdict() for r in ratios] for f, ratios in found.items()}, indent=1)
        )
    rows = [row(figure, ratios) for figure, ratios in found.items()]
    if limited:
        print(
            f"In {limited} of {options.runs} comparisons the generator was the bottleneck: these"
            " do not tell of the server, so the claim does not hold.\n"
        )
    return outcome(
        f"``{options.mode}`` against itself, {options.repeats} rounds a comparison",
        ["figure", "differences seen", "expected", "chance of so many", "interval's width"],
        [cells for cells, _ in rows],
        f"false alarms at the stated level of {1 - CONFIDENCE:.0%}, of servers that set the pace",
        not limited and all(may_be for _, may_be in rows),
    )


if __name__ == "__main__":
    sys.exit(main())
