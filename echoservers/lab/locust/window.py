"""Count only what comes within a measured window, in all workers at the same time.

Locust counts from the first exchange of the first user.  Here, where ``--window`` is given,
the master tells the workers when to begin and when to end, behind a warm-up, and they tell it
how long that was by their own clocks, what it cost, and whom it served; so Locust's own
figures are those of the window.

The master writes how far it is, a word a line, and at the end the result as one line of
JSON, to its standard output.  Between ``finished`` and the result it waits for a line of its
standard input, so that the server can be looked at while all users stand.

Master and workers end where their standard input does: whoever drives them is gone then, maybe
killed, and nobody else would ever stop the load.
"""

import json
import os
import sys
import time
from collections import Counter
from typing import Any

import gevent
import locust
from gevent.event import Event
from gevent.socket import wait_read
from locust import events
from locust.runners import MasterRunner, WorkerRunner

from . import DRIVEN

__all__ = ["WINDOW", "Window"]

ANSWER_TIME = 10.0
"""Seconds for the workers to say that their window is over: a busy one is late."""

PERCENTILES = (0.5, 0.9, 0.99, 0.999)

_BEGIN, _END, _ENDED = "window begins", "window ends", "window ended"


class Window:
    """What a worker counts."""

    def __init__(self) -> None:
        self.open = True
        """Whether what happens now counts; where no window is asked for it always does."""
        self.replies: Counter[int] = Counter()
        """To each user, by its number."""
        self.wrong: str | None = None
        """The first reply that differed, in words."""
        self._began = 0.0, 0.0

    def begin(self) -> None:
        """From now on it counts."""
        self.replies.clear()
        self._began = time.perf_counter(), time.process_time()
        self.open = True

    def end(self) -> dict[str, Any]:
        """From now on it does not; what there was."""
        self.open = False
        began, cpu = self._began
        return {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu,
            "replies": list(self.replies.items()),
            "wrong": self.wrong,
        }


WINDOW = Window()
"""That of this process."""

ASKED = Event()
"""Whether the driver has said that the result can be told."""


def _follow_driver() -> None:
    """Read what the driver says; at its end, end this process as it stands."""
    stdin = sys.stdin.fileno()
    while True:
        wait_read(stdin)
        if not os.read(stdin, 4096):
            os._exit(1)  # sys.exit would end one greenlet alone
        ASKED.set()


if DRIVEN in os.environ:
    gevent.spawn(_follow_driver)


class _Master:
    """Opens and closes the windows of the workers, and writes what came of it."""

    def __init__(self, runner: MasterRunner) -> None:
        self._runner = runner
        self._ended: list[dict[str, Any]] = []
        self._all_ended = Event()
        runner.register_message(_ENDED, self._on_ended)

    def _on_ended(self, environment: Any, msg: Any) -> None:
        # With it comes what the worker has not reported yet.  When it quits it is given half a
        # second for that, which a busy one does not keep.
        environment.events.worker_report.fire(client_id=msg.node_id, data=msg.data.pop("report"))
        self._ended.append(msg.data)
        if len(self._ended) >= len(self._runner.clients):
            self._all_ended.set()

    def measure(self, warmup: float, seconds: float) -> None:
        """Have a window, and end."""
        gevent.sleep(warmup)
        self._runner.send_message(_BEGIN)
        _say("measuring")
        gevent.sleep(seconds)
        self._runner.send_message(_END)
        self._all_ended.wait(ANSWER_TIME)
        _say("measured")
        _say("finished")
        if DRIVEN in os.environ:
            ASKED.wait()
        _say(json.dumps(self._result()))
        self._runner.quit()

    def _result(self) -> dict[str, Any]:
        stats = self._runner.stats
        total = stats.total
        return {
            "version": locust.__version__,
            "workers": self._ended,
            "requests": total.num_requests,
            "failures": total.num_failures,
            "errors": {str(error.error): error.occurrences for error in stats.errors.values()},
            "percentiles": {q: total.get_response_time_percentile(q) for q in PERCENTILES},
            "max": total.max_response_time,
            "exceptions": [each["msg"] for each in self._runner.exceptions.values()],
        }


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@events.init_command_line_parser.add_listener
def _add_arguments(parser: Any) -> None:
    for name, what in (
        ("--window", "measure for S seconds, tell, and end; for programs that drive Locust"),
        ("--warmup", "seconds before the window"),
    ):
        parser.add_argument(
            name, type=float, default=0.0, metavar="S", help=what, include_in_web_ui=False
        )


@events.init.add_listener
def _init(environment: Any, runner: Any, **_others: Any) -> None:
    if isinstance(runner, WorkerRunner):
        runner.register_message(_BEGIN, lambda **_: WINDOW.begin())
        runner.register_message(_END, _on_end)
    elif isinstance(runner, MasterRunner) and environment.parsed_options.window:
        options = environment.parsed_options
        master = _Master(runner)
        environment.events.spawning_complete.add_listener(
            lambda **_: gevent.spawn(master.measure, options.warmup, options.window)
        )


def _on_end(environment: Any, **_others: Any) -> None:
    ended, report = WINDOW.end(), dict[str, Any]()
    runner = environment.runner
    environment.events.report_to_master.fire(client_id=runner.client_id, data=report)
    runner.send_message(_ENDED, {**ended, "report": report})


@events.test_start.add_listener
def _test_start(environment: Any, **_others: Any) -> None:
    """A worker knows by now what the master was given."""
    WINDOW.open = not getattr(environment.parsed_options, "window", 0.0)
