"""A crowd of idle clients, and a burst of clients that all come at once.

Both hold their sockets in this process: what a crowd costs is measured while it stands, so
whoever measures must have it in his hand.
"""

import contextlib
import errno
import os
import select
import selectors
import socket
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..addresses import parse_endpoint
from ..client import EchoClient
from ..errors import EchoServersError

__all__ = [
    "Arrival",
    "Crowd",
    "WrongReply",
    "answered",
    "burst",
    "descriptor_limit",
    "round_trips",
]

PATIENCE = 0.5
"""Seconds until a client of the crowd is answered: a fork takes one in a few hundred of them,
and a server that has no room for it never answers."""

MESSAGE = b"i\n"


class WrongReply(EchoServersError):
    """The server answered something else; the message says what."""


def _differs(reply: bytes) -> WrongReply:
    return WrongReply(f"a reply differs: expected {MESSAGE!r}, received {reply!r}")


def _echo(client: EchoClient) -> None:
    """One message there and back.

    :raises WrongReply: it came back as something else.
    :raises OSError: it did not come back.
    """
    reply = client.echo(MESSAGE)
    if reply != MESSAGE:
        raise _differs(reply)


class Crowd:
    """Idle clients of one server, each of which has been answered once."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._clients: list[EchoClient] = []
        self.is_full = False
        """Whether somebody was not answered: the server has as many as it takes."""

    def __len__(self) -> int:
        return len(self._clients)

    def grow(self, size: int, deadline: float) -> bool:
        """Let clients come until there are *size*, or the server answers no more.

        :param deadline: when it is given up, on `time.monotonic`'s clock.
        :returns: False where the time was over first.
        :raises WrongReply: it does not echo.
        """
        options: dict[str, Any] = {"insecure": True} if self._endpoint.startswith("tls") else {}
        while len(self) < size and not self.is_full:
            if time.monotonic() > deadline:
                return False
            client = None
            try:
                client = EchoClient(self._endpoint, timeout=PATIENCE, **options)
                _echo(client)
            except (OSError, WrongReply) as error:  # refused, or not answered in time
                self.is_full = True
                if client is not None:
                    client.close()
                if isinstance(error, WrongReply):
                    raise
            else:
                self._clients.append(client)
        return True

    def drop_ended(self) -> int:
        """Let those go that the server has let go; how many that were.

        :raises WrongReply: it sends what nobody has asked for.
        """
        poll = select.poll()
        for client in self._clients:
            poll.register(client.fileno(), select.POLLIN)
        ready = {descriptor for descriptor, _events in poll.poll(0)}
        ended = {c for c in self._clients if c.fileno() in ready and _has_ended(c)}
        self._clients = [c for c in self._clients if c not in ended]
        for client in ended:
            client.close()
        return len(ended)

    def close(self) -> None:
        """Let all go."""
        while self._clients:
            self._clients.pop().close()


def _has_ended(client: EchoClient) -> bool:
    """Whether there is an end to be read; of TLS it may be a ticket for the next session."""
    client.timeout = 0
    try:
        unasked = client.receive()
    except TimeoutError:
        return False
    except OSError:
        return True
    if unasked:
        raise WrongReply(f"it sends {unasked[:20]!r}, which nobody has asked for")
    return True


class Arrival(NamedTuple):
    """What became of one client of a burst; the times are seconds since its own connect()."""

    connected: float | None
    """Until its connection was there; None: it never was."""
    answered: float | None
    """Until its message was answered."""
    refused: bool
    """Whether the system has said no, at once or later."""
    wrong: WrongReply | None = None
    """What came instead of the answer."""


def burst(endpoint: str, size: int, patience: float) -> list[Arrival]:
    """Let *size* clients connect at once, each with one message.

    :param patience: seconds until those that are not answered are given up.
    """
    address = parse_endpoint(endpoint).address
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    if not isinstance(address, str) and ":" in address[0]:
        family = socket.AF_INET6
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        clients = [_Guest(stack, family) for _ in range(size)]
        for client in clients:
            client.come(address, selector)
            # Whoever is ready has his time now, and not when all the others have been dialled.
            _go_on(selector, 0)
        deadline = time.monotonic() + patience
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            _go_on(selector, left)
        return [client.arrival for client in clients]


def _go_on(selector: selectors.BaseSelector, timeout: float) -> None:
    """Let those go on that are ready, at the time at which that was seen."""
    ready = selector.select(timeout)
    now = time.monotonic()
    for key, _ in ready:
        key.data.go_on(selector, now)


class _Guest:
    """One client of a burst: connects, sends, receives, and is done."""

    def __init__(self, stack: contextlib.ExitStack, family: int) -> None:
        self._socket = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        self._socket.setblocking(False)
        self._came = 0.0
        self._reply = b""
        self.arrival = Arrival(None, None, False)

    def come(self, address: Any, selector: selectors.BaseSelector) -> None:
        self._came = time.monotonic()
        outcome = self._socket.connect_ex(address)
        if outcome in (0, errno.EINPROGRESS):
            selector.register(self._socket, selectors.EVENT_WRITE, self)
        else:
            self._give_up()

    def go_on(self, selector: selectors.BaseSelector, now: float) -> None:
        took = now - self._came
        try:
            if self.arrival.connected is None:
                outcome = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if outcome:
                    raise OSError(outcome, os.strerror(outcome))
                self.arrival = Arrival(took, None, False)
                self._socket.send(MESSAGE)
                selector.modify(self._socket, selectors.EVENT_READ, self)
                return
            data = self._socket.recv(len(MESSAGE) - len(self._reply))
            if not data:
                raise ConnectionResetError
        except OSError:
            selector.unregister(self._socket)
            self._give_up()
        else:
            self._reply += data
            if self._reply == MESSAGE:
                self.arrival = self.arrival._replace(answered=took)
            elif not MESSAGE.startswith(self._reply):
                self.arrival = self.arrival._replace(wrong=_differs(self._reply))
            else:
                return  # the rest of it is still to come
            selector.unregister(self._socket)
            self._socket.close()  # and the next one can be served

    def _give_up(self) -> None:
        self.arrival = self.arrival._replace(refused=True)


def round_trips(endpoint: str, number: int) -> list[float]:
    """Seconds that each of *number* messages of one client takes.

    :raises OSError: it is not served.
    :raises WrongReply: it is answered something else.
    """
    options: dict[str, Any] = {"insecure": True} if endpoint.startswith("tls") else {}
    with EchoClient(endpoint, timeout=PATIENCE, **options) as client:
        took = []
        for _ in range(number):
            began = time.monotonic()
            _echo(client)
            took.append(time.monotonic() - began)
    return took


def descriptor_limit() -> int:
    """How many descriptors this process may open."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def answered(arrivals: list[Arrival]) -> Iterator[float]:
    """The times of those that were answered."""
    for arrival in arrivals:
        if arrival.answered is not None:
            yield arrival.answered
