"""How small a difference the lab finds: 3 % of work added to each message.

Three servers are measured in the same rounds: one, the same again as a control, and one whose
handler works 3 % longer.  How long that is, is measured first: what the server's CPU time for a
message grows by with each turn of an empty loop.

    python benchmarks/lab_added_work.py --rounds 60

The table says what the lab would have said after fewer rounds, too.  The claim holds when after
all rounds the CPU time for a message shows the work, and no difference in the control.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from echoservers.lab.experiments import EXPERIMENTS, Experiment, Parameters, Sample, Timing
from echoservers.lab.results import Figure
from echoservers.lab.stats import NO_DIFFERENCE, Interval, paired_ratio, verdict
from echoservers.targets import Target
from lab_common import arguments, find_handlers, outcome, shown, study
from lab_handlers import Spins, order
from tables import Row

if TYPE_CHECKING:
    from echoservers.lab.bench import Bench

BASE, CONTROL, MORE = "base", "the same again", "with more work"
FIGURES = ("server_cpu_per_message", "throughput")
MANY_TURNS = 2000  # some ten times an echo: what one turn takes is the slope
LOOKS = (5, 10, 20, 40)  # rounds after which the table says what would have been said


def parse() -> argparse.Namespace:
    """What the command line says."""
    parser = arguments(__doc__)
    add = parser.add_argument
    add("--mode", default="epoll-tcp", help="the server (default: %(default)s)")
    add("--percent", type=float, default=3.0, help="of work added (default: %(default)s)")
    add("--rounds", type=int, default=60, help="of the three servers (default: %(default)s)")
    add("--duration", type=float, default=0.5, help="seconds a cell (default: %(default)s)")
    add("--connections", type=int, default=8, help="clients (default: %(default)s)")
    add("--seed", type=int, default=1, help="of the random order (default: %(default)s)")
    return parser.parse_args()


def server(mode: str, name: str) -> Target:
    """A server whose handler works as a message asks for."""
    target = Target.of_mode(mode, name)
    handler = f"{Spins.__module__}:{Spins.__name__}"
    return target._replace(command=(*target.command, "--handler", handler))


def measured(
    options: argparse.Namespace, turns: dict[str, int], rounds: int
) -> dict[str, dict[str, Figure]]:
    """The figures of each server, of which each has so many *turns* a message."""

    def one(bench: Bench, _parameters: Parameters) -> Sample:
        message = order(turns[bench.target.name])
        return bench.sample(bench.load(connections=options.connections, message=message))

    timing = Timing(options.duration, 0.1, rounds)
    experiment: Experiment = replace(
        EXPERIMENTS["scaling"], values=(options.connections,), timing=timing, measure=one
    )
    targets = [server(options.mode, name) for name in turns]
    found = study(targets, experiment, baseline=None, seed=options.seed)
    return {cell.target: cell.figures for cell in found.experiments[0].cells}


def turns_of(options: argparse.Namespace) -> tuple[int, float]:
    """How many turns are so many percent, and the seconds of CPU that a message takes without."""
    found = measured(options, {"none": 0, "many": MANY_TURNS}, min(options.rounds, 5))
    none, many = (_middle(found[name]["server_cpu_per_message"]) for name in ("none", "many"))
    return max(1, round(none * options.percent / 100 / ((many - none) / MANY_TURNS))), none


def _middle(figure: Figure) -> float:
    return statistics.median(run for run in figure.runs if run is not None)


def ratio(ours: Figure, base: Figure, rounds: int) -> Interval:
    """The paired ratio of the first so many *rounds*."""
    pairs = zip(ours.runs[:rounds], base.runs[:rounds], strict=True)
    whole = [(one, two) for one, two in pairs if one and two]
    return paired_ratio(*zip(*whole, strict=True))


def main() -> int:
    """Measure, compare, print."""
    options = parse()
    find_handlers()
    turns, cost = turns_of(options)
    found = measured(options, {BASE: 0, CONTROL: 0, MORE: turns}, options.rounds)
    rows: list[Row] = []
    holds = False
    for figure in FIGURES:
        for rounds in (*(look for look in LOOKS if look < options.rounds), options.rounds):
            control, more = (
                ratio(found[name][figure], found[BASE][figure], rounds) for name in (CONTROL, MORE)
            )
            said = [verdict(each, None) for each in (control, more)]
            if figure == FIGURES[0]:
                holds = said == [NO_DIFFERENCE, "more"]
            rows.append(
                [f"``{figure}``", str(rounds), shown(control), said[0], shown(more), said[1]]
            )
    return outcome(
        f"``{options.mode}``, {cost * 1e6:.1f} us of CPU a message, and {options.percent:g} % more"
        f" ({turns} turns of a loop)",
        ["figure", "rounds", "the same again", "verdict", "with more work", "verdict"],
        rows,
        f"{options.percent:g} % of added work found, and nothing where there is none",
        holds,
    )


if __name__ == "__main__":
    sys.exit(main())
