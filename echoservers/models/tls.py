"""Threads and processes over TLS, by the names that `socketserver` would give them.

Not beside their mixins, since those who serve without TLS need not load it.
"""

from ..tls import TLSServer
from .forks import ForkingMixIn
from .threads import ThreadingMixIn

__all__ = ["ForkingTLSServer", "ThreadingTLSServer"]


class ThreadingTLSServer(ThreadingMixIn, TLSServer):
    """TLS, a thread for each connection."""


class ForkingTLSServer(ForkingMixIn, TLSServer):
    """TLS, a process for each connection."""
