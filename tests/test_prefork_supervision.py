"""The master and its workers: replaced, reloaded, added, removed, ended with it."""

import contextlib
import itertools
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from prefork_support import ended_well, line_of, script, served_by, wait_until_ready, workers
from support import (
    PATIENCE,
    Program,
    children_of,
    descriptors_of,
    echo,
    program,
    receive_all,
    receive_exactly,
    serve_arguments,
    state_of,
    wait_until,
    zombies_of,
)
from test_faults import needs_strace, strace

# --- a worker ends ----------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["shared", "flock", "mutex", "handoff", "reuseport"])
def test_a_killed_worker_is_replaced_within_a_second_and_others_do_not_notice(
    accept: str, folder: Path
) -> None:
    with workers("prefork-threading-tcp", folder, "--accept", accept) as (server, listed):
        pids = listed()
        client, own = served_by(server, pids)
        with client:
            for _ in range(3):
                (other,) = set(pids) - {own}
                began = time.monotonic()
                os.kill(other, signal.SIGKILL)
                wait_until(
                    lambda other=other: other not in listed() and len(listed()) == 2, "replaced", 1
                )
                assert time.monotonic() - began < 1
                echo(client)
                pids = wait_until_ready(listed)  # it serves
        assert zombies_of(server.pid) == []
        code, log = server.stop()
    assert code == 0
    assert log.count("was killed by signal 9; another takes its place") == 3
    assert "Traceback" not in log


def test_all_workers_killed_at_once_are_replaced_within_a_second(folder: Path) -> None:
    with workers("prefork-tcp", folder, number=4) as (server, listed):
        old = listed()
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(listed()) == 4 and not set(listed()) & set(old), "replaced", 1)
        with server.connect() as client:
            echo(client)


@pytest.mark.parametrize(
    "mode", ["prefork-tcp", "prefork-threading-tcp", "prefork-prethreading-tcp", "prefork-udp"]
)
def test_a_worker_that_stands_still_is_killed_and_replaced(mode: str, folder: Path) -> None:
    with workers(mode, folder, "--worker-timeout", "1") as (server, listed):
        stopped = listed()[0]
        os.kill(stopped, signal.SIGSTOP)
        wait_until_ready(listed, without=[stopped])
        _, log = server.stop()
    assert log.count(f"worker {stopped} made no turn for 1 s: killed") == 1


def test_a_master_that_stood_still_itself_kills_nobody_for_it(folder: Path) -> None:
    with workers("prefork-tcp", folder, "--worker-timeout", "2") as (server, listed):
        old = set(listed())
        server.process.send_signal(signal.SIGSTOP)
        threading.Event().wait(2.5)  # the time that it stands still
        server.process.send_signal(signal.SIGCONT)
        server.process.send_signal(signal.SIGTTIN)
        assert old < set(wait_until_ready(listed, 3))
        code, log = server.stop()
    assert code == 0
    assert "killed" not in log


def test_with_a_timeout_a_client_that_holds_an_iterative_worker_ends_it(folder: Path) -> None:
    timeout = ["--worker-timeout", "0.3"]
    with workers("prefork-tcp", folder, *timeout) as (server, _), server.connect() as client:
        echo(client)
        assert receive_all(client) == b""


def test_after_max_requests_a_worker_is_replaced_and_nothing_is_lost(folder: Path) -> None:
    with workers("prefork-tcp", folder, "--max-requests", "10") as (server, listed):
        seen = set(listed())
        for _ in range(200):
            with server.connect() as client:
                echo(client)
            seen |= set(listed())
        wait_until(lambda: len(listed()) == 2, "two again")
        assert len(seen) > 2  # not each is seen: some live between two looks
        assert ended_well(*server.stop())


@pytest.mark.parametrize("accept", ["shared", "flock", "mutex"])
def test_datagrams_count_as_requests(accept: str, folder: Path) -> None:
    options = ["--max-requests", "10", "--accept", accept]
    with workers("prefork-udp", folder, *options) as (server, listed):
        first = set(listed())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.connect(server.address)
            for _ in range(30):  # one of the two has more than ten of them
                echo(client)
        wait_until(lambda: bool(first - set(listed())) and len(listed()) == 2, "one is replaced")
        assert ended_well(*server.stop())


def test_sigterm_lets_one_worker_end_when_another_is_in_its_place(folder: Path) -> None:
    with workers("prefork-threading-tcp", folder) as (server, listed):
        client, own = served_by(server, listed())
        with client:
            os.kill(own, signal.SIGTERM)
            wait_until(lambda: len(listed()) == 3, "another is in its place")
            with server.connect() as other:
                echo(other)
            echo(client)  # and it goes on
        wait_until(lambda: own not in listed() and len(listed()) == 2, "it has ended")
        assert ended_well(*server.stop())


# --- a worker cannot start --------------------------------------------------------------

DIES_AT_START = """
import os, sys
from echoservers import EchoHandler, PreforkTCPServer

class Dying(PreforkTCPServer):
    def _prepare_to_serve(self):
        super()._prepare_to_serve()
        if self._link is None:
            return
        if os.path.exists(sys.argv[1]):
            with open(sys.argv[1], "ab") as starts:
                starts.write(b"x")
            os._exit(3)
        os.write(1, b"lives\\n")  # in one piece: the others write as well

with Dying(("127.0.0.1", 0), EchoHandler, workers=2) as server:
    print(server.server_address[1], flush=True)
    try:
        server.serve_forever()
    except OSError as error:
        print(error, flush=True)
"""


