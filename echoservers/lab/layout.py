"""How figures are spoken of, and which of them each experiment shows.

An experiment of the user's own, or a figure that is not listed, is shown all the same.
"""

from collections.abc import Iterable
from typing import NamedTuple

from .figures import FIGURES
from .results import Experiment, Figure

__all__ = ["Layout", "direction", "layout_of", "noun_of", "title_of_figure", "unit_of"]

_NOUNS = {
    "p90": "p90 latency",
    "p99": "p99 latency",
    "p999": "p99.9 latency",
    "naive_p99": "p99 latency that clients which wait would tell",
    "connections_per_second": "rate of connections",
    "process_control_cpu": "CPU time for process control",
    "answered_share": "share of answers",
    "lost_share": "share of losses",
    "kept_share": "share of its throughput that it keeps",
    "jain_index": "Jain index",
    "refused": "number of refused connections",
    "connect_p99": "p99 time to connect",
    "connect_max": "longest time to connect",
    "megabytes_per_second": "data rate",
    "makespan": "time until all were served",
    "p50": "median response time",
    "workers": "number of workers that served",
    "clients_served": "number of clients that were served",
    "threads": "number of threads",
    "processes": "number of processes",
    "descriptors": "number of descriptors",
    "context_switches_per_message": "number of context switches a message",
}
"""What fits into "the lowest ...", where a figure's title does not."""


class Layout(NamedTuple):
    """Which figures of an experiment are shown, the main ones first."""

    main: tuple[str, ...]
    more: tuple[str, ...] = ()


_CPU = ("server_cpu_per_message", "machine_cpu_per_message")

LAYOUTS = {
    "scaling": Layout(("throughput", "p99"), ("p50", *_CPU, "context_switches_per_message")),
    "latency": Layout(("p50", "p99", "naive_p99"), ("p90", "p999", "max", *_CPU)),
    "churn": Layout(
        ("process_control_cpu", "connections_per_second"),
        ("server_cpu_per_connection", "connect_p99", "p99", *_CPU),
    ),
    "fairness": Layout(("jain_index", "workers"), ("throughput", "connections_per_second", "p99")),
    "gil": Layout(("kept_share", "throughput"), ("p99", "p50", "max")),
    "slow-client": Layout(("p99", "throughput"), ("p50", "max")),
    "idle": Layout(("memory_pss", "threads", "processes", "descriptors"), ("memory_per_connection",
                                                                          "p99")),
    "size": Layout(("megabytes_per_second", "throughput"), ("p99", *_CPU)),
    "work": Layout(("throughput",), ("p99", "p50")),
    "timeline": Layout(("makespan", "workers"), ("p50", "max", "threads", "processes")),
    "datagram": Layout(("answered_share", "lost_share"), ("p50", "p99", "throughput")),
    "backlog": Layout(("connect_max", "refused"), ("connect_p50", "connect_p99", "answered_share")),
}  # fmt: skip


def title_of_figure(name: str) -> str:
    """What heads a column or an axis."""
    known = FIGURES.get(name)
    title = known.title if known else name.replace("_", " ")
    return title[:1].upper() + title[1:]


def noun_of(name: str) -> str:
    """What fits into "the lowest ..."."""
    known = FIGURES.get(name)
    return _NOUNS.get(name) or (known.title if known else name.replace("_", " "))


def unit_of(name: str, figures: Iterable[Figure]) -> str:
    """The unit of a figure in the results; that of a share, which has none, is ``share``."""
    return next((figure.unit for figure in figures), "") or ("share" if "share" in name else "")


def direction(name: str, figures: Iterable[Figure]) -> str | None:
    """Whether ``more`` or ``less`` of a figure is better; None: neither."""
    said = {figure.better for figure in figures if figure.better}
    known = FIGURES.get(name)
    return said.pop() if len(said) == 1 else (known.better if known else None)


def layout_of(experiment: Experiment) -> Layout:
    """The figures of *experiment* that have been measured, in the order to show them."""
    measured = {name: None for cell in experiment.cells for name in cell.figures}
    layout = LAYOUTS.get(experiment.name) or _all(measured)
    main = tuple(name for name in layout.main if name in measured)
    more = tuple(name for name in layout.more if name in measured)
    return Layout(main or more[:1], more if main else more[1:])


def _all(measured: Iterable[str]) -> Layout:
    """Of an experiment of the user's own: all there is, the best known figures first."""
    order = {name: place for place, name in enumerate(FIGURES)}
    names = sorted(measured, key=lambda name: order.get(name, len(order)))
    main = tuple(name for name in names if name in ("throughput", "p99")) or tuple(names[:2])
    return Layout(main, tuple(name for name in names if name not in main))
