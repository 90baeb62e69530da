"""Figures of one width, and what is made of one: a PNG, an SVG file, and an SVG for a page.

The text of an SVG stays text: it is small, can be searched and copied, and is read aloud;
but for the numbers in the bars of a timeline, thousands of which are one shape, stamped.
Axes are ruled here, not by matplotlib, whose ticks took a third of the time of a report.
In a page the colours of ink, grid and paper become CSS variables, so that one picture does
for light and dark; the file has them fixed, on white.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "FAINT",
    "GRID",
    "INK",
    "PAPER",
    "WIDTH",
    "Picture",
    "axes_in",
    "drawing",
    "finish",
    "label_x",
    "new_figure",
    "rule_x",
    "rule_y",
]

INK, FAINT, GRID, PAPER = "#1f2328", "#5c636b", "#d5d9de", "#ffffff"
FONT_SIZE = 8.5  # points; on a phone, where a picture is 328 pixels wide, 7.7 pixels
WIDTH = 360.0  # points: one column of a page, the width of a phone
_DPI = 160  # of a PNG: 800 pixels wide, sharp in a document at half a page
_PACKED = 3  # of zlib's 9: twice as fast as its default, and a fifteenth larger
_TICK, _PAD = 2.5, 3.5  # points: from the axis to the end of a tick, from there to its name

_IN_PAGES = {
    INK: "currentColor",
    "#111111": "currentColor",
    FAINT: "var(--faint)",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
    # Too dark for a dark page; the page's style has others for it.
    "#6a51a3": "var(--violet)",
    "#8c564b": "var(--brown)",
    "#b0307a": "var(--wine)",
}


class Picture(NamedTuple):
    """One picture in its three forms."""

    name: str  # of its files
    title: str
    says: str  # what is seen, for those who cannot see it
    svg: str  # a file of its own
    inline: str  # an element of a page
    png: bytes
    alone: bool = True  # whether it stands in the page; else in the folder only
    group: str = ""  # heads it together with its neighbours of the same group


@contextmanager
def drawing() -> Iterator[None]:
    """What matplotlib is told for as long as pictures are drawn; the user's own settings wait."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "font.family": ["DejaVu Sans"],  # comes with matplotlib: measured as it is drawn
                "font.size": FONT_SIZE,
                "text.color": INK,
                "axes.labelcolor": INK,
                "axes.edgecolor": FAINT,
                "xtick.color": INK,
                "ytick.color": INK,
                "axes.linewidth": 0.7,
                "axes.unicode_minus": False,
                "path.simplify": True,
                "text.parse_math": False,  # a target may be called $x$
                "text.hinting": "none",  # which is for coarse screens, and slow
            }
        )
        yield


