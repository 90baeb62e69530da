"""Sentences that compare, each with the claims it makes, so that they can be checked.

A comparison is said only where the intervals allow it.  "At least 3 times" is the least
that two intervals allow.  Where nothing can be told apart, that is what is said.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ..log import escape
from .layout import noun_of, unit_of
from .ranking import Ranking, beyond, rank, rankable
from .results import Cell, Figure, Ratio
from .stats import NO_DIFFERENCE
from .units import PLAIN, Scale, count, interval, scale_for
from .view import Panel, place

__all__ = [
    "Claim",
    "Sentence",
    "best",
    "held",
    "held_against",
    "names",
    "past_the_knee",
    "place_of",
    "worse",
]

MOST_NAMES = 4  # of a list; more are no longer read


class Claim(NamedTuple):
    """That one figure is better ("more" or "less") than another."""

    better: str
    ahead: Figure
    behind: Figure


class Sentence(NamedTuple):
    """What is said, and the comparisons in it."""

    text: str
    claims: tuple[Claim, ...] = ()


def names(items: Iterable[str]) -> str:
    """``a, b and c``; of many the first, and how many more there are."""
    known = [escape(item) for item in items]
    if len(known) > MOST_NAMES + 1:
        return f"{', '.join(known[:MOST_NAMES])} and {len(known) - MOST_NAMES} others"
    return " and ".join(filter(None, [", ".join(known[:-1]), *known[-1:]]))


def _shown(name: str, figure: Figure) -> str:
    """A figure with its unit and its interval."""
    scale = scale_for(unit_of(name, [figure]), [figure.median])
    return scale.with_unit(figure.median) + _between(scale, figure)


def _between(scale: Scale, figure: Figure) -> str:
    shown = interval(scale, figure).replace(" \N{EN DASH} ", " to ")
    return f" ({shown})" if shown else ""


def place_of(panel: Panel, value: Any) -> str:
    """``With 256 connections, size 64 B,``, or nothing where there is one place only."""
    parts = [panel.title] if panel.title else []
    if value is not None and len(panel.values()) > 1:
        parts.append(panel.place(value))
    return f"With {', '.join(parts)}, " if parts else ""


# --- who is ahead -----------------------------------------------------------------------


def best(panel: Panel, name: str, value: Any = None, better: str | None = None) -> Sentence | None:
    """Who has the most, or the least, at one place; and that nobody has, where nobody has."""
    cells = panel.cells if value is None else panel.at(value)
    ranking = rank(cells, name, better)
    if ranking is None or len(ranking.entries) < 2:
        return None
    where = place_of(panel, value)
    if ranking.winner is not None:
        return _winner(ranking, where)
    top = "highest" if ranking.better == "more" else "lowest"
    if not ranking.behind:
        text = f"{where or 'By the intervals '}no server has clearly the {top} {noun_of(name)}:"
        text += f" the intervals of all {len(ranking.entries)} reach that of the best"
        text += f"{_unranked(ranking)}."
        return Sentence(text)
    ahead = ranking.leaders[0].figure
    text = f"{where}{names(e.target for e in ranking.leaders)} cannot be told apart at the"
    text += f" {top} {noun_of(name)}; {names(e.target for e in ranking.behind)}"
    text += f" {'is' if len(ranking.behind) == 1 else 'are'} clearly behind"
    text += f" {escape(ranking.leaders[0].target)}{_unranked(ranking)}."
    claims = tuple(Claim(ranking.better, ahead, e.figure) for e in ranking.behind)
    return Sentence(text, claims)


def _winner(ranking: Ranking, where: str) -> Sentence:
    winner, last = ranking.entries[0], ranking.entries[-1]
    top = "highest" if ranking.better == "more" else "lowest"
    text = f"{where}{escape(winner.target)} has the {top} {noun_of(ranking.name)}"
    text += f", {_shown(ranking.name, winner.figure)}"
    times = _times(winner.figure, last.figure)
    if times is not None and times >= 1.1:
        if ranking.better == "more":
            text += f", at least {times:.3g} times that of {escape(last.target)}"
        else:
            text += f"; that of {escape(last.target)} is at least {times:.3g} times as high"
    claims = tuple(Claim(ranking.better, winner.figure, e.figure) for e in ranking.behind)
    return Sentence(f"{text}{_unranked(ranking)}.", claims)


def _unranked(ranking: Ranking) -> str:
    if not ranking.limited:
        return ""
    held = names(e.target for e in ranking.limited)
    return f"; the generator was too slow to rank {held}"


def _times(a: Figure, b: Figure) -> float | None:
    """By which factor two figures differ at least, whichever is the larger."""
    large, small = (a, b) if a.median >= b.median else (b, a)
    if large.low is None or small.high is None or small.high <= 0:
        return None
    return int(large.low / small.high * 100) / 100  # down: never more than holds


# --- how a target changes along the sweep -----------------------------------------------


class _Change(NamedTuple):
    target: str
    first: Figure
    last: Figure


def _changes(panel: Panel, name: str, first: Any, last: Any, *, or_stalled: bool) -> list[_Change]:
    """What becomes of each target from one swept value to another, where it is the server's doing.

    :param or_stalled: whether it is, too, where time ran out.
    """
    found = []
    for target in panel.targets():
        points = {
            repr(x): figure
            for x, figure, cell in panel.points(target, name)
            if rankable(cell) or (or_stalled and cell.limited_by == "time")
        }
        if repr(first) in points and repr(last) in points:
            found.append(_Change(target, points[repr(first)], points[repr(last)]))
    return found


def worse(
    panel: Panel, name: str, first: Any, last: Any, better: str, *, or_stalled: bool = False
) -> Sentence | None:
    """Whose figure gets clearly worse from one swept value to another, and how many stay.

    None where there are no two values, or nobody has the figure at both.
    """
    if first == last:
        return None
    changes = _changes(panel, name, first, last, or_stalled=or_stalled)
    if not changes:
        return None
    hurt = [c for c in changes if beyond(c.first, c.last, better)]
    if isinstance(last, str):
        begin = f"With {panel.place(last)} instead of {panel.value_text(first)}"
    else:
        begin = f"From {panel.value_text(first)} to {panel.place(last)}"
    begin += f" ({panel.title})" if panel.title else ""
    verb = "falls" if better == "more" else "rises"
    untold = _rest(panel, [c.target for c in changes])
    if not hurt and len(changes) == 1:
        text = f"{begin}, the {noun_of(name)} of {escape(changes[0].target)} does not clearly"
        return Sentence(f"{text} {verb.removesuffix('s')}{untold}.")
    if not hurt:
        text = f"{begin}, the {noun_of(name)} of none of {count(len(changes), 'server')}"
        return Sentence(f"{text} clearly {verb}{untold}.")
    most = max(hurt, key=lambda c: _times(c.first, c.last) or 0)
    all_of = len(hurt) == len(changes) > MOST_NAMES
    who = f"all {len(hurt)} servers" if all_of else names(c.target for c in hurt)
    text = f"{begin}, the {noun_of(name)} of {who} clearly {verb}"
    times = _times(most.first, most.last)
    if times is not None and times >= 1.1:
        text += f", that of {escape(most.target)}" if len(hurt) > 1 else ","
        text += f" by a factor of at least {times:.3g}"
    rest = len(changes) - len(hurt)
    if rest:
        text += f"; that of {count(rest, 'other')} does not clearly"
    claims = tuple(Claim(better, c.first, c.last) for c in hurt)
    return Sentence(f"{text}{untold}.", claims)


def past_the_knee(panel: Panel, name: str) -> Sentence | None:
    """Who ends clearly below its own best."""
    fallen: list[tuple[str, Any, Figure, Figure]] = []
    seen: list[str] = []
    for target in panel.targets():
        points = [(x, f) for x, f, cell in panel.points(target, name) if rankable(cell)]
        if len(points) < 2:
            continue
        seen.append(target)
        x, best = max(points, key=lambda point: point[1].median)
        if beyond(best, points[-1][1], "more"):
            fallen.append((target, x, best, points[-1][1]))
    if not seen:
        return None
    if not fallen:
        who = (
            f"None of {len(seen)} servers ends" if len(seen) > 1 else f"{names(seen)} does not end"
        )
        return Sentence(f"{who} clearly below its own best {noun_of(name)}{_rest(panel, seen)}.")
    target, x, best, last = max(fallen, key=lambda each: _times(each[2], each[3]) or 0)
    text = f"{names(f[0] for f in fallen)} {'ends' if len(fallen) == 1 else 'end'} clearly below"
    text += f" the {noun_of(name)} of their best setting: {escape(target)} from"
    text += f" {_shown(name, best)} at {panel.value_text(x)} to {_shown(name, last)}"
    claims = tuple(Claim("more", f[2], f[3]) for f in fallen)
    return Sentence(f"{text}.", claims)


def _rest(panel: Panel, seen: list[str]) -> str:
    """How many are left out of a sentence, as they cannot be ranked at both ends of it."""
    left = len(panel.targets()) - len(seen)
    return f"; of {count(left, 'other')} it cannot be told" if left else ""


def held(cell: Cell) -> bool:
    """Whether the generator was the slower one."""
    return cell.limited_by == "generator"


# --- against the baseline ---------------------------------------------------------------


def held_against(panel: Panel, name: str, value: Any = None) -> Sentence | None:
    """How many times the baseline's figure the others have at one place, by pairs of runs.

    None where there are no ratios, or none with an interval.
    """
    here = {place(cell) for cell in (panel.cells if value is None else panel.at(value))}
    ratios = [
        ratio
        for where, ratio in panel.ratios(name).items()
        if where in here and (ratio.low, ratio.high) != (None, None)
    ]
    if not ratios:
        return None
    begin = place_of(panel, value) or "By the pairs of runs, "
    begin += f"held against {escape(ratios[0].baseline)} in the same rounds,"
    alike = names(ratio.target for ratio in ratios if ratio.verdict == NO_DIFFERENCE)
    apart = sorted((r for r in ratios if r.verdict != NO_DIFFERENCE), key=lambda r: r.median)
    if not apart:
        return Sentence(f"{begin} no difference in {noun_of(name)} is seen for {alike}.")
    first, last = _times_as_high(apart[0]), _times_as_high(apart[-1])
    if len(apart) > 2:
        text = (
            f"{begin} the {noun_of(name)} of {len(apart)} servers differs: from {first} to {last}"
        )
    else:
        text = f"{begin} the {noun_of(name)} is {' and '.join(dict.fromkeys((first, last)))}"
    return Sentence(f"{text}{f'; no difference is seen for {alike}' if alike else ''}.")


def _times_as_high(ratio: Ratio) -> str:
    between = _between(PLAIN, Figure(ratio.median, ratio.low, ratio.high, "", []))
    return f"{PLAIN.text(ratio.median)} times as high{between} for {escape(ratio.target)}"
