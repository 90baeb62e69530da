"""Bench: one server that runs, with everything that an experiment measures it with.

Each round has a bench for each target, so a server process is never older than its round.
What is kept from cell to cell of a round (a crowd that grows, a peak that shares are taken
of) is kept here, and goes when the server has gone.
"""

import contextlib
import errno
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from ..errors import EchoServersError
from ..options import options_of, read_options
from ..registry import clients_at_once, parse_mode_spec, server_class
from ..targets import RunningTarget, Target
from ..targets.watch import CannotWatch, Snapshot, Watch
from .engines import PERCENTILES, Engine, OwnGenerator
from .environment import Pinning
from .experiments.base import Sample, Timing
from .handlers import WORK_HANDLER
from .limits import oom_kills, usable_by, what_limits
from .load import Ceiling, LoadError, LoadPlan, LoadResult, run_load
from .meter import Meter, Usage

__all__ = ["CAME_OR_WENT", "NOT_ALL", "Bench", "CellError", "Loaded", "has_lock", "prepared"]

T = TypeVar("T")

TIMEOUT = 5.0
"""Seconds without any answer until a server is said to hang."""

END_TIME = 0.2
"""Seconds for the end of a server that no longer answers to be known, if it is one."""

PEAK_SHARE = 0.5  # of a cell's time, to find out what the peak is

STALL_SHARE = 0.1
"""Of the window, by which its end may come late: CPU time of then is of no message counted."""

OWN_FAILURES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
"""What a call of ours fails by for want of something here: no server makes them."""

NOT_ALL = (
    "not all clients were served: no p50, p90, p99, p99.9 or max; those who wait have no response"
    " time yet"
)

CAME_OR_WENT = (
    "context_switches_per_message: threads or processes began or ended meanwhile; the switches of"
    " those that have ended are counted nowhere"
)


class CellError(EchoServersError):
    """A cell could not be measured; the message says why, with the target's last words.

    :param limit: ``memory``, where there was no more of it for the target.
    """

    def __init__(self, message: str, limit: str | None = None) -> None:
        super().__init__(message)
        self.limit = limit


class Closable(Protocol):
    """What can be kept until the server has gone."""

    def close(self) -> None:
        """Let it go."""


C = TypeVar("C", bound=Closable)


class Loaded(NamedTuple):
    """A load that has been put on the server, and what went on meanwhile."""

    plan: LoadPlan
    result: LoadResult
    usage: Usage | None
    standing: Snapshot | None
    """The processes, with their memory, while all connections still stood."""


def prepared(target: Target, options: dict[str, Any], works: bool) -> Target:
    """*target* with those *options* that it has and was not given, and with a handler that works.

    Servers that are not ours stay as they are.
    """
    if target.mode is None:
        return target
    mode, given = parse_mode_spec(target.mode)
    cls = server_class(mode.name)
    known = options_of(cls)
    if "workers" in known:  # as many as without pinning: it would see only its own processors
        options = {"workers": cls.workers, **options}  # type: ignore[attr-defined]
    added = {name: v for name, v in options.items() if name in known and name not in given}
    spec = target.mode
    if added:
        spelled = ",".join(f"{name}={value}" for name, value in added.items())
        spec += ("," if ":" in spec else ":") + spelled
        target = Target.of_mode(spec, target.name)
    if works:
        target = target._replace(command=(*target.command, "--handler", WORK_HANDLER))
    return target


def has_lock(target: Target) -> bool:
    """Whether a process of *target* is one of Python's, of which one thread runs at a time."""
    return target.mode is not None or Path((*target.command, "")[0]).name.startswith("python")


