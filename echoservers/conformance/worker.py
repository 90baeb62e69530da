"""Checks the targets that it is given, one after the other: started as a program by `pool`.

    python -m echoservers.conformance.worker

A line of standard input is a job, a line of standard output what happened: ``check`` (one
has begun), ``result``, ``ended``, ``error``.  The end of the input means that whoever asked
has gone, however that came: the check in progress is interrupted, what it has started ended,
and so is this.

It is a process of its own, since two checks in one would disturb each other: they share
an interpreter lock and a limit of descriptors.  And so a fault of ours costs one target.
"""

import contextlib
import json
import os
import queue
import signal
import sys
import tempfile
import threading
import traceback
from typing import Any

from ..errors import EchoServersError
from ..targets import RunningTarget, TargetError
from ..targets.limits import raise_own_descriptors
from .engine import CHECKS, Check, Report, Result
from .job import Job, result_to
from .runner import check_target
from .subject import Subject

END_TIME = 10.0
"""Seconds to end what was started after the interruption; then the supervisors do it alone."""


def say(event: str, **fields: Any) -> None:
    """One line to whoever started us.

    :raises KeyboardInterrupt: a job is in progress, and nobody is there any more.
    """
    line = json.dumps({"event": event, **fields}).encode() + b"\n"
    try:
        while line:
            line = line[os.write(1, line) :]
    except BrokenPipeError:
        signal.raise_signal(signal.SIGINT)  # as at the end of the input, which may come later


class Orders(threading.Thread):
    """Reads the jobs; interrupts the main thread at the end of the input."""

    def __init__(self) -> None:
        super().__init__(daemon=True)  # it waits for input when all is over
        self.jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.busy = False
        """Whether the main thread checks, and is to be interrupted."""
        self.have_ended = False
        """Whether nobody is there any more to hear what comes of it."""

    def run(self) -> None:
        """Until the input ends."""
        for line in sys.stdin.buffer:
            self.jobs.put(Job.from_json(json.loads(line)))
        self.have_ended = True
        self.jobs.put(None)
        os.kill(os.getpid(), signal.SIGINT)  # out of whatever the check waits for
        threading.Event().wait(END_TIME)
        os._exit(1)


def run_job(job: Job) -> dict[str, Any]:
    """Check one target, and say how that goes; the event with which it ends."""
    with contextlib.ExitStack() as stack:
        if job.temporary:
            # What it has written may be unreadable by now; that must not stop the others.
            folder = tempfile.TemporaryDirectory(prefix="echo", ignore_cleanup_errors=True)
            job = _in_folder(job, stack.enter_context(folder))
        try:
            report = _check(job)
        except (EchoServersError, OSError) as error:
            return {"event": "error", "message": str(error)}
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{os.path.basename(place.filename)}:{place.lineno}"
            message = f"a fault in the checker at {where}: {error!r}"
            return {"event": "error", "message": message}
        return {"event": "ended", "design": report.design}


def _in_folder(job: Job, folder: str) -> Job:
    fields = (*job.target.fields, ("{dir}", folder))
    return job._replace(target=job.target._replace(directory=folder, fields=fields))


def _check(job: Job) -> Report:
    if job.build:
        _build(job)
    with Subject(job.target, job.level, job.timeout_scale, job.limits, job.beside) as subject:
        subject.expected_design = job.expect_design
        checks = [CHECKS[name] for name in job.checks]
        return check_target(subject, checks, _tell, job.repeat, job.look, _begin)


def _begin(check: Check) -> None:
    say("check", id=check.id)


def _tell(result: Result) -> None:
    say("result", **result_to(result))


def _build(job: Job) -> None:
    """Run the build step to its end.

    :raises TargetError: it fails.
    """
    target = job.target._replace(command=job.build)
    with RunningTarget(target, listens=False, limits=job.limits) as running:
        running.wait(None)
        if running.limit is not None:
            raise TargetError(f"the build was killed: {running.limit}")
        if running.status != 0:
            raise TargetError(f"the build ended with status {running.status}{running.said()}")


def main() -> None:
    """Run jobs until the input ends."""
    raise_own_descriptors()
    orders = Orders()

    def interrupt(*_: object) -> None:
        if orders.busy:
            orders.busy = False
            raise KeyboardInterrupt

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, interrupt)
    orders.start()
    while (job := orders.jobs.get()) is not None:
        try:
            orders.busy = True
            last = run_job(job)
            orders.busy = False  # first: a job ends once, whatever signal comes now
            say(**last)
        except KeyboardInterrupt:
            if orders.have_ended:
                break
            # By a signal to this process alone: whoever asked waits for an answer.
            say("error", message="interrupted by a signal to the checker")
    os._exit(0)  # the other thread would wait


if __name__ == "__main__":
    main()
