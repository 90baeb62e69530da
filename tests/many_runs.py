"""Runs the command line many times, each in a fork of this process: quicker than new ones.

Reads a JSON list of argument lists from standard input; prints a JSON list of
``[exit code, standard output, standard error]``.
"""

import json
import os
import select
import signal
import sys
import tempfile
import traceback

import echoservers.cli.client
import echoservers.cli.modes
import echoservers.cli.serve  # noqa: F401 - all imported once, here
from echoservers.cli import main

LIMIT = 5.0
"""Seconds; a run takes milliseconds."""


def run(arguments: list[str]) -> tuple[int, str, str]:
    """The outcome of one run."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                os.dup2(output.fileno(), 1)
                os.dup2(errors.fileno(), 2)
                code = main(arguments)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        process = os.pidfd_open(pid)
        if not select.select([process], [], [], LIMIT)[0]:
            os.kill(pid, signal.SIGKILL)  # it serves, though it should have refused
        os.close(process)
        _, status = os.waitpid(pid, 0)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode())
        return os.waitstatus_to_exitcode(status), texts[0], texts[1]


if __name__ == "__main__":
    runs = [run(arguments) for arguments in json.load(sys.stdin)]
    sys.stdout.write(json.dumps(runs))
