"""From an experiment to tables: rows of text for a terminal or a page, and numbers for CSV.

Nothing is printed here.  A table has a row for each target.  Its columns are the swept
values, for one figure; or, where nothing is swept, the figures themselves.  Behind it stands
one of the same form with the ratios to the baseline, where there are any.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..log import escape
from .layout import layout_of, title_of_figure, unit_of
from .ranking import Entry, Ranking, rank, rankable
from .results import Cell, Experiment, Figure, Ratio
from .stats import NO_DIFFERENCE
from .units import NOTHING, PLAIN, Scale, interval, scale_for
from .view import Panel, Place, panels, place, slug

__all__ = ["AMONG_BEST", "BEST", "Entries", "Table", "csv_of", "tables_of"]

BEST = "★"
AMONG_BEST = "≈"
LIMITED = "generator-limited"

LEGEND = {
    BEST: "clearly the best of those that are ranked: its interval lies clear of all others",
    AMONG_BEST: "cannot be told from the best: the intervals overlap",
    LIMITED: "the load generator was the bottleneck; the server may do better, and is not ranked",
    NO_DIFFERENCE: "the 95 % interval of the ratio holds 1: these runs cannot tell them apart",
}
"""What the marks in a table mean."""

USUAL_LIMITS = ("server", "generator")  # the rest ended the measurement before its time

LONGEST_NOTE = 60  # characters of an error, in a table; the caveats have the whole of it


@dataclass(frozen=True)
class Entries:
    """One field of a table: what is shown, and the numbers (SI) behind it."""

    text: str
    interval: str = ""
    mark: str = ""  # a key of `LEGEND`, or nothing
    note: str = ""
    figure: Figure | None = None

    def line(self) -> str:
        """All of it in one line, for a terminal."""
        parts = [self.text, f"[{self.interval}]" if self.interval else "", self.mark, self.note]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Table:
    """Rows of fields under heads; the first field of each row is the target's name."""

    name: str  # of its file
    title: str
    corner: str  # heads the column of the names
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Entries, ...]], ...]
    units: tuple[str, ...] = ()  # SI, of each column: those of the CSV file
    main: bool = True  # worth seeing at once
    notes: tuple[str, ...] = field(default=())

    def lines(self) -> list[list[str]]:
        """Heads and rows as text, for a terminal."""
        rows = [[escape(name), *(entry.line() for entry in row)] for name, row in self.rows]
        return [[self.corner, *self.heads], *rows]

    def marks(self) -> dict[str, str]:
        """What the marks mean that stand in it."""
        used = {entry.mark for _name, row in self.rows for entry in row}
        return {mark: meaning for mark, meaning in LEGEND.items() if mark in used}


def tables_of(experiment: Experiment) -> list[Table]:
    """All tables of *experiment*, the telling ones first."""
    made: list[Table] = []
    layout = layout_of(experiment)
    for panel in panels(experiment):
        if len(panel.values()) > 1:
            for name in (*layout.main, *layout.more):
                made.append(_sweep(panel, name, name in layout.main))
                made += _sweep_of_ratios(panel, name, name in layout.main)
        else:
            made.append(_columns(panel, (*layout.main, *layout.more)))
            made += _columns_of_ratios(panel, (*layout.main, *layout.more))
    return sorted(made, key=lambda table: not table.main)


def _sweep(panel: Panel, figure: str, main: bool) -> Table:
    """One figure: a row a target, a column a swept value."""
    experiment = panel.experiment
    values = panel.values()
    # What others are held against, such as the requests before anybody computes, comes first and
    # has no share of its own; where it failed for all, that is to be seen.
    first = panel.at(values[0])
    if not any(_is_told(cell, figure) for cell in first) and not all(cell.error for cell in first):
        values = values[1:]
    by_value = [{cell.target: cell for cell in panel.at(value)} for value in values]
    scale = scale_for(*_unit_and_medians(panel.cells, figure))
    columns = [_column(list(cells.values()), figure, scale) for cells in by_value]
    title = _with_unit(figure, scale)
    heads = tuple(panel.value_text(value) for value in values)
    return Table(
        _name(experiment, panel, figure),
        f"{title}: {panel.title}" if panel.title else title,
        panel.axis,
        heads,
        _rows(panel.targets(), columns),
        tuple(_unit_and_medians(panel.cells, figure)[0] for _ in values),
        main,
    )


