"""Engines: who puts the load of a cell on its server, and which figures can be made of it.

There is one of ours, `OwnGenerator`, which can do every plan and keeps every sample.  Others
are for loads that one machine is too small to make; what they cannot do they refuse, and
what they cannot tell they leave out.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .experiments.base import Sample, add_percentiles
from .load import Ceiling, LoadPlan, LoadResult, generator_limit, run_load

if TYPE_CHECKING:
    from .experiments import Experiment

__all__ = ["PERCENTILES", "Cpus", "Engine", "OwnGenerator", "Phases"]

Cpus = frozenset[int] | set[int] | None
Phases = Callable[[str], None] | None

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


class Engine(Protocol):
    """What puts a load on a server."""

    name: str
    seconds: float
    """What a load takes beyond its own time: to start, and to hand over its result."""

    def takes(self, experiment: "Experiment") -> bool:
        """Whether it can put the load of *experiment* on a server."""

    def run(self, plan: LoadPlan, cpus: Cpus, on_phase: Phases) -> LoadResult:
        """Do what `run_load` does.

        :raises LoadError: as `run_load`.
        :raises OptionError: this is no load for it.
        """

    def add_times(self, sample: Sample, result: LoadResult) -> None:
        """Add what is known of the times of all messages, and say what is not."""

    def limit(
        self, result: LoadResult, ceiling: Callable[[LoadPlan], Ceiling | None]
    ) -> str | None:
        """Why *result* tells of the load rather than of the server; None: it does not.

        :param ceiling: measures what our generator can do with such a plan.
        """

    def warnings(self) -> list[str]:
        """What the reader of any of its figures should know."""


class OwnGenerator:
    """The generator of `lab.load`."""

    name = "own"
    seconds = 0.17

    def takes(self, experiment: "Experiment") -> bool:
        return True

    def run(self, plan: LoadPlan, cpus: Cpus, on_phase: Phases) -> LoadResult:
        return run_load(plan, cpus, on_phase)

    def add_times(self, sample: Sample, result: LoadResult) -> None:
        add_percentiles(sample, result.latencies, PERCENTILES, result.waits)
        if result.received:
            longest = max(result.latencies.max(), result.waits.max(initial=0.0))
            sample.figures["max"] = float(longest)
        if result.plan.shape == "churn":
            names = {"connect_p50": 0.5, "connect_p99": 0.99}
            add_percentiles(sample, result.connect_seconds, names, result.connect_waits)

    def limit(
        self, result: LoadResult, ceiling: Callable[[LoadPlan], Ceiling | None]
    ) -> str | None:
        return generator_limit(result, ceiling(result.plan)) if result.received else None

    def warnings(self) -> list[str]:
        return []
