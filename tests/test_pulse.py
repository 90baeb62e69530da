"""When a worker is asked whether it stands still, and when it is killed: by a played clock."""

from collections.abc import Iterator

import pytest

from echoservers.workers.link import Word, hear
from echoservers.workers.process import NEVER, Worker
from echoservers.workers.pulse import Pulse

TIMEOUT = 8.0


class Played(Worker):
    """A worker without a process."""

    def kill(self) -> None:
        self.killed = True

    def asked(self) -> bool:
        """Whether it was, since it was last looked."""
        return Word.PING in hear(self.others_control)


class Watch:
    """A master's clock, and its worker."""

    def __init__(self, worker: Played) -> None:
        self.worker = worker
        self.pulse = Pulse()
        self.pulse.timeout = TIMEOUT
        self.now = worker.began = 1000.0
        self.pulse.look([], self.now)
        self.pulse.began(worker)

    def ready(self) -> None:
        self.worker.ready = True
        self.answer()

    def answer(self) -> None:
        self.pulse.answered(self.worker, self.now)

    def stand_still(self, seconds: float) -> None:
        self.now += seconds

    def run(self, seconds: float) -> None:
        """Look whenever it is time."""
        end = self.now + seconds
        while (at := self.pulse.next_look([self.worker])) <= end and not self.worker.killed:
            self.now = max(at, self.now)
            self.pulse.look([self.worker], self.now)
        self.now = end


@pytest.fixture
def watch() -> Iterator[Watch]:
    worker = Played(1, 0)
    yield Watch(worker)
    worker.release()


def test_one_that_answers_lives_and_one_that_does_not_is_killed(watch: Watch) -> None:
    watch.ready()
    for _ in range(10):
        watch.run(TIMEOUT / 2)
        assert watch.worker.asked()
        watch.answer()
    watch.run(TIMEOUT / 2)
    assert watch.worker.asked()
    watch.run(TIMEOUT - 0.01)
    assert not watch.worker.killed
    watch.run(0.02)
    assert watch.worker.killed
    assert not watch.worker.asked()
    assert watch.pulse.next_look([watch.worker]) == NEVER


def test_what_began_just_before_the_question_has_all_the_time(watch: Watch) -> None:
    watch.ready()
    watch.run(TIMEOUT / 2)  # now the handler begins
    watch.run(0.9 * TIMEOUT)
    assert not watch.worker.killed
    watch.answer()
    watch.run(TIMEOUT)
    assert not watch.worker.killed


def test_one_that_never_becomes_ready_is_killed_unasked(watch: Watch) -> None:
    watch.run(TIMEOUT - 0.01)
    assert not watch.worker.killed
    watch.run(0.02)
    assert watch.worker.killed
    assert not watch.worker.asked()


@pytest.mark.parametrize("before", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("stop", [0.6, 1.0, 1.5, 100.0])
def test_what_the_master_sleeps_through_counts_against_nobody(
    watch: Watch, before: float, stop: float
) -> None:
    watch.ready()
    watch.run(TIMEOUT / 2)
    assert watch.worker.asked()
    watch.run(before * TIMEOUT)
    watch.stand_still((stop + 0.01) * TIMEOUT)
    watch.run(0.99 * TIMEOUT)
    assert watch.worker.asked()  # anew
    assert not watch.worker.killed
    watch.run(0.02 * TIMEOUT)
    assert watch.worker.killed


def test_nor_does_it_before_anybody_was_asked(watch: Watch) -> None:
    watch.stand_still(100 * TIMEOUT)
    watch.run(0.99 * TIMEOUT)
    assert not watch.worker.killed
    watch.ready()
    watch.stand_still(100 * TIMEOUT)
    watch.run(0.99 * TIMEOUT)
    assert watch.worker.asked()
    assert not watch.worker.killed


def test_without_a_limit_nobody_is_asked(watch: Watch) -> None:
    watch.worker.answer_by = NEVER
    watch.pulse.timeout = None
    watch.ready()
    watch.run(100.0)
    watch.pulse.look([watch.worker], watch.now)
    assert not watch.worker.asked()
    assert watch.pulse.next_look([watch.worker]) == NEVER
