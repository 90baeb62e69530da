"""Runs checks on a server, one after the other, each on a server that lives.

A program may answer and die of that a moment later, when some quick checks more have been
made.  So results are held for a while: when a server is seen to have died, the checks that it
had passed are made again, each on a fresh one, and the one that is its end has failed.
"""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..targets import RunningTarget, TargetError
from ..targets.watch import CannotWatch
from .engine import Check, Outcome, Report, Result
from .failures import CheckFailed, CheckSkipped, lack_of, reason_of
from .subject import ENDING, Subject

__all__ = ["check_target"]

LAST_BREATH = 0.003
"""Seconds for the news that a server has died of a check that was passed; one that takes longer
is seen to have died by the next check, or by `LAST_LOOK`."""

LAST_LOOK = 0.2
"""The same, after the last check, and after one that is made again to see whether it is the
end of a server."""

HELD_TIME = 0.5
"""Seconds for which a result is held, at least: a death that comes later is that of another
check, or of none, and `LAST_LOOK` would not show it again."""

SEARCH_TIME = 10.0
"""Seconds, of a whole run, for making checks again: a program that dies now and then, of no
check at all, is not worth more of them."""

AFTER_A_CUT = 1.0
"""`ENDING`, when an earlier check may have been the end or nobody listens any more: a program
takes a while to go."""


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
    held = _Held(subject, report.results, tell)
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


class _Made(NamedTuple):
    """A result, and what it was got from."""

    result: Result
    running: RunningTarget
    when: float

    @property
    def outcome(self) -> Outcome:
        return self.result.outcome


class _Held:
    """The last results, until it is known whether the server has lived on."""

    def __init__(
        self, subject: Subject, results: list[Result], tell: Callable[[Result], None]
    ) -> None:
        self._subject = subject
        self._results = results
        self._tell = tell
        self._made: list[_Made] = []
        self._time_left = subject.lengthened(SEARCH_TIME)
        self._told: RunningTarget | None = None  # the server that the last told was got from

    @property
    def has_passed(self) -> bool:
        """Whether the last check has passed, so far."""
        return bool(self._made) and self._made[-1].outcome is Outcome.PASS

    def put(self, result: Result) -> None:
        """Hold *result*, and tell those that are certain."""
        if any(made.outcome is Outcome.FAIL for made in self._made):
            self.let_go()
        self._made.append(self._now(result))
        self._tell_certain()

    def add(self, again: Result) -> None:
        """Hold what came of the last check, made again after it had passed."""
        last = self._made.pop().result
        seconds = last.seconds + again.seconds
        kept = again if last.outcome is Outcome.PASS else last  # it was to blame meanwhile
        self.put(kept._replace(seconds=seconds))

    def blame(self, died: RunningTarget) -> None:
        """Let the check that was the end of *died* have failed, of those that it has passed."""
        passed = [
            place
            for place, made in enumerate(self._made)
            if made.running is died and made.outcome is Outcome.PASS
        ]
        if not passed:
            return
        place, which = passed[-1], "the check"
        if len(passed) > 1 or self._told is died:
            found = self._search(passed[::-1])
            place = passed[-1] if found is None else found
            which = "the check" if found is not None else "this check, or one of the few before it"
        result = self._made[place].result._replace(
            outcome=Outcome.FAIL,
            expected="a server that goes on",
            got=f"its end, a moment after {which}{_end_of(died)}",
        )
        self._made[place] = self._made[place]._replace(result=result)

    def let_go(self, count: int | None = None) -> None:
        """Tell the first *count* results; by default all."""
        for _ in self._made[:count]:
            made = self._made.pop(0)  # first: an interruption tells none twice
            self._told = made.running
            self._results.append(made.result)
            self._tell(made.result)

    def _now(self, result: Result) -> _Made:
        return _Made(result, self._subject.running, time.monotonic())

    def _tell_certain(self) -> None:
        """What fails spoils the server: nothing more will be known of it."""
        last = self._made[-1]
        if last.outcome is Outcome.FAIL:
            self.let_go()
            return
        held_since = last.when - last.result.seconds - self._subject.lengthened(HELD_TIME)
        count = 0
        for place, made in enumerate(self._made):
            if made.when >= held_since:
                break
            if made.outcome is Outcome.PASS and not self._passes_after(place):
                break  # there must be one to blame
            count = place + 1
        self.let_go(count)

    def _passes_after(self, place: int) -> bool:
        return any(made.outcome is Outcome.PASS for made in self._made[place + 1 :])

    def _search(self, places: list[int]) -> int | None:
        """The first of *places* whose check a fresh server dies of; None: of none, in time."""
        began = time.monotonic()
        try:
            for place in places:
                result = self._made[place].result
                if time.monotonic() - began + result.seconds > self._time_left:
                    return None
                if _dies_of(self._subject, result.check):
                    return place
            return None
        except TargetError:  # which whoever wants a server next meets again
            return None
        finally:
            self._time_left -= time.monotonic() - began
            self._subject.spoiled = True


