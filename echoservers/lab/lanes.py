"""The picture that explains a model by itself: a lane a worker, who served whom and when."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from .canvas import WIDTH, axes_in, label_x, new_figure, rule_x, rule_y
from .charts import LETTER, even_places, short
from .looks import CLIENT_COLORS
from .units import scale_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Span", "Timeline", "read_lanes", "timeline", "timelines"]

MOST_LANES = 16  # workers drawn; more look alike, and each has its number in the table
_LANE = 12.0  # points
_NARROWEST_NUMBER = 6.5  # points: a bar that is narrower has no room for a number
_TEXT = "#010101"  # on the clients' colours, in a dark page too


class Span(NamedTuple):
    """One request: whose, and from when to when (seconds)."""

    client: Any
    begin: float
    end: float


class Timeline(NamedTuple):
    """What the workers of one target did."""

    target: str
    lanes: Sequence[tuple[str, Sequence[Span]]]

    @property
    def end(self) -> float:
        """When the last request was done."""
        return max((span.end for _worker, spans in self.lanes for span in spans), default=0.0)

    def clients(self) -> list[Any]:
        """All clients, in the order of their numbers."""
        found = {span.client for _worker, spans in self.lanes for span in spans}
        return sorted(found, key=lambda client: (len(str(client)), str(client)))

    def most_at_once(self) -> int:
        """How many requests were being served at the same moment, at most."""
        edges = [(s.begin, 1) for _w, spans in self.lanes for s in spans]
        edges += [(s.end, -1) for _w, spans in self.lanes for s in spans]
        running = most = 0
        for _time, change in sorted(edges):
            running += change
            most = max(most, running)
        return most


def read_lanes(target: str, series: Any) -> Timeline | None:
    """The lanes as they are saved; None where there are none."""
    found = series.get("lanes") if isinstance(series, dict) else series
    lanes = []
    for lane in found or ():
        spans = [Span(s["client"], float(s["begin"]), float(s["end"])) for s in lane["spans"]]
        if spans:
            lanes.append((str(lane["worker"]), sorted(spans, key=lambda span: span.begin)))
    first = min((spans[0].begin for _worker, spans in lanes), default=0.0)
    moved = [(w, [s._replace(begin=s.begin - first, end=s.end - first) for s in spans])
             for w, spans in lanes]  # fmt: skip
    return Timeline(target, moved) if moved else None


def timeline(shown: Timeline, end: float, title: bool = False) -> "Figure":
    """One target alone; all have the same time axis, up to *end*."""
    figure = new_figure(_height(shown) + (14 if title else 0))
    left = 8 + LETTER * max(len(short(worker)) for worker, _spans in shown.lanes)
    axes = axes_in(figure, left, 30, 8, 16 if title else 4)
    _draw(axes, shown, end, WIDTH - left - 8)
    if title:
        axes.set_title(short(shown.target), loc="left", fontweight="bold", pad=3)
    return figure


def timelines(all_shown: Sequence[Timeline], end: float) -> "Figure":
    """All targets side by side, in two columns."""
    columns = _columns(all_shown)
    heights = [sum(_height(shown) + 14 for shown in column) for column in columns]
    width = WIDTH * len(columns)
    figure = new_figure(max(heights), width)
    left = 8 + LETTER * max(len(short(w)) for shown in all_shown for w, _spans in shown.lanes)
    for number, column in enumerate(columns):
        below = max(heights)
        for shown in column:
            below -= _height(shown) + 14
            axes = axes_in(
                figure, number * WIDTH + left, below + 30, width - (number + 1) * WIDTH + 8,
                max(heights) - below - _height(shown) + 2,
            )  # fmt: skip
            _draw(axes, shown, end, WIDTH - left - 8)
            axes.set_title(short(shown.target), loc="left", fontweight="bold", pad=3)
    return figure


def _columns(all_shown: Sequence[Timeline]) -> list[Sequence[Timeline]]:
    """Two columns, in order, of much the same height."""
    half = sum(map(_height, all_shown)) / 2
    so_far = 0.0
    for number, shown in enumerate(all_shown):
        so_far += _height(shown)
        if so_far >= half and number + 1 < len(all_shown):
            return [all_shown[: number + 1], all_shown[number + 1 :]]
    return [all_shown]


def _height(shown: Timeline) -> float:
    return _LANE * min(len(shown.lanes), MOST_LANES + 1) + 34.0


def _draw(axes: "Axes", shown: Timeline, end: float, room: float) -> None:
    lanes = shown.lanes[:MOST_LANES]
    colors = {c: CLIENT_COLORS[n % len(CLIENT_COLORS)] for n, c in enumerate(shown.clients())}
    placed = [(number, span) for number, (_w, spans) in enumerate(lanes) for span in spans]
    _bars(axes, placed, [colors[span.client] for _number, span in placed])
    numbers: dict[str, list[tuple[float, int]]] = {}
    for number, span in placed:
        text = str(span.client)
        if (span.end - span.begin) / end * room >= max(_NARROWEST_NUMBER, 4.6 * len(text) + 1):
            numbers.setdefault(text, []).append(((span.begin + span.end) / 2, number))
    for text, places in numbers.items():
        _write(axes, text, places)
    names = [short(worker) for worker, _spans in lanes]
    hidden = len(shown.lanes) - len(lanes)
    if hidden:
        names.append(f"+ {hidden} more")
    axes.set_ylim(len(names) - 0.4, -0.6)
    rule_y(axes, range(len(names)), names, across=False)
    _time_axis(axes, end)


def _bars(axes: "Axes", placed: Sequence[tuple[int, Span]], colors: Sequence[str]) -> None:
    from matplotlib.collections import PolyCollection

    corners = [
        [(s.begin, n - 0.42), (s.begin, n + 0.42), (s.end, n + 0.42), (s.end, n - 0.42)]
        for n, s in placed
    ]
    axes.add_collection(
        PolyCollection(corners, facecolors=colors, edgecolors=_TEXT, linewidths=0.3),
        autolim=False,
    )


def _write(axes: "Axes", text: str, places: Sequence[tuple[float, int]]) -> None:
    """*text* around each of *places*: a shape that is stamped, as there are thousands of them."""
    from matplotlib.lines import Line2D

    shape, size = _shape(text)
    xs, ys = zip(*places, strict=True)
    axes.add_artist(
        Line2D(
            xs, ys, transform=axes.transData, linestyle="none", marker=shape, color=_TEXT,
            markersize=size, markeredgewidth=0,
        )
    )  # fmt: skip


@lru_cache(MOST_LANES)
def _shape(text: str) -> tuple[Any, float]:
    """The outline of *text* around its middle, and its size as a marker, in points."""
    from matplotlib.path import Path
    from matplotlib.textpath import TextPath

    outline = TextPath((0, 0), text, size=7.5)
    box = outline.get_extents()
    middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
    centred = outline.vertices - middle
    return Path(centred, outline.codes), 2 * abs(centred).max()  # as matplotlib scales markers


def _time_axis(axes: "Axes", end: float) -> None:
    scale = scale_for("s", [end])
    axes.set_xlim(0, end * 1.01)
    shown = even_places(0, end * 1.01 / scale.factor, most=7)
    rule_x(axes, [place * scale.factor for place in shown], [f"{place:g}" for place in shown])
    label_x(axes, f"time, {scale.unit}")
