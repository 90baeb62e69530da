"""Every experiment runs, on whatever server; and what is wrong with one harms no other."""

import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echoservers.lab.bench import Bench
from echoservers.lab.experiments import EXPERIMENTS, Parameters, Sample
from echoservers.lab.load import LoadError
from echoservers.lab.measure import Study, planned_visits, subject_of
from echoservers.lab.results import Cell, Results
from echoservers.targets import Target
from lab_support import ECHO, Remembers, program, run, short
from support import children_of

SMALL = {
    "fairness": {"connections": "16"},
    "idle": {"connections": "0,20"},
    "slow-client": {"neighbour": "none,silent"},
    "gil": {"cpu_clients": "0,1"},
    "latency": {"percent": "50"},
    "timeline": {"clients": "3", "milliseconds": "2", "requests": "2"},
    "datagram": {"rate": "500"},
}
GIVES = {
    "scaling": {"throughput", "server_cpu_per_message", "memory_pss", "threads", "processes"},
    "latency": {"throughput", "offered"},
    "churn": {"connections_per_second", "server_cpu_per_connection", "process_control_cpu"},
    "fairness": {"jain_index", "workers"},
    "gil": {"throughput"},
    "slow-client": {"throughput"},
    "idle": {"memory_pss", "threads", "processes", "descriptors"},
    "size": {"throughput", "megabytes_per_second"},
    "work": {"throughput"},
    "timeline": {"makespan", "workers"},
    "datagram": {"answered_share", "lost_share", "offered"},
    "backlog": {"connect_max", "refused", "answered_share"},
}


def cells_of(results: Results, target: str) -> list[Cell]:
    return [c for each in results.experiments for c in each.cells if c.target == target]


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_every_experiment_gives_its_figures(name: str) -> None:
    target = Target.of_mode("udp" if name == "datagram" else "threading-tcp")
    results, listener = run([target], short(name, **SMALL.get(name, {})))
    assert results.finished
    cells = cells_of(results, target.name)
    assert cells
    for cell in cells:
        assert cell.error is None, cell
        # On a busy machine the heavy client may have no turn in so short a time, and says so.
        missing = {"throughput"} if any("no CPU-bound client" in n for n in cell.notes) else set()
        assert set(cell.figures) | missing >= GIVES[name], cell
    assert len(listener.samples) == sum(len(visit.cells) for visit in listener.visits)


def test_churn_is_held_against_the_iterative_server_that_nobody_asked_for() -> None:
    targets = [Target.of_mode(name) for name in ("unix-stream", "threading-tcp")]
    results, _ = run(targets, short("churn"))
    assert [(t.name, t.reference) for t in results.targets] == [
        ("unix-stream", False),
        ("threading-tcp", False),
        ("tcp", True),
    ]
    (own,) = cells_of(results, "threading-tcp")
    (reference,) = cells_of(results, "tcp")
    control = own.figures["process_control_cpu"].median
    name = "server_cpu_per_connection"
    assert control == pytest.approx(own.figures[name].median - reference.figures[name].median)
    # Held against itself it would be a measured zero, which it is not.
    assert "process_control_cpu" not in reference.figures
    assert any("as this is the baseline" in note for note in reference.notes)


def test_the_reference_is_no_server_of_the_users_that_has_its_name() -> None:
    mine = Target.of_mode("threading-tcp", "tcp")
    results, _ = run([mine, Target.of_mode("epoll-tcp")], short("churn"))
    assert [(t.name, t.mode) for t in results.targets if t.reference] == [
        ("tcp (reference)", "tcp")
    ]
    assert "process_control_cpu" in cells_of(results, "tcp")[0].figures
    assert "process_control_cpu" not in cells_of(results, "tcp (reference)")[0].figures


def test_a_crowd_makes_threads_and_costs_memory() -> None:
    experiment = short("idle", connections="0,30")
    results, _ = run([Target.of_mode("threading-tcp"), Target.of_mode("tcp")], experiment)
    empty, crowded = cells_of(results, "threading-tcp")
    assert crowded.figures["threads"].median == empty.figures["threads"].median + 30
    assert crowded.figures["answered_share"].median == 1
    assert crowded.figures["memory_per_connection"].median > 0
    _, full = cells_of(results, "tcp")
    assert full.limited_by == "time"
    assert full.notes[0] == "1 of 30 idle clients were taken"
    assert "memory_per_connection" not in full.figures


def test_more_clients_than_descriptors_are_not_tried() -> None:
    results, _ = run([Target.of_mode("epoll-tcp")], short("idle", connections="10000000"))
    (cell,) = cells_of(results, "epoll-tcp")
    assert cell.limited_by == "descriptors"
    assert not cell.figures


