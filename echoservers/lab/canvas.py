"""Figures of one width, and what is made of one: a PNG, an SVG file, and an SVG for a page.

The text of an SVG stays text: it is small, can be searched and copied, and is read aloud.
In a page the colours of ink, grid and paper become CSS variables, so that one picture does
for light and dark; the file has them fixed, on white.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FAINT", "GRID", "INK", "PAPER", "WIDTH", "Picture", "axes_in", "drawing", "new_figure"]

INK, FAINT, GRID, PAPER = "#1f2328", "#5c636b", "#d5d9de", "#ffffff"
FONT_SIZE = 8.5  # points; on a phone, where a picture is 328 pixels wide, 7.7 pixels
WIDTH = 360.0  # points: one column of a page, the width of a phone
_DPI = 160  # of a PNG: 800 pixels wide, sharp in a document at half a page

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
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=2.5, width=0.6, color=FAINT)
    return axes


def finish(figure: "Figure", name: str, title: str, says: str) -> Picture:
    """All forms of *figure*."""
    import matplotlib

    text, image = io.StringIO(), io.BytesIO()
    matplotlib.rcParams["svg.hashsalt"] = name  # the same picture is the same file
    nobody: dict[str, Any] = {"Date": None, "Creator": None, "Title": title, "Description": says}
    figure.savefig(text, format="svg", metadata=nobody)
    about = {"Title": title, "Description": says}
    figure.savefig(image, format="png", dpi=_DPI, metadata=about)
    svg = _lighter(text.getvalue())
    return Picture(name, title, says, svg, inline(svg, name, title, says), image.getvalue())


def _lighter(svg: str) -> str:
    """Without what repeats: the list of fonts in each text, names of groups nobody refers to."""
    svg = re.sub(r"(font(?:-family)?: [^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1sans-serif", svg)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r"(\d\.\d{2})\d+", r"\1", svg)  # a hundredth of a point is enough
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
