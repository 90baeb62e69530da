"""Guess what a mistyped name was meant to be."""

from collections.abc import Iterable

__all__ = ["did_you_mean"]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` (did you mean X or Y?)`` with the names nearest to *name*, or nothing."""
    from difflib import get_close_matches  # imported late: only a mistake needs it

    near = get_close_matches(name, list(known), n=3, cutoff=0.75)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