def _columns(panel: Panel, figures: Sequence[str]) -> Table:
    """All figures of one place: a row a target, a column a figure."""
    experiment = panel.experiment
    columns, heads, units = [], [], []
    for figure in figures:
        unit, medians = _unit_and_medians(panel.cells, figure)
        scale = scale_for(unit, medians)
        columns.append(_column(panel.cells, figure, scale))
        heads.append(_with_unit(figure, scale))
        units.append(unit)
    title = experiment.title or experiment.name
    return Table(
        _name(experiment, panel, "figures"),
        f"{title}: {panel.title}" if panel.title else title,
        "server",
        tuple(heads) or ("",),
        _rows(panel.targets(), columns or [_column(panel.cells, "", scale_for("", ()))]),
        tuple(units) or ("",),
    )


def _name(experiment: Experiment, panel: Panel, figure: str) -> str:
    parts = (slug(experiment.name) or "experiment", panel.slug, slug(figure))
    return "-".join(part for part in parts if part)


def _with_unit(figure: str, scale: Scale) -> str:
    return scale.behind(title_of_figure(figure))


def _unit_and_medians(cells: Iterable[Cell], figure: str) -> tuple[str, list[float]]:
    found = [c.figures[figure] for c in cells if figure in c.figures and not c.error]
    return unit_of(figure, found), [f.median for f in found]


def _rows(
    targets: Sequence[str], columns: Sequence[dict[str, Entries]]
) -> tuple[tuple[str, tuple[Entries, ...]], ...]:
    nothing = Entries(NOTHING, note="not measured")
    return tuple((t, tuple(column.get(t, nothing) for column in columns)) for t in targets)


def _column(cells: Sequence[Cell], figure: str, scale: Scale) -> dict[str, Entries]:
    ranking = rank(cells, figure)
    return {cell.target: _entry(cell, figure, scale, ranking) for cell in cells}


def _entry(cell: Cell, name: str, scale: Scale, ranking: Ranking | None) -> Entries:
    if cell.error:
        return Entries("failed", note=escape(cell.error, LONGEST_NOTE))
    figure = cell.figures.get(name)
    if figure is None:
        return Entries(NOTHING, note=_why_missing(cell, name))
    shown = interval(scale, figure)
    note = f"limited by {cell.limited_by}" if cell.limited_by not in (None, *USUAL_LIMITS) else ""
    return Entries(scale.text(figure.median), shown, _mark(cell, ranking), note, figure)


def _is_told(cell: Cell, name: str) -> bool:
    """Whether there is anything to say of this figure: its value, or why it has none."""
    return name in cell.figures or bool(_notes_about(cell, name))


def _why_missing(cell: Cell, name: str) -> str:
    """The note of the measurement that is about this figure, or about all, if it left one."""
    said = _notes_about(cell, name)
    if not said and not cell.figures:
        said = [note for note in cell.notes if note.startswith("left out: ")]
    if not said:
        return "not measured"
    return escape(said[0].removeprefix(f"{name}: ").partition("; ")[0], LONGEST_NOTE)


def _notes_about(cell: Cell, name: str) -> list[str]:
    spellings = {name, name.replace("p999", "p99.9"), name.replace("_", " ")}
    words = {note: {word.strip(",;:.") for word in note.split()} for note in cell.notes}
    return [note for note in cell.notes if spellings & words[note]]


def _mark(cell: Cell, ranking: Ranking | None) -> str:
    if not rankable(cell):
        return LIMITED if cell.limited_by == "generator" else ""
    if ranking is None:
        return ""
    if ranking.winner is not None:
        return BEST if ranking.winner.cell is cell else ""
    # When nobody is behind, the mark would stand everywhere and say nothing.
    return AMONG_BEST if ranking.behind and _is_in(cell, ranking.leaders) else ""


def _is_in(cell: Cell, entries: Iterable[Entry]) -> bool:
    return any(entry.cell is cell for entry in entries)


# --- ratios -----------------------------------------------------------------------------


def _sweep_of_ratios(panel: Panel, figure: str, main: bool) -> Iterator[Table]:
    """One figure over that of the baseline: a row for each other target, a column a value.

    Without the values at which the baseline cannot be ranked: the table before it says why.
    """
    ratios = panel.ratios(figure)
    values = [v for v in panel.values() if any(place(c) in ratios for c in panel.at(v))]
    if values:
        columns = [_column_of_ratios(panel.at(value), figure, ratios) for value in values]
        heads = tuple(panel.value_text(value) for value in values)
        title = f"{title_of_figure(figure)}: times that of"
        yield _of_ratios(panel, f"{figure}-ratio", title, panel.axis, heads, columns, main)


