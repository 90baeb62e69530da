"""The open loop: messages leave when they are due, over connections in turn."""

from array import array
from typing import Any

from .closed import join, open_connections
from .loop import Loop, clock
from .messages import Rings
from .plan import LoadPlan
from .schedule import Schedule
from .sockets import Dialler
from .streams import StreamClient

__all__ = ["OpenLoad"]


class OpenLoad:
    """Streams over which messages leave as scheduled; what finds no room is kept and follows."""

    def __init__(self, loop: Loop, dialler: Dialler, plan: LoadPlan, spin: bool) -> None:
        self._loop = loop
        self._timeout = plan.timeout
        rings = Rings(plan.connections, plan.size, plan.message)
        self._clients = [
            StreamClient(loop, dialler, rings, number, 0) for number in range(plan.connections)
        ]
        self._schedule = Schedule(loop, plan, spin)
        loop.answered = self._answered

    def dial(self) -> int:
        """Begin; how many clients there are to settle."""
        for client in self._clients:
            client.dial()
        return len(self._clients)

    def start(self, at: float) -> None:
        """The first message is due at the time *at*."""
        self._loop.on_tick.append(lambda _now: open_connections(self._clients, self._loop))
        self._schedule.begin(at, [client.send_message for client in self._clients])

    def run(self, until: float) -> None:
        """Go on until the time *until*."""
        self._schedule.run(until)

    def finish(self) -> None:
        """Send what is overdue, and wait for the replies that are still to come."""
        self._schedule.catch_up()
        self._loop.run_until(self._is_quiet, clock() + self._timeout)

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()

    def outcome(self) -> tuple[dict[str, Any], dict[str, "array[Any]"]]:
        """What is to be said of it, and the samples."""
        clients = self._clients
        replies: dict[str, array[Any]] = {
            "ends": join([client.ends for client in clients]),
            "counts": array("q", [len(client.ends) for client in clients]),
        }
        connected = sum(client.began > 0 for client in clients)
        return {"connected": connected}, replies | self._schedule.times()

    def _answered(self) -> int:
        return sum(len(client.ends) for client in self._clients)

    def _is_quiet(self) -> bool:
        return not any(
            client.is_open and client.sent > len(client.ends) for client in self._clients
        )
