"""Made-up cells of each experiment, with the noise of a desktop machine; see `lab_sample`."""

import random
from typing import Any

from echoservers.lab.figures import FIGURES
from echoservers.lab.results import Cell, Figure
from echoservers.lab.stats import interval

# name, model, peak (messages/s), CPU a connection (s), memory (bytes), memory a connection
SERVERS = [
    ("tcp", "iterative", 21_000, 40e-6, 14e6, 0),
    ("threading-tcp", "threading", 19_000, 95e-6, 15e6, 38e3),
    ("thread-pool-tcp", "thread-pool", 20_000, 52e-6, 16e6, 30e3),
    ("prethreading-tcp", "prethreading", 20_300, 48e-6, 16e6, 30e3),
    ("forking-tcp", "forking", 22_000, 900e-6, 17e6, 700e3),
    ("prefork-tcp", "prefork", 23_000, 55e-6, 40e6, 0),
    ("select-tcp", "select", 26_000, 50e-6, 14e6, 2.1e3),
    ("poll-tcp", "poll", 27_000, 49e-6, 14e6, 2.1e3),
    ("epoll-tcp", "epoll", 34_000, 47e-6, 14e6, 2.1e3),
    ("asyncio-tcp", "asyncio", 24_000, 110e-6, 22e6, 4.4e3),
    ("uvloop-tcp", "uvloop", 46_000, 70e-6, 26e6, 3.1e3),
    ("prefork-epoll-tcp", "prefork-epoll", 36_000, 48e-6, 42e6, 2.1e3),
    ("node", None, 52_000, 60e-6, 48e6, 5.2e3),
    ("C epoll", None, 91_000, 12e-6, 1.4e6, 0.3e3),
    ("socat", None, 30_000, 620e-6, 4e6, 900e3),
]
CEILING = 88_000  # messages/s, of the generator
ONE_AT_A_TIME = {"tcp"}
THREADED = {"threading-tcp", "thread-pool-tcp", "prethreading-tcp"}
WORKERS = {"thread-pool-tcp": 8, "prethreading-tcp": 8, "prefork-tcp": 4, "prefork-epoll-tcp": 4}


class Sample:
    """Makes the cells of experiments, with the noise of a desktop machine."""

    def __init__(self, seed: int = 1, repeats: int = 5, noise: float = 0.03, servers: int = 15):
        self.random = random.Random(seed)
        self.repeats, self.noise = repeats, noise
        self.servers = SERVERS[:servers]

    def figure(self, name: str, value: float) -> Figure:
        kind = FIGURES[name]
        if kind.unit in ("threads", "processes", "descriptors", "workers", "clients"):
            runs = [float(round(value)) for _ in range(self.repeats)]
        else:
            runs = [value * self.random.gauss(1, self.noise) for _ in range(self.repeats)]
        return Figure(*interval(runs), kind.unit, list(runs), kind.better)

    def cell(self, target: str, parameters: dict[str, Any], **figures: float) -> Cell:
        made = {name: self.figure(name, value) for name, value in figures.items()}
        return Cell(target, parameters, "server", figures=made)

    def messages(self, target: str, parameters: dict[str, Any], rate: float, p50: float) -> Cell:
        """A cell of the usual figures; the generator's ceiling and few samples included."""
        limited = rate > CEILING
        rate = min(rate, CEILING)
        cpu = 1 / rate
        cell = self.cell(
            target, parameters, throughput=rate, p50=p50, p90=p50 * 1.6, p99=p50 * 3, max=p50 * 40,
            server_cpu_per_message=cpu, machine_cpu_per_message=cpu * 1.9,
            context_switches_per_message=0.4,
        )  # fmt: skip
        if rate > 15_000:
            cell.figures["p999"] = self.figure("p999", p50 * 9)
        else:
            cell.notes.append("p999 is left out: 10,000 samples a run carry it, there were 4,210")
        cell.limited_by = "generator" if limited else "server"
        return cell


def scaling_cells(s: Sample) -> list[Cell]:
    cells = []
    for name, _model, peak, *_ in s.servers:
        for connections in (1, 4, 16, 64, 256):
            at = {"connections": connections, "size": 64}
            rate = peak * connections / (connections + 1.2)
            if name in THREADED or name == "socat":
                rate *= 1 / (1 + (connections / 300))
            if name == "select-tcp":
                rate *= 1 / (1 + (connections / 200))
            if name in ONE_AT_A_TIME and connections > 1:
                cells.append(Cell(name, at, "time", notes=["p99 is left out: 12 samples a run"]))
                cells[-1].figures["throughput"] = s.figure("throughput", peak / 2.2)
                continue
            if name == "socat" and connections == 256:
                cells.append(_failure(name, at))
                continue
            cells.append(s.messages(name, at, rate, connections / rate))
    return cells


