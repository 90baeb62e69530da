"""An experiment as a reader sees it: panels, in each of them targets against a swept value.

The parameter that the experiment sweeps is its axis; any other parameter that differs
between cells splits it into panels; those that do not differ are told once.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from .results import Cell, Experiment, Figure, Ratio
from .units import value_text

__all__ = ["Panel", "Place", "constants", "panels", "place", "slug", "title_of"]

Place = tuple[str, str]
"""A target, and what it was measured under."""

_UNITS = {"size": "bytes", "duration": "s", "work": "", "load": "share of peak"}
"""Of parameters that are not the one swept: their names say what they are."""


class Panel(NamedTuple):
    """The cells in which all parameters but the swept one are the same."""

    experiment: Experiment
    parameters: tuple[tuple[str, Any], ...]
    cells: tuple[Cell, ...]

    @property
    def title(self) -> str:
        """What sets this panel apart from the others, or nothing when it is the only one."""
        return ", ".join(f"{title_of(k)} {text_of(k, v)}" for k, v in self.parameters)

    @property
    def slug(self) -> str:
        """The same, fit for the name of a file."""
        return slug("-".join(f"{k}-{v}" for k, v in self.parameters))

    def values(self) -> list[Any]:
        """The swept values that were measured, in the order of the sweep."""
        parameter = self.experiment.parameter
        found = unique(c.parameters[parameter] for c in self.cells if parameter in c.parameters)
        planned = [v for v in unique(self.experiment.values) if v in found]
        return planned + [v for v in found if v not in planned]

    @property
    def axis(self) -> str:
        """What the swept values are, for people."""
        unit = self.experiment.unit
        return title_of(self.experiment.parameter) if unit in ("", "bytes", "s") else unit

    def value_text(self, value: Any) -> str:
        """A swept value for people."""
        return value_text(value, self.experiment.unit)

    def place(self, value: Any) -> str:
        """A swept value with what it is: ``256 connections``, ``size 64 B``."""
        shown = self.value_text(value)
        before = isinstance(value, str) or self.experiment.unit in ("", "bytes", "s")
        if before:
            return f"{self.axis} {shown}"
        one = re.sub(r"\b(client|connection|connect|datagram)s\b", r"\1", self.axis)
        return f"{shown} {one if value == 1 else self.axis}"

    def at(self, value: Any) -> tuple[Cell, ...]:
        """The cells at one swept value, a target each."""
        parameter = self.experiment.parameter
        return tuple(c for c in self.cells if c.parameters.get(parameter) == value)

    def of(self, target: str) -> tuple[Cell, ...]:
        """The cells of one target, in the order of the sweep."""
        order = self.values()
        parameter = self.experiment.parameter
        mine = [c for c in self.cells if c.target == target]
        return tuple(sorted(mine, key=lambda c: _turn(order, c.parameters.get(parameter))))

    def targets(self) -> list[str]:
        """The targets, in the order in which they were given."""
        return unique(c.target for c in self.cells)

    def points(self, target: str, figure: str) -> Iterator[tuple[Any, Figure, Cell]]:
        """(swept value, figure, cell) where *target* has the figure."""
        for cell in self.of(target):
            if figure in cell.figures and not cell.error:
                yield cell.parameters.get(self.experiment.parameter), cell.figures[figure], cell

    def ratios(self, figure: str) -> dict[Place, Ratio]:
        """What was held against the baseline here, by the place of its cell."""
        mine = {place(cell) for cell in self.cells}
        found = {place(r): r for r in self.experiment.ratios if r.figure == figure}
        return {where: ratio for where, ratio in found.items() if where in mine}


def place(of: Cell | Ratio) -> Place:
    """Where a cell stands among all, or a ratio that is made of it."""
    return of.target, repr(sorted(of.parameters.items()))


def _turn(order: list[Any], value: Any) -> int:
    return order.index(value) if value in order else len(order)


def unique(values: Iterable[Any]) -> list[Any]:
    """*values* without repetition; they need not be hashable (JSON has lists)."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _by_parameter(experiment: Experiment) -> dict[str, list[Any]]:
    names = unique(name for cell in experiment.cells for name in cell.parameters)
    return {
        name: unique(c.parameters[name] for c in experiment.cells if name in c.parameters)
        for name in names
    }


def panels(experiment: Experiment) -> list[Panel]:
    """The panels of *experiment*, in the order in which their cells stand."""
    split = [
        name
        for name, values in _by_parameter(experiment).items()
        if len(values) > 1
        and name != experiment.parameter
        and (name == experiment.panel or not _per_target(experiment, name))
    ]
    keys = [tuple((n, c.parameters.get(n)) for n in split) for c in experiment.cells]
    return [
        Panel(experiment, key, tuple(c for c, k in zip(experiment.cells, keys, strict=True)
                                     if k == key))
        for key in unique(keys)
    ]  # fmt: skip


def _per_target(experiment: Experiment, name: str) -> bool:
    """Whether a parameter follows from the target and the swept value, as a rate that is a
    share of each target's own peak does: then it splits nothing.
    """
    seen: dict[tuple[str, str], Any] = {}
    for cell in experiment.cells:
        key = (cell.target, repr(cell.parameters.get(experiment.parameter)))
        value = cell.parameters.get(name)
        if seen.setdefault(key, value) != value:
            return False
    return True


def constants(experiment: Experiment) -> Mapping[str, str]:
    """The parameters that are the same in every cell, for people."""
    return {
        title_of(name): text_of(name, values[0])
        for name, values in _by_parameter(experiment).items()
        if len(values) == 1 and (name != experiment.parameter or len(experiment.values) < 2)
    }


def title_of(parameter: str) -> str:
    """A parameter's name for people."""
    return parameter.replace("_", " ")


def text_of(parameter: str, value: Any) -> str:
    """A parameter's value for people."""
    if isinstance(value, list | tuple):
        return ", ".join(text_of(parameter, v) for v in value)
    return "none" if value is None else value_text(value, _UNITS.get(parameter, ""))


def slug(text: str) -> str:
    """*text* as a part of a file's name: whatever a target is called, it stays in its folder."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]
