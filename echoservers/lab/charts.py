"""Curves, and what all pictures have in common: points, axes of values, names.

Names stand beside what they name, in the order in which it ends there: a reader never
looks a colour up.  Text is always in ink; a sample of line and marker is beside it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..palette import Style
from .canvas import FAINT, INK, axes_in, new_figure
from .units import Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BOTTOM",
    "LETTER",
    "TOP",
    "Curve",
    "Point",
    "Ticks",
    "curves",
    "ring",
    "short",
    "value_axis",
]

LETTER = 5.3  # points: the width of a letter of the labels, on average
LABEL_GAP = 10.5  # points between labels
LONGEST_NAME = 22  # letters; the whole name stands in the table
LOG_FROM = 15  # a span from which a linear axis would press the small ones to the ground
MOST_BEYOND = 2.5  # times the largest median, for the end of an interval
_LEFT, BOTTOM, TOP = 46.0, 34.0, 10.0


class Point(NamedTuple):
    """A median and, where there is one, its interval; limited: it is not ranked."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    limited: bool = False


class Curve(NamedTuple):
    """The points of a target."""

    name: str
    style: Style
    points: Sequence[Point]
    plain: bool = False  # no markers: too many points


class Ticks(NamedTuple):
    """The places on an axis that have a name."""

    places: Sequence[float]
    names: Sequence[str]


def short(name: str) -> str:
    """A name that fits beside a picture."""
    clean = name if name.isprintable() else repr(name)
    return clean if len(clean) <= LONGEST_NAME else clean[: LONGEST_NAME - 1] + "…"


def curves(
    lines: Sequence[Curve],
    x_label: str,
    y_label: str,
    scale: Scale,
    ticks: Ticks | None = None,
    log_x: bool = False,
) -> "Figure":
    """Lines from left to right, each with its name at the right."""
    right = 30 + LETTER * max((len(short(line.name)) for line in lines), default=0)
    height = max(215.0, LABEL_GAP * len(lines) + BOTTOM + TOP + 12)
    figure = new_figure(height)
    axes = axes_in(figure, _LEFT, BOTTOM, right, TOP + 8)
    for line in lines:
        _draw(axes, line)
    _x_axis(axes, lines, ticks, log_x)
    value_axis(axes, "y", [p for line in lines for p in line.points], scale)
    axes.set_xlabel(x_label, labelpad=2)
    _head(axes, y_label)
    _names(axes, lines, height - BOTTOM - TOP - 8)
    return figure


def _head(axes: "Axes", text: str) -> None:
    """What the y axis shows, level and above it: read without turning one's head."""
    axes.annotate(
        text, (0, 1), (-_LEFT + 4, 5), xycoords="axes fraction", textcoords="offset points",
        ha="left", va="bottom",
    )  # fmt: skip


def _draw(axes: "Axes", line: Curve) -> None:
    xs, ys = [p.x for p in line.points], [p.y for p in line.points]
    style = line.style
    marker = "" if line.plain and len(xs) > 1 else style.marker
    axes.plot(
        xs, ys, color=style.color, linestyle=style.line, linewidth=1.3, marker=marker,
        markersize=4.2, markeredgecolor=style.color, markeredgewidth=0.9, clip_on=False, zorder=3,
    )  # fmt: skip
    spans = [(p.x, p.low, p.high) for p in line.points if p.low is not None and p.high is not None]
    if spans:
        at, low, high = zip(*spans, strict=True)
        axes.vlines(at, low, high, color=style.color, linewidth=1.0, zorder=2)
    limited = [(p.x, p.y) for p in line.points if p.limited]
    if limited:
        ring(axes, *zip(*limited, strict=True))


def ring(axes: "Axes", x: Any, y: Any) -> None:
    """Around what is not ranked."""
    axes.plot(
        x, y, linestyle="none", marker="o", markersize=8.5, markerfacecolor="none",
        markeredgecolor=INK, markeredgewidth=0.7, clip_on=False, zorder=6,
    )  # fmt: skip


def _x_axis(axes: "Axes", lines: Sequence[Curve], ticks: Ticks | None, log: bool) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    xs = [p.x for line in lines for p in line.points]
    if log and xs and min(xs) > 0:
        axes.set_xscale("log")
    elif log:
        axes.set_xscale(
            "symlog", linthresh=min((x for x in xs if x > 0), default=1.0), linscale=0.6
        )
    if ticks is not None:
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(FixedLocator(list(ticks.places)))
    axes.margins(x=0.5 if xs and min(xs) == max(xs) else 0.03)
    if ticks is not None:
        axes.set_xticks(list(ticks.places), _with_room(axes, ticks))


def _with_room(axes: "Axes", ticks: Ticks) -> list[str]:
    """The names of the ticks; those that would run into one another are left out."""
    axes.autoscale_view()
    points = 72 / axes.figure.dpi
    places = [float(axes.transData.transform((x, 0))[0]) * points for x in ticks.places]
    halves = [LETTER * len(name) / 2 + 1 for name in ticks.names]
    names = list(ticks.names)
    last = len(names) - 1
    edge, wall = float("-inf"), places[last] - halves[last]
    for n, (place, half) in enumerate(zip(places, halves, strict=True)):
        if place - half < edge or (n != last and place + half > wall):
            names[n] = ""
        else:
            edge = place + half
    return names


