"""Who did the work: which worker served whom, and when."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from ...errors import OptionError
from ..stats import jain_index
from ..visits import Visit, VisitError, visit, worker_names
from .base import ANY, STREAM, Experiment, Parameters, Sample, Timing

if TYPE_CHECKING:
    from ..bench import Bench

__all__ = ["FAIRNESS", "TIMELINE"]

UNKNOWN = (
    "no jain_index: how many workers this server has is not known, and those who served nobody"
    " would be missing in it"
)

VISITS_TIME = 60.0
"""Seconds for all clients of a cell, besides their connections and their work."""

CONNECTION_TIME = 0.2
"""Seconds for each connection, one after the other: TLS takes 3 ms, on a busy machine 80."""

BUSY = 4
"""How many times as long the work may take as for one worker alone, on a busy machine."""

MOST_SHOWN = 64  # workers in a picture: of a thread or a process a client there are hundreds


def _measure_fairness(bench: "Bench", parameters: Parameters) -> Sample:
    clients, connections = int(parameters["clients"]), int(parameters["connections"])
    each = -(-connections // max(1, clients))
    try:
        visits = _visits(bench, parameters, "cpu", visits=each, requests=1)
    except VisitError as error:
        return Sample(error=bench.explained(str(error)))
    places = [bench.worker_of(v.pid, v.thread) for v in visits]
    served = Counter(places)
    standing = bench.workers()
    idle = max(0, (standing or 0) - len(served))
    counts = [*sorted(served.values(), reverse=True), *[0] * idle]
    sample = Sample()
    if standing is None:
        sample.withheld["jain_index"] = UNKNOWN
    else:
        sample.figures["jain_index"] = jain_index(counts)
    sample.figures["workers"] = float(len(served))
    sample.figures["connections_per_second"] = len(visits) / _span(visits)
    if idle:
        sample.notes.append(f"{idle} of {len(counts)} workers served nobody")
    sample.series["served_by_worker"] = {
        "x": [f"worker {number}" for number in range(1, len(counts) + 1)][:MOST_SHOWN],
        "x_unit": "",
        "y": [float(count) for count in counts][:MOST_SHOWN],
        "unit": "clients",
        "workers": len(counts),
        "least": float(counts[-1]),
    }
    if len(counts) > MOST_SHOWN:
        sample.notes.append(f"the picture has {MOST_SHOWN} of {len(counts)} workers")
    return sample


def _measure_timeline(bench: "Bench", parameters: Parameters) -> Sample:
    try:
        work, requests = str(parameters["work"]), int(parameters["requests"])
        visits = _visits(bench, parameters, work, visits=1, requests=requests)
    except VisitError as error:
        return Sample(error=bench.explained(str(error)))
    sample = Sample({"makespan": _span(visits), "max": max(v.received - v.sent for v in visits)})
    sample.figures["workers"] = float(len({(v.pid, v.thread) for v in visits}))
    sample.series["lanes"] = _lanes(visits)
    return sample


def _timeline_takes(parameters: Parameters) -> float:
    # Of one loop it is the whole work, of a thread for each client what one of them orders.
    work = int(parameters["clients"]) * int(parameters["requests"])
    return 0.1 + 0.5 * work * float(parameters["milliseconds"]) / 1000


def _visits(
    bench: "Bench", parameters: Parameters, work: str, *, visits: int, requests: int
) -> list[Visit]:
    """What every client of a cell was told.

    :raises OptionError: there is nobody, or nothing is asked.
    :raises VisitError: as `visit` does.
    """
    clients, milliseconds = int(parameters["clients"]), float(parameters["milliseconds"])
    if 0 in (clients, visits, requests):
        raise OptionError("at least one client with one request is needed")
    alone = clients * visits * requests * milliseconds / 1000
    return visit(
        bench.endpoint,
        f"tell {work} {milliseconds}\n".encode(),
        clients=clients,
        visits=visits,
        requests=requests,
        timeout=bench.timeout + BUSY * alone,
        seconds=VISITS_TIME + CONNECTION_TIME * clients * visits + BUSY * alone,
    )


def _span(visits: list[Visit]) -> float:
    return max(v.received for v in visits) - min(v.sent for v in visits)


def _lanes(visits: list[Visit]) -> list[dict[str, Any]]:
    """One lane a worker, in the order in which they began, in seconds since the first request."""
    first = min(v.sent for v in visits)
    names = worker_names([(v.pid, v.thread) for v in visits])
    lanes: dict[str, list[dict[str, Any]]] = {name: [] for name in names.values()}
    for v in visits:
        span = {"begin": round(v.begin - first, 6), "end": round(v.end - first, 6)}
        lanes[names[v.pid, v.thread]].append({"client": v.client + 1, **span})
    return [{"worker": worker, "spans": spans} for worker, spans in lanes.items()]


FAIRNESS = Experiment(
    name="fairness",
    title="How the clients spread over the workers",
    question="Who gets the work when many clients come for a moment each?",
    shows="whether the workers of a pool get equal shares (Jain's index is 1), or the kernel or"
    " the queue favours some; a new thread or process a client is fair by itself",
    parameter="clients",
    unit="clients at a time",
    values=(1, 8, 32),
    quick_values=(8,),
    fixed={"connections": 1000, "milliseconds": 0.2},
    timing=Timing(0, 0, 5),
    quick_timing=Timing(0, 0, 3),
    transports=STREAM,
    measure=_measure_fairness,
    takes=lambda parameters: 0.001 * int(parameters["connections"]),
    works=True,
)

TIMELINE = Experiment(
    name="timeline",
    title="Who serves whom, and when",
    question="What does each design do when eight clients come at once, with three requests of"
    " 20 ms each?",
    shows="the model itself: one lane a worker, and what happens in each at the same time",
    parameter="work",
    unit="",
    values=("wait", "cpu"),
    quick_values=("wait",),
    fixed={"clients": 8, "requests": 3, "milliseconds": 20.0},
    timing=Timing(0, 0, 5),
    quick_timing=Timing(0, 0, 3),
    transports=ANY,
    measure=_measure_timeline,
    takes=_timeline_takes,
    works=True,
)
