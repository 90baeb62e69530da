"""Job and Run: what is to be checked, how, and what came of it.

Both cross the pipe between the program that is asked and the one that checks (`worker`)
as lines of JSON.
"""

import re
from typing import Any, NamedTuple, Self

from ..log import escape
from ..targets import Level, Limits, Target
from .engine import CHECKS, Check, Outcome, Report, Result

__all__ = ["Job", "Run", "failure_lines", "result_from", "result_to"]

DUMP = re.compile(r"(?:[0-9a-f]{2} )+\|")
"""Where bytes begin, as `peer.shown` has them."""


class Job(NamedTuple):
    """One target, and everything that its check depends on."""

    target: Target
    level: Level
    checks: tuple[str, ...]
    """Ids, in the order in which they are run."""
    timeout_scale: float = 1.0
    repeat: int = 1
    expect_design: str | None = None
    look: bool = True
    """Whether to see what design it has."""
    limits: Limits | None = None
    """For what is started."""
    build: tuple[str, ...] = ()
    """A program and arguments to run before."""
    temporary: bool = False
    """Whether it is built and run in a fresh folder of its own."""
    beside: float = 1.0
    """How many targets a processor are checked at the same time, where that is more than one."""

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        return {
            **self._asdict(),
            "target": self.target._asdict(),
            "limits": self.limits and self.limits._asdict(),
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """The job whose `to_json` has become *fields*."""
        target, limits = fields["target"], fields["limits"]
        read = {
            "command": tuple(target["command"]),
            "level": Level(target["level"]),
            "fields": tuple((name, value) for name, value in target["fields"]),
        }
        return cls(
            **{
                **fields,
                "target": Target(**{**target, **read}),
                "level": Level(fields["level"]),
                "checks": tuple(fields["checks"]),
                "build": tuple(fields["build"]),
                "limits": limits and Limits(**limits),
            }
        )


class Run(NamedTuple):
    """What came of a job."""

    job: Job
    report: Report
    """With the checks that were made: all, unless there is an error."""
    error: str | None
    """Why the target could not be started or reached, or the checks not ended."""
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every check was made or rightly left out, and none failed."""
        return self.error is None and not self.report.failed

    def count(self, outcome: Outcome) -> int:
        """How many checks had this outcome."""
        return sum(result.outcome is outcome for result in self.report.results)

    def not_made(self) -> list[Check]:
        """The checks that were to be made when the error came."""
        made = {result.check.id for result in self.report.results}
        return [CHECKS[name] for name in self.job.checks if name not in made]


def failure_lines(result: Result) -> list[str]:
    """What was expected and what came; bytes on lines of their own, to be compared."""
    lines = []
    for label, said in (("expected", result.expected), ("got", result.got)):
        text = escape(said, None)
        dump = DUMP.search(text)
        if dump is None:
            lines.append(f"{label} {text}")
        else:
            lines += [f"{label} {text[: dump.start()]}".rstrip(), f"  {text[dump.start() :]}"]
    return lines


def result_to(result: Result) -> dict[str, Any]:
    """What `result_from` takes."""
    return {**result._asdict(), "check": result.check.id}


def result_from(fields: dict[str, Any]) -> Result:
    """The result whose `result_to` has become *fields*."""
    check, outcome = CHECKS[fields["check"]], Outcome(fields["outcome"])
    return Result(**{**fields, "check": check, "outcome": outcome})
