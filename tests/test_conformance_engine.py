"""How checks are found, chosen and run, and how their clients look at a server."""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import echoservers
from check_samples import PRINTS_FOR_EVER, write
from echoservers import EchoHandler, EchoServersError
from echoservers.conformance import (
    CHECKS,
    CheckFailed,
    CheckSkipped,
    Outcome,
    Peer,
    Result,
    Subject,
    check_target,
    select_checks,
)
from echoservers.conformance.crowd import Crowd
from echoservers.conformance.engine import SUBJECTS
from echoservers.conformance.messages import MIB, numbered_lines
from echoservers.targets import Level, RunningTarget, Target
from strange_servers import Strange
from support import PATIENCE, serving, wait_until

BROKEN = Path(__file__).parent / "broken_servers"


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket], None], patience: float = 0.5) -> Iterator[Peer]:
    """A peer whose connection *answer* serves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        with Peer(f"tcp://127.0.0.1:{port}", patience, deadline=float("inf")) as peer:
            yield peer
        thread.join(PATIENCE)


def saying(data: bytes) -> Callable[[socket.socket], None]:
    """Sends *data* to whoever says something, and ends with the input."""

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(data)
        while connection.recv(65536):
            pass

    return answer


def print_for_ever(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has hung up
        while True:
            connection.sendall(b"all work and no play " * 1000)


def url_of(server: Any) -> str:
    """The endpoint of a TCP server."""
    return f"tcp://127.0.0.1:{server.server_address[1]}"


def run(name: str, *only: str, scale: float = 0.25, repeat: int = 1) -> list[Result]:
    """Some checks of one of the broken servers."""
    broken = Strange.read(BROKEN / name)
    target = broken.target(BROKEN)
    with Subject(target, broken.level, scale) as subject:
        checks = select_checks(target, broken.level, only=only)
        return check_target(subject, checks, repeat=repeat).results


class TestChecks:
    def test_each_says_what_it_requires_and_where_that_stands(self) -> None:
        for check in CHECKS.values():
            assert check.group in SUBJECTS
            assert check.requirement.endswith(".")
            assert check.source
            assert check.id == check.id.lower().replace("_", "-")

    def test_they_are_in_the_order_of_their_subjects(self) -> None:
        groups = [check.group for check in CHECKS.values()]
        assert groups == sorted(groups, key=SUBJECTS.index)

    def test_they_are_chosen_by_id_and_by_group(self) -> None:
        target = Target.of_mode("threading-tcp")
        chosen = select_checks(
            target, Level.CONCURRENT, only=["bytes", "streams.large"], skip=["bytes.nul"]
        )
        names = [check.id for check in chosen]
        assert "streams.large" in names
        assert "bytes.echo" in names
        assert "bytes.nul" not in names
        assert {name.partition(".")[0] for name in names} == {"bytes", "streams"}

    def test_an_unknown_one_is_named_with_one_like_it(self) -> None:
        with pytest.raises(EchoServersError, match=r"no group 'bytes\.nil' .*bytes\.nul"):
            select_checks(Target.of_mode("tcp"), Level.ITERATIVE, only=["bytes.nil"])

    def test_the_level_leaves_out_what_a_server_cannot_do(self) -> None:
        target = Target.of_mode("threading-tcp")
        by_level = [{c.id for c in select_checks(target, level)} for level in Level]
        assert by_level[0] < by_level[1] < by_level[2]
        assert "clients.silent" in by_level[1] - by_level[0]
        assert "clients.crowd" in by_level[2] - by_level[1]

    def test_a_server_that_waits_for_lines_is_asked_for_lines(self) -> None:
        target = Target.of_mode("threading-tcp")
        every = select_checks(target, Level.CONCURRENT)
        lines = select_checks(target, Level.CONCURRENT, lines=True)
        assert {c.id for c in every} - {c.id for c in lines} == {c.id for c in every if c.unframed}

    def test_a_server_of_datagrams_has_checks_of_its_own(self) -> None:
        chosen = select_checks(Target.of_mode("udp"), Level.ITERATIVE)
        assert chosen
        assert "streams" not in {check.group for check in chosen}


class TestRuns:
    def test_a_server_that_runs_already_is_checked_where_it_is(self) -> None:
        with echoservers.start_server("threading-tcp", ("127.0.0.1", 0), EchoHandler) as server:
            target = Target.of_endpoint(url_of(server))
            with Subject(target, Level.CONCURRENT) as subject:
                told: list[Result] = []
                checks = select_checks(target, Level.CONCURRENT, only=["bytes", "faults"])
                report = check_target(subject, checks, told.append)
        assert report.failed == []
        assert told == report.results
        assert [result.check for result in told] == checks

    def test_a_failure_says_what_was_expected_and_what_came_in_hexadecimal(self) -> None:
        (result,) = run("translates_line_ends.py", "bytes.line-ends")
        assert result.outcome is Outcome.FAIL
        assert result.expected.startswith("at byte 3: 6f 6e 65 0d")
        assert result.got.startswith("6f 6e 65 0a")
        assert "|one." in result.got

    def test_each_check_begins_with_a_server_that_runs(self) -> None:
        results = run("dies_of_reset.py", "bytes.echo", "faults")
        outcomes = {result.check.id: result.outcome for result in results}
        assert outcomes["bytes.echo"] is Outcome.PASS
        assert outcomes["faults.reset"] is Outcome.FAIL
        assert outcomes["faults.gone-in-mid-line"] is Outcome.PASS

    def test_the_end_of_a_server_is_told_with_its_last_words(self) -> None:
        (result,) = run("dies_of_reset.py", "faults.reset")
        assert "the server ended with status 1; it said: " in result.got
        assert "ConnectionResetError" in result.got

    def test_a_server_that_takes_a_while_to_end_is_waited_for(self, folder: Path) -> None:
        """On a busy machine a traceback takes that long."""
        text = (BROKEN / "dies_of_reset.py").read_text()
        (folder / "slow.py").write_text(
            text.replace("import socket\n", "import atexit, socket, threading\n").replace(
                "with socket", "atexit.register(threading.Event().wait, 0.4)\nwith socket"
            )
        )
        target = Target.of_command(f"{sys.executable} {folder}/slow.py {{port}}")
        with Subject(target, Level.ITERATIVE) as subject:
            (result,) = check_target(subject, [CHECKS["faults.reset"]], look=False).results
        assert "the server ended with status 1; it said: " in result.got

    def test_what_an_earlier_check_has_ended_is_not_this_ones_fault(self) -> None:
        results = run("ends_with_first_client.py", "bytes", "clients.one-after-another", scale=0.5)
        failed = [result.check.id for result in results if result.outcome is Outcome.FAIL]
        assert failed == ["clients.one-after-another"]

    def test_what_cannot_be_asked_is_skipped_with_the_reason(self) -> None:
        (result,) = run("closes_after_first_line.py", "bytes.no-commands")
        assert result.outcome is Outcome.SKIP
        assert "streams.stays-open" in result.got

    def test_one_failure_of_several_runs_is_a_failure(self) -> None:
        fails = iter([None, CheckFailed("it", "that"), None])

        def sometimes(_: Subject) -> None:
            if failure := next(fails):
                raise failure

        target = Target.of_mode("threading-tcp")
        check = CHECKS["bytes.echo"]._replace(run=sometimes)
        with Subject(target, Level.CONCURRENT) as subject:
            report = check_target(subject, [check], repeat=3)
        assert [(r.outcome, r.expected, r.got) for r in report.results] == [
            (Outcome.FAIL, "it", "that")
        ]

    @pytest.mark.parametrize(
        ("name", "least"),
        [
            ("streams.no-greeting", 0.2),
            ("streams.idle", 0.6),
            ("streams.back-pressure", 0.15),
            ("streams.nothing-more", 0.2),
        ],
    )
    def test_waits_grow_with_the_scale_and_never_shrink(self, name: str, least: float) -> None:
        target = Target.of_mode("threading-tcp")
        for scale in (0.25, 3.0):
            with Subject(target, Level.CONCURRENT, scale) as subject:
                (result,) = check_target(subject, [CHECKS[name]], look=False).results
            assert result.outcome is Outcome.PASS
            assert result.seconds >= least * max(1.0, scale)

    def test_the_lowest_scale_shortens_no_wait(self) -> None:
        with echoservers.start_server("threading-tcp", ("127.0.0.1", 0)) as server:
            target = Target.of_endpoint(url_of(server))
            with Subject(target, Level.CONCURRENT, 0.01) as subject:
                checks = [CHECKS["streams.no-greeting"]]
                (result,) = check_target(subject, checks, look=False).results
        assert result.outcome is Outcome.PASS
        assert result.seconds >= 0.2

    def test_a_check_of_processes_needs_a_server_that_was_started_here(self) -> None:
        with echoservers.start_server("threading-tcp", ("127.0.0.1", 0)) as server:
            target = Target.of_endpoint(url_of(server))
            with (
                Subject(target, Level.CONCURRENT) as subject,
                pytest.raises(CheckSkipped, match="not started here"),
            ):
                subject.started()


class TestPeers:
    def test_hears_words_whatever_is_around_them(self) -> None:
        with answering(saying(b"Welcome!\n[now] hello, you\r\n")) as peer:
            peer.say(b"hello\n")
            assert peer.hear(b"hello\n") == b"Welcome!\n[now] hello"
            peer.expect(b", you\r\n")

    def test_the_end_of_a_line_is_part_of_its_words_if_it_comes(self) -> None:
        with answering(saying(b"hello\nmore")) as peer:
            peer.say(b"hello\n")
            peer.hear(b"hello\n")
            peer.expect(b"more")
            peer.finish()
            peer.expect_end()

    def test_words_that_do_not_come_are_shown_beside_what_does(self) -> None:
        with answering(saying(b"HELLO\n")) as peer:
            peer.say(b"hello\n")
            with pytest.raises(CheckFailed, match=r"at byte 0: 68 .* got 48 45 4c 4c 4f 0a"):
                peer.hear(b"hello\n")

    def test_a_server_that_waits_for_the_end_is_told_so_once(self) -> None:
        def answer_at_end(connection: socket.socket) -> None:
            data = connection.recv(100)
            assert connection.recv(100) == b""
            connection.sendall(data)

        with answering(answer_at_end) as peer:
            peer.ask(b"hello\n")
            assert peer.has_ended

    def test_when_the_time_for_the_check_is_over_that_is_what_is_told(self) -> None:
        with answering(saying(b"")) as peer:
            peer.say(b"hello\n")
            peer._deadline = time.monotonic() - 1
            with pytest.raises(CheckFailed, match="then the time for the whole check is over"):
                peer.expect(b"hello\n", last=True)

    def test_the_first_difference_is_shown_with_what_is_around_it(self) -> None:
        lines = numbered_lines(6400)
        wrong = lines[:3000] + b"\xff" + lines[3001:]
        difference = r"at byte 3000: .* got 30 .* ff 30"
        with answering(saying(wrong)) as peer, pytest.raises(CheckFailed, match=difference):
            peer.echo(lines)

    def test_what_is_missing_is_counted(self) -> None:
        count = r"6 bytes: .* got 3 of 6, then nothing more"
        with answering(saying(b"hel")) as peer, pytest.raises(CheckFailed, match=count):
            peer.echo(b"hello\n")

    def test_something_where_nothing_should_be_is_shown(self) -> None:
        with answering(saying(b"hello\n> ")) as peer:
            peer.say(b"hello\n")
            peer.hear(b"hello\n")
            with pytest.raises(CheckFailed, match=r"expected nothing; got 2 bytes: 3e 20 \|> \|"):
                peer.expect_silence(0.1)

    def test_silence_is_not_seen_when_the_time_of_the_check_is_over(self) -> None:
        with answering(saying(b"")) as peer:
            peer._deadline = time.monotonic() + 0.05
            with pytest.raises(CheckFailed, match=r"expected nothing for 0\.1 s"):
                peer.expect_silence(0.1)

    def test_whoever_leaves_reads_what_the_server_still_says(self, folder: Path) -> None:
        with (
            serving("threading-tls", folder) as server,
            Peer(server.endpoint(), PATIENCE, deadline=float("inf")) as peer,
        ):
            peer.stuff(64 * MIB, 0.15)
            began = time.monotonic()
            peer.leave()
            assert time.monotonic() - began < PATIENCE
            assert peer.receive() == b""

    def test_a_server_that_prints_for_ever_is_heard_no_longer_than_needed(self) -> None:
        with answering(print_for_ever) as peer, pytest.raises(CheckFailed):
            peer.hear(b"hello\n")

    def test_the_end_of_what_never_ends_costs_the_time_of_the_check(self) -> None:
        with answering(print_for_ever, PATIENCE) as peer:
            peer._deadline = time.monotonic() + 0.3
            with pytest.raises(CheckFailed, match=r"end of stream; got \d+ bytes more, and no end"):
                peer.expect_end(ignore=True)

    @pytest.mark.timeout(30)
    def test_a_crowd_gets_on_with_a_server_that_prints_for_ever(self, folder: Path) -> None:
        write(folder, server=PRINTS_FOR_EVER)
        target = Target.of_command(f"{sys.executable} {folder}/server.py {{port}}")
        with RunningTarget(target) as running, Crowd(running.endpoint) as crowd:
            assert crowd.grow(2, 1.0, 2.0) == 2
            assert crowd.ask(0, 1.0)

    def test_a_client_that_was_let_go_is_not_served(self) -> None:
        broken = Strange.read(BROKEN / "closes_after_first_line.py")
        with RunningTarget(broken.target(BROKEN)) as running, Crowd(running.endpoint) as crowd:
            crowd.grow(3, 1.0, 2.0)
            assert crowd.answered == 3
            wait_until(lambda: crowd.served == [], "the server has closed all connections")

    def test_a_reset_is_one(self) -> None:
        seen: list[BaseException] = []

        def wait(connection: socket.socket) -> None:
            try:
                connection.recv(100)
            except ConnectionResetError as error:
                seen.append(error)

        with answering(wait) as peer:
            peer.reset()
        assert len(seen) == 1

    def test_nobody_there_is_a_failure(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with pytest.raises(CheckFailed, match="expected a connection; got connection refused"):
            Peer(f"tcp://127.0.0.1:{port}", 0.5, deadline=float("inf"))


def test_numbered_lines_are_all_different() -> None:
    lines = numbered_lines(640)
    assert len(lines) == 640
    assert len(set(lines.splitlines())) == 10
    assert numbered_lines(100).endswith(b"\n")
    assert len(numbered_lines(100)) == 100
