"""Closed loops: every client sends when it has its reply; what is swept is how many, how
large, and how much work.
"""

from typing import TYPE_CHECKING

from .base import Experiment, Parameters, Sample, Timing

if TYPE_CHECKING:
    from ...targets import Target
    from ..bench import Bench

__all__ = ["SCALING", "SIZE", "WORK"]

LARGEST_DATAGRAM = 8192  # bytes; what our UDP servers take, and any path carries


def _measure(bench: "Bench", parameters: Parameters) -> Sample:
    return bench.sample(
        bench.load(connections=int(parameters["connections"]), size=int(parameters["size"]))
    )


def _measure_size(bench: "Bench", parameters: Parameters) -> Sample:
    sample = _measure(bench, parameters)
    if "throughput" in sample.figures:
        both_ways = 2 * int(parameters["size"])
        sample.figures["megabytes_per_second"] = sample.figures["throughput"] * both_ways
    return sample


def _measure_work(bench: "Bench", parameters: Parameters) -> Sample:
    order = f"work {parameters['work']} {parameters['milliseconds']} ".encode()
    return bench.sample(bench.load(connections=int(parameters["clients"]), size=64, message=order))


def _fits(target: "Target", parameters: Parameters) -> bool:
    return target.is_stream or int(parameters["size"]) <= LARGEST_DATAGRAM


SCALING = Experiment(
    name="scaling",
    title="Throughput against the number of clients",
    question="How does each design do as more clients talk at the same time?",
    shows="the knee: up to where more clients bring more throughput, and how the slowest"
    " one in a hundred fares beyond it",
    parameter="connections",
    unit="connections",
    values=(1, 4, 16, 64, 256),
    quick_values=(1, 4, 16),
    quick_timing=Timing(0.15, 0.05, 3),
    fixed={"size": 64},
    measure=_measure,
    plain=True,
)

SIZE = Experiment(
    name="size",
    title="Throughput against the size of the messages",
    question="What does a message cost, and what does a byte?",
    shows="messages a second that hardly depend on the size while the system calls are what"
    " costs, and bytes a second that no longer grow once copying is",
    parameter="size",
    unit="bytes",
    values=(1, 64, 1024, 8192, 65536, 262144, 1048576),
    quick_values=(64, 8192, 262144),
    fixed={"connections": 4},
    measure=_measure_size,
    plain=True,
    fits=_fits,
)

WORK = Experiment(
    name="work",
    title="Handlers that wait, and handlers that compute",
    question="What is gained by serving clients at the same time when a handler blocks, and"
    " when it computes?",
    shows="threads overlap what waits but not what computes, processes overlap both as far as"
    " there are processors, and one loop overlaps neither, for a handler that blocks it",
    parameter="clients",
    unit="clients",
    values=(1, 2, 4, 8, 16, 32),
    quick_values=(1, 8),
    panel="work",
    panel_values=("wait", "cpu"),
    fixed={"milliseconds": 5.0},
    measure=_measure_work,
    plain=True,
    works=True,
)
