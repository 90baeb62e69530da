"""One table for all targets: as a page of HTML, or as CSV (RFC 4180) for a spreadsheet.

A row is a target, a column a group: the points that a rubric gives it, or without one how
many of its checks passed.  The page needs jinja2 (extra ``lab``) and nothing else: no
script, no other file.
"""

import csv
import io
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

from ..errors import OptionError
from .engine import SUBJECTS, Outcome
from .job import Run, failure_lines
from .rubric import Rubric, Score

__all__ = ["as_csv", "as_html", "check_table"]

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With one of these a cell begins that a spreadsheet would calculate (OWASP, CSV injection)."""


class Cell(NamedTuple):
    """What a target has in a group."""

    text: str
    state: str
    """``all``, ``some``, ``none`` or, where nothing applies, ``out``."""


def check_table(path: str) -> None:
    """See that a table can be made for *path*.

    :raises OptionError: neither its name says HTML or CSV, or jinja2 is missing.
    """
    if path.endswith((".html", ".htm")):
        try:
            import jinja2  # noqa: F401 - whether it is there
        except ImportError:
            raise OptionError(
                "a table in HTML needs jinja2 (pip install 'echoservers[lab]'); CSV does not"
            ) from None
    elif not path.endswith(".csv"):
        raise OptionError(f"--table {path}: expected a name that ends in .html or .csv")


def as_csv(runs: Sequence[Run], scores: Sequence[Score | None], rubric: Rubric | None) -> str:
    """The table for a spreadsheet; the last column has what failed."""
    text = io.StringIO()
    writer = csv.writer(text)
    columns = _columns(runs, rubric)
    points = [] if rubric is None else ["points", "of"]
    writer.writerow(["target", *columns, *points, "passed", "failed", "skipped", "error", "design"])
    for run, score in zip(runs, scores, strict=True):
        cells = [_cell(run, score, column).text for column in columns]
        total = [] if score is None else [f"{score.total:g}", f"{score.of:g}"]
        counts = [run.count(outcome) for outcome in (Outcome.PASS, Outcome.FAIL, Outcome.SKIP)]
        words = [
            run.report.target,
            *cells,
            *total,
            *counts,
            run.error or "",
            run.report.design or "",
        ]
        writer.writerow([_harmless(word) for word in words])
    return text.getvalue()


def _harmless(word: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{word}" if isinstance(word, str) and word.startswith(FORMULA) else word


def as_html(runs: Sequence[Run], scores: Sequence[Score | None], rubric: Rubric | None) -> str:
    """The page: the table, and below what each target failed, with what came instead."""
    from jinja2 import Environment

    page = resources.files(__package__).joinpath("table.html").read_text("utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    columns = _columns(runs, rubric)
    rows = [
        (run, score, [_cell(run, score, column) for column in columns])
        for run, score in zip(runs, scores, strict=True)
    ]
    rendered: str = environment.from_string(page).render(
        title=(rubric and rubric.title) or "Echo servers, checked",
        columns=columns,
        rows=rows,
        lines=failure_lines,
        with_points=rubric is not None,
        passed=sum(run.passed for run in runs),
    )
    return rendered


def _columns(runs: Sequence[Run], rubric: Rubric | None) -> list[str]:
    if rubric is not None:
        return [*rubric.checks, *rubric.groups]
    groups = {name.partition(".")[0] for run in runs for name in run.job.checks}
    return [group for group in SUBJECTS if group in groups]


def _cell(run: Run, score: Score | None, column: str) -> Cell:
    if score is not None:
        item = next(item for item in score.items if item.name == column)
        if item.left_out:
            return Cell("", "out")
        return Cell(f"{round(item.points, 2):g}", _state(item.points, item.of))
    made = [
        result.outcome
        for result in run.report.results
        if result.check.group == column and result.outcome is not Outcome.SKIP
    ]
    count = len(made) + sum(check.group == column for check in run.not_made())
    passed = made.count(Outcome.PASS)
    return Cell(f"{passed} of {count}", _state(passed, count)) if count else Cell("", "out")


def _state(points: float, of: float) -> str:
    return "all" if points >= of else "some" if points else "none"
