"""Options: each stated once, as an annotated class attribute::

    idle_timeout: Annotated[float | None, Option(seconds, "seconds", "close a ...")] = 300.0

The attribute is the option's name, its type and its default; the `Option` adds how a
value is read, its unit and its meaning.  Keyword arguments, mode specs, command-line
flags and the documentation are all made from it; a subclass changes the default by
setting the attribute, as it would under `socketserver`.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_args, get_type_hints

from .errors import OptionError
from .hints import did_you_mean

__all__ = [
    "Option",
    "choice",
    "count",
    "file_mode",
    "options_of",
    "read_options",
    "seconds",
    "size",
    "spell_out",
]


class Option(NamedTuple):
    """What an option's annotation says beside its type."""

    read: Callable[[Any], Any]
    """Turns text or a value into the option's value; raises ValueError with what is accepted."""
    unit: str
    """``seconds``, ``bytes``, ... or the choices."""
    meaning: str
    """One clause for ``--help`` and the documentation."""


LARGEST_COUNT = 2**31 - 1
"""listen(2) takes no larger backlog, and nothing here comes near it."""

LONGEST_TIME = 1_000_000
"""Seconds, 11 days: poll(2) counts milliseconds in an int, which ends after 24 days."""


def _number(value: Any, kind: type, least: float, most: int, what: str, none: bool) -> Any:
    if value is None or (isinstance(value, str) and value.lower() == "none"):
        if none:
            return None
    elif not isinstance(value, bool) and isinstance(value, (str, int, float)):
        try:
            number = kind(value)
        except (ValueError, OverflowError):
            number = None  # falls through to the message below
        if number is not None and least <= number <= most and number == float(value):
            return number
    raise ValueError(f"expected {what} from {least:g} to {most}" + (", or none" if none else ""))


def _whole(value: Any, none: bool) -> Any:
    return _number(value, int, 1, LARGEST_COUNT, "a whole number", none)


def count(value: Any) -> int:
    """A whole number of 1 or more."""
    number: int = _whole(value, none=False)
    return number


def count_or_none(value: Any) -> int | None:
    """A whole number of 1 or more, or None for no limit."""
    number: int | None = _whole(value, none=True)
    return number


size = count
"""Bytes: a whole number of 1 or more."""
size_or_none = count_or_none


def seconds(value: Any) -> float:
    """Seconds: a number of 0 or more."""
    number: float = _number(value, float, 0, LONGEST_TIME, "seconds", none=False)
    return number


def seconds_or_none(value: Any) -> float | None:
    """Seconds above 0, or None for no limit."""
    number: float | None = _number(value, float, 0.001, LONGEST_TIME, "seconds", none=True)
    return number


def some_seconds(value: Any) -> float:
    """Seconds above 0."""
    number: float = _number(value, float, 0.001, LONGEST_TIME, "seconds", none=False)
    return number


def file_or_none(value: Any) -> str | None:
    """The path of a file, or None for none."""
    if value is None or (isinstance(value, str) and value.lower() == "none"):
        return None
    path = os.fsdecode(value) if isinstance(value, (str, bytes, os.PathLike)) else ""
    if not path or "\0" in path:
        raise ValueError("expected the path of a file, or none")
    return path


def choice(*names: str) -> Callable[[Any], str]:
    """One of *names*."""

    def read(value: Any) -> str:
        if isinstance(value, str) and value in names:
            return value
        raise ValueError(f"expected {' or '.join(names)}")

    return read


def file_mode(value: Any) -> int:
    """Permission bits, as a number or in octal digits: ``600``, ``0o660``."""
    if isinstance(value, str):
        try:
            value = int(value, 8)
        except ValueError:
            value = None  # refused below, with the message
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777:
        return value
    raise ValueError("expected permission bits in octal, 0 to 777")


def options_of(server_class: type) -> dict[str, Option]:
    """Every option that *server_class* has, by name, in the order of its bases."""
    found: dict[str, Option] = {}
    for cls in server_class.__mro__:
        for name, annotation in _annotations_of(cls).items():
            for extra in get_args(annotation)[1:]:
                if isinstance(extra, Option):
                    found.setdefault(name, extra)
    return found


def _annotations_of(cls: type) -> dict[str, Any]:
    own: dict[str, Any] = getattr(cls, "__annotations__", {})
    if any(isinstance(annotation, str) for annotation in own.values()):
        # Text, by ``from __future__ import annotations`` in the module of a third party.
        try:
            hints = get_type_hints(cls, include_extras=True)
        except NameError:  # imported for type checkers only: then no option is among them
            return {}
        return {name: hints[name] for name in own}
    return own


def spell_out(server_class: type) -> str:
    """The options of *server_class* as an error message lists them."""
    return ", ".join(sorted(options_of(server_class)))


def read_options(
    server_class: type, given: Mapping[str, Any], owner: str | None = None
) -> dict[str, Any]:
    """The values of the options *given*, each as its option reads it.

    :param owner: what the error message calls the server; its class name by default.
    :raises OptionError: an option that *server_class* does not have, or a bad value.
    """
    known = options_of(server_class)
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise OptionError(
                f"{owner or server_class.__name__} has no option {name!r}"
                f"{did_you_mean(name, known)};"
                f" it has: {spell_out(server_class)}"
            )
        try:
            values[name] = known[name].read(value)
        except ValueError as error:
            raise OptionError(f"{name}={value!r}: {error}") from None
    return values
