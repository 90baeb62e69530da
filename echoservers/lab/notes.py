"""Notes of many runs: those that say the same with other numbers are one."""

import re
from collections.abc import Iterable

__all__ = ["alike", "pattern_of"]

_NUMBER = re.compile(r"(?<![\w.])\d[\d,.]*")  # not the 99 of p99


def alike(notes: Iterable[str]) -> list[str]:
    """*notes*, of those that differ in their numbers only the one with the largest."""
    kept: dict[str, str] = {}
    for note in notes:
        pattern = pattern_of(note)
        if pattern not in kept or _numbers(note) > _numbers(kept[pattern]):
            kept[pattern] = note
    return list(kept.values())


def pattern_of(note: str) -> str:
    """*note* without its numbers."""
    return _NUMBER.sub("#", note)


def _numbers(note: str) -> list[float]:
    return [float(found.replace(",", "").rstrip(".")) for found in _NUMBER.findall(note)]
