"""What ``echoservers check`` shows while it runs: lines of a table, and how far it is.

Strategy: a line that is complete is printed and never changes, so the whole table can be
read afterwards, in a pipe as at a terminal.  At a terminal, with rich, it has colours, and
a last line says what goes on.  Text that a server had a hand in is escaped first, and never
read as markup.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..conformance.engine import Check, Outcome, Result
from ..conformance.job import Job, Run, failure_lines
from ..conformance.pool import Began, Begins, Event, Made
from ..conformance.rubric import Score
from ..log import escape
from . import say

__all__ = ["Verdicts", "Words", "verdicts"]

WORDS = {Outcome.PASS: "pass", Outcome.FAIL: "FAIL", Outcome.SKIP: "skip"}
COLOURS = {"pass": "green", "FAIL": "red", "skip": "yellow"}


class Words(NamedTuple):
    """One line: the first word may be coloured."""

    word: str
    rest: str


def required_by(check: Check) -> str:
    """The requirement and its source."""
    return f"{check.requirement} ({check.source})"


class Verdicts:
    """Shows events; `show` prints a line, which at a terminal is coloured.

    :param many: whether a line is a target; else it is a check of the only one.
    """

    def __init__(self, jobs: Sequence[Job], many: bool) -> None:
        self._jobs = jobs
        self._began = time.monotonic()
        self._running: dict[int, str] = {}
        """By the number of a job that has begun: the check that is made; empty before the first."""
        self._ended = 0
        self._many = many
        names = [escape(job.target.name, None) for job in jobs]
        ids = [name for job in jobs for name in job.checks]
        self._width = max(map(len, names if self._many else ids), default=0)
        if not self._many:
            count = len(jobs[0].checks)
            held = f", as {_a(str(jobs[0].level))} server" if jobs[0].target.is_stream else ""
            self.show(Words("", f"{names[0]}: {count} check{'' if count == 1 else 's'}{held}"))

    def show(self, words: Words) -> None:
        """One line, for good."""
        say(f"{words.word:6}{words.rest}".rstrip() if words.word else words.rest)

    def progress(self, text: str) -> None:
        """What goes on; shown at a terminal alone."""

    def hear(self, event: Event, score: Score | None = None) -> None:
        """Show what has happened.

        :param score: of a run that has ended.
        """
        if isinstance(event, Began):
            self._running[event.number] = ""
        elif isinstance(event, Begins):
            self._running[event.number] = event.check.id
        elif isinstance(event, Made):
            if not self._many:
                self._result(event.result)
        else:
            del self._running[event.number]
            self._ended += 1
            self._end(event.run, score)
        self.progress(self._state())

    def summary(self, runs: Sequence[Run]) -> None:
        """The last line."""
        if not self._many:
            return
        passed = sum(run.passed for run in runs)
        lost = sum(run.error is not None for run in runs)
        parts = [f"{passed} passed", f"{len(runs) - passed - lost} failed"]
        parts += [f"{lost} could not be checked"] if lost else []
        seconds = time.monotonic() - self._began
        self.show(Words("", f"{len(runs)} targets: {', '.join(parts)}, in {seconds:.1f} s"))

    def _result(self, result: Result) -> None:
        check = result.check
        text = {
            Outcome.PASS: check.requirement,
            Outcome.FAIL: required_by(check),
            Outcome.SKIP: result.got,
        }[result.outcome]
        name = f"{check.id:{self._width}}"
        row = f"{name}  {result.seconds:7.3f} s  {escape(text, None)}"
        self.show(Words(WORDS[result.outcome], row))
        if result.outcome is Outcome.FAIL:
            for line in failure_lines(result):
                self.show(Words("", f"      {line}"))

    def _end(self, run: Run, score: Score | None) -> None:
        name = f"{escape(run.report.target, None):{self._width}}"
        word = "pass" if run.passed else "FAIL"
        if self._many:
            self.show(Words(word, f"{name}  {run.seconds:6.1f} s  {_counts(run)}{_points(score)}"))
            self._failures(run)
        else:
            self._last(run, score)

    def _last(self, run: Run, score: Score | None) -> None:
        """What the only target comes to; an error of its own goes to standard error."""
        text = f"{_counts(run)}, in {run.seconds:.1f} s{_points(score)}"
        self.show(Words("", text))
        if run.report.design is not None:
            self.show(Words("", f"design: {escape(run.report.design, None)}"))

    def _failures(self, run: Run) -> None:
        for result in run.report.failed:
            self.show(Words("", f"      {result.check.id}: {required_by(result.check)}"))
            for line in failure_lines(result):
                self.show(Words("", f"        {line}"))
        if run.error is not None:
            self.show(Words("", f"      {escape(run.error, None)}"))

    def _state(self) -> str:
        parts = [f"{self._ended} of {len(self._jobs)} done"] if self._many else []
        for number, now in self._running.items():
            job = self._jobs[number]
            count = len(job.checks)
            made = job.checks.index(now) if now else 0
            if self._many:
                parts.append(f"{escape(job.target.name, None)} {made}/{count}")
            elif now:
                parts.append(f"{made} of {count} made, now {now}")
        return ", ".join(parts)


def _a(level: str) -> str:
    return f"{'an' if level[0] in 'aeiou' else 'a'} {level}"


def _counts(run: Run) -> str:
    counts = [
        f"{run.count(outcome)} {word}"
        for outcome, word in (
            (Outcome.PASS, "passed"),
            (Outcome.FAIL, "failed"),
            (Outcome.SKIP, "skipped"),
        )
        if run.count(outcome) or outcome is Outcome.PASS
    ]
    return ", ".join(counts + (["not all made"] if run.error is not None else []))


def _points(score: Score | None) -> str:
    return "" if score is None else f"; {score.total:g} of {score.of:g} points"


@contextmanager
def verdicts(jobs: Sequence[Job], many: bool) -> Iterator[Verdicts]:
    """What shows *jobs* here: with rich where there is a terminal for it, else plain."""
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        try:
            from rich.console import Console
            from rich.live import Live
        except ImportError:
            pass
        else:
            console = Console(markup=False, highlight=False, emoji=False)
            with Live(console=console, auto_refresh=False, transient=True) as live:
                yield _Coloured(jobs, many, live)
            return
    yield Verdicts(jobs, many)


class _Coloured(Verdicts):
    """At a terminal."""

    def __init__(self, jobs: Sequence[Job], many: bool, live: Any) -> None:
        self._live = live
        super().__init__(jobs, many)

    def show(self, words: Words) -> None:
        from rich.text import Text

        row = Text(f"{words.word:6}", COLOURS[words.word]) if words.word else Text()
        row.append(words.rest)
        if words.word == WORDS[Outcome.PASS]:
            row.truncate(self._live.console.width, overflow="ellipsis")
        # What is longer the terminal wraps, not rich: so it can be copied whole.
        self._live.console.print(row, soft_wrap=True)

    def progress(self, text: str) -> None:
        from rich.text import Text

        self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
