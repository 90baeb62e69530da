"""Numbers as people read them: SI base units in, three significant digits and a fitting unit out.

All numbers of a column share one unit, so that they can be compared by looking.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from .results import Figure

__all__ = ["NOTHING", "PLAIN", "Scale", "count", "interval", "scale_for", "size", "value_text"]

NOTHING = "\N{EN DASH}"

DIGITS = 3  # what a repeated measurement on a desktop machine carries, at best

FAR_APART = 3000  # of numbers from 0.1 to 300, the smallest still shows two digits

_STEPS: dict[str, tuple[tuple[float, str], ...]] = {
    "s": ((1e-6, "µs"), (1e-3, "ms"), (1.0, "s")),
    "bytes": ((1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB")),
    "bytes/s": ((1.0, "B/s"), (1e3, "kB/s"), (1e6, "MB/s"), (1e9, "GB/s")),
    "share": ((0.01, "%"),),
}
_COUNTED = {"threads", "processes", "descriptors", "connections", "clients", "workers"}


class Scale(NamedTuple):
    """What numbers are divided by to be shown, and what stands behind them then."""

    factor: float
    unit: str
    whole: bool = False  # exact numbers of things, shown to the last digit
    each: str = ""  # the SI unit, where each number has a fitting unit of its own

    def text(self, value: float) -> str:
        """*value* (SI) in this unit; without the unit, where the numbers share one."""
        if self.each:
            return scale_for(self.each, [value]).with_unit(value)
        shown = value / self.factor
        if not math.isfinite(shown):
            return NOTHING
        if self.whole and shown == round(shown):
            return f"{shown:,.0f}"
        return _rounded(shown)

    def with_unit(self, value: float) -> str:
        """*value* (SI) with its unit."""
        return f"{self.text(value)} {'' if self.whole else self.unit}".rstrip()

    def behind(self, title: str) -> str:
        """*title* and the unit, where it adds something."""
        return f"{title}, {self.unit}" if self.unit and not self.whole else title


PLAIN = Scale(1.0, "")


def _rounded(value: float) -> str:
    """Three significant digits and no exponent: 0.0123, 1.20, 45.1, 12,300."""
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    rounded = round(value, DIGITS - 1 - exponent)
    exponent = math.floor(math.log10(abs(rounded)))  # 9.999 has become 10.0
    return f"{rounded:,.{max(0, DIGITS - 1 - exponent)}f}"


def scale_for(unit: str, values: Iterable[float]) -> Scale:
    """The unit in which the middle one of *values* has one to three digits before the point.

    Where they are too far apart for that, each number gets a unit of its own.
    """
    steps = _STEPS.get(unit)
    if steps is None:
        return Scale(1.0, unit if unit != "1" else "", whole=unit in _COUNTED)
    sizes = sorted(abs(v) for v in values if v and math.isfinite(v))
    if sizes and sizes[-1] / sizes[0] > FAR_APART and len(steps) > 1:
        return Scale(1.0, "", each=unit)
    middle = sizes[len(sizes) // 2] if sizes else steps[-1][0]
    fitting = [step for step in steps if middle >= step[0]] or [steps[0]]
    return Scale(*fitting[-1])


def interval(scale: Scale, figure: Figure) -> str:
    """The interval of a figure, without the unit; nothing where there is none, or no width."""
    low, high = figure.low, figure.high
    if low == high:
        return ""
    if high is None:
        return f"\N{GREATER-THAN OR EQUAL TO} {scale.text(low or 0.0)}"
    if low is None:
        return f"\N{LESS-THAN OR EQUAL TO} {scale.text(high)}"
    return f"{scale.text(low)} \N{EN DASH} {scale.text(high)}"


def count(number: int, thing: str, things: str | None = None) -> str:
    """``1 server``, ``3 servers``."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def size(bytes_: float) -> str:
    """A chosen size, which is mostly a power of two: ``64 B``, ``64 KiB``, ``1 MiB``."""
    for factor, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if bytes_ >= factor and bytes_ % (factor / 4) == 0:
            return f"{bytes_ / factor:g} {unit}"
    return f"{bytes_:,g} B" if bytes_ < 1e6 else f"{bytes_:,.0f} B"


def value_text(value: Any, unit: str = "") -> str:
    """A swept value: a size, a share of the peak, a number, or a word."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if unit in ("bytes", "B"):
        return size(value)
    if isinstance(value, float) and 0 < value <= 1 and ("share" in unit or "peak" in unit):
        return f"{value * 100:.3g} %"
    if unit == "s":
        return scale_for("s", [value]).with_unit(value)
    return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
