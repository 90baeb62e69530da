"""LoadResult: what came of a plan, every sample of it, and how busy the generator was."""

import json
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from .plan import LoadPlan

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats: TypeAlias = npt.NDArray[np.float64]
    Integers: TypeAlias = npt.NDArray[np.int64]

__all__ = ["LoadResult", "read_result"]


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
    """Messages of the window: answered, lost and on their way at its end."""
    received: int
    """Those of them that were answered, and so the number of samples."""
    lost: int
    """Datagrams without a reply in time; messages of an open loop without a reply at the end."""
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
    """The ages of the messages that were on their way at the end of a closed loop: whoever
    is not answered at all has no latency, and would not be seen otherwise."""
    cpu_seconds: float
    """Of the generator, in the window."""
    spun_seconds: float
    """Those of it that it spent looking whether a message was due."""
    busy: float
    """The share of the window in which the generator had something to do, or waited for a
    processor to do it on: from 0 to 1."""
    delayed: float
    """Seconds in the window in which it waited for a processor."""
    notes: tuple[str, ...] = field(default=())
    """What a reader of the figures should know."""

    @property
    def throughput(self) -> float:
        """Replies a second that came within the window."""
        return self.count_between(0.0, self.seconds) / self.seconds if self.seconds else 0.0

    def count_between(self, after: float, before: float) -> int:
        """Replies that came between two times, in seconds of the window."""
        ends = self.starts + self.latencies - self.begin
        return int(((ends >= after) & (ends < before)).sum())

    def rates(self, width: float = 1.0) -> tuple["Floats", "Floats"]:
        """Replies a second over time: the middles of whole intervals of *width*, and the rates."""
        import numpy as np

        edges = np.arange(0.0, self.seconds + width * 1e-6, width)
        if len(edges) < 2:
            return np.zeros(0), np.zeros(0)
        counts, _ = np.histogram(self.starts + self.latencies - self.begin, edges)
        return (edges[:-1] + edges[1:]) / 2, counts / width

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
    waited = max(0.0, told["waited"] - told["delayed"])
    seconds = told["seconds"]
    return LoadResult(
        plan=plan,
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
        busy=1 - waited / seconds if seconds else 0.0,
        **samples,
    )


def _closed(plan: LoadPlan, told: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
    """Each message left when the reply `pipeline` places before it had come."""
    import numpy as np

    pieces, ages = [], []
    begin, end = told["begin"], told["begin"] + told["seconds"]
    position = 0
    for client, (count, began) in enumerate(zip(arrays["counts"], arrays["began"], strict=True)):
        ends = arrays["ends"][position : position + count]
        position += count
        starts = np.concatenate([np.full(plan.pipeline, began), ends])
        pieces.append((starts[:count], ends, np.full(count, client, dtype=np.int64)))
        if began > 0:
            ages.append(end - starts[count:])
    starts, ends, clients = (np.concatenate(part) for part in zip(*pieces, strict=True))
    kept = (ends >= begin) & (ends < end)
    samples = _ordered(starts[kept], ends[kept], clients[kept])
    unfinished = np.concatenate(ages) if ages else np.zeros(0)
    received = int(kept.sum())
    return samples | {
        "sent": received + len(unfinished),
        "received": received,
        "lost": told.get("lost", 0),
        "unfinished": unfinished,
    }


def _ordered(starts: Any, ends: Any, clients: Any, **others: Any) -> dict[str, Any]:
    import numpy as np

    order = np.argsort(ends, kind="stable")
    nothing = np.zeros(0)
    fields = {
        "latencies": (ends - starts)[order],
        "starts": starts[order],
        "clients": clients[order],
        "connect_seconds": nothing,
        "lateness": nothing,
        "unfinished": nothing,
    }
    return fields | {name: value[order] for name, value in others.items()}


_SAMPLES = {"closed": _closed}
