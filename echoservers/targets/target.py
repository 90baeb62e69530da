"""Target: which server is meant, by mode spec, endpoint or command."""

import enum
import shlex
import sys
from typing import NamedTuple, Self

from ..addresses import STREAMS, parse_endpoint
from ..catalogue import TRANSPORTS
from ..errors import OptionError, TargetError
from ..registry import clients_at_once, parse_mode_spec

__all__ = ["COMMAND_TRANSPORTS", "Level", "Target"]

COMMAND_TRANSPORTS = tuple(name for name in TRANSPORTS if name != "raw")
"""What a program that is not ours can be checked over; raw IP has no place for its address."""


class Level(enum.IntEnum):
    """How many clients a server can serve at the same time; each includes the one before."""

    ITERATIVE = 1
    """One; the others wait."""
    POOL = 2
    """A few, as many as it has workers."""
    CONCURRENT = 3
    """Hundreds."""

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def named(cls, name: str) -> Self:
        """The level called *name*, in lower case.

        :raises ValueError: with the names there are.
        """
        for level in cls:
            if str(level) == name:
                return level
        raise ValueError(f"expected {', '.join(map(str, cls))}")


class Target(NamedTuple):
    """A server, described; `RunningTarget` starts it, or uses it where it runs."""

    name: str
    """What tables call it."""
    transport: str
    """``tcp``, ``udp``, ``unix-stream``, ``unix-datagram``, ``tls`` or ``raw``."""
    command: tuple[str, ...] = ()
    """The program and its arguments, with ``{port}``, ``{host}`` and ``{path}`` to be filled
    in; empty for a server that runs already."""
    endpoint: str | None = None
    """Where it runs already."""
    level: Level = Level.CONCURRENT
    """How many clients at a time it should be able to serve."""
    mode: str | None = None
    """The mode spec, for a server of ours."""
    directory: str | None = None
    """Where the command is run; by default here."""
    fields: tuple[tuple[str, str], ...] = ()
    """What else is to be filled in, such as ``{file}``, and by what."""

    @property
    def is_stream(self) -> bool:
        """Whether it has connections, not datagrams."""
        return self.transport in STREAMS

    @property
    def is_ours_to_start(self) -> bool:
        """Whether it is a program to be started, not one that runs already."""
        return bool(self.command)

    @classmethod
    def of_mode(cls, spec: str, name: str | None = None) -> Self:
        """A server of this package in the mode that *spec* says.

        :raises TargetError: it is not available on this system.
        :raises EchoServersError: there is no such mode or option.
        """
        mode, _ = parse_mode_spec(spec)
        if not mode.available:
            raise TargetError(f"{mode.name} is not available: {mode.reason}")
        arguments: tuple[str, ...] = ("--mode", spec)
        if TRANSPORTS[mode.transport].port:
            arguments += ("--host", "{host}", "--port", "{port}")
        elif mode.transport == "raw":
            arguments += ("--host", "{host}")
        else:
            arguments += ("--path", "{path}")
        command = (sys.executable, "-m", "echoservers", *arguments)
        return cls(name or spec, mode.transport, command, level=_level(spec), mode=spec)

    @classmethod
    def of_endpoint(cls, url: str, name: str | None = None) -> Self:
        """A server that runs already.

        :raises EndpointError: *url* is no endpoint.
        """
        return cls(name or url, parse_endpoint(url).transport, endpoint=url)

    @classmethod
    def of_command(
        cls,
        text: str,
        transport: str | None = None,
        name: str | None = None,
        directory: str | None = None,
    ) -> Self:
        """Any program that serves at the ``{port}`` of 127.0.0.1, or at the Unix ``{path}``.

        It is executed directly, with no shell between, so that signals reach it.

        :param transport: by default ``tcp``, with a ``{path}`` ``unix-stream``.
        :raises OptionError: the command does not say where the address belongs.
        """
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            raise OptionError(f"the command {text!r} cannot be read: {error}") from None
        if transport is None:
            transport = "tcp" if "{path}" not in text else "unix-stream"
        if transport not in COMMAND_TRANSPORTS:
            raise OptionError(
                f"a command's transport cannot be {transport!r}; expected "
                + ", ".join(COMMAND_TRANSPORTS)
            )
        needed = "{port}" if TRANSPORTS[transport].port else "{path}"
        if not any(needed in word for word in words):
            raise OptionError(
                f"the command {text!r} has no {needed}; put it where the program takes its"
                f" {needed[1:-1]}, for example './server {needed}'"
            )
        return cls(name or text, transport, words, directory=directory)

    @classmethod
    def of_text(cls, text: str) -> Self:
        """A mode spec, or an endpoint where there is ``://``.

        :raises EchoServersError: it is neither.
        """
        return cls.of_endpoint(text) if "://" in text else cls.of_mode(text)


def _level(spec: str) -> Level:
    clients = clients_at_once(spec)
    if clients is None:
        return Level.CONCURRENT
    return Level.ITERATIVE if clients == 1 else Level.POOL
