"""accept(2), without what Python works out anew for every connection."""

import socket
from collections.abc import Callable
from typing import Any

__all__ = ["Acceptor", "acceptor"]

Acceptor = Callable[[], tuple[Any, Any]]


def acceptor(listener: Any) -> Acceptor:
    """What accepts as ``listener.accept()`` does.

    That asks the listener for its family and its type each time, as members of enums: two fifths of
    what it takes, and twenty pages of memory to copy behind a fork.
    """
    # A name of CPython's own, and others put their own accept() in the place of Python's.
    take = getattr(listener, "_accept", None)
    its_class = type(listener)
    if take is None or its_class is not socket.socket or its_class.accept.__module__ != "socket":
        return listener.accept  # type: ignore[no-any-return]
    kind = int(listener.family), int(listener.type), listener.proto

    def accept() -> tuple[socket.socket, Any]:
        descriptor, address = take()
        return socket.socket(*kind, descriptor), address

    return accept
