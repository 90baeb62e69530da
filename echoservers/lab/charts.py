"""Curves, and what all pictures have in common: points, axes of values, names.

Names stand beside what they name, in the order in which it ends there: a reader never
looks a colour up.  Text is always in ink; a sample of line and marker is beside it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..palette import Style
from .canvas import FAINT, INK, axes_in, label_x, new_figure, rule_x, rule_y
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
    "even_places",
    "intervals_of",
    "rings",
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
    points = [p for line in lines for p in line.points]
    spans = [
        (((p.x, p.low), (p.x, p.high)), line.style.color)
        for line in lines
        for p in line.points
        if p.low is not None and p.high is not None
    ]
    intervals_of(axes, spans, 2)
    rings(axes, [(p.x, p.y) for p in points if p.limited])
    _x_axis(axes, [p.x for p in points], ticks, log_x)
    value_axis(axes, "y", points, scale)
    label_x(axes, x_label)
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


def intervals_of(axes: "Axes", spans: Sequence[tuple[Any, str]], level: float) -> None:
    """The intervals of all medians: from where to where, and the colour."""
    from matplotlib.collections import LineCollection

    if spans:
        lines, colors = zip(*spans, strict=True)
        axes.add_collection(
            LineCollection(lines, colors=colors, linewidths=1.0, zorder=level), autolim=False
        )


def rings(axes: "Axes", places: Sequence[tuple[float, float]]) -> None:
    """Around what is not ranked."""
    if places:
        xs, ys = zip(*places, strict=True)
        axes.plot(
            xs, ys, linestyle="none", marker="o", markersize=8.5, markerfacecolor="none",
            markeredgecolor=INK, markeredgewidth=0.7, clip_on=False, zorder=6,
        )  # fmt: skip


def _x_axis(axes: "Axes", xs: Sequence[float], ticks: Ticks | None, log: bool) -> None:
    if log and xs and min(xs) > 0:
        axes.set_xscale("log")
    elif log:
        axes.set_xscale(
            "symlog", linthresh=min((x for x in xs if x > 0), default=1.0), linscale=0.6
        )
    axes.margins(x=0.5 if xs and min(xs) == max(xs) else 0.03)
    axes.autoscale_view(scaley=False)
    if ticks is None:
        low, high = axes.get_xlim()
        places = even_places(low, high, most=7)
        ticks = Ticks(places, [f"{place:g}" for place in places])
    rule_x(axes, ticks.places, _with_room(axes, ticks))


def even_places(low: float, high: float, whole: bool = False, most: int = 5) -> list[float]:
    """A few round numbers from *low* to *high*, and one beyond each."""
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(nbins=most, integer=whole, steps=(1, 2, 2.5, 5, 10))
    return [float(place) for place in locator.tick_values(low, high)]


def _with_room(axes: "Axes", ticks: Ticks) -> list[str]:
    """The names of the ticks; those that would run into one another are left out."""
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
    from matplotlib.ticker import LogLocator

    medians = [point.y for point in points]
    log = bool(medians) and min(medians) > 0 and max(medians) / min(medians) > LOG_FROM
    ends = _ends(points)
    values = [*medians, *(end for end in ends if end > 0 or not log)]
    limits: Callable[..., Any] = axes.set_ylim if which == "y" else axes.set_xlim
    if log:
        (axes.set_yscale if which == "y" else axes.set_xscale)("log")
        low, high = max(min(values), min(medians) / 5), max(values)
        limits(low / 1.25, high * 1.25)
        subs = (1.0,) if high / low > 200 else (1.0, 2.0, 5.0)
        places = list(LogLocator(subs=subs, numticks=12).tick_values(low / 1.25, high * 1.25))
    else:
        top = max([*values, 0.0]) or scale.factor
        bottom = min([*values, 0.0])
        limits(bottom * 1.08, top * 1.08)
        # Round in the unit that is shown; and there is no half a process.
        ends_shown = bottom * 1.08 / scale.factor, top * 1.08 / scale.factor
        places = [place * scale.factor for place in even_places(*ends_shown, scale.whole)]
    rule = rule_y if which == "y" else rule_x
    rule(axes, places, [_tick(scale, place) for place in places])
    return log


def _ends(points: Sequence[Point]) -> list[float]:
    """The ends of the intervals, as far out as an axis goes for them.

    Of few runs that differ much an interval may reach a thousand times as far as the medians,
    which would all lie on the ground then; such a line runs off the picture.
    """
    most = MOST_BEYOND * max((abs(point.y) for point in points), default=0.0)
    ends = [end for point in points for end in (point.low, point.high) if end is not None]
    return [max(-most, min(most, end)) for end in ends]


def _tick(scale: Scale, value: float) -> str:
    text = scale.text(value)
    number, point, rest = text.partition(".")
    digits, space, unit = rest.partition(" ")
    kept = digits.rstrip("0")
    return number + (point + kept if kept else "") + space + unit


def _names(axes: "Axes", lines: Sequence[Curve], height: float) -> None:
    """The names at the right edge, in the order of the lines there, and not over each other.

    Each has a sample of its line before it, and a thin line to where that line ends.
    """
    from matplotlib.collections import LineCollection

    beside, where = _beside(axes)
    ends = [(line, *where(line.points[-1])) for line in lines if line.points]
    ends.sort(key=lambda end: end[2])
    places = spread([y for _line, _x, y in ends], LABEL_GAP, -4.0, height + 4.0)
    leaders = [((x + 3, y), (7, at)) for (_line, x, y), at in zip(ends, places, strict=True)]
    axes.add_artist(
        LineCollection(
            leaders, transform=beside, colors=FAINT, linewidths=0.5,
            linestyles=[(0, (1, 1.5))], clip_on=False, zorder=2,
        )
    )  # fmt: skip
    for (line, _x, _y), at in zip(ends, places, strict=True):
        style = line.style
        axes.plot(
            [8, 15, 22], [at, at, at], transform=beside, color=style.color, linestyle=style.line,
            linewidth=1.3, marker="" if line.plain else style.marker, markevery=[1],
            markersize=4.2, clip_on=False,
        )  # fmt: skip
        axes.text(25, at, short(line.name), transform=beside, va="center", ha="left")


def _beside(axes: "Axes") -> tuple[Any, Callable[[Point], tuple[float, float]]]:
    """Points from the lower right corner of *axes*, and where a median is in them."""
    from matplotlib.transforms import Affine2D, ScaledTranslation

    figure = axes.get_figure(root=True)
    assert figure is not None
    box = axes.get_position()
    width, height = (float(inches) for inches in figure.get_size_inches())
    corner = box.x1 * width, box.y0 * height
    beside = Affine2D().scale(1 / 72) + figure.dpi_scale_trans
    beside += ScaledTranslation(*corner, figure.dpi_scale_trans)
    to_points = 72 / figure.dpi

    def where(point: Point) -> tuple[float, float]:
        x, y = (float(at) * to_points for at in axes.transData.transform((point.x, point.y)))
        return x - corner[0] * 72, y - corner[1] * 72

    return beside, where


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
