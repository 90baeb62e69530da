"""Load for an echo server, and what came of it.

::

    result = run_load(LoadPlan("tcp://127.0.0.1:8007", connections=50, duration=2.0))
    result.throughput, result.latencies, result.busy

A plan says what is to be done; a generator, a process of its own, does it and hands back a
result.  Four shapes: ``closed`` (each connection waits for its replies), ``open`` (messages
leave when they are due, whatever the server does, and their time runs from when they were
due), ``churn`` (a connection a request) and ``datagram`` (an offered rate, answered or lost).
Every byte that comes back is compared with what was sent.

`plan` and `result` are the words; `run` starts generators; `generator` is the program, `loop`
its event loop, `streams`, `churn`, `open_loop` and `datagrams` what its clients do, `crowd`
the clients beside them; `calibration` tells when it was the generator that set the pace.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .calibration import Ceiling, calibrate, generator_limit
    from .plan import LoadPlan
    from .result import LoadResult
    from .run import LoadError, run_load, run_loads

__all__ = [
    "Ceiling",
    "LoadError",
    "LoadPlan",
    "LoadResult",
    "calibrate",
    "generator_limit",
    "run_load",
    "run_loads",
]

_SOURCES = {
    "calibration": ("Ceiling", "calibrate", "generator_limit"),
    "plan": ("LoadPlan",),
    "result": ("LoadResult",),
    "run": ("LoadError", "run_load", "run_loads"),
}


def __getattr__(name: str) -> Any:
    """Import on first use: the generator, which is started for each load, needs a part only."""
    for module, names in _SOURCES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f".{module}", __name__), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
