"""What a check is, which there are, and which of them a target is held to.

A check is a function that takes a `Subject` and raises `CheckFailed` or `CheckSkipped`;
its docstring is the requirement, its name the id, its file the group::

    @check(source="RFC 862", kind=STREAM)
    def every_byte_value(subject: Subject) -> None:
        \"\"\"Each of the 256 byte values comes back as it was sent.\"\"\"
        subject.connect().echo(bytes(range(256)))
"""

import enum
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from typing import NamedTuple

from ..errors import OptionError
from ..hints import did_you_mean
from ..targets import Level, Target
from .subject import CHECK_TIME, Subject

__all__ = [
    "CHECKS",
    "DATAGRAM",
    "STREAM",
    "SUBJECTS",
    "Check",
    "Outcome",
    "Report",
    "Result",
    "check",
    "known_names",
    "select_checks",
]

SUBJECTS = ("bytes", "streams", "clients", "faults", "datagrams", "processes", "design")
"""The files with the checks, in the order in which these are run; also the groups."""

STREAM, DATAGRAM = frozenset({True}), frozenset({False})
BOTH = STREAM | DATAGRAM

RFC_862 = "RFC 862"


class Outcome(enum.StrEnum):
    """How a check went."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"


class Check(NamedTuple):
    """One thing that a server must do."""

    id: str
    """``group.name``."""
    requirement: str
    """One sentence."""
    source: str
    """Where that stands: an RFC, a chapter, a man page."""
    run: Callable[[Subject], None]
    kind: frozenset[bool]
    """Whether it is for streams, for datagrams or for both."""
    level: Level
    """What a server must be able to do, for the check to be made."""
    process: bool
    """Whether it looks at the processes of a server that was started here."""
    unframed: bool
    """Whether a server that waits for the end of a line may fail it."""
    seconds: float
    """For the check as a whole, before `timeout_scale`."""

    @property
    def group(self) -> str:
        """The subject that it belongs to."""
        return self.id.partition(".")[0]

    def applies_to(self, target: Target, level: Level) -> bool:
        """Whether *target* is held to it."""
        if self.process and not target.is_ours_to_start:
            return False
        return target.is_stream in self.kind and (self.level <= level or not target.is_stream)


class Result(NamedTuple):
    """How one check went."""

    check: Check
    outcome: Outcome
    expected: str
    """Of a check that failed: what should have come; of one that was skipped: empty."""
    got: str
    """What came instead; why it was skipped."""
    seconds: float


class Report(NamedTuple):
    """How a target did."""

    target: str
    design: str | None
    """The design seen from outside, with the evidence; None where it was not looked at."""
    results: list[Result]

    @property
    def failed(self) -> list[Result]:
        """The checks that failed."""
        return [result for result in self.results if result.outcome is Outcome.FAIL]


_found: dict[str, Check] = {}


def check(
    source: str,
    kind: frozenset[bool] = STREAM,
    *,
    level: Level = Level.ITERATIVE,
    process: bool = False,
    unframed: bool = False,
    seconds: float = CHECK_TIME,
) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    """Make a check of a function; see `Check` for the arguments."""

    def add(run: Callable[[Subject], None]) -> Callable[[Subject], None]:
        group = run.__module__.rpartition(".")[2]
        name = f"{group}.{run.__name__.replace('_', '-')}"
        requirement = " ".join(inspect.getdoc(run).split())  # type: ignore[union-attr]
        _found[name] = Check(
            name, requirement, source, run, kind, level, process, unframed, seconds
        )
        return run

    return add


class _Checks:
    """Every check by its id; the files that hold them are read at the first look."""

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __getitem__(self, name: str) -> Check:
        return self._all()[name]

    def __len__(self) -> int:
        return len(self._all())

    def values(self) -> Iterable[Check]:
        """The checks, in the order in which they are run."""
        return self._all().values()

    def _all(self) -> dict[str, Check]:
        for subject in SUBJECTS:
            import_module(f"{__package__}.{subject}")
        order = {subject: number for number, subject in enumerate(SUBJECTS)}
        return dict(sorted(_found.items(), key=lambda item: order[item[1].group]))


CHECKS = _Checks()


def known_names(names: list[str]) -> list[str]:
    """*names*, each of which is that of a check or of a group.

    :raises OptionError: one is not.
    """
    known = [*SUBJECTS, *CHECKS]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise OptionError(f"there is no check and no group {name!r}{hint}; --list shows all")
    return names


def select_checks(
    target: Target,
    level: Level,
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    lines: bool = False,
    design: bool = False,
) -> list[Check]:
    """The checks that *target* is held to.

    :param only: ids and groups; by default all.
    :param skip: ids and groups to leave out.
    :param lines: whether the server may wait for the end of a line.
    :param design: whether a design is asked for (`Subject.expected_design`).
    :raises OptionError: there is no such check or group.
    """
    known_names([*only, *skip])

    def named(check: Check, names: Sequence[str]) -> bool:
        return check.id in names or check.group in names

    return [
        check
        for check in CHECKS.values()
        if check.applies_to(target, level)
        and (not only or named(check, only))
        and not named(check, skip)
        and not (lines and check.unframed)
        and (design or check.group != "design")
    ]
