"""What is going to be done, in which order, and how long it is said to take."""

from dataclasses import replace

import pytest

from echoservers.lab.experiments import EXPERIMENTS
from echoservers.lab.load import Ceiling, LoadPlan
from echoservers.lab.planning import Study, planned_visits
from echoservers.targets import Target
from lab_support import run, short


def plan(seed: int) -> list[tuple[str, int, str]]:
    targets = [Target.of_mode(name) for name in ("tcp", "threading-tcp", "epoll-tcp")]
    experiment = EXPERIMENTS["scaling"]
    study = Study(targets, [experiment], seed=seed)
    return [(v.experiment.name, v.turn, v.target.name) for v in planned_visits(study)]


def test_every_round_has_every_target_once_in_an_order_of_its_own() -> None:
    order = plan(seed=1)
    rounds = [[name for _, turn, name in order if turn == n] for n in range(5)]
    assert all(sorted(names) == ["epoll-tcp", "tcp", "threading-tcp"] for names in rounds)
    assert [turn for _, turn, _ in order] == sorted(turn for _, turn, _ in order)
    assert len({tuple(names) for names in rounds}) > 1
    assert plan(seed=1) == order
    assert plan(seed=2) != order


def test_the_calibrations_of_the_generator_are_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[LoadPlan] = []

    def calibrated(plan: LoadPlan, _cpus: object) -> Ceiling:
        made.append(plan)
        kind = plan.shape, plan.transport, plan.connections, plan.size, plan.pipeline
        return Ceiling(*kind, rate=1e9)

    monkeypatch.setattr("echoservers.lab.measure.calibrate", calibrated)
    experiments = [short("scaling", connections="1,2"), short("size"), short("churn")]
    experiments += [short("latency", percent="50"), short("datagram", rate="500"), short("work")]
    targets = [Target.of_mode(name) for name in ("epoll-tcp", "threading-tcp", "threading-udp")]
    _, listener = run(targets, *experiments)
    planned = sum(visit.calibrations for visit in listener.visits)
    assert planned == len(made)
    plain = sum(replace(visit, calibrations=0).seconds for visit in listener.visits)
    assert sum(v.seconds for v in listener.visits) == pytest.approx(plain + 0.8 * planned)
