"""Results as the checker would have them, and small servers and submissions to check."""

from pathlib import Path

from echoservers.conformance.engine import CHECKS, Outcome, Report, Result
from echoservers.conformance.job import Job, Run
from echoservers.targets import Level, Target

GOOD = """\
import socketserver, sys


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"""
BAD = GOOD.replace("(data)", "(data.replace(b'\\x0c', b'?'))")
"""Wrong in one byte value: fails `bytes.every-value`, passes `bytes.echo`."""

PRINTS_FOR_EVER = GOOD.replace(
    "while data := self.request.recv(65536):",
    "data = self.request.recv(65536)\n        while data:",
)
"""Answers the first message without end."""

TWO = "bytes.echo,bytes.every-value"
"""Checks that take a millisecond."""


def result(name: str, outcome: Outcome = Outcome.PASS, expected: str = "", got: str = "") -> Result:
    return Result(CHECKS[name], outcome, expected, got, 0.25)


def run(
    *results: Result, name: str = "a server", error: str | None = None, more: tuple[str, ...] = ()
) -> Run:
    """What came of checking the server *name*; *more* are checks that were not reached."""
    target = Target.of_command("./server {port}", name=name)
    checks = tuple(r.check.id for r in results) + more
    return Run(Job(target, Level.CONCURRENT, checks), Report(name, None, [*results]), error, 1.5)


def write(folder: Path, **programs: str) -> None:
    """Save programs as NAME.py."""
    for name, text in programs.items():
        (folder / f"{name}.py").write_text(text)
