"""The round-trip meter of ``echoservers client``: what ping prints, over an echo server."""

import argparse
import itertools
import math
import time

from ..client import EchoClient
from ..loop import Loop
from . import DONE, FAILED

__all__ = ["measure"]


class _RoundTrips:
    """What a summary needs of any number of round trips."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.sent = self.received = self.different = 0
        self._sum = self._sum_of_squares = self._longest = 0.0
        self._shortest = math.inf

    @property
    def perfect(self) -> bool:
        """Whether every message came back as it went."""
        return 0 < self.sent == self.received and not self.different

    def add(self, took: float) -> None:
        """A reply came *took* seconds after its message went."""
        self.received += 1
        self._sum += took
        self._sum_of_squares += took * took
        self._shortest = min(self._shortest, took)
        self._longest = max(self._longest, took)

    def summary(self, endpoint: str) -> str:
        """Two or three lines, as ping has them."""
        lost = 100 * (self.sent - self.received) / self.sent if self.sent else 0
        different = f", {self.different} different" if self.different else ""
        took = (time.perf_counter() - self.began) * 1000
        text = (
            f"--- {endpoint} echo statistics ---\n{self.sent} sent, {self.received} received"
            f"{different}, {lost:.3g}% lost, time {took:.0f} ms"
        )
        if self.received:
            mean = self._sum / self.received
            deviation = math.sqrt(max(0.0, self._sum_of_squares / self.received - mean * mean))
            figures = (self._shortest, mean, self._longest, deviation)
            shown = "/".join(f"{figure * 1000:.3f}" for figure in figures)
            text += f"\nround trip min/avg/max/mdev = {shown} ms"
        return text


def measure(client: EchoClient, given: argparse.Namespace) -> int:
    """Print each round trip and a summary.

    :param given: ``count`` (None: until Ctrl-C), ``interval`` in seconds, ``size`` in bytes.
    :returns: the exit code: done if every message came back as it went.
    """
    trips = _RoundTrips()
    pause = Loop()  # a Ctrl-C that comes just before the wait would not end any other
    interval = 1.0 if given.interval is None else given.interval
    try:
        for number in itertools.count(1) if given.count is None else range(1, given.count + 1):
            began = time.perf_counter()
            if not _measure_one(client, number, given.size, trips):
                break
            if number != given.count:
                with pause.woken_by_signals():
                    pause.turn(began + interval - time.perf_counter())
    except KeyboardInterrupt:
        print()
    finally:
        pause.close()
        print(trips.summary(client.endpoint))
    return DONE if trips.perfect else FAILED


def _measure_one(client: EchoClient, number: int, size: int, trips: _RoundTrips) -> bool:
    """One round trip; False where no other can follow it."""
    message = f"echo {number} ".encode().ljust(size, b".")[:size]
    trips.sent += 1
    began = time.perf_counter()
    try:
        reply = client.echo(message)
    except TimeoutError as error:
        print(f"seq={number}: {error}", flush=True)
        return not client.is_stream  # where a late reply would pass for the next one
    took = time.perf_counter() - began
    trips.add(took)
    different = reply != message
    trips.different += different
    print(
        f"{len(reply)} bytes from {client.endpoint}: seq={number} time={took * 1000:.3f} ms"
        f"{' DIFFERENT from what was sent' if different else ''}",
        flush=True,
    )
    return True
