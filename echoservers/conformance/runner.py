"""Runs checks on a server, one after the other, each on a server that lives.

A result is told when the next check has begun to show that the server lives on.  A program
may answer and die of that a moment later: whenever that is seen, the check before is the one
that was its end, and it has failed.
"""

import time
from collections.abc import Callable, Iterable

from ..targets import TargetError
from ..targets.watch import CannotWatch
from .engine import Check, Outcome, Report, Result
from .failures import CheckFailed, CheckSkipped, lack_of, reason_of
from .subject import ENDING, Subject

__all__ = ["check_target"]

LAST_BREATH = 0.003
"""Seconds for the news that a server has died of a check that was passed; one that takes longer
is seen to have died by the next check, or by `LAST_LOOK`."""

LAST_LOOK = 0.2
"""The same, after the last check: how the design is seen is none, and not to blame any for."""

AFTER_A_CUT = 1.0
"""The same, when an earlier check may have been the end: a program takes a while to go."""


def _nobody(_: object) -> None:
    pass


def check_target(
    subject: Subject,
    checks: Iterable[Check],
    tell: Callable[[Result], None] = _nobody,
    repeat: int = 1,
    look: bool = True,
    begin: Callable[[Check], None] = _nobody,
) -> Report:
    """Run *checks* on *subject*, one after the other.

    :param tell: is called with each result, when the next check has been made.
    :param repeat: how often to run each; one failure is a failure.
    :param look: whether to see what design it has, which takes a second.
    :param begin: is called with each check before it is made.
    :raises TargetError: the server has ended and cannot be started again.
    """
    report = Report(subject.target.name, None, [])
    held = _Held(report.results, tell)
    try:
        for check in checks:
            begin(check)
            held.put(_run(subject, check, held.blame))
            for _ in range(repeat - 1):
                if not held.has_passed:
                    break
                subject.memo.clear()
                held.add(_run(subject, check, held.blame))
        _see_late_end(subject, held.blame, subject.lengthened(LAST_LOOK))
    finally:
        held.let_go()
    return report._replace(design=_design_of(subject) if look else None)


class _Held:
    """The last result, until it is known whether the server has lived on."""

    def __init__(self, results: list[Result], tell: Callable[[Result], None]) -> None:
        self._results = results
        self._tell = tell
        self._result: Result | None = None

    @property
    def has_passed(self) -> bool:
        """Whether the check that is held has passed, so far."""
        return self._result is not None and self._result.outcome is Outcome.PASS

    def put(self, result: Result) -> None:
        """Hold *result*, and tell the one before."""
        self.let_go()
        self._result = result

    def add(self, again: Result) -> None:
        """Hold what came of the same check, made again after it had passed."""
        assert self._result is not None
        seconds = self._result.seconds + again.seconds
        kept = again if self.has_passed else self._result  # it was to blame meanwhile
        self._result = kept._replace(seconds=seconds)

    def blame(self, end: str) -> None:
        """Let the check that is held have failed, since it was the end of the server."""
        if self._result is not None and self._result.outcome is not Outcome.FAIL:
            self._result = self._result._replace(
                outcome=Outcome.FAIL,
                expected="a server that goes on",
                got=f"its end, a moment after the check{end}",
            )

    def let_go(self) -> None:
        """Tell the result."""
        result, self._result = self._result, None
        if result is not None:
            self._results.append(result)
            self._tell(result)


def _design_of(subject: Subject) -> str | None:
    """The design and the evidence; None, where the processes are not known."""
    from .design import seen_design  # which registers its check here

    try:
        subject.new_check()
        return str(seen_design(subject))
    except (CheckSkipped, CheckFailed, CannotWatch, TargetError, OSError):
        return None  # what was checked is reported all the same


def _run(subject: Subject, check: Check, blame: Callable[[str], None]) -> Result:
    """Make a check; one that fails leaves the next one a fresh server, if it was started here.

    A server that an earlier check was the end of may still have been ending: what failed
    then is made again, on a fresh one, and if that lives, *blame* is told of the end.
    """
    _see_late_end(subject, blame)
    subject.new_check(check.seconds)
    was_fresh, known = subject.fresh, dict(subject.memo)
    result = _run_once(subject, check)
    if was_fresh or result.outcome is Outcome.PASS or not subject.running.has_ended:
        return result
    end = _end_of(subject) if _has_died(subject) else ""
    subject.memo = known  # what was found out of the one that was dying
    try:
        subject.new_check(check.seconds)
    except TargetError:
        blame(end)
        raise
    again = _run_once(subject, check, ENDING)
    if end and not subject.spoiled:
        blame(end)
    return again._replace(seconds=result.seconds + again.seconds)


def _see_late_end(subject: Subject, blame: Callable[[str], None], seconds: float = 0) -> None:
    """Let *blame* know if the server has died since the last check, or does within *seconds*."""
    if subject.fresh or subject.spoiled or subject.running.pid is None:
        return
    subject.running.wait(seconds)
    if _has_died(subject):
        blame(_end_of(subject))


def _run_once(subject: Subject, check: Check, breath: float = LAST_BREATH) -> Result:
    """How it went."""
    began = time.monotonic()
    outcome, expected, got, cut = Outcome.PASS, "", "", False
    running = subject.running
    is_ours = running.pid is not None
    try:
        check.run(subject)
        subject.let_clients_go()
        if subject.ended_early and not subject.fresh:
            breath = AFTER_A_CUT
        running.wait(subject.lengthened(breath) if is_ours else 0)
        if _has_died(subject):
            # One that ends well has ended with its client, and checks of clients say so.
            raise CheckFailed("a server that goes on", "it has ended")
    except (CheckSkipped, CannotWatch) as why:
        outcome, got = Outcome.SKIP, str(why)
    except CheckFailed as failure:
        outcome, expected, got = Outcome.FAIL, failure.expected, failure.got
        cut = failure.cut
    except OSError as error:
        lack = lack_of(error)
        if lack is not None:
            outcome, got = Outcome.SKIP, str(lack)
        else:  # of a socket of ours that the server has cut in between
            outcome, expected, got, cut = Outcome.FAIL, "a connection", reason_of(error), True
    seconds = time.monotonic() - began
    subject.let_clients_go()
    if outcome is not Outcome.PASS and is_ours:
        running.wait(subject.lengthened(AFTER_A_CUT if cut and not subject.fresh else ENDING))
        if running.has_ended and outcome is Outcome.FAIL:
            got += _end_of(subject)
    subject.fresh = False
    subject.spoiled = is_ours and (outcome is Outcome.FAIL or running.has_ended)
    return Result(check, outcome, expected, got, seconds)


def _has_died(subject: Subject) -> bool:
    """Whether it has ended, and not well: with a status other than 0, by a signal or a limit."""
    return subject.running.has_ended and subject.running.status != 0


def _end_of(subject: Subject) -> str:
    return f"; the server {subject.running.how_it_ended()}{subject.running.said()}"
