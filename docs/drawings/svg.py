"""The visual language of the drawings, as SVG: clients, the kernel, processes, threads.

Text in, text out: nothing here reads or writes a file.  All drawings have one grid, so that
they can be compared: a row a client, the kernel between the clients and the server.  The
panel is nearly white in a dark page too, since one set of colours has to do for both.
"""

import math
from html import escape

INK = "#222222"
FAINT = "#6B6B6B"
PANEL = "#FFFFFF"
KERNEL_FILL = "#EEF0F2"

WIDTH = 720
TOP = 72
ROW = 44
CLIENT_X = 42
CLIENT_R = 13
KERNEL_X, KERNEL_W = 100, 116
BACKLOG_X, SLOT_W, SLOT_H = 112, 34, 28
SOCKET_X = 188
SERVER_X = 256
SERVER_END = 704


def row_y(row: float) -> float:
    """The height of the middle of a row."""
    return TOP + ROW * row


class Drawing:
    """Collects the parts of one drawing; `text` makes the file of it.

    :param title: what it shows, in a few words.
    :param says: the same for those who cannot see it: a sentence or two.
    :param rows: how many rows there are.
    :param color: that of the model.
    """

    def __init__(self, title: str, says: str, color: str, rows: int = 4) -> None:
        self.title, self.says, self.color = title, says, color
        self.rows = rows
        self.height = int(row_y(rows - 1) + 42)
        self._parts: list[str] = []

    def text(self) -> str:
        """The whole file."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}"'
            f' width="{WIDTH}" height="{self.height}" role="img" aria-labelledby="t d"'
            ' font-family="DejaVu Sans, Verdana, sans-serif">'
        )
        about = [f'<title id="t">{escape(self.title)}</title>']
        about.append(f'<desc id="d">{escape(self.says)}</desc>')
        panel = _element(
            "rect", x=0.5, y=0.5, width=WIDTH - 1, height=self.height - 1, rx=6, fill=PANEL,
            stroke="#999999",
        )  # fmt: skip
        return "\n".join([head, *about, panel, *self._parts, "</svg>", ""])

    # --- shapes ---------------------------------------------------------------------

    def add(self, name: str, **attributes: object) -> None:
        """One element; ``_`` in the name of an attribute stands for ``-``."""
        self._parts.append(_element(name, **attributes))

    def write(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: int = 12,
        anchor: str = "start",
        fill: str = INK,
        weight: str = "normal",
    ) -> None:
        """Text; *y* is its baseline."""
        plain = {"x": x, "y": y, "font-size": size, "fill": fill}
        if anchor != "start":
            plain["text-anchor"] = anchor
        if weight != "normal":
            plain["font-weight"] = weight
        self._parts.append(f"<text{_attributes(plain)}>{escape(words, quote=False)}</text>")

    def note(self, x: float, y: float, words: str, anchor: str = "start") -> None:
        """A remark, smaller and fainter than a name."""
        self.write(x, y, words, size=11, anchor=anchor, fill=FAINT)

    def line(self, *points: tuple[float, float], dashed: bool = False, width: float = 1.5) -> None:
        """A line from point to point."""
        path = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        dash = {"stroke_dasharray": "5 4"} if dashed else {}
        self.add("polyline", points=path, fill="none", stroke=INK, stroke_width=width, **dash)

    def arrow(self, *points: tuple[float, float], dashed: bool = False, both: bool = False) -> None:
        """A line with a head at its last point; with *both*, at the first as well."""
        self.line(*points, dashed=dashed)
        self._head(points[-2], points[-1])
        if both:
            self._head(points[1], points[0])

    def _head(self, before: tuple[float, float], tip: tuple[float, float]) -> None:
        angle = math.atan2(tip[1] - before[1], tip[0] - before[0])
        wings = [(angle + 2.7, 9), (angle - 2.7, 9)]
        corners = [tip, *((tip[0] + r * math.cos(a), tip[1] + r * math.sin(a)) for a, r in wings)]
        path = " ".join(f"{_number(x)},{_number(y)}" for x, y in corners)
        self.add("polygon", points=path, fill=INK)

    # --- the clients' side ----------------------------------------------------------

    def client(self, row: int, name: str = "", *, silent: bool = False) -> None:
        """A client at the left of its row; a silent one is drawn with a dashed edge."""
        y = row_y(row)
        dash = {"stroke_dasharray": "3 3"} if silent else {}
        self.add(
            "circle", cx=CLIENT_X, cy=y, r=CLIENT_R, fill="#FFFFFF", stroke=INK, stroke_width=1.8,
            **dash,
        )  # fmt: skip
        self.write(CLIENT_X, y + 5, name or "ABCDE"[row], size=14, anchor="middle", weight="bold")
        if silent:
            self.note(CLIENT_X, y + 25, "silent", "middle")

    def kernel(self, width: float = KERNEL_W) -> None:
        """The part of the machine between the clients and the server."""
        self.write(CLIENT_X, 30, "clients", anchor="middle", fill=FAINT)
        self.add(
            "rect", x=KERNEL_X, y=40, width=width, height=self.height - 56, rx=4,
            fill=KERNEL_FILL, stroke="#9AA0A6",
        )  # fmt: skip
        self.write(KERNEL_X + width / 2, 30, "kernel", anchor="middle", fill=FAINT)

    def connection(self, row: float, to_x: float, to_row: float | None = None) -> None:
        """A connection of the client in *row*, with its socket, to who serves it."""
        y = row_y(row)
        end = y if to_row is None else row_y(to_row)
        self.line((CLIENT_X + CLIENT_R, y), (SOCKET_X, y))
        if end == y:
            self.arrow((SOCKET_X + 14, y), (to_x, y), both=True)
        else:
            self.arrow((SOCKET_X + 14, y), (SERVER_X - 22, y), (to_x, end), both=True)
        self.socket(row)

    def socket(self, row: float) -> None:
        """A connected socket, in the kernel."""
        self.add(
            "rect", x=SOCKET_X, y=row_y(row) - 7, width=14, height=14, fill="#FFFFFF", stroke=INK,
            stroke_width=1.5,
        )  # fmt: skip

    def backlog(self, *waiting: int, label: str = "backlog", extra: int = 0) -> None:
        """The queue of a listening socket, with those who wait in it, each in its row."""
        first, last = min(waiting), max(waiting) + extra
        for row in range(first, last + 1):
            self.slot(BACKLOG_X, row_y(row) - ROW / 2, "ABCDE"[row] if row in waiting else "", ROW)
            if row in waiting:
                self.arrow((CLIENT_X + CLIENT_R, row_y(row)), (BACKLOG_X, row_y(row)))
        self.note(BACKLOG_X - 6, row_y(first) - ROW / 2 - 5, label)

    def slot(self, x: float, y: float, name: str = "", height: float = SLOT_H) -> None:
        """A place in a queue, with who waits there; *x*, *y* is its corner."""
        self.add(
            "rect", x=x, y=y, width=SLOT_W, height=height, fill="#FFFFFF", stroke=INK,
            stroke_width=1.5,
        )  # fmt: skip
        if name:
            middle = x + SLOT_W / 2
            self.write(middle, y + height / 2 + 5, name, size=13, anchor="middle", weight="bold")

    def accept(self, row: float, to_x: float, to_row: float | None = None) -> None:
        """Who accepts: a dashed arrow from the listening socket."""
        y = row_y(row)
        end = y if to_row is None else row_y(to_row)
        points = [(BACKLOG_X + SLOT_W, y)]
        if end != y:
            points.append((SERVER_X - 32, y))
        self.arrow(*points, (to_x, end), dashed=True)

    # --- the server's side ----------------------------------------------------------

    def process(
        self, x: float, top: float, right: float, bottom: float, label: str = "process"
    ) -> None:
        """A process: a box with a thick edge; *top* and *bottom* are rows."""
        y, end = row_y(top), row_y(bottom)
        self.add(
            "rect", x=x, y=y, width=right - x, height=end - y, rx=3, fill="none", stroke=INK,
            stroke_width=2.5,
        )  # fmt: skip
        if label:
            self.write(x + 2, y - 7, label, fill=FAINT)

    def worker(self, x: float, row: float, right: float, words: str, *, soft: bool = False) -> None:
        """A thread, with what it does; *soft*: a coroutine, which the kernel knows nothing of."""
        y = row_y(row) - 14
        dash = {"stroke_dasharray": "5 4"} if soft else {}
        self.add(
            "rect", x=x, y=y, width=right - x, height=28, rx=14, fill=self.color,
            fill_opacity=0.16, stroke=self.color, stroke_width=2.2, **dash,
        )  # fmt: skip
        self.write((x + right) / 2, y + 18, words, anchor="middle")

    def box(self, x: float, row: float, right: float, words: str, height: float = 30) -> None:
        """Something that is kept: a table, a buffer."""
        y = row_y(row) - height / 2
        self.add(
            "rect", x=x, y=y, width=right - x, height=height, fill="#FFFFFF", stroke=INK,
            stroke_width=1.2,
        )  # fmt: skip
        lines = words.split("\n")
        for number, part in enumerate(lines):
            down = y + height / 2 + 4 + (number - (len(lines) - 1) / 2) * 15
            self.write((x + right) / 2, down, part, size=11, anchor="middle")

    def loop(self, x: float, row: float, words: str, radius: float = 40) -> None:
        """A thread that goes round: wait, serve, wait."""
        y = row_y(row)
        start, end = math.radians(-60), math.radians(250)
        x1, y1 = x + radius * math.cos(start), y + radius * math.sin(start)
        x2, y2 = x + radius * math.cos(end), y + radius * math.sin(end)
        self.add("circle", cx=x, cy=y, r=radius, fill=self.color, fill_opacity=0.16)
        path = f"M {_number(x1)} {_number(y1)} A {_number(radius)} {_number(radius)} 0 1 1"
        self.add(
            "path", d=f"{path} {_number(x2)} {_number(y2)}", fill="none", stroke=self.color,
            stroke_width=2.8,
        )  # fmt: skip
        self._head((x2 - 9, y2 + 4), (x2 + 3, y2 - 1))
        lines = words.split("\n")
        for number, part in enumerate(lines):
            down = y + 4 + (number - (len(lines) - 1) / 2) * 15
            self.write(x, down, part, anchor="middle")

    def lock(self, x: float, y: float) -> None:
        """A padlock; *x*, *y* is its middle."""
        path = f"M {_number(x - 6)} {_number(y - 2)} v -5 a 6 6 0 0 1 12 0 v 5"
        self.add("path", d=path, fill="none", stroke=INK, stroke_width=2)
        self.add("rect", x=x - 10, y=y - 2, width=20, height=14, rx=2, fill=INK)


def _element(name: str, **attributes: object) -> str:
    return f"<{name}{_attributes(attributes)}/>"


def _attributes(values: dict[str, object]) -> str:
    parts = []
    for name, value in values.items():
        shown = _number(value) if isinstance(value, (int, float)) else escape(str(value))
        parts.append(f' {name.replace("_", "-")}="{shown}"')
    return "".join(parts)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
