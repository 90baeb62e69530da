"""Names to classes: modes, models, transports, handlers; and what third parties add.

What is built in stands in `echoservers.catalogue`.  Third parties add theirs with
`register` or by the entry-point groups ``echoservers.models`` and
``echoservers.handlers``, which are looked at only when a name is not built in, or all
are listed.
"""

import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseRequestHandler
from typing import Any, cast

from .addresses import DEFAULT_HOST, DEFAULT_PORT, default_unix_path
from .catalogue import MODELS, PREFORK, SPELLED_BY_ALIAS, TRANSPORTS, Model
from .errors import HandlerNotSupported, ModeNotAvailable, OptionError, UnknownMode
from .hints import did_you_mean
from .mode import Design, Mode, transports_of
from .options import read_options
from .plugins import HANDLER_GROUP, MODEL_GROUP, installed, not_loaded
from .serving import ServingMixIn

__all__ = [
    "Mode",
    "clients_at_once",
    "create_server",
    "find_handler",
    "find_mode",
    "modes",
    "parse_mode_spec",
    "register",
    "server_class",
    "start_server",
]


ENDING_TIME = 5.0
"""Seconds for a thread whose server has ended: it has nothing left to do, and who puts something
behind ``serve_forever()`` must not hold up the program for ever."""

_registered: dict[str, Model] = {}
_classes: dict[str, type[ServingMixIn]] = {}
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
    unknown = set(getattr(model, "transports", None) or ()) - set(TRANSPORTS)
    if unknown:
        raise ValueError(
            f"{model.__name__}.transports names {', '.join(sorted(unknown))};"
            f" there are {', '.join(TRANSPORTS)}"
        )
    with _lock:
        taken = MODELS.get(name) or _registered.get(name)
        if name in TRANSPORTS or name.startswith(PREFORK) or (taken and taken.mixin is not model):
            raise ValueError(f"the name {name!r} is taken")
        _registered[name] = _described(model)


