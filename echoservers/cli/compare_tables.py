"""The tables that ``compare`` prints: of `lab.tables`, with rich where there is a terminal."""

import sys
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from ..lab.against import compare_runs
from ..lab.caveats import about_options
from ..lab.experiments import EXPERIMENTS, QUICK
from ..lab.notes import alike
from ..lab.results import Experiment, Results
from ..lab.tables import Table, tables_of

__all__ = ["show_changes", "show_experiments", "show_results"]

PIPED_WIDTH = 200
"""Columns where no terminal says how many there are: of a file nothing should be cut off."""


def _console() -> Console:
    console = Console(file=sys.stdout, highlight=False)
    return (
        console
        if console.is_terminal
        else Console(file=sys.stdout, highlight=False, width=PIPED_WIDTH, no_color=True)
    )


def show_experiments() -> None:
    """Every experiment, with what it shows and what is swept."""
    console = _console()
    for experiment in EXPERIMENTS.values():
        quick = " (in --quick)" if experiment.name in QUICK else ""
        console.print(f"[bold]{experiment.name}[/bold]{quick}  {experiment.title}")
        values = ", ".join(str(value) for value in experiment.values)
        console.print(f"    {escape(experiment.question)}")
        console.print(f"    Look for: {escape(experiment.shows)}.")
        console.print(f"    {experiment.parameter} = {values}", markup=False)


def show_results(results: Results) -> None:
    """The telling tables of every experiment."""
    console = _console()
    for experiment in results.experiments:
        if not experiment.cells:
            continue
        console.print()
        console.print(f"[bold]{escape(experiment.title)}[/bold]  ({experiment.name})")
        console.print(escape(experiment.question))
        tables = tables_of(experiment)
        main = [table for table in tables if table.main] or tables[:1]
        for table in main:
            _print(console, table)
        for line in _remarks(experiment):
            console.print(f"  {line}", markup=False)
    for caveat in about_options(results):
        console.print(f"\n{caveat}", markup=False)
    if not results.finished:
        console.print("\nThis run was not finished: the intervals are of fewer rounds.")


def _print(console: Console, table: Table) -> None:
    heads, *rows = table.lines()
    shown = RichTable(title=escape(table.title), title_justify="left", box=box.SIMPLE_HEAD)
    for number, head in enumerate(heads):
        shown.add_column(escape(head), justify="right" if number else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(escape(field) for field in row))
    console.print(shown)
    for mark, meaning in table.marks().items():
        console.print(f"  {mark}  {meaning}", markup=False)


def _remarks(experiment: Experiment) -> Iterator[str]:
    """Each note and error once, with the targets it is about."""
    about: dict[str, list[str]] = {}
    for target in dict.fromkeys(cell.target for cell in experiment.cells):
        cells = [cell for cell in experiment.cells if cell.target == target]
        errors = dict.fromkeys(cell.error for cell in cells if cell.error)
        for text in (*alike(note for cell in cells for note in cell.notes), *errors):
            about.setdefault(text, []).append(target)
    for text, targets in about.items():
        everybody = len(targets) == len({cell.target for cell in experiment.cells})
        yield f"{'all' if everybody else ', '.join(targets)}: {text}"


def show_changes(results: Results, before: Results) -> None:
    """What has become faster or slower since *before*."""
    console = _console()
    found = compare_runs(before, results)
    console.print("\n[bold]Against the earlier results[/bold]")
    for table in found.tables:
        _print(console, table)
    for warning in found.warnings:
        console.print(f"  {warning}", markup=False)
