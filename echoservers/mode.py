"""A mode, described: a model over a transport, in preforked workers or not."""

import importlib
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

from .catalogue import (
    ITERATIVE,
    PREFORK,
    PREFORK_MIXIN,
    SPELLED_BY_ALIAS,
    TRANSPORTS,
    Model,
)

__all__ = ["Design", "Mode", "is_installed", "load", "transports_of"]


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


class Design(NamedTuple):
    """What a mode is made from."""

    model: Model
    model_name: str
    transport: str
    prefork: bool = False
    """Whether the model runs in preforked workers."""

    def names(self) -> tuple[str, ...]:
        """What the mode is called: its name, and its aliases."""
        prefix = f"{PREFORK}-" if self.prefork else ""
        mode = f"{prefix}{self.model_name}-{self.transport}"
        tcp = self.transport == "tcp"
        if self.model_name != ITERATIVE:
            return (mode, *self.model.aliases) if tcp and not self.prefork else (mode,)
        aliases = tuple(SPELLED_BY_ALIAS) if self.prefork else self.model.aliases
        return (f"{prefix}{self.transport}", mode, *(aliases if tcp else ()))

    def describe(self) -> Mode:
        """The mode, and whether this system can run it."""
        name, *aliases = self.names()
        reason = self._why_not()
        model, serves, good_for = self.model_name, self.model.serves, self.model.good_for
        if self.prefork and model == ITERATIVE:
            model, serves, good_for = PREFORK, "one of N processes", "many cores"
        elif self.prefork:
            model, serves = f"{PREFORK}-{model}", f"one of N processes: {serves}"
            good_for = "many cores, many clients"
        return Mode(
            name,
            model,
            self.transport,
            tuple(aliases),
            reason is None,
            reason,
            serves,
            good_for,
        )

    def class_name(self) -> str:
        """What the server class is called: ``PreforkThreadingTCPServer``."""
        mixin = self.model.mixin
        path = mixin if isinstance(mixin, str) else getattr(mixin, "__name__", "")
        words = path.rpartition(":")[2].removesuffix("MixIn")
        prefix = PREFORK.title() if self.prefork else ""
        return prefix + words + TRANSPORTS[self.transport].class_suffix

    def parts(self) -> list[type]:
        """The mixins and the transport's class, in the order of the bases."""
        mixin = self.model.mixin
        found = [load(PREFORK_MIXIN)] if self.prefork else []
        if mixin is not None:
            found.append(load(mixin) if isinstance(mixin, str) else mixin)
        return [*found, load(TRANSPORTS[self.transport].server)]

    def _why_not(self) -> str | None:
        transport, model = TRANSPORTS[self.transport], self.model
        for needed in (f"socket.{transport.needs}", model.needs, "os.fork" * self.prefork):
            if needed and not _has(needed):
                return f"this Python has no {needed}"
        if model.package is not None and not is_installed(model.package):
            return f"{model.package} is not installed; pip install echoservers[{model.package}]"
        if transport.refusal is not None:
            refusal: str | None = load(transport.refusal)()
            return refusal
        return None


def transports_of(model: Model) -> Mapping[str, Any]:
    """The transports that *model* takes."""
    wanted = getattr(model.mixin, "transports", None)
    return TRANSPORTS if wanted is None else {t: TRANSPORTS[t] for t in wanted}


def load(path: str) -> Any:
    """What stands at ``module:name``."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _has(needed: str) -> bool:
    module, _, attribute = needed.rpartition(".")
    return hasattr(socket if module == "socket" else importlib.import_module(module), attribute)


def is_installed(package: str) -> bool:
    """Whether *package* can be found, without importing it."""
    from importlib.util import find_spec

    try:
        return find_spec(package) is not None
    except ValueError:  # sys.modules has None in its place
        return False
