"""Subject: the server that is checked, as the checks meet it."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

from ..addresses import parse_endpoint
from ..targets import Level, Limits, RunningTarget, Target, TargetError
from ..targets.running import START_TIME
from ..timeouts import limit_waits
from .failures import lack_of
from .manners import Habits
from .peer import CheckFailed, CheckSkipped, Peer

__all__ = ["CHECK_TIME", "ENDING", "STALL", "Subject"]

PATIENCE = 2.0
"""Seconds for a server to do the next thing; a right one takes a millisecond or two."""

CHECK_TIME = 10.0
"""Seconds for one check: the longest, 16 MiB or thousands of connections, takes one or two."""

ENDING = 0.1
"""Seconds for the news that a server has ended, after what its end did to a client."""

STALL = 0.15
"""Seconds without progress after which a server is taken to read no more; a server that does
read goes on within a millisecond."""

MOST_KILLS = 3
"""A check under which a server grows may cost it once or twice; what is killed by its limits
again and again is not worth the time."""


class Subject:
    """A running target, peers for it, and time limits; a context manager that ends both.

    :param target: which server.
    :param level: what it is held to.
    :param timeout_scale: every time limit is multiplied by this, for slow machines.  Waits that
        show something by their length, such as that nothing comes, are only ever made longer
        (`lengthened`).
    :param limits: what it may use before it is killed; by default anything.
    :param beside: the targets a processor that are checked at the same time.  The time limits are
        as much longer; how long nothing comes is not.
    :raises TargetError: it cannot be started or reached.
    """

    def __init__(
        self,
        target: Target,
        level: Level,
        timeout_scale: float = 1.0,
        limits: Limits | None = None,
        beside: float = 1.0,
    ) -> None:
        self.target = target
        self.level = level
        self.scale = timeout_scale * max(1.0, beside)
        self._slowness = max(1.0, timeout_scale)
        self._limits = limits
        self._kills = 0
        self.deadline = 0.0
        """Until when the check that runs may take, on `time.monotonic`'s clock."""
        self.spoiled = False
        """Whether the next check is to get a fresh server."""
        self.fresh = True
        """Whether no check has been made on the server yet."""
        self._put_away = False  # the server, by us
        self.memo: dict[str, Any] = {}
        """What several checks want to know and one has found out, by a name of its own."""
        self.expected_design: str | None = None
        """The neutral name of the design that it should have; None: any."""
        self._habits = Habits()
        self._peers = ExitStack()
        self.running = self._start()
        self.new_check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._peers.close()
        self.running.close()

    @property
    def patience(self) -> float:
        """Seconds for the server to do the next thing."""
        return PATIENCE * self.scale

    @property
    def has_ended(self) -> bool:
        """Whether the server has ended, and not because another was to have its place."""
        return self.running.has_ended and not self._put_away

    @property
    def ended_early(self) -> bool:
        """Whether the server has ended a connection of this check, unasked."""
        return self._habits.ended_early

    def lengthened(self, seconds: float) -> float:
        """*seconds*, or more of them on a slow machine: for a wait that would show nothing if it
        were shorter.
        """
        return seconds * self._slowness

    def new_check(self, seconds: float = CHECK_TIME) -> None:
        """Begin the time of the next check, with no client of the last.

        A server that the last check was the end of, or that it has spoiled, is started again.
        """
        self.let_clients_go()
        if self.spoiled or self.running.has_ended:
            self._restart()
        self._habits = Habits()
        self.deadline = time.monotonic() + seconds * max(1.0, self.scale)

    def let_clients_go(self) -> None:
        """Close the connections of all clients."""
        self._peers.close()

    def connect(self, endpoint: str | None = None) -> Peer:
        """Another client; it is closed after the check at the latest.

        :param endpoint: another of the same server's.
        :raises CheckFailed: the server takes none.
        """
        return self._peer(endpoint or self.running.endpoint, self._habits)

    def answers(self, message: bytes) -> None:
        """See a fresh client get the words of *message* back, whatever is around them.

        :raises CheckFailed: it does not.
        """
        with self.connect() as peer:
            peer.ask(message)

    def serves(self) -> None:
        """See a fresh client be served, however.

        :raises CheckFailed: it is not.
        """
        self.answers(b"is it still there?\n")

    def dialogue(self) -> Peer:
        """A client that has been answered twice on its connection.

        :raises CheckSkipped: one cannot be: `streams.stays-open` says so.
        """
        peer = self.connect()
        try:
            for message in (b"one\n", b"two\n"):
                peer.say(message)
                peer.hear(message)
        except CheckFailed:
            raise CheckSkipped(
                "two messages of one connection are not answered; see streams.stays-open"
            ) from None
        return peer

    def knock(self, seconds: float) -> socket.socket:
        """A bare connection, without TLS, within *seconds*; closed after the check at the latest.

        The system makes it, for a server that listens, whatever that does meanwhile.

        :raises CheckFailed: none is made.
        """
        transport, address = parse_endpoint(self.running.endpoint)
        family: int = socket.AF_UNIX
        target: Any = address
        if isinstance(address, tuple):
            family, _, _, _, target = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        sock = self._peers.enter_context(socket.socket(family, socket.SOCK_STREAM))
        if transport == "unix-stream":
            limit_waits(sock, seconds)
        else:
            sock.settimeout(seconds)
        try:
            sock.connect(target)
        except (TimeoutError, BlockingIOError):
            raise CheckFailed(f"a connection within {seconds:g} s", "none") from None
        except OSError as error:
            raise lack_of(error) or CheckFailed(
                "a connection", str(error.strerror).lower()
            ) from None
        return sock

    def started(self) -> RunningTarget:
        """The running server, where it was started here.

        :raises CheckSkipped: it was not.
        """
        if self.running.pid is None:
            raise CheckSkipped("the server was not started here: its processes are not known")
        return self.running

    def renewed(self) -> RunningTarget:
        """A fresh server, for this check and those after it; the running one, if it is fresh.

        One at a time: a program may have a file or a lock that no two can have.

        :raises CheckSkipped: the server was not started here.
        :raises CheckFailed: it cannot be started, or the last one has ended by itself.
        """
        if self.fresh:
            return self.started()
        self._put_away_running()
        if not self._put_away:
            raise CheckFailed("a server that goes on", "it has ended")
        self.running.close()
        self.running = self._started_again()
        self.fresh, self.spoiled, self._put_away = True, False, False
        return self.running

    @contextmanager
    def another(self) -> Iterator[RunningTarget]:
        """A server of the same kind in the place of the first, for a check that ends it.

        The first is not there any more; the next check gets a server of its own.

        :raises CheckSkipped: the server was not started here.
        :raises CheckFailed: it cannot be started.
        """
        self._put_away_running().close()
        with self._started_again() as running:
            yield running

    @contextmanager
    def given_up(self) -> Iterator[RunningTarget]:
        """The running server, for a check that ends it; if it has ended by itself, another.

        :raises CheckSkipped: the server was not started here.
        :raises CheckFailed: it cannot be started.
        """
        running = self._put_away_running()
        if running.has_ended:
            with self.another() as running:
                yield running
        else:
            with running:
                yield running

    def _put_away_running(self) -> RunningTarget:
        """The running server, which from now on may end."""
        running = self.started()
        if not self.fresh:
            running.wait(self.lengthened(ENDING))  # if it is dying, that is to be known
        self._put_away = self._put_away or not running.has_ended
        return running

    def _started_again(self) -> RunningTarget:
        try:
            return self._start()
        except TargetError as error:
            raise lack_of(error.__cause__) or CheckFailed(
                "a server that starts", str(error)
            ) from error

    def peer_of(self, running: RunningTarget) -> Peer:
        """A client of *running*; it is closed after the check at the latest."""
        return self._peer(running.endpoint, Habits())

    def _peer(self, endpoint: str, habits: Habits) -> Peer:
        return self._peers.enter_context(
            Peer(endpoint, self.patience, self.deadline, habits, self._slowness)
        )

    def _restart(self) -> None:
        self._kills += self.running.limit is not None
        if self._kills >= MOST_KILLS:
            raise TargetError(f"killed {MOST_KILLS} times, the last time: {self.running.limit}")
        self.running.close()
        self.running = self._start()
        self.fresh, self.spoiled, self._put_away = True, False, False

    def _start(self) -> RunningTarget:
        return RunningTarget(self.target, limits=self._limits, start_time=START_TIME * self.scale)
