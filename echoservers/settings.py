"""The options that every server has, each stated once."""

from typing import Annotated

from .options import (
    Option,
    choice,
    count,
    count_or_none,
    seconds,
    seconds_or_none,
    size_or_none,
)

__all__ = ["ServingOptions"]


class ServingOptions:
    """Options of every server; set as keyword arguments, on a subclass or on an instance."""

    max_connections: Annotated[
        int, Option(count, "connections", "serve at most this many at the same time")
    ] = 1000  # under the usual limit of 1024 descriptors, with room for our own

    overflow: Annotated[
        str,
        Option(
            choice("queue", "refuse"),
            "queue|refuse",
            "when no more can be served: leave them in the listen backlog, or close them",
        ),
    ] = "queue"  # a client that waits is served in the end

    max_connections_per_source: Annotated[
        int | None,
        Option(count_or_none, "connections", "serve at most this many of one IP address"),
    ] = None  # behind a proxy, or on loopback, all clients are one source

    idle_timeout: Annotated[
        float | None,
        Option(seconds_or_none, "seconds", "close a connection that makes no progress for so long"),
    ] = 300.0  # a person may think for minutes; a dead peer must not hold a worker for hours

    max_message_size: Annotated[
        int | None,
        Option(size_or_none, "bytes", "longest message taken; none: what the handler says"),
    ] = None

    drain_timeout: Annotated[
        float,
        Option(seconds, "seconds", "how long SIGTERM and server_close() wait for connections"),
    ] = 9.0  # under the 10 seconds after which container runtimes kill
