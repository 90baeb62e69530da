"""Is a server right?  Checks that look at any echo server from outside, in any language.

A check is an id, a requirement with its source, and a run (`engine`, `runner`).  They stand
in one file a subject, and know nothing of whose server it is: they meet it through a `Subject`,
which connects `Peer`s to it and, where the server was started here, shows its processes.
"""

from .engine import CHECKS, Check, Outcome, Report, Result, select_checks
from .failures import CheckFailed, CheckSkipped
from .peer import Peer
from .runner import check_target
from .subject import Subject

__all__ = [
    "CHECKS",
    "Check",
    "CheckFailed",
    "CheckSkipped",
    "Outcome",
    "Peer",
    "Report",
    "Result",
    "Subject",
    "check_target",
    "select_checks",
]
