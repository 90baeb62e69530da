"""The figures: what each is called, its unit, and whether more or less of it is better."""

from typing import NamedTuple

__all__ = ["FIGURES", "Kind", "kind_of"]


class Kind(NamedTuple):
    """What a figure is."""

    title: str
    unit: str
    """SI base units: ``s``, ``bytes``, ``messages/s``, ...; empty for a share."""
    better: str | None = None
    """``more``, ``less``, or None where neither is."""
    compared: bool = False
    """Whether a ratio to the baseline is worked out."""


FIGURES = {
    "throughput": Kind("throughput", "messages/s", "more", compared=True),
    "offered": Kind("offered load", "messages/s"),
    "p50": Kind("median response time", "s", "less", compared=True),
    "p90": Kind("90 % within", "s", "less"),
    "p99": Kind("99 % within", "s", "less", compared=True),
    "p999": Kind("99.9 % within", "s", "less"),
    "naive_p99": Kind("99 % within, as clients that wait would tell it", "s"),
    "max": Kind("longest response time", "s", "less"),
    "server_cpu_per_message": Kind("server CPU a message", "s", "less", compared=True),
    "machine_cpu_per_message": Kind("CPU of the whole machine a message", "s", "less"),
    "generator_cpu_per_message": Kind("generator CPU a message", "s"),
    "memory_pss": Kind("memory (PSS)", "bytes", compared=True),
    "memory_per_connection": Kind("memory a connection", "bytes"),
    "threads": Kind("threads", "threads"),
    "processes": Kind("processes", "processes"),
    "descriptors": Kind("descriptors", "descriptors"),
    "context_switches_per_message": Kind("context switches a message", "switches"),
    "connections_per_second": Kind("connections a second", "connections/s", "more", compared=True),
    "server_cpu_per_connection": Kind("server CPU a connection", "s", "less", compared=True),
    "process_control_cpu": Kind("CPU for process control a connection", "s", "less"),
    "jain_index": Kind("Jain's index of fairness", "", "more"),
    "workers": Kind("workers that served", "workers"),
    "clients_served": Kind("clients that were served", "clients", "more"),
    "answered_share": Kind("share that was answered", "", "more"),
    "lost_share": Kind("share that was lost", "", "less"),
    "kept_share": Kind("share of the throughput that is kept", "", "more"),
    "refused": Kind("connections refused", "connections", "less"),
    "connect_p50": Kind("median time to connect", "s", "less", compared=True),
    "connect_p99": Kind("99 % are connected within", "s", "less"),
    "connect_max": Kind("longest time to connect", "s", "less"),
    "megabytes_per_second": Kind("payload both ways", "bytes/s", "more", compared=True),
    "makespan": Kind("until all were served", "s", "less", compared=True),
}
"""By the name that the results have."""


def kind_of(figure: str) -> Kind:
    """What the figure of this name is."""
    return FIGURES[figure]
