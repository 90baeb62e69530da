"""LoadResult: what came of a plan, every sample of it, and how busy the generator was."""

import json
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from .datagrams import LOSS_TIME
from .plan import LoadPlan

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats: TypeAlias = npt.NDArray[np.float64]
    Integers: TypeAlias = npt.NDArray[np.int64]

__all__ = ["LoadResult", "read_result"]

DELAYED_SHARE = 0.1
"""Of the time, from which on it is said that the generator had to wait for a processor: a
machine on which nothing else runs gives it one within microseconds."""


@dataclass(frozen=True)
class LoadResult:
    """What came of a `LoadPlan`; times are in seconds, points in time on the monotonic clock.

    The samples, ``latencies``, ``starts`` and ``clients``, belong together by their index and
    are in the order in which the replies ended.  They are all those of the measured window:
    of replies that came in it, in a closed loop and in churn; of messages that were due in it
    and were ever answered, in an open loop.
    """

    plan: LoadPlan
    ended: str | None
    """Why the run ended early; None: it did not."""
    wrong: str | None
    """The first byte that came back and had not been sent, in words; None: all were right."""
    sent: int
    """Messages of the window: answered, lost (or due and never sent), on their way at its end."""
    received: int
    """Those of them that were answered, and so the number of samples."""
    lost: int
    """Datagrams that were given up in the window; messages of an open loop without a reply at
    the end."""
    errors: dict[str, int]
    """How many connections or datagrams failed, by reason, over the whole run."""
    seconds: float
    """The measured window, as long as it really was; 0 where the run ended before it."""
    begin: float
    """When it began."""
    connected: int
    """How many of the clients could connect."""
    crowd: dict[str, int]
    """How many clients beside there were at the end, by sort, and how many ``answered``."""
    latencies: "Floats"
    """From sending to the whole reply; of an open loop from when the message was due; of
    churn from before connecting."""
    starts: "Floats"
    """When the message of each sample left, was due, or its connection was begun."""
    clients: "Integers"
    """Which client each sample is of, from 0."""
    lateness: "Floats"
    """How much later than due the messages of an open loop left: the generator's own error."""
    connect_seconds: "Floats"
    """Of churn, how long each connection took to be made."""
    unfinished: "Floats"
    """The ages of the messages that were on their way at the end of a closed loop, or of churn:
    whoever is not answered at all has no latency, and would not be seen otherwise."""
    connect_waits: "Floats"
    """Of churn, how long those have waited who were not connected yet at its end."""
    lost_waits: "Floats"
    """How long those were waited for, at least, that are ``lost``."""
    cpu_seconds: float
    """Of the generator, in the window."""
    spun_seconds: float
    """Those of it that it spent looking whether a message was due."""
    busy: float
    """The share of the window in which the generator had something to do, or waited for a
    processor to do it on: from 0 to 1."""
    delayed: float
    """Seconds in the window in which it waited for a processor."""
    overdue: int = 0
    """Replies that came in the window to messages that were due before it; they are no samples."""
    notes: tuple[str, ...] = field(default=())
    """What a reader of the figures should know."""

    @property
    def throughput(self) -> float:
        """Replies a second that came within the window, whenever their messages were due."""
        if not self.seconds:
            return 0.0
        return (self.overdue + self.count_between(0.0, self.seconds)) / self.seconds

    def count_between(self, after: float, before: float) -> int:
        """How many of the samples' replies came between two times, in seconds of the window."""
        ends = self.starts + self.latencies - self.begin
        return int(((ends >= after) & (ends < before)).sum())

    def rates(self, width: float = 1.0) -> tuple["Floats", "Floats"]:
        """Replies a second over time: the middles of whole intervals of *width*, and the rates."""
        import numpy as np

        edges = np.arange(0.0, self.seconds + width * 1e-6, width)  # sums of widths are rounded
        if len(edges) < 2:
            return np.zeros(0), np.zeros(0)
        counts, _ = np.histogram(self.starts + self.latencies - self.begin, edges)
        return (edges[:-1] + edges[1:]) / 2, counts / width

    @property
    def waits(self) -> "Floats":
        """How long those have waited, at least, who were not answered."""
        import numpy as np

        return np.concatenate([self.unfinished, self.lost_waits])

    def by_client(self) -> "Integers":
        """How many replies each client had."""
        import numpy as np

        return np.bincount(self.clients, minlength=self.plan.connections).astype(np.int64)


def read_result(plan: LoadPlan, output: bytes) -> LoadResult:
    """The result that a generator wrote.

    :raises OSError: it could not do what the plan says.
    """
    line, _, rest = output.partition(b"\n")
    told: dict[str, Any] = json.loads(line)
    if "failed" in told:
        raise OSError(told["failed"])
    arrays: dict[str, Any] = {}
    import numpy as np

    for name, code, length in told.pop("arrays"):
        size = array(code).itemsize * length
        arrays[name] = np.frombuffer(rest[:size], dtype=code)
        rest = rest[size:]
    samples = _SAMPLES[told.get("samples", plan.shape)](plan, told, arrays)
    received = len(samples["latencies"])
    seconds = told["seconds"]
    return LoadResult(
        plan=plan,
        sent=received + samples["lost"] + len(samples["unfinished"]),
        received=received,
        ended=told["ended"],
        wrong=told["wrong"],
        errors=told["errors"],
        seconds=seconds,
        begin=told["begin"],
        connected=told["connected"],
        crowd=told["crowd"],
        cpu_seconds=told["cpu_seconds"],
        spun_seconds=told["spun_seconds"],
        delayed=told["delayed"],
        busy=_busy(told),
        notes=_notes(told),
        **samples,
    )


