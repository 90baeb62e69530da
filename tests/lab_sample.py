"""Results as `compare` might save them: made up, but of the size and the shape of real ones.

Twelve modes, node, C and socat in all twelve experiments; with failures, a generator that
was too slow, percentiles that the samples do not carry, and more where asked for.
"""

from collections.abc import Callable, Sequence
from typing import Any

from echoservers.lab.figures import kind_of
from echoservers.lab.limits import rankable
from echoservers.lab.results import Cell, Experiment, Ratio, Results, Subject
from echoservers.lab.stats import paired_ratio, verdict
from lab_cells import (
    CEILING,
    Sample,
    backlog_cells,
    churn_cells,
    datagram_cells,
    fairness_cells,
    gil_cells,
    idle_cells,
    latency_cells,
    scaling_cells,
    size_cells,
    slow_cells,
    timeline_cells,
    work_cells,
)

SHAPES: dict[str, tuple[str, str, str, list[Any], str | None, Callable[[Sample], list[Cell]]]] = {
    "scaling": (
        "connections", "connections", "How does each server take more connections at once?",
        [1, 4, 16, 64, 256], None, scaling_cells,
    ),
    "latency": (
        "percent", "% of the measured peak",
        "How long is the wait at a rate that waits for nobody?",
        [30, 50, 70, 90], None, latency_cells,
    ),
    "churn": (
        "clients", "clients at a time", "What does a new client cost?", [5], None, churn_cells,
    ),
    "fairness": (
        "clients", "clients at a time", "Which worker gets the work?",
        [1, 8, 32], None, fairness_cells,
    ),
    "gil": (
        "cpu_clients", "CPU-bound clients", "What does a client that computes do to the others?",
        [0, 1, 2], None, gil_cells,
    ),
    "slow-client": (
        "neighbour", "", "What does one slow client do to the others?",
        ["none", "silent", "half a message", "never reads"], None, slow_cells,
    ),
    "idle": (
        "connections", "idle connections", "What does a connection cost that says nothing?",
        [0, 100, 1000, 10_000], None, idle_cells,
    ),
    "size": (
        "size", "bytes", "When does copying cost more than calling?",
        [1, 64, 1024, 16_384, 131_072, 1_048_576], None, size_cells,
    ),
    "work": (
        "clients", "clients", "What helps when a reply takes 5 ms?",
        [1, 4, 16, 64], "work", work_cells,
    ),
    "timeline": (
        "work", "", "Who served whom, and when?", ["wait", "cpu"], None, timeline_cells,
    ),
    "datagram": (
        "rate", "datagrams/s", "How many datagrams are answered?",
        [5000, 20_000, 40_000, 80_000], "size", datagram_cells,
    ),
    "backlog": (
        "burst", "connects", "What becomes of clients that come all at once?",
        [10, 100, 1000], "backlog", backlog_cells,
    ),
}  # fmt: skip


def experiment(sample: Sample, name: str) -> Experiment:
    parameter, unit, question, values, panel, cells = SHAPES[name]
    made = Experiment(
        name, name.capitalize(), question, f"where the differences of {name} are",
        parameter, unit, values, sample.repeats, 2.0, 0.5, panel, cells(sample),
    )  # fmt: skip
    made.ratios = list(_ratios(made))
    return made


def _ratios(made: Experiment) -> list[Ratio]:
    found = []
    base = {repr(c.parameters): c for c in made.cells if c.target == "tcp"}
    for cell in made.cells:
        other = base.get(repr(cell.parameters))
        if cell.target == "tcp" or other is None or not (rankable(cell) and rankable(other)):
            continue
        for name in cell.figures:
            if kind_of(name).compared and name in other.figures:
                ours, theirs = cell.figures[name], other.figures[name]
                if not (ours.median and theirs.median):
                    continue
                ratio = paired_ratio(ours.runs, theirs.runs)  # type: ignore[arg-type]
                says = verdict(ratio, ours.better)
                found.append(Ratio(cell.target, cell.parameters, name, "tcp", *ratio, says))
    return found


def environment(noisy: bool = False, pinned: bool = True, cpus: int = 2) -> dict[str, Any]:
    return {
        "cpu": "AMD EPYC 7763 64-Core Processor", "cpus": cpus, "usable_cpus": cpus,
        "memory_bytes": 8_323_072_000, "kernel": "Linux 6.1.0-18-amd64", "system": "Debian 12",
        "python": "3.11.7 (CPython)", "echoservers": "0.1.0",
        "limits": {"nofile": [20_000, 1_048_576], "nproc": [31_000, 31_000], "somaxconn": 4096,
                   "tcp_wmem": [4096, 16_384, 4_194_304], "tcp_rmem": [4096, 131_072, 6_291_456]},
        "load_before": [2.81, 1.2, 0.7] if noisy else [0.05, 0.11, 0.2],
        "noise": {"median": 1.0, "spread": 0.31 if noisy else 0.02, "noisy": noisy},
        "pinning": {"server": [0], "generator": [1]} if pinned else None,
        "warnings": ["the load before the start was 2.81"] if noisy else [],
    }  # fmt: skip


def subjects(sample: Sample, names: Sequence[str]) -> list[Subject]:
    made = []
    for name, model, *_ in sample.servers:
        command = None if model else [name.split()[-1], "server", "{port}"]
        mode = name if model else None
        made.append(Subject(name, "tcp", model, mode, command))
        if "datagram" in names and model:
            udp = name.replace("tcp", "udp")
            made.append(Subject(udp, "udp", model, udp, None))
    return made


def sample_results(
    names: Sequence[str] = tuple(SHAPES),
    *,
    seed: int = 1,
    repeats: int = 5,
    noise: float = 0.03,
    servers: int = 15,
    noisy: bool = False,
    finished: bool = True,
) -> Results:
    """Made-up results of the experiments *names*."""
    s = Sample(seed, repeats, noise, servers)
    experiments = [experiment(s, name) for name in names]
    return Results(
        created="2026-11-22T13:00:00+00:00",
        command=["compare", *(name for name, *_ in s.servers), "--seed", str(seed)],
        seed=seed,
        environment=environment(noisy),
        targets=subjects(s, names),
        baseline="tcp",
        calibration=[
            {
                "shape": "closed",
                "transport": "tcp",
                "connections": 16,
                "size": 64,
                "ceiling": CEILING,
            }
        ],
        experiments=experiments,
        finished=finished,
    )
