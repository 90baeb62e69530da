"""EchoUser: a user of Locust's that talks to an echo server, and believes no reply unseen.

One message is on its way at a time; the next leaves when the whole reply has come and has
been compared with what was sent, byte for byte.  The time of an exchange is from before
sending to the last byte of the reply.  What fails has no time; it is a failure by reason, in
words that do not differ from one to the next, so that Locust counts them together.

`EchoClient` does the talking, with one seam overridden: where it would wait in poll(2), the
greenlet waits and others run.  Locust has replaced blocking sockets by gevent's.
"""

import functools
import itertools
import logging
import select
import ssl
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import gevent
from gevent.socket import wait
from locust import User, constant, events, task
from locust.exception import StopUser
from locust.runners import WorkerRunner

from ...addresses import STREAMS
from ...client import EchoClient
from ...errors import EchoServersError
from ...framing import FRAMINGS
from ...tls_contexts import client_context
from ..load.messages import Rings, difference
from ..load.plan import LoadPlan
from .window import WINDOW

__all__ = ["EchoFailure", "EchoUser"]

READ, WRITE = 1, 2  # what gevent's event loops call them (libev's ev.h)

RETRY_AFTER = 0.2
"""Seconds until a user whose connection failed makes another: a server that has gone is not to
be asked thousands of times a second."""

CLIENTS = 1024
"""Users with messages of their own, in a worker and over all of them; further ones share."""

WORKERS = 16
"""Workers whose users have numbers of their own; those of further ones share."""

DIFFERS = "the reply differs from what was sent"

logger = logging.getLogger(__name__)


class EchoFailure(Exception):
    """Why an exchange failed; Locust shows its representation."""

    __repr__ = Exception.__str__


class _Client(EchoClient):
    """An `EchoClient` that lets other greenlets run while it waits."""

    def _connect(self) -> Any:
        # A full backlog of a Unix server is tried again and again, with no limit of its own.
        with gevent.Timeout(self.timeout, TimeoutError()):
            return super()._connect()

    def _tls_context(self) -> ssl.SSLContext:
        return _tls_context(self._options["cafile"])

    def _wait(self, events: int) -> None:
        if getattr(self._socket, "unsent", False):  # TLS: encrypted, and still to go out
            events |= select.POLLOUT
        which = (READ if events & select.POLLIN else 0) | (WRITE if events & select.POLLOUT else 0)
        watcher = gevent.get_hub().loop.io(self.fileno(), which)
        try:
            wait(watcher, self.timeout, TimeoutError())
        finally:
            watcher.close()


@functools.cache
def _tls_context(cafile: str | None) -> ssl.SSLContext:
    """Made once: it takes longer than a hundred handshakes."""
    return client_context(cafile, insecure=cafile is None, certfile=None, keyfile=None)


