"""Measure: every experiment on every target, in rounds, into `Results`.

A round measures each target once, in an order drawn anew, in a server process started for
it: so a drift of the machine meets all alike, and what differs from process to process is
part of the spread.  After every cell the results are saved, so whatever ends the run, what
was measured is there.

One target can do no harm to the others: what goes wrong with it is the error of its cells.
"""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from ..errors import OptionError
from ..registry import parse_mode_spec, server_class
from ..targets import Target, TargetError
from . import results
from .bench import Bench, CellError, prepared
from .collect import Collection
from .engines import Engine, OwnGenerator
from .environment import Pinning, describe, kept_on, plan_pinning, usable_cpus
from .experiments import Experiment, Parameters, Sample
from .handlers import WORK_HANDLER
from .load import Ceiling, LoadError, LoadPlan, calibrate
from .visits import understands

__all__ = ["Listener", "Study", "Visit", "measure", "planned_visits", "reference_of", "subject_of"]


CALIBRATED = ("closed", "churn")
"""Shapes whose pace the generator may set; of the others it is given."""


REFERENCE = " (reference)"
"""Behind the name of a server that is measured beside, where that name is taken."""

SERVER_TIME = 0.4
"""Seconds for a server to start and to end: an interpreter, and its imports."""

STARTS = 2
"""Of a server before it is given up: the port that was free may be taken, and a machine that
is busy may take too long for once."""


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

    @property
    def seconds(self) -> float:
        """About how long it takes, on a machine that is quiet."""
        timing = self.experiment.timing
        loads = self.load_seconds + timing.warmup + timing.duration if timing.duration else 0.0
        return SERVER_TIME + sum(loads + self.experiment.takes(cell) for cell in self.cells)


class Listener(Protocol):
    """Who is told how it goes on."""

    def planned(self, visits: Sequence[Visit]) -> None:
        """This is what is going to be done."""

    def began(self, visit: Visit, parameters: Parameters) -> None:
        """A cell is being measured."""

    def measured(self, visit: Visit, parameters: Parameters, sample: Sample) -> None:
        """That was the outcome."""

    def ended(self, visit: Visit) -> None:
        """The server process has ended."""

    def warned(self, text: str) -> None:
        """Something that whoever reads the results should know."""


def measure(
    study: Study, listener: Listener, keep: Callable[[results.Results], None]
) -> results.Results:
    """Measure all of *study*.

    :param keep: called with the results after every cell; what it raises ends the run.
    :returns: the results; ``finished`` is true.
    """
    pinning = plan_pinning(usable_cpus())
    for target in study.targets:  # a class counts the processors when it is made
        if target.mode is not None:
            server_class(parse_mode_spec(target.mode)[0].name)
    environment = describe(pinning)
    with kept_on(pinning and pinning.generator):
        return _measure(study, listener, keep, pinning, environment)


def planned_visits(study: Study) -> list[Visit]:
    """All that is going to be done, in its order."""
    return [visit for each in study.experiments for visit in _visits(study, each)]


def _measure(
    study: Study,
    listener: Listener,
    keep: Callable[[results.Results], None],
    pinning: Pinning | None,
    environment: dict[str, Any],
) -> results.Results:
    found = results.Results(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=list(study.command),
        seed=study.seed,
        environment=environment,
        targets=[subject_of(target) for target in study.targets],
        baseline=study.baseline,
    )
    found.environment["engine"] = study.engine.name
    found.environment["warnings"] += study.engine.warnings()
    for warning in found.environment["warnings"]:
        listener.warned(warning)
    run = _Run(study, listener, found, pinning, keep)
    listener.planned(planned_visits(study))
    for experiment in study.experiments:
        run.measure(experiment)
    found.finished = True
    keep(found)
    return found


def subject_of(target: Target) -> results.Subject:
    """The description of a target for the results."""
    model = None
    if target.mode is not None:
        mode, _ = parse_mode_spec(target.mode)
        model = mode.model
    command = list(target.command) or None
    return results.Subject(
        target.name, target.transport, model, target.mode, command, target.endpoint
    )


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


# --- what is to be done ---------------------------------------------------------------


def _targets(study: Study, experiment: Experiment) -> list[Target]:
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


def _visits(study: Study, experiment: Experiment) -> Iterator[Visit]:
    """What is measured, round by round, in the order in which it is."""
    order = random.Random(f"{study.seed} {experiment.name}")
    for turn in range(experiment.timing.repeats):
        targets = _targets(study, experiment)
        order.shuffle(targets)
        for target in targets:
            cells = [c for c in experiment.cells() if experiment.fits(target, c)]
            if not experiment.ordered:
                order.shuffle(cells)
            for visit in _by_options(experiment, turn, target, cells):
                yield replace(visit, load_seconds=study.engine.seconds)


# --- doing it -------------------------------------------------------------------------


