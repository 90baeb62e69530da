"""What ``compare`` shows while it measures: a bar on a terminal, lines elsewhere."""

import io
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from echoservers.cli import compare_progress
from echoservers.cli.compare_progress import make_listener
from echoservers.lab.experiments import EXPERIMENTS, Sample
from echoservers.lab.measure import Listener, Visit
from echoservers.targets import Target


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """A terminal, and what it has been sent."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(compare_progress, "Console", lambda **_: console)
    return text


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A file."""
    text = io.StringIO()
    monkeypatch.setattr(
        compare_progress, "Console", lambda **_: Console(file=text, force_terminal=False)
    )
    return text


def visits(number: int, name: str = "scaling") -> list[Visit]:
    experiment = EXPERIMENTS[name]
    cells = experiment.cells()[:2]
    return [Visit(experiment, n, Target.of_mode("epoll-tcp"), cells, {}) for n in range(number)]


def go_through(listener: Listener, planned: list[Visit], sample: Sample) -> None:
    listener.planned(planned)
    for visit in planned:
        for cell in visit.cells:
            listener.began(visit, cell)
            listener.measured(visit, cell, sample)
        listener.ended(visit)


def test_a_bar_says_what_is_measured_and_what_came_of_the_last(screen: io.StringIO) -> None:
    with make_listener() as listener:
        go_through(listener, visits(2), Sample({"throughput": 12345.6}))
        listener._progress.refresh()  # type: ignore[attr-defined]
        listener.warned("the machine is [noisy]")
    shown = screen.getvalue()
    assert "scaling 2/5 epoll-tcp at 4" in shown
    assert "last: epoll-tcp 12,346 messages/s" in shown
    assert "note: the machine is [noisy]" in shown
    assert "100 %" in shown
    assert re.search(r"\b\d s left", shown)


def test_what_a_server_says_of_its_failure_is_shown_as_text(screen: io.StringIO) -> None:
    with make_listener() as listener:
        go_through(listener, visits(1), Sample(error="it said: [bold]\x1b[2J"))
    assert "it said: [bold]\\x1b[2J" in screen.getvalue()


def test_a_long_run_is_told_in_minutes(screen: io.StringIO) -> None:
    planned = visits(1)
    timing = replace(planned[0].experiment.timing, duration=600.0)
    long = replace(planned[0], experiment=replace(planned[0].experiment, timing=timing))
    with make_listener() as listener:
        listener.planned([long])
        listener._progress.refresh()  # type: ignore[attr-defined]
    assert "20 min left" in screen.getvalue()


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (Sample({"p99": 0.001}), "0.001 s"),
        (Sample(notes=["limited by descriptors"]), "limited by descriptors"),
        (Sample(), "nothing"),
        (Sample(error="it ended"), "it ended"),
    ],
)
def test_a_line_tells_the_first_that_there_is_to_tell(
    lines: io.StringIO, sample: Sample, said: str
) -> None:
    with make_listener() as listener:
        go_through(listener, visits(1), sample)
        listener.ended(visits(1)[0])  # of which nothing was measured: no line
        listener.warned("slow")
    first, line, note = lines.getvalue().splitlines()
    assert first.startswith("2 measurements, 1 start of a server: about ")
    assert line.startswith("scaling 1/5 epoll-tcp ")
    assert line.count(said) == 2
    assert note == "note: slow"
