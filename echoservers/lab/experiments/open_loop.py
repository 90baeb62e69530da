"""Open loops: messages leave when they are due, whether the server keeps up or not."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .base import DATAGRAMS, Experiment, Parameters, Sample, Timing, add_percentiles

if TYPE_CHECKING:
    from ..bench import Bench
    from ..load import LoadResult

__all__ = ["DATAGRAM", "LATENCY"]


def _measure_latency(bench: "Bench", parameters: Parameters) -> Sample:
    clients = bench.clients_at_once(int(parameters["connections"]))
    peak, limit = bench.once("peak", lambda: bench.peak(clients))
    rate = peak * float(parameters["percent"]) / 100
    loaded = bench.load("open", connections=clients, rate=rate, arrivals="poisson", size=64)
    sample = bench.sample(loaded)
    sample.figures["offered"] = rate
    if bench.target.is_stream:  # a datagram's reply may overtake another's, or be lost
        _add_naive(sample, loaded.result)
    if limit == "generator":
        sample.limited_by = "generator"
        sample.notes.append(
            "the peak was the generator's, and the server's may be higher: the shares of it are"
            " not how busy the server was"
        )
    if clients < int(parameters["connections"]):
        sample.notes.append(f"over {clients} connections, as it serves no more at a time")
    return sample


def _add_naive(sample: Sample, result: "LoadResult") -> None:
    if "p99" in sample.withheld:
        sample.withheld["naive_p99"] = sample.withheld["p99"]
    elif "p99" in sample.figures:
        add_percentiles(sample, _naive(result), {"naive_p99": 0.99}, result.waits)


def _naive(result: "LoadResult") -> npt.NDArray[np.float64]:
    """The times that clients would tell who each wait for a reply before they send again.

    Such a client sends what is due meanwhile later, and times it from then: what a message
    waited behind the one before it is left out (coordinated omission: G. Tene, *How NOT to
    Measure Latency*, 2013).  Replies of a connection come in the order of its messages.
    """
    order = np.lexsort((result.starts, result.clients))
    due, clients = result.starts[order], result.clients[order]
    ends = due + result.latencies[order]
    free = np.concatenate([[-np.inf], ends[:-1]])[: len(ends)]
    free[1:][clients[1:] != clients[:-1]] = -np.inf
    return ends - np.maximum(due, free)


def _measure_datagrams(bench: "Bench", parameters: Parameters) -> Sample:
    loaded = bench.load(
        "datagram",
        connections=int(parameters["connections"]),
        rate=float(parameters["rate"]),
        size=int(parameters["size"]),
    )
    sample = bench.sample(loaded)
    result = loaded.result
    if result.sent:
        answered = min(1.0, result.received / result.sent)
        shares = {"answered_share": answered, "lost_share": 1 - answered}
        sample.figures = {**shares, **sample.figures, "offered": result.sent / result.seconds}
    return sample


LATENCY = Experiment(
    name="latency",
    title="Response time under a load that does not wait",
    question="How long does a client wait when the server is busy to 30, 50, 70 and 90 %?",
    shows="queueing: the tail grows long before the server is full, and most where one slow"
    " message holds up the others; and how little of it is told by clients that wait for a reply"
    " before they send and start their clock (coordinated omission)",
    parameter="percent",
    unit="% of the measured peak",
    values=(30, 50, 70, 90),
    quick_values=(50, 90),
    fixed={"connections": 16},
    timing=Timing(2.0, 0.3, 5),
    quick_timing=Timing(0.5, 0.1, 3),
    measure=_measure_latency,
    takes=lambda _parameters: 0.5,  # its share of the peak's, and the last replies
)

DATAGRAM = Experiment(
    name="datagram",
    title="Datagrams answered and lost",
    question="How many datagrams come back as more are sent than the server takes?",
    shows="UDP gives no promise: beyond what the server does, the kernel throws away what its"
    " buffer does not hold, and tells nobody",
    parameter="rate",
    unit="datagrams/s",
    values=(1000, 5000, 20000, 50000),
    quick_values=(1000, 20000),
    panel="size",
    panel_values=(64, 1400, 8000),
    fixed={"connections": 4},
    transports=DATAGRAMS,
    measure=_measure_datagrams,
)