@pytest.mark.parametrize(
    ("name", "of_none"),
    [("fairness", "clients"), ("fairness", "connections"), ("timeline", "clients"),
     ("timeline", "requests")],
)  # fmt: skip
def test_visits_of_nobody_are_an_error_of_their_cell(name: str, of_none: str) -> None:
    results, _ = run([Target.of_mode("tcp")], short(name, **{of_none: "0"}))
    (cell,) = cells_of(results, "tcp")
    assert cell.error == "at least one client with one request is needed"


def lanes(name: str) -> list[dict[str, object]]:
    experiment = short("timeline", clients="3", requests="2", milliseconds="5")
    results, _ = run([Target.of_mode(name)], experiment)
    found: list[dict[str, object]] = cells_of(results, name)[0].series["lanes"]
    return found


def test_one_loop_has_one_lane_in_which_nothing_overlaps() -> None:
    (lane,) = lanes("tcp")
    spans = sorted((span["begin"], span["end"]) for span in lane["spans"])  # type: ignore[attr-defined]
    assert len(spans) == 6
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))


def test_a_thread_for_each_client_has_a_lane_for_each() -> None:
    found = lanes("threading-tcp")
    assert len(found) == 3
    for lane in found:
        spans = lane["spans"]
        assert len({span["client"] for span in spans}) == 1  # type: ignore[attr-defined]
        assert all(span["end"] - span["begin"] >= 0.0049 for span in spans)  # type: ignore[attr-defined]


def test_preforked_workers_are_counted_as_processes() -> None:
    experiment = short("fairness", connections="16", clients="4")
    results, _ = run([Target.of_mode("prefork-threading-tcp:workers=2")], experiment)
    (cell,) = cells_of(results, "prefork-threading-tcp:workers=2")
    assert len(cell.series["served_by_worker"]["y"]) == 2
    assert sum(cell.series["served_by_worker"]["y"]) == 16


# --- servers of others, and what can be wrong with them ---------------------------------


WORKS = """
class Works(Handler):
    def answer(self, data):
        if not data.startswith((b"work ", b"tell ")):
            return data
        begin = time.monotonic()
        verb, kind, amount = data.split()[:3]
        time.sleep(float(amount) / 1000)
        if verb == b"work":
            return data
        who = os.getpid(), threading.get_native_id()
        return b"told %d %d %f %f\\n" % (*who, begin, time.monotonic())
serve(Works)
"""

WRONG = """
class Wrong(Handler):
    def answer(self, data):
        return data.replace(b"0", b"o")
serve(Wrong)
"""

DIES = """
class Dies(Handler):
    def answer(self, data):
        print("out of luck", flush=True)
        os._exit(3)
serve(Dies)
"""

HANGS = """
class Hangs(Handler):
    def answer(self, data):
        threading.Event().wait()
serve(Hangs)
"""

NEVER = """
print("cannot find my data", flush=True)
sys.exit(5)
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WRONG, "a reply differs"),
        (DIES, "out of luck"),
        (NEVER, "ended with status 5 before it listened; it said: cannot find my data"),
        (HANGS, "answered"),
    ],
    ids=["wrong", "dies", "never", "hangs"],
)
def test_what_is_wrong_with_one_is_said_and_the_others_go_on(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is HANGS:  # nothing but this waits for it; less would be too little for a busy machine
        monkeypatch.setattr("echoservers.lab.bench.TIMEOUT", 2.0)
    with program(tmp_path, ECHO + text) as command:
        bad = Target.of_command(command, name="bad")
        experiment = short("scaling", connections="1,2")
        results, _ = run([bad, Target.of_mode("epoll-tcp")], experiment)
    for cell in cells_of(results, "bad"):
        assert cell.error is not None
        assert said in cell.error
        assert not cell.figures
    for cell in cells_of(results, "epoll-tcp"):
        assert cell.error is None
        assert cell.figures


BREAKS = """
class Breaks(Handler):
    here = 0

    def setup(self):
        Breaks.here += 1
        if Breaks.here == 8:
            print("too many", flush=True)
            os._exit(3)

    def finish(self):
        Breaks.here -= 1
