"""Which picture each experiment gets; they are drawn from the saved figures alone.

An experiment of the user's own gets curves where it sweeps numbers, and rows where not.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..log import escape
from ..palette import STYLES, Style
from .canvas import Picture, drawing, finish
from .charts import Curve, Point, Ticks, curves
from .lanes import Timeline, read_lanes, timeline, timelines
from .layout import layout_of, noun_of, title_of_figure, unit_of
from .looks import looks_of
from .ranking import rankable
from .results import Cell, Experiment, Figure, Results
from .rows import Row, intervals, shares
from .units import Scale, scale_for
from .view import Panel, panels, slug, unique

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

__all__ = ["pictures_of"]

Looks = dict[str, Style]
_PERCENTILES = (("p50", "50"), ("p90", "90"), ("p99", "99"), ("p999", "99.9"))
_LOG_X = 6  # a sweep over this much is one of factors
_IN_TABLE = "The figures stand in the table."


def pictures_of(results: Results, experiment: Experiment) -> list[Picture]:
    """All pictures of *experiment*, in the order in which to show them."""
    looks = looks_of(results.targets, unique(cell.target for cell in experiment.cells))
    draw = _SPECIAL.get(experiment.name, _general)
    with drawing():
        return list(draw(experiment, looks)) or list(_general(experiment, looks))


def _picture(figure: "Drawing", panel: Panel, what: str, title: str, says: str) -> Picture:
    parts = [slug(panel.experiment.name) or "experiment", panel.slug, slug(what)]
    name = "-".join(part for part in parts if part)
    whole = f"{title}: {panel.title}" if panel.title else title
    return finish(figure, name, whole, says)


def _scale(panel: Panel, name: str) -> tuple[Scale, str]:
    """The scale of a figure and what heads its axis."""
    found = [c.figures[name] for c in panel.cells if name in c.figures and not c.error]
    scale = scale_for(unit_of(name, found), [figure.median for figure in found])
    return scale, scale.behind(title_of_figure(name))


def _point(x: float, figure: Figure, cell: Cell) -> Point:
    low, high = figure.low, figure.high
    if low is None and high is not None:  # a line that has one end begins at the mark
        low = figure.median
    elif high is None and low is not None:
        high = figure.median
    return Point(x, figure.median, low, high, not rankable(cell))


def _names(panel: Panel) -> str:
    targets = panel.targets()
    return f"{len(targets)} servers: {', '.join(map(escape, targets))}"


# --- the general ones -------------------------------------------------------------------


def _general(experiment: Experiment, looks: Looks) -> Iterator[Picture]:
    for name in layout_of(experiment).main:
        for panel in panels(experiment):
            yield from _one(panel, name, looks)


def _one(panel: Panel, name: str, looks: Looks) -> Iterator[Picture]:
    values = panel.values()
    if not any(name in cell.figures and not cell.error for cell in panel.cells):
        return
    if len(values) > 1 and all(_is_number(value) for value in values):
        yield _sweep(panel, name, looks)
    else:
        yield _rows(panel, name, looks)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sweep(panel: Panel, name: str, looks: Looks) -> Picture:
    """A figure against the swept value."""
    values = sorted(float(value) for value in panel.values())
    lines = []
    for target in panel.targets():
        found = [_point(float(x), f, cell) for x, f, cell in panel.points(target, name)]
        if found:
            lines.append(Curve(target, looks[target], found))
    scale, label = _scale(panel, name)
    positive = [value for value in values if value > 0]
    log = len(positive) > 1 and positive[-1] / positive[0] > _LOG_X
    ticks = Ticks(values, [panel.value_text(v) for v in sorted(panel.values())])
    x_label = panel.axis
    figure = curves(lines, x_label, label, scale, ticks, log)
    says = f"A line for each of {_names(panel)}; {noun_of(name)} against {x_label}. {_IN_TABLE}"
    return _picture(figure, panel, name, title_of_figure(name), says)


def _rows(panel: Panel, name: str, looks: Looks) -> Picture:
    """A figure in a row a target, with a mark for each swept value, if any."""
    values = panel.values() or [None]
    scale, label = _scale(panel, name)
    rows = [_row(panel, target, name, looks[target], values) for target in panel.targets()]
    if len(values) == 1:
        rows.sort(key=lambda row: row.points[0].y if row.points[0] else float("inf"))
    settings = [panel.value_text(value) for value in values]
    figure = intervals(rows, label, scale, settings)
    says = f"A row for each of {_names(panel)}; {noun_of(name)}. {_IN_TABLE}"
    return _picture(figure, panel, name, title_of_figure(name), says)


def _row(panel: Panel, target: str, name: str, style: Style, values: Sequence[Any]) -> Row:
    parameter = panel.experiment.parameter
    cells = panel.of(target)
    points: list[Point | None] = []
    for value in values:
        at = [c for c in cells if c.parameters.get(parameter) == value or value is None]
        found = [_point(0, c.figures[name], c) for c in at if name in c.figures and not c.error]
        points.append(found[0] if found else None)
    failed = sum(1 for cell in cells if cell.error)
    missing = "not measured" if all(point is None for point in points) else ""
    if missing and name == "process_control_cpu" and style.reason == STYLES["iterative"].reason:
        missing = "0: what the others are held against"
    return Row(target, style, points, "failed" if failed else missing)


# --- those of one experiment ------------------------------------------------------------


def _places(experiment: Experiment) -> Iterator[tuple[Panel, str]]:
    """Each place of the sweep by itself, and what it is called."""
    for panel in panels(experiment):
        values = panel.values()
        for value in values:
            at = panel._replace(cells=panel.at(value))
            yield at, panel.place(value) if len(values) > 1 else ""
        if not values:
            yield panel, ""


def _titled(title: str, said: str) -> str:
    return f"{title}, {said}" if said else title


def _percentiles(experiment: Experiment, looks: Looks) -> Iterator[Picture]:
    """How long the slowest waited: percentiles, a picture for each load."""
    for at, said in _places(experiment):
        lines = []
        for cell in at.cells:
            points = [
                _point(float(place), cell.figures[name], cell)
                for place, (name, _text) in enumerate(_PERCENTILES)
                if name in cell.figures and not cell.error
            ]
            if points:
                lines.append(Curve(cell.target, looks[cell.target], points))
        if lines:
            scale = scale_for("s", [p.y for line in lines for p in line.points])
            ticks = Ticks(range(len(_PERCENTILES)), [text for _name, text in _PERCENTILES])
            label = scale.behind("Response time")
            figure = curves(lines, "percentile of all replies", label, scale, ticks)
            says = f"Percentiles of the response time, {said}: {_names(at)}. {_IN_TABLE}"
            title = _titled("Response time", said)
            yield _picture(figure, at, f"percentiles-{said}", title, says)


def _over_time(experiment: Experiment, looks: Looks) -> Iterator[Picture]:
    """Requests a second over time, and what is left of them."""
    for at, said in _places(experiment):
        lines = []
        for cell in at.cells:
            series = cell.series.get("requests_per_second")
            if series and not cell.error:
                pairs = list(zip(series["x"], series["y"], strict=False))
                # A logarithm has no zero: a second without a reply is drawn at a half.
                points = [Point(float(x), max(float(y), 0.5)) for x, y in pairs]
                lines.append(Curve(cell.target, looks[cell.target], points, plain=True))
        if lines:
            scale = scale_for("1/s", ())._replace(unit="")
            figure = curves(lines, "time, s", "Requests a second, in a typical run", scale)
            says = f"Requests a second over time, {said}, a line for each of {_names(at)}."
            title = _titled("Requests a second over time", said)
            yield _picture(figure, at, f"over-time-{said}", title, says)
    kept = any("kept_share" in cell.figures for cell in experiment.cells)
    for panel in panels(experiment):
        yield from _one(panel, "kept_share" if kept else "throughput", looks)


def _workers(experiment: Experiment, looks: Looks) -> Iterator[Picture]:
    """How the clients were shared among the workers."""
    drawn = False
    for at, said in _places(experiment):
        rows = []
        for cell in at.cells:
            series = cell.series.get("served_by_worker")
            if not series or cell.error:
                continue
            served = [float(y) for y in series["y"]]
            jain = cell.figures.get("jain_index")
            remark = f"{len(served)} w." + (f", Jain {jain.median:.2f}" if jain else "")
            rows.append((cell.target, looks[cell.target], served, remark))
        if rows:
            drawn = True
            figure = shares(rows, "clients served by each worker, as a part of all (w.: workers)")
            says = f"A bar for each server, a part of it for each worker, {said}; {_names(at)}."
            title = _titled("Clients served by each worker", said)
            yield _picture(figure, at, f"workers-{said}", title, says)
    if not drawn:
        yield from _general(experiment, looks)


def _timelines(experiment: Experiment, _looks: Looks) -> Iterator[Picture]:
    """A lane a worker, a picture a target; and all in one, for the folder."""
    for at, said in _places(experiment):
        read = [read_lanes(cell.target, cell.series) for cell in at.cells if not cell.error]
        shown = [one for one in read if one is not None]
        end = max((one.end for one in shown), default=0.0)
        if not end:
            continue
        whole = timelines(shown, end)
        says = f"Who served whom and when, side by side, {said}: {_names(at)}."
        title = _titled("Who served whom, and when", said)
        yield _picture(whole, at, f"all-{said}", title, says)._replace(alone=False)
        for number, one in enumerate(shown, 1):
            name = f"{said}-{number}-{one.target}"
            picture = _picture(timeline(one, end), at, name, escape(one.target), _told(one))
            yield picture._replace(group=title)


def _told(shown: Timeline) -> str:
    parts = []
    for worker, spans in shown.lanes[:8]:
        parts.append(f"{escape(worker)} served clients {', '.join(str(s.client) for s in spans)}")
    return f"{escape(shown.target)}, lane by lane: {'; '.join(parts)}."


_SPECIAL: dict[str, Callable[[Experiment, Looks], Iterator[Picture]]] = {
    "latency": _percentiles,
    "gil": _over_time,
    "fairness": _workers,
    "timeline": _timelines,
}
