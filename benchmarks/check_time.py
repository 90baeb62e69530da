"""How long `check` takes, against its limits.

    python benchmarks/check_time.py
    python benchmarks/check_time.py --all --submissions

The first checks `threading-tcp` and socat; the second every mode that is available, and forty
submissions, too, which are the first of `tests/broken_servers`: what never comes is waited for,
so they take longer than right ones would.  Ends with status 1 when a limit was missed, or a check
did not end as it should.  The limits are those for two processors.  It needs the extras ``lab``
and ``test``, as it reads what the wrong servers say of themselves.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from echoservers.targets import Level
from machine import describe_machine, load_average
from strange_servers import strange_servers
from tables import Row, table

ROOT = Path(__file__).resolve().parent.parent
SUBMISSIONS = 40
SOCAT = "socat TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,backlog=128 EXEC:/bin/cat"


class Task(NamedTuple):
    """One run of `check`."""

    name: str
    arguments: Sequence[str]
    limit: float  # seconds
    status: int = 0  # with which it ends, when all is as it should be


def main(arguments: Sequence[str] | None = None) -> int:
    """Time and print; 1 when a limit was missed, else 0."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    add = parser.add_argument
    add("--all", action="store_true", help="every mode that is available, too: minutes")
    add("--submissions", action="store_true", help=f"{SUBMISSIONS} submissions, too: minutes")
    options = parser.parse_args(arguments)
    for name, value in describe_machine().items():
        print(f":{name}: {value}")
    with tempfile.TemporaryDirectory() as folder:
        rows = [timed(task) for task in tasks(options, Path(folder))]
    print(f":Load average after: {load_average()}\n")
    print(table("How long check takes", ["what", "took", "limit", "outcome"], rows))
    return int(any(row[-1] != "reached" for row in rows))


def tasks(options: argparse.Namespace, folder: Path) -> Iterator[Task]:
    """What is to be timed; submissions are put into `folder`."""
    yield Task("``threading-tcp``", ["threading-tcp"], 15)
    if shutil.which("socat"):
        yield Task("socat", ["--command", SOCAT], 15)
    else:
        print("socat is not installed", file=sys.stderr)
    if options.all:
        yield Task("every mode", ["--all"], 3 * 60)
    if options.submissions:
        put_submissions(folder)
        command = f"{sys.executable} {{file}} {{port}}"
        graded = ["--submissions", str(folder), "--command", command]
        yield Task(f"{SUBMISSIONS} submissions", graded, 12 * 60, status=1)


def put_submissions(folder: Path) -> None:
    """Copy wrong servers of one kind: of Python, over TCP, for many clients at a time."""
    fit = [
        broken.path
        for broken in strange_servers("broken_servers")
        if (broken.path.suffix, broken.transport, broken.level) == (".py", "tcp", Level.CONCURRENT)
    ]
    for path in fit[:SUBMISSIONS]:
        shutil.copy(path, folder)


def timed(task: Task) -> Row:
    """Run `task`, and put the time that it took into a row."""
    command = [sys.executable, "-m", "echoservers", "check", *task.arguments]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    began = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": paths}
    ran = subprocess.run(command, check=False, env=environment, stdout=subprocess.PIPE, text=True)
    took = time.perf_counter() - began
    outcome = "reached" if took <= task.limit else "**missed**"
    if ran.returncode != task.status:
        print(ran.stdout, file=sys.stderr)  # with the reasons
        outcome = f"**status {ran.returncode}, not {task.status}**"
    return [task.name, f"{took:.1f} s", f"{task.limit:g} s", outcome]


if __name__ == "__main__":
    sys.exit(main())
