"""What one client does to the others: by being slow, or by asking for much."""

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .base import STREAM, Experiment, Parameters, Sample, Timing

if TYPE_CHECKING:
    from ..bench import Bench
    from ..load import LoadResult

__all__ = ["GIL", "SLOW_CLIENT"]

# --- slow-client ----------------------------------------------------------------------

_BESIDE: dict[str, dict[str, Any]] = {
    "none": {},
    "silent": {"silent": 1},
    "half a message": {"half": 1},
    "never reads": {"slow": 1},
}


def _measure_slow(bench: "Bench", parameters: Parameters) -> Sample:
    loaded = bench.load(
        connections=int(parameters["connections"]),
        may_be_silent=True,
        **_BESIDE[str(parameters["neighbour"])],
    )
    sample = bench.sample(loaded)
    sample.figures.setdefault("throughput", 0.0)
    return sample


SLOW_CLIENT = Experiment(
    name="slow-client",
    title="One client that holds up the others",
    question="What does one client that never sends, or never reads, do to everybody else?",
    shows="head-of-line blocking: where a worker waits for its client, everybody whom it should"
    " serve next waits with it",
    parameter="neighbour",
    unit="",
    values=tuple(_BESIDE),
    quick_values=("none", "silent"),
    fixed={"connections": 4},
    transports=STREAM,
    measure=_measure_slow,
)


# --- gil ------------------------------------------------------------------------------

ARRIVES = 1 / 3
"""Of the time the tiny requests are alone, and for the rest they are not."""

HEAVY = 100.0
"""Milliseconds of a CPU-bound request: twenty of the interpreter's switch intervals."""

BINS = 40  # of the picture

TIMED = ("p50", "p90", "p99", "p999")


def _measure_gil(bench: "Bench", parameters: Parameters) -> Sample:
    heavy = int(parameters["cpu_clients"])
    alone = bench.warmup + bench.duration * ARRIVES
    over = threading.Event()
    arrived: list[float] = []

    def arrive() -> None:
        if not over.wait(alone):
            order = f"work cpu {HEAVY:g} ".encode()
            arrived.extend(bench.load_beside(heavy, order, bench.duration * (1 - ARRIVES)))

    thread = threading.Thread(target=arrive, daemon=True)
    if heavy:
        thread.start()
    try:
        loaded = bench.load(connections=int(parameters["connections"]), may_be_silent=True)
    finally:
        over.set()
        if heavy:
            thread.join()
    sample = bench.sample(loaded)
    done = np.sort(loaded.result.starts + loaded.result.latencies)
    if heavy and arrived and loaded.result.begin:
        _split(sample, done, loaded.result.begin, arrived[0], bench.duration)
    elif heavy:
        _leave_out(sample, "throughput", *TIMED)
        sample.notes.append("no CPU-bound client was served beside the others")
    sample.series["requests_per_second"] = _per_second(loaded.result)
    return sample


def _split(
    sample: Sample,
    done: npt.NDArray[np.float64],
    began: float,
    arrival: float,
    duration: float,
) -> None:
    """Let the figures tell of the time since the arrival, and how much of that before is kept."""
    end = began + duration
    before, after = (
        float(((done >= start) & (done < stop)).sum()) / max(stop - start, 1e-9)
        for start, stop in ((began, arrival), (arrival, end))
    )
    _leave_out(sample, *TIMED)
    sample.figures["throughput"] = after
    if before:
        sample.figures["kept_share"] = after / before


def _leave_out(sample: Sample, *names: str) -> None:
    """That are of both times together, and so of neither."""
    cpu = [name for name in sample.figures if name.endswith("_per_message")]
    for name in (*cpu, *names):
        sample.figures.pop(name, None)
        sample.withheld.pop(name, None)


def _per_second(result: "LoadResult") -> dict[str, Any]:
    middles, rates = result.rates(max(result.seconds, 0.01) / BINS)
    return {
        "x": [round(float(middle), 4) for middle in middles],
        "x_unit": "s",
        "y": [round(float(rate), 3) for rate in rates],
        "unit": "1/s",
    }


GIL = Experiment(
    name="gil",
    title="Tiny requests beside one that computes",
    question="What is left of many tiny requests when a client arrives whose requests compute?",
    shows="threads of one interpreter share a lock, and who computes gets it for 5 ms at a time:"
    " the tiny requests fall to a few hundred a second or less, where processes keep most",
    parameter="cpu_clients",
    unit="CPU-bound clients",
    values=(0, 1, 2),
    quick_values=(0, 1),
    fixed={"connections": 1},
    timing=Timing(3.0, 0.3, 5),
    quick_timing=Timing(0.9, 0.1, 3),
    measure=_measure_gil,
    works=True,
)
