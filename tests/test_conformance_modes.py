"""Every mode of ours passes every check of its level, as any other server has to.

A share of the modes here, all of them in the environments together (chosen_modes.py).
"""

import os

import pytest

from chosen_modes import SHARE
from echoservers.conformance import (
    Subject,
    check_target,
    clients,
    leaks,
    processes,
    select_checks,
)
from echoservers.targets import Target
from strange_servers import wrongly_skipped

ALWAYS = ("threading-tcp", "udp")
"""Where the coverage is measured, these show what the checks do; the others would measure each
process of a server, for minutes."""

NAMES = [
    *ALWAYS,
    *(pytest.param(name, marks=pytest.mark.checks) for name in SHARE if name not in ALWAYS),
]


@pytest.mark.parametrize("name", NAMES)
def test_it_passes_every_check(
    name: str, own: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # 10 000 connections have a test of their own, marked `stress`.
    monkeypatch.setattr(clients, "ONE_AFTER_THE_OTHER", 200)
    # A process or a handshake for each takes milliseconds; so does a certificate for each of the
    # servers that are started.
    if name.startswith("forking") or name.endswith("-tls"):
        monkeypatch.setattr(clients, "CROWD", 100)
    options = f":certfile={own['certfile']}" if name.endswith("-tls") else ""
    target = Target.of_mode(name + options, name)
    skip = []
    # Of every thread that there was, coverage keeps what measured it; and the heap of a loop with
    # TLS is swept after thousands of handshakes only, of which its preforked modes are spared: what
    # works in their workers is searched in its own mode.
    if "COVERAGE_RUN" in os.environ or (name.startswith("prefork-") and name.endswith("-tls")):
        skip = ["processes.memory"]
        others = [leak for leak in leaks.LEAKS if leak is not leaks.MEMORY]
        for module in (leaks, processes):
            monkeypatch.setattr(module, "LEAKS", others)
    with Subject(target, target.level) as subject:
        report = check_target(subject, select_checks(target, target.level, skip=skip))
    assert [(r.check.id, r.expected, r.got) for r in report.failed] == []
    assert wrongly_skipped(target, report.results) == {}
    assert report.results
