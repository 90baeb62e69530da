"""CPython's own test_socketserver with our classes in the place of the standard ones.

A program of its own, run by `test_cpython.py`: it changes the ``socketserver`` module.
"""

import socketserver
import unittest
from unittest import mock

import echoservers

PATIENCE = 20  # seconds

for name in (
    "ThreadingMixIn",
    "ForkingMixIn",
    *(
        f"{model}{transport}Server"
        for model in ("", "Threading", "Forking")
        for transport in ("TCP", "UDP", "UnixStream", "UnixDatagram")
    ),
):
    setattr(socketserver, name, getattr(echoservers, name))

from test import test_socketserver  # noqa: E402 - it composes classes when it is imported

# It compares the standard module's __all__ with its content, which was changed above.
del test_socketserver.MiscTestCase.test_all

_reaped = test_socketserver.MiscTestCase.test_threads_reaped


class _Unhurried(echoservers.ThreadingMixIn):
    """Lets each thread have a processor: the test looks just behind ten clients whether any
    has ended, and on a busy machine none may have begun.  One that kept them would still fail.
    """

    def handle_request(self) -> None:
        super().handle_request()
        for thread in list(self._threads):
            thread.join(PATIENCE)


def _threads_are_reaped(self: unittest.TestCase) -> None:
    with mock.patch.object(socketserver, "ThreadingMixIn", _Unhurried):
        _reaped(self)


test_socketserver.MiscTestCase.test_threads_reaped = _threads_are_reaped

if __name__ == "__main__":
    unittest.main(test_socketserver, verbosity=2)
