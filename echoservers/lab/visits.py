"""Visits: clients that ask a worker who it is, and when it served them.

The load generator counts; here it matters who did what and when, for few requests, so each
client is a thread with a blocking socket.  What they ask is described in `lab.handlers`.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from ..client import EchoClient

__all__ = ["Visit", "VisitError", "understands", "visit", "worker_names"]

Key = TypeVar("Key")


class VisitError(Exception):
    """A visit that went wrong; the message says how."""


class Visit(NamedTuple):
    """One request, from a client's and from its worker's point of view; times are absolute."""

    client: int
    sent: float
    received: float
    pid: int
    thread: int
    begin: float
    end: float


def _open(endpoint: str, timeout: float) -> EchoClient:
    options: dict[str, Any] = {"insecure": True} if endpoint.startswith("tls") else {}
    return EchoClient(endpoint, timeout=timeout, **options)


def understands(endpoint: str, timeout: float) -> bool:
    """Whether the server at *endpoint* does work and tells who did it."""
    try:
        with _open(endpoint, timeout) as client:
            return _ask(client, 0, b"tell wait 0\n") is not None
    except (OSError, VisitError):
        return False


def visit(
    endpoint: str, order: bytes, *, clients: int, visits: int, requests: int, timeout: float
) -> list[Visit]:
    """Let *clients* at once ask what *order* says; in the order in which they were served.

    :param visits: connections that each client makes, one after the other.
    :param requests: how often it asks in each.
    :param timeout: seconds until an answer must have come.
    :raises VisitError: somebody was not answered, or not as it should be.
    """
    together = threading.Barrier(clients)
    done: list[Visit] = []
    failures: list[str] = []

    def serve(number: int) -> None:
        try:
            for connection in range(visits):
                with _open(endpoint, timeout) as client:
                    if not connection:
                        together.wait(timeout)  # all begin when all are connected
                    done.extend(_ask(client, number, order) for _ in range(requests))
        except (OSError, VisitError) as error:
            failures.append(str(error))
            together.abort()
        except threading.BrokenBarrierError:
            failures.append(f"not all clients were connected within {timeout:g} s")

    threads = [threading.Thread(target=serve, args=(n,), daemon=True) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise VisitError(failures[0])
    return sorted(done, key=lambda visit: visit.begin)


def _ask(client: EchoClient, number: int, order: bytes) -> Visit:
    """One request and its answer.

    :raises VisitError: it is not the answer of a worker that tells who it is.
    """
    sent = time.monotonic()
    client.send(order)
    answer = b""
    while not answer.endswith(b"\n"):
        data = client.receive()
        if not data:
            raise VisitError(f"the server closed the connection before it answered {order!r}")
        answer += data
    words = answer.split()
    with contextlib.suppress(ValueError, IndexError):
        if words[0] == b"told":
            who, when = map(int, words[1:3]), map(float, words[3:5])
            return Visit(number, sent, time.monotonic(), *who, *when)
    raise VisitError(f"{order!r} was answered with {answer[:80]!r}")


def worker_names(places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """A name for each ``(pid, thread)``, in their order: what tells them apart, and a number."""
    pids = {pid for pid, _ in places}
    if len(pids) == 1:
        return dict(_numbered("thread", places))
    if len(pids) == len(set(places)):
        return dict(_numbered("process", places))
    processes = dict(_numbered("process", [pid for pid, _ in places]))
    names: dict[tuple[int, int], str] = {}
    seen: dict[int, int] = {}
    for pid, thread in dict.fromkeys(places):
        seen[pid] = seen.get(pid, 0) + 1
        names[pid, thread] = f"{processes[pid]}, thread {seen[pid]}"
    return names


def _numbered(word: str, keys: Sequence[Key]) -> Iterator[tuple[Key, str]]:
    for number, key in enumerate(dict.fromkeys(keys), 1):
        yield key, f"{word} {number}"
