"""Measure: every experiment on every target, in rounds, into `Results`.

A round measures each target once, in an order drawn anew, in a server process started for
it: so a drift of the machine meets all alike, and what differs from process to process is
part of the spread.  After every cell the results are saved, so whatever ends the run, what
was measured is there.

One target can do no harm to the others: what goes wrong with it is the error of its cells.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Protocol

from ..errors import OptionError
from ..registry import parse_mode_spec, server_class
from ..system import usable_cpus
from ..targets import Target, TargetError
from ..targets.limits import descriptors_for_others, descriptors_raised
from . import results
from .bench import Bench, CellError, prepared
from .collect import Collection
from .environment import Pinning, describe, kept_on, plan_pinning
from .experiments import Experiment, Parameters, Sample
from .handlers import WORK_HANDLER
from .load import Ceiling, LoadError, LoadPlan, calibrate
from .planning import (
    Kind,
    Study,
    Visit,
    check_options,
    planned_visits,
    reference_of,
    references,
    targets_of,
    visits_of,
)
from .visits import understands

__all__ = ["Listener", "Study", "Visit", "measure", "planned_visits", "reference_of", "subject_of"]


CALIBRATED = ("closed", "churn")
"""Shapes whose pace the generator may set; of the others it is given."""


DESCRIPTORS = 20_100
"""Of each server at least, where the system allows it: the largest crowd, and its own."""

STARTS = 2
"""Of a server before it is given up: the port that was free may be taken, and a machine that
is busy may take too long for once."""

BREAKS = 3
"""Cells of a visit that may break its server, each of which then gets a fresh one for the rest:
one that hangs takes `bench.TIMEOUT` every time.  What is left is for the next round."""


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
    :raises OptionError: no target has an option that an experiment demands.
    """
    pinning = plan_pinning(usable_cpus())
    for target in study.targets:  # a class counts the processors when it is made
        if target.mode is not None:
            server_class(parse_mode_spec(target.mode)[0].name)
    check_options(study)
    environment = describe(pinning)
    # From the first to the last: else it would be the limit of a server where it comes in the
    # random order, before or after the first crowd of ours.
    with kept_on(pinning and pinning.generator), descriptors_raised(DESCRIPTORS):
        most = descriptors_for_others()
        environment["limits"]["nofile_servers"] = most if most >= 0 else None  # -1: no limit
        return _measure(study, listener, keep, pinning, environment)


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
        self._kinds: set[Kind] = set()
        """Those of the planned calibrations that have been made."""

    def measure(self, experiment: Experiment) -> None:
        """All rounds of one experiment."""
        targets = targets_of(self._study, experiment)
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
            references=dict(references(experiment, targets)),
            seed=self._study.seed,
        )
        self._found.experiments.append(collection.result())
        for visit in visits_of(self._study, experiment, self._kinds):
            self._listener.ended(self._visit(visit, collection))

    def _visit(self, visit: Visit, collection: Collection) -> Visit:
        name = visit.target.name
        # A cell that has an error has no figures: nothing is gained by another, which may hang.
        left = [cell for cell in visit.cells if not collection.failed(name, cell)]
        broken = ""
        for _ in range(BREAKS):
            if not left:
                return visit
            try:
                self._in_one_server(visit, left, collection)
            except CellError as error:  # of this cell alone: it is no word about the others
                broken = str(error)
                sample = Sample(error=broken, limited_by=error.limit)
                self._took(visit, left.pop(0), sample, collection)
            except (TargetError, OptionError) as error:  # an option that its server refuses
                self._fail(visit, left, str(error), collection)
                return visit
        if visit.turn == visit.experiment.timing.repeats - 1:  # else they have further rounds
            never = [cell for cell in left if not collection.measured(name, cell)]
            self._fail(
                visit, never, f"not measured, as others broke the server: {broken}", collection
            )
        return visit

    def _in_one_server(
        self, visit: Visit, left: list[dict[str, Any]], collection: Collection
    ) -> None:
        """Measure those that are *left*, and take each from them.

        :raises CellError: the first of those that are left has broken the server.
        :raises TargetError: there is no server.
        """
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

    def _measured(self, visit: Visit, bench: Bench, parameters: Parameters) -> Sample:
        """What one cell gave; what our own side could not do is tried once more."""
        try:
            try:
                return visit.experiment.measure(bench, parameters)
            except (LoadError, OSError) as error:
                self._listener.warned(f"{bench.own_failure(error)}; it is tried again")
                return visit.experiment.measure(bench, parameters)
        except OptionError as error:  # a load that cannot be, as of no connections
            return Sample(error=str(error))
        except (LoadError, OSError) as error:
            return Sample(error=bench.own_failure(error), limited_by="generator")

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
        return f"left out: it does not do the work; {WORK_HANDLER} says what is asked for"

    def _fail(
        self, visit: Visit, cells: list[dict[str, Any]], error: str, collection: Collection
    ) -> None:
        for parameters in cells:
            self._took(visit, parameters, Sample(error=error), collection)

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
