"""What an experiment is: a question, a sweep, and how one cell of it is measured."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from ...addresses import STREAMS
from ...errors import OptionError
from ..stats import beyond, needed_samples, percentile

if TYPE_CHECKING:
    from ...targets import Target
    from ..bench import Bench

__all__ = [
    "ANY",
    "DATAGRAMS",
    "STREAM",
    "Experiment",
    "Parameters",
    "Sample",
    "Timing",
    "Value",
    "add_percentiles",
    "too_few",
]

Value = int | float | str
Parameters = Mapping[str, Value]

STREAM = frozenset(STREAMS)
DATAGRAMS = frozenset({"udp", "unix-datagram"})
ANY = STREAM | DATAGRAMS


@dataclass
class Sample:
    """What one run of one cell gave."""

    figures: dict[str, float] = field(default_factory=dict)
    """By the names of `lab.figures`; the first decides which run is the typical one."""
    series: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    limited_by: str | None = None
    error: str | None = None
    withheld: dict[str, str] = field(default_factory=dict)
    """Figures that this run cannot tell, and why: those of the other runs would be chosen by
    their outcome, so the cell has none of them."""
    rounded: dict[str, float] = field(default_factory=dict)
    """Figures that are known to so much either way, whatever the other runs say."""


def add_percentiles(
    sample: Sample,
    values: npt.NDArray[np.float64],
    names: dict[str, float],
    waits: npt.NDArray[np.float64] | None = None,
) -> None:
    """Those percentiles of *values* that their number carries; the others are withheld.

    Were they only missing, a cell would have those of its faster runs alone.

    :param waits: how long those have waited who were not answered.
    """
    for name, quantile in names.items():
        found = percentile(values, quantile, waits)
        if found is None:
            sample.withheld[name] = too_few(name, quantile)
        elif found == math.inf:
            sample.withheld[name] = beyond(name, values, waits)
        else:
            sample.figures[name] = found


def too_few(name: str, quantile: float) -> str:
    """Why a percentile is missing."""
    needed = needed_samples(quantile)
    return f"{name} needs {needed:,} samples a run: there were fewer"


@dataclass(frozen=True)
class Timing:
    """How long it is measured, and how often."""

    duration: float = 1.0
    """Seconds of the window of a cell."""
    warmup: float = 0.3
    """Seconds before it, that are dropped: caches, pools and TCP windows fill meanwhile."""
    repeats: int = 5
    """Fresh server processes.  Five make intervals of 1.2 standard deviations either way;
    three would make it 2.5."""


def _no_options(_parameters: Parameters) -> dict[str, Any]:
    return {}


def _nothing_more(_parameters: Parameters) -> float:
    return 0.0


def _fits_all(_target: "Target", _parameters: Parameters) -> bool:
    return True


@dataclass(frozen=True)
class Experiment:
    """One question, that can be asked to any server."""

    name: str
    title: str
    question: str
    shows: str
    """One sentence: what to look for."""
    parameter: str
    """What is swept."""
    unit: str
    values: tuple[Value, ...]
    measure: "Callable[[Bench, Parameters], Sample]"
    quick_values: tuple[Value, ...] | None = None
    choices: tuple[Value, ...] = ()
    """The values that there are, where they are names; by default those above."""
    fixed: Parameters = field(default_factory=dict)
    """Parameters that all cells have in common."""
    panel: str | None = None
    """A second parameter that is swept; each of its values has a picture of its own."""
    panel_values: tuple[Value, ...] = ()
    timing: Timing = Timing()
    quick_timing: Timing = Timing(0.3, 0.1, 3)
    transports: frozenset[str] = ANY
    options: Callable[[Parameters], dict[str, Any]] = _no_options
    """What our servers are started with; those that a mode does not have are left out."""
    demanded: frozenset[str] = frozenset()
    """Those options that a target at least must have, as the user has asked for them."""
    works: bool = False
    """Whether the server must do work for a message, as `lab.handlers` has it."""
    plain: bool = False
    """Whether its load is a closed loop of one message a client, which any engine can make."""
    ordered: bool = False
    """Whether the values go from small to large in one server, as where a crowd grows."""
    reference: str | None = None
    """A model that is measured as well, in the same rounds, whoever was asked for."""
    derive: Callable[[dict[str, float], dict[str, float]], dict[str, float]] | None = None
    """Further figures of a run, of its own and of those of the reference."""
    takes: Callable[[Parameters], float] = _nothing_more
    """About how many seconds a cell takes besides its window, on a machine that is quiet."""
    fits: "Callable[[Target, Parameters], bool]" = _fits_all
    """Whether a cell makes sense for a target."""

    def cells(self) -> list[dict[str, Value]]:
        """The parameters of every cell, panel by panel."""
        panels: list[dict[str, Value]] = [{}]
        if self.panel is not None:
            panels = [{self.panel: value} for value in self.panel_values]
        return [
            {self.parameter: value, **panel, **self.fixed}
            for panel in panels
            for value in self.values
        ]

    def quick(self) -> Self:
        """The same in a fraction of the time, with fewer values."""
        return replace(
            self,
            values=self.quick_values or self.values,
            choices=self.choices or self.values,
            timing=self.quick_timing,
        )

    def has(self, parameter: str) -> bool:
        """Whether it has this parameter."""
        return parameter in self.parameters()

    def parameters(self) -> list[str]:
        """The names of its parameters, the swept one first."""
        return [self.parameter, *filter(None, [self.panel]), *self.fixed]

    def set(self, parameter: str, texts: list[str]) -> Self:
        """The same with other values of *parameter*, as a user has typed them.

        :raises OptionError: they are of another kind, or several where one belongs.
        """
        if parameter == self.parameter:
            return replace(self, values=_like(self.choices or self.values, parameter, texts))
        if parameter == self.panel:
            return replace(self, panel_values=_like(self.panel_values, parameter, texts))
        if len(texts) != 1:
            raise OptionError(f"{self.name} has one {parameter}, it is not swept; give one value")
        (value,) = _like((self.fixed[parameter],), parameter, texts)
        return replace(self, fixed={**self.fixed, parameter: value})


def _like(defaults: tuple[Value, ...], parameter: str, texts: list[str]) -> tuple[Value, ...]:
    """*texts* as values of the same kind as the *defaults*.

    :raises OptionError: they cannot be.
    """
    if any(isinstance(default, str) for default in defaults):
        known = [default for default in defaults if isinstance(default, str)]
        number = any(name.isdigit() for name in known)  # one of them stands for any
        for text in texts:
            if text not in known and not (number and text.isdigit()):
                raise OptionError(f"{parameter}={text}: expected {', '.join(known)}")
        return tuple(texts)
    kind = float if any(isinstance(default, float) for default in defaults) else int
    try:
        values = tuple(kind(text) for text in texts)
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise OptionError(f"{parameter}={','.join(texts)}: expected {what}") from None
    if not all(0 <= value < float("inf") for value in values):
        raise OptionError(f"{parameter}={','.join(texts)}: expected no less than 0")
    return tuple(dict.fromkeys(values))
