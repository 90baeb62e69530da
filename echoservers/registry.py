"""Names to classes: modes, models, transports, handlers; and what third parties add.

A built-in model is one line of `_MODELS`, a transport one of `_TRANSPORTS`: strings, so
that naming one imports nothing else.  Third parties add theirs with `register` or by the
entry-point groups ``echoservers.models`` and ``echoservers.handlers``, which are looked at
only when a name is not built in, or all are listed.
"""

import importlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from socketserver import BaseRequestHandler
from typing import Any, NamedTuple, cast

from .addresses import DEFAULT_HOST, DEFAULT_PORT, default_unix_path
from .errors import HandlerNotSupported, ModeNotAvailable, OptionError, UnknownMode
from .hints import did_you_mean
from .options import read_options
from .plugins import HANDLER_GROUP, MODEL_GROUP, installed, not_loaded
from .serving import ServingMixIn

__all__ = [
    "Mode",
    "create_server",
    "find_handler",
    "find_mode",
    "modes",
    "parse_mode_spec",
    "register",
    "server_class",
    "start_server",
]


class _Transport(NamedTuple):
    server: str  # module:class
    class_suffix: str  # of the composed classes: ThreadingMixIn + this
    needs: str  # an attribute of the socket module


class _Model(NamedTuple):
    mixin: str | type | None  # module:class or class; None: the transport's own class
    serves: str  # what serves a client
    good_for: str
    aliases: tuple[str, ...] = ()  # of the TCP mode
    needs: str | None = None  # a function of the os module
    prefork: bool = True  # whether it runs in preforked workers too


_TRANSPORTS = {
    "tcp": _Transport("echoservers.transports:TCPServer", "TCPServer", "AF_INET"),
    "udp": _Transport("echoservers.transports:UDPServer", "UDPServer", "AF_INET"),
    "unix-stream": _Transport(
        "echoservers.transports:UnixStreamServer", "UnixStreamServer", "AF_UNIX"
    ),
    "unix-datagram": _Transport(
        "echoservers.transports:UnixDatagramServer", "UnixDatagramServer", "AF_UNIX"
    ),
}

ITERATIVE = "iterative"

_MODELS: dict[str, _Model] = {
    ITERATIVE: _Model(
        None,
        "the main loop, one client after the other",
        "the shortest code; tests; datagrams",
        ("unp0", "echoserveri"),
    ),
    "threading": _Model(
        "echoservers.models.threads:ThreadingMixIn",
        "a new thread",
        "hundreds of clients that mostly wait",
        ("unp6", "echoservert"),
    ),
    "forking": _Model(
        "echoservers.models.forks:ForkingMixIn",
        "a new process",
        "few clients that compute, or must not share memory",
        ("unp1", "echoserverp"),
        needs="fork",
    ),
}


PREFORK = "prefork"
"""Not one model more, but one over each: ``prefork-threading-tcp`` runs the threading model
in every worker, ``prefork-tcp`` the iterative one."""

_PREFORK_MIXIN = "echoservers.models.prefork:PreforkMixIn"

_SPELLED_BY_ALIAS = {
    "unp2": {"accept": "shared"},
    "unp3": {"accept": "flock"},
    "unp4": {"accept": "mutex"},
    "unp5": {"accept": "handoff"},
}
"""Aliases of ``prefork-tcp`` that stand for a mode spec: the designs of UNP, chapter 30."""


class Mode(NamedTuple):
    """A model over a transport, as ``--mode`` takes it."""

    name: str
    model: str
    transport: str
    aliases: tuple[str, ...]
    available: bool
    reason: str | None
    """Why it is not available here; None where it is."""
    serves: str
    """What serves a client."""
    good_for: str


_registered: dict[str, _Model] = {}
_classes: dict[tuple[str, str], type[ServingMixIn]] = {}
_lock = threading.RLock()


