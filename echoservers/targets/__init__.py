"""Servers to be looked at from outside: ours by mode, anybody's by command or endpoint.

`Target` says which server; `RunningTarget` is one that runs, in a process of its own that
leaves nothing behind.  The checker and the lab meet servers through these alone.
"""

from .limits import Limits
from .running import RunningTarget, TargetError
from .target import Level, Target

__all__ = ["Level", "Limits", "RunningTarget", "Target", "TargetError"]