def _busy(told: dict[str, Any]) -> float:
    """The share of the time in which the generator did not wait for the server.

    Where it waited for a processor after the server's reply had woken it up, it had something
    to do; where it lost its processor meanwhile, that time counts already.
    """
    if not told["wall"]:
        return 0.0
    working = told["wall"] - told["waited"]
    lost_at_work = max(0.0, working - max(0.0, told["cpu_seconds"] - told["spun_seconds"]))
    woken_late = max(0.0, told["delayed"] - lost_at_work)
    busy: float = 1 - max(0.0, told["waited"] - woken_late) / told["wall"]
    return min(1.0, busy)


def _notes(told: dict[str, Any]) -> tuple[str, ...]:
    share = told["delayed"] / told["wall"] if told["wall"] else 0.0
    if share < DELAYED_SHARE:
        return ()
    return (f"for {share:.0%} of the time the generator had no processor to run on",)


def _closed(plan: LoadPlan, told: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
    """Each message left when the reply `pipeline` places before it had come."""
    import numpy as np

    end = told["begin"] + told["seconds"]
    pieces, ages = [], [np.zeros(0)]
    splits = np.cumsum(arrays["counts"])[:-1]
    for ends, began in zip(np.split(arrays["ends"], splits), arrays["began"], strict=True):
        starts = np.concatenate([np.full(plan.pipeline, began), ends])
        pieces.append(starts[: len(ends)])
        if began > 0:
            ages.append(end - starts[len(ends) :])
    return _timed(plan, told, arrays | {"starts": np.concatenate(pieces)}) | {
        "unfinished": np.concatenate(ages)
    }


def _timed(_plan: LoadPlan, told: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
    """Both ends of each sample are there, client by client."""
    import numpy as np

    begin, end = told["begin"], told["begin"] + told["seconds"]
    ends = arrays["ends"]
    counts = arrays["counts"]
    clients: Any = np.repeat(np.arange(len(counts)), counts)
    kept = (ends >= begin) & (ends < end)
    samples = {"starts": arrays["starts"][kept], "ends": ends[kept], "clients": clients[kept]}
    if "connects" in arrays:
        samples["connect_seconds"] = arrays["connects"][kept]
    losses = arrays.get("losses", np.zeros(0))
    lost = int(((losses >= begin) & (losses < end)).sum())
    late = (arrays["starts"] < end) & (ends >= end)  # they waited at the end, as those that do yet
    return _ordered(**samples) | {
        "unfinished": np.concatenate(
            [end - arrays["starts"][late], _ages(arrays.get("visiting"), end)]
        ),
        "connect_waits": _ages(arrays.get("connecting"), end),
        "lost": lost,
        "lost_waits": np.full(lost, LOSS_TIME),
    }


def _ages(since: Any, end: float) -> "Floats":
    """How long it is at *end* since each of these times."""
    import numpy as np

    return np.zeros(0) if since is None else end - since[since < end]


def _open(plan: LoadPlan, told: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
    """The k-th reply of client c of n is to the message c + k * n of the schedule."""
    import numpy as np

    ends = np.full(len(arrays["due"]), np.nan)
    clients = len(arrays["counts"])
    splits = np.cumsum(arrays["counts"])[:-1]
    for client, replies in enumerate(np.split(arrays["ends"], splits)):
        ends[client::clients][: len(replies)] = replies
    return _scheduled(plan, told, arrays | {"ends": ends})


def _scheduled(plan: LoadPlan, told: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
    """When each message was due, left and was answered, or NaN."""
    import numpy as np

    begin, end = told["begin"], told["begin"] + told["seconds"]
    due, ends = arrays["due"], arrays["ends"]
    inside = (due >= begin) & (due < end)
    kept = inside & ~np.isnan(ends)
    clients: Any = np.arange(len(due)) % plan.connections
    waits = max(end, told.get("waited_until", 0.0)) - due[inside & ~kept]
    return _ordered(due[kept], ends[kept], clients[kept]) | {
        "lost": len(waits),
        "lost_waits": waits,
        "lateness": (arrays["left"] - due)[inside],
        "overdue": int(((due < begin) & (ends >= begin) & (ends < end)).sum()),
    }


def _ordered(starts: Any, ends: Any, clients: Any, connect_seconds: Any = None) -> dict[str, Any]:
    import numpy as np

    order = np.argsort(ends, kind="stable")
    nothing = np.zeros(0)
    return {
        "latencies": (ends - starts)[order],
        "starts": starts[order],
        "clients": clients[order],
        "connect_seconds": nothing if connect_seconds is None else connect_seconds[order],
        "lateness": nothing,
        "unfinished": nothing,
        "connect_waits": nothing,
        "lost_waits": nothing,
    }


_SAMPLES = {
    "closed": _closed,
    "open": _open,
    "churn": _timed,
    "timed": _timed,
    "datagram": _scheduled,
}
"""How the samples of each shape are made of what the generator wrote down."""
