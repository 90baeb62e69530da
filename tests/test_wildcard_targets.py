"""Servers that are bound to all addresses of the machine, and run already, are checked there."""

from pathlib import Path

import pytest

from echoservers.conformance import Outcome, Subject, check_target, select_checks
from echoservers.targets import Level, Target
from support import serving


@pytest.mark.parametrize(
    ("host", "asked"),
    [("0.0.0.0", "127.0.0.1"), ("0.0.0.0", "0.0.0.0"), ("::", "[::1]"), ("::", "[::]")],
)
def test_it_replies_from_each_of_them_and_is_set_at_no_loop(
    host: str, asked: str, folder: Path
) -> None:
    only = ["datagrams.from-where-asked", "datagrams.own-port"]
    with serving("udp", folder, host=host) as server:
        target = Target.of_endpoint(f"udp://{asked}:{server.server_address[1]}")
        with Subject(target, Level.CONCURRENT) as subject:
            checks = select_checks(target, Level.CONCURRENT, only=only)
            where, own_port = check_target(subject, checks, look=False).results
    assert where.outcome is Outcome.PASS, where
    assert own_port.outcome is Outcome.SKIP
    assert "the server itself" in own_port.got
