"""Servers of datagrams that run already: at all addresses of the machine, or in no hurry."""

import socket
import threading
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


def test_who_serves_one_after_the_other_in_no_hurry_leaves_nobody_out() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]

        def serve() -> None:
            while True:
                data, client = sock.recvfrom(65535)
                if data == b"end":
                    return
                threading.Event().wait(0.3)  # the work that it is
                sock.sendto(data, client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            target = Target.of_endpoint(f"udp://127.0.0.1:{port}")
            with Subject(target, Level.CONCURRENT) as subject:
                checks = select_checks(target, Level.CONCURRENT, only=["datagrams.interleaved"])
                (found,) = check_target(subject, checks, look=False).results
        finally:
            sock.sendto(b"end", ("127.0.0.1", port))
            thread.join()
    assert found.outcome is Outcome.PASS, found
