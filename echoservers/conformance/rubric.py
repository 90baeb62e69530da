"""Rubric: points for checks and groups of checks, read from a TOML file.

    title = "Homework 3"
    total = 20                     # scale all points to this many; by default as they are
    all_or_nothing = ["faults"]    # groups that give all their points or none

    [groups]                       # shared equally among the checks of the group
    streams = 5
    faults = 5

    [checks]                       # worth this much each; they leave their group's share
    "bytes.echo" = 2

Equal shares are what graders of courses do by default, since a group has checks of about
the same weight and a fault should cost in proportion; all or nothing is for groups of which
half is worth nothing.  A check that does not apply to a target, or that cannot be made
here, neither gives points nor costs any: what it would have been worth goes to the others
of its group, and where none of them is left, what can be had becomes less.  A check that
the target did not live to see has failed.
"""

import math
import tomllib
from typing import Any, NamedTuple

from ..errors import OptionError
from ..hints import did_you_mean
from .engine import CHECKS, SUBJECTS, Outcome
from .job import Run

__all__ = ["Item", "Rubric", "Score", "read_rubric"]

_KEYS = ("title", "total", "all_or_nothing", "checks", "groups")


class Item(NamedTuple):
    """One entry of the rubric, scored."""

    name: str
    """A check or a group."""
    points: float
    of: float
    left_out: bool
    """Whether it does not apply to the target, or cannot be made here."""


class Score(NamedTuple):
    """What a target gets."""

    items: list[Item]
    total: float
    of: float
    """What it could have got."""


class Rubric(NamedTuple):
    """Points by check and by group."""

    title: str
    total: float | None
    """What all points are scaled to."""
    checks: dict[str, float]
    groups: dict[str, float]
    all_or_nothing: frozenset[str]
    """Groups."""

    def score(self, run: Run) -> Score:
        """The points of a target."""
        passed = {r.check.id: r.outcome is Outcome.PASS for r in run.report.results}
        passed |= {check.id: False for check in run.not_made()}
        for result in run.report.results:
            if result.outcome is Outcome.SKIP:
                del passed[result.check.id]
        items = [
            self._item(name, of, [passed[name]] if name in passed else [])
            for name, of in self.checks.items()
        ]
        for group, of in self.groups.items():
            own = [
                went
                for name, went in passed.items()
                if CHECKS[name].group == group and name not in self.checks
            ]
            items.append(self._item(group, of, own))
        points = math.fsum(item.points for item in items)
        of = math.fsum(item.of for item in items if not item.left_out)
        if self.total is not None and of:
            points, of = points * self.total / of, self.total
        return Score(items, round(points, 2), round(of, 2))

    def _item(self, name: str, of: float, passed: list[bool]) -> Item:
        if not passed:
            return Item(name, 0.0, of, left_out=True)
        share = sum(passed) / len(passed)
        if name in self.all_or_nothing:
            share = float(all(passed))
        return Item(name, of * share, of, left_out=False)


def read_rubric(path: str) -> Rubric:
    """The rubric in the file *path*.

    :raises OptionError: it cannot be read, or names what there is not.
    """
    try:
        with open(path, "rb") as file:
            fields = tomllib.load(file)
    except OSError as error:
        raise OptionError(f"the rubric {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"the rubric {path} is not TOML: {error}") from None
    try:
        return _rubric(fields)
    except ValueError as error:
        raise OptionError(f"the rubric {path}: {error}") from None


def _rubric(fields: dict[str, Any]) -> Rubric:
    _know(fields, _KEYS, "key")
    title = fields.get("title", "")
    if not isinstance(title, str):
        raise ValueError(f"title = {title!r}: expected text")
    total = fields.get("total")
    if total is not None:
        total = _number("total", total)
    checks = _points(fields, "checks", list(CHECKS), "check")
    groups = _points(fields, "groups", SUBJECTS, "group")
    if not checks and not groups:
        raise ValueError("it has no points; give some in [checks] or [groups]")
    all_or_nothing = fields.get("all_or_nothing", [])
    if not isinstance(all_or_nothing, list):
        raise ValueError(f"all_or_nothing = {all_or_nothing!r}: expected a list of groups")
    _know(all_or_nothing, list(groups), "group in [groups]")
    return Rubric(title, total, checks, groups, frozenset(all_or_nothing))


def _points(fields: dict[str, Any], table: str, known: Any, what: str) -> dict[str, float]:
    given = fields.get(table, {})
    if not isinstance(given, dict):
        raise ValueError(f"{table} = {given!r}: expected a table [{table}]")
    for name, points in given.items():
        if isinstance(points, dict):  # bytes.echo = 2, where "bytes.echo" = 2 was meant
            first = next(iter(points), "...")
            raise ValueError(f'[{table}]: put quotes around names with dots: "{name}.{first}"')
    _know(given, known, what)
    return {name: _number(name, points) for name, points in given.items()}


def _know(names: Any, known: Any, what: str) -> None:
    for name in names:
        if name not in known:
            shown = ", ".join(known) if len(known) < 10 else "`echoservers check --list` shows all"
            hint = did_you_mean(str(name), known)
            raise ValueError(f"there is no {what} {name!r}{hint}; {shown}")


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} = {value!r}: expected a number of points")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} = {value!r}: expected points of 0 or more")
    return float(value)