class EchoUser(User):
    """A closed loop of one client; what it does is said by the options, in `_add_arguments`.

    Make a class of your own of it for other users, such as with a ``wait_time``.
    """

    abstract = True
    wait_time = constant(0)

    _numbers = itertools.count()

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        # The server's other users are in other processes: no two should send the same.
        index = max(0, getattr(environment.runner, "worker_index", 0))
        self.number = next(self._numbers) * WORKERS + index % WORKERS
        self._client: _Client | None = None
        self._plan: LoadPlan | None = None

    def on_start(self) -> None:
        options = self.environment.parsed_options
        try:
            plan = plan_of(options, self.host or self.environment.host)
        except EchoServersError as error:  # typed on the web page, so that is where it is shown
            self._refuse(error)
            return
        self._plan = plan
        self._transport = plan.transport
        self._timeout = plan.timeout
        self._churn: bool = options.churn
        given = {"cafile": options.cafile or None} if plan.transport == "tls" else {}
        self._make: Callable[[], _Client] = functools.partial(
            _Client, plan.endpoint, timeout=plan.timeout, framing=options.framing, **given
        )
        ring = _rings(plan.size, plan.message).of(self.number)
        if options.framing == "lines":  # whose end the framing puts there itself
            ring = [message[:-1] for message in ring]
        self._messages = itertools.cycle(ring)
        self._name = f"{plan.size} bytes" + (", a connection each" if self._churn else "")

    def on_stop(self) -> None:
        self._close()

    @task
    def exchange(self) -> None:
        """Send a message and take its reply; beforehand connect, if need be."""
        if self._plan is None:
            raise StopUser
        began = perf_counter()
        message = next(self._messages)
        try:
            if self._client is None:
                self._client = self._make()
                if not self._churn:
                    began = perf_counter()
            reply = self._client.echo(message)
            took = perf_counter() - began
        except (OSError, EchoServersError) as error:
            self._fail(self._words(error))
            gevent.sleep(RETRY_AFTER)
            return
        if reply != message:
            self._note_difference(message, reply)
            self._fail(DIFFERS)
            return
        if self._churn:
            self._close()
        if WINDOW.open:
            WINDOW.replies[self.number] += 1
            self._fire(took * 1000, len(reply), None)

    # --- inside -----------------------------------------------------------------------

    def _refuse(self, error: EchoServersError) -> None:
        self._transport, self._name = "echo", "not begun"
        self._fire(None, 0, EchoFailure(str(error)))

    def _fail(self, why: str) -> None:
        self._close()
        if WINDOW.open:
            self._fire(None, 0, EchoFailure(why))

    def _fire(self, took: float | None, length: int, failure: EchoFailure | None) -> None:
        self.environment.events.request.fire(
            request_type=self._transport,
            name=self._name,
            response_time=took,
            response_length=length,
            exception=failure,
            context=self.context(),
        )

    def _words(self, error: Exception) -> str:
        if isinstance(error, ConnectionRefusedError):
            return "nobody listens: the connection was refused"
        if isinstance(error, ConnectionResetError | BrokenPipeError):
            return "the server reset the connection"
        if isinstance(error, TimeoutError):
            what = "no connection" if self._client is None else "no reply"
            lost = "" if self._transport in STREAMS else ": the datagram or its reply was lost"
            return f"{what} within {self._timeout:g} s{lost}"
        if isinstance(error, ConnectionError):
            return "the server closed the connection before the reply was whole"
        return getattr(error, "strerror", None) or str(error)

    def _note_difference(self, message: bytes, reply: bytes) -> None:
        if WINDOW.wrong is None:
            WINDOW.wrong = difference(self.number, 0, len(message), message, reply)
            logger.error("%s: %s", DIFFERS, WINDOW.wrong)

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


@functools.cache
def _rings(size: int, prefix: bytes) -> Rings:
    return Rings(CLIENTS, size, prefix)


def plan_of(options: Any, host: str | None) -> LoadPlan:
    """What a user is to do, checked.

    :raises EchoServersError: it cannot be done; the message says why.
    """
    return LoadPlan(
        host or "",
        shape="churn" if options.churn else "closed",
        size=options.size,
        message=options.message.encode(),
        timeout=options.timeout,
    )


# --- what can be said on the command line and on the web page --------------------------


@events.init_command_line_parser.add_listener
def _add_arguments(parser: Any) -> None:
    add = parser.add_argument  # of a group they would not be on the web page
    add("--size", type=int, default=64, metavar="BYTES", help="of a message (default: 64)")
    add("--churn", action="store_true", help="a connection for each message")
    add(
        "--framing",
        choices=sorted(FRAMINGS),
        default="raw",
        help="of the server's handler; messages end with a newline (default: raw)",
    )
    add("--message", default="", metavar="TEXT", help="what every message begins with")
    add("--timeout", type=float, default=5.0, metavar="S", help="until a reply is given up")
    add("--cafile", default="", metavar="FILE", help="verify the server's TLS certificate")


@events.init.add_listener
def _refuse(environment: Any, runner: Any, **_others: Any) -> None:
    """Say in one line what is wrong on the command line; what is typed later, a user says."""
    options = environment.parsed_options
    if options is None or isinstance(runner, WorkerRunner):  # whom the master tells
        return
    if environment.host is None and not options.headless:
        return
    try:
        plan_of(options, environment.host or "")
    except EchoServersError as error:
        logger.error("%s", f"--host: {error}" if not environment.host else error)
        sys.exit(1)
