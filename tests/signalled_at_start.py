"""Starts a server again and again, and sends SIGTERM at another moment each time.

Usage: signalled_at_start.py MODE TRIES FOLDER.  Each try is a fork of this process, which
has imported everything already: the moments are spread over what is left, from the setting
of signal handlers to serving.  Prints a JSON list of ``[delay, exit code, standard error]``.
"""

import json
import os
import select
import signal
import sys
import time
from pathlib import Path

import echoservers.cli.serve  # noqa: F401 - imported once, here
from echoservers import server_class
from echoservers.cli import main
from support import serve_arguments

HANG = 10.0
"""Seconds; what is still running then will never end."""


def start(arguments: list[str]) -> tuple[int, int, int]:
    """Fork a server; its pid, and the reading ends of its standard output and error."""
    output, its_output = os.pipe()
    errors, its_errors = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.dup2(its_output, 1)
            os.dup2(its_errors, 2)
            code = main(arguments)
        finally:
            os._exit(code)
    os.close(its_output)
    os.close(its_errors)
    return pid, output, errors


def try_once(arguments: list[str], delay: float) -> list[object]:
    """Start, wait *delay* seconds, send SIGTERM; how it ended."""
    pid, output, errors = start(arguments)
    deadline = time.perf_counter() + delay
    while time.perf_counter() < deadline:  # finer than any wait
        continue
    os.kill(pid, signal.SIGTERM)
    process = os.pidfd_open(pid)
    if not select.select([process], [], [], HANG)[0]:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    log = os.read(errors, 65536).decode()
    for descriptor in (process, output, errors):
        os.close(descriptor)
    return [delay, os.waitstatus_to_exitcode(status), log]


def time_to_start(arguments: list[str]) -> float:
    """Seconds from the fork to the listening line."""
    began = time.perf_counter()
    pid, output, errors = start(arguments)
    os.read(output, 1)
    took = time.perf_counter() - began
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
    os.close(output)
    os.close(errors)
    return took


def run(mode: str, tries: int, folder: Path) -> None:
    """Print how each of the *tries* ended."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a tool that measures has its own
    server_class(mode)  # imported once, here
    arguments = serve_arguments(mode, folder)
    usual = min(time_to_start(arguments) for _ in range(5))
    delays = (1.5 * usual * number / tries for number in range(tries))
    sys.stdout.write(json.dumps([try_once(arguments, delay) for delay in delays]))


run(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