def _described(model: type) -> Model:
    return Model(
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


def _designs() -> Iterator[Design]:
    """Every mode's, the built-in ones first."""
    for models in (MODELS, _registered):
        for prefork in (False, True):
            for name, model in list(models.items()):
                if model.prefork or not prefork:
                    for transport in transports_of(model):
                        yield Design(model, name, transport, prefork)


def modes() -> list[Mode]:
    """Every mode, built in or added, with its availability on this system."""
    broken = _load_third_party_models()
    found = [design.describe() for design in _designs()]
    for name, why in broken.items():
        if name in MODELS:  # a stranger's by the name of ours, which goes on
            continue
        unknown = Model(None, "unknown", "unknown")
        found += [
            Design(unknown, name, transport).describe()._replace(available=False, reason=why)
            for transport in TRANSPORTS
        ]
    return found


def find_mode(name: str) -> Mode:
    """The mode with this name or alias.

    :raises UnknownMode: there is none; the message lists near ones.
    """
    return _find_design(name).describe()


def _find_design(name: str) -> Design:
    design = _look_up(name)
    if design is None:
        broken = _load_third_party_models()
        design = _look_up(name)
        if design is None:
            for model, why in broken.items():
                if name.startswith(f"{model}-"):
                    raise ModeNotAvailable(f"{name} is not available: {why}")
            raise UnknownMode(_unknown(name))
    return design


def _look_up(name: str) -> Design | None:
    return next((design for design in _designs() if name in design.names()), None)


def _unknown(name: str) -> str:
    known = modes()
    names = [mode.name for mode in known]
    hint = did_you_mean(name.lower(), names + [a for m in known for a in m.aliases])
    hint = hint or (
        "; expected [prefork-]MODEL-TRANSPORT, the models being"
        f" {', '.join([*MODELS, *_registered])}, the transports {', '.join(TRANSPORTS)}"
    )
    return f"there is no mode {name!r}{hint}; `echoservers modes` shows all"


def server_class(name: str) -> type[ServingMixIn]:
    """The server class of a mode; the same object each time.

    :raises UnknownMode: no mode has this name.
    :raises ModeNotAvailable: this system cannot run it.
    """
    design = _find_design(name)
    mode = design.describe()
    if not mode.available:
        raise ModeNotAvailable(f"{mode.name} is not available here: {mode.reason}")
    with _lock:
        if mode.name not in _classes:
            _classes[mode.name] = _compose(design)
        return _classes[mode.name]


def class_named(name: str) -> type[ServingMixIn] | None:
    """The server class of a mode by the name that is composed for it; None: there is none."""
    for design in _designs():
        if design.class_name() == name:
            mode = design.describe()
            return server_class(mode.name) if mode.available else None
    return None


def _compose(design: Design) -> type[ServingMixIn]:
    first, *others = design.parts()
    if not others:
        return cast(type[ServingMixIn], first)
    name = design.class_name()
    written = getattr(sys.modules.get(first.__module__), name, None)
    if isinstance(written, type) and all(issubclass(written, p) for p in (first, *others)):
        return cast(type[ServingMixIn], written)
    if design.prefork and len(others) > 1:
        others = [server_class(design._replace(prefork=False).names()[0])]
    return type(name, (first, *others), {"__module__": first.__module__, "__doc__": first.__doc__})


def parse_mode_spec(spec: str) -> tuple[Mode, dict[str, str]]:
    """Read ``MODE`` or ``MODE:OPTION=VALUE,OPTION=VALUE``; the values are still text.

    :raises UnknownMode: no mode has this name.
    :raises OptionError: what follows the colon is not a list of options.
    """
    name, _, rest = spec.partition(":")
    mode = find_mode(name)
    options = dict(SPELLED_BY_ALIAS.get(name, {}))
    for part in filter(None, rest.split(",")):
        option, equals, value = part.partition("=")
        if not equals or not option:
            raise OptionError(f"{part!r} in {spec!r}: expected OPTION=VALUE")
        options[option.strip().replace("-", "_")] = value.strip()
    return mode, options


def clients_at_once(spec: str) -> int | None:
    """How many clients a server of the mode *spec* serves at the same time; None: all.

    Where the kernel gives each preforked worker its own clients, with no look at which
    worker is free (``accept=reuseport``), one that is busy makes some of them wait.

    :raises EchoServersError: as `create_server` does, of a mode or an option.
    """
    mode, given = parse_mode_spec(spec)
    design = _find_design(mode.name)
    cls = server_class(mode.name)
    options = read_options(cls, given, mode.name)

    def option(name: str) -> Any:
        return options.get(name, getattr(cls, name))

    clients = design.model.clients
    number: int | None = option(clients) if isinstance(clients, str) else clients
    if number is not None and design.prefork and option("accept") != "reuseport":
        number *= option("workers")
    return number


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
        address = _default_address(found.transport)
    elif isinstance(address, os.PathLike):
        address = os.fspath(address)
    try:
        cls.check_handler(handler_class, found.name)
    except HandlerNotSupported as error:
        raise name_takers(error, cls, handler_class) from None
    server = cls(address, handler_class, **values)
    server.mode = found.name
    return server


def _default_address(transport: str) -> Any:
    if transport.startswith("unix"):
        return default_unix_path(transport)
    return DEFAULT_HOST, DEFAULT_PORT if TRANSPORTS[transport].port else 0


def name_takers(error: HandlerNotSupported, cls: type, handler: Any) -> HandlerNotSupported:
    """*error* of a *cls* that does not take *handler*, with the modes that would.

    They are those of the same transport, if it is one of ours.
    """
    of_class = {transport.server: name for name, transport in TRANSPORTS.items()}
    bases = (f"{base.__module__}:{base.__name__}" for base in cls.__mro__)
    transport = next((of_class[base] for base in bases if base in of_class), None)
    takers = [mode.name for mode in modes() if _takes(mode, transport, handler)]
    # What a model takes, it takes in preforked workers too: no need to say it twice.
    takers = [name for name in takers if not name.startswith(PREFORK)]
    return HandlerNotSupported(
        f"{error}; these take it: {', '.join(takers)}" if takers else str(error)
    )


def _takes(mode: Mode, transport: str | None, handler: Any) -> bool:
    if not mode.available or mode.transport != transport:
        return False
    try:
        server_class(mode.name).check_handler(handler, mode.name)
    except (HandlerNotSupported, ImportError):
        return False
    return True


@contextmanager
def start_server(
    mode: str,
    address: Any = None,
    handler: str | type | None = None,
    **options: Any,
) -> Iterator[ServingMixIn]:
    """Serve in a background thread for as long as the ``with`` block lasts.

    Arguments and errors are those of `create_server`.  At the end of the block the server
    is drained for ``drain_timeout`` and closed.  A handler that is busy in the loop itself
    even then is left behind with the thread, and the log says so.
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
            if server._serving_thread is not thread:  # else it has been left behind
                thread.join(ENDING_TIME)
