"""The built-in transports and models: one line each, so that naming one imports nothing else.

``prefork`` is not one model more, but one over each: ``prefork-threading-tcp`` runs the
threading model in every worker, ``prefork-tcp`` the iterative one.
"""

from typing import NamedTuple

__all__ = [
    "ITERATIVE",
    "MODELS",
    "PREFORK",
    "PREFORK_MIXIN",
    "SPELLED_BY_ALIAS",
    "TRANSPORTS",
    "Model",
    "Transport",
]


class Transport(NamedTuple):
    """What carries the bytes."""

    server: str  # module:class
    class_suffix: str  # of the composed classes: ThreadingMixIn + this
    needs: str  # an attribute of the socket module
    port: bool = False  # whether a server has one
    refusal: str | None = None  # module:function; why there is none here, or None


class Model(NamedTuple):
    """Who serves which client, and when."""

    mixin: str | type | None  # module:class or class; None: the transport's own class
    serves: str  # what serves a client
    good_for: str
    aliases: tuple[str, ...] = ()  # of the TCP mode
    needs: str | None = None  # module.attribute of the standard library
    package: str | None = None  # that an extra of the same name installs
    prefork: bool = True  # whether it runs in preforked workers too
    clients: int | str | None = None  # served at a time; the option that says how many; no limit


TRANSPORTS = {
    "tcp": Transport("echoservers.transports:TCPServer", "TCPServer", "AF_INET", port=True),
    "udp": Transport("echoservers.transports:UDPServer", "UDPServer", "AF_INET", port=True),
    "unix-stream": Transport(
        "echoservers.transports:UnixStreamServer", "UnixStreamServer", "AF_UNIX"
    ),
    "unix-datagram": Transport(
        "echoservers.transports:UnixDatagramServer", "UnixDatagramServer", "AF_UNIX"
    ),
    "tls": Transport(
        "echoservers.tls:TLSServer",
        "TLSServer",
        "AF_INET",
        port=True,
        refusal="echoservers.system:why_no_tls",
    ),
    "raw": Transport(
        "echoservers.raw:RawServer",
        "RawServer",
        "AF_INET",
        refusal="echoservers.system:why_no_raw_sockets",
    ),
}

ITERATIVE = "iterative"

PREFORK = "prefork"
PREFORK_MIXIN = "echoservers.models.prefork:PreforkMixIn"

SPELLED_BY_ALIAS = {
    "unp2": {"accept": "shared"},
    "unp3": {"accept": "flock"},
    "unp4": {"accept": "mutex"},
    "unp5": {"accept": "handoff"},
}
"""Aliases of ``prefork-tcp`` that stand for a mode spec: the designs of UNP, chapter 30."""

MODELS: dict[str, Model] = {
    ITERATIVE: Model(
        None,
        "the main loop, one client after the other",
        "the shortest code; tests; datagrams",
        ("unp0", "echoserveri"),
        clients=1,
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
        clients="max_workers",
    ),
    "prethreading": Model(
        "echoservers.models.prethreading:PrethreadingMixIn",
        "a thread of a pool, which accepts",
        "short connections, with no queue between",
        ("unp7",),
        clients="max_workers",
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
    "asyncio": Model(
        "echoservers.models.coroutines:AsyncioMixIn",
        "a coroutine, in one thread",
        "thousands of clients; handlers that await",
    ),
    "uvloop": Model(
        "echoservers.models.coroutines:UvloopMixIn",
        "a coroutine, in one thread, on libuv",
        "as asyncio, with less work for each message",
        package="uvloop",
    ),
    "gevent": Model(
        "echoservers.models.greenlets:GeventMixIn",
        "a greenlet, in one thread",
        "thousands of clients; handlers that do I/O",
        package="gevent",
    ),
}
