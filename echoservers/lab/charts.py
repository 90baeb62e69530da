"""The kinds of pictures: curves, intervals in rows, shares in rows.

Names stand beside what they name, in the order in which it ends there: a reader never
looks a colour up.  Text is always in ink; a sample of line and marker is beside it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..palette import Style
from .canvas import FAINT, INK, PAPER, WIDTH, axes_in, new_figure
from .units import Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Curve", "Point", "Row", "curves", "intervals", "shares"]

LETTER = 5.3  # points: the width of a letter of the labels, on average
LABEL_GAP = 10.5  # points between labels
LONGEST_NAME = 22  # letters; the whole name stands in the table
LOG_FROM = 15  # a span from which a linear axis would press the small ones to the ground
_LEFT, _BOTTOM, _TOP = 46.0, 34.0, 10.0


class Point(NamedTuple):
    """A median and, where there is one, its interval; limited: the generator was the slower."""

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


class Row(NamedTuple):
    """One target in a picture of rows."""

    name: str
    style: Style
    points: Sequence[Point | None]  # one for each of the compared settings
    remark: str = ""


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
    height = max(215.0, LABEL_GAP * len(lines) + _BOTTOM + _TOP + 12)
    figure = new_figure(height)
    axes = axes_in(figure, _LEFT, _BOTTOM, right, _TOP + 8)
    for line in lines:
        _draw(axes, line)
    _x_axis(axes, lines, ticks, log_x)
    _value_axis(axes, "y", [p for line in lines for p in line.points], scale)
    axes.set_xlabel(x_label, labelpad=2)
    _head(axes, y_label)
    _names(axes, lines, height - _BOTTOM - _TOP - 8)
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
        axes.plot(
            *zip(*limited, strict=True), linestyle="none", marker="o", markersize=8.5,
            markerfacecolor="none", markeredgecolor=INK, markeredgewidth=0.7, clip_on=False,
            zorder=4,
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


def _value_axis(axes: "Axes", which: str, points: Sequence[Point], scale: Scale) -> bool:
    """The axis of the measured values: from zero on, or logarithmic, which is said back."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    medians = [point.y for point in points]
    log = bool(medians) and min(medians) > 0 and max(medians) / min(medians) > LOG_FROM
    ends = [end for p in points for end in (p.low, p.high) if end is not None]
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
        axis.set_major_locator(_Rounded(axis, scale.factor, MaxNLocator(nbins=5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _place: _tick(scale, value)))
    return log


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


# --- rows -------------------------------------------------------------------------------

ROW = 15.0  # points
_SETTING_MARKERS = ("o", "D", "^", "s", "v", "P")


def intervals(
    rows: Sequence[Row], x_label: str, scale: Scale, settings: Sequence[str] = ("",)
) -> "Figure":
    """A row a target: a mark with its interval for each of the compared settings."""
    several = len(settings) > 1
    left = 10 + LETTER * max(len(short(row.name)) for row in rows)
    top = _TOP + (14.0 if several else 0)
    figure = new_figure(ROW * len(rows) + _BOTTOM + top + 4)
    axes = axes_in(figure, left, _BOTTOM, 46 if not several else 12, top)
    log = _value_axis(axes, "x", [p for row in rows for p in row.points if p is not None], scale)
    for number, row in enumerate(rows):
        _row(axes, row, number, several, None if log else 0.0, scale)
    _row_axis(axes, [row.name for row in rows])
    axes.set_xlabel(x_label, labelpad=2)
    if several:
        _settings_key(axes, settings)
    return figure


def _row_axis(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _row(
    axes: "Axes", row: Row, number: int, several: bool, zero: float | None, scale: Scale
) -> None:
    color = row.style.color
    found = [p.y for p in row.points if p is not None]
    if several:
        if found:
            axes.hlines(number, min(found), max(found), color=color, linewidth=1.6, alpha=0.45)
    elif found and zero is None:  # a logarithm has no zero for a bar to stand on
        axes.hlines(number, axes.get_xlim()[0], found[0], color=color, linewidth=1.4)
        axes.plot(found[0], number, marker="o", markersize=6, color=color, zorder=3)
    elif found and not several:
        axes.barh(number, found[0], height=0.62, color=color, alpha=0.8)
    for place, point in enumerate(row.points):
        if point is None:
            continue
        if point.low is not None and point.high is not None:
            axes.hlines(number, point.low, point.high, color=INK, linewidth=1.0, zorder=4)
        if several:
            axes.plot(
                point.y, number, marker=_SETTING_MARKERS[place % len(_SETTING_MARKERS)],
                markersize=5.5, color=color, markeredgecolor=INK, markeredgewidth=0.6,
                markerfacecolor=PAPER if place == 0 else color, zorder=5, clip_on=False,
            )  # fmt: skip
        else:
            end = point.y if point.high is None else max(point.y, point.high)
            axes.annotate(
                scale.text(point.y), (end, number), (4, 0), textcoords="offset points",
                va="center", annotation_clip=False,
            )  # fmt: skip
    if row.remark:
        # With no mark of its own the row is empty, and the remark stands in it.
        at, align = (0.99, "right") if found else (0.01, "left")
        axes.annotate(
            row.remark, (at, number), xycoords=("axes fraction", "data"), va="center", ha=align,
            color=FAINT, fontsize=7.5,
        )  # fmt: skip


def _settings_key(axes: "Axes", settings: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], linestyle="none", color=FAINT, markeredgecolor=INK, markersize=5.5,
            marker=_SETTING_MARKERS[n % len(_SETTING_MARKERS)], markeredgewidth=0.6,
            markerfacecolor=PAPER if n == 0 else FAINT, label=name,
        )
        for n, name in enumerate(settings)
    ]  # fmt: skip
    axes.figure.legend(
        handles=handles, loc="upper right", ncols=len(handles), frameon=False,
        borderaxespad=0.1, handletextpad=0.1, columnspacing=1.2, bbox_to_anchor=(1, 1),
    )  # fmt: skip


def shares(rows: Sequence[tuple[str, Style, Sequence[float], str]], x_label: str) -> "Figure":
    """A row a target: what each worker did, as a part of the whole.

    :param rows: name, look, the amounts of the workers, and what stands at the right.
    """
    left = 10 + LETTER * max(len(short(row[0])) for row in rows)
    right = 8 + LETTER * max(len(row[3]) for row in rows)
    figure = new_figure(ROW * len(rows) + _BOTTOM + _TOP)
    axes = axes_in(figure, left, _BOTTOM, right, _TOP)
    room = WIDTH - left - right
    for number, (_target, style, amounts, remark) in enumerate(rows):
        _stack(axes, number, style, amounts, room)
        axes.annotate(
            remark, (1, number), (5, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", annotation_clip=False,
        )  # fmt: skip
    _row_axis(axes, [row[0] for row in rows])
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])
    axes.set_xlabel(x_label, labelpad=2)
    return figure


def _stack(axes: "Axes", number: int, style: Style, amounts: Sequence[float], room: float) -> None:
    whole = sum(amounts) or 1.0
    begin = 0.0
    for place, amount in enumerate(sorted(amounts, reverse=True)):
        share = amount / whole
        axes.barh(
            number, share, left=begin, height=0.72, color=style.color,
            alpha=0.30 if place % 2 else 0.55, edgecolor=INK, linewidth=0.4,
        )  # fmt: skip
        text = f"{amount:,.0f}"
        if share * room > LETTER * len(text) + 2:
            axes.text(begin + share / 2, number, text, ha="center", va="center", fontsize=7.5)
        begin += share
