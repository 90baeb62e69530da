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

LONGEST_ANSWER = 1000
"""Bytes of a line, from which on it is none: one that is an answer has under a hundred."""

LATEST = 1e12
"""Seconds on a clock that runs since the system's start, from which on they are no time."""


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
    """Whether the server at *endpoint* does work and tells who did it, within *timeout* seconds."""
    try:
        with _open(endpoint, timeout) as client:
            return _ask(client, 0, b"tell wait 0\n", time.monotonic(), timeout) is not None
    except (OSError, VisitError):
        return False


def visit(
    endpoint: str,
    order: bytes,
    *,
    clients: int,
    visits: int,
    requests: int,
    timeout: float,
    seconds: float,
) -> list[Visit]:
    """Let *clients* at once ask what *order* says; in the order in which they were served.

    The first request of a connection is sent, as its client sees it, when the client sets out
    to connect: a TLS handshake needs a worker, and is part of what it is waited for.

    :param visits: connections that each client makes, one after the other.
    :param requests: how often it asks in each.
    :param timeout: seconds until an answer must have come.
    :param seconds: until all of it must be over.
    :raises VisitError: somebody was not answered, or not as it should be, or it took too long.
    """
    together = threading.Event()
    done: list[Visit] = []
    failures: list[str] = []
    deadline = time.monotonic() + seconds

    def serve(number: int) -> None:
        together.wait()
        try:
            for _ in range(visits):
                begun = time.monotonic()
                with _open(endpoint, timeout) as client:
                    for _ in range(requests):
                        if failures:
                            return
                        if time.monotonic() > deadline:
                            raise VisitError(f"not all visits were over within {seconds:g} s")
                        done.append(_ask(client, number, order, begun, timeout))
                        begun = time.monotonic()
        except (OSError, VisitError) as error:
            failures.append(str(error))

    threads = [threading.Thread(target=serve, args=(n,), daemon=True) for n in range(clients)]
    try:
        for thread in threads:
            thread.start()
    finally:
        together.set()
    for thread in threads:
        thread.join()
    if failures:
        raise VisitError(failures[0])
    return sorted(done, key=lambda visit: visit.begin)


def _ask(client: EchoClient, number: int, order: bytes, sent: float, timeout: float) -> Visit:
    """One request and its answer.

    :param sent: when the client began to wait, its handshake included.
    :raises VisitError: it is not the answer of a worker that tells who it is, or has no end.
    :raises OSError: it did not come.
    """
    deadline = time.monotonic() + timeout
    client.timeout = timeout
    client.send(order)
    answer = b""
    while b"\n" not in answer and len(answer) < LONGEST_ANSWER:
        client.timeout = deadline - time.monotonic()
        if client.timeout <= 0:
            raise VisitError(f"{order!r} was not answered with a line within {timeout:g} s")
        data = client.receive()
        if not data:
            raise VisitError(f"the server closed the connection before it answered {order!r}")
        answer += data
    received = time.monotonic()
    words = answer.split()
    if len(words) == 5 and words[0] == b"told" and answer.endswith(b"\n"):
        with contextlib.suppress(ValueError):
            pid, thread = map(int, words[1:3])
            begin, end = map(float, words[3:])
            if 0 <= begin <= end < LATEST:  # and no NaN
                return Visit(number, sent, received, pid, thread, begin, end)
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
