"""Where it was measured: what the figures depend on besides the servers.

Everything is read where it stands; what a system does not tell is left out.  The noise
probe repeats one fixed piece of work: on a quiet machine it takes as long each time.
"""

import contextlib
import os
import platform
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._version import __version__
from ..system import usable_cpus

__all__ = ["Pinning", "describe", "kept_on", "noise", "plan_pinning"]

PROBES = 40
PROBE_LOOPS = 40_000
"""About 1 ms: shorter than a slice of the scheduler, so a neighbour shows in some probes."""

NOISY = 0.10
"""Spread from which on a machine is said to be noisy: what a tenth of the time goes to
somebody else cannot show a difference of a tenth."""

BUSY_BEFORE = 0.3
"""Load average a processor, before the start, from which on something else was running."""


class Pinning(NamedTuple):
    """Which processors the servers and the generator run on; the two are disjoint."""

    server: frozenset[int]
    generator: frozenset[int]


def plan_pinning(usable: frozenset[int]) -> Pinning | None:
    """Processors for both sides; None where there is one only, that they have to share.

    The generator is one process, or two of which one is nearly idle, so one is enough for it.
    """
    if len(usable) < 2:
        return None
    # The last: interrupts mostly go to the first, whose work is done for the server.
    generator = frozenset([max(usable)])
    return Pinning(usable - generator, generator)


@contextlib.contextmanager
def kept_on(cpus: frozenset[int] | None) -> Iterator[None]:
    """Keep this process, with all its threads, on *cpus* (None: on any) for a while.

    To look at hundreds of processes takes milliseconds: on the server's processor they would
    be missing there, and look like a slow server.
    """
    if cpus is None:
        yield
        return
    before = usable_cpus()
    _move(cpus)
    try:
        yield
    finally:
        _move(before)


def _move(cpus: frozenset[int]) -> None:
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread), cpus)


def describe(pinning: Pinning | None) -> dict[str, Any]:
    """The machine, its limits and its state, for `Results.environment`."""
    found: dict[str, Any] = {
        "cpu": _cpu(),
        "cpus": os.cpu_count() or 1,
        "usable_cpus": len(usable_cpus()),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": f"{platform.system()} {platform.release()}",
        "system": _system(),
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "echoservers": __version__,
        "limits": dict(_limits()),
        "load_before": list(os.getloadavg()),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "noise": noise(),
        "pinning": pinning and {side: sorted(cpus) for side, cpus in pinning._asdict().items()},
    }
    found["warnings"] = list(_warnings(found))
    return found


def noise() -> dict[str, Any]:
    """How differently long the same work takes: median in seconds, spread as a share of it."""
    times = np.empty(PROBES)
    for probe in range(PROBES):
        began = time.perf_counter()
        for _ in range(PROBE_LOOPS):
            pass
        times[probe] = time.perf_counter() - began
    low, median, high = (float(np.quantile(times, share)) for share in (0.1, 0.5, 0.9))
    spread = (high - low) / median
    return {"median": median, "spread": round(spread, 4), "noisy": spread > NOISY}


def _warnings(found: dict[str, Any]) -> Iterator[str]:
    if found["noise"]["noisy"]:
        yield (
            f"the machine is noisy: the same work varied by {found['noise']['spread']:.0%};"
            " small differences will not show"
        )
    load = found["load_before"][0]
    if load > BUSY_BEFORE * found["usable_cpus"]:
        yield f"something else was running before the start: the load average was {load:.2f}"
    if found["pinning"] is None:
        yield (
            "servers and generator share one processor: every figure has both in it, and"
            " nothing can run in parallel"
        )
    elif len(found["pinning"]["server"]) == 1:
        yield (
            "the server has one processor, the generator the other: threads and processes"
            " cannot be faster here by running in parallel"
        )
    if found["governor"] not in (None, "performance"):
        yield f"the processor's governor is {found['governor']}: its clock varies with the load"


def _cpu() -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()


def _limits() -> Iterator[tuple[str, Any]]:
    for name, which in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        yield name, [None if n == resource.RLIM_INFINITY else n for n in resource.getrlimit(which)]
    for name, path in (
        ("somaxconn", "core/somaxconn"),
        ("tcp_wmem", "ipv4/tcp_wmem"),
        ("tcp_rmem", "ipv4/tcp_rmem"),
    ):
        text = _read(f"/proc/sys/net/{path}")
        if text is not None:
            numbers = [int(word) for word in text.split()]
            yield name, numbers if len(numbers) > 1 else numbers[0]


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
