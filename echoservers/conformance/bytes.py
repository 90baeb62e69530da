"""Checks: the bytes come back as they went."""

from .engine import BOTH, RFC_862, check
from .subject import Subject


@check(RFC_862, BOTH)
def echo(subject: Subject) -> None:
    """What is sent comes back."""
    subject.connect().echo(b"hello\n")


@check(RFC_862, BOTH)
def every_value(subject: Subject) -> None:
    """Each of the 256 byte values comes back as it was sent."""
    subject.connect().echo(bytes(range(256)) + b"\n")
