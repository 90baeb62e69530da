"""RunningTarget: a target that serves, and that is gone when its block ends.

A program is run by a supervisor process of its own (`supervisor`), which kills all that
the program has started when it is told to, or when this process ends in whatever way.
"""

import contextlib
import math
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ..addresses import DEFAULT_HOST, parse_endpoint
from ..errors import TargetError
from ..log import escape
from . import supervisor
from .limits import MIB, Limits, descriptors_for_others
from .listening import is_listening, reserve_port
from .target import Target

__all__ = ["RunningTarget", "TargetError"]

START_TIME = 10.0
"""Seconds until it must listen: a virtual machine of another language takes a few."""

STOP_TIME = 20.0
"""Seconds for what was killed to be gone."""

ICMP_TIME = 0.3
"""Seconds for the refusal of a datagram to come back, from this machine or a near one."""

LOOK_AGAIN = 0.005
"""Seconds between two looks whether a program listens, which gives no event."""

OUTPUT_KEPT = 65536
"""Bytes of a program's output that are kept, the last; a program may print for ever."""

LINE_SHOWN = 200
"""Characters of a line of it that an error message has; a program may print without lines."""


class RunningTarget:
    """A server to be looked at; a context manager that ends it, if it was started here.

    :param target: which.
    :param beside: another of the same target, whose address the program is given; by
        default it gets a free one.
    :param listens: whether to wait until it listens; else its end is for the caller to see.
    :param cpus: the processors that a program may run on; by default any.
    :param wrapper: a program and arguments to run it under, such as `prlimit`.
    :param limits: what the program may use before it is killed; by default anything.
    :raises TargetError: it cannot be started, ends at once, or never listens.
    """

    def __init__(
        self,
        target: Target,
        *,
        beside: "RunningTarget | None" = None,
        listens: bool = True,
        cpus: frozenset[int] | None = None,
        wrapper: tuple[str, ...] = (),
        limits: Limits | None = None,
        start_time: float = START_TIME,
    ) -> None:
        self.target = target
        self.pid: int | None = None
        """Of the program itself; None for a server that was not started here."""
        self.status: int | None = None
        """Of the program that has ended, as `subprocess` has it: negative for a signal."""
        self.limit: str | None = None
        """Why it was killed: which of the limits it has exceeded."""
        self._limits = limits
        self._output: deque[bytes] = deque()
        self._kept = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._reserved: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self._failure = ""
        if target.endpoint is not None:
            self.endpoint = target.endpoint
            if listens:
                self._reach(start_time)
            return
        self.endpoint, words = self._fill_in(beside)
        try:
            self._start((*wrapper, *words), cpus)
            if listens:
                self._wait_until_it_listens(time.monotonic() + start_time, start_time)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def supervisor_pid(self) -> int | None:
        """Of the process whose descendants are all that the program has started."""
        return None if self._process is None else self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the program has ended, or is being killed for what it uses."""
        return self._ended.is_set() or self.limit is not None

    def has_left_its_address(self) -> bool:
        """Whether nobody listens there any more, as when it is about to end; False where the
        system does not tell.
        """
        transport, address = parse_endpoint(self.endpoint)
        return is_listening(transport, address) is False

    def output(self) -> str:
        """The last of what the program has printed, on either stream."""
        return b"".join(self._output)[-OUTPUT_KEPT:].decode("utf-8", "backslashreplace")

    def last_words(self, lines: int = 3) -> str:
        """The last lines of its output in one, for an error message; may be empty."""
        kept = [line.strip() for line in self.output().splitlines() if line.strip()]
        return escape(" / ".join(line[-LINE_SHOWN:] for line in kept[-lines:]), None)

    def said(self) -> str:
        """``; it said: ...``, when it is known whether there is more; or nothing."""
        if self._ended.is_set():
            for thread in self._threads[:1]:
                thread.join(0.2)  # a child of its may keep the pipe open for longer
        words = self.last_words()
        return f"; it said: {words}" if words else ""

    def how_it_ended(self) -> str:
        """``ended with status 1``, or ``was killed: WHY`` by which limit."""
        if self.limit is not None:
            return f"was killed: {self.limit}"
        return f"ended with status {self.status}"

    def send_signal(self, signum: int) -> None:
        """Send a signal to the program alone, not to what it has started."""
        self._order(f"signal {int(signum)}")

    def wait(self, timeout: float | None) -> int | None:
        """The exit status within *timeout* seconds (None: at all); None: it goes on."""
        self._ended.wait(timeout)
        return self.status

    def close(self) -> None:
        """Kill the program and all that it has started, if that was done here."""
        process = self._process
        if process is not None:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()  # the end of its orders
            for thread in self._threads[1:]:
                thread.join(STOP_TIME)  # it reads to the end: a wait with a time limit polls
            try:
                process.wait(STOP_TIME)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for thread in self._threads:
                thread.join(STOP_TIME)
        if self._reserved is not None:
            self._reserved.close()
        if self._folder is not None:
            self._folder.cleanup()

    # --- inside ---------------------------------------------------------------------

    def _fill_in(self, beside: "RunningTarget | None") -> tuple[str, list[str]]:
        """The endpoint, and the command with the address in it."""
        host, port, path = DEFAULT_HOST, 0, ""
        transport = self.target.transport
        if beside is not None:
            where = beside.endpoint.partition("://")[2]
            address = parse_endpoint(beside.endpoint).address
            if isinstance(address, str):
                path = address
            else:
                host, port = address
        elif transport.startswith("unix"):
            self._folder = tempfile.TemporaryDirectory(prefix="echo")
            where = path = str(Path(self._folder.name, "server.sock"))
        elif transport == "raw":
            # Whoever has the same address hears every datagram for it: one for each of us.
            own = os.getpid()
            where = host = f"127.{1 + own // 62500 % 250}.{1 + own // 250 % 250}.{1 + own % 250}"
        else:
            port, self._reserved = reserve_port(host, transport)
            where = f"{host}:{port}"
        fields = {**dict(self.target.fields), "{host}": host, "{port}": str(port), "{path}": path}
        # At once, so that braces in a value are left alone.
        known = re.compile("|".join(map(re.escape, fields)))
        words = [known.sub(lambda field: fields[field[0]], w) for w in self.target.command]
        return f"{transport}://{where}", words

    def _start(self, words: tuple[str, ...], cpus: frozenset[int] | None) -> None:
        output, printed = os.pipe()
        script = str(Path(supervisor.__file__))
        limits = () if self._limits is None else self._limits.arguments()
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", script),
                    *(str(printed), str(descriptors_for_others()), *limits, "--", *words),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=self.target.directory,
                pass_fds=[printed],
                start_new_session=True,  # Ctrl-C is for us: we end it in our order
            )
        except OSError as error:
            os.close(output)
            raise TargetError(f"{self.target.name}: {error.strerror}: {error.filename}") from error
        finally:
            os.close(printed)
        assert self._process.stdout is not None
        printing = open(output, "rb", buffering=0)  # noqa: SIM115 - its thread closes it
        self._in_thread(self._read_output, printing)
        if cpus is not None:
            os.sched_setaffinity(self._process.pid, cpus)
        events = self._process.stdout
        first, _, rest = events.readline().decode().strip().partition(" ")
        if first != "started":
            raise TargetError(f"{self.target.name}: {words[0]} cannot be started: {rest}")
        self.pid = int(rest)
        self._in_thread(self._read_events, events)

    def _in_thread(self, run: Callable[[IO[bytes]], None], stream: IO[bytes]) -> None:
        thread = threading.Thread(target=run, args=(stream,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _read_events(self, events: IO[bytes]) -> None:
        with events:
            for line in events:
                event, _, value = line.decode().strip().partition(" ")
                if event == "limit":
                    self.limit = value
                elif event == "ended":
                    self.status = int(value)
                    self._ended.set()
        self._ended.set()

    def _read_output(self, output: IO[bytes]) -> None:
        printed, most = 0, math.inf if self._limits is None else self._limits.output
        with output:
            while data := output.read(65536):
                self._output.append(data)
                self._kept += len(data)
                printed += len(data)
                if printed > most:
                    self._order(f"limit more than {most / MIB:g} MiB printed")
                    most = math.inf
                while self._kept - len(self._output[0]) >= OUTPUT_KEPT:
                    self._kept -= len(self._output.popleft())

    def _order(self, order: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has gone, or is being closed
            self._process.stdin.write(order.encode() + b"\n")
            self._process.stdin.flush()

    def _wait_until_it_listens(self, deadline: float, patience: float) -> None:
        transport, address = parse_endpoint(self.endpoint)
        while True:
            if self._ended.is_set():
                raise TargetError(
                    f"{self.target.name} {self.how_it_ended()} before it listened{self.said()}"
                )
            listens = is_listening(transport, address)
            if listens or (listens is None and self._says_so()):
                return
            if time.monotonic() > deadline:
                raise TargetError(
                    f"{self.target.name} did not listen at {self.endpoint}"
                    f" within {patience:g} s{self.said()}"
                )
            self._ended.wait(LOOK_AGAIN)

    def _reach(self, patience: float) -> None:
        """See that somebody is there; of a datagram's address only a refusal tells."""
        from ..client import EchoClient

        options: dict[str, Any] = {"insecure": True} if self.target.transport == "tls" else {}
        try:
            with EchoClient(self.endpoint, timeout=patience, **options) as client:
                if not client.is_stream:
                    client.timeout = ICMP_TIME
                    client.echo(b"is anybody there?\n")
        except TimeoutError as error:
            if self.target.is_stream:
                raise TargetError(f"{self.target.name}: {error}") from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise TargetError(f"{self.target.name} cannot be reached: {reason}") from error

    def _says_so(self) -> bool:
        """Where the system does not tell: our servers say so, others answer a connection."""
        if self.target.mode is not None:
            return " listening on " in self.output()
        from ..client import EchoClient

        try:
            EchoClient(self.endpoint, timeout=1.0).close()
        except OSError:
            return False
        return True
