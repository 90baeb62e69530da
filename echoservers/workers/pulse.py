"""Whether workers stand still: each is asked from time to time, and answers from its loop.

Who gives no answer for `Pulse.timeout` is killed; it is counted from the question, so a worker
that has just begun with something long has all that time for it.  What the master has slept
through itself (SIGSTOP, a machine that stood still) it holds against nobody: it asks anew.
"""

from collections.abc import Collection

from ..log import logger
from .link import Word
from .process import NEVER, Worker

__all__ = ["Pulse"]

LOOKS = 4
"""In the time for an answer: when half of it has passed between two looks, and not a quarter,
the master has stood still, or the machine is so busy that its workers have hardly run either."""


class Pulse:
    """What a master knows of the turns of its workers."""

    def __init__(self) -> None:
        self.timeout: float | None = None
        """Seconds for an answer; None: nobody is asked."""
        self._looked_at = 0.0

    def began(self, worker: Worker) -> None:
        """It was started: its first word is due."""
        if self.timeout is not None:
            worker.answer_by = worker.began + self.timeout

    def answered(self, worker: Worker, now: float) -> None:
        """It has made a turn."""
        if self.timeout is not None:
            worker.ping_at = now + self.timeout / 2
            worker.answer_by = NEVER

    def next_look(self, workers: Collection[Worker]) -> float:
        """When `look` has something to do; `NEVER`, when nobody is asked."""
        if self.timeout is None:
            return NEVER
        at = min((min(worker.ping_at, worker.answer_by) for worker in workers), default=NEVER)
        if any(worker.answer_by < NEVER for worker in workers):
            at = min(at, self._looked_at + self.timeout / LOOKS)
        return at

    def look(self, workers: Collection[Worker], now: float) -> None:
        """Ask whose turn it is, and kill who has not answered."""
        if self.timeout is None:
            return
        stood_still = now - self._looked_at > self.timeout / 2
        self._looked_at = now
        for worker in workers:
            expected = worker.answer_by < NEVER
            if worker.ping_at <= now or (expected and stood_still):
                self._ask(worker, now + self.timeout)
            elif worker.answer_by <= now:
                logger.warning("worker %d made no turn for %g s: killed", worker.pid, self.timeout)
                worker.kill()
                worker.answer_by = NEVER

    def _ask(self, worker: Worker, answer_by: float) -> None:
        if worker.ready:  # else its first word is the answer
            worker.tell(Word.PING)
        worker.ping_at = NEVER
        worker.answer_by = answer_by
