"""Two saved runs side by side: what became faster, what slower, what cannot be told.

The runs of two sessions are not pairs, so the interval of a ratio is made of the intervals
of both figures, by their logarithms: the distances to the ends are added as squares (G. Zou
and A. Donner, *Construction of confidence limits about effect measures*, Statistics in
Medicine 27, 2008).
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from .layout import direction, layout_of, title_of_figure
from .ranking import rankable
from .results import Cell, Experiment, Figure, Results
from .stats import Interval, verdict
from .tables import Entries, Table
from .units import PLAIN, count, interval
from .view import place, slug, text_of, title_of

__all__ = ["Comparison", "compare_runs"]

_SAME_MACHINE = {
    "cpu": "processor",
    "usable_cpus": "number of usable processors",
    "memory_bytes": "memory",
    "kernel": "kernel",
    "system": "system",
    "python": "Python",
    "limits": "limits",
    "pinning": "pinning",
    "governor": "processor's governor",
}


class Comparison(NamedTuple):
    """What two runs say about each other."""

    tables: list[Table]
    warnings: list[str]


def compare_runs(before: Results, after: Results) -> Comparison:
    """Hold every figure of *after* against that of *before*, a table an experiment."""
    earlier = {experiment.name: experiment for experiment in before.experiments}
    pairs = [(earlier[e.name], e) for e in after.experiments if e.name in earlier]
    tables = [table for a, b in pairs for table in [_table(a, b)] if table.rows]
    warnings = [*_environments(before, after), *_settings(before, after)]
    return Comparison(tables, warnings)


def _table(before: Experiment, after: Experiment) -> Table:
    layout = layout_of(after)
    figures = (*layout.main, *layout.more)
    known = {place(cell): cell for cell in before.cells}
    rows = []
    for cell in after.cells:
        if place(cell) in known:
            entries = tuple(_entry(name, known[place(cell)], cell) for name in figures)
            if any(entry.figure or entry.note for entry in entries):
                rows.append((_place(after, cell), entries))
    return Table(
        f"against-{slug(after.name) or 'experiment'}",
        f"{after.title or after.name}: after / before",
        "server",
        tuple(title_of_figure(name) for name in figures),
        tuple(rows),
        tuple("" for _ in figures),
    )


def _place(experiment: Experiment, cell: Cell) -> str:
    """The target and what it was measured under, as far as that differs between cells."""
    swept = [n for n in (experiment.parameter, experiment.panel) if n and n in cell.parameters]
    differing = [n for n in swept if len({repr(c.parameters.get(n)) for c in experiment.cells}) > 1]
    told = [f"{title_of(n)} {text_of(n, cell.parameters[n])}" for n in differing]
    return ", ".join([cell.target, *told])


def _entry(name: str, before: Cell, after: Cell) -> Entries:
    if before.error or after.error:
        both = bool(before.error and after.error)
        which = "both failed" if both else "failed before" if before.error else "fails now"
        return Entries(PLAIN.text(math.nan), note=which)
    a, b = before.figures.get(name), after.figures.get(name)
    if a is None or b is None:
        return Entries(PLAIN.text(math.nan))
    found = _ratio(a, b)
    if found is None:
        return Entries(PLAIN.text(math.nan), note="no ratio of zero")
    if not (rankable(before) and rankable(after)):
        says = "not ranked"
    else:
        says = verdict(found, direction(name, [a, b]))
    figure = Figure(found.median, found.low, found.high, "", [])
    if found.low is None and found.high is None:
        one = len(a.runs) == 1 or len(b.runs) == 1
        says = "one run: no interval" if one else "no interval"
    return Entries(PLAIN.text(found.median), interval(PLAIN, figure), note=says, figure=figure)


def _ratio(before: Figure, after: Figure) -> Interval | None:
    """After / before; None where it has no meaning."""
    if before.median <= 0 or after.median <= 0:
        return None
    middle = math.log(after.median / before.median)
    down = _distance(after, after.low, before, before.high)
    up = _distance(after, after.high, before, before.low)
    low = None if down is None else math.exp(middle - down)
    high = None if up is None else math.exp(middle + up)
    return Interval(math.exp(middle), low, high)


def _distance(one: Figure, its: float | None, other: Figure, others: float | None) -> float | None:
    """From the middle of a ratio to its end, made of an end of *one* and of the *other*."""
    if its is None or others is None or its <= 0 or others <= 0:
        return None
    return math.hypot(math.log(its / one.median), math.log(others / other.median))


# --- what differs besides the figures ---------------------------------------------------


def _environments(before: Results, after: Results) -> Iterator[str]:
    a, b = before.environment, after.environment
    for name, words in _SAME_MACHINE.items():
        if a.get(name) != b.get(name):
            yield f"The {words} differs: {_said(a.get(name))} before, {_said(b.get(name))} now."
    for results, when in ((before, "earlier"), (after, "later")):
        if (results.environment.get("noise") or {}).get("noisy"):
            yield f"The machine was noisy in the {when} run."
        if not results.finished:
            yield f"The {when} run was not finished."


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{title_of(str(k))} {_said(v)}" for k, v in value.items()) or "none"
    return text_of("", value)


def _settings(before: Results, after: Results) -> Iterator[str]:
    earlier = {experiment.name: experiment for experiment in before.experiments}
    for experiment in after.experiments:
        other = earlier.pop(experiment.name, None)
        if other is None:
            yield f"{experiment.name} was not measured before."
            continue
        for name in ("duration", "warmup"):
            if getattr(other, name) != getattr(experiment, name):
                yield (
                    f"{experiment.name}: the {name} differs: {getattr(other, name):g} s before,"
                    f" {getattr(experiment, name):g} s now."
                )
        keys = {place(cell) for cell in other.cells}
        alone = len([cell for cell in experiment.cells if place(cell) not in keys])
        gone = len(keys - {place(cell) for cell in experiment.cells})
        if alone or gone:
            yield (
                f"{experiment.name}: {count(alone, 'measurement')} only now,"
                f" {count(gone, 'measurement')} only before."
            )
    for name in earlier:
        yield f"{name} was measured before, and not now."
