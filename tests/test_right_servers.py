"""Servers that others have written pass every check, but for faults that they are known for."""

from pathlib import Path

import pytest

from echoservers.conformance import Subject, check_target, clients, select_checks
from echoservers.targets import Level, Target
from strange_servers import (
    HERE,
    Strange,
    checked,
    failed,
    needed,
    strange_servers,
    wrongly_skipped,
)

pytestmark = [pytest.mark.checks, pytest.mark.timeout(120)]

RIGHT = strange_servers("right_servers")


@pytest.mark.parametrize("right", RIGHT, ids=lambda right: right.path.name)
def test_a_right_server_passes_every_check(right: Strange, tmp_path: Path) -> None:
    target = right.target(tmp_path)
    results = checked(target, right.level)
    assert failed(results) == {}
    assert wrongly_skipped(target, results) == {}


@pytest.fixture
def fewer_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """For those that execute a program for each."""
    monkeypatch.setattr(clients, "ONE_AFTER_THE_OTHER", 300)
    monkeypatch.setattr(clients, "CROWD", 100)


@pytest.mark.usefixtures("fewer_connections")
def test_socat_passes_every_check() -> None:
    socat = needed("socat")
    listen = "TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog=128"
    target = Target.of_command(f"{socat} {listen} EXEC:/bin/cat", name="socat")
    results = checked(target, Level.CONCURRENT)
    assert failed(results) == {}
    assert wrongly_skipped(target, results) == {}


NCAT_ENDS_EARLY = {
    "streams.end-at-once",
    "streams.end-without-newline",
    "streams.end-after-much",
}
"""Before 7.96 ncat takes the end of the input for that of the connection, and what cat has not
answered by then is lost (says its list of changes); how much that is, is chance."""

NCAT_BLOCKS = {"streams.large", "streams.late-reader", "streams.end-after-much"}
"""It waits for cat to take its input, while cat waits for it to take its output."""


@pytest.mark.usefixtures("fewer_connections")
def test_ncat_passes_every_check_but_those_of_its_known_faults() -> None:
    ncat = needed("ncat")
    command = f"{ncat} --listen --keep-open --max-conns 1000 --exec /bin/cat 127.0.0.1 {{port}}"
    target = Target.of_command(command, name="ncat")
    results = checked(target, Level.CONCURRENT)
    assert set(failed(results)) <= NCAT_ENDS_EARLY | NCAT_BLOCKS
    assert wrongly_skipped(target, results) == {}


XINETD_DOES_NOT = ("processes.sigint", "processes.second-instance")
"""End: by SIGINT, as it is told by SIGTERM and SIGQUIT alone (xinetd(8)); and where it does not get
the port of a service, as it goes on with those of the others, be there none."""


XINETD_DOES_NOT_OVER_UDP = (
    "datagrams.large",
    "datagrams.largest",
    "datagrams.interleaved",
    "datagrams.burst",
    "datagrams.low-ports",
    "datagrams.own-port",
)
"""Its buffer has 2,048 bytes, it throws away what has come while it answered, and it answers
whatever port a datagram seems to be from."""


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_xinetd_passes_every_check_but_those_of_what_it_does_not(transport: str) -> None:
    needed("xinetd")
    command = f"sh {HERE / 'right_servers' / 'xinetd_echo.sh'} {{port}} {transport}"
    target = Target.of_command(command, transport, name="xinetd")
    over_udp = XINETD_DOES_NOT_OVER_UDP if transport == "udp" else ()
    checks = select_checks(target, target.level, skip=[*XINETD_DOES_NOT, *over_udp])
    with Subject(target, target.level) as subject:
        results = check_target(subject, checks).results
    assert failed(results) == {}
    skipped = wrongly_skipped(target, results)
    assert list(skipped) == ["processes.second-instance-says"]  # of one that ends
