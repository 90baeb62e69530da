"""What all drawings share: who plays, and the list of them.

A asks and is answered all the time, B is connected and silent, C asks too, D comes last.
"""

from collections.abc import Callable

from svg import KERNEL_W, SERVER_X, Drawing

from echoservers.palette import STYLES

__all__ = ["DRAWINGS", "INSIDE", "begin", "drawing"]

INSIDE = SERVER_X + 22
"""Where the things in a process begin."""

DRAWINGS: dict[str, Callable[[], Drawing]] = {}
"""By the name of the file, without its end."""


def drawing(name: str) -> Callable[[Callable[[], Drawing]], Callable[[], Drawing]]:
    """Add a function to `DRAWINGS`, under the name of its file."""

    def keep(function: Callable[[], Drawing]) -> Callable[[], Drawing]:
        DRAWINGS[name] = function
        return function

    return keep


def begin(
    model: str, title: str, says: str, rows: int = 4, kernel_width: float = KERNEL_W
) -> Drawing:
    """A drawing with the clients and the kernel in it."""
    d = Drawing(title, says, STYLES[model].color, rows)
    d.kernel(kernel_width)
    for row, name in enumerate("ABCD"):
        d.client(row, name, silent=name == "B")
    return d
