"""Which comparisons hold: by the intervals, and never of what was not the server's doing.

A is better than B where the whole interval of A lies on the better side of that of B.  Two
95 % intervals that are clear of each other are a stricter demand than a test of their
difference at 5 %, which leaves room for there being more than two.  A figure of one run
has no interval, and is compared with nothing.  One of which the generator limited some runs
has no end on its better side: it can be ahead of others, and is behind nobody.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .layout import direction
from .limits import rankable
from .results import Cell, Figure

__all__ = ["Entry", "Ranking", "beyond", "rank", "rankable"]


class Entry(NamedTuple):
    """A cell and the figure by which it is compared."""

    cell: Cell
    figure: Figure

    @property
    def target(self) -> str:
        return self.cell.target


class Ranking(NamedTuple):
    """The targets at one place of an experiment, best first."""

    name: str  # of the figure
    better: str  # "more" or "less"
    entries: tuple[Entry, ...]  # what can be ranked
    limited: tuple[Entry, ...]  # what the generator held back: it may be better than shown
    winner: Entry | None  # clearly better than all the others
    leaders: tuple[Entry, ...]  # where none is: those that cannot be told from the best

    @property
    def behind(self) -> tuple[Entry, ...]:
        """Those that are clearly not the best."""
        first = {id(e.cell) for e in (*self.leaders, *filter(None, [self.winner]))}
        return tuple(e for e in self.entries if id(e.cell) not in first)


def beyond(a: Figure, b: Figure, better: str) -> bool:
    """Whether the interval of *a* lies wholly on the better side of that of *b*."""
    worst, best = (a.low, b.high) if better == "more" else (a.high, b.low)
    if worst is None or best is None:
        return False
    return worst > best if better == "more" else worst < best


def rank(cells: Iterable[Cell], name: str, better: str | None = None) -> Ranking | None:
    """Rank *cells* by the figure *name*; None where there are not two to compare, or no better."""
    found = [Entry(c, c.figures[name]) for c in cells if name in c.figures and not c.error]
    better = better or direction(name, (entry.figure for entry in found))
    if better is None or len(found) < 2:
        return None
    sign = -1 if better == "more" else 1
    ranked = sorted(
        (e for e in found if rankable(e.cell)), key=lambda entry: sign * entry.figure.median
    )
    limited = tuple(e for e in found if e.cell.limited_by == "generator")
    winner, leaders = _first(ranked, better)
    return Ranking(name, better, tuple(ranked), limited, winner, leaders)


def _first(ranked: Sequence[Entry], better: str) -> tuple[Entry | None, tuple[Entry, ...]]:
    if len(ranked) < 2:
        return None, ()
    best, others = ranked[0], ranked[1:]
    told = [e for e in others if beyond(best.figure, e.figure, better)]
    if len(told) == len(others):
        return best, ()
    return None, tuple(e for e in ranked if e not in told)
