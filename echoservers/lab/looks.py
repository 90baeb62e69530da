"""How each target is drawn: its model's look, and looks of their own for programs not ours.

A colour alone never tells two targets apart: where two share one, the line and the marker
differ, so that a print in black and white can be read as well.
"""

from collections.abc import Iterable, Sequence
from itertools import count

from ..palette import BLACK, GREY, OTHER, STYLES, Style, style_of
from .results import Subject

__all__ = ["CLIENT_COLORS", "looks_of"]

_STRANGE_COLORS = (GREY, "#999933", "#6A51A3", "#8C564B", "#B0307A")
"""Apart from the palette's and from each other, for any colour vision, by their lightness."""

_STRANGE_LINES = ("solid", "dashed", "dashdot")
_STRANGE_MARKERS = ("p", "H", "X", "<", ">", "8")
_OTHER_LINES = ("dashed", "dotted", "dashdot", "solid")
_OTHER_MARKERS = ("<", ">", "8", "p", "H", "X")

CLIENT_COLORS = (
    *("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#7FA6D9", "#BBBBBB"),
)
"""Of clients, whose number stands in each bar: light enough for it to be read."""


def looks_of(targets: Sequence[Subject], present: Iterable[str]) -> dict[str, Style]:
    """The look of each target, by its name.

    :param present: those that are drawn together, and so must look different.
    """
    looks: dict[str, Style] = {}
    strangers = count()
    for target in targets:
        known = target.model is not None and target.model.removeprefix("prefork-") in STYLES
        style = style_of(target.model or "") if known else _stranger(next(strangers))
        if style.color == BLACK:
            style = style._replace(color="#111111")  # SVG leaves plain black unsaid
        looks[target.name] = style
    taken: list[Style] = []
    for name in present:
        looks[name] = _apart(looks.get(name, OTHER), taken)
        taken.append(looks[name])
    return looks


def _stranger(number: int) -> Style:
    return Style(
        _STRANGE_COLORS[number % len(_STRANGE_COLORS)],
        _STRANGE_LINES[number // len(_STRANGE_COLORS) % len(_STRANGE_LINES)],
        _STRANGE_MARKERS[number % len(_STRANGE_MARKERS)],
        "a program that is not ours",
    )


def _apart(style: Style, taken: Sequence[Style]) -> Style:
    """*style*, with another line and marker where one with the same look is there already.

    So it is with the same model over two transports, or with other options.
    """
    used = {(s.color, s.line, s.marker) for s in taken}
    for line, marker in [
        (style.line, style.marker),
        *zip(_OTHER_LINES * 3, _OTHER_MARKERS * 2, strict=True),
    ]:
        if (style.color, line, marker) not in used:
            return style._replace(line=line, marker=marker)
    return style  # the label beside the line tells it then