def new_figure(height: float, width: float = WIDTH) -> "Figure":
    """An empty figure of *height* points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def axes_in(figure: "Figure", left: float, bottom: float, right: float, top: float) -> "Axes":
    """Axes with these margins, in points."""
    width, height = (float(inches) * 72 for inches in figure.get_size_inches())
    axes = figure.add_axes(
        (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    )
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_visible(False)
    axes.yaxis.set_visible(False)
    return axes


def rule_x(axes: "Axes", places: Sequence[float], names: Sequence[str]) -> None:
    """Lines across from those of *places* that are in view, a tick and a name at each.

    All ticks are one artist, and all lines another; matplotlib makes five a tick, and lays the
    names out twice more in each drawing to find out where the title of the axis goes.
    """
    shown = _in_view(places, names, axes.get_xlim())
    _ticks(axes, [(x, 0.0) for x, _name in shown], "x")
    _lines(axes, [((x, 0.0), (x, 1.0)) for x, _name in shown], "x")
    at, *_ = axes.get_xaxis_text1_transform(_TICK + _PAD)
    for x, name in shown:
        if name:
            axes.text(x, 0, name, transform=at, ha="center", va="top")


def rule_y(
    axes: "Axes", places: Sequence[float], names: Sequence[str], across: bool = True
) -> None:
    """The same from the y axis; without *across* the names only, for rows."""
    shown = _in_view(places, names, axes.get_ylim())
    if across:
        _ticks(axes, [(0.0, y) for y, _name in shown], "y")
        _lines(axes, [((0.0, y), (1.0, y)) for y, _name in shown], "y")
    else:
        axes.spines["left"].set_visible(False)
    at, *_ = axes.get_yaxis_text1_transform(_PAD + (_TICK if across else 0))
    for y, name in shown:
        axes.text(0, y, name, transform=at, ha="right", va="center_baseline")


def _in_view(
    places: Sequence[float], names: Sequence[str], limits: tuple[float, float]
) -> list[tuple[float, str]]:
    low, high = sorted(limits)
    spare = (high - low) * 1e-9  # a place on the very edge is in view, however it was rounded
    pairs = zip(places, names, strict=True)
    return [(p, name) for p, name in pairs if low - spare <= p <= high + spare]


def _ticks(axes: "Axes", places: Sequence[tuple[float, float]], which: str) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.markers import TICKDOWN, TICKLEFT

    xs, ys = [x for x, _y in places], [y for _x, y in places]
    along = axes.get_xaxis_transform() if which == "x" else axes.get_yaxis_transform()
    marker = TICKDOWN if which == "x" else TICKLEFT
    axes.add_artist(
        Line2D(
            xs, ys, transform=along, linestyle="none", marker=marker, markersize=_TICK,
            markeredgewidth=0.6, markeredgecolor=FAINT, clip_on=False,
        )
    )  # fmt: skip


def _lines(axes: "Axes", lines: Sequence[Any], which: str) -> None:
    from matplotlib.collections import LineCollection

    along = axes.get_xaxis_transform() if which == "x" else axes.get_yaxis_transform()
    axes.add_artist(LineCollection(lines, transform=along, colors=GRID, linewidths=0.6, zorder=0.5))


def label_x(axes: "Axes", text: str) -> None:
    """What the x axis shows, below the names of its ticks."""
    axes.annotate(
        text, (0.5, 0), (0, -(_TICK + _PAD + FONT_SIZE + 3.5)), xycoords="axes fraction",
        textcoords="offset points", ha="center", va="top",
    )  # fmt: skip


def finish(figure: "Figure", name: str, title: str, says: str) -> Picture:
    """All forms of *figure*."""
    import matplotlib

    text, image = io.StringIO(), io.BytesIO()
    matplotlib.rcParams["svg.hashsalt"] = name  # the same picture is the same file
    nobody: dict[str, Any] = {"Date": None, "Creator": None, "Title": title, "Description": says}
    figure.savefig(text, format="svg", metadata=nobody)
    about = {"Title": title, "Description": says}
    packed = {"compress_level": _PACKED}
    figure.savefig(image, format="png", dpi=_DPI, metadata=about, pil_kwargs=packed)
    svg = _lighter(text.getvalue())
    return Picture(name, title, says, svg, inline(svg, name, title, says), image.getvalue())


def _lighter(svg: str) -> str:
    """Without what repeats: fonts and turns by nothing in each text, names that nobody uses."""
    svg = re.sub(r"(font(?:-family)?: [^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1sans-serif", svg)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r"(\d\.\d{2})\d+", r"\1", svg)  # a hundredth of a point is enough
    svg = re.sub(r' transform="rotate\(-?0 [^"]*"', "", svg)
    return re.sub(r"\n\s+", "\n", svg)


def inline(svg: str, name: str, title: str, says: str) -> str:
    """*svg* as an element of a page, whose names clash with no other's, in the page's colours."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<title>.*?</title>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", body).replace("xlink:href", "href")
    for color, variable in _IN_PAGES.items():
        body = body.replace(color, variable)
    box = re.search(r'viewBox="[^"]*"', body)
    assert box is not None
    head = (
        f'<svg {box[0]} role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(says)}</desc>'
    )
    return head + body[body.index(">") + 1 :].strip()
