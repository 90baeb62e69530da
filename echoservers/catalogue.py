"""The built-in transports and models: one line each, so that naming one imports nothing else."""

from typing import NamedTuple

__all__ = ["ITERATIVE", "MODELS", "TRANSPORTS", "Model", "Transport"]


class Transport(NamedTuple):
    """What carries the bytes."""

    server: str  # module:class
    class_suffix: str  # of the composed classes: ThreadingMixIn + this
    needs: str  # an attribute of the socket module


class Model(NamedTuple):
    """Who serves which client, and when."""

    mixin: str | type | None  # module:class or class; None: the transport's own class
    serves: str  # what serves a client
    good_for: str
    aliases: tuple[str, ...] = ()  # of the TCP mode
    needs: str | None = None  # module.attribute of the standard library


TRANSPORTS = {
    "tcp": Transport("echoservers.transports:TCPServer", "TCPServer", "AF_INET"),
    "udp": Transport("echoservers.transports:UDPServer", "UDPServer", "AF_INET"),
    "unix-stream": Transport(
        "echoservers.transports:UnixStreamServer", "UnixStreamServer", "AF_UNIX"
    ),
    "unix-datagram": Transport(
        "echoservers.transports:UnixDatagramServer", "UnixDatagramServer", "AF_UNIX"
    ),
}

ITERATIVE = "iterative"

MODELS: dict[str, Model] = {
    ITERATIVE: Model(
        None,
        "the main loop, one client after the other",
        "the shortest code; tests; datagrams",
        ("unp0", "echoserveri"),
    ),
    "threading": Model(
        "echoservers.models.threads:ThreadingMixIn",
        "a new thread",
        "hundreds of clients that mostly wait",
        ("unp6", "echoservert"),
    ),
    "forking": Model(
        "echoservers.models.forks:ForkingMixIn",
        "a new process",
        "few clients that compute, or must not share memory",
        ("unp1", "echoserverp"),
        needs="os.fork",
    ),
    "thread-pool": Model(
        "echoservers.models.thread_pool:ThreadPoolMixIn",
        "a thread of a pool, over a queue",
        "many short connections, in few threads",
        ("unp8", "echoservert-pre"),
    ),
    "prethreading": Model(
        "echoservers.models.prethreading:PrethreadingMixIn",
        "a thread of a pool, which accepts",
        "short connections, with no queue between",
        ("unp7",),
    ),
    "select": Model(
        "echoservers.models.reactors:SelectMixIn",
        "one loop for all, waiting with select",
        "under a thousand clients, on any system",
        ("echoservers",),
    ),
    "poll": Model(
        "echoservers.models.reactors:PollMixIn",
        "one loop for all, waiting with poll",
        "hundreds of clients, most of them busy",
        needs="select.poll",
    ),
    "epoll": Model(
        "echoservers.models.reactors:EpollMixIn",
        "one loop for all, waiting with epoll",
        "thousands of clients, most of them idle",
        needs="select.epoll",
    ),
    "kqueue": Model(
        "echoservers.models.reactors:KqueueMixIn",
        "one loop for all, waiting with kqueue",
        "the same, on the BSDs and macOS",
        needs="select.kqueue",
    ),
}
