"""Two sentences an experiment, made of the data: a comparison is said only where it holds.

Each sentence carries the claims it makes, so that a test can hold every one of them
against the intervals.  "At least 3 times" is the least that two intervals allow.  Where
nothing can be told apart, that is what is said.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ..log import escape
from .lanes import read_lanes
from .layout import layout_of, noun_of, unit_of
from .ranking import Ranking, beyond, rank, rankable
from .results import Cell, Experiment, Figure
from .units import count, scale_for
from .view import Panel, panels, title_of

__all__ = ["Claim", "Sentence", "sentences_of"]

MOST_NAMES = 4  # of a list; more are no longer read

Made = Iterator["Sentence | None"]


class Claim(NamedTuple):
    """That one figure is better ("more" or "less") than another."""

    better: str
    ahead: Figure
    behind: Figure


class Sentence(NamedTuple):
    """What is said, and the comparisons in it."""

    text: str
    claims: tuple[Claim, ...] = ()


def sentences_of(experiment: Experiment) -> list[Sentence]:
    """The two most telling sentences about *experiment* that its data allow."""
    found: list[Sentence] = []
    for maker in (_SPECIAL.get(experiment.name, _general), _general, _last_resort):
        for sentence in maker(experiment):
            if sentence is not None and sentence.text not in [other.text for other in found]:
                found.append(sentence)
            if len(found) == 2:
                return found
    return found


def names(items: Iterable[str]) -> str:
    """``a, b and c``; of many the first, and how many more there are."""
    known = [escape(item) for item in items]
    if len(known) > MOST_NAMES + 1:
        return f"{', '.join(known[:MOST_NAMES])} and {len(known) - MOST_NAMES} others"
    return " and ".join(filter(None, [", ".join(known[:-1]), *known[-1:]]))


def _shown(name: str, figure: Figure) -> str:
    """A figure with its unit and its interval."""
    scale = scale_for(unit_of(name, [figure]), [figure.median])
    if figure.low is None or figure.high is None or figure.low == figure.high:
        return scale.with_unit(figure.median)
    between = f"{scale.text(figure.low)} to {scale.text(figure.high)}"
    return f"{scale.with_unit(figure.median)} ({between})"


def _at(panel: Panel, value: Any) -> str:
    """``With 256 connections, size 64 B,``, or nothing where there is one place only."""
    parts = [panel.title] if panel.title else []
    if value is not None and len(panel.values()) > 1:
        shown = panel.value_text(value)
        unit = panel.experiment.unit
        parameter = title_of(panel.experiment.parameter)
        counted = unit and isinstance(value, int) and unit not in ("bytes", "s")
        parts.append(f"{shown} {unit}" if counted else f"{parameter} {shown}")
    return f"With {', '.join(parts)}, " if parts else ""


# --- who is ahead -----------------------------------------------------------------------


def _best(panel: Panel, name: str, value: Any = None, better: str | None = None) -> Sentence | None:
    """Who has the most, or the least, at one place; and that nobody has, where nobody has."""
    cells = panel.cells if value is None else panel.at(value)
    ranking = rank(cells, name, better)
    if ranking is None or len(ranking.entries) < 2:
        return None
    where = _at(panel, value)
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


def _changes(panel: Panel, name: str, first: Any, last: Any) -> list[_Change]:
    """What becomes of each target from one swept value to another."""
    found = []
    for target in panel.targets():
        points = {repr(x): f for x, f, cell in panel.points(target, name) if not _held(cell)}
        if repr(first) in points and repr(last) in points:
            found.append(_Change(target, points[repr(first)], points[repr(last)]))
    return found


def _worse(panel: Panel, name: str, first: Any, last: Any, better: str) -> Sentence | None:
    """Whose figure gets clearly worse from one swept value to another, and how many stay."""
    changes = _changes(panel, name, first, last)
    if not changes:
        return None
    hurt = [c for c in changes if beyond(c.first, c.last, better)]
    what = panel.experiment.unit or title_of(panel.experiment.parameter)
    if isinstance(last, str):
        begin = f"With {what} {panel.value_text(last)} instead of {panel.value_text(first)}"
    else:
        begin = f"From {panel.value_text(first)} to {panel.value_text(last)} {what}"
    begin += f" ({panel.title})" if panel.title else ""
    verb = "falls" if better == "more" else "rises"
    if not hurt:
        text = f"{begin}, the {noun_of(name)} of none of {count(len(changes), 'server')}"
        return Sentence(f"{text} clearly {verb}.")
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
    return Sentence(f"{text}.", claims)


def _past_the_knee(panel: Panel, name: str) -> Sentence | None:
    """Who ends clearly below its own best."""
    fallen: list[tuple[str, Any, Figure, Figure]] = []
    seen = 0
    for target in panel.targets():
        points = [(x, f) for x, f, cell in panel.points(target, name) if rankable(cell)]
        if len(points) < 2:
            continue
        seen += 1
        x, best = max(points, key=lambda point: point[1].median)
        if beyond(best, points[-1][1], "more"):
            fallen.append((target, x, best, points[-1][1]))
    if not seen:
        return None
    if not fallen:
        return Sentence(
            f"Of {count(seen, 'server')} none ends clearly below its own best {noun_of(name)}."
        )
    target, x, best, last = max(fallen, key=lambda each: _times(each[2], each[3]) or 0)
    text = f"{names(f[0] for f in fallen)} {'ends' if len(fallen) == 1 else 'end'} clearly below"
    text += f" the {noun_of(name)} of their best setting: {escape(target)} from"
    text += f" {_shown(name, best)} at {panel.value_text(x)} to {_shown(name, last)}"
    claims = tuple(Claim("more", f[2], f[3]) for f in fallen)
    return Sentence(f"{text}.", claims)


# --- what each experiment is about ------------------------------------------------------


def _general(experiment: Experiment) -> Made:
    layout = layout_of(experiment)
    for name in (*layout.main, *layout.more):
        for panel in panels(experiment):
            values = panel.values()
            yield _best(panel, name, values[-1] if values else None)
            if len(values) > 1:
                yield _best(panel, name, values[0])


def _scaling(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        yield _best(panel, "throughput", (panel.values() or [None])[-1])
        yield _past_the_knee(panel, "throughput")


def _latency(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        values = panel.values()
        if values:
            yield _best(panel, "p99", values[-1])
            yield _worse(panel, "p99", values[0], values[-1], "less")


def _slow_client(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        values = panel.values()
        for name, better in (("throughput", "more"), ("p99", "less")):
            for value in values[1:]:
                yield _worse(panel, name, values[0], value, better)


def _gil(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        for value in reversed(panel.values() or [None]):
            cells = panel.cells if value is None else panel.at(value)
            yield _best(panel, "kept_share", value)
            found = [c for c in cells if "kept_share" in c.figures and not c.error]
            lost = [c.target for c in found if _whole_below(c.figures["kept_share"], 0.5)]
            who = names(lost) if lost else "no server"
            if found:
                yield Sentence(
                    f"{_at(panel, value)}{who} clearly {'keeps' if len(lost) < 2 else 'keep'} less"
                    f" than half of the throughput: {len(lost)} of {len(found)} servers."
                )


def _whole_below(figure: Figure, limit: float) -> bool:
    return figure.high is not None and figure.high < limit


def _fairness(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        last = (panel.values() or [None])[-1]
        yield _best(panel, "jain_index", last)
        served = {}
        for cell in panel.at(last) if last is not None else panel.cells:
            amounts = (cell.series.get("served_by_worker") or {}).get("y", ())
            if len(amounts) > 1 and not cell.error:
                served[cell.target] = (max(amounts), min(amounts))
        if served:
            target = max(served, key=lambda name: served[name][0] - served[name][1])
            most, least = served[target]
            yield Sentence(
                f"{_at(panel, last)}the busiest worker of {escape(target)} served {most:,.0f}"
                f" clients and the least busy one {least:,.0f}, in the run that is drawn."
            )


def _idle(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        values = panel.values()
        most = values[-1] if values else None
        yield _best(_with_all_clients(panel), "memory_pss", most, "less")
        if isinstance(most, int) and most >= 100:
            yield from _a_worker_each(panel, most)
        if len(values) > 1:
            yield _worse(panel, "memory_pss", values[0], most, "less")


def _with_all_clients(panel: Panel) -> Panel:
    """Without the cells of servers that did not take all clients: they had less to hold."""
    all_taken = [
        c for c in panel.cells
        if "answered_share" not in c.figures or c.figures["answered_share"].median >= 1
    ]  # fmt: skip
    return panel._replace(cells=tuple(all_taken))


def _a_worker_each(panel: Panel, clients: int) -> Made:
    for name, thing in (("processes", "process"), ("threads", "thread")):
        at = [c for c in panel.at(clients) if name in c.figures and rankable(c)]
        each = [c.target for c in at if c.figures[name].median >= 0.9 * clients]
        if each:
            verb = "has" if len(each) == 1 else "have"
            yield Sentence(f"{names(each)} {verb} a {thing} for each idle connection.")


def _size(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        values = panel.values() or [None]
        yield _best(panel, "throughput", values[0])
        yield _best(panel, "megabytes_per_second", values[-1])


def _work(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        yield _best(panel, "throughput", (panel.values() or [None])[-1])


def _timeline(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        values = panel.values()
        by_number: dict[int, list[str]] = {}
        for cell in panel.at(values[0]) if values else panel.cells:
            shown = None if cell.error else read_lanes(cell.target, cell.series)
            if shown is not None:
                by_number.setdefault(shown.most_at_once(), []).append(cell.target)
        parts = [
            f"{names(who)} served {'one request' if n == 1 else f'up to {n} requests'} at a time"
            for n, who in sorted(by_number.items())
        ]
        if parts:
            where = _at(panel, values[0] if values else None)
            yield Sentence(f"{where}{'; '.join(parts)}, in the runs that are drawn.")
    for panel in panels(experiment):
        for value in panel.values() or [None]:
            yield _best(panel, "makespan", value)


def _datagram(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        values = panel.values()
        if values:
            yield _best(panel, "answered_share", values[-1])
            yield _worse(panel, "answered_share", values[0], values[-1], "more")


def _backlog(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        at = [c for c in panel.cells if "refused" in c.figures and not c.error]
        refused = [c for c in at if (c.figures["refused"].low or 0) > 0]
        where = f"With {panel.title}, c" if panel.title else "C"
        if refused:
            sizes = [c.parameters.get(experiment.parameter) for c in refused]
            who = names(dict.fromkeys(c.target for c in refused))
            least = min((s for s in sizes if isinstance(s, int)), default=None)
            burst = f" at bursts of {least:,} or more" if least is not None else ""
            yield Sentence(f"{where}onnections were refused by {who}{burst}.")
        elif at:
            yield Sentence(f"{where}onnections were not clearly refused by any server.")
    for panel in panels(experiment):
        yield _best(panel, "connect_max", (panel.values() or [None])[-1])


def _last_resort(experiment: Experiment) -> Made:
    """What is true of any experiment: what was measured, and what was not."""
    cells = experiment.cells
    failed = [c for c in cells if c.error]
    targets = dict.fromkeys(c.target for c in cells)
    if failed:
        who = names(dict.fromkeys(c.target for c in failed))
        yield Sentence(
            f"{len(failed)} of {count(len(cells), 'measurement')} failed: those of {who}."
        )
    held = names(dict.fromkeys(c.target for c in cells if _held(c)))
    if held:
        yield Sentence(f"The generator was too slow to rank {held} everywhere.")
    yield Sentence(f"{count(len(targets), 'server')} in {count(len(cells), 'measurement')}: the"
                   " figures are told below, and no two are compared.")  # fmt: skip
    yield Sentence("By these figures no server can be called better than another.")


def _held(cell: Cell) -> bool:
    return cell.limited_by == "generator"


_SPECIAL: dict[str, Callable[[Experiment], Made]] = {
    "scaling": _scaling,
    "latency": _latency,
    "fairness": _fairness,
    "slow-client": _slow_client,
    "gil": _gil,
    "idle": _idle,
    "size": _size,
    "work": _work,
    "timeline": _timeline,
    "datagram": _datagram,
    "backlog": _backlog,
}