def _columns_of_ratios(panel: Panel, figures: Sequence[str]) -> Iterator[Table]:
    """All figures of one place, over those of the baseline: a column a figure."""
    having = {name: ratios for name in figures if (ratios := panel.ratios(name))}
    if having:
        columns = [_column_of_ratios(panel.cells, *each) for each in having.items()]
        heads = tuple(title_of_figure(name) for name in having)
        title = f"{panel.experiment.title or panel.experiment.name}: times those of"
        yield _of_ratios(panel, "ratios", title, "server", heads, columns, True)


def _of_ratios(
    panel: Panel,
    name: str,
    title: str,
    corner: str,
    heads: tuple[str, ...],
    columns: Sequence[dict[str, Entries]],
    main: bool,
) -> Table:
    baseline = panel.experiment.ratios[0].baseline
    title = f"{title} {escape(baseline)}, in pairs"
    return Table(
        _name(panel.experiment, panel, name),
        f"{title}: {panel.title}" if panel.title else title,
        corner,
        heads,
        _rows([target for target in panel.targets() if target != baseline], columns),
        tuple("" for _ in heads),
        main,
    )


def _column_of_ratios(
    cells: Sequence[Cell], figure: str, ratios: dict[Place, Ratio]
) -> dict[str, Entries]:
    return {cell.target: _ratio_entry(cell, figure, ratios.get(place(cell))) for cell in cells}


def _ratio_entry(cell: Cell, name: str, ratio: Ratio | None) -> Entries:
    if ratio is None:
        return Entries(NOTHING, note=_why_no_ratio(cell, name))
    figure = Figure(ratio.median, ratio.low, ratio.high, "", [])
    text, shown = PLAIN.text(ratio.median), interval(PLAIN, figure)
    if ratio.low is None and ratio.high is None:
        one = len(cell.figures[name].runs) == 1
        why = "one run" if one else "the generator limited runs of both"
        return Entries(text, note=f"{why}: no interval", figure=figure)
    if ratio.verdict == NO_DIFFERENCE:
        return Entries("", shown, NO_DIFFERENCE, figure=figure)
    return Entries(text, shown, note=ratio.verdict, figure=figure)


def _why_no_ratio(cell: Cell, name: str) -> str:
    if cell.error:
        return "failed"
    if not rankable(cell):
        return f"limited by {cell.limited_by}"
    return _why_missing(cell, name)


# --- CSV --------------------------------------------------------------------------------


def csv_of(table: Table) -> str:
    """*table* as numbers in SI units: three columns (median, low, high) a figure."""
    text = io.StringIO()
    csv.writer(text).writerows(csv_lines(table))
    return text.getvalue()


def csv_lines(table: Table) -> Iterator[list[str]]:
    """The lines of the CSV file, heads first; no field is one that a spreadsheet would run."""
    yield [_safe(field) for field in _csv_heads(table)]
    for name, row in table.rows:
        fields = [escape(name)]
        for entry in row:
            fields += _numbers(entry.figure)
            fields.append(": ".join(filter(None, [entry.mark, entry.note])))
        yield [_safe(field) for field in fields]


def _csv_heads(table: Table) -> list[str]:
    heads = [f"server \\ {table.corner}" if table.corner != "server" else "server"]
    for head, unit in zip(table.heads, table.units, strict=True):
        # A head of a table of figures names the unit that is shown; here they are SI.
        name = head if table.corner != "server" else head.rpartition(", ")[0] or head
        behind = f" ({unit})" if unit else ""
        heads += [f"{name} {part}{behind}" for part in ("median", "low", "high")]
        heads.append(f"{name} remark")
    return heads


def _numbers(figure: Figure | None) -> list[str]:
    if figure is None:
        return ["", "", ""]
    ends = (figure.median, figure.low, figure.high)
    return ["" if value is None else format(value, ".9g") for value in ends]


def _safe(field: str) -> str:
    """A field that a spreadsheet takes for text or a number, and never for a formula."""
    try:
        float(field)
    except ValueError:
        # What OWASP lists (CSV injection); a mark that says "=" is one of them.
        return f"'{field}" if field.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else field
    return field
