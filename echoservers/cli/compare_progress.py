"""How far ``compare`` is: a bar with live figures on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..lab.experiments import Parameters, Sample
from ..lab.figures import kind_of
from ..lab.measure import Listener, Visit
from ..lab.units import count
from ..log import escape as escape_controls

__all__ = ["in_words", "make_listener", "planned_seconds"]


@contextmanager
def make_listener() -> Iterator[Listener]:
    """A listener for standard error, for as long as it is measured."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress)


class _Clock:
    """The time left, from how long what is done has really taken."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.planned = self.done = 0.0

    def left(self) -> str:
        """In words."""
        share = (time.monotonic() - self.began) / self.done if self.done else 1.0
        seconds = max(0.0, self.planned - self.done) * share
        return f"{in_words(seconds)} left"


class _Lines:
    """One line for each server process."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._clock = _Clock()
        self._said: list[str] = []

    def planned(self, visits: Sequence[Visit]) -> None:
        self._clock.planned = planned_seconds(visits)
        self._print(_plan(visits))

    def began(self, visit: Visit, parameters: Parameters) -> None:
        """Nothing to say yet."""

    def measured(self, visit: Visit, parameters: Parameters, sample: Sample) -> None:
        self._said.append(f"{_at(visit, parameters)}: {_headline(sample)}")

    def ended(self, visit: Visit) -> None:
        self._clock.done += visit.seconds
        if self._said:
            self._print(f"{_place(visit)} {'; '.join(self._said)} ({self._clock.left()})")
        self._said.clear()

    def warned(self, text: str) -> None:
        self._print(f"note: {text}")

    def _print(self, line: str) -> None:
        with contextlib.suppress(OSError):  # nobody reads it, which is no reason to stop
            self._console.print(
                escape_controls(line), markup=False, highlight=False, soft_wrap=True
            )


class _Bar:
    """One bar for all, with what is measured now and what came of the last."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._clock = _Clock()
        self._task: Any = progress.add_task("starting", total=None, left="")
        self._last = ""

    def planned(self, visits: Sequence[Visit]) -> None:
        self._clock.planned = planned_seconds(visits)
        self._progress.console.print(_plan(visits), highlight=False)
        self._progress.update(self._task, total=self._clock.planned, left=self._clock.left())

    def began(self, visit: Visit, parameters: Parameters) -> None:
        text = f"{_place(visit)} at {_at(visit, parameters)}"
        self._progress.update(self._task, description=f"{escape(text)}[dim]{self._last}[/dim]")

    def measured(self, visit: Visit, parameters: Parameters, sample: Sample) -> None:
        headline = escape_controls(_headline(sample))
        self._last = f"  last: {escape(visit.target.name)} {escape(headline)}"
        if sample.error:
            self._progress.console.print(f"[red]{escape(escape_controls(sample.error))}[/red]")

    def ended(self, visit: Visit) -> None:
        self._clock.done += visit.seconds
        self._progress.update(self._task, completed=self._clock.done, left=self._clock.left())

    def warned(self, text: str) -> None:
        self._progress.console.print(f"[yellow]note:[/yellow] {escape(text)}")


def _place(visit: Visit) -> str:
    turns = visit.experiment.timing.repeats
    return f"{visit.experiment.name} {visit.turn + 1}/{turns} {visit.target.name}"


def _at(visit: Visit, parameters: Parameters) -> str:
    """The value of what is swept, and of the panel where there are several."""
    experiment = visit.experiment
    names = [name for name in (experiment.panel, experiment.parameter) if name is not None]
    return " ".join(str(parameters[name]) for name in names)


def _headline(sample: Sample) -> str:
    """The first figure, in short."""
    if sample.error:
        return sample.error
    for name, value in sample.figures.items():
        number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        return f"{number} {kind_of(name).unit}".strip()
    return sample.notes[0] if sample.notes else "nothing"


def _plan(visits: Sequence[Visit]) -> str:
    """What is going to be done, and how long that takes."""
    cells = sum(len(visit.cells) for visit in visits)
    starts = count(len(visits), "start of a server", "starts of a server")
    return f"{count(cells, 'measurement')}, {starts}: about {in_words(planned_seconds(visits))}"


def planned_seconds(visits: Sequence[Visit]) -> float:
    """About how long all of them take, on a machine that is quiet."""
    return sum(visit.seconds for visit in visits)


def in_words(seconds: float) -> str:
    """``45 s``, ``2 min 30 s``, ``1 h 5 min``: to what such an estimate is good for."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    if seconds < 3600:
        minutes, rest = divmod(round(seconds / 10) * 10, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
