"""What connections cost: to make them, to keep them, and when many come at once."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import crowd
from ..stats import beyond
from .base import STREAM, Experiment, Parameters, Sample, Timing, add_percentiles

if TYPE_CHECKING:
    from ...targets import Target
    from ..bench import Bench

__all__ = ["BACKLOG", "CHURN", "IDLE"]

SPARE_DESCRIPTORS = 100  # beyond the crowd's: what a server and its libraries have open

CROWD_TIME = 60.0
"""Seconds for a crowd to come; ten thousand threads take about five."""

AS_IT_IS = "as it is"

ROUND_TRIPS = 500  # of one more client: under a tenth of a second, and enough for a median

RETRANSMITTED = 4.0
"""Seconds for a burst: Linux sends a SYN that was dropped again after 1 s and then 2 s more
(RFC 6298; tcp(7), tcp_syn_retries), so that a third try is seen."""


# --- churn ----------------------------------------------------------------------------


def _measure_churn(bench: "Bench", parameters: Parameters) -> Sample:
    loaded = bench.load(
        "churn", connections=int(parameters["clients"]), size=int(parameters["size"])
    )
    sample = bench.sample(loaded)
    result = loaded.result
    if not result.received:
        return sample
    figures = {"connections_per_second": result.throughput}
    for of in ("server", "machine", "generator"):
        cpu = sample.figures.pop(f"{of}_cpu_per_message", None)
        if cpu is not None and of == "server":
            figures["server_cpu_per_connection"] = cpu
    sample.figures.pop("throughput", None)
    sample.figures = {**figures, **sample.figures}
    return sample


def _process_control(own: dict[str, float], reference: dict[str, float]) -> dict[str, float]:
    name = "server_cpu_per_connection"
    if name in own and name in reference:
        return {"process_control_cpu": own[name] - reference[name]}
    return {}


CHURN = Experiment(
    name="churn",
    title="A connection for each request",
    question="What does it cost to give every client a thread or a process of its own?",
    shows="the CPU time for process control, which is what a connection costs more than in the"
    " iterative server, and how little of it is left when the pool is made beforehand",
    parameter="clients",
    unit="clients at a time",
    values=(5,),  # and 4000 bytes, as in UNP vol. 1, ch. 30
    fixed={"size": 4000},
    timing=Timing(2.0, 0.3, 5),
    quick_timing=Timing(0.3, 0.1, 3),
    transports=STREAM,
    measure=_measure_churn,
    plain=True,
    reference="iterative",
    derive=_process_control,
)


# --- idle -----------------------------------------------------------------------------


def _measure_idle(bench: "Bench", parameters: Parameters) -> Sample:
    wanted = int(parameters["connections"])
    limit = crowd.descriptor_limit()
    if wanted + SPARE_DESCRIPTORS > limit:
        note = (
            f"{wanted} connections need more than the {limit} descriptors that `ulimit -n` allows"
        )
        return Sample(notes=[note], limited_by="descriptors")
    try:
        return _with_crowd(bench, wanted)
    except crowd.WrongReply as error:
        return Sample(error=bench.explained(str(error)))


def _with_crowd(bench: "Bench", wanted: int) -> Sample:
    idle = bench.once("crowd", lambda: bench.keep(crowd.Crowd(bench.endpoint)))
    in_time = idle.grow(wanted, bench.now() + CROWD_TIME)
    sample = Sample()
    look = bench.look()
    # Afterwards: who is there now was there then, and who was let go costs nothing.
    ended = idle.drop_ended()
    if look is not None:
        sample.figures = {
            "memory_pss": float(look.memory.pss),
            "threads": float(look.threads),
            "processes": float(look.processes),
            "descriptors": float(look.descriptors),
        }
        empty = bench.once("empty", lambda: look.memory.pss) if not wanted else bench.kept("empty")
        if len(idle) == wanted > 0 and empty is not None:
            sample.figures["memory_per_connection"] = (look.memory.pss - empty) / len(idle)
    if wanted:
        sample.figures["answered_share"] = len(idle) / wanted
    if len(idle) < wanted:
        sample.limited_by = "time"  # it was waited for the next one to be answered
        sample.notes.append(
            f"{len(idle) + ended} of {wanted} idle clients were taken"
            + ("" if in_time else f" within {CROWD_TIME:g} s")
            + (f"; {ended} of them were let go before all had come" if ended else "")
        )
    else:
        try:
            took = crowd.round_trips(bench.endpoint, ROUND_TRIPS)
        except OSError as error:
            sample.notes.append(f"one more client was not served: {error.strerror or error}")
        else:
            # The first tenth warms it up.
            sample.figures["p50"] = float(np.median(took[ROUND_TRIPS // 10 :]))
    return sample


def _idle_takes(parameters: Parameters) -> float:
    # A client takes 0.5 ms, of a server that forks 4 ms; one that is full is waited for twice.
    return 0.1 + 0.002 * int(parameters["connections"])


def _idle_options(_parameters: Parameters) -> dict[str, Any]:
    # The limit of connections is there for safety, and no part of a design; pools and numbers
    # of children are.  20,000 is more than the largest crowd, whatever values are asked for.
    return {"max_connections": 20_000}


IDLE = Experiment(
    name="idle",
    title="Clients that are connected and silent",
    question="What do thousands of clients cost that do nothing (the C10K problem)?",
    shows="memory that grows by a thread's or a process's worth a client in some designs and"
    " hardly in others, and which designs stop taking clients at all",
    parameter="connections",
    unit="idle connections",
    values=(0, 100, 1000, 10000),
    quick_values=(0, 120),  # more than the 100 threads of our pools
    timing=Timing(0, 0, 5),
    quick_timing=Timing(0, 0, 3),
    transports=STREAM,
    measure=_measure_idle,
    takes=_idle_takes,
    options=_idle_options,
    ordered=True,
)


# --- backlog --------------------------------------------------------------------------


def _measure_backlog(bench: "Bench", parameters: Parameters) -> Sample:
    size = int(parameters["burst"])
    limit = crowd.descriptor_limit()
    if size + SPARE_DESCRIPTORS > limit:
        return Sample(notes=[f"`ulimit -n` allows {limit}"], limited_by="descriptors")
    arrivals = crowd.burst(bench.endpoint, size, RETRANSMITTED)
    wrong = next((arrival.wrong for arrival in arrivals if arrival.wrong is not None), None)
    if wrong is not None:
        return Sample(error=bench.explained(str(wrong)))
    connected = np.array([a.connected for a in arrivals if a.connected is not None])
    answered = np.array(list(crowd.answered(arrivals)))
    refused = sum(arrival.refused for arrival in arrivals)
    sample = Sample()
    # Who was refused knows, and is counted; who still waits would be missing in every time.
    late = size - len(answered) - refused
    unconnected = sum(a.connected is None and not a.refused for a in arrivals)
    percentiles = {"connect_p50": 0.5, "connect_p99": 0.99}
    _add_times(sample, connected, unconnected, percentiles, "connect_max")
    _add_times(sample, answered, late, {"p50": 0.5}, "max")
    sample.figures["refused"] = float(refused)
    sample.figures["answered_share"] = len(answered) / size
    if late:
        sample.notes.append(f"{late} of {size} were not answered within {RETRANSMITTED:g} s")
    return sample


def _add_times(
    sample: Sample,
    times: npt.NDArray[np.float64],
    waiting: int,
    percentiles: dict[str, float],
    longest: str,
) -> None:
    """What is known of *times*, where *waiting* more are beyond the end of it all."""
    waits = np.full(waiting, RETRANSMITTED)
    add_percentiles(sample, times, percentiles, waits)
    if waiting:
        sample.withheld[longest] = beyond(longest, times, waits)
    elif len(times):
        sample.figures[longest] = float(times.max())


def _has_backlog(target: "Target", parameters: Parameters) -> bool:
    return target.mode is not None or parameters["backlog"] == AS_IT_IS  # it is ours to set


def _backlog_options(parameters: Parameters) -> dict[str, Any]:
    if parameters["backlog"] == AS_IT_IS:
        return {}
    return {"request_queue_size": int(parameters["backlog"])}


BACKLOG = Experiment(
    name="backlog",
    title="Many clients at once, against the listen backlog",
    question="What happens when more clients connect at once than the backlog holds?",
    shows="why the 5 of the standard library hurts: who finds the queue full waits a second for"
    " its system to try again, however quick the server is",
    parameter="burst",
    unit="clients at once",
    values=(1, 16, 64, 256, 1024),
    quick_values=(16, 256),
    panel="backlog",
    panel_values=(AS_IT_IS, "5"),
    timing=Timing(0, 0, 5),
    quick_timing=Timing(0, 0, 3),
    transports=STREAM - {"tls"},  # whose handshake would be timed, and not the queue
    measure=_measure_backlog,
    takes=lambda _parameters: 1.0,  # as long as the one who is tried again is waited for
    options=_backlog_options,
    fits=_has_backlog,
)