class Bench:
    """A server that runs; a context manager that ends it.

    :param target: as `prepared` makes it.
    :param server_cpus: how many processors it may use, to tell when it uses them up.
    :raises TargetError: it cannot be started.
    """

    def __init__(
        self,
        target: Target,
        timing: Timing,
        *,
        pinning: Pinning | None,
        server_cpus: int,
        seed: int,
        ceiling: Callable[[LoadPlan], Ceiling | None],
        engine: Engine | None = None,
    ) -> None:
        self.target = target
        self.duration, self.warmup = timing.duration, timing.warmup
        self.timeout = max(TIMEOUT, 2 * timing.duration)
        self._pinning = pinning
        self._server_cpus = server_cpus
        self._seed = seed
        self._ceiling = ceiling
        self._engine = engine or OwnGenerator()
        self._kept: dict[str, Any] = {}
        self._stack = contextlib.ExitStack()  # closed when the server has gone
        cpus = None if pinning is None else pinning.server
        self._oom_kills = oom_kills()
        self._watch: Watch | None = None
        with contextlib.ExitStack() as starting:
            self._running = starting.enter_context(RunningTarget(target, cpus=cpus))
            if self._running.supervisor_pid is not None:
                self._watch = Watch(self._running.supervisor_pid)
            starting.pop_all()  # it has started: `__exit__` ends it

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._running.close()  # first, so that no end of a connection is its work
        finally:
            self._stack.close()

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return self._running.endpoint

    @staticmethod
    def now() -> float:
        """The clock that all of the lab measures in."""
        return time.monotonic()

    # --- what is kept from cell to cell ---------------------------------------------

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What *make* has made when it was first asked for, in this round."""
        if name not in self._kept:
            self._kept[name] = make()
        made: T = self._kept[name]
        return made

    def kept(self, name: str) -> Any:
        """What `once` has made; None: nothing yet."""
        return self._kept.get(name)

    def keep(self, thing: C) -> C:
        """Close *thing* when the server has gone, so that no end of a connection is its work."""
        self._stack.callback(thing.close)
        return thing

    # --- load -----------------------------------------------------------------------

    def load(self, shape: str = "closed", *, may_be_silent: bool = False, **plan: Any) -> Loaded:
        """Put a load on the server.

        :param may_be_silent: whether it is no fault that nobody is answered.
        :param plan: of `LoadPlan`, what is not as usual.
        :raises CellError: it has ended, hangs, or answers something else.
        :raises LoadError: the generator could not do it; also an `OSError` of its start.
        """
        plan = {"duration": self.duration, "warmup": self.warmup, **plan}
        plan.setdefault("timeout", plan["duration"] + 2 if may_be_silent else self.timeout)
        chosen = LoadPlan(endpoint=self.endpoint, shape=shape, seed=self._seed, **plan)
        loaded = self._load(chosen)
        if not (loaded.result.received or loaded.result.ended or may_be_silent):
            # The window was short.  To be slow is no fault: it hangs if this is not enough.
            loaded = self._load(replace(chosen, duration=chosen.timeout))
        result = loaded.result
        if not may_be_silent and (result.ended is not None or not result.received):
            raise self.failed(result.ended or "nobody was answered")
        return loaded

    def _load(self, plan: LoadPlan) -> Loaded:
        meter = Meter(self._watch)
        result = self._engine.run(plan, self._generator_cpus(), meter.phase)
        if result.wrong is not None:
            raise self.failed(f"a reply differs: {result.wrong}")
        if self._running.has_ended:
            raise self.failed("it ended while it was measured")
        return Loaded(plan, result, meter.usage(), meter.standing)

    def load_beside(self, connections: int, order: bytes, duration: float) -> list[float]:
        """Let further clients send *order* again and again; when each request began.

        For a thread beside the one that measures.  Nobody may be answered.
        """
        plan = LoadPlan(
            endpoint=self.endpoint,
            connections=connections,
            message=order,
            duration=duration,
            warmup=0,
            timeout=duration + 2,
        )
        with contextlib.suppress(LoadError):
            return sorted(run_load(plan, self._generator_cpus()).starts.tolist())
        return []

    def peak(self, connections: int) -> tuple[float, str | None]:
        """Messages a second over *connections* that never pause, and what set that pace.

        :raises CellError: as `load` does.
        """
        duration = max(self.duration * PEAK_SHARE, 0.1)
        loaded = self.load(connections=connections, duration=duration)
        return loaded.result.throughput, self.sample(loaded).limited_by

    def clients_at_once(self, most: int) -> int:
        """How many clients can be served at a time, as far as it is known; *most* or fewer."""
        if self.target.mode is None:
            return most
        return min(most, clients_at_once(self.target.mode) or most)

    def look(self) -> Snapshot | None:
        """The processes now, with their memory; None: they cannot be looked at."""
        if self._watch is None:
            return None
        with contextlib.suppress(CannotWatch):
            return self._watch.look(threads=False, memory=True)
        return None

    # --- workers --------------------------------------------------------------------

    def workers(self) -> int | None:
        """How many workers the server has before anybody comes; 0: it makes them as they do.

        None: it is not ours, and nobody knows.
        """
        if self.target.mode is None:
            return None
        mode, given = parse_mode_spec(self.target.mode)
        cls = server_class(mode.name)
        options = read_options(cls, given, mode.name)
        name = "workers" if mode.name.startswith("prefork-") else "max_workers"
        number: int = options.get(name, getattr(cls, name, 0))
        return number

    def worker_of(self, pid: int, thread: int) -> tuple[int, int]:
        """Who is meant by a worker: of preforked ones the process, whatever it has inside."""
        if self.target.mode is not None and self.target.mode.startswith("prefork-"):
            return pid, 0
        return pid, thread

    # --- figures --------------------------------------------------------------------

    def sample(self, loaded: Loaded) -> Sample:
        """The figures that every load gives."""
        result, usage = loaded.result, loaded.usage
        sample = Sample()
        sample.figures["throughput"] = result.throughput
        if self._add_clients(sample, loaded):
            self._engine.add_times(sample, result)
        _add_costs(sample, loaded)
        if loaded.standing is not None:
            sample.figures["threads"] = float(loaded.standing.threads)
            sample.figures["processes"] = float(loaded.standing.processes)
            sample.figures["descriptors"] = float(loaded.standing.descriptors)
            sample.figures["memory_pss"] = float(loaded.standing.memory.pss)
        sample.notes += result.notes
        for reason, number in result.errors.items():
            sample.notes.append(f"{number} x {reason}")
        cpu = None if usage is None or usage.server_cpu is None else usage.server_cpu
        why = self._engine.limit(result, self._ceiling)
        sample.limited_by = what_limits(
            result,
            server_share=None if cpu is None or usage is None else cpu / usage.seconds,
            usable=self._usable(loaded.standing),
            generator=why,
        )
        return sample

    def _usable(self, standing: Snapshot | None) -> int:
        processes, threads = (standing.processes, standing.threads) if standing else (1, 1)
        return usable_by(self._server_cpus, processes, threads, has_lock(self.target))

    @staticmethod
    def _add_clients(sample: Sample, loaded: Loaded) -> bool:
        """How many of the clients were answered at all; whether that is all of them.

        Who waits until the end has no response time, and would be missing in every percentile.
        """
        plan, result = loaded.plan, loaded.result
        if plan.shape not in ("closed", "open"):
            return True
        served = int((result.by_client() > 0).sum())
        if plan.connections > 1:
            sample.figures["clients_served"] = float(served)
        if served < plan.connections:
            sample.withheld |= dict.fromkeys((*PERCENTILES, "max"), NOT_ALL)
        return served == plan.connections

    def failed(self, what: str) -> CellError:
        """That *what* went wrong, to be raised."""
        text = self.explained(what)  # which gives it the time to have ended
        return CellError(text, self.limited_by())

    def own_failure(self, error: LoadError | OSError) -> str:
        """That our own side failed by *error*.

        :raises CellError: it may have been the server.
        """
        what = getattr(error, "strerror", None) or str(error)
        ours = isinstance(error, LoadError) or error.errno in OWN_FAILURES
        if self._running.has_ended or not ours:
            raise self.failed(what) from error
        return f"the load generator failed, and not {self.target.name}: {what}"

    def explained(self, what: str) -> str:
        """*what* went wrong, with how the server has ended and its last words."""
        text = f"{self.target.name}: {what}"
        if self._running.wait(END_TIME if self._running.pid is not None else 0) is not None:
            text += f"; it {self._running.how_it_ended()}"
            if self.limited_by() == "memory":
                text += ", as there was no memory left for it"
        words = self._running.last_words()
        return text + (f"; it said: {words}" if words else "")

    def limited_by(self) -> str | None:
        """``memory``, where it was killed for what it used of it; else None: nobody says so."""
        running = self._running
        limit = running.limit or ""
        killed = running.status == -signal.SIGKILL and oom_kills() > self._oom_kills
        return "memory" if killed or limit.endswith("of memory") else None

    def _generator_cpus(self) -> frozenset[int] | None:
        return None if self._pinning is None else self._pinning.generator


def _add_costs(sample: Sample, loaded: Loaded) -> None:
    figures, result, usage = sample.figures, loaded.result, loaded.usage
    if not result.throughput:  # all replies came after the window, in which CPU time is counted
        return
    figures["generator_cpu_per_message"] = result.cpu_seconds / result.throughput / result.seconds
    if usage is None:
        return
    if usage.seconds > (1 + STALL_SHARE) * result.seconds:
        sample.notes.append(
            f"the generator came {usage.seconds - result.seconds:.2g} s late to the end of its"
            " window: no CPU time a message is given for that run"
        )
        return
    # The server may be looked at a little before and after the window that is counted.
    messages = result.throughput * usage.seconds
    for name, value in (
        ("server_cpu_per_message", usage.server_cpu),
        ("machine_cpu_per_message", usage.machine_cpu),
        ("context_switches_per_message", usage.switches),
    ):
        if value is not None:
            figures[name] = value / messages
    if usage.came_or_went:
        sample.withheld["context_switches_per_message"] = CAME_OR_WENT
