"""What other installed packages add, by entry points; none of them can break ours."""

from collections.abc import Iterator
from typing import Any

from .log import logger

__all__ = ["HANDLER_GROUP", "MODEL_GROUP", "installed", "not_loaded"]

MODEL_GROUP = "echoservers.models"
HANDLER_GROUP = "echoservers.handlers"


def installed(group: str) -> Iterator[Any]:
    """The entry points of *group*, each with ``name``, ``value`` and ``load()``."""
    from importlib.metadata import entry_points  # imported late: it is slow

    try:
        yield from entry_points(group=group)
    except Exception as error:  # the files of some package cannot be read
        logger.warning("cannot tell what other packages add: %r", error)


def not_loaded(what: str, error: BaseException) -> str:
    """Why *what* could not be imported."""
    return f"{what} cannot be loaded: {type(error).__name__}: {error}"