def register(name: str, model: type[ServingMixIn]) -> None:
    """Add a model under *name*: its modes are ``NAME-tcp``, ``NAME-udp``, ...

    :param model: a mixin over `ServingMixIn`.  Its attributes ``serves`` and ``good_for``
        (text), if it has them, are shown by ``modes``; ``transports`` (names), if it has
        it, says which it takes; ``prefork = False`` that it cannot run in forked workers.
    :raises ValueError: the name is taken, or cannot be a model's; or the model wants a
        transport that there is not.
    :raises TypeError: *model* is not a class over `ServingMixIn`.
    """
    if not name.isascii() or not name.replace("-", "").isalnum() or name != name.lower():
        raise ValueError(f"{name!r} cannot name a model; expected lower-case letters, digits, -")
    if not isinstance(model, type) or not issubclass(model, ServingMixIn):  # type: ignore[redundant-expr]
        raise TypeError(f"{model!r} is no model; expected a class over ServingMixIn")
    unknown = set(getattr(model, "transports", None) or ()) - set(_TRANSPORTS)
    if unknown:
        raise ValueError(
            f"{model.__name__}.transports names {', '.join(sorted(unknown))};"
            f" there are {', '.join(_TRANSPORTS)}"
        )
    with _lock:
        taken = _MODELS.get(name) or _registered.get(name)
        if name in _TRANSPORTS or (taken and taken.mixin is not model):
            raise ValueError(f"the name {name!r} is taken")
        _registered[name] = _described(model)


def _described(model: type) -> _Model:
    return _Model(
        model,
        getattr(model, "serves", "what the model decides"),
        getattr(model, "good_for", (model.__doc__ or "").strip().partition("\n")[0]),
        prefork=getattr(model, "prefork", True),
    )


def _load_third_party_models() -> dict[str, str]:
    """Register every model that is installed; the names that could not be, and why."""
    broken: dict[str, str] = {}
    for point in installed(MODEL_GROUP):
        if point.name not in _registered:
            try:
                register(point.name, point.load())
            except (Exception, SystemExit) as error:  # a stranger's package must not break ours
                broken[point.name] = not_loaded(point.value, error)
    return broken


def modes() -> list[Mode]:
    """Every mode, built in or added, with its availability on this system."""
    broken = _load_third_party_models()
    found = [
        describe(model, name, transport)
        for models in (_MODELS, _registered)
        for describe in (_describe, _describe_prefork)
        for name, model in models.items()
        if describe is _describe or model.prefork
        for transport in _TRANSPORTS
        if transport in _transports_of(model)
    ]
    for name, why in broken.items():
        if name in _MODELS:  # a stranger's by the name of ours, which goes on
            continue
        unknown = _Model(None, "unknown", "unknown")
        found += [
            _describe(unknown, name, transport)._replace(available=False, reason=why)
            for transport in _TRANSPORTS
        ]
    return found


def _transports_of(model: _Model) -> Mapping[str, Any]:
    wanted = getattr(model.mixin, "transports", None)
    return _TRANSPORTS if wanted is None else {t: _TRANSPORTS[t] for t in wanted}


def _describe(model: _Model, name: str, transport: str) -> Mode:
    import socket

    reason = None
    if not hasattr(socket, _TRANSPORTS[transport].needs):
        reason = f"this Python has no socket.{_TRANSPORTS[transport].needs}"
    elif model.needs is not None and not hasattr(os, model.needs):
        reason = f"this Python has no os.{model.needs}"
    iterative = name == ITERATIVE
    aliases: tuple[str, ...] = (f"{name}-{transport}",) if iterative else ()
    if transport == "tcp":
        aliases += model.aliases
    return Mode(
        transport if iterative else f"{name}-{transport}",
        name,
        transport,
        aliases,
        reason is None,
        reason,
        model.serves,
        model.good_for,
    )


