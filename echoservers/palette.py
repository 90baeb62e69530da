"""One look a model, in every drawing and every plot.

The colours are those of Okabe and Ito (*Color Universal Design*, 2008), which people of any
colour vision tell apart.  There are eight, and thirteen models: so a colour stands for a
family, with at most two where its members are compared most, and within it the line and
the marker say which.  Their yellow is left out, as it cannot be seen on white.
"""

from typing import NamedTuple

__all__ = ["OTHER", "STYLES", "Style", "style_of"]

BLACK = "#000000"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#7F7F7F"


class Style(NamedTuple):
    """How a model is drawn; ``line`` and ``marker`` are named as matplotlib names them."""

    color: str
    line: str
    marker: str
    reason: str


STYLES: dict[str, Style] = {
    "iterative": Style(BLACK, "solid", "o", "the plain one that all others are held against"),
    "threading": Style(BLUE, "solid", "s", "threads are blue"),
    "thread-pool": Style(SKY, "solid", "^", "threads made beforehand are the lighter blue"),
    "prethreading": Style(SKY, "dashed", "v", "as thread-pool, without its queue"),
    "forking": Style(VERMILION, "solid", "D", "processes are red"),
    "prefork": Style(ORANGE, "solid", "P", "processes made beforehand are the lighter red"),
    "select": Style(GREEN, "dotted", "1", "loops are green; the oldest has the faintest line"),
    "poll": Style(GREEN, "dashdot", "2", "between select and epoll, as in history"),
    "epoll": Style(GREEN, "solid", "x", "the loop that is used"),
    "kqueue": Style(GREEN, "dashed", "+", "the epoll of other systems"),
    "asyncio": Style(PURPLE, "solid", "*", "coroutines are purple"),
    "uvloop": Style(PURPLE, "dashed", "h", "as asyncio, on another loop"),
    "gevent": Style(PURPLE, "dotted", "d", "coroutines too, that look like threads"),
}
"""By the name of the model, in the order of the documentation."""

OTHER = Style(GREY, "solid", ".", "models of third parties, and programs that are not ours")


def style_of(model: str) -> Style:
    """The look of a model; ``prefork-MODEL`` has prefork's colour and the rest of MODEL."""
    inner = model.removeprefix("prefork-")
    if inner != model and inner in STYLES:
        reason = f"prefork over {inner}"
        return STYLES[inner]._replace(color=STYLES["prefork"].color, reason=reason)
    return STYLES.get(model, OTHER)
