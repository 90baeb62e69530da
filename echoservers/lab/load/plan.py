"""LoadPlan: what a generator is to do, checked, and as JSON on its way to the generator."""

import dataclasses
import json
import math
from typing import Any, Self

from ...addresses import STREAMS, parse_endpoint
from ...errors import OptionError

__all__ = ["ARRIVALS", "MAX_SAMPLES", "SHAPES", "LoadPlan"]

SHAPES = ("closed", "open", "churn", "datagram")
ARRIVALS = ("fixed", "poisson")

MAX_SAMPLES = 10_000_000
"""Messages a run: at 16 bytes a sample 160 MB; a generator of ours makes fewer in a minute."""

MAX_CONNECTIONS = 20_000
"""Below the 28,232 ephemeral ports that Linux gives by default to connect from one address."""

MAX_DATAGRAM = 65_507
"""Bytes that fit a UDP datagram over IPv4: 65,535 less the two headers (RFC 768, RFC 791)."""


@dataclasses.dataclass(frozen=True)
class LoadPlan:
    """What load is put on a server; the times are in seconds, the sizes in bytes.

    :raises OptionError: a value that cannot be, or values that do not go together.
    :raises EndpointError: the endpoint cannot be understood.
    """

    endpoint: str
    """``tcp://HOST:PORT`` or any other that `parse_endpoint` reads, but ``raw://``."""
    shape: str = "closed"
    """``closed``, ``open``, ``churn`` or ``datagram``."""
    connections: int = 1
    """Clients at a time; of datagrams, sockets."""
    size: int = 64
    """Bytes of a message, its closing newline included."""
    pipeline: int = 1
    """Messages that a connection of ``closed`` has in flight."""
    rate: float | None = None
    """Messages a second over all connections, of ``open`` and ``datagram``."""
    arrivals: str = "fixed"
    """``fixed`` distances between messages, or ``poisson``: as of clients who know nothing of
    each other."""
    duration: float = 1.0
    """Of the measured window."""
    warmup: float = 0.2
    """Before it, under the same load, and dropped."""
    messages_per_connection: int = 1
    """Of ``churn``, one after the other."""
    requests: int | None = None
    """Connections of ``churn``, over all, after which the window is over; by default time alone
    ends it.  Those of the warm-up do not count."""
    idle: int = 0
    """Further connections that are answered once, and then are idle."""
    slow: int = 0
    """Further clients that send as much as they can and never read."""
    silent: int = 0
    """Further clients that connect and never send."""
    half: int = 0
    """Further clients that send half a message and no more."""
    seed: int = 1
    """Of the arrivals."""
    timeout: float = 5.0
    """Without any reply until the server is said to hang; also how long late replies of
    ``open`` are waited for."""
    message: bytes = b""
    """What every message begins with, for a handler that reads it."""

    def __post_init__(self) -> None:
        transport = parse_endpoint(self.endpoint).transport
        if transport == "raw":
            raise OptionError(f"{self.endpoint}: load is for every transport but raw")
        self._check_names(transport)
        for name, low, high in _LIMITS:
            value = getattr(self, name)
            if not low <= value <= high:
                raise OptionError(f"{name}={value!r}: expected {low:g} to {high:g}")
        if self.requests is not None and self.requests < 1:
            raise OptionError(f"requests={self.requests!r}: expected 1 or more, or None")
        if self.size <= len(self.message):
            raise OptionError(
                f"size={self.size}: expected more than the {len(self.message)} bytes that every"
                " message begins with"
            )
        if transport == "udp" and self.size > MAX_DATAGRAM:
            raise OptionError(f"size={self.size}: a datagram has at most {MAX_DATAGRAM} bytes")
        self._check_rate()

    @property
    def transport(self) -> str:
        """Of the endpoint: ``tcp``, ``udp``, ``unix-stream``, ``unix-datagram`` or ``tls``."""
        return parse_endpoint(self.endpoint).transport

    @property
    def is_scheduled(self) -> bool:
        """Whether messages leave when they are due, and not when a reply has come."""
        return self.shape in ("open", "datagram")

    @property
    def is_plain(self) -> bool:
        """Whether it is a closed loop of one message a client, and nothing beside."""
        beside = self.idle or self.slow or self.silent or self.half
        once = self.pipeline == self.messages_per_connection == 1 and self.requests is None
        return self.shape in ("closed", "churn") and once and not beside

    def to_json(self) -> str:
        """As one line, that `from_json` reads."""
        fields = dataclasses.asdict(self)
        # Any byte may be in a message; Latin-1 is the encoding in which each is one character.
        return json.dumps(fields | {"message": self.message.decode("latin-1")})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The plan that *text* is.

        :raises OptionError: it is none.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            return cls(**fields | {"message": fields.get("message", "").encode("latin-1")})
        except (TypeError, ValueError, AttributeError) as error:
            if isinstance(error, OptionError):
                raise
            raise OptionError(f"not the JSON of a load plan: {error}") from error

    def _check_names(self, transport: str) -> None:
        for name, value, known in (
            ("shape", self.shape, SHAPES),
            ("arrivals", self.arrivals, ARRIVALS),
        ):
            if value not in known:
                raise OptionError(f"{name}={value!r}: expected {', '.join(known)}")
        stream = transport in STREAMS
        if stream and self.shape == "datagram":
            raise OptionError(f"shape='datagram' is for udp and unix-datagram, not {transport}")
        if not stream and self.shape == "churn":
            raise OptionError(f"shape='churn' is for {', '.join(STREAMS)}, not {transport}")
        if not stream and (self.idle or self.slow or self.silent or self.half):
            raise OptionError(f"idle, slow, silent and half are connections; {transport} has none")
        if not stream and self.pipeline > 1:
            raise OptionError(
                f"pipeline={self.pipeline} is for {', '.join(STREAMS)}; give more connections"
            )

    def _check_rate(self) -> None:
        if not self.is_scheduled:
            if self.rate is not None:
                raise OptionError(f"rate is for open and datagram, not for {self.shape}")
            return
        if self.rate is None or not 0 < self.rate < math.inf:
            raise OptionError(f"rate={self.rate!r}: {self.shape} needs messages a second")
        if self.rate * (self.warmup + self.duration) > MAX_SAMPLES:
            raise OptionError(
                f"rate={self.rate:g} over {self.warmup + self.duration:g} s is more than"
                f" {MAX_SAMPLES:,} messages; shorten the run"
            )


_HOUR = 3600.0  # seconds: longer runs are several

_LIMITS: tuple[tuple[str, float, float], ...] = (
    ("connections", 1, MAX_CONNECTIONS),
    ("size", 1, 1 << 26),  # 64 MiB: beyond it messages of all connections fill the memory
    ("pipeline", 1, 1024),
    ("duration", 0.01, _HOUR),
    ("warmup", 0, _HOUR),
    ("messages_per_connection", 1, MAX_SAMPLES),
    ("idle", 0, MAX_CONNECTIONS),
    ("slow", 0, MAX_CONNECTIONS),
    ("silent", 0, MAX_CONNECTIONS),
    ("half", 0, MAX_CONNECTIONS),
    ("timeout", 0.01, _HOUR),
)