def _describe_prefork(model: _Model, name: str, transport: str) -> Mode:
    """The mode of *model* in preforked workers."""
    mode = _describe(model, name, transport)
    iterative = name == ITERATIVE
    reason = mode.reason or (None if hasattr(os, "fork") else "this Python has no os.fork")
    aliases: tuple[str, ...] = (f"{PREFORK}-{name}-{transport}",) if iterative else ()
    if iterative and transport == "tcp":
        aliases += tuple(_SPELLED_BY_ALIAS)
    return Mode(
        f"{PREFORK}-{mode.name}",
        PREFORK if iterative else f"{PREFORK}-{name}",
        transport,
        aliases,
        reason is None,
        reason,
        f"one of N processes: {model.serves}" if not iterative else "one of N processes",
        "many cores" if iterative else "many cores, many clients",
    )


def find_mode(name: str) -> Mode:
    """The mode with this name or alias.

    :raises UnknownMode: there is none; the message lists near ones.
    """
    mode = _look_up(name)
    if mode is None:
        broken = _load_third_party_models()
        mode = _look_up(name)
        if mode is None:
            for model, why in broken.items():
                if name.startswith(f"{model}-"):
                    raise ModeNotAvailable(f"{name} is not available: {why}")
            raise UnknownMode(_unknown(name))
    return mode


def _look_up(name: str) -> Mode | None:
    for model_name, model in {**_MODELS, **_registered}.items():
        for transport in _transports_of(model):
            mode = _describe(model, model_name, transport)
            if name == mode.name or name in mode.aliases:
                return mode
            if model.prefork and name.startswith((PREFORK, "unp")):
                mode = _describe_prefork(model, model_name, transport)
                if name == mode.name or name in mode.aliases:
                    return mode
    return None


def _unknown(name: str) -> str:
    known = modes()
    names = [mode.name for mode in known]
    hint = did_you_mean(name.lower(), names + [a for m in known for a in m.aliases])
    hint = hint or f"; known are {', '.join(names)}"
    return f"there is no mode {name!r}{hint}; `echoservers modes` shows all"


def server_class(name: str) -> type[ServingMixIn]:
    """The server class of a mode; the same object each time.

    :raises UnknownMode: no mode has this name.
    :raises ModeNotAvailable: this system cannot run it.
    """
    mode = find_mode(name)
    if not mode.available:
        raise ModeNotAvailable(f"{mode.name} is not available here: {mode.reason}")
    key = (mode.model, mode.transport)
    with _lock:
        if key not in _classes:
            _classes[key] = _compose(mode)
        return _classes[key]


def _compose(mode: Mode) -> type[ServingMixIn]:
    if mode.model not in _MODELS and mode.model not in _registered:
        inner = mode.name.removeprefix(f"{PREFORK}-")
        return _mixed(_load(_PREFORK_MIXIN), server_class(inner), server_class(inner).__name__)
    transport = _TRANSPORTS[mode.transport]
    model = _MODELS.get(mode.model) or _registered[mode.model]
    base = _load(transport.server)
    if model.mixin is None:
        return cast(type[ServingMixIn], base)
    mixin = _load(model.mixin) if isinstance(model.mixin, str) else model.mixin
    return _mixed(mixin, base, transport.class_suffix)


def _mixed(mixin: type, base: type, suffix: str) -> type[ServingMixIn]:
    """The class of *mixin* over *base*, as it is written beside the mixin, or a new one."""
    name = mixin.__name__.removesuffix("MixIn") + suffix
    written = getattr(sys.modules.get(mixin.__module__), name, None)
    if isinstance(written, type) and issubclass(written, mixin) and issubclass(written, base):
        return cast(type[ServingMixIn], written)
    return type(name, (mixin, base), {"__module__": mixin.__module__, "__doc__": mixin.__doc__})


def _load(path: str) -> type:
    module, _, name = path.partition(":")
    return cast(type, getattr(importlib.import_module(module), name))


def parse_mode_spec(spec: str) -> tuple[Mode, dict[str, str]]:
    """Read ``MODE`` or ``MODE:OPTION=VALUE,OPTION=VALUE``; the values are still text.

    :raises UnknownMode: no mode has this name.
    :raises OptionError: what follows the colon is not a list of options.
    """
    name, _, rest = spec.partition(":")
    mode = find_mode(name)
    options = dict(_SPELLED_BY_ALIAS.get(name, {}))
    for part in filter(None, rest.split(",")):
        option, equals, value = part.partition("=")
        if not equals or not option:
            raise OptionError(f"{part!r} in {spec!r}: expected OPTION=VALUE")
        options[option.strip().replace("-", "_")] = value.strip()
    return mode, options


