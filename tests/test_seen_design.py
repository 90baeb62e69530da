"""The design of a server, told from its processes and threads alone."""

import shutil
import sys
from pathlib import Path

import pytest

from echoservers.conformance import (
    CheckSkipped,
    Outcome,
    Subject,
    check_target,
    design,
    select_checks,
)
from echoservers.conformance.design import DESIGNS, Design, neutral_name, seen_design
from echoservers.errors import OptionError
from echoservers.targets import Target
from echoservers.targets.watch import CannotWatch
from support import AVAILABLE

RIGHT = Path(__file__).with_name("right_servers")

SOME = ("iterative", "threading", "forking", "prethreading", "poll")
"""Over Unix sockets and TLS, where the designs look as over TCP."""

STREAMS = [
    name
    for name in AVAILABLE
    if (name.endswith("tcp") and not name.startswith("prefork"))
    or name in {f"{model}-{transport}" for model in SOME for transport in ("tls", "unix-stream")}
]
PREFORKED = [
    "prefork-tcp:workers=2",
    "prefork-tcp:workers=1",
    "prefork-epoll-tcp:workers=2",
    "prefork-threading-unix-stream:workers=2",
    "prefork-udp:workers=2",
]
DATAGRAMS = ["udp", "threading-udp", "forking-udp", "thread-pool-udp", "prethreading-udp"]
PROGRAMS = {
    "socat TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog=128 EXEC:cat": (
        "process-per-connection"
    ),
    "ncat -l -k -e /bin/cat 127.0.0.1 {port}": "process-per-connection",
    f"node {RIGHT / 'node_echo.js'} {{port}}": "event-loop",
    f"sh {RIGHT / 'xinetd_echo.sh'} {{port}}": "process-per-connection",
}


def _seen(target: Target) -> str | None:
    with Subject(target, target.level) as subject:
        seen = seen_design(subject)
        assert seen_design(subject) is seen  # it is not looked for twice
        assert seen.evidence
        return seen.name


@pytest.mark.parametrize("spec", STREAMS + PREFORKED + DATAGRAMS)
def test_modes_of_ours(spec: str) -> None:
    model = spec.partition(":")[0].rpartition("-")[0]
    model = model.removesuffix("-unix")
    expected = neutral_name(model or "iterative")
    looks = [_seen(Target.of_mode(spec))]
    if looks != [expected]:  # on a busy machine a look may be blurred, but not two of three
        looks += [_seen(Target.of_mode(spec)) for _ in range(2)]
    assert looks.count(expected) > len(looks) / 2


@pytest.mark.parametrize("command", PROGRAMS, ids=lambda command: command.split()[0])
def test_programs(command: str) -> None:
    words = command.split()
    needed = "xinetd" if words[0] == "sh" else words[0]
    if shutil.which(needed) is None:
        pytest.skip(f"{needed} is not installed")
    assert _seen(Target.of_command(command)) == PROGRAMS[command]


LAZY_POOL = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
def serve(client):
    with client:
        while data := client.recv(65536):
            client.sendall(data)
with ThreadPoolExecutor(%d) as pool:
    while True:
        pool.submit(serve, listener.accept()[0])
"""


@pytest.mark.parametrize("most", [5, 100])
def test_a_pool_that_grows(most: int, tmp_path: Path) -> None:
    """It has as many threads as clients, too, but keeps them."""
    (tmp_path / "pool.py").write_text(LAZY_POOL % most)
    command = f"{sys.executable} {tmp_path / 'pool.py'} {{port}}"
    assert _seen(Target.of_command(command)) == "thread-pool"


def test_expecting_a_design() -> None:
    target = Target.of_mode("epoll-tcp")
    checks = select_checks(target, target.level, only=["design"], design=True)
    with Subject(target, target.level) as subject:
        for name, failures in (("asyncio", 0), ("event-loop", 0), ("forking", 1)):
            subject.expected_design = name
            report = check_target(subject, checks)
            assert len(report.failed) == failures
            assert report.design is not None
            assert report.design.startswith("event-loop: processes/threads 1/1 with 0")
        assert report.failed[0].expected == "process-per-connection"
        assert report.failed[0].got == report.design


@pytest.mark.parametrize(
    ("why", "said"),
    [
        (Design(None, "no client was answered"), "unknown: no client was answered"),
        (CheckSkipped("this system does not tell"), "unknown: this system does not tell"),
        (CannotWatch("this user may not look"), "unknown: this user may not look"),
    ],
    ids=["not told", "skipped", "not seen"],
)
def test_an_expected_design_that_cannot_be_told_is_a_failure(
    why: Design | Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(subject: Subject) -> Design:
        if isinstance(why, Exception):
            raise why
        return why

    monkeypatch.setattr(design, "seen_design", look)
    target = Target.of_mode("tcp")
    checks = select_checks(target, target.level, only=["design"], design=True)
    with Subject(target, target.level) as subject:
        subject.expected_design = "iterative"
        (result,) = check_target(subject, checks, look=False).results
    assert (result.outcome, result.expected, result.got) == (Outcome.FAIL, "iterative", said)


def test_no_design_is_expected_unless_asked_for() -> None:
    target = Target.of_mode("tcp")
    assert not [c for c in select_checks(target, target.level) if c.group == "design"]


def test_names() -> None:
    assert all(neutral_name(name) == name for name in DESIGNS)
    assert neutral_name("prefork-epoll") == "preforked"
    assert neutral_name("echoservert") == "thread-per-connection"
    assert neutral_name("uvloop") == "event-loop"
    with pytest.raises(OptionError, match=r"no design 'forkin' \(did you mean forking\?\)"):
        neutral_name("forkin")