def value_axis(axes: "Axes", which: str, points: Sequence[Point], scale: Scale) -> bool:
    """The axis of the measured values: from zero on, or logarithmic, which is said back."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    medians = [point.y for point in points]
    log = bool(medians) and min(medians) > 0 and max(medians) / min(medians) > LOG_FROM
    ends = _ends(points)
    values = [*medians, *(end for end in ends if end > 0 or not log)]
    axis: Any = axes.yaxis if which == "y" else axes.xaxis
    limits: Callable[..., Any] = axes.set_ylim if which == "y" else axes.set_xlim
    if log:
        (axes.set_yscale if which == "y" else axes.set_xscale)("log")
        low, high = max(min(values), min(medians) / 5), max(values)
        limits(low / 1.25, high * 1.25)
        few = high / low > 200
        axis.set_major_locator(LogLocator(subs=(1.0,) if few else (1.0, 2.0, 5.0), numticks=12))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
    else:
        top = max([*values, 0.0]) or scale.factor
        bottom = min([*values, 0.0])
        limits(bottom * 1.08, top * 1.08)
        whole = MaxNLocator(nbins=5, integer=scale.whole)  # there is no half a process
        axis.set_major_locator(_Rounded(axis, scale.factor, whole))
    axis.set_major_formatter(FuncFormatter(lambda value, _place: _tick(scale, value)))
    return log


def _ends(points: Sequence[Point]) -> list[float]:
    """The ends of the intervals, as far out as an axis goes for them.

    Of few runs that differ much an interval may reach a thousand times as far as the medians,
    which would all lie on the ground then; such a line runs off the picture.
    """
    most = MOST_BEYOND * max((abs(point.y) for point in points), default=0.0)
    ends = [end for point in points for end in (point.low, point.high) if end is not None]
    return [max(-most, min(most, end)) for end in ends]


def _Rounded(axis: Any, factor: float, inner: Any) -> Any:  # noqa: N802 - a class, made where it can be
    """Ticks that are round numbers in the unit that is shown."""
    from matplotlib.ticker import Locator

    class Rounded(Locator):
        def __call__(self) -> Any:
            low, high = axis.get_view_interval()
            return self.tick_values(low, high)

        def tick_values(self, vmin: float, vmax: float) -> Any:
            return inner.tick_values(vmin / factor, vmax / factor) * factor

    return Rounded()


def _tick(scale: Scale, value: float) -> str:
    text = scale.text(value)
    number, point, rest = text.partition(".")
    digits, space, unit = rest.partition(" ")
    kept = digits.rstrip("0")
    return number + (point + kept if kept else "") + space + unit


def _names(axes: "Axes", lines: Sequence[Curve], height: float) -> None:
    """The names at the right edge, in the order of the lines there, and not over each other."""
    ends = [(line, line.points[-1]) for line in lines if line.points]
    to_pixels = axes.transData
    pixels: Any = axes.get_window_extent()

    def level(point: Point) -> float:
        y: Any = to_pixels.transform((point.x, point.y))[1]
        return float((y - pixels.y0) / pixels.height * height)

    levels = sorted(((level(p), n) for n, (_line, p) in enumerate(ends)))
    places = spread([y for y, _n in levels], LABEL_GAP, -4.0, height + 4.0)
    for (_y, n), place in zip(levels, places, strict=True):
        _name(axes, ends[n][0], ends[n][1], place / height)


def _name(axes: "Axes", line: Curve, end: Point, place: float) -> None:
    """A name, a sample of the line before it, and a thin line to where the line ends."""
    style = line.style
    points, edge = _from_edge(axes, place)
    at: Any = axes.transData.transform((end.x, end.y))
    to_points = 72 / axes.figure.dpi
    axes.plot(
        [(at[0] - edge[0]) * to_points + 3, 7], [(at[1] - edge[1]) * to_points, 0],
        transform=points, color=FAINT, linewidth=0.5, linestyle=(0, (1, 1.5)), clip_on=False,
    )  # fmt: skip
    axes.plot(
        [8, 15, 22], [0, 0, 0], transform=points, color=style.color, linestyle=style.line,
        linewidth=1.3, marker="" if line.plain else style.marker, markevery=[1], markersize=4.2,
        clip_on=False,
    )  # fmt: skip
    axes.text(25, 0, short(line.name), transform=points, va="center", ha="left")


def _from_edge(axes: "Axes", place: float) -> tuple[Any, Any]:
    """Points to the right of the right edge, at a height; and where that is, in pixels."""
    from matplotlib.transforms import Affine2D, ScaledTranslation

    figure = axes.figure
    at: Any = axes.transAxes.transform((1.0, place))
    inches: Any = figure.dpi_scale_trans.inverted().transform(at)
    points = Affine2D().scale(1 / 72) + figure.dpi_scale_trans
    return points + ScaledTranslation(inches[0], inches[1], figure.dpi_scale_trans), at


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the *wanted* ones (ascending), at least *gap* apart, from *low* to *high*."""
    places: list[float] = []
    for want in wanted:
        places.append(max([want, low] if not places else [want, places[-1] + gap]))
    ceiling = high
    for number in range(len(places) - 1, -1, -1):
        places[number] = min(places[number], ceiling)
        ceiling = places[number] - gap
    return places
