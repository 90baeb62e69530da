"""The experiments, in one table: a question each, that can be asked to any server.

What they have in common is in `base`; how a cell is measured stands beside its description,
in the file of its kind.  They run in the order of the table.
"""

from ...errors import OptionError
from ...hints import did_you_mean
from .base import Experiment, Parameters, Sample, Timing, Value
from .closed import SCALING, SIZE, WORK
from .connections import BACKLOG, CHURN, IDLE
from .neighbours import GIL, SLOW_CLIENT
from .open_loop import DATAGRAM, LATENCY
from .workers import FAIRNESS, TIMELINE

__all__ = [
    "EXPERIMENTS",
    "QUICK",
    "Experiment",
    "Parameters",
    "Sample",
    "Timing",
    "Value",
    "find_experiment",
]

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        SCALING,
        LATENCY,
        CHURN,
        FAIRNESS,
        GIL,
        SLOW_CLIENT,
        IDLE,
        SIZE,
        WORK,
        TIMELINE,
        DATAGRAM,
        BACKLOG,
    )
}

QUICK = ("scaling", "churn", "idle", "timeline")
"""The four that tell most in little time: how far a design goes, what it pays for a client,
what it pays for a client that does nothing, and a picture of itself."""


def find_experiment(name: str) -> Experiment:
    """The experiment with this name.

    :raises OptionError: there is none; the message lists them.
    """
    if name not in EXPERIMENTS:
        hint = did_you_mean(name, EXPERIMENTS)
        raise OptionError(
            f"there is no experiment {name!r}{hint}; there are {', '.join(EXPERIMENTS)}"
        )
    return EXPERIMENTS[name]
