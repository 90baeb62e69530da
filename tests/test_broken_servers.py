"""Each wrong server fails the checks that name its fault, and no other."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from check_samples import result
from echoservers.cli import main
from echoservers.conformance import CHECKS, Outcome, Result, clients
from echoservers.targets import Target
from strange_servers import Strange, checked, failed, strange_servers, wrongly_skipped

SCALE = 0.5
"""Of the time limits: most of the time goes by in waiting for answers that never come."""

TOGETHER = 8
"""Servers that are checked at the same time, for they wait more than they work."""

DOCS = Path(__file__).parent.parent / "docs"

BROKEN = strange_servers("broken_servers")

WITHOUT_A_SERVER: dict[str, str] = {}
"""Checks that no wrong server fails, each with the reason why there can be none."""

_COUNT = -(-len(BROKEN) // TOGETHER)
BATCHES = [BROKEN[begin::_COUNT] for begin in range(_COUNT)]


@pytest.fixture(autouse=True)
def fewer_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that keeps its connections allows itself 700 descriptors."""
    monkeypatch.setattr(clients, "ONE_AFTER_THE_OTHER", 800)
    monkeypatch.setattr(clients, "CROWD", 120)


def test_there_are_enough_of_them() -> None:
    assert len(BROKEN) >= 25
    assert len({broken.fault for broken in BROKEN}) == len(BROKEN)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.path.name)
def test_its_file_says_what_is_wrong_in_words_and_in_checks(broken: Strange) -> None:
    assert broken.fault.endswith(".")
    assert broken.fails
    assert broken.fails <= set(CHECKS)


def test_each_check_of_the_list_has_a_server_that_fails_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "--list"]) == 0
    listed = {line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")}
    bitten = set().union(*(broken.fails for broken in BROKEN))
    assert {*listed, *CHECKS} - bitten == set(WITHOUT_A_SERVER)


def test_the_tables_of_the_documentation_show_them() -> None:
    script = [sys.executable, DOCS / "broken_servers.py", "--print"]
    page = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    kept = (DOCS / "conformance.rst").read_text("utf-8")
    assert page == kept, "run: python docs/broken_servers.py"


def complaints_of(broken: Strange, target: Target, results: list[Result]) -> list[str]:
    """Where *results* are not what the server's file says."""
    failures, skipped = failed(results), wrongly_skipped(target, results)
    return [
        *(f"{broken.path.name} passes {name}" for name in broken.fails - set(failures)),
        *(f"{broken.path.name} fails {n}: {failures[n]}" for n in set(failures) - broken.fails),
        *(f"{broken.path.name} is not held to {name}: {why}" for name, why in skipped.items()),
    ]


TIME = "so many connections take more than the time for this check"


@pytest.mark.parametrize(
    ("mode", "name", "why", "is_wrong"),
    [
        ("tcp", "processes.memory", "to look at processes needs psutil", True),
        ("tcp", "processes.memory", TIME, True),
        ("asyncio-tls", "processes.memory", TIME, False),
        ("asyncio-tls", "processes.descriptors", TIME, True),
        ("tcp", "processes.memory", "descriptors stay, and bytes of memory with them", True),
        ("tcp", "processes.memory", "threads stay, and bytes of memory with them", False),
        ("tcp", "bytes.no-commands", "two are not answered; see streams.stays-open", True),
        ("tcp", "bytes.no-commands", "the threads are at fault; see processes.threads", False),
        ("udp", "datagrams.low-ports", "to send from port 7 needs root", False),
        ("unix-datagram", "datagrams.own-port", "unix-datagram has no ports", False),
        ("udp", "datagrams.own-port", "udp has no ports", True),
    ],
)
def test_a_check_is_skipped_for_a_known_reason_alone(
    mode: str, name: str, why: str, is_wrong: bool
) -> None:
    results = [result("processes.threads", Outcome.FAIL), result(name, Outcome.SKIP, got=why)]
    skipped = wrongly_skipped(Target.of_mode(mode), results)
    assert skipped == ({name: why} if is_wrong else {})


@pytest.mark.checks
@pytest.mark.timeout(300)
@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: batch[0].path.stem + "...")
def test_it_fails_what_names_its_fault_and_no_more(batch: list[Strange], tmp_path: Path) -> None:
    targets = [broken.target(tmp_path) for broken in batch]
    with ThreadPoolExecutor(len(batch)) as pool:
        runs = [
            pool.submit(checked, target, broken.level, SCALE, broken.lines, broken.design)
            for target, broken in zip(targets, batch, strict=True)
        ]
    complaints = []
    for broken, target, run in zip(batch, targets, runs, strict=True):
        if complaints_of(broken, target, run.result()):
            # So many at a time take the processors from each other: now it has them alone.
            results = checked(target, broken.level, lines=broken.lines, design=broken.design)
            complaints += complaints_of(broken, target, results)
    assert complaints == []
