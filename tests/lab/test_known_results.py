"""What is taught of the models comes out of the lab's own experiments.

Each test asks one experiment for the *direction* of one known result, with few values and short
times, and lets intervals decide: a claim holds when the whole 95 % interval lies on its side of
a limit, which is three times or more off what a quiet machine shows.  Where the interval reaches
across the limit, as on a machine that is busy with something else, more rounds are measured and
added, `ATTEMPTS` times at most; a claim that is still open then has failed.  One whose whole
interval lies on the wrong side has failed at once: it is not measured until it holds by chance.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from echoservers.lab.experiments import EXPERIMENTS, Experiment, Timing
from echoservers.lab.stats import Interval, interval
from echoservers.system import usable_cpus
from echoservers.targets import Target
from lab_support import run

# What a claim takes is 5 to 30 s on a machine that is idle; the rest is for one that is not.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

ATTEMPTS = 4

PREFORK = "prefork-tcp:workers=4"  # by default as many as processors, of which there may be one

FEWEST = 3  # rounds that an interval is made of

Runs = list[float | None]

SIGNS_FROM = 6
"""Rounds from which on the sign test has an interval.  It is wider than the lab's on a quiet
machine, but one round in which somebody else had the processor does not move it."""


def sign_interval(values: list[float]) -> Interval:
    """The 95 % interval of the median that assumes nothing: as many values cut as that allows."""
    ordered, n = sorted(values), len(values)
    tails = [sum(math.comb(n, k) for k in range(cut + 1)) / 2**n for cut in range(n)]
    cut = sum(tail <= 0.025 for tail in tails) - 1
    return Interval(statistics.median(values), ordered[cut], ordered[n - 1 - cut])


class Rounds:
    """The figures of all rounds so far: one value a round, None where it has none."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, object, str], Runs] = {}
        self.notes: set[str] = set()

    def add(self, experiment: Experiment, modes: list[str], seed: int) -> None:
        """Measure *modes*."""
        targets = [Target.of_mode(mode) for mode in modes]
        results, _ = run(targets, experiment, seed=seed)
        (found,) = results.experiments
        for cell in found.cells:
            assert cell.error is None, cell
            self.notes.update(f"{cell.target}: {note}" for note in cell.notes)
            for name, figure in cell.figures.items():
                key = cell.target, cell.parameters[experiment.parameter], name
                self._runs.setdefault(key, []).extend(figure.runs)

    def of(self, mode: str, value: object, figure: str) -> Runs:
        """The values of one figure of one cell, round by round."""
        return self._runs.get((mode, value, figure), [])


@dataclass
class Claim:
    """That a quantity, of which each round gives one, lies on one side of a limit.

    :param ours: what it is made of, and `against`, by `made`: by default the ratio of the two.
    """

    what: str
    ours: tuple[str, object, str]
    against: tuple[str, object, str]
    above: float | None = None
    below: float | None = None
    made: Callable[[float, float], float] = lambda ours, against: ours / against
    given: str | None = None
    """A figure that both must have for a round to count."""

    def judge(self, rounds: Rounds) -> tuple[bool | None, str]:
        """Whether it holds, None while that is open; and what was found."""
        pairs = zip(self._runs(rounds, self.ours), self._runs(rounds, self.against), strict=False)
        values = [self.made(a, b) for a, b in pairs if a is not None and b is not None]
        if len(values) < FEWEST:
            return None, f"{self.what}: only {len(values)} rounds gave a value"
        found = interval(values) if len(values) < SIGNS_FROM else sign_interval(values)
        assert found.low is not None
        assert found.high is not None
        side = f"> {self.above:g}" if self.above is not None else f"< {self.below:g}"
        return self._side_of(found.low, found.high), (
            f"{self.what}: {found.median:.4g} ({found.low:.4g} to {found.high:.4g})"
            f" should be {side}; {len(values)} rounds"
        )

    def _side_of(self, low: float, high: float) -> bool | None:
        """Whether an interval lies on the right side as a whole, or on the wrong one."""
        if self.above is not None:
            return True if low > self.above else False if high <= self.above else None
        assert self.below is not None
        return True if high < self.below else False if low >= self.below else None

    def _runs(self, rounds: Rounds, place: tuple[str, object, str]) -> Runs:
        runs = rounds.of(*place)
        if self.given is None:
            return runs
        given = rounds.of(*place[:2], self.given)
        return [a if b is not None else None for a, b in zip(runs, given, strict=False)]


def prove(
    claims: list[Claim], name: str, modes: list[str], timing: Timing, **settings: str
) -> Rounds:
    """Measure the experiment *name* until all *claims* hold, or one is refuted."""
    experiment = replace(EXPERIMENTS[name], timing=timing)
    for parameter, values in settings.items():
        experiment = experiment.set(parameter, values.split(","))
    rounds = Rounds()
    judged: list[tuple[bool | None, str]] = []
    for attempt in range(1, ATTEMPTS + 1):
        rounds.add(experiment, modes, attempt)
        judged = [claim.judge(rounds) for claim in claims]
        print(f"attempt {attempt}:", *(said for _, said in judged), sep="\n  ")  # noqa: T201
        if all(holds for holds, _ in judged):
            return rounds
        if any(holds is False for holds, _ in judged):
            break
    said = [said for holds, said in judged if not holds]
    pytest.fail("\n".join([*said, *sorted(rounds.notes)]), pytrace=False)


