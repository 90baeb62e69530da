"""The modes that the bodies for many modes run with: all, or a share of them.

``ECHOSERVERS_TEST_MODES=K/N`` takes the Kth of N shares, ``K-L/N`` the Kth to the Lth.  Together
they are all modes, none twice, and each has every model and every transport: that of a mode
follows from where its model and its transport stand in their lists, as in a Latin square.  So
each of several environments meets every model, in a part of the time.
"""

import os

import echoservers
from echoservers.registry import Mode

COMMON_PREFORK = ("prefork-tcp", "prefork-udp", "prefork-unix-stream")
"""The preforked modes of `CHOSEN_MODES`, whatever the share."""
OF_SOCKETSERVER = ("iterative", "threading", "forking")
"""The models that the standard library has."""


def shares_of(setting: str) -> tuple[range, int]:
    """Which shares, and of how many.

    :raises ValueError: *setting* is no ``K/N`` or ``K-L/N`` with 1 <= K <= L <= N.
    """
    which, _, number = setting.partition("/")
    first, _, last = which.partition("-")
    shares = range(int(first), int(last or first) + 1)
    if not shares or shares[0] < 1 or shares[-1] > int(number):
        raise ValueError(f"ECHOSERVERS_TEST_MODES={setting}: expected K/N or K-L/N, as 1/3")
    return shares, int(number)


_EVERY = echoservers.modes()
_MODELS = list(dict.fromkeys(mode.model for mode in _EVERY))
_TRANSPORTS = list(dict.fromkeys(mode.transport for mode in _EVERY))
_SHARES, _NUMBER = shares_of(os.environ.get("ECHOSERVERS_TEST_MODES", "1/1"))


def share_of(mode: Mode, number: int) -> int:
    """In which of *number* shares *mode* is, the first being 1."""
    place = _MODELS.index(mode.model) + _TRANSPORTS.index(mode.transport)
    return place % number + 1


AVAILABLE_MODES = [mode for mode in _EVERY if mode.available]
SHARE = [mode.name for mode in AVAILABLE_MODES if share_of(mode, _NUMBER) in _SHARES]
"""With every preforked mode of it: together the shares are every mode.  The checks of
`echoservers.conformance` run with these, and what is about the workers (test_prefork.py)."""
CHOSEN_MODES = [
    mode
    for mode in AVAILABLE_MODES
    if mode.name in COMMON_PREFORK or (mode.name in SHARE and not mode.model.startswith("prefork"))
]
"""Of the preforked modes three only: the other bodies run with these."""
STRESSED_MODES = [
    mode for mode in AVAILABLE_MODES if mode in CHOSEN_MODES or mode.model in OF_SOCKETSERVER
]
"""For the tests marked ``stress``, which one environment runs: those of the standard library's
models, too, whatever the share."""