def _failure(name: str, at: dict[str, Any]) -> Cell:
    return Cell(
        name,
        at,
        error="the target ended in mid-run, with exit code 1; the last lines of its output:"
        " socat[4711] E fork(): Resource temporarily unavailable",
    )


def latency_cells(s: Sample) -> list[Cell]:
    cells = []
    for name, _model, peak, *_ in s.servers:
        for percent in (30, 50, 70, 90):
            load = percent / 100
            at = {"percent": percent, "connections": 16}
            cell = s.messages(name, at, peak * load, 2.5 / peak / (1 - load))
            cell.figures["p99"] = s.figure("p99", 9 / peak / (1 - load) ** 2)
            cell.figures["naive_p99"] = s.figure("naive_p99", 5 / peak / (1 - load))
            if "p999" in cell.figures:
                cell.figures["p999"] = s.figure("p999", 40 / peak / (1 - load) ** 2)
            cells.append(cell)
    return cells


def churn_cells(s: Sample) -> list[Cell]:
    cells = []
    for name, _model, _peak, cpu, *_ in s.servers:
        cell = s.cell(
            name, {"clients": 5, "size": 4000}, server_cpu_per_connection=cpu + 40e-6,
            connections_per_second=1 / (cpu + 60e-6), p99=3 * cpu,
        )  # fmt: skip
        if name != "tcp":
            cell.figures["process_control_cpu"] = s.figure("process_control_cpu", cpu)
        cells.append(cell)
    return cells


def fairness_cells(s: Sample) -> list[Cell]:
    cells = []
    for name, model, *_ in s.servers:
        for clients in (1, 8, 32):
            at = {"clients": clients, "connections": 1000, "milliseconds": 0.2}
            if model is None:
                continue
            workers = WORKERS.get(name, 1)
            served = sorted((s.random.randint(10, 200) for _ in range(workers)), reverse=True)
            jain = sum(served) ** 2 / (workers * sum(n * n for n in served))
            cell = s.cell(name, at, jain_index=jain, workers=workers)
            if workers == 1:
                cell.figures["jain_index"] = Figure(1, 1, 1, "", [1.0] * s.repeats, "more")
            labels = [f"worker {n + 1}" for n in range(workers)]
            cell.series["served_by_worker"] = {"x": labels, "y": served, "unit": "clients"}
            cells.append(cell)
    return cells


def gil_cells(s: Sample) -> list[Cell]:
    cells = []
    for name, model, peak, *_ in s.servers:
        for clients in (0, 1, 2):
            if model is None:
                continue
            few = 0.01 if name in THREADED else 0.55 if "fork" in name else 0.03
            kept = few / clients if clients else 1
            at = {"cpu_clients": clients, "connections": 1}
            cell = s.cell(name, at, throughput=peak / 4 * kept, p99=0.01 / kept)
            if clients:
                cell.figures["kept_share"] = s.figure("kept_share", kept)
            times = [(i + 0.5) * 3 / 40 for i in range(40)]
            rates = [peak / 4 * s.random.gauss(1, 0.03) * (kept if t > 1 else 1) for t in times]
            cell.series["requests_per_second"] = {
                "x": times,
                "x_unit": "s",
                "y": rates,
                "unit": "1/s",
            }
            cells.append(cell)
    return cells


def slow_cells(s: Sample) -> list[Cell]:
    cells = []
    for name, _model, peak, *_ in s.servers:
        for client in ("none", "silent", "half a message", "never reads"):
            at = {"neighbour": client, "connections": 4}
            if name in ONE_AT_A_TIME and client != "none":
                cells.append(
                    Cell(name, at, "time", notes=["p99 is left out: there were 0 replies"])
                )
                cells[-1].figures["throughput"] = s.figure("throughput", 0)
                continue
            factor = 4 if name == "prefork-tcp" and client != "none" else 1
            cells.append(s.messages(name, at, peak / 2 / factor, 8 / peak * factor))
    return cells


def idle_cells(s: Sample) -> list[Cell]:
    cells = []
    for name, _model, _peak, _cpu, memory, each in s.servers:
        for idle in (0, 100, 1000, 10_000):
            at = {"connections": idle}
            if name in ("forking-tcp", "socat") and idle == 10_000:
                cells.append(Cell(name, at, "memory", notes=["3,020 of 10,000 connections stood"]))
                cells[-1].figures["memory_pss"] = s.figure("memory_pss", memory + 3020 * each)
                continue
            by_thread = name == "threading-tcp"
            by_process = name in ("forking-tcp", "socat")
            cell = s.cell(
                name, at, memory_pss=memory + idle * each,
                threads=1 + (idle if by_thread or by_process else WORKERS.get(name, 0)),
                processes=1 + (idle if by_process else WORKERS.get(name, 0) * ("fork" in name)),
                descriptors=6 + idle * (2 if by_process else 1),
            )  # fmt: skip
            if idle and each:
                cell.figures["memory_per_connection"] = s.figure("memory_per_connection", each)
            cells.append(cell)
    return cells