serve(Breaks)
"""


def first(target: Target, *connections: int, repeats: int = 1) -> dict[str, Any]:
    """A study of scaling in which these numbers of *connections* are measured first."""
    values = ",".join(str(value) for value in (1, 2, 4, 8, 9, 10, 11))
    made = short("scaling", connections=values)
    made = replace(made, timing=replace(made.timing, repeats=repeats))

    def begins(seed: int) -> set[int]:
        visit = planned_visits(Study([target], [made], seed=seed))[0]
        return {cell["connections"] for cell in visit.cells[: len(connections)]}

    seeds = (seed for seed in itertools.count(1) if begins(seed) == set(connections))
    return {"experiment": made, "seed": next(seeds)}


def broken(text: str, folder: Path, *connections: int, repeats: int = 1) -> dict[Any, Cell]:
    with program(folder, ECHO + text) as command:
        target = Target.of_command(command, name="breaks")
        study = first(target, *connections, repeats=repeats)
        results, _ = run([target], study["experiment"], seed=study["seed"])
    return {cell.parameters["connections"]: cell for cell in cells_of(results, "breaks")}


def test_a_cell_that_breaks_its_server_fails_alone(tmp_path: Path) -> None:
    cells = broken(BREAKS.replace("== 8", "== 11"), tmp_path, 11)
    assert {at for at, cell in cells.items() if cell.error} == {11}
    assert "too many" in (cells[11].error or "")
    assert all(cell.figures for at, cell in cells.items() if at != 11)


def test_a_server_that_always_breaks_is_given_up_and_what_is_left_says_why(tmp_path: Path) -> None:
    cells = broken(BREAKS, tmp_path, 8, 9, 10)
    said = [at for at, cell in cells.items() if (cell.error or "").startswith("not measured, as")]
    assert said == [1, 2, 4, 11]
    assert all("too many" in (cell.error or "") for cell in cells.values())


def test_what_is_left_of_a_round_is_measured_in_the_next(tmp_path: Path) -> None:
    cells = broken(BREAKS, tmp_path, 8, 9, 10, repeats=2)
    assert {at for at, cell in cells.items() if cell.error} == {8, 9, 10, 11}
    assert cells[1].figures["throughput"].runs[0] is None
    assert cells[1].figures["throughput"].runs[1]


@pytest.mark.parametrize("failure", [OSError(24, "Too many open files"), LoadError("it ended")])
@pytest.mark.parametrize("times", [1, 2])
def test_what_our_own_side_cannot_do_is_no_fault_of_the_server(
    failure: Exception, times: int
) -> None:
    experiment = short("scaling", connections="1,2")
    calls = itertools.count()

    def measured(bench: Bench, parameters: Parameters) -> Sample:
        if next(calls) < times:
            raise failure
        return experiment.measure(bench, parameters)

    results, listener = run([Target.of_mode("tcp")], replace(experiment, measure=measured))
    errors = [cell.error for cell in cells_of(results, "tcp") if cell.error]
    text = f"the load generator failed, and not tcp: {getattr(failure, 'strerror', failure)}"
    assert listener.warnings[-1] == f"{text}; it is tried again"
    assert errors == ([text] if times == 2 else [])


@pytest.mark.parametrize("name", ["work", "timeline", "fairness"])
def test_a_stranger_takes_part_in_work_if_it_understands(name: str, tmp_path: Path) -> None:
    experiment = short(name, **SMALL.get(name, {}))
    with program(tmp_path, ECHO + WORKS) as command:
        results, _ = run([Target.of_command(command, name="works")], experiment)
    (cell,) = cells_of(results, "works")
    assert cell.figures
    with program(tmp_path, ECHO + "serve()") as command:
        results, _ = run([Target.of_command(command, name="plain")], experiment)
    (cell,) = cells_of(results, "plain")
    assert cell.error is None
    assert not cell.figures
    (note,) = cell.notes
    assert note.startswith("left out: it does not do the work; ")
    assert "echoservers.lab.handlers:WorkHandler" in note


def test_a_server_that_runs_already_is_measured_and_left_alone() -> None:
    import echoservers

    with echoservers.start_server("threading-tcp", ("127.0.0.1", 0)) as server:
        target = Target.of_endpoint(server.endpoint(), "mine")
        results, _ = run([target], short("scaling"))
        (cell,) = cells_of(results, "mine")
        assert cell.figures["throughput"].median > 0
        assert "server_cpu_per_message" not in cell.figures  # it is not ours to look at
        assert subject_of(target).command is None


# --- what is kept -------------------------------------------------------------------------


def test_what_was_measured_is_kept_after_every_cell() -> None:
    from echoservers.lab.measure import measure

    seen: list[int] = []

    def keep(results: Results) -> None:
        seen.append(sum(bool(cell.figures) for each in results.experiments for cell in each.cells))
        if len(seen) == 2:
            raise KeyboardInterrupt

    study = Study([Target.of_mode("epoll-tcp")], [short("scaling", connections="1,2,3")])
    with pytest.raises(KeyboardInterrupt):
        measure(study, Remembers(), keep)
    assert seen == [1, 2]


def test_nothing_is_left_of_a_server_that_was_measured() -> None:
    before = children_of(os.getpid())
    run([Target.of_mode("forking-tcp")], short("scaling", connections="8"))
    assert children_of(os.getpid()) == before
