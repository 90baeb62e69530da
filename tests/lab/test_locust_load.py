"""Locust itself, without a page, against real servers: alone, or a master and two workers.

Each of its processes takes seconds to start: several are there where it is about them.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import echoservers
from echoservers.lab import results
from echoservers.lab.load import LoadError, LoadPlan
from echoservers.lab.locust.engine import LocustEngine, LocustResult
from support import ROOT, children_of, state_of, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(150),  # three processes that start in a second, where nobody else runs
    pytest.mark.skipif(find_spec("locust") is None, reason="Locust is not installed"),
]

RUN = ("--users", "4", "--spawn-rate", "4", "--run-time", "4", "--only-summary")
"""Workers report every three seconds; what they have at the end comes only if they are quick."""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@contextmanager
def workers(number: int, port: int) -> Iterator[list["subprocess.Popen[bytes]"]]:
    place = ("--worker", "--master-host", "127.0.0.1", "--master-port", str(port))
    command = [sys.executable, "-m", "echoservers.lab.locust", *place]
    started = [
        subprocess.Popen(
            command, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(number)
    ]
    try:
        yield started
        for worker in started:
            worker.wait(60)
    finally:
        for worker in started:
            worker.kill()
            worker.wait()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Made:
    """What came of one process; with *processes*, of a master and as many workers."""

    def __init__(
        self, endpoint: str, *options: str, folder: Path, processes: int | None = None
    ) -> None:
        port = free_port()
        saved = folder / "stats"
        master = [
            *("--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", str(port)),
            *("--expect-workers", str(processes)),
        ]
        command = [
            *("--headless", "--host", endpoint, *(master if processes else ())),
            *("--json-file", str(saved), "--csv", str(folder / "made"), *RUN, *options),
        ]
        with workers(processes or 0, port) as started:
            done = subprocess.run(
                [sys.executable, "-m", "echoservers.lab.locust", *command],
                env=environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        self.status, self.log = done.returncode, done.stderr
        self.workers = [worker.returncode for worker in started]
        files = [path for path in folder.iterdir() if path.name.startswith("stats")]
        self.stats: list[dict[str, Any]] = json.loads(files[0].read_text()) if files else []
        # One process alone ends before it has written its last failures; a master waits.
        self.failures = (folder / "made_failures.csv").read_text()


@pytest.mark.parametrize(
    ("mode", "options", "processes", "name"),
    [
        ("threading-tcp", (), 2, "64 bytes"),
        ("threading-udp", ("--size", "1000"), None, "1000 bytes"),
        ("threading-tls", (), None, "64 bytes"),
        ("threading-tcp", ("--churn",), 2, "64 bytes, a connection each"),
        ("threading-tcp", ("--size", "1000000"), None, "1000000 bytes"),
    ],
    ids=["tcp", "udp", "tls", "churn", "large"],
)
def test_it_loads_a_server(
    mode: str, options: Sequence[str], processes: int | None, name: str, tmp_path: Path
) -> None:
    with echoservers.start_server(mode, ("127.0.0.1", 0)) as server:
        made = Made(server.endpoint(), *options, folder=tmp_path, processes=processes)
    assert (made.status, made.workers) == (0, [0] * (processes or 0)), made.log
    (entry,) = made.stats
    assert (entry["method"], entry["name"]) == (mode.partition("-")[2], name)
    assert entry["num_failures"] == 0
    assert entry["num_requests"] > 0
    size = int(name.split(maxsplit=1)[0])
    assert entry["total_content_length"] == size * entry["num_requests"]


def test_users_frame_as_the_server_does(tmp_path: Path) -> None:
    class Framed(echoservers.EchoHandler):
        framing_class = echoservers.framing.FRAMINGS["length"]

    with echoservers.start_server("threading-unix-stream", str(tmp_path / "s"), Framed) as server:
        made = Made(server.endpoint(), "--framing", "length", folder=tmp_path)
    assert made.status == 0, made.log
    assert made.stats[0]["method"] == "unix-stream"
    assert made.stats[0]["num_requests"] > 0


class Wrong(echoservers.EchoHandler):
    """Changes a byte of each message."""

    def respond(self, message: bytes) -> bytes:
        return message[:-3] + b"?" + message[-2:]


def test_wrong_bytes_are_failures_and_the_status_1(tmp_path: Path) -> None:
    with echoservers.start_server("threading-tcp", ("127.0.0.1", 0), Wrong) as server:
        made = Made(server.endpoint(), folder=tmp_path, processes=2)
    assert made.status == 1
    (entry,) = made.stats
    assert entry["num_failures"] == entry["num_requests"] > 0
    assert "tcp,64 bytes,the reply differs from what was sent," in made.failures


def test_a_server_that_goes_away_gives_failures_in_plain_words(tmp_path: Path) -> None:
    asked = threading.Event()

    class Tells(echoservers.EchoHandler):
        def respond(self, message: bytes) -> bytes:
            asked.set()
            return message

    def end() -> None:
        asked.wait(30)
        server.abort()
        server.close_listener()

    with echoservers.start_server("threading-tcp", ("127.0.0.1", 0), Tells) as server:
        ender = threading.Thread(target=end)
        ender.start()
        made = Made(server.endpoint(), folder=tmp_path, processes=2)
        ender.join()
    assert made.status == 1
    (entry,) = made.stats
    # Four users who try again five times a second, and not as often as they can.
    assert 0 < entry["num_failures"] <= 4 * 5 * 6
    assert "tcp,64 bytes,nobody listens: the connection was refused," in made.failures
    assert "Traceback" not in made.log


def test_on_the_page_options_are_given_and_mistakes_shown() -> None:
    web = free_port()
    page = f"http://127.0.0.1:{web}"

    def swarm(host: str) -> None:
        fields = {"user_count": 2, "spawn_rate": 2, "host": host, "size": 100, "churn": "false"}
        data = urllib.parse.urlencode(fields).encode()
        urllib.request.urlopen(page + "/swarm", data, timeout=20).close()

    def seen(what: str) -> list[dict[str, Any]]:
        with urllib.request.urlopen(page + "/stats/requests", timeout=20) as reply:
            found: list[dict[str, Any]] = json.load(reply)[what]
            return found

    def shows(name: str) -> bool:
        return any(each["name"] == name for each in seen("stats"))

    def answers() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", web)) == 0

    place = ("--web-host", "127.0.0.1", "--web-port", str(web))
    command = [sys.executable, "-m", "echoservers.lab.locust", *place]
    with (
        echoservers.start_server("threading-tcp", ("127.0.0.1", 0)) as server,
        subprocess.Popen(
            command, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process,
    ):
        try:
            wait_until(answers, "no page")
            swarm("localhost:8007")
            wait_until(lambda: bool(seen("errors")), "no mistake shown")
            assert "'localhost:8007' is no endpoint; expected tcp://" in seen("errors")[0]["error"]
            urllib.request.urlopen(page + "/stop", b"", timeout=20).close()
            swarm(server.endpoint())
            wait_until(lambda: shows("100 bytes"), "no load")
        finally:
            process.kill()


# --- as an engine of compare ----------------------------------------------------------------


def test_a_plan_is_run_in_a_window_and_nothing_is_left() -> None:
    before = children_of(os.getpid())
    phases: list[str] = []
    with echoservers.start_server("threading-tcp", ("127.0.0.1", 0)) as server:
        plan = LoadPlan(server.endpoint(), connections=4, duration=1.0, warmup=1.0)
        result = LocustEngine(2).run(plan, None, phases.append)
    assert isinstance(result, LocustResult)
    assert phases == ["measuring", "measured", "finished"]
    assert result.workers == 2
    assert result.received == result.by_client().sum() > 0
    assert (result.by_client() > 0).sum() == 4
    assert 0.9 < result.seconds < 5
    assert result.cpu_seconds > 0
    assert (result.errors, result.wrong, result.ended) == ({}, None, None)
    assert 0 < result.longest < result.seconds
    assert children_of(os.getpid()) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nobody_loads_the_server_when_compare_has_been_killed(
    number: signal.Signals, tmp_path: Path
) -> None:
    served = set[int]()

    class Tells(echoservers.EchoHandler):
        def setup(self) -> None:
            super().setup()
            served.add(id(self))

        def finish(self) -> None:
            super().finish()
            served.discard(id(self))

    with echoservers.start_server("threading-tcp", ("127.0.0.1", 0), Tells) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "echoservers", "compare", f"--endpoint=it={server.endpoint()}",
             "--engine", "locust", "--experiment", "scaling", "--set", "connections=4",
             "--repeats", "1", "--duration", "300", "--output", str(tmp_path / "made")],
            env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_until(lambda: len(served) == 4, "all users are served", 60)
            started = children_of(process.pid)
            assert len(started) >= 2  # a master and a worker
            process.send_signal(number)
            assert process.wait(30) == (130 if number == signal.SIGTERM else -number)
        finally:
            process.kill()
            process.wait()
        wait_until(lambda: all(state_of(pid) in ("", "Z") for pid in started), "all end", 20)
        wait_until(lambda: not served, "connections have ended", 20)


def test_what_is_wrong_with_a_server_is_told() -> None:
    plan = {"duration": 0.3, "warmup": 0.0}
    with echoservers.start_server("threading-tcp", ("127.0.0.1", 0), Wrong) as server:
        wrong = LocustEngine(1).run(LoadPlan(server.endpoint(), **plan), None, None)  # type: ignore[arg-type]
    assert wrong.received == 0
    assert wrong.wrong is not None
    assert re.match(r"connection 0, message 0, byte 61: expected .*, received '\?", wrong.wrong)
    nobody = f"tcp://127.0.0.1:{free_port()}"
    refused = LocustEngine(1).run(LoadPlan(nobody, **plan), None, None)  # type: ignore[arg-type]
    assert refused.ended == "nobody listens: the connection was refused"


def test_a_locust_that_does_not_run_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "locustfile.py"
    broken.write_text("raise SystemExit('there are no users today')\n")
    monkeypatch.setattr("echoservers.lab.locust.engine.LOCUSTFILE", broken)
    with pytest.raises(LoadError, match="Locust ended: there are no users today"):
        LocustEngine(1).run(LoadPlan("tcp://127.0.0.1:9"), None, None)


def test_compare_saves_what_locust_measured(tmp_path: Path) -> None:
    made = tmp_path / "made"
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "echoservers",
                "compare",
                "threading-tcp",
                "--engine",
                "locust",
            ),
            *("--experiment", "scaling", "--set", "connections=1,4", "--repeats", "1"),
            *("--duration", "0.5", "--warmup", "0.1", "--output", str(made)),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "note: the load is made by Locust" in done.stderr
    found = results.load(made)
    assert found.finished
    assert found.environment["engine"] == "locust"
    assert found.calibration == []
    (experiment,) = found.experiments
    assert [cell.parameters["connections"] for cell in experiment.cells] == [1, 4]
    for cell in experiment.cells:
        assert cell.error is None
        assert cell.figures["throughput"].median > 0
        # On a busy machine its end may come late, and then it says so instead.
        late = any("late to the end of its window" in note for note in cell.notes)
        costs = set() if late else {"server_cpu_per_message"}
        assert costs | {"memory_pss", "threads"} <= set(cell.figures)
        rounded = [cell.figures[name].median for name in ("p50", "p90") if name in cell.figures]
        assert all(value >= 0.001 for value in rounded)
    assert experiment.cells[1].figures["clients_served"].median == 4
    report = (made / "report.html").read_text()
    assert "The load is made by Locust" in report
