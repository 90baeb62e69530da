"""The closed loop: each connection sends when it has been answered."""

from array import array
from typing import Any

from .loop import Loop, RunEnded
from .messages import RING, Rings
from .plan import MAX_SAMPLES, LoadPlan
from .sockets import Dialler
from .streams import StreamClient
from .together import ROOM, together

__all__ = ["ClosedLoad", "join", "open_connections"]


def open_connections(clients: list[StreamClient], loop: Loop) -> None:
    """That there are any.

    :raises RunEnded: the server has closed them all.
    """
    if not any(client.is_open for client in clients):
        reasons = ", ".join(loop.errors) or "no reason"
        raise RunEnded(f"no connection is left: {reasons}")


def join(pieces: list["array[float]"]) -> "array[float]":
    """One array of all."""
    joined = array("d")
    for piece in pieces:
        joined.extend(piece)
    return joined


class ClosedLoad:
    """Streams of which each has ``pipeline`` messages in flight."""

    def __init__(self, loop: Loop, dialler: Dialler, plan: LoadPlan) -> None:
        self._loop = loop
        rings = Rings(plan.connections, plan.size, plan.message, max(RING, plan.pipeline))
        self._clients = [
            StreamClient(loop, dialler, rings, number, plan.pipeline)
            for number in range(plan.connections)
        ]
        if plan.pipeline == 1 and plan.size <= ROOM and plan.transport != "tls":
            loop.gatherer = together(loop)
        loop.answered = self.answered
        loop.on_tick.append(self._look)

    def dial(self) -> int:
        """Begin; how many clients there are to settle."""
        for client in self._clients:
            client.dial()
        return len(self._clients)

    def answered(self) -> int:
        """Messages so far."""
        return sum(len(client.ends) for client in self._clients)

    def start(self, at: float) -> None:
        """They have begun as they were connected."""

    def run(self, until: float) -> None:
        """Go on until the time *until*."""
        self._loop.run(until)

    def finish(self) -> None:
        """Nothing is waited for: a message in flight is told by its age."""

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()

    def outcome(self) -> tuple[dict[str, Any], dict[str, "array[Any]"]]:
        """What is to be said of it, and the samples."""
        clients = self._clients
        return {"connected": sum(client.began > 0 for client in clients)}, {
            "ends": join([client.ends for client in clients]),
            "counts": array("q", [len(client.ends) for client in clients]),
            "began": array("d", [client.began for client in clients]),
        }

    def _look(self, _now: float) -> None:
        open_connections(self._clients, self._loop)
        if self.answered() > MAX_SAMPLES:
            raise RunEnded(f"more than {MAX_SAMPLES:,} messages: shorten the run")