@pytest.mark.parametrize(
    ("ratio", "wanted"), [(1.5, True), (0.5, False), (1.0, None)], ids=["holds", "fails", "open"]
)
def test_a_claim_is_refuted_by_an_interval_on_the_wrong_side(
    ratio: float, wanted: bool | None
) -> None:
    ours, other = ("a", 1, "f"), ("b", 1, "f")
    rounds = Rounds()
    rounds._runs = {ours: [ratio * x for x in (0.99, 1.0, 1.01)], other: [1.0, 1.0, 1.0]}
    assert Claim("a over b", ours, other, above=1.0).judge(rounds)[0] is wanted
    assert Claim("b over a", other, ours, below=1.0).judge(rounds)[0] is wanted


def test_what_is_refuted_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def add(self: Rounds, _experiment: Experiment, _modes: list[str], seed: int) -> None:
        measured.append(seed)
        self._runs = {("a", 1, "f"): [0.5, 0.51, 0.52], ("b", 1, "f"): [1.0, 1.0, 1.0]}

    monkeypatch.setattr(Rounds, "add", add)
    claim = Claim("a over b", ("a", 1, "f"), ("b", 1, "f"), above=1.0)
    with pytest.raises(pytest.fail.Exception, match="should be > 1"):
        prove([claim], "churn", ["a", "b"], Timing(1, 0, 3))
    assert measured == [1]


def test_a_process_a_connection_costs_five_times_the_process_control_of_preforked_ones() -> None:
    """UNP vol. 1, 3rd ed., ch. 30, figure 30.1: there it is ten times and more.

    Control is what is left when the iterative server's CPU time has been taken off, and of
    preforked workers that is next to nothing: of a difference, unlike a ratio, zero is no end.
    """
    figure = "process_control_cpu"
    claim = Claim(
        "CPU for process control by forking less 5 x that by prefork",
        ("forking-tcp", 5, figure),
        (PREFORK, 5, figure),
        above=0.0,
        made=lambda forking, prefork: forking - 5 * max(prefork, 0.0),
    )
    prove([claim], "churn", ["forking-tcp", PREFORK], Timing(0.4, 0.1, 4))


def test_a_silent_client_stalls_the_iterative_server_and_no_other() -> None:
    others = ["threading-tcp", "forking-tcp", "thread-pool-tcp", PREFORK, "epoll-tcp"]

    def kept(mode: str, **limit: float) -> Claim:
        return Claim(
            f"share of its throughput that {mode} keeps",
            (mode, "silent", "throughput"),
            (mode, "none", "throughput"),
            made=lambda beside, alone: (beside + 1) / (alone + 1),  # one may be, and one is, zero
            **limit,
        )

    claims = [kept("tcp", below=0.05), *(kept(mode, above=0.1) for mode in others)]
    rounds = prove(
        claims,
        "slow-client",
        ["tcp", *others],
        Timing(0.4, 0.05, 3),
        connections="2",
        neighbour="none,silent",
    )
    assert set(rounds.of("tcp", "silent", "throughput")) == {0.0}


def test_one_client_that_computes_takes_from_threads_what_processes_keep() -> None:
    """D. Beazley, *Python Concurrency From the Ground Up*, PyCon 2015: perf2.

    What each serves of the tiny requests once the other client is there; without, they are alike.
    """
    tiny = "throughput"
    claim = Claim(
        "tiny requests that threading still serves, over those that forking does",
        ("threading-tcp", 1, tiny),
        ("forking-tcp", 1, tiny),
        # With one processor the tiny requests' client, too, waits its turn in either design.
        below=1 / 2 if len(usable_cpus()) > 1 else 0.8,
        made=lambda threads, processes: (threads + 1) / (processes + 1),  # one may be zero
        given="kept_share",  # else nobody came beside
    )
    modes = ["threading-tcp", "forking-tcp"]
    prove([claim], "gil", modes, Timing(2.0, 0.1, 3), cpu_clients="1")


def test_work_that_blocks_overlaps_in_threads_and_not_in_a_loop() -> None:
    one, all_eight = ("threading-tcp", 1, "throughput"), ("threading-tcp", 8, "throughput")
    loop = "epoll-tcp", 8, "throughput"
    claims = [
        Claim("throughput of threads with 8 clients over that with one", all_eight, one, above=2.5),
        Claim("throughput of threads with 8 clients over a loop's", all_eight, loop, above=2.5),
    ]
    modes = ["threading-tcp", "epoll-tcp"]
    rounds = prove(claims, "work", modes, Timing(0.4, 0.05, 4), clients="1,8", work="wait")
    # One 5 ms after the other, on whatever machine, and 8 replies that were on their way.
    most = 1 / 0.005 + 8 / 0.4
    assert all(run is not None and run <= most for run in rounds.of(*loop))


def test_idle_connections_cost_threads_memory_and_a_loop_almost_none() -> None:
    """D. Kegel, *The C10K problem*."""
    crowd = 500
    figure = "memory_per_connection"
    threads, loop = ("threading-tcp", crowd, figure), ("epoll-tcp", crowd, figure)
    claims = [
        Claim("memory of a thread over that of a connection in a loop", threads, loop, above=5.0),
        Claim("bytes a connection in a loop", loop, loop, below=4096.0, made=max),
    ]
    modes = ["threading-tcp", "epoll-tcp"]
    rounds = prove(claims, "idle", modes, Timing(0, 0, 3), connections=f"0,{crowd}")
    assert set(rounds.of("threading-tcp", crowd, "threads")) == {crowd + 1.0}
    assert set(rounds.of("epoll-tcp", crowd, "threads")) == {1.0}