class _Run:
    """The experiments of a study, one after the other."""

    def __init__(
        self,
        study: Study,
        listener: Listener,
        found: results.Results,
        pinning: Pinning | None,
        keep: Callable[[results.Results], None],
    ) -> None:
        self._study = study
        self._listener = listener
        self._found = found
        self._pinning = pinning
        self._keep = keep
        self._given_up: dict[Target, str] = {}
        """Why a target, with its options, could not be started; it is not tried again."""
        self._works: dict[Target, bool] = {}
        self._server_cpus = len(usable_cpus() if pinning is None else pinning.server)
        self._ceilings: dict[tuple[Any, ...], Ceiling | None] = {}

    def measure(self, experiment: Experiment) -> None:
        """All rounds of one experiment."""
        targets = _targets(self._study, experiment)
        names = [target.name for target in targets]
        known = {subject.name for subject in self._found.targets}
        for target in targets:
            if target.name not in known:
                subject = subject_of(target)
                subject.reference = True
                self._found.targets.append(subject)
        collection = Collection(
            experiment,
            names,
            baseline=self._study.baseline,
            references=dict(_references(experiment, targets)),
            seed=self._study.seed,
        )
        self._found.experiments.append(collection.result())
        for visit in _visits(self._study, experiment):
            self._listener.ended(self._visit(visit, collection))

    def _visit(self, visit: Visit, collection: Collection) -> Visit:
        name = visit.target.name
        # A cell that has an error has no figures: nothing is gained by another, which may hang.
        left = [cell for cell in visit.cells if not collection.failed(name, cell)]
        if not left:
            return visit
        try:
            with self._bench(visit) as bench:
                left_out = self._why_left_out(visit, bench)
                while left:
                    parameters = left[0]
                    self._listener.began(visit, parameters)
                    if left_out is not None:
                        sample = Sample(notes=[left_out])
                    else:
                        sample = self._measured(visit, bench, parameters)
                    self._took(visit, left.pop(0), sample, collection)
        except CellError as error:
            self._fail(visit, left, Sample(error=str(error), limited_by=error.limit), collection)
        except (TargetError, OptionError) as error:  # an option that its server refuses
            self._fail(visit, left, Sample(error=str(error)), collection)
        return visit

    @staticmethod
    def _measured(visit: Visit, bench: Bench, parameters: Parameters) -> Sample:
        try:
            return visit.experiment.measure(bench, parameters)
        except OptionError as error:  # a load that cannot be, as of no connections
            return Sample(error=str(error))
        except OSError as error:  # of a client of ours: refused, reset, out of descriptors
            raise bench.failed(error.strerror or str(error)) from error

    def _bench(self, visit: Visit) -> Bench:
        """A server that runs.

        :raises TargetError: it did not start, `STARTS` times; it is not tried again.
        """
        target = prepared(visit.target, visit.options, visit.experiment.works)
        if target in self._given_up:
            raise TargetError(self._given_up[target])
        for left in reversed(range(STARTS)):
            try:
                return self._started(target, visit)
            except TargetError as error:
                self._given_up[target] = str(error)
                if left:
                    self._listener.warned(f"{error}; it is tried again")
        raise TargetError(self._given_up[target])

    def _started(self, target: Target, visit: Visit) -> Bench:
        bench = Bench(
            target,
            visit.experiment.timing,
            pinning=self._pinning,
            server_cpus=self._server_cpus,
            seed=self._study.seed + visit.turn,
            ceiling=self._ceiling,
            engine=self._study.engine,
        )
        self._given_up.pop(target, None)
        return bench

    def _why_left_out(self, visit: Visit, bench: Bench) -> str | None:
        """Why a server that is not ours takes no part, where work is to be done."""
        if not visit.experiment.works or visit.target.mode is not None:
            return None
        target = visit.target
        if target not in self._works:
            self._works[target] = understands(bench.endpoint, timeout=1.0)
        if self._works[target]:
            return None
        return f"left out: it does not do the work that {WORK_HANDLER} describes"

    def _fail(
        self, visit: Visit, cells: list[dict[str, Any]], sample: Sample, collection: Collection
    ) -> None:
        for parameters in cells:
            self._took(visit, parameters, sample, collection)

    def _took(
        self, visit: Visit, parameters: Parameters, sample: Sample, collection: Collection
    ) -> None:
        collection.add(visit.target.name, parameters, visit.turn, sample)
        self._found.experiments[-1] = collection.result()
        self._keep(self._found)
        self._listener.measured(visit, parameters, sample)

    def _ceiling(self, plan: LoadPlan) -> Ceiling | None:
        """What the generator can do at most with such a plan, measured when first asked."""
        if plan.shape not in CALIBRATED or plan.message:
            return None  # its pace is given, or the server works so long that it is far away
        key = (plan.shape, plan.transport, plan.connections, plan.size, plan.pipeline)
        if key not in self._ceilings:
            self._ceilings[key] = None
            try:
                ceiling = calibrate(plan, self._pinning and self._pinning.generator)
            except LoadError as error:
                self._listener.warned(f"the generator could not be calibrated: {error}")
            else:
                self._ceilings[key] = ceiling
                entry = asdict(ceiling)
                self._found.calibration.append(entry | {"ceiling": entry.pop("rate")})
        return self._ceilings[key]


def _references(experiment: Experiment, targets: Sequence[Target]) -> Iterator[tuple[str, str]]:
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