def size_cells(s: Sample) -> list[Cell]:
    cells = []
    for name, _model, peak, *_ in s.servers:
        for size in (1, 64, 1024, 16_384, 131_072, 1_048_576):
            rate = 1 / (1 / peak + size / 2.4e9)
            cell = s.messages(name, {"size": size, "connections": 16}, rate, 16 / rate)
            cell.figures["megabytes_per_second"] = s.figure("megabytes_per_second", 2 * rate * size)
            cells.append(cell)
    return cells


def work_cells(s: Sample) -> list[Cell]:
    cells = []
    for kind in ("wait", "cpu"):
        for name, model, *_ in s.servers:
            if model is None:
                continue
            for connections in (1, 4, 16, 64):
                at = {"clients": connections, "work": kind, "milliseconds": 5.0}
                many = name in THREADED or "fork" in name
                at_once = connections if many and kind == "wait" else 1
                at_once = min(at_once, WORKERS.get(name, 1000))
                cells.append(s.messages(name, at, 190 * at_once, 0.005 * connections / at_once))
    return cells


def timeline_cells(s: Sample) -> list[Cell]:
    cells = []
    for work in ("wait", "cpu"):
        for name, model, *_ in s.servers:
            if model is None:
                continue
            lanes = _lanes(s, name)
            end = max(span["end"] for lane in lanes for span in lane["spans"])
            at = {"work": work, "clients": 8, "requests": 3, "milliseconds": 20.0}
            cell = s.cell(name, at, makespan=end, workers=len(lanes), p50=end / 2, max=end)
            cell.series["lanes"] = lanes
            cells.append(cell)
    return cells


def _lanes(s: Sample, name: str) -> list[dict[str, Any]]:
    workers = 8 if name in ("threading-tcp", "forking-tcp") else WORKERS.get(name, 1)
    kind = "process" if "fork" in name else "thread"
    by_client = name not in ("select-tcp", "poll-tcp", "epoll-tcp", "asyncio-tcp", "uvloop-tcp")
    order = [c for c in range(8) for _ in range(3)] if by_client else list(range(8)) * 3
    lanes: list[dict[str, Any]] = [
        {"worker": f"{kind} {n + 1}", "spans": []} for n in range(workers)
    ]
    free = [0.001 * n for n in range(workers)]
    for client in order:
        lane = client % workers
        begin = free[lane] + s.random.uniform(0.0001, 0.002)
        free[lane] = begin + 0.02 * s.random.uniform(1, 1.1)
        lanes[lane]["spans"].append({"client": client + 1, "begin": begin, "end": free[lane]})
    return lanes


def datagram_cells(s: Sample) -> list[Cell]:
    cells = []
    for size in (64, 1400):
        for name, _model, peak, *_ in s.servers[:12]:
            for rate in (5000, 20_000, 40_000, 80_000):
                answered = min(0.9999, peak / rate * (0.95 if size == 1400 else 1))
                at = {"rate": rate, "size": size}
                cell = s.cell(name.replace("tcp", "udp"), at, p50=9e-5, p99=4e-4)
                runs = [min(1.0, answered * s.random.gauss(1, 0.003)) for _ in range(s.repeats)]
                lost = [1 - share for share in runs]
                cell.figures["answered_share"] = Figure(*interval(runs), "", [*runs], "more")
                cell.figures["lost_share"] = Figure(*interval(lost), "", [*lost], "less")
                cell.limited_by = None
                cells.append(cell)
    return cells


def backlog_cells(s: Sample) -> list[Cell]:
    cells = []
    for backlog in ("as it is", "5"):
        for name, *_ in s.servers:
            for burst in (10, 100, 1000):
                over = burst > (15 if backlog == "5" else 400)
                took = 1.04 if over else 4e-4
                refused = burst * 0.2 if over and backlog == "5" else 0
                at = {"burst": burst, "backlog": backlog}
                carried = {"connect_p50": 3e-4} if burst >= 20 else {}
                carried |= {"connect_p99": took} if burst >= 1000 else {}
                cell = s.cell(name, at, connect_max=took * 1.5, **carried)
                cell.figures["refused"] = Figure(
                    refused,
                    refused * 0.9,
                    refused * 1.1,
                    "connections",
                    [refused] * s.repeats,
                    "less",
                )
                cells.append(cell)
    return cells
