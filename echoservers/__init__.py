"""Echo servers in every classic concurrency model, on the standard library's socketserver.

The names below are the public interface; each is imported when it is first used.  So is the
server class of every mode, by its composed name: ``EpollTCPServer``, ``PreforkEpollTCPServer``.
"""

from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .client import EchoClient as EchoClient
    from .counters import Stats as Stats
    from .errors import EchoServersError as EchoServersError
    from .errors import EndpointError as EndpointError
    from .errors import FramingError as FramingError
    from .errors import HandlerNotSupported as HandlerNotSupported
    from .errors import IncompleteMessage as IncompleteMessage
    from .errors import MessageTooLong as MessageTooLong
    from .errors import ModeNotAvailable as ModeNotAvailable
    from .errors import OptionError as OptionError
    from .errors import UnknownMode as UnknownMode
    from .framing import Framing as Framing
    from .framing import LengthPrefixedFraming as LengthPrefixedFraming
    from .framing import LineFraming as LineFraming
    from .framing import RawFraming as RawFraming
    from .handlers import DiscardHandler as DiscardHandler
    from .handlers import EchoHandler as EchoHandler
    from .handlers import TimestampHandler as TimestampHandler
    from .handlers import UpperHandler as UpperHandler
    from .models.forks import ForkingMixIn as ForkingMixIn
    from .models.forks import ForkingTCPServer as ForkingTCPServer
    from .models.forks import ForkingUDPServer as ForkingUDPServer
    from .models.forks import ForkingUnixDatagramServer as ForkingUnixDatagramServer
    from .models.forks import ForkingUnixStreamServer as ForkingUnixStreamServer
    from .models.prethreading import PrethreadingMixIn as PrethreadingMixIn
    from .models.prethreading import PrethreadingTCPServer as PrethreadingTCPServer
    from .models.prethreading import PrethreadingUDPServer as PrethreadingUDPServer
    from .models.prethreading import (
        PrethreadingUnixDatagramServer as PrethreadingUnixDatagramServer,
    )
    from .models.prethreading import PrethreadingUnixStreamServer as PrethreadingUnixStreamServer
    from .models.reactors import EpollMixIn as EpollMixIn
    from .models.reactors import KqueueMixIn as KqueueMixIn
    from .models.reactors import PollMixIn as PollMixIn
    from .models.reactors import ReactorMixIn as ReactorMixIn
    from .models.reactors import SelectMixIn as SelectMixIn
    from .models.thread_pool import ThreadPoolMixIn as ThreadPoolMixIn
    from .models.thread_pool import ThreadPoolTCPServer as ThreadPoolTCPServer
    from .models.thread_pool import ThreadPoolUDPServer as ThreadPoolUDPServer
    from .models.thread_pool import ThreadPoolUnixDatagramServer as ThreadPoolUnixDatagramServer
    from .models.thread_pool import ThreadPoolUnixStreamServer as ThreadPoolUnixStreamServer
    from .models.threads import ThreadingMixIn as ThreadingMixIn
    from .models.threads import ThreadingTCPServer as ThreadingTCPServer
    from .models.threads import ThreadingUDPServer as ThreadingUDPServer
    from .models.threads import ThreadingUnixDatagramServer as ThreadingUnixDatagramServer
    from .models.threads import ThreadingUnixStreamServer as ThreadingUnixStreamServer
    from .registry import Mode as Mode
    from .registry import create_server as create_server
    from .registry import modes as modes
    from .registry import register as register
    from .registry import server_class as server_class
    from .registry import start_server as start_server
    from .serving import DrainResult as DrainResult
    from .serving import ServingMixIn as ServingMixIn
    from .transports import TCPServer as TCPServer
    from .transports import UDPServer as UDPServer
    from .transports import UnixDatagramServer as UnixDatagramServer
    from .transports import UnixStreamServer as UnixStreamServer

_HOMES = {
    "client": ("EchoClient",),
    "counters": ("Stats",),
    "errors": (
        "EchoServersError",
        "EndpointError",
        "FramingError",
        "HandlerNotSupported",
        "IncompleteMessage",
        "MessageTooLong",
        "ModeNotAvailable",
        "OptionError",
        "UnknownMode",
    ),
    "framing": ("Framing", "LengthPrefixedFraming", "LineFraming", "RawFraming"),
    "handlers": ("DiscardHandler", "EchoHandler", "TimestampHandler", "UpperHandler"),
    "models.forks": (
        "ForkingMixIn",
        "ForkingTCPServer",
        "ForkingUDPServer",
        "ForkingUnixDatagramServer",
        "ForkingUnixStreamServer",
    ),
    "models.prethreading": (
        "PrethreadingMixIn",
        "PrethreadingTCPServer",
        "PrethreadingUDPServer",
        "PrethreadingUnixDatagramServer",
        "PrethreadingUnixStreamServer",
    ),
    "models.thread_pool": (
        "ThreadPoolMixIn",
        "ThreadPoolTCPServer",
        "ThreadPoolUDPServer",
        "ThreadPoolUnixDatagramServer",
        "ThreadPoolUnixStreamServer",
    ),
    "models.reactors": (
        "EpollMixIn",
        "KqueueMixIn",
        "PollMixIn",
        "ReactorMixIn",
        "SelectMixIn",
    ),
    "models.threads": (
        "ThreadingMixIn",
        "ThreadingTCPServer",
        "ThreadingUDPServer",
        "ThreadingUnixDatagramServer",
        "ThreadingUnixStreamServer",
    ),
    "registry": ("Mode", "create_server", "modes", "register", "server_class", "start_server"),
    "serving": ("DrainResult", "ServingMixIn"),
    "transports": ("TCPServer", "UDPServer", "UnixDatagramServer", "UnixStreamServer"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME)]  # noqa: PLE0604 - a list of names, made from one place


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _HOME:
        value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    elif name.endswith("Server") and (value := _composed(name)) is not None:
        pass
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _composed(name: str) -> Any:
    from .registry import class_named

    return class_named(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
