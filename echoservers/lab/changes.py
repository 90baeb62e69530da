"""Two saved runs, figure by figure: has it become faster?

They were not measured in the same rounds, so there are no pairs: what the machine did
meanwhile is part of the difference.
"""

from collections.abc import Iterator
from typing import NamedTuple

from .figures import FIGURES, kind_of
from .results import Cell, Results
from .stats import Interval, unpaired_ratio, verdict

__all__ = ["Change", "changes_between", "differences"]

OF_THE_MACHINE = ("cpu", "usable_cpus", "kernel", "python", "echoservers", "pinning", "governor")


class Change(NamedTuple):
    """One figure, now and then."""

    experiment: str
    target: str
    at: str
    figure: str
    ratio: Interval
    verdict: str


def changes_between(now: Results, then: Results) -> Iterator[Change]:
    """Every compared figure that both have, of cells with the same target and parameters."""
    before = dict(_cells(then))
    for place, cell in _cells(now):
        other = before.get(place)
        if other is None or "generator" in (cell.limited_by, other.limited_by):
            continue
        experiment, target, parameters = place
        at = ", ".join(f"{name} {value}" for name, value in parameters)
        for name in cell.figures:
            if name not in other.figures or name not in FIGURES or not kind_of(name).compared:
                continue
            values = [
                [run for run in figures[name].runs if run is not None]
                for figures in (cell.figures, other.figures)
            ]
            if all(runs and min(runs) > 0 for runs in values):
                ratio = unpaired_ratio(*values)
                said = verdict(ratio, kind_of(name).better)
                yield Change(experiment, target, at, name, ratio, said)


_Place = tuple[str, str, tuple[tuple[str, int | float | str], ...]]


def _cells(results: Results) -> Iterator[tuple[_Place, Cell]]:
    for experiment in results.experiments:
        for cell in experiment.cells:
            yield (experiment.name, cell.target, tuple(sorted(cell.parameters.items()))), cell


def differences(now: Results, then: Results) -> Iterator[str]:
    """What else is not the same, and so may be the reason."""
    for name in OF_THE_MACHINE:
        one, other = now.environment.get(name), then.environment.get(name)
        if one != other:
            yield f"{name} differs: {one} now, {other} then"
