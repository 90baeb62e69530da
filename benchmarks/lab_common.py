"""What the scripts have in common by which the lab tests itself.

Each makes a claim about the lab, measures through the lab's own code, prints a table in
reStructuredText and one line with the outcome, and ends with status 1 where the claim does not
hold.  The tables stand in docs/method.rst.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from echoservers.lab.environment import Pinning, plan_pinning, usable_cpus
from echoservers.lab.experiments import Experiment
from echoservers.lab.measure import Study, measure
from echoservers.lab.results import Results
from echoservers.lab.stats import Interval, interval
from echoservers.targets import Target
from machine import cpu_model
from tables import Row, table

__all__ = [
    "Alone",
    "arguments",
    "find_handlers",
    "median",
    "outcome",
    "progress",
    "shown",
    "study",
    "two_sides",
]


class Alone:
    """A listener of the lab for a script that says how far it is by itself."""

    def planned(self, visits: object) -> None: ...
    def began(self, visit: object, parameters: object) -> None: ...
    def measured(self, visit: object, parameters: object, sample: object) -> None: ...
    def ended(self, visit: object) -> None: ...
    def warned(self, text: str) -> None: ...


def arguments(about: str | None) -> argparse.ArgumentParser:
    """A parser that says what the script is about."""
    return argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def find_handlers() -> None:
    """Let the servers that are started find `lab_handlers`."""
    here = Path(__file__).resolve().parent
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(here), str(here.parent), os.environ.get("PYTHONPATH")])
    )


def study(
    targets: Sequence[Target], experiment: Experiment, *, baseline: str | None, seed: int
) -> Results:
    """Run one experiment as a user of the lab has it, and keep no files.

    Raises `SystemExit` when one of the targets could not be measured.
    """
    found = measure(
        Study(targets, [experiment], baseline, seed, sys.argv), Alone(), lambda _results: None
    )
    for cell in found.experiments[0].cells:
        if cell.error is not None:
            sys.exit(cell.error)
    return found


def two_sides() -> Pinning:
    """The processors of server and generator, as the lab has them.

    Raises `SystemExit` where there is one only.
    """
    pinning = plan_pinning(usable_cpus())
    if pinning is None:
        sys.exit("this takes two processors: one for the server, one for the generator")
    return pinning


def progress(done: int, of: int) -> None:
    """Say on standard error how far it is."""
    print(f"\r{done} of {of}", end="\n" if done == of else "", file=sys.stderr, flush=True)


def median(runs: Sequence[float]) -> Interval:
    """The median and its interval: that of the lab."""
    return interval(list(runs))


def shown(found: Interval, form: str = ".3f", scale: float = 1.0) -> str:
    """A median with its interval, for a table."""
    if math.isnan(found.median):
        return "too few samples"
    if found.low is None or found.high is None:
        return format(found.median * scale, form)
    middle, low, high = (format(value * scale, form) for value in found)
    return f"{middle} ({low} - {high})"


def outcome(title: str, header: Row, rows: Sequence[Row], claim: str, holds: bool) -> int:
    """Print the table, on what machine it was made, and whether the claim holds.

    :returns: the exit status.
    """
    print(table(title, header, rows))
    print()
    load = os.getloadavg()[0]
    print(
        f"{cpu_model()}, {len(usable_cpus())} processors, CPython"
        f" {sys.version.split()[0]}, {time.strftime('%Y-%m-%d')}, load average {load:.1f}."
    )
    print(f"{claim}: {'yes' if holds else 'NO'}")
    return 0 if holds else 1
