"""Pictures of rows, one a target: intervals, and shares of a whole."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..palette import Style
from .canvas import FAINT, INK, PAPER, WIDTH, axes_in, label_x, new_figure, rule_x, rule_y
from .charts import BOTTOM, LETTER, TOP, Point, intervals_of, rings, short, value_axis
from .units import Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Row", "intervals", "shares"]

ROW = 15.0  # points
_SETTING_MARKERS = ("o", "D", "^", "s", "v", "P")


class Row(NamedTuple):
    """One target in a picture of rows."""

    name: str
    style: Style
    points: Sequence[Point | None]  # one for each of the compared settings
    remark: str = ""


def intervals(
    rows: Sequence[Row], x_label: str, scale: Scale, settings: Sequence[str] = ("",)
) -> "Figure":
    """A row a target: a mark with its interval for each of the compared settings."""
    several = len(settings) > 1
    left = 10 + LETTER * max(len(short(row.name)) for row in rows)
    top = TOP + (14.0 if several else 0)
    figure = new_figure(ROW * len(rows) + BOTTOM + top + 4)
    axes = axes_in(figure, left, BOTTOM, 46 if not several else 12, top)
    log = value_axis(axes, "x", [p for row in rows for p in row.points if p is not None], scale)
    for number, row in enumerate(rows):
        _row(axes, row, number, several, None if log else 0.0, scale)
    placed = [(n, p) for n, row in enumerate(rows) for p in row.points if p is not None]
    spans = [
        (((p.low, n), (p.high, n)), INK)
        for n, p in placed
        if p.low is not None and p.high is not None
    ]
    intervals_of(axes, spans, 4)
    rings(axes, [(p.y, n) for n, p in placed if p.limited])
    _row_axis(axes, [row.name for row in rows])
    label_x(axes, x_label)
    if several:
        _settings_marks(axes, rows, len(settings))
        _settings_key(axes, settings)
    return figure


def _row_axis(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_ylim(len(names) - 0.4, -0.6)
    rule_y(axes, range(len(names)), [short(name) for name in names], across=False)


def _row(
    axes: "Axes", row: Row, number: int, several: bool, zero: float | None, scale: Scale
) -> None:
    color = row.style.color
    found = [p.y for p in row.points if p is not None]
    if several:
        if found:
            axes.hlines(number, min(found), max(found), color=color, linewidth=1.6, alpha=0.45)
    elif found:
        _bar(axes, row, number, zero)
        (point,) = [point for point in row.points if point is not None]
        end = point.y if point.high is None else max(point.y, point.high)
        end = min(end, axes.get_xlim()[1])  # which some intervals run over
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


def _bar(axes: "Axes", row: Row, number: int, zero: float | None) -> None:
    """The one figure of a row."""
    (point,) = [point for point in row.points if point is not None]
    color = row.style.color
    if zero is None:  # a logarithm has no zero for a bar to stand on
        axes.hlines(number, axes.get_xlim()[0], point.y, color=color, linewidth=1.4)
        axes.plot(point.y, number, marker="o", markersize=6, color=color, zorder=3)
    else:
        alpha = 0.4 if point.limited else 0.8
        axes.barh(number, point.y, height=0.62, color=color, alpha=alpha)


def _settings_marks(axes: "Axes", rows: Sequence[Row], settings: int) -> None:
    for place in range(settings):
        found = [(p.y, n, row.style.color) for n, row in enumerate(rows)
                 if (p := row.points[place]) is not None]  # fmt: skip
        if found:
            xs, numbers, colors = zip(*found, strict=True)
            axes.scatter(
                xs, numbers, s=5.5**2, marker=_SETTING_MARKERS[place % len(_SETTING_MARKERS)],
                facecolors=PAPER if place == 0 else colors, edgecolors=INK, linewidths=0.6,
                zorder=5, clip_on=False,
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
    figure = new_figure(ROW * len(rows) + BOTTOM + TOP)
    axes = axes_in(figure, left, BOTTOM, right, TOP)
    room = WIDTH - left - right
    for number, (_target, style, amounts, remark) in enumerate(rows):
        _stack(axes, number, style, amounts, room)
        axes.annotate(
            remark, (1, number), (5, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", annotation_clip=False,
        )  # fmt: skip
    _row_axis(axes, [row[0] for row in rows])
    axes.set_xlim(0, 1)
    rule_x(axes, [0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])
    label_x(axes, x_label)
    return figure


def _stack(axes: "Axes", number: int, style: Style, amounts: Sequence[float], room: float) -> None:
    from matplotlib.colors import to_rgba

    whole = sum(amounts) or 1.0
    begin, parts = 0.0, []
    for amount in sorted(amounts, reverse=True):
        share = amount / whole
        parts.append((begin, share))
        text = f"{amount:,.0f}"
        if share * room > LETTER * len(text) + 2:
            axes.text(begin + share / 2, number, text, ha="center", va="center", fontsize=7.5)
        begin += share
    axes.broken_barh(
        parts, (number - 0.36, 0.72), edgecolor=FAINT, linewidth=0.4,
        facecolors=[to_rgba(style.color, 0.30 if n % 2 else 0.55) for n in range(len(parts))],
    )  # fmt: skip
