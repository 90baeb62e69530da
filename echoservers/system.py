"""What this system, or this user, is allowed and has."""

import importlib.util
import os
import socket

__all__ = ["usable_cpus", "usable_processors", "why_no_raw_sockets", "why_no_tls"]

EXPERIMENTAL_PROTOCOL = 253
"""For experiments and testing (RFC 3692, section 2.1); nothing else uses it."""

NO_PRIVILEGE = "raw sockets need root or the capability CAP_NET_RAW"


def usable_cpus() -> frozenset[int]:
    """The processors that this process may run on, where the system tells; else all."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def usable_processors() -> int:
    """How many processors this process may run on."""
    return len(usable_cpus())


def why_no_raw_sockets() -> str | None:
    """Why no raw socket can be made here; None: it can."""
    if not hasattr(socket, "SOCK_RAW"):
        return "this Python has no socket.SOCK_RAW"
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, EXPERIMENTAL_PROTOCOL).close()
    except PermissionError:
        return NO_PRIVILEGE
    except OSError as error:
        return f"no raw socket can be made: {error.strerror}"
    return None


def why_no_tls() -> str | None:
    """Why there is no TLS here; None: there is.  Without importing it."""
    found = importlib.util.find_spec("_ssl")
    return None if found is not None else "this Python was built without ssl"