def _design_of(subject: Subject) -> str | None:
    """The design and the evidence; None, where the processes are not known."""
    from .design import seen_design  # which registers its check here

    try:
        subject.new_check()
        return str(seen_design(subject))
    except (CheckSkipped, CheckFailed, CannotWatch, TargetError, OSError):
        return None  # what was checked is reported all the same


def _run(subject: Subject, check: Check, blame: Callable[[RunningTarget], None]) -> Result:
    """Make a check; one that fails leaves the next one a fresh server, if it was started here.

    A server that an earlier check was the end of may still have been ending: what failed
    then is made again, on a fresh one, and if that lives, *blame* is told of the end.
    """
    _see_late_end(subject, blame)
    subject.new_check(check.seconds)
    was_fresh, running, known = subject.fresh, subject.running, dict(subject.memo)
    result = _run_once(subject, check)
    was_fresh = was_fresh or subject.running is not running  # it had one of its own
    if was_fresh or result.outcome is Outcome.PASS or not subject.has_ended:
        return result
    died = subject.running if _has_died(subject) else None
    subject.memo = known  # what was found out of the one that was dying
    try:
        subject.new_check(check.seconds)
    except TargetError:
        if died is not None:
            blame(died)
        raise
    again = _run_once(subject, check, LAST_LOOK)
    if died is not None and not _has_died(subject):
        blame(died)
    return again._replace(seconds=result.seconds + again.seconds)


def _dies_of(subject: Subject, check: Check) -> bool:
    """Whether *check* is the end of a fresh server.

    :raises TargetError: none can be started.
    """
    subject.spoiled = True
    subject.new_check(check.seconds)
    _run_once(subject, check, LAST_LOOK)
    return _has_died(subject)


def _see_late_end(
    subject: Subject, blame: Callable[[RunningTarget], None], seconds: float = 0
) -> None:
    """Let *blame* know if the server has died since the last check, or does within *seconds*."""
    if subject.fresh or subject.spoiled or subject.running.pid is None:
        return
    subject.running.wait(seconds)
    if _has_died(subject):
        blame(subject.running)


def _run_once(subject: Subject, check: Check, breath: float = LAST_BREATH) -> Result:
    """How it went."""
    began = time.monotonic()
    outcome, expected, got, cut = Outcome.PASS, "", "", False
    is_ours = subject.running.pid is not None
    try:
        check.run(subject)
        subject.let_clients_go()
        if subject.ended_early and not subject.fresh:
            breath = AFTER_A_CUT
        subject.running.wait(subject.lengthened(breath) if is_ours else 0)
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
    running = subject.running  # the check may have had a fresh one
    if outcome is not Outcome.PASS and is_ours:
        running.wait(subject.lengthened(AFTER_A_CUT if cut and not subject.fresh else ENDING))
        if cut and not running.has_ended and running.has_left_its_address():
            running.wait(subject.lengthened(AFTER_A_CUT))
        if subject.has_ended and outcome is Outcome.FAIL:
            got += _end_of(running)
    subject.fresh = False
    subject.spoiled = is_ours and (outcome is Outcome.FAIL or running.has_ended)
    return Result(check, outcome, expected, got, seconds)


def _has_died(subject: Subject) -> bool:
    """Whether it has ended, and not well: with a status other than 0, by a signal or a limit."""
    return subject.has_ended and subject.running.status != 0


def _end_of(running: RunningTarget) -> str:
    return f"; the server {running.how_it_ended()}{running.said()}"
