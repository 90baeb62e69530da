"""Echo servers in every classic concurrency model, on the standard library's socketserver.

The names below are the public interface; each is imported when it is first used.  So is the
server class of every mode, by its composed name: ``EpollTCPServer``, ``PreforkEpollTCPServer``.
``__all__`` and ``dir()`` leave out what needs a package that is not installed here.
"""

from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

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
    from .mode import Mode as Mode
    from .models.coroutines import AsyncioMixIn as AsyncioMixIn
    from .models.coroutines import AsyncioTCPServer as AsyncioTCPServer
    from .models.coroutines import AsyncioUDPServer as AsyncioUDPServer
    from .models.coroutines import AsyncioUnixDatagramServer as AsyncioUnixDatagramServer
    from .models.coroutines import AsyncioUnixStreamServer as AsyncioUnixStreamServer
    from .models.coroutines import UvloopMixIn as UvloopMixIn
    from .models.coroutines import UvloopTCPServer as UvloopTCPServer
    from .models.coroutines import UvloopUDPServer as UvloopUDPServer
    from .models.coroutines import UvloopUnixDatagramServer as UvloopUnixDatagramServer
    from .models.coroutines import UvloopUnixStreamServer as UvloopUnixStreamServer
    from .models.forks import ForkingMixIn as ForkingMixIn
    from .models.forks import ForkingTCPServer as ForkingTCPServer
    from .models.forks import ForkingUDPServer as ForkingUDPServer
    from .models.forks import ForkingUnixDatagramServer as ForkingUnixDatagramServer
    from .models.forks import ForkingUnixStreamServer as ForkingUnixStreamServer
    from .models.greenlets import GeventMixIn as GeventMixIn
    from .models.greenlets import GeventTCPServer as GeventTCPServer
    from .models.greenlets import GeventUDPServer as GeventUDPServer
    from .models.greenlets import GeventUnixDatagramServer as GeventUnixDatagramServer
    from .models.greenlets import GeventUnixStreamServer as GeventUnixStreamServer
    from .models.prefork import PreforkMixIn as PreforkMixIn
    from .models.prefork import PreforkTCPServer as PreforkTCPServer
    from .models.prefork import PreforkUDPServer as PreforkUDPServer
    from .models.prefork import PreforkUnixDatagramServer as PreforkUnixDatagramServer
    from .models.prefork import PreforkUnixStreamServer as PreforkUnixStreamServer
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
    from .raw import RawServer as RawServer
    from .registry import create_server as create_server
    from .registry import modes as modes
    from .registry import register as register
    from .registry import server_class as server_class
    from .registry import start_server as start_server
    from .serving import DrainResult as DrainResult
    from .serving import ServingMixIn as ServingMixIn
    from .tls import TLSServer as TLSServer
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
    "models.coroutines": (
        "AsyncioMixIn",
        "AsyncioTCPServer",
        "AsyncioUDPServer",
        "AsyncioUnixDatagramServer",
        "AsyncioUnixStreamServer",
        "UvloopMixIn",
        "UvloopTCPServer",
        "UvloopUDPServer",
        "UvloopUnixDatagramServer",
        "UvloopUnixStreamServer",
    ),
    "mode": ("Mode",),
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
    "models.greenlets": (
        "GeventMixIn",
        "GeventTCPServer",
        "GeventUDPServer",
        "GeventUnixDatagramServer",
        "GeventUnixStreamServer",
    ),
    "models.prefork": (
        "PreforkMixIn",
        "PreforkTCPServer",
        "PreforkUDPServer",
        "PreforkUnixDatagramServer",
        "PreforkUnixStreamServer",
    ),
    "models.threads": (
        "ThreadingMixIn",
        "ThreadingTCPServer",
        "ThreadingUDPServer",
        "ThreadingUnixDatagramServer",
        "ThreadingUnixStreamServer",
    ),
    "raw": ("RawServer",),
    "registry": ("create_server", "modes", "register", "server_class", "start_server"),
    "serving": ("DrainResult", "ServingMixIn"),
    "tls": ("TLSServer",),
    "transports": ("TCPServer", "UDPServer", "UnixDatagramServer", "UnixStreamServer"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

_NEEDED = {
    "models.greenlets": ("gevent", "gevent is not installed; pip install echoservers[gevent]"),
    "tls": ("_ssl", "this Python was built without ssl"),
}
"""What not every Python has, of the modules that cannot be imported without it; and the reason."""


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "__all__":  # looked up each time: what is needed may be installed meanwhile
        return _importable()
    if name in _HOME:
        home = _HOME[name]
        if home in _NEEDED and home in _missing():
            needed, reason = _NEEDED[home]
            raise ModuleNotFoundError(reason, name=needed)
        value = getattr(import_module(f".{home}", __name__), name)
    elif name.endswith("Server") and (value := _composed(name)) is not None:
        pass
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _importable() -> list[str]:
    """The public names, without those whose module cannot be imported here."""
    missing = _missing()
    return ["__version__", *sorted(name for name in _HOME if _HOME[name] not in missing)]


def _missing() -> set[str]:
    """The modules that cannot be imported here."""
    from .mode import is_installed

    return {home for home, (needed, _) in _NEEDED.items() if not is_installed(needed)}


def _composed(name: str) -> Any:
    from .registry import class_named

    return class_named(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_importable()})
