"""What a study is, and what is going to be done for it, in which order."""

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import OptionError
from ..hints import did_you_mean
from ..options import options_of
from ..registry import parse_mode_spec, server_class
from ..targets import Target
from .engines import Engine, OwnGenerator
from .experiments import Experiment
from .load import LoadPlan

__all__ = [
    "Study",
    "Visit",
    "check_options",
    "planned_visits",
    "reference_of",
    "references",
    "targets_of",
    "visits_of",
]

REFERENCE = " (reference)"
"""Behind the name of a server that is measured beside, where that name is taken."""

SERVER_TIME = 0.4
"""Seconds for a server to start and to end: an interpreter, and its imports."""


CALIBRATION_TIME = 0.8
"""Seconds of a calibration: its run, and the start of a generator and a reflector."""

Kind = tuple[Any, ...]
"""Of load: shape, transport, connections, size, pipeline."""


@dataclass(frozen=True)
class Study:
    """What is to be measured."""

    targets: Sequence[Target]
    experiments: Sequence[Experiment]
    baseline: str | None = None
    """The name of the target that the others are held against."""
    seed: int = 1
    command: Sequence[str] = field(default_factory=lambda: sys.argv[1:])
    engine: Engine = field(default_factory=OwnGenerator)


@dataclass(frozen=True)
class Visit:
    """One server process, and the cells that are measured in it."""

    experiment: Experiment
    turn: int
    target: Target
    cells: list[dict[str, Any]]
    options: dict[str, Any]
    load_seconds: float = OwnGenerator.seconds
    calibrations: int = 0
    """Of the generator, which are made when a kind of load is first put on."""

    @property
    def seconds(self) -> float:
        """About how long it takes, on a machine that is quiet."""
        timing = self.experiment.timing
        loads = self.load_seconds + timing.warmup + timing.duration if timing.duration else 0.0
        before = SERVER_TIME + self.calibrations * CALIBRATION_TIME
        return before + sum(loads + self.experiment.takes(cell) for cell in self.cells)


def check_options(study: Study) -> None:
    """See that no option that a user asked for is left out by every target.

    :raises OptionError: one is.
    """
    for experiment in study.experiments:
        modes = [t.mode for t in targets_of(study, experiment) if t.mode is not None]
        classes = [server_class(parse_mode_spec(mode)[0].name) for mode in modes]
        known = sorted({name for cls in classes for name in options_of(cls)})
        for name in sorted(experiment.demanded.difference(known)):
            hint = did_you_mean(name, known) or f"; known are {', '.join(known) or 'none'}"
            raise OptionError(f"{experiment.name}: no target has the option {name!r}{hint}")


def planned_visits(study: Study) -> list[Visit]:
    """All that is going to be done, in its order."""
    known: set[Kind] = set()
    return [visit for each in study.experiments for visit in visits_of(study, each, known)]


def reference_of(experiment: Experiment, transport: str) -> Target | None:
    """The further target that an experiment needs beside those over *transport*."""
    if experiment.reference is None:
        return None
    name = (
        transport
        if experiment.reference == "iterative"
        else (f"{experiment.reference}-{transport}")
    )
    return Target.of_mode(name)


def targets_of(study: Study, experiment: Experiment) -> list[Target]:
    """Those that the experiment is for, and its references."""
    fit = [t for t in study.targets if t.transport in experiment.transports]
    for transport in dict.fromkeys(target.transport for target in fit):
        reference = reference_of(experiment, transport)
        if reference is not None and reference.mode not in [t.mode for t in fit]:
            fit.append(_renamed(study, reference))
    return fit


def _renamed(study: Study, reference: Target) -> Target:
    """*reference* by another name, where the user has given its name to another server."""
    names = [target.name for target in study.targets]
    name = reference.name
    while name in names:
        name += REFERENCE
    return reference._replace(name=name)


def visits_of(study: Study, experiment: Experiment, known: set[Kind]) -> Iterator[Visit]:
    """What is measured, round by round, in the order in which it is.

    :param known: the kinds of load that the generator is calibrated for; more are added.
    """
    order = random.Random(f"{study.seed} {experiment.name}")
    for turn in range(experiment.timing.repeats):
        targets = targets_of(study, experiment)
        order.shuffle(targets)
        for target in targets:
            cells = [c for c in experiment.cells() if experiment.fits(target, c)]
            if not experiment.ordered:
                order.shuffle(cells)
            for visit in _by_options(experiment, turn, target, cells):
                new = _kinds(study, visit) - known
                known |= new
                yield replace(visit, load_seconds=study.engine.seconds, calibrations=len(new))


def _kinds(study: Study, visit: Visit) -> set[Kind]:
    """What the generator has to be calibrated for, as far as the parameters tell."""
    experiment = visit.experiment
    if not (isinstance(study.engine, OwnGenerator) and experiment.timing.duration):
        return set()
    words = {experiment.name, experiment.fixed.get("shape")}
    if experiment.works or words & {"open", "datagram"}:
        return set()  # so slow that the generator is far from its ceiling, or it is given its pace
    shape = "churn" if "churn" in words else "closed"
    return {
        (
            *(shape, visit.target.transport, cell.get("connections", cell.get("clients"))),
            *(cell.get("size", LoadPlan.size), cell.get("pipeline", LoadPlan.pipeline)),
        )
        for cell in visit.cells
    }


def references(experiment: Experiment, targets: Sequence[Target]) -> Iterator[tuple[str, str]]:
    """The names of targets, each with that of the reference over its transport."""
    for target in targets:
        reference = reference_of(experiment, target.transport)
        if reference is not None:
            (name,) = [other.name for other in targets if other.mode == reference.mode][:1]
            yield target.name, name


def _by_options(
    experiment: Experiment, turn: int, target: Target, cells: list[dict[str, Any]]
) -> Iterator[Visit]:
    """A visit for each set of options that the cells need a server with."""
    groups: dict[tuple[tuple[str, Any], ...], list[dict[str, Any]]] = {}
    for parameters in cells:
        options = {} if target.mode is None else experiment.options(parameters)
        groups.setdefault(tuple(sorted(options.items())), []).append(parameters)
    for key, those in groups.items():
        yield Visit(experiment, turn, target, those, dict(key))