def find_handler(handler: str | type) -> type:
    """A handler class: as it is, by its short name, or as ``MODULE:CLASS``.

    :raises HandlerNotSupported: there is no such handler, or it is no handler.
    """
    if isinstance(handler, str):
        handler = _named_handler(handler)
    if not isinstance(handler, type) or not issubclass(handler, BaseRequestHandler):
        name = getattr(handler, "__name__", handler)
        raise HandlerNotSupported(
            f"{name} is no handler; expected a subclass of echoservers.EchoHandler"
            " or of socketserver.BaseRequestHandler"
        )
    return handler


def _named_handler(name: str) -> Any:
    from .handlers import HANDLERS

    if name in HANDLERS:
        return HANDLERS[name]
    if ":" in name:
        module, _, attribute = name.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (Exception, SystemExit) as error:  # whatever importing the module does
            raise HandlerNotSupported(f"the handler {not_loaded(name, error)}") from error
    added = {point.name: point for point in installed(HANDLER_GROUP)}
    if name in added:
        try:
            return added[name].load()
        except (Exception, SystemExit) as error:
            raise HandlerNotSupported(f"the handler {not_loaded(name, error)}") from error
    known = ", ".join([*HANDLERS, *added])
    raise HandlerNotSupported(f"there is no handler {name!r}; known are {known}, or MODULE:CLASS")


def create_server(
    mode: str,
    address: Any = None,
    handler: str | type | None = None,
    **options: Any,
) -> ServingMixIn:
    """Make the server of a mode, bound, and listening, but not yet serving.

    :param mode: a mode, or a mode spec with options: ``"threading-tcp:idle_timeout=5"``.
    :param address: ``(host, port)``, or a path (text, bytes or `pathlib.Path`); None:
        127.0.0.1, port 8007, or a path in the user's run-time folder.  Port 0: a free one.
    :param handler: a handler class, or its name; `EchoHandler` by default.
    :param options: the server's options; they go before those of the mode spec.
    :raises UnknownMode, ModeNotAvailable, OptionError, HandlerNotSupported: see there.
    :raises OSError: the address cannot be had.
    """
    found, spelled = parse_mode_spec(mode)
    cls = server_class(found.name)
    values = read_options(cls, {**spelled, **options}, found.name)
    handler_class = find_handler("echo" if handler is None else handler)
    if address is None:
        unix = found.transport.startswith("unix")
        address = default_unix_path(found.transport) if unix else (DEFAULT_HOST, DEFAULT_PORT)
    elif isinstance(address, os.PathLike):
        address = os.fspath(address)
    cls.check_handler(handler_class, found.name)
    server = cls(address, handler_class, **values)
    server.mode = found.name
    return server


@contextmanager
def start_server(
    mode: str,
    address: Any = None,
    handler: str | type | None = None,
    **options: Any,
) -> Iterator[ServingMixIn]:
    """Serve in a background thread for as long as the ``with`` block lasts.

    Arguments and errors are those of `create_server`.  At the end of the block the server
    is drained for ``drain_timeout`` and closed.
    """
    with create_server(mode, address, handler, **options) as server:
        ended = False

        def serve() -> None:
            try:
                server.serve_forever()
            except RuntimeError:
                if not ended:  # else the block was over before the thread came to serve
                    raise

        thread = threading.Thread(target=serve, name=f"serve {mode}", daemon=True)
        thread.start()
        wait_until_started = getattr(server, "wait_until_started", None)
        try:
            if wait_until_started is not None:  # of a server that forks when it starts
                wait_until_started(server.drain_timeout)
            yield server
        finally:
            ended = True
            server.server_close()
            thread.join()