def test_workers_that_die_at_start_come_ever_later_and_in_the_end(folder: Path) -> None:
    broken = folder / "broken"
    with script(DIES_AT_START, broken) as process:
        port = int(line_of(process))
        assert [line_of(process), line_of(process)] == ["lives", "lives"]
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            echo(client)  # one was ready, so it never gives up
            broken.touch()
            for pid in children_of(process.pid):
                os.kill(pid, signal.SIGKILL)
        threading.Event().wait(1.5)
        # 2 at once, 2 more, then 0.1, 0.2, 0.4, 0.8 s apart, each time 2; hundreds otherwise
        assert 4 <= broken.stat().st_size <= 12
        broken.unlink()
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            echo(client)
        process.kill()
        assert process.stderr is not None
        assert process.stderr.read().count("workers die at their start") == 1


def test_a_server_of_which_no_worker_was_ever_ready_gives_up(folder: Path) -> None:
    broken = folder / "broken"
    broken.touch()
    with script(DIES_AT_START, broken) as process:
        line_of(process)
        assert "died at their start and none was ever ready" in line_of(process)
        assert process.wait(PATIENCE) == 0
    assert broken.stat().st_size < 12


@needs_strace
def test_without_a_process_the_master_goes_on_trying(folder: Path) -> None:
    inject = strace("clone:error=EAGAIN:when=1..2")
    with program(*serve_arguments("prefork-tcp", folder), wrapper=inject) as server:
        with server.connect() as client:
            echo(client)
        os.kill(children_of(server.pid)[0], signal.SIGTERM)  # strace is its parent
        code, log = server.ended()
    assert code == 0
    assert "no worker can be started: Resource temporarily unavailable" in log


# --- changes while it serves ------------------------------------------------------------


class Load:
    """Clients that come one after the other, each with a question of its own."""

    def __init__(self, server: Program, at_once: int = 2) -> None:
        self._server = server
        self._ended = False
        self.answered = itertools.count()
        self.lost: list[str] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(at_once)]

    def _run(self) -> None:
        while not self._ended:
            question = b"question %d" % next(self.answered)
            try:
                with self._server.connect() as client:
                    client.sendall(question)
                    answer = receive_exactly(client, len(question))
            except OSError as error:
                answer = str(error).encode()
            if answer != question:
                self.lost.append(f"{question!r}: {answer!r}")

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("accept", ["shared", "flock", "mutex", "handoff", "reuseport"])
@pytest.mark.parametrize("mode", ["prefork-tcp", "prefork-threading-tcp"])
def test_a_reload_under_load_loses_nothing(mode: str, accept: str, folder: Path) -> None:
    with workers(mode, folder, "--accept", accept) as (server, listed):
        with Load(server) as load:
            for _ in range(2):
                old = set(listed())
                server.process.send_signal(signal.SIGHUP)
                wait_until(lambda old=old: not old & set(listed()), "all are new")
        assert load.lost == []
        assert next(load.answered) > 10
        assert len(listed()) == 2
        assert ended_well(*server.stop())


@pytest.mark.parametrize("accept", ["shared", "reuseport", "handoff"])
def test_workers_are_added_and_removed_by_signals(accept: str, folder: Path) -> None:
    with workers("prefork-tcp", folder, "--accept", accept) as (server, listed):
        with Load(server, 1) as load:
            for number in (3, 4):
                server.process.send_signal(signal.SIGTTIN)
                wait_until(lambda number=number: len(listed()) == number, "one more")
            for number in (3, 2, 1):
                server.process.send_signal(signal.SIGTTOU)
                wait_until(lambda number=number: len(listed()) == number, "one less")
            server.process.send_signal(signal.SIGTTOU)  # one stays
        assert load.lost == []
        with server.connect() as client:
            echo(client)
        assert len(listed()) == 1


@pytest.mark.parametrize("accept", ["shared", "reuseport"])
def test_a_worker_that_is_removed_serves_those_it_has_to_their_end(
    accept: str, folder: Path
) -> None:
    with (
        workers("prefork-threading-tcp", folder, "--accept", accept) as (server, listed),
        contextlib.ExitStack() as clients,
    ):
        pids = listed()
        served: dict[int, socket.socket] = {}
        while len(served) < 2:
            client, pid = served_by(server, pids)
            served[pid] = clients.enter_context(client)
        last = pids[-1]  # the one that goes
        before = descriptors_of(last)
        server.process.send_signal(signal.SIGTTOU)
        wait_until(
            lambda: state_of(last) == "" or descriptors_of(last) < before,
            "it has left the listener",
        )
        for client in served.values():
            echo(client)
        clients.close()
        wait_until(lambda: len(listed()) == 1, "one less")
        assert ended_well(*server.stop())


def test_a_worker_killed_under_load_costs_only_what_it_was_serving(folder: Path) -> None:
    with workers("prefork-tcp", folder) as (server, listed):
        with Load(server) as load:
            for _ in range(5):
                killed = listed()[0]
                os.kill(killed, signal.SIGKILL)
                wait_until_ready(listed, without=[killed])
        assert len(load.lost) <= 5
        code, log = server.stop()
    assert code == 0
    assert "Traceback" not in log
